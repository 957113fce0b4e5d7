package kernel

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const second = uint64(time.Second)

// testSensor is a sensor that delivers what a test hands in.
type testSensor struct {
	mu         sync.Mutex
	to         Receiver
	started    chan struct{}
	containers map[uint64]Container
	executable func(FileRef) (Executable, error)
	container  func(uint64) (Container, bool, error)
	fail       chan error
	watched    []Interest
	watchFails int
	orders     []Order
	runs       int
	do         func(Order) (Done, error)
	doCtx      func(context.Context, Order) (Done, error)
	guards     []Guard
	guard      func(Guard) error
}

func newTestSensor() *testSensor {
	return &testSensor{started: make(chan struct{}, 8), containers: map[uint64]Container{}, fail: make(chan error, 1)}
}

func (s *testSensor) Run(ctx context.Context, to Receiver) error {
	s.mu.Lock()
	s.to = to
	s.runs++
	s.mu.Unlock()
	s.started <- struct{}{}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.fail:
		return err
	}
}

func (s *testSensor) Watch(_ context.Context, i Interest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchFails > 0 {
		s.watchFails--
		return errors.New("not yet")
	}
	s.watched = append(s.watched, i)
	return nil
}

func (s *testSensor) Guard(_ context.Context, g Guard) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.guard != nil {
		if err := s.guard(g); err != nil {
			return err
		}
	}
	s.guards = append(s.guards, g)
	return nil
}

func (s *testSensor) Container(_ context.Context, cgroup uint64, _ uint32) (Container, bool, error) {
	s.mu.Lock()
	f := s.container
	c, ok := s.containers[cgroup]
	s.mu.Unlock()
	if f != nil {
		return f(cgroup)
	}
	return c, ok, nil
}

func (s *testSensor) Executable(_ context.Context, r FileRef) (Executable, error) {
	if s.executable == nil {
		return Executable{}, ErrUnable
	}
	return s.executable(r)
}

func (s *testSensor) Do(ctx context.Context, o Order) (Done, error) {
	s.mu.Lock()
	s.orders = append(s.orders, o)
	do, doCtx := s.do, s.doCtx
	s.mu.Unlock()
	switch {
	case doCtx != nil:
		return doCtx(ctx, o)
	case do != nil:
		return do(o)
	}
	return Done{}, nil
}

func (s *testSensor) Status(context.Context) (Status, error) { return Status{}, nil }

// testSink keeps what it is given.
type testSink struct {
	mu     sync.Mutex
	events []*signal.Event
	judge  func(*signal.Event) signal.Verdict
}

func (s *testSink) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	c := new(signal.Event)
	e.CopyTo(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, c)
	if s.judge != nil {
		return s.judge(c), nil
	}
	return signal.Verdict{}, nil
}

func (s *testSink) all() []*signal.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*signal.Event(nil), s.events...)
}

// testClock reads a boot clock that began at a fixed time of day.
var bootTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type harness struct {
	*Plane
	sensor *testSensor
	sink   *testSink
	stop   func()
}

// run starts a plane over a test's sensor.
func run(t *testing.T, cfg Config, change func(*Deps)) *harness {
	t.Helper()
	h := &harness{sensor: newTestSensor(), sink: &testSink{}}
	d := Deps{Sensor: h.sensor, Sink: h.sink, Host: "node1", Boot: "3f2a91c4-0000"}
	if change != nil {
		change(&d)
	}
	p, err := New(cfg, d)
	if err != nil {
		t.Fatal(err)
	}
	p.b.accounts = accounts{users: map[uint32]string{0: "root", 33: "www-data", 1000: "alice"}, groups: map[uint32]string{1000: "alice"}}
	h.Plane = p
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	<-h.sensor.started
	var once sync.Once
	h.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(h.stop)
	return h
}

// send hands records in, in one batch.
func (h *harness) send(records ...record.Record) {
	var b []byte
	for i := range records {
		b = records[i].Append(b)
	}
	h.Records(b)
}

// events ends the plane and returns all events.
func (h *harness) ended() []*signal.Event {
	h.stop()
	return h.sink.all()
}

func (h *harness) wait(t *testing.T, n int) []*signal.Event {
	t.Helper()
	for range 1000 {
		if all := h.sink.all(); len(all) >= n {
			return all
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("%d events, want %d", len(h.sink.all()), n)
	return nil
}

// execOf is a program that starts; args are separated by spaces.
func execOf(pid, ppid uint32, path string, args ...string) record.Record {
	var joined []byte
	for _, a := range args {
		joined = append(append(joined, a...), 0)
	}
	name := baseName(path)
	return record.Record{Kind: record.KindExec, Call: record.CallExecve, Time: uint64(pid) * second, Start: uint64(pid)*second - 5e6, Cgroup: 1, PID: pid, TID: pid, PPID: ppid,
		UID: 1000, GID: 1000, LoginUID: 1000, Comm: []byte(name[:min(len(name), 15)]), Path: []byte(path), Cwd: []byte("/home/alice"), Args: joined,
		Env: []byte("PATH\x00HTTP_PROXY\x00"), HasInode: true, Inode: record.Inode{Device: 8 << 32, Number: 77 + uint64(pid), Mode: 0o100755, Changed: bootTime.UnixNano(), Links: 1},
		HasCreds: true, Creds: record.Creds{UID: 1000, EUID: 1000, Effective: 1 << 21, Permitted: 1<<21 | 1<<5, Session: 90, Group: pid, VPID: pid, VTID: pid, TTY: 136<<20 | 3},
		HasStdio: true, Stdio: [3]record.Descriptor{{Type: record.StreamInet, Inode: 5}, {Type: record.StreamPipe, Inode: 6}, {Type: record.StreamFile}}}
}

func callOf(pid uint32, call record.Call, ret int64, path string, nums ...uint64) record.Record {
	r := record.Record{Kind: record.KindCall, Call: call, Time: uint64(pid)*second + 7e6, Start: uint64(pid)*second - 5e6, Cgroup: 1, PID: pid, TID: pid, PPID: 1, UID: 1000, GID: 1000,
		LoginUID: 1000, Ret: ret, Path: []byte(path), NumLen: len(nums)}
	copy(r.Nums[:], nums)
	return r
}

func TestExecBecomesAnEvent(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	h.send(execOf(90, 1, "/usr/bin/bash", "-bash"), execOf(91, 90, "/usr/bin/mysql", "mysql", "-phunter2", "shop"))
	all := h.ended()
	if len(all) != 2 {
		t.Fatalf("%d events", len(all))
	}
	e := all[1]
	if e.Class != signal.ClassProcessActivity || e.Activity != signal.ActivityProcessLaunch || e.Plane != signal.PlaneKernel || e.ID.IsZero() || e.Time == 0 {
		t.Errorf("%+v", e)
	}
	for f, want := range map[signal.Field]string{
		signal.FieldProcessName: "mysql", signal.FieldProcessFilePath: "/usr/bin/mysql", signal.FieldProcessFileName: "mysql", signal.FieldProcessCmdLine: "mysql -phunter2 shop",
		signal.FieldProcessUserName: "alice", signal.FieldProcessUserUID: "1000", signal.FieldProcessGroupUID: "1000", signal.FieldActorUserUID: "1000",
		signal.FieldActorUserName: "alice", signal.FieldProcessTTY: "pts/3", signal.FieldProcessSessionUID: "90", signal.FieldProcessWorkingDirectory: "/home/alice",
		signal.FieldProcessParentProcessName: "bash", signal.FieldProcessParentProcessFilePath: "/usr/bin/bash", signal.FieldProcessParentProcessCmdLine: "-bash",
		signal.FieldDeviceHostname: "node1", signal.FieldStatusCode: "SUCCESS",
	} {
		if got := e.Str(f); got != want {
			t.Errorf("%s is %q, want %q", f.Name(), got, want)
		}
	}
	if got := e.RecordedStr(signal.FieldProcessCmdLine); got != "mysql -p* shop" {
		t.Errorf("recorded as %q", got)
	}
	if got := e.Strings(signal.FieldProcessLineage); len(got) != 1 || got[0] != "/usr/bin/bash" {
		t.Errorf("lineage %q", got)
	}
	for name, want := range map[string]string{
		"evt.type": "execve", "proc.vpid": "91", "proc.stdin.type": "ipv4", "proc.stdout.name": "pipe:[6]", "thread.cap_effective": "CAP_SYS_ADMIN",
		"thread.cap_permitted": "CAP_KILL CAP_SYS_ADMIN", "proc.is_vpgid_leader": "true", "proc.env": "PATH HTTP_PROXY", "proc.aexe.1": "-bash", "evt.rawres": "0",
		"proc.is_exe_upper_layer": "false", "proc.exe_ino": "168", "proc.duration": "5000000",
	} {
		if got, _ := e.Unmapped(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestOpenBecomesAnEvent(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	const flags = 0o1 | 0o100 | 0o1000 | 0o2000000
	open := callOf(91, record.CallOpenat, 3, "/etc/cron.d/x", ^uint64(99), 0x7fff0000, flags, 0o755)
	open.HasInode, open.Inode = true, record.Inode{Mode: 0o100755, Number: 5, Device: 8<<32 | 1, UID: 33}
	connect := callOf(91, record.CallConnect, inProgress, "")
	connect.Kind, connect.HasNet = record.KindConnect, true
	connect.Net = record.Net{Local: netip.MustParseAddrPort("10.0.0.2:40000"), Remote: netip.MustParseAddrPort("93.184.216.34:443"), Protocol: 6, Family: 2, FD: 5}
	accept := connect
	accept.Kind, accept.Call, accept.Ret = record.KindAccept, record.CallAccept4, 6
	h.send(execOf(91, 90, "/usr/bin/vi", "vi", "/etc/cron.d/x"), open, connect, accept, callOf(91, record.CallOpenat, -13, "/etc/shadow", ^uint64(99), 0, 0, 0))
	all := h.ended()
	if len(all) != 5 {
		t.Fatalf("%d events", len(all))
	}
	e := all[1]
	if e.Class != signal.ClassFileActivity || e.Activity != 14 || e.Str(signal.FieldFilePath) != "/etc/cron.d/x" || e.Str(signal.FieldFileName) != "x" ||
		e.Str(signal.FieldActorProcessFilePath) != "/usr/bin/vi" || e.Int(signal.FieldFileTypeID) != 1 || e.Str(signal.FieldFileOwnerName) != "www-data" {
		t.Errorf("%s", mustJSON(t, e))
	}
	if got := e.Strings(signal.FieldOpenFlags); len(got) != 4 || got[0] != "O_WRONLY" || got[1] != "O_CREAT" || got[2] != "O_TRUNC" || got[3] != "O_CLOEXEC" {
		t.Errorf("%q", got)
	}
	for name, want := range map[string]string{"fd.num": "3", "evt.is_open_exec": "true", "evt.arg.mode": "S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR", "evt.arg.dirfd": "AT_FDCWD",
		"proc.tty": "pts/3", "evt.rawres": "3", "fd.ino": "5", "fd.dev.major": "8"} {
		if got, _ := e.Unmapped(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	e = all[2]
	if e.Str(signal.FieldStatusCode) != "EINPROGRESS" || e.Int(signal.FieldStatusID) != 1 || e.IP(signal.FieldDstEndpointIP).String() != "93.184.216.34" ||
		e.Int(signal.FieldDstEndpointPort) != 443 || e.Int(signal.FieldConnectionInfoDirectionID) != 2 || e.Str(signal.FieldConnectionInfoProtocolName) != "tcp" {
		t.Errorf("%s", mustJSON(t, e))
	}
	e = all[3]
	if e.IP(signal.FieldSrcEndpointIP).String() != "93.184.216.34" || e.Int(signal.FieldDstEndpointPort) != 40000 || e.Int(signal.FieldConnectionInfoDirectionID) != 1 {
		t.Errorf("%s", mustJSON(t, e))
	}
	e = all[4]
	if e.Str(signal.FieldStatusCode) != "EACCES" || e.Int(signal.FieldStatusID) != 2 || e.Strings(signal.FieldOpenFlags)[0] != "O_RDONLY" {
		t.Errorf("%s", mustJSON(t, e))
	}
	if got, _ := e.Unmapped("fd.num"); got != "-1" {
		t.Errorf("fd.num %q", got)
	}
}

func TestNameThatIsNotCertain(t *testing.T) {
	h := run(t, DefaultConfig(), nil)
	unsure := callOf(91, record.CallUnlink, 0, "/tmp/l/x")
	unsure.Flags = record.FlagUnsure
	h.send(callOf(91, record.CallUnlink, 0, "/etc/x"), unsure)
	all := h.ended()
	if len(all) != 2 || all[0].Has(signal.FieldKernelUnsure) || !all[1].Bool(signal.FieldKernelUnsure) {
		t.Errorf("%d events, not certain: %v", len(all), all)
	}
	if n := h.metrics.unsure.Load(); n != 1 {
		t.Errorf("%d names are counted as not certain", n)
	}
}

func mustJSON(t *testing.T, e *signal.Event) string {
	t.Helper()
	return string(e.AppendJSON(nil))
}
