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
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
)

// runs runs a program to its end.
func runs(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// realImage has packages, secrets and a file that a layer takes away; with a program, so that it can run.
func realImage(t *testing.T, program []byte) *made {
	t.Helper()
	below := []file{{name: "etc/os-release", data: "ID=debian"}, {name: "db/packages", data: "musl busybox"}, {name: "app.env", data: "NEEDLE-app\n"}, {name: "gone.env", data: "NEEDLE-gone\n"}}
	if program != nil {
		below = append(below, file{name: "bin/busybox", data: string(program), mode: 0o755})
	}
	return &made{layers: [][]byte{tarOf(t, below...), tarOf(t, file{name: ".wh.gone.env"}, file{name: "late.env", data: "NEEDLE-late\n"})},
		by: []string{"ADD rootfs.tar / ", "RUN rm /gone.env # buildkit"}}
}

// told is what a scan says, for comparing two forms of one image.
func told(t *testing.T, ref string) []string {
	t.Helper()
	got := scanned(t, ref, options())
	out := got.lines("needle")
	for _, p := range got.packages {
		out = append(out, p.Ecosystem+" "+p.Name+" "+p.Version+" "+p.Path)
	}
	return out
}

// TestRealArchives holds that archives which other programs write say the same as the layout that they were made of.
func TestRealArchives(t *testing.T) {
	skopeo := require.Program(t, "skopeo", "skopeo")
	layout := realImage(t, nil).layout(t)
	want := told(t, layout)
	if len(want) < 4 {
		t.Fatalf("the layout says %q", want)
	}
	dir := t.TempDir()
	for _, form := range []string{"docker-archive", "oci-archive", "oci"} {
		at := filepath.Join(dir, form)
		runs(t, skopeo, "--insecure-policy", "copy", "--quiet", "oci:"+layout, form+":"+at+":registry.example/shop:1")
		if d := cmp.Diff(want, told(t, at)); d != "" {
			t.Errorf("%s: %s", form, d)
		}
	}
	// One archive with two images: which of them has to be said.
	two := filepath.Join(dir, "oci")
	runs(t, skopeo, "--insecure-policy", "copy", "--quiet", "oci:"+layout, "oci:"+two+":registry.example/other:2")
	o := options()
	if _, err := Open(t.Context(), two, o); err == nil || !strings.Contains(err.Error(), "registry.example/other:2") {
		t.Errorf("two images in one layout: %v", err)
	}
}

// TestRealUmoci holds that a layer which umoci makes of a changed tree, with its way of taking files away, is read as it is meant.
func TestRealUmoci(t *testing.T) {
	require.Root(t)
	umoci, skopeo := require.Program(t, "umoci", "umoci"), require.Program(t, "skopeo", "skopeo")
	dir := t.TempDir()
	layout, bundle := filepath.Join(dir, "layout"), filepath.Join(dir, "bundle")
	runs(t, skopeo, "--insecure-policy", "copy", "--quiet", "oci:"+realImage(t, nil).layout(t), "oci:"+layout+":1")
	runs(t, umoci, "unpack", "--image", layout+":1", bundle)
	root := filepath.Join(bundle, "rootfs")
	if err := os.Remove(filepath.Join(root, "late.env")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "new.env"), []byte("NEEDLE-new\n"))
	runs(t, umoci, "repack", "--image", layout+":1", "--history.created_by", "RUN rm /late.env", bundle)
	got := strings.Join(told(t, layout), "\n")
	for _, name := range []string{"Needle app", "Needle gone", "Needle late", "Needle new"} {
		if !strings.Contains(got, name) {
			t.Errorf("%s is not found:\n%s", name, got)
		}
	}
	if !strings.Contains(got, "deleted: in layer 3 of 3 by RUN rm /late.env; still in the image") || !strings.Contains(got, "late.env Needle late; layer: 2 of 3") {
		t.Errorf("late.env: %s", got)
	}
}

// TestRealContainerd imports an image into a containerd of the test's own, takes it out again, runs it, and scans each.
func TestRealContainerd(t *testing.T) {
	require.Root(t)
	daemon, ctr := require.Program(t, "containerd", "containerd"), require.Program(t, "containerd", "ctr")
	busybox := require.Program(t, "busybox", "busybox")
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "im") // its path leaves room for a socket's name
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket, state := filepath.Join(dir, "c.sock"), filepath.Join(dir, "state")
	write(t, filepath.Join(dir, "config.toml"), []byte("version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n"))
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(daemon, "--config", filepath.Join(dir, "config.toml"), "--root", filepath.Join(dir, "root"), "--state", state, "--address", socket)
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
	for deadline := time.Now().Add(2 * time.Minute); exec.Command(ctr, in("version")...).Run() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			b, _ := os.ReadFile(log.Name())
			require.Part(t, "containerd", false, "containerd does not start here: "+string(b[max(0, len(b)-500):]))
		}
	}
	const name = "registry.example/testudo/shop:1.0"
	image := realImage(t, program)
	image.config = map[string]any{} // root: it writes a file
	layout := image.layout(t)
	want := told(t, layout)
	packed := filepath.Join(dir, "in.tar")
	tarOfFolder(t, packed, layout)
	runs(t, ctr, in("image", "import", "--snapshotter", "native", "--base-name", "registry.example/testudo/shop", "--digests", packed)...)
	listed := runs(t, ctr, in("image", "list", "--quiet")...)
	reference, _, _ := strings.Cut(listed, "\n")
	if !strings.HasPrefix(reference, "registry.example/testudo/shop@") {
		t.Fatalf("containerd names it %q", listed)
	}
	runs(t, ctr, in("image", "tag", reference, name)...)
	exported := filepath.Join(dir, "out.tar")
	runs(t, ctr, in("image", "export", exported, name)...)
	if d := cmp.Diff(want, told(t, exported)); d != "" {
		t.Errorf("what containerd exports: %s", d)
	}

	id := fmt.Sprintf("%064x", os.Getpid()+1<<20)
	t.Cleanup(func() {
		_ = exec.Command(ctr, in("task", "kill", "--signal", "9", id)...).Run()
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			if exec.Command(ctr, in("task", "delete", "--force", id)...).Run() == nil {
				break
			}
		}
		_ = exec.Command(ctr, in("container", "delete", id)...).Run()
	})
	runs(t, ctr, in("run", "--detach", "--snapshotter", "native", name, id, "/bin/busybox", "sh", "-c", "echo NEEDLE-made > /made.env; exec /bin/busybox sleep 100000")...)
	pid := 0
	for line := range strings.Lines(runs(t, ctr, in("task", "list")...)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == id {
			pid, _ = strconv.Atoi(f[1])
		}
	}
	if pid == 0 {
		t.Fatal("the container does not run")
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/made.env", pid)); err == nil && len(b) > 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the container did not write its file")
		}
	}
	// The system as it is, but for where this containerd keeps its state.
	system := t.TempDir()
	if err := os.MkdirAll(filepath.Join(system, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"proc": "/proc", "run/containerd": state} {
		if err := os.Symlink(target, filepath.Join(system, link)); err != nil {
			t.Fatal(err)
		}
	}
	o := options()
	o.system = system
	for _, ref := range []string{fmt.Sprintf("pid:%d", pid), "container:" + id, "container:" + id[:60]} {
		got := scanned(t, ref, o)
		lines := strings.Join(got.lines("needle"), "\n")
		for _, want := range []string{"Needle app", "Needle late", "Needle made"} {
			if !strings.Contains(lines, want) {
				t.Errorf("%s: %s is not found:\n%s", ref, want, lines)
			}
		}
		if strings.Contains(lines, "Needle gone") || len(got.packages) != 2 {
			t.Errorf("%s: %+v\n%s", ref, got.packages, lines)
		}
	}
}

// tarOfFolder packs a folder.
func tarOfFolder(t *testing.T, name, dir string) {
	t.Helper()
	runs(t, require.Program(t, "tar", "tar"), "--create", "--file", name, "--directory", dir, ".")
}
