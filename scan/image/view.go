package image

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// maxHops bounds the symbolic links on the way to a file, as Linux does.
const maxHops = 40

// layers are the indexes of an image from the lowest up. Nothing in it changes once it is made.
type layers []*index

// hidden returns the first layer above that takes the path away which the layer holds, and how.
func (ls layers) hidden(p string, layer int) (by int, how hiding) {
	for k := layer + 1; k < len(ls); k++ {
		if how := ls[k].hides(p); how != visible {
			return k, how
		}
	}
	return 0, visible
}

// find returns what stands at a path when the layers up to and with top lie on each other. Symbolic links are not followed. The entry of a folder that
// no layer names is made up.
func (ls layers) find(p string, top int) (layer int, e *entry) {
	for k := top; k >= 0; k-- {
		e, gone, emptied := ls[k].find(p)
		switch {
		case e != nil:
			return k, e
		case p == "." || emptied || ls[k].holds(p):
			return k, &entry{path: p, kind: folder, mode: fs.ModeDir | 0o755}
		case gone || ls[k].cuts(p):
			return 0, nil
		}
	}
	return 0, nil
}

// resolve follows the symbolic links of a path inside the image. The last part is followed if follow says so.
func (ls layers) resolve(p string, top int, follow bool) (layer int, e *entry) {
	rest := strings.Split(path.Clean("/" + p)[1:], "/")
	at, hops := ".", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, part)
		_, e := ls.find(next, top)
		if e == nil {
			return 0, nil
		}
		if e.kind != symlink || len(rest) == 0 && !follow {
			at = next
			continue
		}
		if hops++; hops > maxHops || len(e.link) == 0 {
			return 0, nil
		}
		if strings.HasPrefix(e.link, "/") {
			at = "."
		}
		rest = append(strings.Split(e.link, "/"), rest...)
		if len(rest) > maxName {
			return 0, nil
		}
	}
	return ls.find(at, top)
}

// list returns the names in a folder, sorted.
func (ls layers) list(dir string, top int) []string {
	gone, seen := map[string]bool{}, map[string]bool{}
	for k := top; k >= 0; k-- {
		var lost []string
		ls[k].children(dir, func(name string, out bool) bool {
			switch {
			case out:
				lost = append(lost, name)
			case !gone[name]:
				seen[name] = true
			}
			return len(seen) <= maxListed
		})
		e, out, emptied := ls[k].find(dir)
		if out || emptied || e != nil && e.kind != folder || dir != "." && ls[k].cuts(dir) {
			break
		}
		for _, name := range lost {
			gone[name] = true
		}
	}
	names := make([]string, 0, len(seen))
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// maxListed bounds the names of one folder that are listed.
const maxListed = 1 << 20

// tree is the files of an image as they lie when the layers up to and with top are on each other: what runs, if top is the last. Links are followed
// inside the image only.
type tree struct {
	layers
	top int
	// read returns the content of a regular file in a layer.
	read func(layer int, p string) (content io.ReaderAt, done func() error, err error)
}

var (
	_ fs.ReadDirFS  = (*tree)(nil)
	_ fs.StatFS     = (*tree)(nil)
	_ fs.ReadLinkFS = (*tree)(nil)
)

func (t *tree) at(op, p string, follow bool) (int, *entry, error) {
	if !fs.ValidPath(p) {
		return 0, nil, &fs.PathError{Op: op, Path: p, Err: fs.ErrInvalid}
	}
	layer, e := t.resolve(p, t.top, follow)
	if e == nil {
		return 0, nil, &fs.PathError{Op: op, Path: p, Err: fs.ErrNotExist}
	}
	return layer, e, nil
}

// Stat implements fs.StatFS.
func (t *tree) Stat(p string) (fs.FileInfo, error) {
	layer, e, err := t.at("stat", p, true)
	if err != nil {
		return nil, err
	}
	_, e = t.content(layer, e)
	return info{name: path.Base(p), entry: e}, nil
}

// Lstat implements fs.ReadLinkFS.
func (t *tree) Lstat(p string) (fs.FileInfo, error) {
	_, e, err := t.at("lstat", p, false)
	if err != nil {
		return nil, err
	}
	return info{name: path.Base(p), entry: e}, nil
}

// ReadLink implements fs.ReadLinkFS.
func (t *tree) ReadLink(p string) (string, error) {
	_, e, err := t.at("readlink", p, false)
	if err == nil && e.kind != symlink {
		err = &fs.PathError{Op: "readlink", Path: p, Err: fs.ErrInvalid}
	}
	if err != nil {
		return "", err
	}
	return e.link, nil
}

// ReadDir implements fs.ReadDirFS.
func (t *tree) ReadDir(p string) ([]fs.DirEntry, error) {
	_, e, err := t.at("readdir", p, true)
	if err == nil && e.kind != folder {
		err = &fs.PathError{Op: "readdir", Path: p, Err: fs.ErrInvalid}
	}
	if err != nil {
		return nil, err
	}
	var out []fs.DirEntry
	for _, n := range t.list(e.path, t.top) {
		if _, child := t.find(path.Join(e.path, n), t.top); child != nil {
			out = append(out, fs.FileInfoToDirEntry(info{name: n, entry: child}))
		}
	}
	return out, nil
}

// content returns the entry that has the bytes of a file: a hard link names another of its layer or of one below.
func (t *tree) content(layer int, e *entry) (int, *entry) {
	for hops := 0; e.kind == hardlink && hops < maxHops; hops++ {
		target, _, _ := t.layers[layer].find(e.link)
		at := layer
		if target == nil {
			if at, target = t.find(e.link, layer); target == nil {
				return layer, e
			}
		}
		layer, e = at, target
	}
	return layer, e
}

// Open implements fs.FS.
func (t *tree) Open(p string) (fs.File, error) {
	layer, e, err := t.at("open", p, true)
	if err != nil {
		return nil, err
	}
	layer, e = t.content(layer, e)
	i := info{name: path.Base(p), entry: e}
	switch e.kind {
	case folder:
		entries, err := t.ReadDir(p)
		return &openFolder{info: i, entries: entries}, err
	case regular:
		content, done, err := t.read(layer, e.path)
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: p, Err: err}
		}
		return &openFile{SectionReader: io.NewSectionReader(content, 0, e.size), info: i, done: done}, nil
	}
	return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrInvalid}
}

// openFile is a file of a tree. It can be read at any place, as some extractors need.
type openFile struct {
	*io.SectionReader
	info info
	done func() error
}

func (f *openFile) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error               { return f.done() }

type openFolder struct {
	info    info
	entries []fs.DirEntry
}

func (f *openFolder) Stat() (fs.FileInfo, error) { return f.info, nil }
func (f *openFolder) Close() error               { return nil }
func (f *openFolder) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.info.path, Err: fs.ErrInvalid}
}

// ReadDir implements fs.ReadDirFile.
func (f *openFolder) ReadDir(n int) ([]fs.DirEntry, error) {
	if n <= 0 {
		out := f.entries
		f.entries = nil
		return out, nil
	}
	if len(f.entries) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(f.entries))
	out := f.entries[:n]
	f.entries = f.entries[n:]
	return out, nil
}

func nothing() error { return nil }

func inMemory(data []byte) (io.ReaderAt, func() error, error) {
	return bytes.NewReader(data), nothing, nil
}
