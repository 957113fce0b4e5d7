package inventory

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// wanted is how much of the system is taken.
const wanted = 400e6

// makeDebian copies the files of this machine's Debian packages, in the order of their names until there are 400 MB, with the database
// that names them all.
func makeDebian(ctx context.Context, dir string) (string, error) {
	const info = "/var/lib/dpkg/info"
	lists, err := filepath.Glob(info + "/*.list")
	if err != nil || len(lists) == 0 {
		return "", errors.New("this is no Debian: /var/lib/dpkg/info has no lists")
	}
	slices.Sort(lists)
	for _, f := range append(lists, "/var/lib/dpkg/status", "/etc/os-release") {
		if _, err := copyFile(f, dir); err != nil {
			return "", err
		}
	}
	size := int64(0)
	for _, list := range lists {
		f, err := os.Open(list)
		if err != nil {
			return "", err
		}
		s := bufio.NewScanner(f)
		for s.Scan() && size < wanted && ctx.Err() == nil {
			n, err := copyFile(s.Text(), dir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				f.Close()
				return "", err
			}
			size += n
		}
		f.Close()
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return describe(dir, 1000, wanted)
}

// copyFile copies a regular file with its permissions to the same place below a folder. Others it leaves out.
func copyFile(from, dir string) (int64, error) {
	info, err := os.Stat(from)
	if err != nil || !info.Mode().IsRegular() || !strings.HasPrefix(from, "/") {
		return 0, err
	}
	to := filepath.Join(dir, from)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return 0, err
	}
	in, err := os.Open(from)
	if err != nil {
		return 0, err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if errors.Is(err, fs.ErrExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(out, in)
	return n, errors.Join(err, out.Close())
}
