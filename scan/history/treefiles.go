package history

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxBesideFile bounds the files of a tree that are held whole.
const maxBesideFile = 128 << 20

// treeFiles is the files of a tree, for parts that look at what stands beside a file: a scan of the folder lets them, and what they
// find in both is to be compared. Links are not in it. It is safe for concurrent use, while the repository is open.
type treeFiles struct {
	prefix string // before all names: a submodule's place, with a slash at its end
	files  map[string]id
	limit  int64

	mu sync.Mutex // guards rd
	rd *reader

	listed  sync.Once
	folders map[string]map[string]bool // what is in each, and whether it is a folder
}

func newTreeFiles(w *reading, files map[string]id) *treeFiles {
	return &treeFiles{prefix: w.prefix, files: files, limit: min(int64(w.scan.MaxArtifactSize), maxBesideFile), rd: newReader(w.repo, &w.budget, fileCache)}
}

// list finds the folders, which trees have and their files' paths imply.
func (t *treeFiles) list() {
	t.folders = map[string]map[string]bool{".": {}}
	for name := range t.files {
		isDir := false
		for at := t.prefix + name; at != "."; {
			dir := path.Dir(at)
			in := t.folders[dir]
			if in == nil {
				in = map[string]bool{}
				t.folders[dir] = in
			}
			if _, known := in[path.Base(at)]; known {
				break
			}
			in[path.Base(at)] = isDir
			at, isDir = dir, true
		}
	}
}

func (t *treeFiles) find(op, name string) (*treeFile, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if rest, ok := strings.CutPrefix(name, t.prefix); ok {
		if o, there := t.files[rest]; there {
			return &treeFile{in: t, name: name, object: o}, nil
		}
	}
	t.listed.Do(t.list)
	if t.folders[name] != nil {
		return &treeFile{in: t, name: name, isDir: true}, nil
	}
	return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// Open implements fs.FS.
func (t *treeFiles) Open(name string) (fs.File, error) {
	f, err := t.find("open", name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Stat implements fs.StatFS.
func (t *treeFiles) Stat(name string) (fs.FileInfo, error) {
	f, err := t.find("stat", name)
	if err != nil {
		return nil, err
	}
	return treeInfo{f}, nil
}

// ReadDir implements fs.ReadDirFS.
func (t *treeFiles) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := t.find("readdir", name)
	if err != nil {
		return nil, err
	}
	return f.ReadDir(-1)
}

// treeFile is a file or a folder of a tree. What is in a file is read when somebody wants it.
type treeFile struct {
	in      *treeFiles
	name    string
	object  id
	isDir   bool
	content *bytes.Reader
	err     error
	given   int // entries that ReadDir returned
}

func (f *treeFile) read() (*bytes.Reader, error) {
	if f.isDir {
		return nil, &fs.PathError{Op: "read", Path: f.name, Err: errors.New("is a folder")}
	}
	if f.content == nil && f.err == nil {
		f.in.mu.Lock()
		defer f.in.mu.Unlock()
		k, data, err := f.in.rd.read(f.object, f.in.limit)
		if err == nil && k != blobObject {
			err = fmt.Errorf("%w: not a file", errCorrupted)
		}
		if err != nil {
			f.err = &fs.PathError{Op: "read", Path: f.name, Err: err}
		} else {
			f.content = bytes.NewReader(bytes.Clone(data))
		}
	}
	return f.content, f.err
}

func (f *treeFile) Read(p []byte) (int, error) {
	r, err := f.read()
	if err != nil {
		return 0, err
	}
	return r.Read(p)
}

// ReadAt implements io.ReaderAt.
func (f *treeFile) ReadAt(p []byte, off int64) (int, error) {
	r, err := f.read()
	if err != nil {
		return 0, err
	}
	return r.ReadAt(p, off)
}

// Seek implements io.Seeker.
func (f *treeFile) Seek(off int64, whence int) (int64, error) {
	r, err := f.read()
	if err != nil {
		return 0, err
	}
	return r.Seek(off, whence)
}

// ReadDir implements fs.ReadDirFile.
func (f *treeFile) ReadDir(n int) ([]fs.DirEntry, error) {
	f.in.listed.Do(f.in.list)
	in, ok := f.in.folders[f.name]
	if !f.isDir || !ok {
		return nil, &fs.PathError{Op: "readdir", Path: f.name, Err: errors.New("not a folder")}
	}
	all := make([]fs.DirEntry, 0, len(in))
	for base, isDir := range in {
		name := path.Join(f.name, base)
		e := &treeFile{in: f.in, name: name, isDir: isDir}
		if !isDir {
			e.object = f.in.files[strings.TrimPrefix(name, f.in.prefix)]
		}
		all = append(all, fs.FileInfoToDirEntry(treeInfo{e}))
	}
	slices.SortFunc(all, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	all = all[min(f.given, len(all)):]
	if n > 0 {
		if len(all) == 0 {
			return nil, io.EOF
		}
		all = all[:min(n, len(all))]
	}
	f.given += len(all)
	return all, nil
}

func (f *treeFile) Stat() (fs.FileInfo, error) { return treeInfo{f}, nil }
func (f *treeFile) Close() error               { return nil }

// treeInfo is what is known of a file. Its size is that of its content, which is read for it; -1 of what cannot be.
type treeInfo struct{ f *treeFile }

func (i treeInfo) Name() string { return path.Base(i.f.name) }
func (i treeInfo) Size() int64 {
	if i.f.isDir {
		return 0
	}
	r, err := i.f.read()
	if err != nil {
		return -1
	}
	return r.Size()
}
func (i treeInfo) Mode() fs.FileMode {
	if i.f.isDir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
func (i treeInfo) ModTime() time.Time { return time.Time{} }
func (i treeInfo) IsDir() bool        { return i.f.isDir }
func (i treeInfo) Sys() any           { return nil }
