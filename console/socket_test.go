package console_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// socketFolder returns a short path: socket addresses are short.
func socketFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tst")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func onSocket(t *testing.T, w *consoletest.World, path string) *console.Server {
	t.Helper()
	s, err := console.New(console.Default(), w.Sources(), console.Deps{Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ListenSocket(path); err != nil {
		t.Fatal(err)
	}
	consoletest.RunBound(t, s)
	return s
}

func TestSocketFiles(t *testing.T) {
	dir := socketFolder(t)
	listen := func(path string) error {
		s, err := console.New(console.Default(), console.Sources{}, console.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.ListenSocket(path)
		if err == nil {
			fi, serr := os.Lstat(path)
			if serr != nil || fi.Mode().Perm() != 0o600 {
				t.Errorf("the socket has mode %v, %v", fi.Mode(), serr)
			}
			s.CloseSocket()
		}
		return err
	}
	good := filepath.Join(dir, "s")
	if err := listen(good); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(good); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays after the end: %v", err)
	}
	if err := listen(filepath.Join(dir, "made", "s")); err != nil {
		t.Errorf("a folder that is not there yet: %v", err)
	}
	if fi, err := os.Stat(filepath.Join(dir, "made")); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the folder made has mode %v, %v", fi.Mode(), err)
	}

	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: good, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	if err := listen(good); !errors.Is(err, console.ErrSocketTaken) {
		t.Errorf("with a living socket: %v", err)
	}
	_ = stale.Close()
	if err := listen(good); err != nil {
		t.Errorf("with a dead socket: %v", err)
	}

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := listen(file); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("with a file of that name: %v", err)
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Errorf("the file is now %q", b)
	}
	if err := listen(filepath.Join(dir, strings.Repeat("x", 120))); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("a long path: %v", err)
	}
	if err := os.Chmod(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := listen(good); err == nil || !strings.Contains(err.Error(), "chmod 0700") {
		t.Errorf("a folder that others enter: %v", err)
	}
}

// TestSocketKnowsWhoAsks checks that the kernel's word counts, and no header.
func TestSocketKnowsWhoAsks(t *testing.T) {
	w := consoletest.New()
	path := filepath.Join(socketFolder(t), "s")
	onSocket(t, w, path)
	c := unixClient(t, path)
	req, _ := http.NewRequest("POST", "http://any.host/api/v1/actions", strings.NewReader(`{"kind":"block","target":"203.0.113.9"}`))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+consoletest.ViewerToken)
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want := fmt.Sprintf("uid:%d", os.Geteuid())
	if a := w.Actions[len(w.Actions)-1]; resp.StatusCode != http.StatusCreated || a.Actor != want || a.Target != "203.0.113.9" {
		t.Errorf("answers %s, the last action is %+v, want one of %s", resp.Status, a, want)
	}
	if e := w.Ledger[len(w.Ledger)-1]; e.Actor != want || e.Verb != "block.apply" {
		t.Errorf("the ledger says %+v", e)
	}
}

// brokenFindings is a source with a fault of its own.
type brokenFindings struct{ console.FindingSource }

func (brokenFindings) Finding(context.Context, string) (signal.Finding, error) {
	return signal.Finding{}, errors.New("state: no room on the disk")
}

// TestSocketTellsFaults checks that who commands the node learns what is wrong with it, and who
// comes over the network does not.
func TestSocketTellsFaults(t *testing.T) {
	w := consoletest.New()
	src := w.Sources()
	src.Findings = brokenFindings{FindingSource: src.Findings}
	s, err := console.New(console.Default(), src, console.Deps{Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(socketFolder(t), "s")
	if err := s.ListenSocket(path); err != nil {
		t.Fatal(err)
	}
	consoletest.RunBound(t, s)
	resp, err := unixClient(t, path).Get("http://x/api/v1/findings/f1")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(b), "no room on the disk") {
		t.Errorf("the socket answers %s %s", resp.Status, b)
	}
	r := httptest.NewRequest("GET", "https://localhost:7443/api/v1/findings/f1", nil)
	r.Header.Set("Authorization", "Bearer "+consoletest.ViewerToken)
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	if rec.Code != http.StatusInternalServerError || strings.Contains(rec.Body.String(), "disk") {
		t.Errorf("the network gets %d %s", rec.Code, rec.Body)
	}
}

func unixClient(t *testing.T, path string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// TestSocketRefusesOthers connects as another user, past folder and file modes.
func TestSocketRefusesOthers(t *testing.T) {
	if path := os.Getenv("TESTUDO_TEST_CONNECT"); path != "" {
		conn, err := net.Dial("unix", path)
		if err != nil {
			fmt.Println("dial:", err)
			return
		}
		_, _ = fmt.Fprint(conn, "GET /api/v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			fmt.Println("read:", err)
			return
		}
		fmt.Println("answer:", resp.StatusCode)
		return
	}
	require.Root(t)
	w := consoletest.New()
	dir := socketFolder(t)
	path := filepath.Join(dir, "s")
	onSocket(t, w, path)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	self, err := os.ReadFile("/proc/self/exe")
	require.Part(t, "proc", err == nil, fmt.Sprint("mount /proc: ", err))
	exe := filepath.Join(dir, "probe")
	if err := os.WriteFile(exe, self, 0o755); err != nil {
		t.Fatal(err)
	}
	for uid, want := range map[uint32]string{65534: "answer: 403", 0: "answer: 200"} {
		cmd := exec.Command(exe, "-test.run", "TestSocketRefusesOthers")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "TESTUDO_TEST_CONNECT="+path)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("uid %d gets %q, %v, want %q", uid, out, err, want)
		}
	}
}
