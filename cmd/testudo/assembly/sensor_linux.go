package assembly

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
	"github.com/testudo-sec/testudo/kernel/enforce"
	"github.com/testudo-sec/testudo/kernel/enforce/gate"
	"github.com/testudo-sec/testudo/kernel/enforce/hand"
	"github.com/testudo-sec/testudo/kernel/fim"
	"github.com/testudo-sec/testudo/kernel/privilege"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/kernel/software"
	"github.com/testudo-sec/testudo/kernel/workload"
)

// Sensor puts together what the privileged child consists of.
func Sensor(cfg SensorConfig, log *slog.Logger) kernel.Sensor {
	spare := forebears()
	runtimes := runtimesOf(cfg.Sockets)
	reader := software.New(software.Default(), "/")
	return newSensor(sensorParts{
		workloads: workload.New(runtimes, "/"),
		programs:  reader,
		files:     examinerOf(cfg.Files, reader),
		sockets:   slices.Concat(runtimes.Docker, runtimes.Containerd, runtimes.CRI),
		eyes:      &seeing{cfg: cfg, log: log},
		gates:     &refusing{Enforcer: enforce.New(enforce.Options{Config: enforce.Default(), Log: log, Spare: spare}), spare: spare, log: log},
		hands:     hand.New(),
		seed:      seed,
		known:     ancestry(),
		clock:     sinceBoot,
		settled:   privilege.Trim,
		log:       log,
	})
}

// ownSensor sees what an ordinary user may, in the process of the node: processes in /proc, files by inotify. It acts on processes of this user.
func ownSensor(cfg SensorConfig, log *slog.Logger) kernel.Sensor {
	runtimes := runtimesOf(cfg.Sockets)
	return newSensor(sensorParts{
		workloads: workload.New(runtimes, "/"),
		programs:  software.New(software.Default(), "/"),
		sockets:   slices.Concat(runtimes.Docker, runtimes.Containerd, runtimes.CRI),
		eyes:      &seeing{cfg: cfg, log: log, lack: fmt.Errorf("uid %d is not root", os.Geteuid())},
		hands:     hand.New(),
		seed:      seed,
		log:       log,
	})
}

// examinerOf says what files are; nil where none are watched.
func examinerOf(cfg fim.Config, reader *software.Reader) kernel.Examiner {
	if !cfg.Enabled || cfg.Validate() != nil {
		return nil
	}
	return fim.NewReader(cfg, "/", reader)
}

// runtimesOf sorts sockets by whose language is spoken there; none stands for the places of today's distributions.
func runtimesOf(sockets []string) workload.Config {
	cfg := workload.Default()
	if len(sockets) == 0 {
		return cfg
	}
	// Those of users, whose place has {uid} in it, are looked for all the same.
	cfg.Docker = slices.DeleteFunc(cfg.Docker, func(s string) bool { return !strings.Contains(s, "{uid}") })
	cfg.Containerd, cfg.CRI = nil, nil
	for _, s := range sockets {
		switch name := filepath.Base(s); {
		case strings.Contains(name, "containerd"):
			cfg.Containerd = append(cfg.Containerd, s)
		case strings.Contains(name, "crio"):
			cfg.CRI = append(cfg.CRI, s)
		default:
			cfg.Docker = append(cfg.Docker, s)
		}
	}
	return cfg
}

// forebears returns the processes that started this one: the keeper, and the node.
func forebears() []int {
	var all []int
	for pid := os.Getppid(); pid > 1 && len(all) < 2; {
		all = append(all, pid)
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err != nil {
			break
		}
		_, rest, _ := strings.Cut(string(text), "\nPPid:\t")
		line, _, _ := strings.Cut(rest, "\n")
		if pid, err = strconv.Atoi(line); err != nil {
			break
		}
	}
	return all
}

// tracing fits kernel/bpf to eyes.
type tracing struct {
	*bpf.Loader
	cfg SensorConfig
	log *slog.Logger
}

func (t *tracing) Open(context.Context) error {
	// The node is watched as everybody is: it is what strangers reach.
	t.Loader = bpf.New(bpf.Options{Ring: t.cfg.Ring, Exclude: []uint32{uint32(os.Getpid())}, Log: t.log})
	if err := t.Load(); err != nil {
		return err
	}
	// Where no gate knew enough to refuse a program, it runs until the judge has read of it: that must not wait for a batch.
	if err := t.Urgent(record.KindExec); err != nil {
		return errors.Join(err, t.Loader.Close())
	}
	if err := t.Attach(); err != nil {
		return errors.Join(err, t.Loader.Close())
	}
	return nil
}

func (t *tracing) Status() (kernel.Status, error) {
	if t.Loader == nil {
		return kernel.Status{}, kernel.ErrUnable
	}
	return t.Loader.Status()
}

// refusing fits kernel/enforce and its gate that asks to gates: what the kernel cannot refuse by itself is asked about.
type refusing struct {
	*enforce.Enforcer
	spare []int
	log   *slog.Logger

	mu     sync.Mutex
	asking *gate.Gate // nil where it could not be opened
	failed error      // of the enforcer
}

func (r *refusing) Open(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.Load()
	var err error
	r.asking, err = gate.New(gate.DefaultConfig(), r.log, r.spare...)
	return errors.Join(r.failed, err)
}

func (r *refusing) Run(ctx context.Context, to kernel.Receiver) error {
	r.mu.Lock()
	asking, failed := r.asking, r.failed
	r.mu.Unlock()
	var wait sync.WaitGroup
	var errs [2]error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	run := func(i int, fn func() error) {
		wait.Go(func() {
			if errs[i] = fn(); errs[i] != nil {
				cancel()
			}
		})
	}
	if failed == nil {
		run(0, func() error { return r.Enforcer.Run(ctx, to.Records) })
	}
	if asking != nil {
		run(1, func() error { return asking.Run(ctx, to) })
	}
	wait.Wait()
	return errors.Join(errs[:]...)
}

// Guard implements gates. What the kernel has no hook for is asked about at the file system's gate, which knows the whole rule; what no
// gate can refuse is left to the hands, after the fact.
func (r *refusing) Guard(ctx context.Context, g kernel.Guard) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := r.Residue(g.Rules)
	scopes := append([]kernel.AskScope(nil), g.Ask...)
	for _, l := range left {
		rule := &g.Rules[l.Index]
		switch rule.Hook {
		case kernel.HookExec:
			scopes = append(scopes, kernel.AskScope{Hook: rule.Hook, Mount: "/", Files: orAll(rule.Exe)})
		case kernel.HookOpen:
			scopes = append(scopes, kernel.AskScope{Hook: rule.Hook, Mount: "/", Files: orAll(rule.File)})
		}
		r.log.Info("a rule is not refused by the kernel itself", "rule", l.Rule, "why", l.Why)
	}
	for i := range g.Rules {
		// The kernel knows the parent that a process has now: one that runs another program by now, or who adopted an orphan. Who started it, only the judge knows.
		if rule := &g.Rules[i]; rule.Hook == kernel.HookExec && rule.Enforce && !rule.Parent.Empty() {
			scopes = append(scopes, kernel.AskScope{Hook: rule.Hook, Mount: "/", Files: orAll(rule.Exe)})
		}
	}
	if r.asking == nil {
		if len(g.Ask) > 0 {
			return fmt.Errorf("asking before a file is opened or run: %w", kernel.ErrUnable)
		}
	} else if err := r.asking.Guard(ctx, scopes, g.Closed); err != nil {
		return err
	}
	return r.GuardExcept(ctx, g, left)
}

// orAll returns the paths that a gate is to ask about for those of a rule, where none named means any.
func orAll(p kernel.Paths) kernel.Paths {
	if p.Empty() {
		return kernel.Paths{All: true}
	}
	return p
}

// Status implements gates.
func (r *refusing) Status(into *kernel.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	into.Features = append(into.Features, r.Enforcer.Features()...)
	if left, err := enforce.Pinned(enforce.Default().Pins); err == nil && len(left) > 0 {
		into.Features = append(into.Features, kernel.Feature{Name: "left in force", Detail: "without a process behind it: " + strings.Join(left, ", "),
			Cost: "programs, files or connections are refused by rules of a testudo that has ended (fail-closed)",
			Mend: "start testudo up, which replaces it, or remove these folders"})
	}
	into.Gates = append(into.Gates, r.Gates()...)
	if r.asking == nil {
		return
	}
	features := r.asking.Features()
	into.Features = append(into.Features, features...)
	for _, f := range features {
		if f.OK {
			into.Gates = append(into.Gates, record.GateFanotify)
			break
		}
	}
	into.Gates = append(into.Gates, record.GateKill)
}

// Close implements gates.
func (r *refusing) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asking != nil {
		r.asking.Close()
		r.asking = nil
	}
	return r.Enforcer.Close()
}

// sinceBoot is the clock of records, in nanoseconds.
func sinceBoot() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}

// release returns the kernel's.
func release() string {
	var uts unix.Utsname
	if err := unix.Uname(&uts); err != nil {
		return ""
	}
	return unix.ByteSliceToString(uts.Release[:])
}

// FileExaminer looks at files with the rights of this process; nil where none are watched.
func FileExaminer(cfg fim.Config) kernel.Examiner {
	return examinerOf(cfg, software.New(software.Default(), "/"))
}
