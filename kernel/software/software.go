//go:build linux

package software

import (
	"context"
	"crypto/md5"  //nolint:gosec // what dpkg records
	"crypto/sha1" //nolint:gosec // what apk records
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/process"
)

// Reader reads executables. It is safe for concurrent use.
type Reader struct {
	cfg   Config
	root  string
	alive func(pid uint32, start uint64) bool
	slots chan struct{}

	mu     sync.Mutex
	files  map[identity]*reading
	roots  map[rootKey]*owners
	opened uint64 // counts uses of roots
}

// identity is what a file is as long as it does not change.
type identity struct {
	device, inode     uint64
	size              int64
	modified, changed int64
}

// digests of a file.
type digests struct {
	sha256 [sha256.Size]byte
	sha1   [sha1.Size]byte
	md5    [md5.Size]byte
}

// reading is a file that is read, or was.
type reading struct {
	done chan struct{}
	sums digests
	err  error
}

// New makes a reader of the host whose file system is at root, "/" as a rule.
func New(cfg Config, root string) *Reader {
	return &Reader{cfg: cfg, root: root, alive: process.Alive(root), slots: make(chan struct{}, cfg.Parallel), files: map[identity]*reading{}, roots: map[rootKey]*owners{}}
}

// Executable reads what it can. With an error the rest may be known all the same: of a file that is too large, the package.
func (r *Reader) Executable(ctx context.Context, ref kernel.FileRef) (kernel.Executable, error) {
	f, within, err := r.open(ref)
	if err != nil {
		return kernel.Executable{}, err
	}
	defer f.Close()
	defer within.Close()
	at, err := identify(f)
	if err != nil {
		return kernel.Executable{}, fmt.Errorf("%s: %w", ref.Path, err)
	}
	sums, readErr := r.digest(ctx, f, at)
	var e kernel.Executable
	if readErr == nil {
		e.SHA256 = hex.EncodeToString(sums.sha256[:])
	}
	if err := r.owner(ctx, within, ref.Path, at, sums, readErr == nil, &e); err != nil && readErr == nil {
		return e, fmt.Errorf("the package of %s: %w", ref.Path, err)
	}
	if readErr != nil {
		return e, fmt.Errorf("%s: %w", ref.Path, readErr)
	}
	return e, nil
}

// open returns the file and the root that its path is of.
func (r *Reader) open(ref kernel.FileRef) (*os.File, *os.Root, error) {
	dir := filepath.Join(r.root, "proc", strconv.FormatUint(uint64(ref.PID), 10))
	gone := func() error { return fmt.Errorf("%s: process %d runs it no more", ref.Path, ref.PID) }
	if ref.PID != 0 {
		if f, err := openFound(os.OpenFile(filepath.Join(dir, "exe"), unix.O_PATH, 0)); err == nil {
			link, _ := os.Readlink(filepath.Join(dir, "exe"))
			root, err := os.OpenRoot(filepath.Join(dir, "root"))
			if err == nil && r.alive(ref.PID, ref.Start) && r.is(f, ref, link) {
				return f, root, nil
			}
			if err == nil {
				_ = root.Close()
			}
			_ = f.Close()
		}
	}
	// It has ended, or runs another program already: a file of the host may still be there, and is known by its inode.
	if ref.Inode.Number == 0 || !filepath.IsAbs(ref.Path) {
		return nil, nil, gone()
	}
	for _, base := range []string{filepath.Join(dir, "root"), r.root} {
		root, err := os.OpenRoot(base)
		if err != nil {
			continue
		}
		if f, err := openIn(root, strings.TrimPrefix(filepath.Clean(ref.Path), "/")); err == nil {
			if at, err := identify(f); err == nil && at.inode == ref.Inode.Number && at.size == ref.Inode.Size && at.modified == ref.Inode.Modified && at.changed == ref.Inode.Changed {
				return f, root, nil
			}
			_ = f.Close()
		}
		_ = root.Close()
	}
	return nil, nil, gone()
}

// is reports whether an open file is the one that is asked about. Inode numbers as eBPF reads them may differ from those that stat tells of
// (overlayfs), so that the name decides where they do.
func (r *Reader) is(f *os.File, ref kernel.FileRef, link string) bool {
	at, err := identify(f)
	if err != nil {
		return false
	}
	return ref.Path == link || ref.Path+" (deleted)" == link || ref.Inode.Number != 0 && at.inode == ref.Inode.Number && at.size == ref.Inode.Size
}

// openFound opens for reading what was found with O_PATH, which it closes. Nothing else than a regular file is opened: a container may have a
// device in the place of any of its files, and opening one as root may be an act, such as the start of the host's watchdog.
func openFound(found *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	defer found.Close()
	if _, err := identify(found); err != nil {
		return nil, fmt.Errorf("%s: %w", found.Name(), err)
	}
	return os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(found.Fd())), os.O_RDONLY|unix.O_NONBLOCK, 0)
}

const magicFUSE = 0x65735546

// identify says what an open file is, and refuses what is not to be read: a file system in user space may answer when it likes.
func identify(f *os.File) (identity, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return identity{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return identity{}, errors.New("not a regular file")
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err == nil && uint32(fs.Type) == magicFUSE {
		return identity{}, errors.New("it is on a file system in user space (FUSE), which is not read")
	}
	return identity{uint64(st.Dev), st.Ino, st.Size, unix.TimespecToNsec(st.Mtim), unix.TimespecToNsec(st.Ctim)}, nil
}

// digest reads a file once, however many ask.
func (r *Reader) digest(ctx context.Context, f *os.File, at identity) (digests, error) {
	if at.size > int64(r.cfg.MaxSize) {
		return digests{}, fmt.Errorf("%d bytes are more than the limit of %s (max_size)", at.size, r.cfg.MaxSize)
	}
	r.mu.Lock()
	d, ok := r.files[at]
	if !ok {
		d = &reading{done: make(chan struct{})}
		if len(r.files) >= r.cfg.Remember {
			for k, old := range r.files { // any that is done
				select {
				case <-old.done:
					delete(r.files, k)
				default:
					continue
				}
				break
			}
		}
		r.files[at] = d
	}
	r.mu.Unlock()
	if ok {
		select {
		case <-d.done:
			return d.sums, d.err
		case <-ctx.Done():
			return digests{}, ctx.Err()
		}
	}
	d.sums, d.err = r.read(ctx, f, at)
	if d.err != nil { // it may go better next time
		r.mu.Lock()
		delete(r.files, at)
		r.mu.Unlock()
	}
	close(d.done)
	return d.sums, d.err
}

func (r *Reader) read(ctx context.Context, f *os.File, at identity) (digests, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return digests{}, ctx.Err()
	}
	a, b, c := sha256.New(), sha1.New(), md5.New() //nolint:gosec // see the imports
	buf := make([]byte, 128<<10)
	var n int64
	for {
		if ctx.Err() != nil {
			return digests{}, ctx.Err()
		}
		m, err := f.ReadAt(buf, n)
		n += int64(m)
		for _, h := range []io.Writer{a, b, c} {
			_, _ = h.Write(buf[:m])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return digests{}, err
		}
		if n > at.size {
			break
		}
	}
	if now, err := identify(f); err != nil || now != at || n != at.size {
		return digests{}, errors.New("it changed while it was read")
	}
	var d digests
	a.Sum(d.sha256[:0])
	b.Sum(d.sha1[:0])
	c.Sum(d.md5[:0])
	return d, nil
}
