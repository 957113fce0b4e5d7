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

	"github.com/testudo-sec/testudo/internal/require"
)

// TestUpWithoutRoot: an ordinary user's node sees what that user may: a program that lasts, in /proc; and it says which eyes see, and what they miss.
func TestUpWithoutRoot(t *testing.T) {
	require.Root(t) // to become somebody else
	binary, err := exec.LookPath("testudo")
	if err != nil {
		t.Fatal(err)
	}
	short, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	f := &family{dir: filepath.Join(short, "d"), log: filepath.Join(short, "log"), ended: make(chan error, 1)}
	if err := errors.Join(os.Chmod(short, 0o711), os.Mkdir(f.dir, 0o700), os.Chown(f.dir, testUID, testGID)); err != nil {
		t.Fatal(err)
	}
	// Where the tests' own program is may be nobody else's to read.
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(short, "testudo")
	if err := os.WriteFile(own, text, 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(f.log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	somebody := &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: testUID, Gid: testGID}}
	f.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), own, "up", "--data", f.dir, "--console", "127.0.0.1:0")
	f.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "GORACE=" + quickEnd}
	f.cmd.Dir, f.cmd.Stdout, f.cmd.Stderr, f.cmd.SysProcAttr = "/", out, out, somebody
	if err := f.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.node = f.cmd.Process.Pid
	go func() { f.ended <- f.cmd.Wait() }()
	t.Cleanup(func() { _ = syscall.Kill(f.node, syscall.SIGKILL) })
	f.await(t, "the watch", func() bool { return strings.Contains(f.text(), "watched by procwatch") })
	if childOf(f.node) != 0 {
		t.Error("it has a child: who should that be?")
	}

	program := ownProgram(t, "lasting")
	sleeper, err := os.ReadFile("/bin/sleep")
	if err := errors.Join(err, os.WriteFile(program, sleeper, 0o755)); err != nil {
		t.Fatal(err)
	}
	lasting := exec.CommandContext(t.Context(), program, "300")
	lasting.SysProcAttr = somebody
	lasting.Dir = "/"
	if err := lasting.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lasting.Process.Kill(); _ = lasting.Wait() })
	f.await(t, "the event", func() bool {
		out, err := f.client(t, "hunt", "process.file.path == "+strconv.Quote(program), "--json")
		return err == nil && strings.Contains(out, `"Launch"`)
	})
	doctor, _ := f.client(t, "doctor")
	for _, says := range []string{"watched by procwatch", "kernel ebpf", fmt.Sprintf("uid %d is not root", testUID), "kernel gates"} {
		if !strings.Contains(doctor, says) {
			t.Errorf("doctor does not say %q:\n%s", says, doctor)
		}
	}
	if out, err := f.client(t, "fim", "status"); err == nil || !strings.Contains(out, "root") {
		t.Errorf("files: %v\n%s", err, out)
	}
	f.stop(t)
}
