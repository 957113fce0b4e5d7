package assembly

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// A confinedProgram is a sensor of one program, which it starts. kernel/confine has one on Linux.
type confinedProgram interface {
	kernel.Sensor
	Done() <-chan struct{}
	Exit() error
	Signal(s os.Signal)
}

// Confined is a program that runs under the rules alone, without a node: seccomp notification asks before each call.
type Confined struct {
	program confinedProgram
	plane   *kernel.Plane
	engine  *policy.Engine
	tell    func(e *signal.Event, v *signal.Verdict)
	events  atomic.Uint64
	refused atomic.Uint64
	enforce func(rule string) bool
}

// ConfinedOptions says what is run and how it is bounded.
type ConfinedOptions struct {
	Path   string
	Argv   []string
	Stage  []string // arguments of this binary that lead to the stage
	Limits ConfinedLimits
	Opens  string
	Tasks  int    // processes and threads at once; 0 for the usual
	Mode   string // kernel.ModeMonitor for all rules, or kernel.ModeEnforce; "" for what the settings say
	// Tell is called for each event that a rule fires on. It must not keep the event.
	Tell func(e *signal.Event, v *signal.Verdict)
	// Crowded is called once when the program wants more tasks than it may have; may be nil.
	Crowded func(limit int)
}

// ConfinedLimits bounds what a program can reach, by Landlock; a nil list does not.
type ConfinedLimits struct {
	Read, Write, Exec []string
	Connect, Bind     []uint16
}

// Confine prepares a program to be run under the rules of the settings.
func Confine(ctx context.Context, s *Settings, o ConfinedOptions) (*Confined, error) {
	set, err := Loader(&s.Policy).Load(ctx, s.Policy.Sources(BuiltinRules())...)
	if err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	cfg := s.Kernel
	switch o.Mode {
	case kernel.ModeEnforce:
		cfg.Mode = o.Mode
	case kernel.ModeMonitor:
		cfg.Mode, cfg.Enforce = o.Mode, nil
	}
	program, err := newConfinedProgram(&o)
	if err != nil {
		return nil, err
	}
	c := &Confined{program: program, engine: policy.NewEngine(set), tell: o.Tell, enforce: cfg.Enforces}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the name of this host: %w", err)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		boot = nil // some sandboxes hide it: keys are then unique among the processes of this program only
	}
	c.plane, err = kernel.New(cfg, kernel.Deps{Sensor: &runOnce{confinedProgram: program}, Sink: c, Redact: redactor(), Host: host, Boot: string(boot)})
	if err != nil {
		return nil, err
	}
	c.plane.SetReads(hostrules.Reads(set))
	return c, nil
}

// Run runs the program until it ends, or is killed because ctx does. The error is an *exec.ExitError where the program failed.
func (c *Confined) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-c.program.Done():
			stop()
		case <-ctx.Done():
		}
	}()
	if err := c.plane.Run(ctx); err != nil {
		return err
	}
	return c.program.Exit()
}

// Signal hands a signal on to the program.
func (c *Confined) Signal(s os.Signal) { c.program.Signal(s) }

// Counts returns how many events there were, and how many rules refused.
func (c *Confined) Counts() (events, refused uint64) { return c.events.Load(), c.refused.Load() }

// Event implements signal.Sink: it judges, tells, and keeps nothing.
func (c *Confined) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	v := c.engine.JudgeNumbered(e)
	c.events.Add(1)
	if len(v.Hits) == 0 {
		return v, nil
	}
	mode := kernel.ModeMonitor
	for i := range v.Hits {
		if h := &v.Hits[i]; h.Decision == signal.Deny && c.enforce(h.Rule) {
			mode = kernel.ModeEnforce
		}
	}
	e.SetString(signal.FieldKernelMode, mode)
	if mode == kernel.ModeEnforce {
		e.SetString(signal.FieldKernelOutcome, kernel.OutcomeRefused)
		e.SetInt(signal.FieldStatusID, 2) // it does not happen
		e.SetString(signal.FieldStatusCode, "EPERM")
		c.refused.Add(1)
	}
	c.tell(e, &v)
	return v, nil
}

// runOnce is a sensor that is not started again: a program runs once.
type runOnce struct {
	confinedProgram
	ran bool
}

func (r *runOnce) Run(ctx context.Context, to kernel.Receiver) error {
	if r.ran {
		<-ctx.Done()
		return nil
	}
	r.ran = true
	seedOwn(ctx, to)
	err := r.confinedProgram.Run(ctx, to)
	<-ctx.Done() // whoever waits for the program's end ends it all
	return err
}
