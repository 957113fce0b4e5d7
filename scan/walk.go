package scan

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
)

const (
	// maxEntries bounds the entries of one folder that are held at a time.
	maxEntries = 1 << 20
	// sniff is how many bytes decide whether a file is binary, as in Git.
	sniff = 8000
)

// work takes jobs until there are none.
func (r *run) work(ctx context.Context) {
	var buffer []byte
	for {
		d, f, isDir, ok := r.queue.next()
		switch {
		case !ok:
			return
		case isDir:
			r.list(ctx, d)
			r.queue.listed()
		default:
			buffer = r.readFiles(ctx, f, buffer)
		}
	}
}

// list queues what is in a folder.
func (r *run) list(ctx context.Context, d dirJob) {
	entries, err := r.entries(d.path)
	if err != nil {
		r.skip(nonEmpty(d.path), reason(err), unreadable)
		if len(entries) == 0 {
			return
		}
	}
	if r.Config.Ignore {
		d.lists = d.lists.inFolder(r.root, d.path, entries)
	}
	var names []string
	var special, ignored uint64
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		name := e.Name()
		at := path.Join(d.path, name)
		mode := e.Type()
		if isRepositoryStore(name) {
			continue
		}
		switch {
		case !mode.IsDir() && !mode.IsRegular():
			special++
		case d.lists.leaveOut(at, mode.IsDir()):
			ignored++
		case mode.IsDir() && d.depth >= r.Config.MaxDepth:
			r.skip(at, fmt.Sprintf("nested deeper than %d folders", r.Config.MaxDepth), tooDeep)
		case mode.IsDir():
			r.queue.addDir(dirJob{path: at, depth: d.depth + 1, lists: d.lists})
		default:
			if names = append(names, name); len(names) == batch {
				r.queue.addFiles(fileJob{dir: d.path, names: names})
				names = nil
			}
		}
	}
	if len(names) > 0 {
		r.queue.addFiles(fileJob{dir: d.path, names: names})
	}
	if special+ignored > 0 {
		r.count(func(s *Stats) {
			s.Special += special
			s.Ignored += ignored
		})
	}
}

// isRepositoryStore tells the folders in which version control keeps its own.
func isRepositoryStore(name string) bool {
	return name == ".git" || name == ".hg" || name == ".svn" || name == ".jj"
}

func (r *run) entries(dir string) ([]fs.DirEntry, error) {
	f, err := r.root.Open(nonEmpty(dir))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []fs.DirEntry
	for {
		some, err := f.ReadDir(4096)
		out = append(out, some...)
		switch {
		case errors.Is(err, io.EOF) || err == nil && len(some) == 0:
			return out, nil
		case err != nil:
			return out, err
		case len(out) >= maxEntries:
			return out, fmt.Errorf("more than %d entries in one folder: the rest is not scanned", maxEntries)
		}
	}
}

func nonEmpty(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

// readFiles reads files of one folder and offers them to the scanners. It returns the buffer, grown
// if need be.
func (r *run) readFiles(ctx context.Context, job fileJob, buffer []byte) []byte {
	dir, err := r.root.OpenRoot(nonEmpty(job.dir))
	if err != nil {
		for _, name := range job.names {
			r.skip(path.Join(job.dir, name), reason(err), unreadable)
		}
		return buffer
	}
	defer dir.Close()
	for _, name := range job.names {
		if ctx.Err() != nil {
			return buffer
		}
		at := path.Join(job.dir, name)
		var size int
		size, buffer, err = read(dir, name, int64(r.Config.MaxFileSize), buffer)
		switch {
		case errors.Is(err, errTooLarge):
			r.skip(at, err.Error(), tooLarge)
			continue
		case errors.Is(err, errSpecial):
			r.count(func(s *Stats) { s.Special++ })
			continue
		case err != nil:
			r.skip(at, reason(err), unreadable)
			continue
		}
		r.files.Add(1)
		r.bytes.Add(uint64(size))
		r.offer(ctx, at, buffer[:size])
	}
	return buffer
}

// offer shows a file to every scanner.
func (r *run) offer(ctx context.Context, at string, data []byte) {
	f := &File{Path: Printable(at), Data: data}
	if text, ok := fromUTF16(data); ok {
		f.Data = text
	} else if f.Binary = bytes.IndexByte(data[:min(len(data), sniff)], 0) >= 0; f.Binary {
		r.count(func(s *Stats) { s.Binary++ })
	}
	for _, s := range r.Scanners {
		err := s.Scan(ctx, f, func(finding signal.Finding, c Confidence) { r.report(f, finding, c) })
		if err != nil && ctx.Err() == nil {
			r.skip(at, s.Name()+": "+err.Error(), failed)
		}
	}
}

var (
	errTooLarge = errors.New("larger than the limit")
	errSpecial  = errors.New("not a regular file")
)

// read reads a file into the buffer. The file may have become something else since its folder was
// listed: it is opened without blocking, and only read if it is regular.
func read(dir *os.Root, name string, limit int64, buffer []byte) (int, []byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, buffer, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, buffer, err
	}
	if !info.Mode().IsRegular() {
		return 0, buffer, errSpecial
	}
	size := info.Size()
	if size > limit {
		return 0, buffer, fmt.Errorf("%w: %.1f MiB, the limit is %s", errTooLarge, float64(size)/(1<<20), bytesize.Size(limit))
	}
	if int64(len(buffer)) < size {
		buffer = make([]byte, size+size/4+4096)
	}
	n, err := io.ReadFull(f, buffer[:size])
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // it became shorter
	}
	return n, buffer, err
}

// fromUTF16 converts text that begins with a UTF-16 byte order mark. Text without a zero byte is left as
// it is: it holds nothing that a scanner knows if it is UTF-16, and much if only the mark is.
func fromUTF16(data []byte) ([]byte, bool) {
	if len(data) < 4 || bytes.IndexByte(data, 0) < 0 {
		return nil, false
	}
	var order binary.ByteOrder
	switch {
	case data[0] == 0xff && data[1] == 0xfe:
		order = binary.LittleEndian
	case data[0] == 0xfe && data[1] == 0xff:
		order = binary.BigEndian
	default:
		return nil, false
	}
	out := make([]byte, 0, len(data)/2+16)
	for i := 2; i+1 < len(data); i += 2 {
		u := rune(order.Uint16(data[i:]))
		if utf16.IsSurrogate(u) && i+3 < len(data) {
			if pair := utf16.DecodeRune(u, rune(order.Uint16(data[i+2:]))); pair != utf8.RuneError {
				u = pair
				i += 2
			}
		}
		out = utf8.AppendRune(out, u)
	}
	return out, bytes.IndexByte(out[:min(len(out), sniff)], 0) < 0
}
