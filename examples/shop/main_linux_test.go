package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
)

// The tests run the real program, built the way the Makefile builds it: what
// matters here is the state of a whole process.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "shop-test-")
	if err != nil {
		return "", err
	}
	// An ordinary user must be able to start it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return dir, err
	}
	cmd := exec.Command("go", "build", "-o", dir+"/shop", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, _ := build(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(code)
}

func program(t *testing.T) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/shop"
}

// running is a started shop.
type running struct {
	cmd  *exec.Cmd
	url  string
	uid  string
	tmp  string
	out  *bytes.Buffer // valid after stop
	errs *bytes.Buffer
	done chan error
}

var address = regexp.MustCompile(`listening on (http://\S+) as uid (\d+)`)

// start runs the shop by prefix (say, setpriv and its options) and waits for its address.
func start(t *testing.T, prefix []string, args ...string) *running {
	t.Helper()
	tmp := t.TempDir()
	for d := tmp; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	line := append(append(prefix, program(t), "--listen", "127.0.0.1:0"), args...)
	r := &running{cmd: exec.Command(line[0], line[1:]...), tmp: tmp, out: &bytes.Buffer{}, errs: &bytes.Buffer{}, done: make(chan error, 1)}
	r.cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	r.cmd.Stderr = r.errs
	pipe, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.cmd.Process.Kill() })
	buf := make([]byte, 4096)
	for {
		n, err := pipe.Read(buf)
		r.out.Write(buf[:n])
		if m := address.FindSubmatch(r.out.Bytes()); m != nil {
			r.url, r.uid = string(m[1]), string(m[2])
			break
		}
		if err != nil {
			r.cmd.Wait()
			t.Fatalf("the shop did not start: %s%s", r.out, r.errs)
		}
	}
	go func() {
		io.Copy(r.out, pipe)
		r.done <- r.cmd.Wait()
	}()
	return r
}

func (r *running) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("stopped by %v: %v\n%s", sig, err, r.errs)
	}
	if left, err := os.ReadDir(r.tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(r.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func TestUnsafeAddressesAreRefused(t *testing.T) {
	for _, listen := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		var out, errs bytes.Buffer
		// Had it not refused, it would have listened and then stopped at once with 0.
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if code := run(ctx, []string{"--listen", listen}, &out, &errs); code != exitUsage || !strings.Contains(errs.String(), "127.0.0.1:PORT") || out.Len() != 0 {
			t.Errorf("--listen %s: exit %d, %q %q", listen, code, errs.String(), out.String())
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, exitOK, "DELIBERATELY VULNERABLE"},
		{[]string{"--port", "1"}, exitUsage, "not defined"},
		{[]string{"8081"}, exitUsage, "options only"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.want) {
			t.Errorf("%q: exit %d, %q", c.args, code, errs.String())
		}
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	out, err := exec.Command(program(t), "--listen", taken.Addr().String()).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitBroken || !strings.Contains(string(out), "is in use") {
		t.Errorf("a taken port: %v %s", err, out)
	}
}

func TestLife(t *testing.T) {
	r := start(t, nil)
	dirs, err := filepath.Glob(r.tmp + "/testudo-shop-*")
	if err != nil || len(dirs) != 1 {
		t.Fatalf("folders %v, %v", dirs, err)
	}
	info, err := os.Stat(dirs[0])
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder's mode is %v, %v", info.Mode(), err)
	}
	if code, body := r.get(t, "/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("health: %d %q", code, body)
	}
	req, _ := http.NewRequest(http.MethodGet, r.url, nil)
	req.Host = "evil.example"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("a rebound name: %d", res.StatusCode)
	}
	http.DefaultClient.CloseIdleConnections()

	// A stream in flight ends in good order when the shop stops.
	stream, err := http.Get(r.url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	r.stop(t, syscall.SIGTERM)
	if _, err := io.Copy(io.Discard, stream.Body); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
	if out := r.out.String(); !strings.Contains(out, strings.Split(banner, "\n")[0]) || !strings.Contains(out, "open to attack on purpose") {
		t.Errorf("it does not say what it is: %s", out)
	}
	if r.errs.Len() != 0 {
		t.Errorf("errors: %s", r.errs)
	}
	start(t, nil).stop(t, os.Interrupt)
}

func asRoot(t *testing.T) {
	t.Helper()
	require.Root(t) // giving up root can be tried by root only
}

func setpriv(t *testing.T, options ...string) []string {
	t.Helper()
	return append([]string{require.Program(t, "util-linux", "setpriv")}, options...)
}

func TestRootIsGivenUp(t *testing.T) {
	asRoot(t)
	r := start(t, nil)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", r.cmd.Process.Pid))
	if err != nil || len(threads) < 2 {
		t.Fatalf("threads %v, %v", threads, err)
	}
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "Gid:\t65534\t65534\t65534\t65534", "Groups:\t \n", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("%s: no %q in\n%s", path, want, status)
			}
		}
	}
	dirs, _ := filepath.Glob(r.tmp + "/testudo-shop-*/*")
	for _, d := range append(dirs, filepath.Dir(append(dirs, "")[0])) {
		if info, err := os.Stat(d); err != nil || info.Sys().(*syscall.Stat_t).Uid != 65534 {
			t.Errorf("%s is not nobody's: %v", d, err)
		}
	}
	_, body := r.get(t, "/diag/ping?host="+url.QueryEscape("127.0.0.1; id -u; cat /etc/shadow; grep NoNewPrivs /proc/self/status"))
	if !strings.Contains(body, "65534\n") || !strings.Contains(body, "Permission denied") || !strings.Contains(body, "NoNewPrivs:\t1") {
		t.Errorf("the shell: %s", body)
	}
	if code, _ := r.get(t, "/download?file="+strings.Repeat("../", 20)+"etc/shadow"); code != http.StatusNotFound {
		t.Errorf("root's file was read: %d", code)
	}
	r.stop(t, syscall.SIGTERM)

	r = start(t, nil, "--user", "daemon")
	if r.uid == "0" || r.uid == "65534" {
		t.Errorf("--user daemon: uid %s", r.uid)
	}
	r.stop(t, syscall.SIGTERM)
}

// A root that cannot become another user, and one that keeps its capabilities
// when it does, must both be refused before anything is served.
func TestRootThatStaysIsRefused(t *testing.T) {
	asRoot(t)
	for _, c := range []struct {
		prefix []string
		args   []string
		want   string
	}{
		{setpriv(t, "--bounding-set=-setuid", "--inh-caps=-all"), nil, "setuid to 65534"},
		{setpriv(t, "--bounding-set=-setgid", "--inh-caps=-all"), nil, "setgroups"},
		{setpriv(t, "--securebits=+no_setuid_fixup"), nil, "CapPrm is"},
		{nil, []string{"--user", "root"}, "ordinary user"},
		{nil, []string{"--user", "no-such-user"}, "no user"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		line := append(append(c.prefix, program(t), "--listen", "127.0.0.1:0"), c.args...)
		out, err := exec.CommandContext(ctx, line[0], line[1:]...).CombinedOutput()
		cancel()
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitUsage || !strings.Contains(string(out), c.want) || strings.Contains(string(out), "listening") {
			t.Errorf("%q: %v\n%s", line, err, out)
		}
	}
}

func TestOrdinaryUserStaysItself(t *testing.T) {
	prefix := []string{}
	uid := os.Getuid()
	if uid == 0 {
		prefix, uid = setpriv(t, "--reuid=1234", "--regid=1234", "--clear-groups"), 1234
	}
	r := start(t, prefix)
	if r.uid != strconv.Itoa(uid) {
		t.Errorf("uid %s, want %d", r.uid, uid)
	}
	r.stop(t, syscall.SIGTERM)
	line := append(prefix, program(t), "--listen", "127.0.0.1:0", "--user", "nobody")
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != exitUsage || !strings.Contains(string(out), "only root") {
		t.Errorf("--user without root: %v %s", err, out)
	}
}

func TestShellInFlightIsWaitedFor(t *testing.T) {
	r := start(t, nil)
	answer := make(chan string, 1)
	go func() {
		res, err := http.Get(r.url + "/diag/ping?host=" + url.QueryEscape("127.0.0.1; touch begun; sleep 1; echo finished"))
		if err != nil {
			answer <- err.Error()
			return
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		answer <- string(body)
	}()
	for begun := []string(nil); len(begun) != 1; begun, _ = filepath.Glob(r.tmp + "/testudo-shop-*/begun") {
		select {
		case got := <-answer:
			t.Fatalf("the shell ended before it began: %q", got)
		case <-time.After(5 * time.Millisecond):
		}
	}
	r.stop(t, syscall.SIGTERM)
	if got := <-answer; !strings.Contains(got, "finished") {
		t.Errorf("the shell was cut off: %q", got)
	}
}
