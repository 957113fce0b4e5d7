package confine

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel/record"
)

// copied makes a copy of a program of the machine.
func copied(t *testing.T, program, to string) {
	t.Helper()
	from, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestOtherNamesOfAProgram holds that a refused program is refused by whatever name the kernel finds it: the links of /proc mean whoever follows them,
// and what is too long as a whole the kernel takes in pieces.
func TestOtherNamesOfAProgram(t *testing.T) {
	dir := t.TempDir()
	evil := filepath.Join(dir, "evil")
	copied(t, "echo", evil)
	for from, to := range map[string]string{"link": "evil", "proc": "/proc", "fds": "/proc/self/fd", "up": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat("./", 2000) + "evil" // with the folder in front it is longer than a path may be
	for name, script := range map[string]string{
		"itself":                       evil + " it ran",
		"a link":                       "cd " + dir + "; ./link it ran",
		"a link to a folder":           dir + "/up/" + filepath.Base(dir) + "/evil it ran",
		"a descriptor":                 "exec 7<" + evil + "; /proc/self/fd/7 it ran",
		"a descriptor, in a long form": "exec 7<" + evil + "; /proc//./self/fd/7 it ran",
		"a descriptor, of the thread":  "exec 7<" + evil + "; /proc/thread-self/fd/7 it ran",
		"a descriptor in /dev":         "exec 7<" + evil + "; /dev/fd/7 it ran",
		"a descriptor by a link":       "exec 7<" + evil + "; " + dir + "/fds/7 it ran",
		"a descriptor from /proc":      "exec 7<" + evil + "; cd /proc; self/fd/7 it ran; ./self/fd/7 it ran",
		"by a link to /proc":           "exec 7<" + evil + "; " + dir + "/proc/self/fd/7 it ran",
		"its folder's link":            "cd " + dir + "; /proc/self/cwd/evil it ran",
		"the root's link":              "/proc/self/root" + evil + " it ran",
		"a long name":                  "cd " + dir + "; " + long + " it ran",
	} {
		t.Run(name, func(t *testing.T) {
			j := &judge{deny: func(r *record.Record) bool { return r.Kind == record.KindExec && string(r.Path) == evil }}
			out, _ := run(t, j, Options{Opens: OpensNone}, script+"; true")
			if strings.Contains(out, "it ran\n") || !strings.Contains(strings.ToLower(out), "not permitted") && !strings.Contains(strings.ToLower(out), "permission denied") {
				t.Errorf("output %.300q, seen %.500q", out, j.seen)
			}
			if out, _ := run(t, &judge{}, Options{Opens: OpensNone}, script); !strings.Contains(out, "it ran\n") {
				t.Errorf("it does not run where nobody refuses it: %.300q", out)
			}
		})
	}
}

// TestFolderThatTheSupervisorMayNotEnter holds that what cannot be looked at is refused: a program with a user namespace of its own may
// go where its supervisor, of the same user, may not.
func TestFolderThatTheSupervisorMayNotEnter(t *testing.T) {
	if os.Getuid() == 0 { // who may enter every folder: once more, as somebody else
		dir, err := os.MkdirTemp("", "confine")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		copied(t, "/proc/self/exe", dir+"/test")
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(dir+"/test", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env, cmd.Dir = append(os.Environ(), "TMPDIR="+dir), dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		require.Part(t, "user-namespaces", !strings.Contains(string(out), "SKIP"), "kernel.unprivileged_userns_clone=1: "+string(out))
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	out, err := exec.Command("unshare", "-r", "true").CombinedOutput()
	require.Part(t, "user-namespaces", err == nil, "a kernel that lets users make namespaces of their own: "+string(out))
	dir := t.TempDir()
	evil := filepath.Join(dir, "shut", "evil")
	if err := os.Mkdir(filepath.Dir(evil), 0o700); err != nil {
		t.Fatal(err)
	}
	copied(t, "echo", evil)
	if err := os.Chmod(filepath.Dir(evil), 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(filepath.Dir(evil), 0o700)
	script := "unshare -r " + evil + " it ran"
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("it does not run by itself: %v %s", err, out)
	}
	j := &judge{deny: func(r *record.Record) bool { return string(r.Path) == evil }}
	if out, _ := run(t, j, Options{Opens: OpensNone}, script); strings.Contains(out, "it ran\n") {
		t.Errorf("a refused program ran where its supervisor could not look: %q, seen %q", out, j.seen)
	}
}

// TestLastLink holds that what is judged is what the call is about: the link itself, or what it leads to.
func TestLastLink(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"target", "other"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("target", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	j := &judge{}
	if out, err := run(t, j, Options{}, "cd "+dir+"; chmod 600 link; mv link moved; rm moved; echo x >new"); err != nil {
		t.Fatal(out, err)
	}
	for _, want := range []string{"fchmodat " + dir + "/target", dir + "/link ", "unlinkat " + dir + "/moved", "openat " + dir + "/new"} {
		if !j.saw(want) {
			t.Errorf("%s was not seen: %q", want, j.seen)
		}
	}
	if j.saw("unlinkat " + dir + "/target") {
		t.Errorf("what a removed link led to was judged: %q", j.seen)
	}
}
