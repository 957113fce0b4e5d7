package procwatch

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// nestedRole is set for the test binary as it runs again in a PID namespace of its own.
const nestedRole = "TESTUDO_PROCWATCH_NESTED"

func TestMain(m *testing.M) {
	if os.Getenv(nestedRole) != "" {
		if err := nested(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// seen keeps records as lines: what, process, executable or file.
type seen struct {
	mu    sync.Mutex
	lines map[string]record.Record
}

func (s *seen) take(batch []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(batch) > 0 {
		var r record.Record
		n, err := record.Decode(batch, &r)
		if err != nil {
			panic(err)
		}
		batch = batch[n:]
		line := r.Kind.String()
		switch r.Kind {
		case record.KindChange:
			line += " " + string(r.Path)
		case record.KindExec:
			line += fmt.Sprintf(" %d %s", r.PID, filepath.Base(string(r.Path)))
		default:
			line += fmt.Sprintf(" %d", r.PID)
		}
		r.Args, r.Path = append([]byte(nil), r.Args...), append([]byte(nil), r.Path...)
		s.lines[line] = r
	}
}

func (s *seen) wait(t *testing.T, line string) record.Record {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		r, ok := s.lines[line]
		s.mu.Unlock()
		if ok {
			return r
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for l := range s.lines {
		if f := strings.Fields(line); len(f) > 1 && strings.Contains(l, f[1]) {
			t.Log("seen: " + l)
		}
	}
	t.Fatalf("%q is not seen", line)
	return record.Record{}
}

func (s *seen) has(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for line := range s.lines {
		if strings.Contains(line, part) {
			return true
		}
	}
	return false
}

func start(t *testing.T, o Options, want kernel.Interest) (*Watcher, *seen) {
	t.Helper()
	w := New(o)
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.Watch(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	s := &seen{lines: map[string]record.Record{}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx, s.take) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w, s
}

func feature(t *testing.T, w *Watcher, name string) kernel.Feature {
	t.Helper()
	st, err := w.Status()
	if err != nil || st.Mode != "procwatch" || st.Kernel == "" {
		t.Fatalf("%+v %v", st, err)
	}
	for _, f := range st.Features {
		if f.Name == name {
			return f
		}
	}
	t.Fatalf("no feature %q", name)
	return kernel.Feature{}
}

// stays starts a program that runs until it is told to end.
func stays(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sleep", "1234")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestPollingSeesProcesses(t *testing.T) {
	w, s := start(t, Options{Poll: 20 * time.Millisecond, NoConnector: true}, kernel.Interest{})
	cmd := stays(t)
	r := s.wait(t, fmt.Sprintf("exec %d sleep", cmd.Process.Pid))
	if string(r.Args) != "/bin/sleep\x001234\x00" || r.PPID != uint32(os.Getpid()) || r.Flags&record.FlagSeeded != 0 || r.Start == 0 || r.UID != uint32(os.Getuid()) {
		t.Errorf("%+v", r)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if e := s.wait(t, fmt.Sprintf("exit %d", cmd.Process.Pid)); e.Start != r.Start {
		t.Errorf("the end is of a process that began at %d, want %d", e.Start, r.Start)
	}
	// A process that becomes another program.
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	sh := exec.Command("/bin/sh", "-c", "read x; exec /bin/sleep 1234")
	sh.Stdin = in
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sh.Process.Kill(); _ = sh.Wait() }()
	exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", sh.Process.Pid))
	s.wait(t, fmt.Sprintf("exec %d %s", sh.Process.Pid, filepath.Base(exe)))
	_, _ = out.WriteString("go\n")
	_ = out.Close()
	s.wait(t, fmt.Sprintf("exec %d sleep", sh.Process.Pid))
	if f := feature(t, w, "process connector"); f.OK || f.Cost == "" || f.Mend == "" {
		t.Errorf("%+v", f)
	}
	if f := feature(t, w, "system calls"); f.OK || f.Cost == "" {
		t.Errorf("%+v", f)
	}
	if s.has(fmt.Sprintf("exec %d ", os.Getpid())) {
		t.Error("what ran before is told of as if it had just begun")
	}
}

// The connector tells of each process, short ones too: of those that /proc no longer has, the count is in the status.
func TestConnectorSeesProcesses(t *testing.T) {
	require.Root(t)
	require.HostPIDs(t)
	probe, err := listen()
	if err != nil {
		require.Part(t, "proc-connector", false, "root in the first network namespace, CONFIG_PROC_EVENTS: "+err.Error())
	}
	_ = unix.Close(probe)
	w, s := start(t, Options{Poll: time.Hour}, kernel.Interest{})
	if f := feature(t, w, "process connector"); !f.OK {
		t.Fatalf("%+v", f)
	}
	cmd := stays(t)
	r := s.wait(t, fmt.Sprintf("exec %d sleep", cmd.Process.Pid))
	if string(r.Args) != "/bin/sleep\x001234\x00" || r.PPID != uint32(os.Getpid()) || r.Flags&record.FlagSeeded != 0 {
		t.Errorf("%+v", r)
	}
	s.wait(t, fmt.Sprintf("fork %d", cmd.Process.Pid))
	_ = cmd.Process.Signal(unix.SIGKILL)
	_ = cmd.Wait()
	if e := s.wait(t, fmt.Sprintf("exit %d", cmd.Process.Pid)); e.Ret&0x7f != int64(unix.SIGKILL) || e.Start != r.Start {
		t.Errorf("%+v", e)
	}
}

// In a PID namespace of its own the connector is of no use, though what others asked for is heard there: /proc is looked at, and the status says so.
func TestNestedProcessesArePolled(t *testing.T) {
	require.Root(t)
	require.HostPIDs(t)
	other, err := listen() // without which nothing would be heard in there
	if err != nil {
		require.Part(t, "proc-connector", false, "root in the first network namespace, CONFIG_PROC_EVENTS: "+err.Error())
	}
	defer unix.Close(other)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), nestedRole+"=1")
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWPID, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// nested is what goes on in a PID namespace of its own.
func nested() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return err
	}
	w := New(Options{Poll: 10 * time.Millisecond})
	if err := w.Open(context.Background()); err != nil {
		return err
	}
	defer w.Close()
	st, err := w.Status()
	if err != nil {
		return err
	}
	if f := st.Features[0]; f.Name != "process connector" || f.OK || !strings.Contains(f.Detail, "does not answer") || f.Cost == "" || f.Mend == "" {
		return fmt.Errorf("the status says %+v", f)
	}
	s := &seen{lines: map[string]record.Record{}}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { _ = w.Run(ctx, s.take) }()
	cmd := exec.Command("/bin/sleep", "1234")
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	line := fmt.Sprintf("exec %d sleep", cmd.Process.Pid)
	for end := time.Now().Add(20 * time.Second); !s.has(line); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return fmt.Errorf("%q is not seen", line)
		}
	}
	return nil
}

func TestFilesThatChange(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"tree/deep", "crone", "crondir", "other"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	want := kernel.Interest{Writes: kernel.Paths{Exact: []string{at("other/exact")}, Prefix: []string{at("tree") + "/", at("cron")}},
		Changes: kernel.Paths{Exact: []string{at("other/exact")}, Name: []string{"id_rsa"}}}
	w, s := start(t, Options{NoConnector: true, Poll: time.Hour}, want)
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("other/unasked")
	write("elsewhere")
	for _, name := range []string{"tree/a", "tree/deep/b", "cron.allow", "crondir/c", "other/exact"} {
		write(name)
		if r := s.wait(t, "change "+at(name)); r.PID != 0 || !r.HasInode {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if err := os.Mkdir(at("tree/new"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.wait(t, "change "+at("tree/new"))
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && !s.has("tree/new/d"); time.Sleep(10 * time.Millisecond) {
		write("tree/new/d") // the folder is watched a moment after it was made
	}
	s.wait(t, "change "+at("tree/new/d"))
	if err := os.Remove(at("tree/a")); err != nil {
		t.Fatal(err)
	}
	if s.has("unasked") || s.has("elsewhere") {
		t.Error("files that nobody asked for are told of")
	}
	if f := feature(t, w, "inotify"); f.OK || !strings.Contains(f.Cost, "by name alone") {
		t.Errorf("%+v", f)
	}
	// Others take their place, and no more folders than the limit.
	if err := w.Watch(t.Context(), kernel.Interest{Writes: kernel.Paths{Exact: []string{at("other/unasked")}}}); err != nil {
		t.Fatal(err)
	}
	if f := feature(t, w, "inotify"); !f.OK || !strings.HasPrefix(f.Detail, "1 folders") {
		t.Errorf("%+v", f)
	}
	write("other/unasked")
	s.wait(t, "change "+at("other/unasked"))
}

func TestWatchesAreBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 30 {
		if err := os.MkdirAll(filepath.Join(dir, fmt.Sprint(i)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w := New(Options{Watches: 10, NoConnector: true})
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Watch(t.Context(), kernel.Interest{Writes: kernel.Paths{Prefix: []string{dir + "/"}}}); err != nil {
		t.Fatal(err)
	}
	if f := feature(t, w, "inotify"); f.OK || !strings.HasPrefix(f.Detail, "10 folders") || !strings.Contains(f.Cost, "beyond the limit of 10") {
		t.Errorf("%+v", f)
	}
}

// What others send is no event, and what is too short is none.
func TestParse(t *testing.T) {
	whole := make([]byte, unix.NLMSG_HDRLEN+cnSize+eventHead+16)
	whole[unix.NLMSG_HDRLEN], whole[unix.NLMSG_HDRLEN+4], whole[unix.NLMSG_HDRLEN+cnSize] = 1, 1, eventExec
	whole[unix.NLMSG_HDRLEN+12], whole[unix.NLMSG_HDRLEN+cnSize+eventHead+4] = 7, 9
	if e, ok := parse(whole, &unix.SockaddrNetlink{}); !ok || e.what != eventExec || len(e.body) != 16 || e.answers == 0 || e.num(1) == 0 || e.num(4) != 0 {
		t.Errorf("%+v %v", e, ok)
	}
	if _, ok := parse(whole, &unix.SockaddrNetlink{Pid: 77}); ok {
		t.Error("a message of a process is taken for the kernel's")
	}
	for n := range unix.NLMSG_HDRLEN + cnSize + eventHead {
		if _, ok := parse(whole[:n], &unix.SockaddrNetlink{}); ok {
			t.Errorf("%d bytes are an event", n)
		}
	}
}
