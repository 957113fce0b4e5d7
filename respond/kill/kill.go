// Package kill is the responder that ends processes: one and what it started, or all of a container. It cannot be undone, and
// says so before. A container's runtime may start it again; who wants it to stay away freezes or isolates it.
package kill

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/signal"
)

// Kind is the kind of this responder's actions.
const Kind = "kill"

// within is how long may pass between the order and its being carried out: what is killed later may be something else by then.
const within = time.Minute

// Hand is the one who kills.
type Hand = workload.Hand

// Config says what may be killed.
type Config struct {
	// MaxProcesses is the most processes that a rule kills at once; a person may kill more.
	MaxProcesses int `yaml:"max_processes"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config { return Config{MaxProcesses: 200} }

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	if c.MaxProcesses < 1 || c.MaxProcesses > 1_000_000 {
		return fmt.Errorf("max_processes: %d: want 1 to 1000000", c.MaxProcesses)
	}
	return nil
}

// Responder kills. It is safe for concurrent use.
type Responder struct{ plan workload.Planner }

// New returns the responder.
func New(cfg Config, protect workload.Protection, hand Hand) (*Responder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("respond.kill: %w", err)
	}
	return &Responder{workload.Planner{Hand: hand, Protect: protect, MaxProcesses: cfg.MaxProcesses, Kind: Kind}}, nil
}

// Part returns the responder as the host takes it.
func (k *Responder) Part(needs respond.Needs) respond.Part {
	return respond.Part{Kind: Kind, Needs: needs, Momentary: true, Default: within, Max: within, Responder: k}
}

// Plan implements respond.Responder.
func (k *Responder) Plan(ctx context.Context, r respond.Request) (respond.Plan, error) {
	plan, d, err := k.plan.Plan(ctx, &r, workload.Kill)
	if err != nil || len(d.Processes) == 0 {
		return plan, err
	}
	v := &plan.Radius
	first := d.Processes[0]
	switch {
	case plan.Target == d.Container.ID:
		v.Summary = fmt.Sprintf("Kills all %s of container %s: %s.", workload.Plural(d.Count, "process", "processes"), d.Container, workload.List(d.Processes, d.Count))
		v.Warnings = append(v.Warnings, "its runtime may start the container again")
	case d.Count > 1:
		v.Summary = fmt.Sprintf("Kills %s and %s that it started: %s.", workload.Describe(first), workload.Plural(d.Count-1, "process", "processes"),
			workload.List(d.Processes[1:], d.Count-1))
	default:
		v.Summary = fmt.Sprintf("Kills %s.", workload.Describe(first))
	}
	if d.Container.ID != "" && plan.Target != d.Container.ID {
		v.Summary += fmt.Sprintf(" It runs in container %s.", d.Container)
	}
	if d.Connections > 0 {
		v.Summary += fmt.Sprintf(" Ends %s.", workload.Plural(d.Connections, "connection", "connections"))
	}
	v.Summary += " This cannot be undone."
	return plan, nil
}

// Apply implements respond.Responder.
func (k *Responder) Apply(ctx context.Context, a *signal.Action) error {
	_, err := k.plan.Hand.Do(ctx, workload.Order{Verb: workload.Kill, ID: a.ID, Target: a.Target})
	return err
}

// Undo implements respond.Responder: nothing is half done, for what was not killed runs on.
func (k *Responder) Undo(context.Context, *signal.Action) error { return nil }
