package goruntime

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFileThatDoesNotAnswer: a file whose open never returns holds up nobody, a handful of them are given up, and when they answer at last all is as before.
func TestFileThatDoesNotAnswer(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe") // open(2) waits for a writer, as it would for the program of a file system
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	c := Cache{within: 20 * time.Millisecond}
	for i := range mostBusy[0] {
		if _, err := c.Look(pipe); err == nil || !strings.Contains(err.Error(), "does not answer") {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if _, err := c.Look(pipe); !errors.Is(err, ErrBusy) {
		t.Errorf("%v", err)
	}
	w, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	_ = w.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	c.within = time.Minute
	c.mu.Unlock()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := c.Look(self)
		if err == nil && l.GoID != 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after the answers: %+v, %v", l, err)
		}
	}
}

func TestFileSystemsOfPrograms(t *testing.T) {
	const mounts = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
61 22 0:45 / /home/a/mnt\040x rw,nosuid - fuse.sshfs a:/ rw,user_id=0
62 22 0:46 / /win rw - fuseblk /dev/sdb1 rw
63 22 0:47 / /odd - rw - tmpfs tmpfs rw
`
	for mount, want := range map[string]string{"22": "ext4", "61": "fuse.sshfs", "62": "fuseblk", "6": "", "64": ""} {
		if kind, ok := filesystemOf(strings.NewReader(mounts), mount); kind != want || ok != (want != "") {
			t.Errorf("%s: %q %t", mount, kind, ok)
		}
	}
	for _, name := range []string{"/proc/self/exe", fmt.Sprintf("/proc/%d/exe", os.Getpid())} {
		if servedByProgram(name) {
			t.Errorf("%s: this test's program is on no file system of a program", name)
		}
	}
}
