// Package archive opens archives and compressed files for a scan: zip and what is zip (jar, war, whl, nupkg, docx), tar,
// gzip, bzip2, xz and zstd, also in each other. They are recognised by their first bytes.
//
// An entry's path is that of the file, "!/", and the entry's name: a label and nothing else, for nothing is
// unpacked to a disk. Links and devices are not followed. Memory is bounded by the largest entry that is read and one compression
// window, for each level; time by the limits of [Config]. 7z and RAR archives, and entries that are encrypted, are said
// to be unread.
package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/scan"
)

const (
	// freeUnpacked is how much may be unpacked whatever the ratio.
	freeUnpacked = 64 << 20
	// maxWindow bounds what the decoders of one file, one in the other, hold of what they made.
	maxWindow = 64 << 20
	maxName   = 4096
)

// Opener opens archives. It is safe for concurrent use.
type Opener struct{ config Config }

// New returns an opener with these limits.
func New(c Config) (*Opener, error) { return &Opener{config: c}, c.Validate() }

// Open implements scan.Opener.
func (o *Opener) Open(f *scan.File) scan.Source {
	head := f.Data
	if head == nil && f.Content != nil {
		head = make([]byte, sniffed)
		n, _ := f.Content.ReadAt(head, 0)
		head = head[:n]
	}
	k := recognise(head, f.Path)
	if k == unknown {
		return nil
	}
	s := &source{config: o.config, kind: k, file: *f, path: f.Path}
	switch {
	case f.Data != nil:
		s.content, s.size = bytes.NewReader(f.Data), int64(len(f.Data))
	case f.Info != nil:
		s.content, s.size = f.Content, f.Info.Size()
	default:
		return nil
	}
	if e, ok := f.Content.(*entryReader); ok {
		s.budget = e.budget
	} else {
		s.budget = &budget{unpacked: int64(o.config.MaxUnpacked), entries: o.config.MaxEntries, window: maxWindow,
			ratio: max(s.size*int64(o.config.MaxRatio), freeUnpacked)}
	}
	return s
}

// Wants reports whether a file that is too large to be held is to be given nevertheless: by its name, since it is not
// read yet.
func (o *Opener) Wants(name string, _ fs.FileInfo) bool {
	name = strings.ToLower(name)
	for _, end := range []string{".zip", ".jar", ".war", ".ear", ".whl", ".nupkg", ".apk", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".gz", ".xz", ".zst", ".bz2"} {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// budget is what may still be unpacked of one outer file. One goroutine's at a time.
type budget struct {
	unpacked, ratio int64
	entries         int
	window          int64
	over            bool // said once
}

var (
	errUnpacked = errors.New("max_unpacked")
	errRatio    = errors.New("max_ratio")
	errEntries  = errors.New("max_entries")
)

// entryReader is an entry's content, which knows the file that it comes from.
type entryReader struct {
	*bytes.Reader
	budget *budget
}

// source is the files in one archive.
type source struct {
	config  Config
	counted bool // what the archive is read from counts what is unpacked
	kind    format
	file    scan.File // the archive itself
	path    string    // as it is, where file.Path is printable
	content io.ReaderAt
	size    int64
	budget  *budget

	ctx      context.Context
	v        scan.Visitor
	seed     maphash.Seed
	names    map[uint64]int
	buffer   []byte
	inflater io.ReadCloser
}

// Files implements scan.Source. It reads one entry after the other.
func (s *source) Files(ctx context.Context, v scan.Visitor) error {
	s.ctx, s.v, s.seed, s.names = ctx, v, maphash.MakeSeed(), map[uint64]int{}
	if s.file.Depth >= s.config.MaxDepth {
		v.Skip(scan.TooDeep, s.path, fmt.Sprintf("an archive in %d others: not opened (max_depth)", s.file.Depth))
		return nil
	}
	var err error
	switch s.kind {
	case zipFile:
		err = s.zip(s.content, s.size)
	case sevenZip, rar:
		v.Skip(scan.Unreadable, s.path, s.kind.String()+", which is not opened")
	default:
		err = s.stream(io.NewSectionReader(s.content, 0, s.size), s.kind, strings.TrimSuffix(path.Base(s.path), "/"))
	}
	s.failed(s.path, err)
	return ctx.Err()
}

// failed says why the rest of an archive is not read.
func (s *source) failed(at string, err error) {
	switch {
	case err == nil || s.ctx.Err() != nil:
	case errors.Is(err, errUnpacked) || errors.Is(err, errRatio) || errors.Is(err, errEntries):
		if !s.budget.over {
			s.budget.over = true
			s.v.Skip(scan.TooLarge, at, fmt.Sprintf("%v is reached: the rest is not unpacked", err))
		}
	default:
		s.v.Skip(scan.Unreadable, at, err.Error()+": the rest is not read")
	}
}

// metered counts what is unpacked.
type metered struct {
	r io.Reader
	s *source
}

func (m metered) Read(p []byte) (int, error) {
	b := m.s.budget
	switch {
	case b.unpacked <= 0:
		return 0, errUnpacked
	case b.ratio <= 0:
		return 0, errRatio
	case m.s.ctx.Err() != nil:
		return 0, m.s.ctx.Err()
	}
	n, err := m.r.Read(p)
	b.unpacked -= int64(n)
	b.ratio -= int64(n)
	return n, err
}

// label returns an entry's path; the second of the same name has "#2" behind it.
func (s *source) label(name string) string {
	name = strings.TrimPrefix(name[:min(len(name), maxName)], "./")
	h := maphash.String(s.seed, name)
	if s.names[h]++; s.names[h] > 1 {
		name = fmt.Sprintf("%s#%d", name, s.names[h])
	}
	return s.path + "!/" + name
}

// entry takes one more.
func (s *source) entry() error {
	if s.budget.entries--; s.budget.entries < 0 {
		return errEntries
	}
	return s.ctx.Err()
}

// offer reads an entry and offers it. What is larger than an entry may be is read as a stream if it is an
// archive of that kind. size is what the archive says, -1 if nothing. The error is about the archive as a whole.
func (s *source) offer(name string, r io.Reader, size int64, modified time.Time, broken func(error) error) error {
	at := s.label(name)
	limit := int64(s.config.MaxEntrySize)
	in := r
	if !s.counted {
		in = metered{r, s}
	}
	want := limit + 1
	if size >= 0 {
		want = min(want, size+1) // one more shows that it is larger than it says
	}
	if size > limit {
		want = sniffed
	}
	data, err := s.fill(in, want)
	if errors.Is(err, errUnpacked) || errors.Is(err, errRatio) || s.ctx.Err() != nil {
		return err
	}
	if err != nil { // what there is of it counts
		s.give(at, name, data[:min(int64(len(data)), limit)], modified)
		return broken(fmt.Errorf("%s: %w", path.Base(name), err))
	}
	if int64(len(data)) > limit || size > limit {
		if k := recognise(data, at); k.isStream() {
			if s.file.Depth+1 >= s.config.MaxDepth {
				s.v.Skip(scan.TooDeep, at, fmt.Sprintf("an archive in %d others: not opened (max_depth)", s.file.Depth+1))
				return nil
			}
			inner := &source{config: s.config, kind: k, file: s.file, path: at, counted: true, budget: s.budget, ctx: s.ctx, v: s.v, seed: s.seed, names: map[uint64]int{}}
			inner.file.Depth++
			inner.failed(at, inner.stream(io.MultiReader(bytes.NewReader(bytes.Clone(data)), in), k, path.Base(name)))
			return s.ctx.Err()
		}
		s.v.Skip(scan.TooLarge, at, fmt.Sprintf("larger than %s (max_entry_size)", s.config.MaxEntrySize))
		return nil
	}
	if size >= 0 && int64(len(data)) != size {
		s.v.Skip(scan.Unreadable, at, fmt.Sprintf("has not the size that the archive says (%d bytes)", size))
	}
	s.give(at, name, data, modified)
	return s.ctx.Err()
}

// give offers an entry's content.
func (s *source) give(at, name string, data []byte, modified time.Time) {
	s.v.Found(1, false)
	f := &scan.File{Path: at, Name: name, Data: data, Depth: s.file.Depth + 1, Info: entryInfo{path.Base(name), int64(len(data)), modified},
		Layer: s.file.Layer, Commit: s.file.Commit, Order: s.file.Order, Current: s.file.Current, Evidence: s.file.Evidence, Only: s.file.Only}
	f.Content = &entryReader{bytes.NewReader(data), s.budget}
	s.v.File(s.ctx, f)
}

// fill reads up to limit bytes into the buffer.
func (s *source) fill(r io.Reader, limit int64) ([]byte, error) {
	if s.buffer == nil {
		s.buffer = make([]byte, 64<<10)
	}
	n := 0
	for int64(n) < limit {
		if n == len(s.buffer) {
			grown := make([]byte, min(2*int64(len(s.buffer)), int64(s.config.MaxEntrySize)+1+sniffed))
			copy(grown, s.buffer)
			s.buffer = grown
		}
		m, err := r.Read(s.buffer[n:min(int64(len(s.buffer)), limit)])
		n += m
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return s.buffer[:n:n], err
		}
	}
	return s.buffer[:n:n], nil
}

// entryInfo is what an archive says of an entry.
type entryInfo struct {
	name     string
	size     int64
	modified time.Time
}

func (e entryInfo) Name() string       { return e.name }
func (e entryInfo) Size() int64        { return e.size }
func (e entryInfo) Mode() fs.FileMode  { return 0o444 }
func (e entryInfo) ModTime() time.Time { return e.modified }
func (e entryInfo) IsDir() bool        { return false }
func (e entryInfo) Sys() any           { return nil }
