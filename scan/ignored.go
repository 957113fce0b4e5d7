package scan

import (
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/testudo-sec/testudo/internal/ignore"
)

// ignoreLists are the lists in force in a folder. What the caller excludes comes first, then
// .testudoignore, then what git ignores: so a .testudoignore can bring back a file that git ignores.
type ignoreLists struct {
	exclude, own, git *ignore.List
}

func (l *ignoreLists) leaveOut(path string, isDir bool) bool {
	out, _ := l.decide(path, isDir)
	return out
}

// decide says, too, whether it is git's ignore files that decide.
func (l *ignoreLists) decide(path string, isDir bool) (out, git bool) {
	for _, list := range []*ignore.List{l.exclude, l.own, l.git} {
		if out, matched := list.Decide(path, isDir); matched {
			return out, list == l.git
		}
	}
	return false, false
}

// given adds the ignore files of a folder that somebody else gave.
func (l ignoreLists) given(dir string, files map[string][]byte) ignoreLists {
	l.git = l.git.Extend(dir, files[path.Join(dir, ".gitignore")])
	l.own = l.own.Extend(dir, files[path.Join(dir, ".testudoignore")])
	return l
}

// inFolder adds the ignore files of a folder.
func (l ignoreLists) inFolder(root *os.Root, dir string, entries []fs.DirEntry) ignoreLists {
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		var list **ignore.List
		switch e.Name() {
		case ".gitignore":
			list = &l.git
		case ".testudoignore":
			list = &l.own
		default:
			continue
		}
		f, err := root.OpenFile(filepath.Join(dir, e.Name()), os.O_RDONLY|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue // counted when it is scanned like any file
		}
		if content, err := readSome(f); err == nil {
			*list = (*list).Extend(dir, content)
		}
		f.Close()
	}
	return l
}

// readSome reads the beginning of an ignore file.
func readSome(f *os.File) ([]byte, error) {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errSpecial
	}
	return io.ReadAll(io.LimitReader(f, ignore.MaxFileBytes))
}

// excludeList makes a list of the user's own patterns.
func excludeList(patterns []string) *ignore.List {
	return (*ignore.List)(nil).Extend("", []byte(strings.Join(patterns, "\n")))
}

// aboveRoot returns what the repository that dir is in says above dir: .git/info/exclude and the
// .gitignore files from its top down to the folder above dir.
func aboveRoot(dir string) *ignore.List {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil
	}
	top := abs
	for {
		if _, err := os.Lstat(filepath.Join(top, ".git")); err == nil {
			break
		}
		up := filepath.Dir(top)
		if up == top {
			return nil
		}
		top = up
	}
	below, err := filepath.Rel(top, abs)
	if err != nil {
		return nil
	}
	list := (*ignore.List)(nil)
	rest := filepath.ToSlash(below)
	if rest == "." {
		rest = ""
	}
	list = list.ExtendAbove(rest, readOutside(filepath.Join(top, ".git", "info", "exclude")))
	for at := top; rest != ""; {
		list = list.ExtendAbove(rest, readOutside(filepath.Join(at, ".gitignore")))
		head, tail, _ := strings.Cut(rest, "/")
		at, rest = filepath.Join(at, head), tail
	}
	return list
}

// readOutside reads an ignore file above the root; nothing if it is none.
func readOutside(name string) []byte {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	content, err := readSome(f)
	if err != nil {
		return nil
	}
	return content
}
