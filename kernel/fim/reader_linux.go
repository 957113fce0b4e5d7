package fim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Programs read a regular file for its digest and its package: kernel/software.
type Programs interface {
	Executable(ctx context.Context, r kernel.FileRef) (kernel.Executable, error)
}

// Reader says what files are: the ones that its configuration names, and no others. It implements kernel.Examiner and is safe for
// concurrent use. It follows no symbolic link out of a watched folder, waits for no file, and stops at the limits that it was given.
type Reader struct {
	cfg      Config
	base     string // "/" but for tests
	programs Programs
}

// NewReader returns a reader of the host whose file system is at base, "/" as a rule.
func NewReader(cfg Config, base string, programs Programs) *Reader {
	return &Reader{cfg: cfg, base: base, programs: programs}
}

// Examine implements kernel.Examiner.
func (r *Reader) Examine(ctx context.Context, q kernel.ExamineRequest) (kernel.Examined, error) {
	if len(q.Paths) == 0 {
		return r.page(ctx, q)
	}
	if len(q.Paths) > kernel.MaxExamined {
		return kernel.Examined{}, fmt.Errorf("%d files at once are too many: at most %d", len(q.Paths), kernel.MaxExamined)
	}
	var a kernel.Examined
	for _, p := range q.Paths {
		root, ok := r.cfg.rootOf(string(p))
		if !ok {
			return kernel.Examined{}, fmt.Errorf("%s is not watched: fim.paths says what is", p)
		}
		if err := ctx.Err(); err != nil {
			return kernel.Examined{}, err
		}
		a.Files = append(a.Files, r.at(ctx, root, string(p)))
	}
	return a, nil
}

// errEnough ends a walk.
var errEnough = errors.New("enough")

// walk goes over the watched files in order.
type walk struct {
	r     *Reader
	ctx   context.Context
	after string
	limit int
	a     *kernel.Examined
}

func (r *Reader) page(ctx context.Context, q kernel.ExamineRequest) (kernel.Examined, error) {
	var a kernel.Examined
	w := walk{r: r, ctx: ctx, after: string(q.After), limit: q.Limit, a: &a}
	if w.limit <= 0 || w.limit > kernel.MaxExamined {
		w.limit = kernel.MaxExamined
	}
	for _, root := range r.cfg.roots() {
		if r.cfg.excluded(root) {
			continue
		}
		err := w.root(root)
		if errors.Is(err, errEnough) {
			break
		}
		if err != nil {
			return kernel.Examined{}, err
		}
	}
	return a, nil
}

// root walks a watched path.
func (w *walk) root(name string) error {
	dir, rel, err := w.r.within(name, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		if w.after == "" || comparePaths(name, w.after) > 0 {
			w.a.Files = append(w.a.Files, kernel.File{Path: kernel.FilePath(name), Exists: true, Unread: reason(err)})
		}
		return nil
	}
	defer dir.Close()
	return w.entry(dir, rel, name)
}

// entry tells of a file, and of what is below it. dir is the root that the file is reached through. What earlier pages told of is passed
// over without a look at it.
func (w *walk) entry(dir *os.Root, rel, name string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if w.after != "" && comparePaths(name, w.after) <= 0 {
		if name != w.after && !strings.HasPrefix(w.after, name+"/") {
			return nil
		}
		return w.below(dir, rel, name)
	}
	if len(w.a.Files) == w.limit {
		w.a.After = w.a.Files[len(w.a.Files)-1].Path
		return errEnough
	}
	f := w.r.look(w.ctx, dir, rel, name)
	if !f.Exists {
		return nil // it has gone since its folder was read
	}
	w.a.Files = append(w.a.Files, f)
	if f.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil
	}
	return w.below(dir, rel, name)
}

// below walks what is in a folder.
func (w *walk) below(dir *os.Root, rel, name string) error {
	names, full, err := entries(dir, rel, w.r.cfg.MaxFiles)
	if err != nil {
		return nil // it has gone, or is no folder any more
	}
	if full {
		w.a.Full = true
	}
	for _, n := range names {
		at := name + "/" + n
		if w.r.cfg.excluded(at) {
			continue
		}
		if err := w.entry(dir, path.Join(rel, n), at); err != nil {
			return err
		}
	}
	return nil
}

// entries returns the sorted names in a folder, as many as are watched at most. Other file systems than one of the disk's are not entered.
func entries(dir *os.Root, rel string, most int) (names []string, full bool, err error) {
	if rel == "" {
		rel = "."
	}
	was, err := dir.Lstat(rel)
	if err != nil || !was.IsDir() {
		return nil, false, err
	}
	f, err := dir.OpenFile(rel, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	if is, err := f.Stat(); err != nil || !os.SameFile(was, is) {
		return nil, false, err // a link has taken its place
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil || slices.Contains([]uint32{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.FUSE_SUPER_MAGIC}, uint32(fs.Type)) {
		return nil, false, err
	}
	// Of too many the first ones by name are kept, so that it is always the same.
	keep := func() {
		slices.Sort(names)
		if len(names) > most {
			names, full = names[:most], true
		}
	}
	for {
		some, err := f.Readdirnames(4096)
		names = append(names, some...)
		if err == io.EOF {
			keep()
			return names, full, nil
		}
		if err != nil {
			return nil, false, err
		}
		if len(names) > 2*most+4096 {
			keep()
		}
	}
}

// within opens the folder that a watched path is, or is in, and returns the path from there.
func (r *Reader) within(root, name string) (*os.Root, string, error) {
	at := path.Join(r.base, root)
	info, err := os.Lstat(at)
	if err != nil {
		return nil, "", err
	}
	if info.IsDir() {
		dir, err := os.OpenRoot(at)
		return dir, strings.TrimPrefix(strings.TrimPrefix(name, root), "/"), err
	}
	if name != root {
		return nil, "", os.ErrNotExist // below what is no folder
	}
	dir, err := os.OpenRoot(path.Dir(at))
	return dir, path.Base(at), err
}

// at says what is at one path.
func (r *Reader) at(ctx context.Context, root, name string) kernel.File {
	gone := kernel.File{Path: kernel.FilePath(name)}
	dir, rel, err := r.within(root, name)
	if err != nil {
		return gone
	}
	defer dir.Close()
	// A folder on the way that is a link now would show another file under this name.
	for i := 0; i < len(rel); i++ {
		if rel[i] == '/' {
			if info, err := dir.Lstat(rel[:i]); err != nil || !info.IsDir() {
				return gone
			}
		}
	}
	return r.look(ctx, dir, rel, name)
}

// tries is how often a file is read that changes meanwhile.
const tries = 3

// look says what a file is.
func (r *Reader) look(ctx context.Context, dir *os.Root, rel, name string) kernel.File {
	if rel == "" {
		rel = "."
	}
	var f kernel.File
	for range tries {
		f = kernel.File{Path: kernel.FilePath(name)}
		info, err := dir.Lstat(rel)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return f
		}
		f.Exists = true
		if err != nil {
			f.Unread = reason(err)
			return f
		}
		fill(&f, info)
		switch f.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := dir.Readlink(rel)
			if err != nil {
				continue
			}
			f.Target = kernel.FilePath(target)
			return f
		case unix.S_IFREG:
		default:
			return f
		}
		if f.Size > int64(r.cfg.MaxSize) {
			f.Unread = "larger than " + r.cfg.MaxSize.String() + " (fim.max_size)"
			return f
		}
		e, err := r.programs.Executable(ctx, kernel.FileRef{Path: name,
			Inode: record.Inode{Number: f.Inode, Size: f.Size, Modified: f.Modified, Changed: f.Changed}})
		f.SHA256, f.Package, f.Altered = e.SHA256, e.Package, e.Changed
		if f.SHA256 != "" {
			return f
		}
		f.Unread = "it could not be read"
		if err != nil {
			f.Unread = reason(err)
		}
		if ctx.Err() != nil {
			return f
		}
	}
	return f
}

func fill(f *kernel.File, info os.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	f.Mode, f.UID, f.GID, f.Size, f.Inode = st.Mode, st.Uid, st.Gid, st.Size, st.Ino
	f.Device = uint64(unix.Major(st.Dev))<<32 | uint64(unix.Minor(st.Dev))
	f.Modified, f.Changed = st.Mtim.Nano(), st.Ctim.Nano()
}

// reason is an error without the path, which stands beside it.
func reason(err error) string {
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	text := err.Error()
	return text[:min(len(text), 200)]
}
