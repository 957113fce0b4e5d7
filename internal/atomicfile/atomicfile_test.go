package atomicfile

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b] *")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "x")
	for _, name := range []string{".x-123", "x-123", ".y-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, body := range []string{"first", "second, which is longer", ""} {
		if err := Write(path, []byte(body)); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, err2 := os.Stat(path)
		if err != nil || err2 != nil || string(got) != body || info.Mode() != 0o600 {
			t.Errorf("%q %v %v", got, err, info)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 3 {
		t.Errorf("left: %v %v", left, err)
	}
	// Where it cannot be put nothing stays, and what is there is not touched.
	folder := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(folder, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Write(folder, []byte("x")); err == nil {
		t.Error("it replaced a folder")
	}
	if left, _ := filepath.Glob(filepath.Join(t.TempDir(), ".folder-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
