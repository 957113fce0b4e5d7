package follow

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// finish reads what was rotated away while nobody looked: the rest of the file that was followed, and
// whatever was written and rotated after it. Callers hold mu.
func (f *Follower) finish(ctx context.Context, matches []match) {
	matched := make(map[identity]bool, len(matches))
	for _, m := range matches {
		matched[m.id] = true
	}
	for id, p := range f.known {
		if matched[id] && !f.replaced(p, matches) || p.Len == 0 || p.Done {
			continue
		}
		if in := f.inputOf(p.Path); in != nil {
			f.begunAnew(ctx, p, in)
		}
	}
}

// replaced reports whether a matched file has the number of p and is not p. Callers hold mu.
func (f *Follower) replaced(p position, matches []match) bool {
	i := slices.IndexFunc(matches, func(m match) bool { return m.id == p.identity })
	if i < 0 {
		return false
	}
	o, err := open(matches[i].path)
	if err != nil {
		return false
	}
	defer o.f.Close()
	return o.size < p.Offset || !p.begins(o.first)
}

// inputOf returns the input whose patterns find the path.
func (f *Follower) inputOf(path string) *Input {
	for i := range f.inputs {
		for _, p := range f.inputs[i].Files.Paths {
			if ok, _ := filepath.Match(p, path); ok {
				return &f.inputs[i]
			}
		}
	}
	return nil
}

// begunAnew is called where the file of a position is not there any more: at its path is another one, or
// none, or it was truncated. What it held lies beside it, if it was rotated. Callers hold mu.
func (f *Follower) begunAnew(ctx context.Context, p position, in *Input) {
	delete(f.known, p.identity)
	if p.Len >= telling {
		f.remember(p)
	}
	if p.Done {
		return
	}
	rest, after := f.beside(p)
	if rest == nil {
		f.stats.lost.Add(1)
		f.log.Warn("a file that was followed is gone: what was written to it after this offset has not been read", "path", p.Path, "offset", p.Offset)
		return
	}
	f.log.Info("reading the rest of a file that was rotated", "path", rest.path, "was", p.Path, "offset", p.Offset, "size", rest.size)
	f.readRest(ctx, p.Path, rest, in, p.Offset, p.Lines)
	f.readAfter(ctx, p.Path, after, in)
}

// readRest reads a file that was once at path, after what was found there before. Callers hold mu.
func (f *Follower) readRest(ctx context.Context, path string, b *beside, in *Input, at, lines int64) *tail {
	t := f.newTail(b.path, b.opened, in, at, lines)
	t.remnant = true
	t.moved.Store(true)
	f.start(ctx, t, f.byPath[path])
	f.byPath[path] = t
	return t
}

func (f *Follower) readAfter(ctx context.Context, path string, after []*beside, in *Input) {
	for _, r := range after {
		f.log.Info("reading a file that was rotated before anybody saw it", "path", r.path, "was", path, "size", r.size)
		f.readRest(ctx, path, r, in, 0, 0)
	}
}

// between reads what came to the path after a file that was last written to then, and was rotated away before
// anybody looked. Callers hold mu.
func (f *Follower) between(ctx context.Context, path string, since time.Time, in *Input) {
	_, after := f.beside(position{Path: path, head: head{Len: -1}, changed: since})
	f.readAfter(ctx, path, after, in)
}

// beside is a file beside the one that was followed.
type beside struct {
	*opened
	path string
}

// beside looks in the folder of a file for what it has become, and for files that were rotated after it
// and never read, oldest first. A head of length -1 says that what it has become is known. Callers hold mu.
func (f *Follower) beside(p position) (rest *beside, after []*beside) {
	if p.Len == 0 {
		return nil, nil
	}
	dir, base := filepath.Split(p.Path)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil
	}
	var others []*beside
	for _, e := range entries {
		name := e.Name()
		if name == base || !e.Type().IsRegular() || compressed(name) || !kin(base, name) {
			continue
		}
		path := filepath.Join(dir, name)
		o, err := open(path)
		if err != nil {
			continue
		}
		b := &beside{o, path}
		switch same := p.Len > 0 && p.begins(o.first) && o.size >= p.Offset; {
		case f.tails[o.id] != nil:
			_ = o.f.Close()
		case same && o.id == p.identity && rest == nil:
			rest = b
		case same && p.Len >= telling && rest == nil && o.id != p.identity:
			rest = b // a copy
		default:
			others = append(others, b)
		}
	}
	since := p.changed
	if rest != nil {
		since = rest.changed
	}
	for _, o := range others {
		// Only names that rotation makes: a backup by hand is not to be read. What a pattern finds is
		// found anyway.
		_, seen := f.known[o.id]
		if !seen && !since.IsZero() && numbered(base, filepath.Base(o.path)) && o.changed.After(since) && f.inputOf(o.path) == nil {
			after = append(after, o)
		} else {
			_ = o.f.Close()
		}
	}
	slices.SortFunc(after, func(a, b *beside) int { return cmp.Or(a.changed.Compare(b.changed), cmp.Compare(b.path, a.path)) })
	return rest, after
}

// kin reports whether a file may have been called base before: base.1, base-20260101, name-20260101.log
// or name.1.log for name.log.
func kin(base, name string) bool {
	if strings.HasPrefix(name, base) {
		return true
	}
	ext := filepath.Ext(base)
	return ext != "" && strings.HasSuffix(name, ext) && strings.HasPrefix(name, strings.TrimSuffix(base, ext))
}

// numbered reports whether what name adds to base is a number or a date.
func numbered(base, name string) bool {
	rest, ok := strings.CutPrefix(name, base)
	if !ok {
		ext := filepath.Ext(base)
		rest = strings.TrimSuffix(strings.TrimPrefix(name, strings.TrimSuffix(base, ext)), ext)
	}
	digits := false
	for _, c := range rest {
		switch {
		case c >= '0' && c <= '9':
			digits = true
		case c != '.' && c != '-' && c != '_' && c != 'T':
			return false
		}
	}
	return digits
}

// truncated looks for the copy that was made of a file before it was truncated, and reads what it has more
// than was read.
func (f *Follower) truncated(ctx context.Context, t *tail) {
	f.mu.Lock()
	p := t.position(time.Now().UTC().Truncate(time.Hour))
	var in *Input
	if p.Len >= telling {
		f.remember(p)
		in = f.inputOf(t.path)
	}
	if in == nil {
		f.mu.Unlock()
		return
	}
	delete(f.tails, t.id) // a copy that begins like it is not a copy of what is followed
	rest, after := f.beside(p)
	f.tails[t.id] = t
	for _, a := range after {
		_ = a.f.Close()
	}
	var r *tail
	if rest != nil && rest.size > p.Offset {
		r = f.newTail(rest.path, rest.opened, in, p.Offset, p.Lines)
		r.remnant = true
		r.moved.Store(true)
		f.start(ctx, r, nil) // not after t, which waits for it
	} else if rest != nil {
		f.known[rest.id] = position{Path: rest.path, identity: rest.id, Offset: p.Offset, Lines: p.Lines, head: p.head, Seen: p.Seen}
		_ = rest.f.Close()
	}
	f.mu.Unlock()
	if r != nil {
		select {
		case <-r.done: // what was written before comes before
		case <-ctx.Done():
		}
	}
}

// remember keeps what a file held before it began anew. Callers hold mu.
func (f *Follower) remember(p position) {
	if len(f.remnants) >= maxRemnants {
		f.remnants = slices.Delete(f.remnants, 0, 1)
	}
	f.remnants = append(f.remnants, p)
}

// lineBefore returns where the line begins that reaches over the offset, or the offset itself where one ends there.
func lineBefore(f io.ReaderAt, size int64) int64 {
	const look = 64 << 10
	from := max(0, size-look)
	buf := make([]byte, size-from)
	n, _ := f.ReadAt(buf, from)
	if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
		return from + int64(i) + 1
	}
	if from == 0 {
		return 0
	}
	return size
}
