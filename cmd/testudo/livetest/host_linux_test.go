package livetest

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/kernel/software"
	"github.com/testudo-sec/testudo/kernel/workload"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/signal"
)

// sensor is the one that ships, without what enforces and acts, in this process.
type sensor struct {
	eyes       *bpf.Loader
	containers *workload.Resolver
	programs   *software.Reader
	running    chan struct{} // closed once what ran before was told of
}

func (s *sensor) Run(ctx context.Context, to kernel.Receiver) error {
	var batch []byte
	err := process.Seed(ctx, "/", func(r *record.Record) {
		if batch = r.Append(batch); len(batch) > 64<<10 {
			to.Records(batch)
			batch = batch[:0]
		}
	})
	if err != nil {
		return err
	}
	to.Records(batch)
	close(s.running)
	return s.eyes.Run(ctx, to.Records)
}

func (s *sensor) Watch(ctx context.Context, want kernel.Interest) error {
	return s.eyes.Watch(ctx, want)
}
func (s *sensor) Guard(context.Context, kernel.Guard) error { return kernel.ErrUnable }
func (s *sensor) Container(ctx context.Context, cgroup uint64, pid uint32) (kernel.Container, bool, error) {
	return s.containers.Container(ctx, cgroup, pid)
}
func (s *sensor) Executable(ctx context.Context, r kernel.FileRef) (kernel.Executable, error) {
	return s.programs.Executable(ctx, r)
}
func (s *sensor) Do(context.Context, kernel.Order) (kernel.Done, error) {
	return kernel.Done{}, kernel.ErrUnable
}
func (s *sensor) Status(context.Context) (kernel.Status, error) { return s.eyes.Status() }

// hit is a rule that fired on something that this test did.
type hit struct {
	rule, where, what string
}

// judge judges events, and keeps what fired on what this test did: others use this machine meanwhile.
type judge struct {
	engine *policy.Engine
	self   string // path of this program, an ancestor of all that the test starts on the host
	prefix string // of the containers of this test

	mu     sync.Mutex
	hits   []hit
	fences map[string]bool
	events map[string]int // of this test, by what they are
	wake   chan struct{}
}

func (j *judge) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	of, cmd := signal.FieldActorProcessLineage, e.Str(signal.FieldActorProcessCmdLine)
	if e.Class == signal.ClassProcessActivity && (e.Activity == signal.ActivityProcessLaunch || e.Activity == signal.ActivityProcessTerminate) {
		of, cmd = signal.FieldProcessLineage, e.Str(signal.FieldProcessCmdLine)
	}
	lineage := e.Strings(of)
	// Who runs this test, go or make, is no ancestor of what is done: rules know that compilers run what they have just made.
	if i := slices.Index(lineage, j.self); i >= 0 {
		e.SetStrings(of, lineage[:i+1])
	}
	v := j.engine.JudgeNumbered(e)
	in := e.Str(signal.FieldContainerUID)
	if !strings.HasPrefix(in, j.prefix) && !slices.Contains(lineage, j.self) {
		return v, nil
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if at := strings.Index(cmd, "fence-"); at >= 0 && e.Class == signal.ClassProcessActivity && e.Activity == signal.ActivityProcessLaunch {
		j.fences[strings.TrimRight(cmd[at:], "'\"")] = true
	}
	call, _ := e.Unmapped("evt.type")
	j.events[e.Class.String()+" "+call]++
	for _, h := range v.Hits {
		what := cmd
		if path := e.Str(signal.FieldFilePath); path != "" {
			what += " [" + path + "]"
		}
		j.hits = append(j.hits, hit{h.Rule, in, call + " by " + what})
	}
	select {
	case j.wake <- struct{}{}:
	default:
	}
	return v, nil
}

// firedIn returns the rules that fired since the hit of that number, and how many hits there are.
func (j *judge) firedIn(from int) (map[string]hit, int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := map[string]hit{}
	for _, h := range j.hits[from:] {
		all[h.rule] = h
	}
	return all, len(j.hits)
}

// patience is how long something is waited for that is sure to come: on a busy machine it may take seconds.
const patience = 2 * time.Minute

// until waits for what done says.
func (j *judge) until(t *testing.T, what string, done func() bool) bool {
	t.Helper()
	limit := time.After(patience)
	for !done() {
		select {
		case <-j.wake:
		case <-time.After(time.Second):
		case <-limit:
			t.Errorf("%s: not seen within %s", what, patience)
			return false
		}
	}
	return true
}

// load compiles rules of all dialects that are needed here.
func load(t *testing.T, sources ...policy.Source) *policy.Set {
	t.Helper()
	loader := &policy.Loader{Dialects: []policy.Dialect{falco.New(), native.New(native.Actions()...)}, MaxFile: 1 << 20}
	set, err := loader.Load(t.Context(), sources...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// host is this machine under a set of rules, with places to do things in.
type host struct {
	*judge
	dir   string
	runc  string
	plane *kernel.Plane
	eyes  *bpf.Loader
	here  *shell // on the host, with mounts of its own
	plain *shell // in a container as runc makes them
	great *shell // in a container that may do everything, on an overlay, in a pod
	fence int
	cache string
	state string
}

// watch starts to judge what happens on this machine by the rules, until the test ends.
func watch(t *testing.T, set *policy.Set) *host {
	t.Helper()
	require.Root(t)
	require.HostPIDs(t)
	runc := require.Program(t, "runc", "runc")
	busybox := require.Program(t, "busybox", "busybox")
	dir, err := os.MkdirTemp("", "live")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	prefix := fmt.Sprintf("testudo-live-%d-", os.Getpid())
	j := &judge{engine: policy.NewEngine(set), self: self, prefix: prefix, fences: map[string]bool{}, events: map[string]int{}, wake: make(chan struct{}, 1)}
	h := &host{judge: j, dir: dir, runc: runc, state: filepath.Join(dir, "state")}

	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	h.eyes = bpf.New(bpf.Options{Log: log})
	if err := h.eyes.Load(); err != nil {
		require.Part(t, "bpf", false, "a kernel that takes eBPF programs: "+err.Error())
	}
	if err := h.eyes.Attach(); err != nil {
		t.Fatal(err)
	}
	states := workload.Default()
	states.State = []string{h.state}
	s := &sensor{eyes: h.eyes, containers: workload.New(states, "/"), programs: software.New(software.Default(), "/"), running: make(chan struct{})}
	boot, err := process.BootID("/")
	if err != nil {
		t.Fatal(err)
	}
	cfg := kernel.DefaultConfig()
	cfg.ParkTime = 5 * time.Second // runc may be slow on a busy machine, and what a container is matters from its first program on
	h.plane, err = kernel.New(cfg, kernel.Deps{Sensor: s, Sink: j, Logger: log, Host: "live", Boot: boot})
	if err != nil {
		t.Fatal(err)
	}
	h.plane.SetReads(hostrules.Reads(set))
	if err := h.plane.SetInterest(t.Context(), hostrules.Interest(set)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.plane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := h.eyes.Close(); err != nil {
			t.Error(err)
		}
	})
	select {
	case <-s.running:
	case <-time.After(patience):
		t.Fatal("the sensor does not start")
	}
	h.build(t, busybox)
	return h
}

// seen waits until everything that was done in the shell before has been judged.
func (h *host) seen(t *testing.T, in *shell) bool {
	t.Helper()
	h.fence++
	name := fmt.Sprintf("fence-%d-", h.fence)
	in.do(t, "/opt/deed/deed "+name)
	again := time.Now().Add(patience / 10)
	return h.until(t, in.name+": "+name, func() bool {
		if now := time.Now(); now.After(again) { // on a machine that is far too busy one may be lost, which is counted elsewhere
			again = now.Add(patience / 10)
			in.do(t, "/opt/deed/deed "+name)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.fences[name]
	})
}
