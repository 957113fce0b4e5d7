package history

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

const (
	maxRefs    = 2_000_000
	maxSymbols = 5 // references that name references
)

// refs calls yield with every reference that could lead to commits: branches, tags, notes, the stash, those of remotes,
// and the HEAD of each worktree. Those that replace objects are none.
func (r *repo) refs(yield func(name string, o oid)) {
	n := 0
	one := func(name string, o oid) {
		if n++; n <= maxRefs {
			yield(name, o)
		}
	}
	loose := map[string]bool{}
	walk := func(fsys fs.FS, at string) {
		_ = fs.WalkDir(fsys, at, func(name string, d fs.DirEntry, err error) error {
			if err != nil || n > maxRefs {
				return nil //nolint:nilerr // what is not there is not named
			}
			if d.IsDir() && name == "refs/replace" {
				return fs.SkipDir
			}
			if !d.Type().IsRegular() {
				return nil
			}
			loose[name] = true
			if o, err := r.ref(name); err == nil {
				one(name, o)
			}
			return nil
		})
	}
	walk(r.common.FS(), "refs")
	if r.git != r.common {
		walk(r.git.FS(), "refs")
	}
	r.packedRefs(func(name string, o oid) bool {
		if !loose[name] && !strings.HasPrefix(name, "refs/replace/") {
			one(name, o)
		}
		return n <= maxRefs
	})
	if o, err := r.ref("HEAD"); err == nil {
		one("HEAD", o)
	}
	others, _ := fs.Glob(r.common.FS(), "worktrees/*/HEAD")
	for _, name := range others {
		if o, err := r.ref(name); err == nil {
			one(name, o)
		}
	}
}

// logs calls yield with everything that references once named, as the reflogs have it.
func (r *repo) logs(yield func(o oid)) {
	_ = fs.WalkDir(r.common.FS(), "logs", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // as above
		}
		content, err := readFile(r.common, name, maxRefsFile)
		if err != nil {
			r.problem(name, err)
			return nil
		}
		for line := range bytes.Lines(content) {
			for range 2 {
				word, rest, _ := bytes.Cut(line, []byte(" "))
				if o, err := parseOID(word, r.hash); err == nil && o != (oid{}) {
					yield(o)
				}
				line = rest
			}
		}
		return nil
	})
}

// packedRefs calls yield with the references of the packed-refs file until it returns false.
func (r *repo) packedRefs(yield func(name string, o oid) bool) {
	f, err := openRegular(r.common, "packed-refs")
	if err == nil {
		defer f.Close()
		lines := bufio.NewScanner(io.LimitReader(f, maxRefsFile)) // of lines of 64 KiB
		for lines.Scan() {
			name, at, ok := bytes.Cut(bytes.TrimSpace(lines.Bytes()), []byte(" "))
			if !ok || len(name) == 0 || name[0] == '#' || name[0] == '^' {
				continue
			}
			if o, err := parseOID(name, r.hash); err == nil && !yield(string(at), o) {
				return
			}
		}
		err = lines.Err()
		if info, e := f.Stat(); err == nil && e == nil && info.Size() > maxRefsFile {
			err = errTooLarge
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.problem("packed-refs", err)
	}
}

// readPackedRefs returns the packed references by their names, the first where there are two.
func (r *repo) readPackedRefs() map[string]oid {
	out := map[string]oid{}
	left := maxNames
	r.packedRefs(func(name string, o oid) bool {
		if _, twice := out[name]; !twice {
			out[name] = o
			left -= len(name)
		}
		return len(out) < maxRefs && left > 0
	})
	return out
}

var errNoRef = errors.New("no such branch, tag or commit")

// ref reads one reference by its full name.
func (r *repo) ref(name string) (oid, error) {
	for range maxSymbols {
		content, err := r.refFile(name)
		if err != nil {
			if found, ok := r.packed()[name]; ok {
				return found, nil
			}
			return oid{}, errNoRef
		}
		text := bytes.TrimSpace(content)
		target, ok := bytes.CutPrefix(text, []byte("ref:"))
		if !ok {
			word, _, _ := bytes.Cut(text, []byte("\n"))
			return parseOID(bytes.TrimSpace(word), r.hash)
		}
		if name = string(bytes.TrimSpace(target)); !fs.ValidPath(name) || !strings.HasPrefix(name, "refs/") {
			return oid{}, errNoRef
		}
	}
	return oid{}, fmt.Errorf("%w: too many references name each other", errNoRef)
}

func (r *repo) refFile(name string) ([]byte, error) {
	if !fs.ValidPath(name) {
		return nil, errNoRef
	}
	if r.git != r.common {
		if content, err := readFile(r.git, name, maxSmallFile); err == nil {
			return content, nil
		}
		if !strings.Contains(name, "/") {
			return nil, errNoRef
		}
	}
	return readFile(r.common, name, maxSmallFile)
}

// revision finds the commit that a name stands for: a branch, a tag, a name in hexadecimal of at least four
// digits, HEAD, each with ~N and ^N behind it, as gitrevisions(7) has them.
func (rd *reader) revision(text string) (id, error) {
	name, steps := text, ""
	if i := strings.IndexAny(text, "~^"); i >= 0 {
		name, steps = text[:i], text[i:]
	}
	o, err := rd.named(name)
	if err != nil {
		return none, fmt.Errorf("%s: %w", scan.Printable(text), err)
	}
	at, err := rd.peel(o)
	if err != nil {
		return none, fmt.Errorf("%s: %w", scan.Printable(text), err)
	}
	for steps != "" {
		op := steps[0]
		steps = steps[1:]
		digits := len(steps) - len(strings.TrimLeft(steps, "0123456789"))
		n := 1
		if digits > 0 {
			if n, err = strconv.Atoi(steps[:digits]); err != nil {
				return none, fmt.Errorf("%s: %w", scan.Printable(text), errNoRef)
			}
			steps = steps[digits:]
		}
		if steps != "" && steps[0] != '~' && steps[0] != '^' {
			return none, fmt.Errorf("%s: only ~N and ^N may follow a name", scan.Printable(text))
		}
		for n > 0 {
			c, err := rd.commit(at)
			which := 0
			if op == '^' {
				which, n = n-1, 1
			}
			if err != nil || which >= len(c.parents) {
				return none, fmt.Errorf("%s: there is no such parent", scan.Printable(text))
			}
			next, ok := rd.repo.find(c.parents[which])
			if !ok {
				return none, fmt.Errorf("%s: %w: the clone is shallow", scan.Printable(text), errMissing)
			}
			at = next
			n--
		}
	}
	return at, nil
}

// named finds an object by a reference or its name.
func (rd *reader) named(name string) (id, error) {
	r := rd.repo
	if name == "@" {
		name = "HEAD"
	}
	for _, at := range []string{name, "refs/" + name, "refs/tags/" + name, "refs/heads/" + name, "refs/remotes/" + name, "refs/remotes/" + name + "/HEAD"} {
		if at != path.Clean(at) || at == name && !strings.HasPrefix(name, "refs/") && strings.ToUpper(name) != name {
			continue
		}
		o, err := r.ref(at)
		if err != nil {
			continue
		}
		if found, ok := r.find(o); ok {
			return found, nil
		}
		return none, fmt.Errorf("%s is %w", o.text(r.hash), errMissing)
	}
	if len(name) >= 4 && len(name) <= 2*r.hash {
		if b, err := hex.DecodeString(name[:len(name)&^1]); err == nil {
			return r.abbreviated(strings.ToLower(name), b)
		}
	}
	return none, errNoRef
}

// abbreviated finds the only object whose name begins so; b is name as bytes, but for an odd last digit.
func (r *repo) abbreviated(name string, b []byte) (id, error) {
	found, n := none, 0
	seen := map[string]bool{}
	one := func(o id) {
		if full := r.name(o); strings.HasPrefix(full, name) && !seen[full] {
			seen[full] = true
			found = o
			n++
		}
	}
	for _, p := range r.packs {
		i, ok := p.find(b)
		if !ok {
			continue
		}
		for i > 0 && bytes.HasPrefix(p.nameAt(i-1), b) {
			i--
		}
		for ; i < p.count && bytes.HasPrefix(p.nameAt(i), b) && n < 2; i++ {
			one(p.base + id(i))
		}
	}
	for i := range r.loose {
		if bytes.HasPrefix(r.loose[i].name[:], b) {
			one(r.base + id(i))
		}
	}
	switch n {
	case 0:
		return none, errNoRef
	case 1:
		return found, nil
	}
	return none, errors.New("more than one object has a name that begins so")
}
