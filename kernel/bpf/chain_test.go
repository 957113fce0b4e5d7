//go:build linux

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

const threads = `
import http.server, subprocess, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        subprocess.run(["/bin/sh", "-c", "exit 0", self.path])
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
print(s.server_address[1], flush=True)
s.serve_forever()
`

// TestRequestsReachCommands: a command carries the token of the request that it was started for, over one connection.
func TestRequestsReachCommands(t *testing.T) {
	require.Root(t)
	python := require.Program(t, "python3", "python3")
	l, s := start(t, Options{Exclude: []uint32{uint32(os.Getpid())}}, kernel.Interest{})
	cmd := exec.Command(python, "-c", threads)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var port uint16
	if _, err := fmt.Fscan(out, &port); err != nil {
		t.Fatal(err)
	}
	if err := l.Watch(t.Context(), kernel.Interest{Served: []uint16{port}}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/%d", port, i))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		serve := s.wait(t, "serve", func(r *record.Record) bool {
			return r.Kind == record.KindServe && bytes.Contains(r.Data, fmt.Appendf(nil, "GET /%d ", i))
		})
		e := s.wait(t, "exec", func(r *record.Record) bool {
			return r.Kind == record.KindExec && bytes.Contains(r.Args, fmt.Appendf(nil, "exit 0\x00/%d\x00", i))
		})
		if e.Token == 0 || e.Token != serve.Token {
			t.Errorf("request %d: exec has token %d, the request %d", i, e.Token, serve.Token)
		}
	}
}

// TestUnfollowedIsLost: processes that there was no room for are counted as what they would have told.
func TestUnfollowedIsLost(t *testing.T) {
	require.Root(t)
	l, _ := start(t, Options{}, kernel.Interest{})
	m := l.Map("chain_lost")
	if m == nil {
		t.Fatal("the counter is not there")
	}
	var each []uint64
	if err := m.Lookup(uint32(0), &each); err != nil {
		t.Fatal(err)
	}
	for i := range each {
		each[i] += 3
	}
	if err := m.Put(uint32(0), each); err != nil {
		t.Fatal(err)
	}
	lost, err := l.Lost()
	if err != nil {
		t.Fatal(err)
	}
	if got := lost[record.KindServe]; got < uint64(3*len(each)) {
		t.Errorf("%d are lost, want %d", got, 3*len(each))
	}
}

// TestChainWithoutItsTracepoint: kernels before 6.3 tell of no reads of sockets. All else is seen there, and the features say what is not.
func TestChainWithoutItsTracepoint(t *testing.T) {
	require.Root(t)
	l, s := start(t, Options{}, kernel.Interest{})
	p := l.programs["chain_read"]
	require.Part(t, "sock_recv_length", p != nil, "Linux 6.3, which has this tracepoint")
	l.mu.Lock()
	p.attach = func(*ebpf.Program) (link.Link, error) {
		return nil, fmt.Errorf("the tracepoint sock_recv_length: %w", os.ErrNotExist)
	}
	l.mu.Unlock()
	if err := l.Watch(t.Context(), kernel.Interest{Served: []uint16{80}}); err != nil {
		t.Fatalf("all that is to be seen is refused: %v", err)
	}
	missing := false
	for _, f := range l.Features() {
		missing = missing || f.Name == p.feature && !f.OK && f.Cost != "" && strings.Contains(f.Detail, "sock_recv_length")
	}
	if !missing {
		t.Errorf("the features do not say that requests are not seen: %+v", l.Features())
	}
	for _, o := range chainWork().programs {
		if p := l.programs[o.name]; p != nil && p.link != nil {
			t.Errorf("%s is attached, for nothing", o.name)
		}
	}
	cmd := exec.Command("/bin/true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "exec", func(r *record.Record) bool { return r.Kind == record.KindExec && r.PID == uint32(cmd.Process.Pid) })
}

// TestTracepointThatIsNotThere: a raw program loads whether the kernel has its tracepoint or not; that it has not is known at once.
func TestTracepointThatIsNotThere(t *testing.T) {
	require.Root(t)
	l, _ := startOwn(t, Options{}, kernel.Interest{}, true)
	p := l.programs["chain_read"]
	require.Part(t, "sock_recv_length", p != nil, "Linux 6.3, which has this tracepoint")
	if p.spec.Type != ebpf.RawTracepoint {
		t.Fatalf("no raw program: %+v", p)
	}
	if err := attachable(p.spec, p.prog); err != nil {
		t.Errorf("one that is there: %v", err)
	}
	err := attachable(&ebpf.ProgramSpec{AttachTo: "testudo_has_no_such"}, p.prog)
	if !errors.Is(err, os.ErrNotExist) || mend(err) != "a newer kernel" {
		t.Errorf("one that is not: %v, to be mended by %q", err, mend(err))
	}
}
