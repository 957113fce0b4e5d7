package follow

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"time"
)

// twin looks for a file of which this one is a copy: one that is followed now, or one that was. Files of one program may
// begin alike and be no copies; where both are there, they are compared where the shorter one ends, too. Callers hold mu.
func (f *Follower) twin(o *opened) (p *position, live bool) {
	if len(o.first) < telling {
		return nil, false
	}
	for id, t := range f.tails {
		if p := t.position(time.Time{}); id != o.id && p.Len >= telling && p.begins(o.first) && t.mayBe(o) {
			return nil, true
		}
	}
	for _, r := range f.remnants {
		if r.Len >= telling && r.begins(o.first) {
			return &r, false
		}
	}
	for id, k := range f.known {
		if id != o.id && k.Len >= telling && k.begins(o.first) && k.mayBe(o) {
			return &k, false
		}
	}
	return nil, false
}

// mayBe reports whether o may be a copy of the file that is read, or of what it held before it was truncated, which nobody may have
// noticed yet.
func (t *tail) mayBe(o *opened) bool {
	info, err := t.f.Stat()
	if err != nil || info.Size() < t.at.Load() {
		return true
	}
	t.mu.Lock()
	was := t.first
	t.mu.Unlock()
	if now, err := firstBytes(t.f, make([]byte, headSize)); err != nil || !bytes.HasPrefix(now, was) {
		return true
	}
	return o.size <= info.Size() && alike(t.f, o.f, o.size)
}

// mayBe reports whether o may be a copy of the file as far as it was read. One that is not there any more had no
// copies that are new.
func (p *position) mayBe(o *opened) bool {
	names, err := filepath.Glob(filepath.Join(literal(filepath.Dir(p.Path)), "*"))
	if err != nil {
		return true
	}
	for _, name := range names {
		if !kin(filepath.Base(p.Path), filepath.Base(name)) {
			continue
		}
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() {
			continue
		}
		if id, ok := identify(info); !ok || id != p.identity {
			continue
		}
		original, err := open(name)
		if err != nil {
			return true
		}
		defer original.f.Close()
		if original.id != p.identity || original.size < p.Offset || !p.begins(original.first) {
			return true // it was truncated: the copy may be all that is left
		}
		return alike(original.f, o.f, min(p.Offset, o.size))
	}
	return false
}

// literal returns the pattern that matches the path alone.
func literal(path string) string {
	var b bytes.Buffer
	for i := range len(path) {
		if c := path[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// alike reports whether the bytes before an offset are the same in both, as far as that can be told.
func alike(a, b io.ReaderAt, end int64) bool {
	n := min(end, headSize)
	x, y := make([]byte, n), make([]byte, n)
	if got, _ := a.ReadAt(x, end-n); int64(got) < n {
		return true // truncated a moment ago
	}
	if got, _ := b.ReadAt(y, end-n); int64(got) < n {
		return true
	}
	return bytes.Equal(x, y)
}
