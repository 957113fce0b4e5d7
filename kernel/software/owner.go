//go:build linux

package software

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// rootKey is a root folder.
type rootKey struct{ device, inode uint64 }

// owners is what is remembered of a root.
type owners struct {
	mu     sync.Mutex // held while the database is read
	index  *index     // nil where there is no database
	of     string     // stamps of the files that the index was made of
	looked time.Time
	err    error
	used   uint64
}

// database files, each in the root; the first that is there counts.
const (
	dpkgStatus  = "var/lib/dpkg/status"
	dpkgStatusD = "var/lib/dpkg/status.d"
	dpkgInfo    = "var/lib/dpkg/info"
)

func apkFiles() []string { return []string{"lib/apk/db/installed", "usr/lib/apk/db/installed"} }

func rpmFiles() []string {
	return []string{"var/lib/rpm/rpmdb.sqlite", "usr/lib/sysimage/rpm/rpmdb.sqlite"}
}

// rpmOther are databases in forms that are not read.
func rpmOther() []string {
	return []string{"var/lib/rpm/Packages.db", "usr/lib/sysimage/rpm/Packages.db", "var/lib/rpm/Packages", "usr/lib/sysimage/rpm/Packages"}
}

// owner finds the package of the file at path in the root.
func (r *Reader) owner(ctx context.Context, root *os.Root, name string, at identity, sums digests, haveSums bool, e *kernel.Executable) error {
	name = strings.TrimPrefix(path.Clean(name), "/")
	f, err := openIn(root, name)
	if err != nil {
		return nil // no file of that name: no package's
	}
	same, err := identify(f)
	_ = f.Close()
	if err != nil || same.inode != at.inode || same.size != at.size || same.modified != at.modified {
		return nil // another file has the name now
	}
	o, err := r.ownersOf(root)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if now := time.Now(); o.looked.IsZero() || now.Sub(o.looked) >= r.cfg.Refresh {
		if of := stamp(root); of != o.of || o.looked.IsZero() {
			select {
			case r.slots <- struct{}{}:
				o.index, o.err = build(ctx, root)
				<-r.slots
			case <-ctx.Done():
				return ctx.Err()
			}
			if o.of = of; ctx.Err() != nil {
				o.of = "unfinished"
				return ctx.Err()
			}
		}
		o.looked = now
	}
	if o.index == nil {
		return o.err
	}
	p, ok := o.index.owner(name)
	if !ok {
		return o.err
	}
	e.Package, e.Manager = p.name, o.index.manager
	if !haveSums {
		return nil
	}
	want := recorded(root, o.index, p, name)
	switch len(want) {
	case len(sums.md5):
		e.Changed = !bytes.Equal(want, sums.md5[:])
	case len(sums.sha1):
		e.Changed = !bytes.Equal(want, sums.sha1[:])
	case len(sums.sha256):
		e.Changed = !bytes.Equal(want, sums.sha256[:])
	}
	return nil
}

// ownersOf returns the entry of a root; the one that was used the longest ago makes room.
func (r *Reader) ownersOf(root *os.Root) (*owners, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return nil, err
	}
	key := rootKey{uint64(st.Dev), st.Ino}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.roots[key]
	if o == nil {
		if len(r.roots) >= r.cfg.Roots {
			var eldest rootKey
			first := true
			for k, other := range r.roots {
				if first || other.used < r.roots[eldest].used {
					eldest, first = k, false
				}
			}
			delete(r.roots, eldest)
		}
		o = &owners{}
		r.roots[key] = o
	}
	r.opened++
	o.used = r.opened
	return o, nil
}

// maxLinks bounds the links that one name leads through.
const maxLinks = 8

// openIn opens a regular file within the root, and nothing that is none.
func openIn(root *os.Root, name string) (*os.File, error) {
	for range maxLinks {
		found, err := root.OpenFile(name, unix.O_PATH, 0) // of a last part that is a link: the link
		if err != nil {
			return nil, err
		}
		info, err := found.Stat()
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return openFound(found, err)
		}
		_ = found.Close()
		to, err := root.Readlink(name)
		if err != nil {
			return nil, err
		}
		if path.IsAbs(to) {
			name = strings.TrimPrefix(path.Clean(to), "/")
		} else {
			name = path.Join(path.Dir(name), to)
		}
	}
	return nil, fmt.Errorf("%s: %w", name, unix.ELOOP)
}

// readIn reads a whole file within the root.
func readIn(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openIn(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at, err := identify(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if at.size > limit {
		return nil, fmt.Errorf("%s: %d bytes are more than is read", name, at.size)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// stamp says which databases there are and when they changed.
func stamp(root *os.Root) string {
	var b strings.Builder
	for _, name := range append(append([]string{dpkgStatus, dpkgStatusD}, apkFiles()...), rpmFiles()...) {
		if st, err := root.Stat(name); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", name, st.Size(), st.ModTime().UnixNano())
		}
	}
	return b.String()
}

// merged returns the folders of the root that are links to the same below usr.
func merged(root *os.Root) []string {
	var all []string
	for _, name := range []string{"bin", "sbin", "lib", "lib32", "lib64", "libx32"} {
		if to, err := root.Readlink(name); err == nil && strings.TrimPrefix(path.Clean("/"+to), "/") == "usr/"+name {
			all = append(all, name)
		}
	}
	return all
}

// build reads the database of a root, nil where there is none.
func build(ctx context.Context, root *os.Root) (*index, error) {
	if b, err := readIn(root, dpkgStatus, maxFile); err == nil && len(b) > 0 {
		return buildDpkg(ctx, root, b), nil
	}
	if x := buildStatusD(ctx, root); x != nil {
		return x, nil
	}
	for _, name := range apkFiles() {
		if b, err := readIn(root, name, maxFile); err == nil {
			x := newIndex("apk", merged(root))
			parseApk(b, func(pkgName, version string) bool {
				return x.begin(pkg{text(pkgName + " " + version), name})
			}, func(path string, _ []byte) bool { return x.file(path) && ctx.Err() == nil })
			x.done()
			return x, nil
		}
	}
	for _, name := range rpmFiles() {
		if b, err := readIn(root, name, maxDatabase); err == nil {
			x := newIndex("rpm", merged(root))
			err := readRPM(b, func(p rpmPackage) bool {
				if !x.begin(pkg{text(p.name), name}) {
					return false
				}
				return p.files(func(path string, _ []byte) bool { return x.file(path) }) && ctx.Err() == nil
			})
			x.done()
			return x, err
		}
	}
	for _, name := range rpmOther() {
		if _, err := root.Lstat(name); err == nil {
			return nil, fmt.Errorf("/%s: this form of rpm's database is not read", name)
		}
	}
	return nil, nil
}

// text bounds a name that a database gives.
func text(s string) string { return record.Text([]byte(s[:min(len(s), 256)])) }

func buildDpkg(ctx context.Context, root *os.Root, status []byte) *index {
	x := newIndex("dpkg", merged(root))
	left := int64(maxDatabase)
	parseStatus(status, func(name, version, arch string, same bool) {
		if left <= 0 || ctx.Err() != nil || strings.ContainsAny(name, "/\x00") || strings.ContainsAny(arch, "/\x00") {
			return
		}
		stem := dpkgInfo + "/" + name
		if same {
			stem += ":" + arch
		}
		b, err := readIn(root, stem+".list", min(left, maxFile))
		if err != nil || !x.begin(pkg{text(name + " " + version), stem + ".md5sums"}) {
			return
		}
		left -= int64(len(b))
		for line := range bytes.Lines(b) {
			line = bytes.TrimPrefix(bytes.TrimRight(line, "\n"), []byte("/"))
			if len(line) > 0 && len(line) <= record.MaxPath && !x.file(string(line)) {
				return
			}
		}
	})
	x.done()
	return x
}

// buildStatusD reads what images without dpkg itself have: a file for each package and its digests.
func buildStatusD(ctx context.Context, root *os.Root) *index {
	dir, err := root.OpenFile(dpkgStatusD, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK, 0) // else it may be a pipe, or a device
	if err != nil {
		return nil
	}
	defer dir.Close()
	names, err := dir.Readdirnames(maxPackages)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, fs.ErrClosed) || len(names) == 0 {
		return nil
	}
	x := newIndex("dpkg", merged(root))
	left := int64(maxDatabase)
	for _, name := range names {
		if strings.HasSuffix(name, ".md5sums") || left <= 0 || ctx.Err() != nil {
			continue
		}
		b, err := readIn(root, dpkgStatusD+"/"+name, 1<<20)
		sumsPath := dpkgStatusD + "/" + name + ".md5sums"
		sums, err2 := readIn(root, sumsPath, maxFile)
		if err != nil || err2 != nil {
			continue
		}
		left -= int64(len(b) + len(sums))
		parseStatus(b, func(name, version, _ string, _ bool) {
			if !x.begin(pkg{text(name + " " + version), sumsPath}) {
				return
			}
			parseSums(sums, func(path string, _ []byte) bool { return x.file(path) })
		})
	}
	x.done()
	return x
}

// recorded returns the digest that the package's database has of a file, nil for none.
func recorded(root *os.Root, x *index, p pkg, name string) (want []byte) {
	name = x.alias(name)
	b, err := readIn(root, p.sums, maxDatabase)
	if err != nil {
		return nil
	}
	match := func(path string, sum []byte) bool {
		if x.alias(path) != name {
			return true
		}
		want = sum
		return false
	}
	switch x.manager {
	case "dpkg":
		parseSums(b, match)
	case "apk":
		mine := false
		parseApk(b, func(pkgName, version string) bool {
			mine = text(pkgName+" "+version) == p.name
			return true
		}, func(path string, sum []byte) bool { return !mine || match(path, sum) })
	case "rpm":
		_ = readRPM(b, func(q rpmPackage) bool { return text(q.name) != p.name || q.files(match) })
	}
	return want
}
