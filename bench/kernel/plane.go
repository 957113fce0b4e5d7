package kernel

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/kernel/wire"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/rules"
	"github.com/testudo-sec/testudo/signal"

	"github.com/testudo-sec/testudo/bench/node"
	"github.com/testudo-sec/testudo/bench/proc"
)

// runSensor is the role of the privileged child, with the sockets of its link as descriptors 3 and 4: all of it, but that it keeps its privileges.
func runSensor(ctx context.Context, _ *proc.Talk, _ []string) error {
	link, err := wire.FromFiles(os.NewFile(3, "control"), os.NewFile(4, "records"))
	if err != nil {
		return err
	}
	return wire.Serve(ctx, link, func(log *slog.Logger) kernel.Sensor { return assembly.Sensor(assembly.SensorConfig{}, log) })
}

// child starts sensors for the client of a plane.
type child struct {
	started chan int
	once    bool
}

// Next implements wire.Source: there is one sensor, and none behind it.
func (c *child) Next(ctx context.Context) (l wire.Link, err error) {
	if c.once {
		<-ctx.Done()
		return l, ctx.Err()
	}
	c.once = true
	var ours, theirs [2]*os.File
	for i, name := range []string{"control", "records"} {
		pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return l, err
		}
		ours[i], theirs[i] = os.NewFile(uintptr(pair[0]), name), os.NewFile(uintptr(pair[1]), name)
		defer theirs[i].Close()
	}
	self, err := os.Executable()
	if err != nil {
		return l, err
	}
	cmd := exec.Command(self, "role:kernel-sensor")
	cmd.ExtraFiles, cmd.Stderr = theirs[:], os.Stderr
	if err := cmd.Start(); err != nil {
		return l, err
	}
	go func() { _ = cmd.Wait() }() // it ends with its link
	c.started <- cmd.Process.Pid
	return wire.FromFiles(ours[0], ours[1])
}

// judges counts what one process does, and has it judged.
type judges struct {
	signal.Sink
	pid    atomic.Int64
	events atomic.Uint64 // of that process
	hits   func() uint64
}

func (j *judges) Event(ctx context.Context, e *signal.Event) (signal.Verdict, error) {
	if e.Int(signal.FieldActorProcessPID) == j.pid.Load() {
		j.events.Add(1)
	}
	return j.Sink.Event(ctx, e)
}

// alone judges and does not record.
type alone struct{ engine *policy.Engine }

func (a alone) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	if e.ID.IsZero() {
		e.ID = signal.NewID(time.Unix(0, e.Time))
	}
	return a.engine.JudgeNumbered(e), nil
}

// tap looks at the records of one executable on their way: when it began to run, and when it ended.
type tap struct {
	kernel.Sensor

	mu    sync.Mutex
	path  string
	began map[uint32]*life // by process
	lived []life
}

// life is when a process began to run the executable, when the plane read of it, when it ordered the kill, and when the process had ended, in nanoseconds
// since the boot.
type life struct{ began, read, ordered, ended uint64 }

// Do implements kernel.Sensor.
func (s *tap) Do(ctx context.Context, o kernel.Order) (kernel.Done, error) {
	s.mu.Lock()
	if l := s.began[o.PID]; l != nil {
		l.ordered = sinceBoot()
	}
	s.mu.Unlock()
	return s.Sensor.Do(ctx, o)
}

// sinceBoot is the clock of records.
func sinceBoot() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

func (s *tap) Run(ctx context.Context, to kernel.Receiver) error {
	return s.Sensor.Run(ctx, &tapped{to, s})
}

type tapped struct {
	kernel.Receiver
	s *tap
}

func (t *tapped) Records(batch []byte) {
	t.s.look(batch)
	t.Receiver.Records(batch)
}

func (s *tap) look(batch []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.path == "" {
		return
	}
	var r record.Record
	for len(batch) > 0 {
		size, ok := record.Size(batch)
		if !ok {
			return
		}
		if k := record.KindOf(batch); k == record.KindExec || k == record.KindExit {
			if _, err := record.Decode(batch, &r); err == nil {
				s.note(&r)
			}
		}
		batch = batch[size:]
	}
}

func (s *tap) note(r *record.Record) {
	if r.Kind == record.KindExec && string(r.Path) == s.path {
		s.began[r.PID] = &life{began: r.Time, read: sinceBoot()}
	} else if l, ok := s.began[r.PID]; ok && r.Kind == record.KindExit {
		l.ended = r.Time
		s.lived = append(s.lived, *l)
		delete(s.began, r.PID)
	}
}

// runPlane is the role of everything between the kernel and a verdict: a sensor as a child, the plane, and the shipped rules, with "node" recorded
// and archived as on a node. Its arguments are an empty folder, whether to record ("judge" or "node"), and a folder of further rules that are enforced, or "". It says
// the process id of the sensor. To "of PID" it counts that process's events from then on; "count" answers with how many, how many of all records
// were lost, and how often rules fired; "settle" waits until what is recorded is on disk; "guard FOLDER" has execs on that file system asked about;
// "tap PATH" notes how long that executable runs before it is
// killed; "lived" says how long it took until the plane had read of it, until the kill was ordered, and until it had ended.
func runPlane(ctx context.Context, talk *proc.Talk, args []string) (err error) {
	if len(args) != 3 {
		return fmt.Errorf("kernel-plane wants a folder, judge or node, and rules, got %q", args)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sources := []policy.Source{policy.Embedded("builtin:", rules.Judging())}
	cfg := kernel.DefaultConfig()
	if args[2] != "" {
		sources = append(sources, policy.Disk(args[2]))
		cfg.Enforce = []string{gateRule, killRule} // and none of those that ship: they would hold for the whole host
	}
	loader := policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	set, err := loader.Load(ctx, sources...)
	if err != nil {
		return err
	}
	sink := &judges{}
	settle := func() error { return nil }
	if args[1] == "node" {
		n, err := node.Open(ctx, args[0])
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.Close()) }()
		sink.Sink, sink.hits, settle = n, n.Hits, func() error { return n.Settle(ctx) }
	} else {
		engine := policy.NewEngine(set)
		sink.Sink = alone{engine}
		sink.hits = func() (all uint64) {
			for _, rule := range engine.Infos() {
				all += rule.Hits
			}
			return all
		}
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	source := &child{started: make(chan int, 1)}
	client := &tap{Sensor: wire.NewClient(source, log), began: map[uint32]*life{}}
	registry := prometheus.NewRegistry()
	plane, err := kernel.New(cfg, kernel.Deps{Sensor: client, Sink: sink, Logger: log, Registerer: registry, Host: "bench", Boot: strings.TrimSpace(string(boot)),
		Own: []uint32{uint32(os.Getpid())}, Data: args[0]})
	if err != nil {
		return err
	}
	plane.SetReads(hostrules.Reads(set))
	ended := make(chan error, 1)
	go func() { ended <- plane.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	within, done := context.WithTimeout(ctx, time.Minute)
	defer done()
	if err := plane.SetInterest(within, hostrules.Interest(set)); err != nil {
		return err
	}
	if _, err := client.Status(within); err != nil { // it has loaded its programs
		return err
	}
	if err := talk.Say("%d", <-source.started); err != nil {
		return err
	}
	plan := hostrules.Compile(set)
	for {
		line, ok := talk.Hear()
		if !ok {
			return nil
		}
		question, rest, _ := strings.Cut(line, " ")
		answer := "done"
		var err error
		switch question {
		case "of":
			var pid int64
			_, err = fmt.Sscan(rest, &pid)
			sink.pid.Store(pid)
		case "count":
			var lost uint64
			lost, err = lostRecords(registry)
			answer = fmt.Sprintf("%d %d %d", sink.events.Load(), lost, sink.hits())
		case "settle":
			err = settle()
		case "guard":
			err = plane.SetGuard(ctx, kernel.Guard{Ask: plan.Ask([]string{rest}, cfg.Enforces)})
		case "tap":
			client.mu.Lock()
			client.path = filepath.Clean(rest)
			client.mu.Unlock()
		case "lived":
			client.mu.Lock()
			answer = ""
			for _, l := range client.lived {
				if l.ordered != 0 {
					answer += fmt.Sprintf("%d/%d/%d ", l.read-l.began, l.ordered-l.began, l.ended-l.began)
				}
			}
			client.mu.Unlock()
		default:
			err = fmt.Errorf("no such question: %q", line)
		}
		if err != nil {
			err = talk.Fail(err)
		} else {
			err = talk.Say("%s", answer)
		}
		if err != nil {
			return err
		}
	}
}

// lostRecords returns how many records were dropped anywhere on the way, as the plane exports it.
func lostRecords(registry *prometheus.Registry) (uint64, error) {
	families, err := registry.Gather()
	if err != nil {
		return 0, err
	}
	lost := uint64(0)
	for _, f := range families {
		if f.GetName() != "testudo_kernel_records_lost_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			lost += uint64(m.GetCounter().GetValue())
		}
	}
	return lost, nil
}
