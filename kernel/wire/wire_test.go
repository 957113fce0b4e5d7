package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a sensor that does what its fields say.
type fake struct {
	kernel.Sensor
	run       func(ctx context.Context, to kernel.Receiver) error
	mu        sync.Mutex
	watched   []kernel.Interest
	guarded   []kernel.Guard
	done      []kernel.Order
	guardFail error
	slow      chan struct{} // Container waits for it
}

func (f *fake) Run(ctx context.Context, to kernel.Receiver) error {
	if f.run != nil {
		return f.run(ctx, to)
	}
	<-ctx.Done()
	return nil
}

func (f *fake) Watch(_ context.Context, w kernel.Interest) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watched = append(f.watched, w)
	return nil
}

func (f *fake) Guard(_ context.Context, g kernel.Guard) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.guardFail != nil {
		return f.guardFail
	}
	f.guarded = append(f.guarded, g)
	return nil
}

func (f *fake) Container(ctx context.Context, cgroup uint64, _ uint32) (kernel.Container, bool, error) {
	if f.slow != nil {
		select {
		case <-f.slow:
		case <-ctx.Done():
			return kernel.Container{}, false, ctx.Err()
		}
	}
	return kernel.Container{ID: fmt.Sprint(cgroup), Labels: map[string]string{"app": "shop"}, Mounts: []kernel.Mount{{Source: "/a"}}}, cgroup > 1, nil
}

func (f *fake) Executable(_ context.Context, r kernel.FileRef) (kernel.Executable, error) {
	return kernel.Executable{SHA256: fmt.Sprintf("%064d", r.Inode.Number), Package: "p 1"}, nil
}

func (f *fake) Do(_ context.Context, o kernel.Order) (kernel.Done, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done = append(f.done, o)
	return kernel.Done{Detail: "done"}, nil
}

func (f *fake) Status(context.Context) (kernel.Status, error) {
	return kernel.Status{Kernel: "6.1", Mode: "ebpf", Lost: map[record.Kind]uint64{record.KindFork: 2}, Gates: []record.Gate{record.GateLSM}}, nil
}

// taker is a plane.
type taker struct {
	mu   sync.Mutex
	all  []byte
	hold chan struct{}
	ask  func(rec []byte) kernel.Answer
}

func (k *taker) Records(b []byte) {
	if k.hold != nil {
		<-k.hold
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, b...)
}

func (k *taker) Ask(_ context.Context, rec []byte, _ record.Gate) kernel.Answer { return k.ask(rec) }

func (k *taker) records(t testing.TB) []record.Record {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	var all []record.Record
	for b := k.all; len(b) > 0; {
		var r record.Record
		n, err := record.Decode(b, &r)
		if err != nil {
			t.Fatal(err)
		}
		all, b = append(all, r), b[n:]
	}
	return all
}

// pair returns both ends of a link over real socket pairs.
func pair(t testing.TB) (child, plane Link) {
	t.Helper()
	one := func() (net.Conn, net.Conn) {
		fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		var conns [2]net.Conn
		for i, fd := range fds {
			f := os.NewFile(uintptr(fd), "pair")
			if conns[i], err = net.FileConn(f); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
		return conns[0], conns[1]
	}
	child.Control, plane.Control = one()
	child.Records, plane.Records = one()
	return child, plane
}

// queue is a Source of links.
type queue chan Link

func (q queue) Next(ctx context.Context) (Link, error) {
	select {
	case l, ok := <-q:
		if !ok {
			return Link{}, errors.New("the keeper is gone")
		}
		return l, nil
	case <-ctx.Done():
		return Link{}, ctx.Err()
	}
}

// joined is a client and a server that talk.
type joined struct {
	client *Client
	links  queue
	served chan error
	stop   func()
	plane  Link
	child  Link
}

func join(t testing.TB, s kernel.Sensor, to kernel.Receiver) *joined {
	t.Helper()
	j := &joined{links: make(queue, 4), served: make(chan error, 4)}
	j.client = NewClient(j.links, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		if err := j.client.Run(ctx, to); err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	j.serve(t, s)
	var once sync.Once
	j.stop = func() { once.Do(func() { cancel(); <-ran }) }
	t.Cleanup(j.stop)
	return j
}

func (j *joined) serve(t testing.TB, s kernel.Sensor) {
	j.child, j.plane = pair(t)
	child := j.child
	go func() { j.served <- Serve(context.Background(), child, func(*slog.Logger) kernel.Sensor { return s }) }()
	j.links <- j.plane
}

func rec(k record.Kind, pid uint32) []byte {
	r := record.Record{Kind: k, PID: pid, Comm: []byte("x"), Path: []byte("/bin/x")}
	return r.Append(nil)
}

func TestRequests(t *testing.T) {
	f := &fake{}
	j := join(t, f, &taker{})
	ctx := t.Context()
	want := kernel.Interest{Calls: map[record.Call]bool{record.CallMount: true}, Reads: kernel.Paths{Exact: []string{"/etc/shadow"}}, Connects: []uint16{}}
	if err := j.client.Watch(ctx, want); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, f.watched[len(f.watched)-1]); d != "" {
		t.Error(d) // an empty list of ports is none, nil is all: the difference must live
	}
	c, ok, err := j.client.Container(ctx, 7, 1)
	if err != nil || !ok || c.ID != "7" || c.Labels["app"] != "shop" {
		t.Errorf("%+v %v %v", c, ok, err)
	}
	st, err := j.client.Status(ctx)
	if err != nil || st.Mode != "ebpf" || st.Lost[record.KindFork] != 2 || len(st.Gates) != 1 {
		t.Errorf("%+v %v", st, err)
	}
	f.guardFail = fmt.Errorf("fanotify: %w", kernel.ErrUnable)
	if err := j.client.Guard(ctx, kernel.Guard{Closed: true}); !errors.Is(err, kernel.ErrUnable) || err.Error() != "fanotify: not possible here" {
		t.Errorf("a refused guard: %v", err)
	}
	j.stop()
	if err := <-j.served; err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestRecordsPassUnchanged(t *testing.T) {
	var sent []byte
	finished := make(chan struct{})
	f := &fake{run: func(ctx context.Context, to kernel.Receiver) error {
		for i := range 5000 {
			var batch []byte
			for n := range i%7 + 1 {
				batch = append(batch, rec(record.KindFork, uint32(i*10+n))...)
			}
			sent = append(sent, batch...)
			to.Records(batch)
		}
		close(finished)
		<-ctx.Done()
		return nil
	}}
	k := &taker{}
	j := join(t, f, k)
	<-finished
	eventually(t, func() bool { k.mu.Lock(); defer k.mu.Unlock(); return len(k.all) == len(sent) })
	j.stop()
	<-j.served
	if !bytes.Equal(k.all, sent) {
		t.Error("what came is not what was sent")
	}
}

func eventually(t testing.TB, what func() bool) {
	t.Helper()
	for range 3000 {
		if what() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it did not come about")
}

// A plane that takes nothing makes the child drop and count, and blocks neither it nor questions to it.
func TestSlowPlane(t *testing.T) {
	const total = 200_000
	finished := make(chan struct{})
	f := &fake{run: func(ctx context.Context, to kernel.Receiver) error {
		one := rec(record.KindConnect, 1)
		for range total {
			to.Records(one)
		}
		close(finished)
		<-ctx.Done()
		return nil
	}}
	k := &taker{hold: make(chan struct{})}
	j := join(t, f, k)
	<-finished
	st, err := j.client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	lost := st.Lost[record.KindConnect]
	if lost == 0 {
		t.Fatal("nothing was dropped: the child holds everything")
	}
	close(k.hold)
	var got, told uint64
	eventually(t, func() bool {
		got, told = 0, 0
		for _, r := range k.records(t) {
			switch r.Kind {
			case record.KindConnect:
				got++
			case record.KindLost:
				if record.Kind(r.Nums[1]) != record.KindConnect {
					t.Errorf("lost of kind %d", r.Nums[1])
				}
				told += r.Nums[0]
			}
		}
		return got+told == total
	})
	if told != lost {
		t.Errorf("%d were lost, %d were told of", lost, told)
	}
}

func TestAsk(t *testing.T) {
	answers := make(chan kernel.Answer, 3)
	f := &fake{run: func(ctx context.Context, to kernel.Receiver) error {
		answers <- to.Ask(ctx, rec(record.KindExec, 5), record.GateFanotify)
		answers <- to.Ask(ctx, rec(record.KindExec, 6), record.GateFanotify)
		late, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		answers <- to.Ask(late, rec(record.KindExec, 7), record.GateFanotify)
		<-ctx.Done()
		return nil
	}}
	release := make(chan struct{})
	k := &taker{ask: func(b []byte) kernel.Answer {
		var r record.Record
		if _, err := record.Decode(b, &r); err != nil {
			t.Error(err)
		}
		if r.PID == 7 {
			<-release
		}
		return kernel.Answer{Deny: r.PID == 5, Rule: "no-five"}
	}}
	join(t, f, k)
	got := []kernel.Answer{<-answers, <-answers, <-answers}
	close(release)
	if d := cmp.Diff([]kernel.Answer{{Deny: true, Rule: "no-five"}, {Rule: "no-five"}, {}}, got); d != "" {
		t.Error(d)
	}
}

// Where nobody answers, a guard that is closed refuses.
func TestSilenceOfAClosedGuard(t *testing.T) {
	ask := make(chan struct{})
	answer := make(chan kernel.Answer, 1)
	f := &fake{run: func(ctx context.Context, to kernel.Receiver) error {
		<-ask
		late, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		answer <- to.Ask(late, rec(record.KindExec, 7), record.GateFanotify)
		<-ctx.Done()
		return nil
	}}
	release := make(chan struct{})
	j := join(t, f, &taker{ask: func([]byte) kernel.Answer { <-release; return kernel.Answer{} }})
	if err := j.client.Guard(t.Context(), kernel.Guard{Closed: true}); err != nil {
		t.Fatal(err)
	}
	close(ask)
	if a := <-answer; !a.Deny {
		t.Error("a closed guard let it through")
	}
	close(release)
}

// After its end a sensor is followed by the next one, which is told what the first one was told.
func TestNextSensor(t *testing.T) {
	die := make(chan struct{})
	first := &fake{run: func(context.Context, kernel.Receiver) error { <-die; return errors.New("it broke") }}
	j := join(t, first, &taker{})
	ended := make(chan error, 1)
	j.client.Ended = func(err error) { ended <- err }
	want := kernel.Interest{DNS: true}
	guard := kernel.Guard{Rules: []kernel.GuardRule{{Rule: "r", Hook: kernel.HookExec}}}
	if err := errors.Join(j.client.Watch(t.Context(), want), j.client.Guard(t.Context(), guard)); err != nil {
		t.Fatal(err)
	}
	close(die)
	if err := <-ended; err == nil {
		t.Error("an end without a reason")
	}
	if err := <-j.served; err == nil || err.Error() != "it broke" {
		t.Errorf("Serve: %v", err)
	}
	eventually(t, func() bool { return j.client.Health() != nil })
	if _, err := j.client.Status(t.Context()); !errors.Is(err, kernel.ErrUnable) {
		t.Errorf("a question while no sensor runs: %v", err)
	}
	second := &fake{}
	j.serve(t, second)
	eventually(t, func() bool { return j.client.Health() == nil })
	second.mu.Lock()
	defer second.mu.Unlock()
	if d := cmp.Diff([]kernel.Interest{want}, second.watched[:1]); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]kernel.Guard{guard}, second.guarded[:1]); d != "" {
		t.Error(d)
	}
}

func TestNoMoreSensors(t *testing.T) {
	j := join(t, &fake{}, &taker{})
	eventually(t, func() bool { return j.client.Health() == nil })
	close(j.links)
	j.child.Close()
	eventually(t, func() bool {
		err := j.client.Health()
		return err != nil && strings.Contains(err.Error(), "keeper is gone")
	})
}

func TestCancelledRequest(t *testing.T) {
	f := &fake{slow: make(chan struct{})}
	j := join(t, f, &taker{})
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() { _, _, err := j.client.Container(ctx, 5, 5); failed <- err }()
	eventually(t, func() bool { s := j.client.current0(); s.mu.Lock(); defer s.mu.Unlock(); return len(s.waits) == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// current0 returns the session, for tests.
func (c *Client) current0() *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.session == nil {
		return &session{}
	}
	return c.session
}

func TestOrders(t *testing.T) {
	f := &fake{}
	j := join(t, f, &taker{})
	h := newHouse(0)
	self, err := h.stat(os.Getpid())
	require.Part(t, "proc", err == nil, fmt.Sprint("mount /proc: ", err))
	parent, err := h.stat(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	first, err := h.stat(1)
	if err != nil {
		t.Fatal(err)
	}
	child := startSleep(t)
	cs, err := h.stat(child)
	if err != nil {
		t.Fatal(err)
	}
	kill := func(pid int, start uint64) kernel.Order {
		return kernel.Order{Verb: kernel.VerbKill, PID: uint32(pid), Start: start * tick}
	}
	for _, c := range []struct {
		name string
		o    kernel.Order
		want string // "" for done
	}{
		{"a child", kill(child, cs.start), ""},
		{"a reused number", kill(child, cs.start+1), "began at another time"},
		{"without its start", kill(child, 0), "began at another time"},
		{"itself", kill(os.Getpid(), self.start), "testudo descends from it"},
		{"its parent", kill(os.Getppid(), parent.start), "testudo descends from it"},
		{"the first process", kill(1, first.start), "is the system's"},
		{"nothing", kernel.Order{Verb: kernel.VerbKill}, "names nothing"},
		{"another verb", kernel.Order{Verb: "exec", PID: 5}, "nothing that a sensor does"},
		{"the root cgroup", kernel.Order{Verb: kernel.VerbFreeze, Cgroup: 1}, "root of all cgroups"},
		{"the host's network", kernel.Order{Verb: kernel.VerbIsolate, Cgroup: 1}, "only a container's"},
		{"a look", kernel.Order{Verb: kernel.VerbRadius, PID: 1}, ""},
		{"a container", kernel.Order{Verb: kernel.VerbKill, Container: "abc"}, ""},
		{"a long name", kernel.Order{Verb: kernel.VerbKill, Container: strings.Repeat("x", 300)}, "too long"},
	} {
		_, err := j.client.Do(t.Context(), c.o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if len(f.done) != 3 {
		t.Errorf("%d orders came through, want 3", len(f.done))
	}
	if two, err := h.stat(2); err == nil && two.flags&flagKernelThread != 0 {
		if err := h.checkProcess(2, two.start*tick); err == nil {
			t.Error("a kernel thread may be killed")
		}
	}
	// The cgroup that this process is in, and those around it.
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		if folder, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			for _, root := range h.cgroups {
				if k, ok := inodeOf(filepath.Join(root, folder)); ok && strings.HasSuffix(root, "unified") {
					if err := h.checkCgroup(k.number); err == nil {
						t.Errorf("cgroup %s, in which the sensor is, may be frozen", folder)
					}
				}
			}
		}
	}
}

// Only files that have run are read for the plane.
func TestExecutables(t *testing.T) {
	tell := make(chan record.Inode)
	f := &fake{run: func(ctx context.Context, to kernel.Receiver) error {
		for {
			select {
			case i := <-tell:
				r := record.Record{Kind: record.KindExec, PID: 9, HasInode: true, Inode: i}
				to.Records(r.Append(nil))
				tell <- i
			case <-ctx.Done():
				return nil
			}
		}
	}}
	j := join(t, f, &taker{})
	exe, ok := inodeOf("/proc/self/exe")
	require.Part(t, "proc", ok, "mount /proc")
	mine := record.Inode{Device: exe.device, Number: exe.number}
	shadow, _ := inodeOf("/etc/passwd")
	other := record.Inode{Device: shadow.device, Number: shadow.number}
	ask := func(r kernel.FileRef) error {
		_, err := j.client.Executable(t.Context(), r)
		return err
	}
	if err := ask(kernel.FileRef{PID: uint32(os.Getpid()), Path: "/x", Inode: mine}); err != nil {
		t.Errorf("the file of a process that runs: %v", err)
	}
	for name, r := range map[string]kernel.FileRef{
		"a file that never ran":     {PID: uint32(os.Getpid()), Path: "/etc/passwd", Inode: other},
		"a process that is not":     {PID: 1 << 30, Path: "/x", Inode: mine},
		"no inode":                  {PID: uint32(os.Getpid()), Path: "/x"},
		"a path that is not whole":  {PID: uint32(os.Getpid()), Path: "x", Inode: mine},
		"a path with a zero within": {PID: uint32(os.Getpid()), Path: "/x\x00", Inode: mine},
	} {
		if err := ask(r); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	tell <- other
	<-tell
	if err := ask(kernel.FileRef{Path: "/etc/passwd", Inode: other}); err != nil {
		t.Errorf("a file that was told of as having run: %v", err)
	}
}
