package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
)

// terminalPair opens a pseudo terminal: what is written to the second is read from the first.
func terminalPair(t *testing.T) (reader, writer *os.File) {
	t.Helper()
	reader, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.Part(t, "pty", err == nil, fmt.Sprint("mount devpts: ", err))
	t.Cleanup(func() { _ = reader.Close() })
	fd := int(reader.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	writer, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		t.Fatal(err)
	}
	return reader, writer
}

// TestLinkIsForTerminals: the one-time link is printed to a terminal, and to nothing else: a
// log keeps what it is told.
func TestLinkIsForTerminals(t *testing.T) {
	short, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	reader, writer := terminalPair(t)
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "testudo", "up", "--data", filepath.Join(short, "d"), "--console", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "HOME="+short, "XDG_CONFIG_HOME=", "XDG_STATE_HOME=", "XDG_RUNTIME_DIR=", "TERM=xterm-256color", "NO_COLOR=")
	logs := new(strings.Builder)
	cmd.Stdout, cmd.Stderr = writer, logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	found := make(chan string, 1)
	go func() {
		link := regexp.MustCompile(`https://127\.0\.0\.1:\d+/\S*link=[A-Za-z0-9_%-]{16,}`)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			if m := link.FindString(lines.Text()); m != "" {
				found <- m
				return
			}
		}
	}()
	var secret string
	select {
	case link := <-found:
		_, secret, _ = strings.Cut(link, "link=")
	case <-time.After(time.Minute):
		t.Error("no link was printed to the terminal")
	}
	_ = cmd.Process.Signal(os.Interrupt)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if secret != "" && strings.Contains(logs.String(), secret) {
		t.Error("the log holds the link")
	}
}
