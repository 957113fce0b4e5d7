package workload

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel/process"
)

// short makes a folder whose path leaves room for a socket's name.
func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "wl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// cgroupOf returns the id of the process's cgroup v2.
func cgroupOf(t *testing.T, pid int) uint64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range process.ParseCgroups(b) {
		if l.Hierarchy == 0 {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(process.CgroupMount("/"), l.Path), &st); err != nil {
				t.Fatal(err)
			}
			return st.Ino
		}
	}
	t.Fatal("no cgroup v2")
	return 0
}

func TestCgroupsOfOurOwn(t *testing.T) {
	require.Root(t)
	mount := process.CgroupMount("/")
	require.Part(t, "cgroup2", mount != "", "mount cgroup2 at /sys/fs/cgroup/unified")
	outer := filepath.Join(mount, fmt.Sprintf("testudo-%d", os.Getpid()))
	dir := filepath.Join(outer, "docker", idA)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, d := range []string{dir, filepath.Dir(dir), outer} {
			if err := os.Remove(d); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
		}
	})
	fd, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	cmd := exec.Command("/bin/sh", "-c", "read line")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end := func() { _ = in.Close(); _ = cmd.Wait() }
	t.Cleanup(end)
	id, pid := cgroupOf(t, cmd.Process.Pid), uint32(cmd.Process.Pid)
	if c, ok, err := New(Default(), "/").Container(t.Context(), id, pid); err != nil || !ok || c.ID != idA || c.Runtime != "docker" {
		t.Errorf("by the process: %+v %v %v", c, ok, err)
	}
	r := New(Default(), "/")
	if c, ok, err := r.Container(t.Context(), id, 0); err != nil || !ok || c.ID != idA {
		t.Errorf("by the cgroup's id: %+v %v %v", c, ok, err)
	}
	end()
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if c, ok, err := r.Container(t.Context(), id, pid); err != nil || !ok || c.ID != idA {
		t.Errorf("when it is gone: %+v %v %v", c, ok, err)
	}
	if _, ok, err := New(Default(), "/").Container(t.Context(), id, pid); ok || err == nil {
		t.Errorf("when it was gone before: %v %v", ok, err)
	}
}

func rootfs(t *testing.T, dir string) {
	t.Helper()
	busybox := require.Program(t, "busybox", "busybox")
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestRunc(t *testing.T) {
	require.Root(t)
	runc := require.Program(t, "runc", "runc")
	dir := short(t)
	bundle := filepath.Join(dir, "bundle")
	rootfs(t, filepath.Join(bundle, "rootfs"))
	run(t, runc, "spec", "--bundle", bundle)
	path := filepath.Join(bundle, "config.json")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(b, &spec); err != nil {
		t.Fatal(err)
	}
	spec["process"].(map[string]any)["args"] = []string{"/bin/busybox", "sleep", "1000"}
	spec["process"].(map[string]any)["terminal"] = false
	spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/host", "type": "bind", "source": dir, "options": []string{"bind", "ro"}})
	if b, err = json.Marshal(spec); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	state, id := filepath.Join(dir, "state"), fmt.Sprintf("testudo-wl-%d", os.Getpid())
	start := exec.CommandContext(t.Context(), runc, "--root", state, "run", "--detach", "--bundle", bundle, id)
	if err := start.Run(); err != nil {
		require.Part(t, "runc", false, "runc starts no container here: "+err.Error())
	}
	t.Cleanup(func() { _ = exec.Command(runc, "--root", state, "delete", "--force", id).Run() })
	var s struct{ Pid int }
	if err := json.Unmarshal([]byte(run(t, runc, "--root", state, "state", id)), &s); err != nil {
		t.Fatal(err)
	}
	cfg := Default()
	cfg.State = []string{state}
	c, ok, err := New(cfg, "/").Container(t.Context(), cgroupOf(t, s.Pid), uint32(s.Pid))
	if err != nil || !ok || c.ID != id || c.Runtime != "runc" || !c.Known || c.Privileged || time.Since(c.Started) > time.Minute {
		t.Fatalf("%+v %v %v", c, ok, err)
	}
	if len(c.Mounts) != 1 || c.Mounts[0].Source != dir || c.Mounts[0].Dest != "/host" {
		t.Errorf("%+v", c.Mounts)
	}
}

// image writes an OCI image of busybox as a tar, for ctr image import.
func imageTar(t *testing.T, path, name string) {
	t.Helper()
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	add := func(w *tar.Writer, name string, mode int64, b []byte) {
		t.Helper()
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(b)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	blob := func(kind string, b []byte) map[string]any {
		sum := fmt.Sprintf("%x", sha256.Sum256(b))
		add(w, "blobs/sha256/"+sum, 0o644, b)
		return map[string]any{"mediaType": kind, "digest": "sha256:" + sum, "size": len(b)}
	}
	j := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var layer strings.Builder
	lw := tar.NewWriter(&layer)
	busybox, err := os.ReadFile(require.Program(t, "busybox", "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	add(lw, "bin/busybox", 0o755, busybox)
	if err := lw.Close(); err != nil {
		t.Fatal(err)
	}
	l := blob("application/vnd.oci.image.layer.v1.tar", []byte(layer.String()))
	arch := strings.TrimSpace(run(t, "uname", "-m"))
	arch = map[string]string{"x86_64": "amd64", "aarch64": "arm64"}[arch]
	config := blob("application/vnd.oci.image.config.v1+json", j(map[string]any{"architecture": arch, "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []any{l["digest"]}}, "config": map[string]any{}}))
	manifest := blob("application/vnd.oci.image.manifest.v1+json", j(map[string]any{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []any{l}}))
	manifest["annotations"] = map[string]string{"io.containerd.image.name": name}
	add(w, "oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`))
	add(w, "index.json", 0o644, j(map[string]any{"schemaVersion": 2, "manifests": []any{manifest}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRealContainerd(t *testing.T) {
	require.Root(t)
	daemon, ctr := require.Program(t, "containerd", "containerd"), require.Program(t, "containerd", "ctr")
	dir := short(t)
	socket := filepath.Join(dir, "c.sock")
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(daemon, "--config", config, "--root", filepath.Join(dir, "root"), "--state", filepath.Join(dir, "state"), "--address", socket)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	in := func(args ...string) []string {
		return append([]string{"--address", socket, "--namespace", "testudo"}, args...)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if exec.Command(ctr, in("version")...).Run() == nil {
			break
		}
		if time.Now().After(deadline) {
			f, _ := os.Open(log.Name())
			b, _ := io.ReadAll(f)
			require.Part(t, "containerd", false, "containerd does not start here: "+string(b[max(0, len(b)-500):]))
		}
	}
	const name = "registry.example/testudo/box:1.0"
	tarball := filepath.Join(dir, "image.tar")
	imageTar(t, tarball, name)
	run(t, ctr, in("image", "import", "--snapshotter", "native", tarball)...)
	id := fmt.Sprintf("%064x", os.Getpid())
	t.Cleanup(func() {
		_ = exec.Command(ctr, in("task", "kill", "--signal", "9", id)...).Run()
		time.Sleep(200 * time.Millisecond)
		_ = exec.Command(ctr, in("task", "delete", "--force", id)...).Run()
		_ = exec.Command(ctr, in("container", "delete", id)...).Run()
	})
	run(t, ctr, in("run", "--detach", "--snapshotter", "native", "--label", "team=red", "--label", "io.kubernetes.pod.name=web-0", "--mount",
		"type=bind,src="+dir+",dst=/host,options=rbind:ro", name, id, "/bin/busybox", "sleep", "1000")...)
	var pid int
	for line := range strings.Lines(run(t, ctr, in("task", "list")...)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id {
			pid, _ = strconv.Atoi(f[1])
		}
	}
	cfg := Default()
	cfg.Containerd = []string{socket}
	c, ok, err := New(cfg, "/").Container(t.Context(), cgroupOf(t, pid), uint32(pid))
	if err != nil || !ok || !c.Known {
		t.Fatalf("%+v %v %v", c, ok, err)
	}
	if c.ID != id || c.Runtime != "containerd" || c.Image != "registry.example/testudo/box" || c.Tag != "1.0" || !strings.HasPrefix(c.Digest, "sha256:") ||
		c.Labels["team"] != "red" || c.Pod != "web-0" || c.Privileged || time.Since(c.Started) > time.Minute {
		t.Errorf("%+v", c)
	}
	found := false
	for _, m := range c.Mounts {
		found = found || m.Source == dir && m.Dest == "/host"
	}
	if !found {
		t.Errorf("%+v", c.Mounts)
	}
}
