// Package atomicfile replaces files whole: after a crash there is the old one or the new one.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write puts a file of mode 0600 in place, durably. What an earlier Write was killed over, beside it, is removed.
func Write(path string, body []byte) error {
	dir, base := filepath.Split(path)
	if dir == "" {
		dir = "."
	}
	Sweep(path)
	f, err := os.CreateTemp(dir, "."+base+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // of no effect once it is renamed
	_, err = f.Write(body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Sweep removes what a crash left beside a file. Nobody may be writing it meanwhile.
func Sweep(path string) {
	left, _ := filepath.Glob(filepath.Join(quoted(filepath.Dir(path)), "."+quoted(filepath.Base(path))+"-*"))
	for _, name := range left {
		_ = os.Remove(name)
	}
}

// quoted is a path of which Glob takes each character for itself.
func quoted(path string) string {
	var b []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			b = append(b, '\\')
		}
		b = append(b, path[i])
	}
	return string(b)
}
