package software

import (
	"context"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// runs starts a copy of a shell at path in root (chroot, unless it is "/"), and says what the sensor would.
func runs(t *testing.T, root, path string) kernel.FileRef {
	t.Helper()
	full := filepath.Join(root, path)
	cmd := exec.Command(path, "sh", "-c", "read line")
	cmd.Args = []string{"sh", "-c", "read line"}
	if root != "/" {
		cmd.SysProcAttr = &unix.SysProcAttr{Chroot: root}
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	_ = full
	var ref kernel.FileRef
	for range 1000 {
		_ = process.Seed(t.Context(), "/", func(r *record.Record) {
			if r.PID == uint32(cmd.Process.Pid) && strings.HasPrefix(string(r.Args), "sh\x00") {
				ref = kernel.FileRef{PID: r.PID, Start: r.Start, Path: path, Inode: r.Inode}
			}
		})
		if ref.PID != 0 {
			return ref
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("the process does not begin")
	return ref
}

func busybox(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(require.Program(t, "busybox", "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func put(t *testing.T, path string, b []byte, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
}

func TestAProgramOfThisHost(t *testing.T) {
	sh, err := filepath.EvalSymlinks("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	r := New(Default(), "/")
	ref := runs(t, "/", sh)
	e, err := r.Executable(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(sh)
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256(b)); e.SHA256 != want {
		t.Errorf("%s, want %s", e.SHA256, want)
	}
	if _, err := os.Stat("/" + dpkgStatus); err == nil {
		if e.Manager != "dpkg" || e.Package == "" || e.Changed {
			t.Errorf("%+v", e)
		}
		out, err := exec.Command("dpkg-query", "--showformat", "${Package} ${Version}", "--show", strings.Fields(e.Package)[0]).Output()
		if err == nil && string(out) != e.Package {
			t.Errorf("%q, dpkg says %q", e.Package, out)
		}
	}
}

func TestWhatRunsIsReadWhateverItsNameIs(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tool")
	put(t, path, busybox(t), 0o755)
	ref := runs(t, "/", path)
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	put(t, path, []byte("innocent"), 0o755)
	e, err := New(Default(), "/").Executable(t.Context(), ref)
	if want := fmt.Sprintf("%x", sha256.Sum256(busybox(t))); err != nil || e.SHA256 != want || e.Package != "" {
		t.Errorf("%+v %v", e, err)
	}
	if err := os.Remove(path + ".away"); err != nil {
		t.Fatal(err)
	}
	if e, err := New(Default(), "/").Executable(t.Context(), ref); err != nil || e.SHA256 == "" {
		t.Errorf("deleted: %+v %v", e, err)
	}
	other := ref
	other.Start += uint64(time.Hour)
	other.Inode.Number++
	if e, err := New(Default(), "/").Executable(t.Context(), other); err == nil {
		t.Errorf("another process: %+v", e)
	}
}

func TestAFileThatIsStillThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tool")
	put(t, path, []byte("it ran a moment ago"), 0o755)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	ref := kernel.FileRef{PID: 1 << 30, Path: path, Inode: record.Inode{Number: st.Ino, Size: st.Size, Modified: st.Mtim.Nano(), Changed: st.Ctim.Nano()}}
	r := New(Default(), "/")
	if e, err := r.Executable(t.Context(), ref); err != nil || e.SHA256 == "" {
		t.Errorf("%+v %v", e, err)
	}
	put(t, path, []byte("it ran a moment agO"), 0o755)
	if e, err := r.Executable(t.Context(), ref); err == nil {
		t.Errorf("another file of the name: %+v", e)
	}
}

func TestLimitsOfReading(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tool")
	put(t, path, busybox(t), 0o755)
	ref := runs(t, "/", path)
	cfg := Default()
	cfg.MaxSize = 1000
	if e, err := New(cfg, "/").Executable(t.Context(), ref); err == nil || !strings.Contains(err.Error(), "max_size") || e.SHA256 != "" {
		t.Errorf("%+v %v", e, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := New(Default(), "/").Executable(ctx, ref); err == nil {
		t.Error("it went on after the end")
	}
	r := New(Default(), "/")
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if e, err := r.Executable(t.Context(), ref); err != nil || e.SHA256 == "" {
				t.Errorf("%+v %v", e, err)
			}
		})
	}
	all.Wait()
	if len(r.files) != 1 {
		t.Errorf("%d files remembered", len(r.files))
	}
}

// TestPackagesOfContainers asks with the databases of a container's root.
func TestPackagesOfContainers(t *testing.T) {
	require.Root(t)
	b := busybox(t)
	md, sh, sha := fmt.Sprintf("%x", md5.Sum(b)), sha1.Sum(b), "Q1"
	sha += base64.StdEncoding.EncodeToString(sh[:])
	status := "Package: box\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 1:2-3\n"
	for _, c := range []struct {
		name, path string
		files      map[string]string
		links      map[string]string
		want       kernel.Executable
		fails      string
	}{
		{name: "dpkg", path: "/usr/bin/sh", links: map[string]string{"bin": "usr/bin"}, files: map[string]string{dpkgStatus: status, dpkgInfo + "/box:amd64.list": "/.\n/bin\n/bin/sh\n",
			dpkgInfo + "/box:amd64.md5sums": md + "  bin/sh\n"}, want: kernel.Executable{Package: "box 1:2-3", Manager: "dpkg"}},
		{name: "dpkg, changed", path: "/bin/sh", files: map[string]string{dpkgStatus: status, dpkgInfo + "/box:amd64.list": "/bin/sh\n",
			dpkgInfo + "/box:amd64.md5sums": strings.Repeat("0", 32) + "  bin/sh\n"}, want: kernel.Executable{Package: "box 1:2-3", Manager: "dpkg", Changed: true}},
		{name: "status.d", path: "/bin/sh", files: map[string]string{dpkgStatusD + "/box": "Package: box\nVersion: 4\n", dpkgStatusD + "/box.md5sums": md + "  ./bin/sh\n"},
			want: kernel.Executable{Package: "box 4", Manager: "dpkg"}},
		{name: "apk", path: "/bin/sh", files: map[string]string{"lib/apk/db/installed": "P:other\nV:1\nF:bin\nR:no\n\nP:box\nV:5-r0\nF:bin\nR:sh\nZ:" + sha + "\n"},
			want: kernel.Executable{Package: "box 5-r0", Manager: "apk"}},
		{name: "apk, changed", path: "/bin/sh", files: map[string]string{"lib/apk/db/installed": "P:box\nV:5-r0\nF:bin\nR:sh\nZ:Q1AAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"},
			want: kernel.Executable{Package: "box 5-r0", Manager: "apk", Changed: true}},
		{name: "rpm", path: "/usr/bin/tool7", files: map[string]string{"var/lib/rpm/rpmdb.sqlite": ""}, want: kernel.Executable{Package: "tool7 1.0-2", Manager: "rpm", Changed: true}},
		{name: "rpm, another form", path: "/bin/sh", files: map[string]string{"var/lib/rpm/Packages.db": "x"}, fails: "not read"},
		{name: "dropped", path: "/tmp/sh", files: map[string]string{dpkgStatus: status, dpkgInfo + "/box:amd64.list": "/bin/sh\n"}, want: kernel.Executable{}},
		{name: "a database outside", path: "/bin/sh", links: map[string]string{"var/lib/dpkg": "/var/lib/dpkg"}, want: kernel.Executable{}},
		{name: "none", path: "/bin/sh", want: kernel.Executable{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := t.TempDir()
			for name, to := range c.links {
				if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, filepath.Join(root, name)); err != nil {
					t.Fatal(err)
				}
			}
			for name, text := range c.files {
				put(t, filepath.Join(root, name), []byte(text), 0o644)
				if strings.HasSuffix(name, ".sqlite") {
					_ = os.Remove(filepath.Join(root, name))
					rpmDatabase(t, filepath.Join(root, name))
				}
			}
			put(t, filepath.Join(root, c.path), b, 0o755)
			e, err := New(Default(), "/").Executable(t.Context(), runs(t, root, c.path))
			if c.fails != "" {
				if err == nil || !strings.Contains(err.Error(), c.fails) || e.SHA256 == "" {
					t.Errorf("%+v %v", e, err)
				}
				return
			}
			if err != nil || e.SHA256 == "" {
				t.Fatalf("%+v %v", e, err)
			}
			if e.SHA256 = ""; e != c.want {
				t.Errorf("%+v, want %+v", e, c.want)
			}
		})
	}
}

func TestADatabaseThatChanges(t *testing.T) {
	require.Root(t)
	root := t.TempDir()
	put(t, filepath.Join(root, "bin/sh"), busybox(t), 0o755)
	cfg := Default()
	cfg.Refresh = 0
	r := New(cfg, "/")
	ref := runs(t, root, "/bin/sh")
	for _, version := range []string{"1", "2-longer"} {
		put(t, filepath.Join(root, "lib/apk/db/installed"), []byte("P:box\nV:"+version+"\nF:bin\nR:sh\n"), 0o644)
		if e, err := r.Executable(t.Context(), ref); err != nil || e.Package != "box "+version {
			t.Errorf("%+v %v", e, err)
		}
	}
	// A pipe in the place of a database must not hold us.
	name := filepath.Join(root, "lib/apk/db/installed")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(name, 0o644); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Executable(t.Context(), ref); err != nil || e.Package != "" {
		t.Errorf("%+v %v", e, err)
	}
}

// A container may put a pipe or a device where a file was: neither is opened, as that waits for ever, or does something.
func TestOnlyRegularFilesAreOpened(t *testing.T) {
	require.Root(t)
	dir := t.TempDir()
	for _, name := range []string{"bin/gone", dpkgStatus, dpkgStatusD, "lib/apk/db/installed"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin/gone", dpkgStatus, dpkgStatusD, "lib/apk/db/installed"} {
		if err := unix.Mkfifo(filepath.Join(dir, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(dir, "there"), []byte("x"), 0o644)
	if err := os.Symlink("../there", filepath.Join(dir, "bin/link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop", filepath.Join(dir, "bin/loop")); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(watch)
	for _, name := range []string{"bin/gone", dpkgStatus, dpkgStatusD, "lib/apk/db/installed"} {
		if _, err := unix.InotifyAddWatch(watch, filepath.Join(dir, name), unix.IN_OPEN); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bin/gone", "bin/loop"} {
		if f, err := openIn(root, name); err == nil {
			f.Close()
			t.Errorf("%s is opened", name)
		}
	}
	f, err := openIn(root, "bin/link")
	if err != nil {
		t.Fatalf("a regular file behind a link: %v", err)
	}
	f.Close()
	if x, err := build(t.Context(), root); x != nil || err != nil {
		t.Errorf("a database of pipes is %v, %v", x, err)
	}
	if n, err := unix.Read(watch, make([]byte, 4096)); err != unix.EAGAIN {
		t.Errorf("%d bytes tell of pipes that were opened, %v", n, err)
	}
}
