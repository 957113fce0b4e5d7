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
	"sync/atomic"
)

// Files is a list of files below a folder as a source, as hooks are given it. What ignore files leave out is left out
// here too, links are not followed, and files outside the folder are not read but named.
type Files struct {
	Root   string
	Paths  []string // relative to Root, or absolute and below it
	Config Config
}

// Files implements Source.
func (s *Files) Files(ctx context.Context, v Visitor) error {
	w := &walk{Config: s.Config, v: v}
	resolved, err := filepath.EvalSymlinks(s.Root)
	if err != nil {
		return fmt.Errorf("scan %s: %s", Printable(s.Root), reason(err))
	}
	if w.root, err = os.OpenRoot(resolved); err != nil {
		return fmt.Errorf("scan %s: %s", Printable(s.Root), reason(err))
	}
	defer w.root.Close()
	w.fsys = w.root.FS()
	l := listed{walk: w, folders: map[string]folder{}}
	l.top.exclude = excludeList(s.Config.Exclude)
	if s.Config.Ignore {
		l.top.git = aboveRoot(resolved)
	}
	var names []string
	seen := map[string]bool{}
	for _, p := range s.Paths {
		name, ok := below(resolved, s.Root, p)
		switch {
		case !ok:
			v.Skip(Unreadable, p, "outside the folder that is scanned")
		case !seen[name]:
			seen[name] = true
			names = append(names, name)
		}
	}
	v.Found(len(names), true)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range s.Config.workers() {
		workers.Go(func() {
			var buffer []byte
			for ctx.Err() == nil {
				n := int(next.Add(1)) - 1
				if n >= len(names) {
					return
				}
				buffer = l.read(ctx, names[n], buffer)
			}
		})
	}
	workers.Wait()
	return ctx.Err()
}

// below returns a path relative to the root, with slashes.
func below(resolved, root, p string) (string, bool) {
	if filepath.IsAbs(p) {
		rel, err := filepath.Rel(resolved, p)
		if err != nil || !filepath.IsLocal(rel) {
			abs, errAbs := filepath.Abs(root)
			if errAbs != nil {
				return "", false
			}
			if rel, err = filepath.Rel(abs, p); err != nil {
				return "", false
			}
		}
		p = rel
	}
	if !filepath.IsLocal(p) {
		return "", false
	}
	return path.Clean(filepath.ToSlash(p)), true
}

// listed reads named files.
type listed struct {
	*walk
	top     ignoreLists
	mu      sync.Mutex
	folders map[string]folder
}

// folder is what the ignore files down to a folder say.
type folder struct {
	lists   ignoreLists
	ignored bool
}

// folder returns what holds for the files in a folder.
func (l *listed) folder(dir string) folder {
	if f, ok := l.folders[dir]; ok {
		return f
	}
	f := folder{lists: l.top}
	if dir != "." {
		f = l.folder(path.Dir(dir))
		f.ignored = f.ignored || isRepositoryStore(path.Base(dir)) || f.lists.leaveOut(dir, true)
	}
	if l.Ignore && !f.ignored {
		var entries []fs.DirEntry
		for _, name := range []string{".gitignore", ".testudoignore"} {
			if info, err := l.root.Lstat(path.Join(dir, name)); err == nil {
				entries = append(entries, fs.FileInfoToDirEntry(info))
			}
		}
		at := dir
		if at == "." {
			at = ""
		}
		f.lists = f.lists.inFolder(l.root, at, entries)
	}
	l.folders[dir] = f
	return f
}

// read reads a file and offers it.
func (l *listed) read(ctx context.Context, name string, buffer []byte) []byte {
	l.mu.Lock()
	f := l.folder(path.Dir(name))
	l.mu.Unlock()
	if f.ignored || f.lists.leaveOut(name, false) {
		l.v.Count(Ignored, 1)
		return buffer
	}
	info, err := l.root.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		l.v.Count(Special, 1)
		return buffer
	}
	if err == nil {
		buffer, err = l.readFile(ctx, l.root, name, name, buffer)
	}
	switch {
	case errors.Is(err, errTooLarge):
		l.v.Skip(TooLarge, name, err.Error())
	case errors.Is(err, errSpecial):
		l.v.Count(Special, 1)
	case err != nil:
		l.v.Skip(Unreadable, name, reason(err))
	}
	return buffer
}

// Stream is one file that is read from a stream, as from the standard input.
type Stream struct {
	Name   string // what it is called in findings; rules that are about certain files hold to it
	Reader io.Reader
	Config Config
}

// Files implements Source. Of a stream longer than MaxFileSize the beginning is offered.
func (s *Stream) Files(ctx context.Context, v Visitor) error {
	v.Found(1, true)
	limit := int64(s.Config.MaxFileSize)
	data, err := io.ReadAll(io.LimitReader(s.Reader, limit+1))
	if err != nil {
		return fmt.Errorf("scan %s: %w", Printable(s.Name), err)
	}
	if int64(len(data)) > limit {
		data = data[:limit]
		v.Skip(TooLarge, s.Name, fmt.Sprintf("only the first %s are read", s.Config.MaxFileSize))
	}
	v.File(ctx, &File{Path: s.Name, Name: s.Name, Data: data})
	return ctx.Err()
}
