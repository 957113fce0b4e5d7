package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
)

// client runs a subcommand on the family's node, as its user would by sudo.
func (f *family) client(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "testudo", append(args, "--data", f.dir)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GORACE=" + quickEnd, fmt.Sprintf("SUDO_UID=%d", testUID)}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// ownProgram returns a program of the test's own: a copy of a program that writes nothing and ends.
func ownProgram(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("/bin/touch")
	require.Part(t, "coreutils", err == nil, fmt.Sprint("a program to copy: ", err))
	dir, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, name)
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, text, 0o755)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestHost: what a new user does with the privileged half, all of it under the sensor's filter and capabilities: a program that ran is
// found with its digest; a rule refuses another one before it does anything; a process is killed on order, and testudo itself is not.
func TestHost(t *testing.T) {
	refused := ownProgram(t, "refused")
	allowed := ownProgram(t, "allowed")
	rules := t.TempDir()
	rule := "id: no-such-program\ntitle: A program of the test\nseverity: high\non: process_activity\nwhen: |\n  activity_id == 1 && process.file.path == " +
		strconv.Quote(refused) + "\nthen: deny\nwhy: it\nfix: none\ntests:\n  - name: x\n    event: {activity_id: 1}\n    fires: false\n"
	config := filepath.Join(filepath.Dir(refused), "testudo.yaml")
	if err := errors.Join(os.Chmod(rules, 0o755), os.Chmod(filepath.Dir(rules), 0o755),
		os.WriteFile(filepath.Join(filepath.Dir(refused), "rule.yaml"), []byte(rule), 0o644),
		os.WriteFile(config, []byte("policy: {rules: ["+filepath.Join(filepath.Dir(refused), "rule.yaml")+"]}\nkernel: {mode: enforce}\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	f := startFamily(t, "--config", config)
	f.await(t, "the watch", func() bool { return strings.Contains(f.text(), "watched by ebpf") })

	trace := filepath.Join(filepath.Dir(allowed), "done")
	if out, err := exec.CommandContext(t.Context(), allowed, trace).CombinedOutput(); err != nil {
		t.Fatalf("a program that no rule is about: %v\n%s", err, out)
	}
	f.await(t, "the event", func() bool {
		out, err := f.client(t, "hunt", "process.file.path == "+strconv.Quote(allowed), "--json")
		return err == nil && strings.Contains(out, `"Launch"`)
	})

	// The guard is compiled a moment after the start; from then on the program does nothing at all.
	f.await(t, "the guard", func() bool {
		return refusedAlways(t, refused)
	})
	for i := range 50 {
		effect := filepath.Join(filepath.Dir(refused), fmt.Sprintf("effect%d", i))
		if err := exec.CommandContext(t.Context(), refused, effect).Run(); err == nil {
			t.Fatal("the refused program ends well")
		}
		if _, err := os.Stat(effect); err == nil {
			t.Fatal("the refused program did something")
		}
	}

	sleep := exec.CommandContext(t.Context(), "sleep", "300")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sleep.Wait() }()
	if out, err := f.client(t, "respond", "kill", strconv.Itoa(sleep.Process.Pid), "--reason", "test"); err != nil {
		t.Errorf("kill: %v\n%s", err, out)
		_ = sleep.Process.Kill()
	}
	var exit *exec.ExitError
	if err := <-ended; !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the process that was to be killed: %v", err)
	}
	for name, pid := range map[string]int{"node": f.node, "keeper": f.keeper, "sensor": f.sensor, "first process": 1} {
		if out, err := f.client(t, "respond", "kill", strconv.Itoa(pid), "--force", "--reason", "test"); err == nil {
			t.Errorf("the %s may be killed:\n%s", name, out)
		}
		if !alive(pid) {
			t.Errorf("the %s is dead", name)
		}
	}
	out, _ := f.client(t, "doctor")
	if !strings.Contains(out, "watched by ebpf") {
		t.Errorf("doctor:\n%s", out)
	}
	if s := procStatus(f.sensor); s["Seccomp"] != "2" {
		t.Error("the filter is gone")
	}
	f.stop(t)
}
