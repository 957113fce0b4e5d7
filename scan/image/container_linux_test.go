package image

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// inChroot starts a process whose root is a folder, and returns its id.
func inChroot(t *testing.T, root string) int {
	t.Helper()
	require.Root(t)
	busybox := require.Program(t, "busybox", "busybox")
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin", "cat"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/cat")
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // it ends with its input
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// TestContainer holds that a running container is found by what the runtimes keep, and that its own files are read: not this machine's.
func TestContainer(t *testing.T) {
	root := t.TempDir()
	for name, data := range map[string]string{"etc/os-release": "ID=alpine", "db/packages": "musl", "app": "NEEDLE-app"} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(root, name), []byte(data))
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(root, "packages")); err != nil {
		t.Fatal(err)
	}
	pid := inChroot(t, root)
	system := t.TempDir()
	if err := os.Symlink("/proc", filepath.Join(system, "proc")); err != nil {
		t.Fatal(err)
	}
	id := func(n int) string { return strings.Repeat(strconv.Itoa(n), 64) }
	for name, data := range map[string]string{
		"var/lib/docker/containers/" + id(1) + "/config.v2.json":                     fmt.Sprintf(`{"State":{"Running":true,"Pid":%d}}`, pid),
		"var/lib/docker/containers/" + id(2) + "/config.v2.json":                     `{"State":{"Pid":0}}`,
		"run/containerd/io.containerd.runtime.v2.task/k8s.io/" + id(3) + "/init.pid": strconv.Itoa(pid),
		"run/runc/" + id(4) + "/state.json":                                          fmt.Sprintf(`{"init_process_pid":%d}`, pid),
		"run/crun/" + id(5) + "/status":                                              fmt.Sprintf(`{"pid":%d}`, pid),
		"run/runc/" + id(6) + "/state.json":                                          "[",
		"run/runc/" + id(7) + "a/state.json":                                         "{}",
		"run/runc/" + id(7) + "b/state.json":                                         "{}",
		"run/runc/" + id(8) + "/state.json":                                          fmt.Sprintf(`{"init_process_pid":%d}`, os.Getpid()),
	} {
		at := filepath.Join(system, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, at, []byte(data))
	}
	o := options()
	o.system = system
	for _, ref := range []string{fmt.Sprintf("pid:%d", pid), "container:" + id(1), "container:" + id(1)[:12], "container:" + id(3), "container:" + id(4), "container:" + id(5)} {
		got := scanned(t, ref, o)
		if len(got.packages) != 1 || got.packages[0].Ecosystem != "ID=alpine" || len(got.lines("needle")) != 2 {
			t.Errorf("%s: %+v %q", ref, got.packages, got.lines("needle"))
		}
	}
	o.system = "/"
	if _, err := Open(t.Context(), fmt.Sprintf("pid:%d", os.Getpid()), o); err == nil || !strings.Contains(err.Error(), "in no container") {
		t.Errorf("a process outside of containers: %v", err)
	}
	o.system = system
	for ref, want := range map[string]string{id(2): "does not run", id(6): "does not run", id(7): "several ids", id(9): "no runtime"} {
		if _, err := Open(t.Context(), "container:"+ref, o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
}
