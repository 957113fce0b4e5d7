package scan

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// modules are what is scanned: public source trees of the Go module cache in fixed versions, so
// that the tree is the same on every machine. The sums are those of go.sum.
var modules = []struct{ version, sum string }{
	{"k8s.io/kubernetes@v1.34.1", "h1:F3p8dtpv+i8zQoebZeK5zBqM1g9x1aIdnA5vthvcuUk="},
	{"k8s.io/api@v0.34.1", "h1:jC+153630BMdlFukegoEL8E/yT7aLyQkIVuwhmwDgJM="},
	{"k8s.io/client-go@v0.34.1", "h1:ZUPJKgXsnKwVwmKKdPfw4tB58+7/Ik3CrjOEhsiZ7mY="},
	{"k8s.io/apiserver@v0.34.1", "h1:U3JBGdgANK3dfFcyknWde1G6X1F4bg7PXuvlqt8lITA="},
	{"k8s.io/apimachinery@v0.34.1", "h1:dTlxFls/eikpJxmAC7MVE8oOeP1zryV7iRyIjB0gky4="},
	{"k8s.io/kubectl@v0.34.1", "h1:1qP1oqT5Xc93K+H8J7ecpBjaz511gan89KO9Vbsh/OI="},
	{"github.com/hashicorp/terraform@v1.13.0", "h1:wSpOj5RhaVH05MxVSdp7sNJ+iAHzc4UhwczQdoibL2s="},
	{"github.com/hashicorp/vault@v1.20.0", "h1:V9ScL36F4DNZB0AlJsHqrWoD+zR0Zi8qhSNdwAw5prg="},
}

// A tree is what both sides read: files of text, in a folder of their own.
type tree struct {
	dir   string
	files int
	bytes int64
}

// least is the size that the bar asks for.
const least = 200e6

// makeTree puts the modules' files into an empty folder, as links where the file system allows. What
// only one side would read is left out: files that tell scanners what to ignore, and
// files that are not text, which rg gives up on at the first zero byte.
func makeTree(ctx context.Context, dir string) (tree, error) {
	t := tree{dir: dir}
	dirs, err := download(ctx)
	if err != nil {
		return t, err
	}
	for i, from := range dirs {
		to := filepath.Join(dir, strings.ReplaceAll(modules[i].version, "/", "_"))
		err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			if err != nil || ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			rel, err := filepath.Rel(from, path)
			if err != nil {
				return err
			}
			switch {
			case d.IsDir():
				return os.MkdirAll(filepath.Join(to, rel), 0o700)
			case !d.Type().IsRegular(), strings.HasSuffix(d.Name(), "ignore"):
				return nil
			}
			n, ok, err := take(path, filepath.Join(to, rel))
			if ok {
				t.files++
				t.bytes += n
			}
			return err
		})
		if err != nil {
			return t, err
		}
	}
	if t.bytes < least {
		return t, fmt.Errorf("the modules hold %d bytes of text, want %d at least", t.bytes, int64(least))
	}
	return t, nil
}

// take links or copies a file of text, and reports whether it is one.
func take(from, to string) (n int64, ok bool, err error) {
	data, err := os.ReadFile(from)
	if err != nil || bytes.IndexByte(data, 0) >= 0 {
		return 0, false, err
	}
	if err := os.Link(from, to); errors.Is(err, syscall.EXDEV) || errors.Is(err, fs.ErrPermission) {
		err = os.WriteFile(to, data, 0o600)
		return int64(len(data)), err == nil, err
	} else if err != nil {
		return 0, false, err
	}
	return int64(len(data)), true, nil
}

// takeArchives puts the zip files that the modules come in into an empty folder, and says how many there are.
func takeArchives(ctx context.Context, dir string) (int, error) {
	_, archives, err := downloaded(ctx)
	if err != nil {
		return 0, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return 0, err
	}
	for i, from := range archives {
		data, err := os.ReadFile(from)
		if err != nil {
			return 0, err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%d.zip", i)), data, 0o600); err != nil {
			return 0, err
		}
	}
	return len(archives), nil
}

// download makes sure that the module cache holds the modules, and returns their folders.
func download(ctx context.Context) ([]string, error) {
	dirs, _, err := downloaded(ctx)
	return dirs, err
}

// downloaded is download with the zip files that they come in.
func downloaded(ctx context.Context) (dirs, archives []string, err error) {
	args := []string{"mod", "download", "-json"}
	for _, m := range modules {
		args = append(args, m.version)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = os.TempDir() // outside of any module
	out, err := cmd.Output()
	dirs, archives = make([]string, len(modules)), make([]string, len(modules))
	for d, i := json.NewDecoder(bytes.NewReader(out)), 0; i < len(modules); i++ {
		var m struct{ Path, Version, Error, Dir, Zip, Sum string }
		if decodeErr := d.Decode(&m); decodeErr != nil {
			return nil, nil, fmt.Errorf("go mod download: %w", errors.Join(err, ignoreEOF(decodeErr)))
		}
		switch {
		case m.Error != "":
			return nil, nil, fmt.Errorf("the tree to scan needs %s: %s", modules[i].version, m.Error)
		case m.Path+"@"+m.Version != modules[i].version || m.Sum != modules[i].sum:
			return nil, nil, fmt.Errorf("go mod download gave %s@%s %s, want %s %s", m.Path, m.Version, m.Sum, modules[i].version, modules[i].sum)
		}
		dirs[i], archives[i] = m.Dir, m.Zip
	}
	return dirs, archives, err
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
