package assembly

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// logFile is a file to read.
type logFile struct {
	path    string
	size    int64
	regular bool // not a pipe, of which what was read is gone
}

// expand returns the files that are meant, each once, in the order in which they were named; those of folders and patterns in
// the order of their names. What a folder holds and nobody may look at is noted as not read: the rest is no less worth reading.
func (s *logScan) expand() ([]logFile, error) {
	var all []logFile
	seen := map[string]bool{}
	add := func(path string, size int64, regular bool) error {
		if seen[path] {
			return nil
		}
		seen[path] = true
		if all = append(all, logFile{path, size, regular}); len(all) > maxLogFiles {
			return fmt.Errorf("more than %d files: name a smaller folder", maxLogFiles)
		}
		return nil
	}
	for _, name := range s.Files {
		if name == "-" {
			if s.Follow {
				return nil, errors.New("--follow is for files: standard input is read until it ends anyway")
			}
			if err := add(name, 0, false); err != nil {
				return nil, err
			}
			continue
		}
		paths := []string{name}
		if _, err := os.Stat(name); err != nil {
			matched, bad := filepath.Glob(name)
			if bad != nil || len(matched) == 0 {
				return nil, err
			}
			paths = matched
		}
		for _, path := range paths {
			err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
				switch {
				case err != nil:
					return s.passOver(p, err)
				case p != path && strings.HasPrefix(d.Name(), "."):
					if d.IsDir() {
						return fs.SkipDir
					}
					return nil
				case d.IsDir():
					return nil
				}
				info, err := d.Info()
				if p == path {
					info, err = os.Stat(p) // a link that was named is followed
				}
				if err != nil {
					return s.passOver(p, err)
				}
				if !info.Mode().IsRegular() && p != path {
					return nil
				}
				if info.IsDir() { // a link to a folder that was named
					return fmt.Errorf("%s is a link to a folder: name the folder", p)
				}
				return add(p, info.Size(), info.Mode().IsRegular())
			})
			if err != nil {
				return nil, err
			}
		}
	}
	if len(all) == 0 && len(s.sum.Unread) == 0 {
		return nil, fmt.Errorf("no file in %s", strings.Join(s.Files, ", "))
	}
	return all, nil
}

// passOver notes what cannot be looked at. A file that has gone meanwhile is none.
func (s *logScan) passOver(path string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		s.sum.Unread = append(s.sum.Unread, path+": "+plainError(err))
	}
	return nil
}
