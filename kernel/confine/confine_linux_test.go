package confine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestMain(m *testing.M) {
	if os.Getenv("TESTUDO_STAGE") != "" {
		os.Unsetenv("TESTUDO_STAGE")
		fmt.Fprintln(os.Stderr, Stage())
		os.Exit(126)
	}
	goleak.VerifyTestMain(m)
}

// judge answers by a function and keeps what it was asked.
type judge struct {
	deny func(r *record.Record) bool
	mu   sync.Mutex
	seen []string
}

func (j *judge) Records([]byte) {}

func (j *judge) Ask(_ context.Context, b []byte, gate record.Gate) kernel.Answer {
	var r record.Record
	if _, err := record.Decode(b, &r); err != nil || gate != record.GateSeccomp {
		return kernel.Answer{Deny: true}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.seen = append(j.seen, fmt.Sprintf("%s %s %q %s", r.Call, r.Path, r.Args, r.Net.Remote))
	return kernel.Answer{Deny: j.deny != nil && j.deny(&r)}
}

func (j *judge) saw(text string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.seen {
		if strings.Contains(s, text) {
			return true
		}
	}
	return false
}

// run runs a shell's command under a judge.
func run(t *testing.T, j *judge, o Options, script string) (stdout string, err error) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "TESTUDO_STAGE=1")
	cmd.Stdout, cmd.Stderr = &out, &out
	if o.Stage != nil {
		cmd.SysProcAttr, cmd.Path = o.Stage.SysProcAttr, o.Stage.Path
	}
	o.Stage, o.Path, o.Argv = cmd, "/bin/sh", []string{"sh", "-c", script}
	p := New(o)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Run(ctx, j); err != nil {
		return out.String(), err
	}
	<-p.Done()
	return out.String(), p.Exit()
}

func TestProgramIsJudgedBeforeItRuns(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "ran")
	j := &judge{deny: func(r *record.Record) bool { return strings.HasSuffix(string(r.Path), "/touch") }}
	out, err := run(t, j, Options{}, "touch "+marker+"; echo status $?; uname >/dev/null && echo fine")
	if err != nil {
		t.Fatal(err, out)
	}
	if _, err := os.Stat(marker); !errors.Is(err, os.ErrNotExist) {
		t.Error("the refused program ran")
	}
	if !strings.Contains(out, "status 126") || !strings.Contains(out, "fine") {
		t.Errorf("output %q", out)
	}
	if !j.saw(`/touch "touch\x00`+marker+`\x00"`) || !j.saw("/uname ") {
		t.Errorf("seen: %q", j.seen)
	}
}

func TestExitStatusIsTheProgramsOwn(t *testing.T) {
	_, err := run(t, &judge{}, Options{}, "exit 7")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v", err)
	}
}

func TestOpenIsJudgedByWhatTheNameStandsFor(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("hush"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "innocent")); err != nil {
		t.Fatal(err)
	}
	j := &judge{deny: func(r *record.Record) bool { return string(r.Path) == secret }}
	out, err := run(t, j, Options{Opens: OpensAll}, "cd "+dir+"; cat innocent; cat ./../"+filepath.Base(dir)+"/innocent; true")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "hush") || strings.Count(out, "not permitted") != 2 {
		t.Errorf("output %q", out)
	}
	// Reads are not looked at where only writes are asked for, writes are.
	out, _ = run(t, j, Options{}, "cat "+secret+"; echo more >>"+dir+"/innocent")
	if b, _ := os.ReadFile(secret); !strings.Contains(out, "hush") || string(b) != "hush" {
		t.Errorf("output %q, the file holds %q", out, b)
	}
}

func TestConnectIsJudged(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	bash, err := exec.LookPath("bash")
	require.Part(t, "bash", err == nil, "bash opens connections by /dev/tcp")
	address := l.Addr().String()
	script := bash + " -c 'exec 3<>/dev/tcp/" + strings.Replace(address, ":", "/", 1) + "' && echo connected || echo refused"
	j := &judge{deny: func(r *record.Record) bool { return r.Kind == record.KindConnect && r.Net.Remote.String() == address }}
	if out, _ := run(t, j, Options{}, script); !strings.Contains(out, "refused") || strings.Contains(out, "connected") {
		t.Errorf("output %q, seen %q", out, j.seen)
	}
	if out, _ := run(t, &judge{}, Options{}, script); !strings.Contains(out, "connected") {
		t.Errorf("output %q", out)
	}
}

func TestLandlockBounds(t *testing.T) {
	require.Part(t, "landlock", landlockABI() >= 4, "a kernel with Landlock version 4, Linux 6.7")
	dir := t.TempDir()
	for name, text := range map[string]string{"in/a": "inside", "out/a": "outside"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	system := []string{"/usr", "/lib", "/lib64", "/bin", "/etc", "/dev", "/proc"}
	limits := Limits{Read: append(system, dir+"/in"), Write: []string{dir + "/in", "/dev"}, Connect: []uint16{}}
	out, _ := run(t, &judge{}, Options{Limits: limits}, "cat "+dir+"/in/a; cat "+dir+"/out/a; echo x >"+dir+"/in/b && echo wrote; echo x >"+dir+"/out/b || echo kept")
	if !strings.Contains(out, "inside") || strings.Contains(out, "outside") || !strings.Contains(out, "wrote") || !strings.Contains(out, "kept") {
		t.Errorf("output %q", out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, _ = run(t, &judge{}, Options{Limits: limits}, "bash -c 'exec 3<>/dev/tcp/"+strings.Replace(l.Addr().String(), ":", "/", 1)+"' && echo connected")
	if strings.Contains(out, "connected") {
		t.Errorf("a port out of reach was reached: %q", out)
	}
	// The supervisor cannot be signalled from within.
	out, _ = run(t, &judge{}, Options{}, fmt.Sprintf("kill -0 %d && echo reached || echo safe", os.Getpid()))
	if landlockABI() >= 6 && !strings.Contains(out, "safe") {
		t.Errorf("output %q", out)
	}
}

func TestNobodyAnswers(t *testing.T) {
	late := &slow{}
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "TESTUDO_STAGE=1"), &out, &out
	p := New(Options{Stage: cmd, Path: "/bin/sh", Argv: []string{"sh", "-c", "exit 0"}, Wait: 50 * time.Millisecond})
	if err := p.Run(context.Background(), late); err != nil {
		t.Fatal(err)
	}
	if p.Exit() == nil || p.late.Load() == 0 {
		t.Errorf("a program whose start nobody answered for ran: %v, %d late, %s", p.Exit(), p.late.Load(), out.String())
	}
}

// slow answers when it is too late.
type slow struct{}

func (slow) Records([]byte) {}

func (slow) Ask(ctx context.Context, _ []byte, _ record.Gate) kernel.Answer {
	<-ctx.Done()
	return kernel.Answer{}
}

func TestStop(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "TESTUDO_STAGE=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{Stage: cmd, Path: "/bin/sh", Argv: []string{"sh", "-c", "echo up; sleep 60"}})
	go func() {
		_, _ = io.ReadFull(out, make([]byte, 3))
		cancel()
	}()
	if err := p.Run(ctx, &judge{}); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if p.Exit() == nil {
		t.Error("the program ended as if nothing had happened")
	}
}

func TestWithoutPrivileges(t *testing.T) {
	require.Root(t)
	dir, err := os.MkdirTemp("", "confine") // t.TempDir is the owner's alone
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "stage")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, self, 0o755); err != nil {
		t.Fatal(err)
	}
	nobody := &exec.Cmd{Path: binary, SysProcAttr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}}
	j := &judge{deny: func(r *record.Record) bool { return strings.HasSuffix(string(r.Path), "/uname") }}
	out, err := run(t, j, Options{Stage: nobody}, "id -u; uname || echo refused")
	if err != nil || !strings.Contains(out, "65534") || !strings.Contains(out, "refused") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestWhatGoesAroundIsRefused(t *testing.T) {
	gcc, err := exec.LookPath("gcc")
	require.Part(t, "gcc", err == nil, "a compiler for a program that makes raw calls")
	dir := t.TempDir()
	source := filepath.Join(dir, "a.c")
	const text = `#include <stdio.h>
#include <errno.h>
#include <unistd.h>
#include <sys/syscall.h>
int main(void) {
	char params[120] = {0};
	long n = syscall(425, 1, params);
	printf("io_uring %ld %d\n", n, errno);
	n = syscall(0x40000000 | 59, 0, 0, 0);
	printf("x32 %ld %d\n", n, errno);
	return 0;
}`
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "a")
	if b, err := exec.Command(gcc, "-o", program, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	out, _ := run(t, &judge{}, Options{}, program)
	if !strings.Contains(out, "io_uring -1 38") || !strings.Contains(out, "x32 -1 38") {
		t.Errorf("output %q", out)
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := (&Limits{Read: []string{"etc"}}).Validate(); err == nil {
		t.Error("a relative path is taken")
	}
	if err := (&Limits{Connect: []uint16{0}}).Validate(); err == nil {
		t.Error("port 0 is taken")
	}
	if err := (&Limits{Read: []string{"/etc"}, Connect: []uint16{443}}).Validate(); err != nil {
		t.Error(err)
	}
}

func BenchmarkExec(b *testing.B) {
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe")
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "TESTUDO_STAGE=1"), &out, &out
	p := New(Options{Stage: cmd, Path: "/bin/sh", Argv: []string{"sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do /bin/true; i=$((i+1)); done", b.N)}})
	if err := p.Run(context.Background(), &judge{}); err != nil {
		b.Fatal(err)
	}
}

// TestDatagramsAreJudged: by each of the calls that send one to an address of its own.
func TestDatagramsAreJudged(t *testing.T) {
	python, err := exec.LookPath("python3")
	require.Part(t, "python3", err == nil, "a program that sends datagrams")
	const script = `
import ctypes, socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
def tried(name, f):
    try:
        f()
        print(name, "sent")
    except OSError as e:
        print(name, e.errno)
good, bad = ("127.0.0.1", 9), ("127.0.0.2", 9)
tried("sendto", lambda: s.sendto(b"x", bad))
tried("sendmsg", lambda: s.sendmsg([b"x"], [], 0, bad))
tried("fine", lambda: s.sendmsg([b"x"], [], 0, good))
libc = ctypes.CDLL(None, use_errno=True)
def many(*to):
    keep, heads = [], b""
    for a in to:
        address = ctypes.create_string_buffer(struct.pack("=HHI8x", 2, socket.htons(a[1]), struct.unpack("=I", socket.inet_aton(a[0]))[0]), 16)
        text = ctypes.create_string_buffer(b"x", 1)
        part = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(text), 1), 16)
        keep += [address, text, part]
        heads += struct.pack("=QI4xQQQQi4xI4x", ctypes.addressof(address), 16, ctypes.addressof(part), 1, 0, 0, 0, 0)
    buffer = ctypes.create_string_buffer(heads, len(heads))
    n = libc.sendmmsg(s.fileno(), buffer, len(to), 0)
    if n < 0:
        raise OSError(ctypes.get_errno(), "")
tried("sendmmsg", lambda: many(good, bad))
tried("good", lambda: many(good, good))
s.connect(good)
tried("connected", lambda: s.sendmsg([b"x"]))
`
	j := &judge{deny: func(r *record.Record) bool {
		return r.Kind == record.KindConnect && r.Net.Remote.Addr().String() == "127.0.0.2"
	}}
	file := filepath.Join(t.TempDir(), "send.py")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, j, Options{Opens: OpensNone}, python+" "+file)
	want := "sendto 1\nsendmsg 1\nfine sent\nsendmmsg 1\ngood sent\nconnected sent\n"
	if err != nil || out != want {
		t.Errorf("%v, output %q, want %q; seen %q", err, out, want, j.seen)
	}
}
