package goruntime

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

const program = "package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println() }\n"

// build compiles a program for linux.
func build(t *testing.T, arch string, flags ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "main")
	cmd := exec.Command("go", append(append([]string{"build", "-o", exe}, flags...), filepath.Join(dir, "main.go"))...)
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+arch, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exe
}

// TestTable holds the table against the debug information of the release that compiles this.
func TestTable(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		whole := build(t, arch)
		l, err := Look(whole)
		if err != nil {
			t.Fatal(err)
		}
		if minor, ok := minorOf(l.Version); !ok || minor > newest {
			t.Fatalf("%s is newer than the table: look at runtime.g and gobuf in its runtime2.go, then raise newest", l.Version)
		}
		truth := debugOffset(t, whole)
		if l.GoID != truth {
			t.Errorf("%s: goid at %d, its debug information says %d", arch, l.GoID, truth)
		}
		if want := map[string]int32{"amd64": -8, "arm64": 0}[arch]; l.TLS != want {
			t.Errorf("%s: g at %d, want %d", arch, l.TLS, want)
		}
		stripped, err := Look(build(t, arch, "-ldflags=-s -w"))
		if err != nil || stripped != l {
			t.Errorf("%s: stripped: %+v, %v; whole: %+v", arch, stripped, err, l)
		}
	}
}

func debugOffset(t *testing.T, name string) uint32 {
	t.Helper()
	f := elfOf(t, name)
	n, err := fromDebug(f)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestMinor(t *testing.T) {
	for version, want := range map[string]uint32{"go1.26.8": 26, "go1.9": 9, "go1.27rc1": 27, "go1.26-custom X:foo": 26, "devel go1.28-abc": 0, "": 0, "go2": 0} {
		if got, _ := minorOf(version); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

func TestOthers(t *testing.T) {
	var c Cache
	for range 2 {
		if _, err := c.Look("/bin/sh"); runtime.GOOS == "linux" && !errors.Is(err, ErrNotGo) {
			t.Errorf("a shell: %v", err)
		}
	}
	if _, err := c.Look(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// FuzzRead: no file makes it panic, or answer with what the kernel would follow out of the program's memory.
func FuzzRead(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	if self, err := os.Executable(); err == nil {
		if b, err := os.ReadFile(self); err == nil {
			f.Add(b[:min(len(b), 4096)])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := read(bytes.NewReader(b))
		if err == nil && (l.GoID == 0 || l.GoID >= 4096 || l.TLS > 0 || l.TLS < -1<<20) {
			t.Fatalf("%+v", l)
		}
	})
}

func elfOf(t *testing.T, name string) *elf.File {
	t.Helper()
	f, err := elf.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
