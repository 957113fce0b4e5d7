package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	// maxEntries bounds the entries of one folder that are held at a time.
	maxEntries = 1 << 20
)

// A Tree is a folder, or one file, as a source. Links are not followed, but for Root itself.
type Tree struct {
	Root   string
	Config Config
	// Opened, if not nil, is the folder to read instead of Root, for folders that have no name of their own, such as the root
	// of another mount namespace.
	Opened *os.Root
	// IgnoreFiles, if not nil, are the ignore files that count, by their paths: those of the tree itself do not. For a tree
	// whose author must not decide what of it is looked at.
	IgnoreFiles map[string][]byte
	// Tracked are files, and the folders that hold them, which git's ignore files do not leave out: git does not ignore what
	// was committed.
	Tracked map[string]bool
}

// Files walks the tree with Config's workers.
func (t *Tree) Files(ctx context.Context, v Visitor) error {
	w := &walk{Config: t.Config, v: v, given: t.IgnoreFiles, tracked: t.Tracked}
	if t.Opened != nil {
		w.root = t.Opened
		w.queue.init()
		w.queue.addDir(dirJob{lists: ignoreLists{exclude: excludeList(w.Exclude)}})
	} else {
		if err := w.open(t.Root); err != nil {
			return err
		}
		defer w.root.Close()
	}
	w.fsys = w.root.FS()
	stop := context.AfterFunc(ctx, w.queue.close)
	defer stop()
	var workers sync.WaitGroup
	for range t.Config.workers() {
		workers.Go(func() { w.work(ctx) })
	}
	workers.Wait()
	return ctx.Err()
}

// walk is the state of one reading of a tree.
type walk struct {
	Config
	v     Visitor
	root  *os.Root
	fsys  fs.FS
	queue queue
	given map[string][]byte // Tree.IgnoreFiles
	// tracked is Tree.Tracked.
	tracked map[string]bool
}

// open resolves the root and queues it.
func (w *walk) open(root string) error {
	resolved, err := filepath.EvalSymlinks(root)
	if err != nil {
		return fmt.Errorf("scan %s: %s", Printable(root), reason(err))
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return fmt.Errorf("scan %s: %s", Printable(root), reason(err))
	}
	dir, file := resolved, ""
	switch {
	case info.IsDir():
	case info.Mode().IsRegular():
		dir, file = filepath.Split(resolved)
		if dir == "" {
			dir = "."
		}
	default:
		return fmt.Errorf("scan %s: neither a file nor a folder", Printable(root))
	}
	if w.root, err = os.OpenRoot(dir); err != nil {
		return fmt.Errorf("scan %s: %s", Printable(root), reason(err))
	}
	w.queue.init()
	if file != "" {
		w.queue.addFiles(fileJob{names: []string{file}})
		w.v.Found(1, true)
		return nil
	}
	lists := ignoreLists{}
	if w.Ignore && w.given == nil {
		lists.git = aboveRoot(dir)
	}
	lists.exclude = excludeList(w.Exclude)
	w.queue.addDir(dirJob{lists: lists})
	return nil
}

// addFiles queues files of a folder.
func (w *walk) addFiles(f fileJob) {
	w.queue.addFiles(f)
	w.v.Found(len(f.names), false)
}

// work takes jobs until there are none.
func (w *walk) work(ctx context.Context) {
	var buffer []byte
	for {
		d, f, isDir, ok := w.queue.next()
		switch {
		case !ok:
			return
		case isDir:
			w.list(ctx, d)
			w.queue.listed()
			if w.queue.complete() {
				w.v.Found(0, true)
			}
		default:
			buffer = w.readFiles(ctx, f, buffer)
		}
	}
}

// list queues what is in a folder.
func (w *walk) list(ctx context.Context, d dirJob) {
	entries, err := w.entries(d.path)
	if err != nil {
		w.v.Skip(Unreadable, nonEmpty(d.path), reason(err))
		if len(entries) == 0 {
			return
		}
	}
	switch {
	case !w.Ignore:
	case w.given != nil:
		d.lists = d.lists.given(d.path, w.given)
	default:
		d.lists = d.lists.inFolder(w.root, d.path, entries)
	}
	job := fileJob{dir: d.path}
	selective := w.selective()
	var special, ignored uint64
	for _, e := range entries {
		if ctx.Err() != nil {
			return
		}
		name := e.Name()
		at := path.Join(d.path, name)
		mode := e.Type()
		if isRepositoryStore(name) && (name == ".git" || mode.IsDir() && w.given == nil) {
			continue // a commit cannot bring a .git, but it can bring the others
		}
		out, git := d.lists.decide(at, mode.IsDir())
		only := d.only
		if out && git && w.tracked[at] {
			out, only = false, true
		}
		switch {
		case !mode.IsDir() && !mode.IsRegular():
			special++
			if mode&fs.ModeSymlink != 0 && w.given != nil && !out {
				w.link(at)
			}
		case out || only && !w.tracked[at]:
			ignored++
		case mode.IsDir() && d.depth >= w.MaxDepth:
			w.v.Skip(TooDeep, at, fmt.Sprintf("nested deeper than %d folders", w.MaxDepth))
		case mode.IsDir():
			w.queue.addDir(dirJob{path: at, depth: d.depth + 1, lists: d.lists, only: only})
		default:
			job.names = append(job.names, name)
			if selective {
				// A folder opened in a Root asks for this while it is read. Nil where that did not do.
				info, _ := e.Info()
				job.infos = append(job.infos, info)
			}
			if len(job.names) == batch {
				w.addFiles(job)
				job.names, job.infos = nil, nil
			}
		}
	}
	if len(job.names) > 0 {
		w.addFiles(job)
	}
	w.v.Count(Special, special)
	w.v.Count(Ignored, ignored)
}

// link tells of a link that stands aside, in the tree of somebody who must not hide anything.
func (w *walk) link(at string) {
	to, err := w.root.Readlink(at)
	if err != nil {
		return
	}
	if name, reason, aside := LinkAside(w.v, at, filepath.ToSlash(to)); aside {
		w.v.Skip(Unreadable, name, reason)
	}
}

// LinkAside reports whether a link has the name of a file that names packages and leads to one that has none, or out of the tree: links are not
// followed, and tools that install packages do. Where it leads to a file of such a name, that is read at its own place.
func LinkAside(v Visitor, at, to string) (name, reason string, aside bool) {
	plain := func(p string) fs.FileInfo { return plainFile(path.Base(p)) }
	if !v.Wants(at, plain(at)) {
		return "", "", false
	}
	target := path.Join(path.Dir(at), to)
	if !path.IsAbs(to) && fs.ValidPath(target) && v.Wants(target, plain(target)) {
		return "", "", false
	}
	return at + " → " + to, "a link to a file of another kind, which is not followed", true
}

// plainFile is a small regular file, for those who ask by name.
type plainFile string

func (p plainFile) Name() string     { return string(p) }
func (plainFile) Size() int64        { return 1 }
func (plainFile) Mode() fs.FileMode  { return 0o644 }
func (plainFile) ModTime() time.Time { return time.Time{} }
func (plainFile) IsDir() bool        { return false }
func (plainFile) Sys() any           { return nil }

// isRepositoryStore tells the folders in which version control keeps its own.
func isRepositoryStore(name string) bool {
	return name == ".git" || name == ".hg" || name == ".svn" || name == ".jj"
}

func (w *walk) entries(dir string) ([]fs.DirEntry, error) {
	f, err := w.root.Open(nonEmpty(dir))
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

// readFiles reads files of one folder and offers them. It returns the buffer, grown if need be.
func (w *walk) readFiles(ctx context.Context, job fileJob, buffer []byte) []byte {
	var opened *os.Root
	folder := func() (*os.Root, error) {
		var err error
		if opened == nil {
			opened, err = w.root.OpenRoot(nonEmpty(job.dir))
		}
		return opened, err
	}
	if job.names = w.choose(job, folder); len(job.names) == 0 {
		if opened != nil {
			opened.Close()
		}
		return buffer
	}
	dir, err := folder()
	if err != nil {
		for _, name := range job.names {
			w.v.Skip(Unreadable, path.Join(job.dir, name), reason(err))
		}
		return buffer
	}
	defer dir.Close()
	for _, name := range job.names {
		if ctx.Err() != nil {
			return buffer
		}
		at := path.Join(job.dir, name)
		buffer, err = w.readFile(ctx, dir, name, at, buffer)
		switch {
		case errors.Is(err, errTooLarge):
			w.v.Skip(TooLarge, at, err.Error())
		case errors.Is(err, errSpecial):
			w.v.Count(Special, 1)
		case err != nil:
			w.v.Skip(Unreadable, at, reason(err))
		}
	}
	return buffer
}

// selective reports whether the visitor chooses.
func (w *walk) selective() bool {
	c, ok := w.v.(Chooser)
	return ok && c.Selective()
}

// choose leaves out the files that nobody reads, where the visitor can tell.
func (w *walk) choose(job fileJob, folder func() (*os.Root, error)) []string {
	if !w.selective() {
		return job.names
	}
	chooser := w.v.(Chooser)
	chosen := job.names[:0]
	for i, name := range job.names {
		at := path.Join(job.dir, name)
		info := &lazyInfo{folder: folder, name: name}
		if i < len(job.infos) {
			info.info = job.infos[i]
		}
		if !chooser.Passes(at, info) {
			chosen = append(chosen, name)
		}
	}
	return chosen
}

// lazyInfo asks for a file's mode and size when somebody wants to know. A file that is gone has none.
type lazyInfo struct {
	folder func() (*os.Root, error)
	name   string
	info   fs.FileInfo
}

func (l *lazyInfo) known() fs.FileInfo {
	if l.info == nil {
		l.info = absent{}
		if dir, err := l.folder(); err == nil {
			if info, err := dir.Lstat(l.name); err == nil {
				l.info = info
			}
		}
	}
	return l.info
}

func (l *lazyInfo) Name() string       { return l.name }
func (l *lazyInfo) Size() int64        { return l.known().Size() }
func (l *lazyInfo) Mode() fs.FileMode  { return l.known().Mode() }
func (l *lazyInfo) ModTime() time.Time { return l.known().ModTime() }
func (l *lazyInfo) IsDir() bool        { return l.Mode().IsDir() }
func (l *lazyInfo) Sys() any           { return nil }

// absent is a file that is gone.
type absent struct{}

func (absent) Name() string       { return "" }
func (absent) Size() int64        { return 0 }
func (absent) Mode() fs.FileMode  { return 0 }
func (absent) ModTime() time.Time { return time.Time{} }
func (absent) IsDir() bool        { return false }
func (absent) Sys() any           { return nil }

var (
	errTooLarge = errors.New("larger than the limit")
	errSpecial  = errors.New("not a regular file")
)

// readFile reads a file into the buffer and offers it. The file may have become something else since its folder
// was listed: it is opened without blocking, and only read if it is regular.
func (w *walk) readFile(ctx context.Context, dir *os.Root, name, at string, buffer []byte) ([]byte, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return buffer, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return buffer, err
	}
	if !info.Mode().IsRegular() {
		return buffer, errSpecial
	}
	file := &File{Path: at, Name: at, Info: info, Content: f, FS: w.fsys}
	size := info.Size()
	if size > int64(w.MaxFileSize) {
		limit := w.MaxFileSize
		if w.v.Wants(at, info) {
			if limit = w.MaxArtifactSize; size <= int64(limit) {
				w.v.File(ctx, file)
				return buffer, nil
			}
		} else if c, ok := w.v.(Chooser); ok && c.Passes(at, info) {
			return buffer, nil
		}
		return buffer, fmt.Errorf("%w: %.1f MiB, the limit is %s", errTooLarge, float64(size)/(1<<20), limit)
	}
	if w.selective() {
		w.v.File(ctx, file)
		return buffer, nil
	}
	if int64(len(buffer)) < size {
		buffer = make([]byte, size+size/4+4096)
	}
	n, err := io.ReadFull(f, buffer[:size])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return buffer, err
	}
	file.Data = buffer[:n:n] // shorter than size if it became so
	w.v.File(ctx, file)
	return buffer, nil
}
