// Package freeze is the responder that has a container stand still: its processes run no further and keep all that they have, memory
// and connections too, until they are let go on. That is for looking at what an attacker left behind, and for stopping what may turn
// out to be honest.
//
// A process is frozen with all of its container, or of its unit where it is in none.
package freeze

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/signal"
)

// Kind is the kind of this responder's actions.
const Kind = "freeze"

// Hand is the one who freezes.
type Hand = workload.Hand

// Config says what may be frozen, and for how long.
type Config struct {
	// Default is how long something stays frozen where nobody says otherwise.
	Default time.Duration `yaml:"default"`
	// Max is the longest that anybody may ask for.
	Max time.Duration `yaml:"max"`
	// MaxProcesses is the most processes that a rule freezes at once; a person may freeze more.
	MaxProcesses int `yaml:"max_processes"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config {
	return Config{Default: time.Hour, Max: 7 * 24 * time.Hour, MaxProcesses: 200}
}

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	if c.Default < time.Second || c.Max < c.Default || c.Max > 10*365*24*time.Hour {
		return fmt.Errorf("default: %v, max: %v: want 1s <= default <= max <= 10 years", c.Default, c.Max)
	}
	if c.MaxProcesses < 1 || c.MaxProcesses > 1_000_000 {
		return fmt.Errorf("max_processes: %d: want 1 to 1000000", c.MaxProcesses)
	}
	return nil
}

// Responder freezes. It is safe for concurrent use.
type Responder struct {
	cfg  Config
	plan workload.Planner
}

// New returns the responder.
func New(cfg Config, protect workload.Protection, hand Hand) (*Responder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("respond.freeze: %w", err)
	}
	return &Responder{cfg, workload.Planner{Hand: hand, Protect: protect, MaxProcesses: cfg.MaxProcesses, Kind: Kind}}, nil
}

// Part returns the responder as the host takes it.
func (f *Responder) Part(needs respond.Needs) respond.Part {
	return respond.Part{Kind: Kind, Needs: needs, Default: f.cfg.Default, Max: f.cfg.Max, Responder: f}
}

// Plan implements respond.Responder.
func (f *Responder) Plan(ctx context.Context, r respond.Request) (respond.Plan, error) {
	plan, d, err := f.plan.Plan(ctx, &r, workload.Freeze)
	if err != nil || d.Target == "" {
		return plan, err
	}
	v := &plan.Radius
	whose := "its unit"
	if d.Container.ID != "" {
		whose = "container " + d.Container.String()
	}
	v.Summary = fmt.Sprintf("Has all %s of %s stand still until they are let go on: %s.", workload.Plural(d.Count, "process", "processes"), whose,
		workload.List(d.Processes, d.Count))
	if d.Connections > 0 {
		v.Warnings = append(v.Warnings, workload.Plural(d.Connections, "connection waits", "connections wait")+" and may time out at the other end")
	}
	if d.Container.Pod != "" {
		v.Warnings = append(v.Warnings, "a liveness probe that gets no answer restarts the container, which ends what was frozen")
	}
	return plan, nil
}

// Apply implements respond.Responder.
func (f *Responder) Apply(ctx context.Context, a *signal.Action) error {
	_, err := f.plan.Hand.Do(ctx, workload.Order{Verb: workload.Freeze, ID: a.ID, Target: a.Target})
	return err
}

// Undo implements respond.Responder.
func (f *Responder) Undo(ctx context.Context, a *signal.Action) error {
	_, err := f.plan.Hand.Do(ctx, workload.Order{Verb: workload.Thaw, ID: a.ID, Target: a.Target})
	return err
}
