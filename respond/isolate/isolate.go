// Package isolate is the responder that cuts a container off the network: nothing goes in or out, on connections that are established
// neither, but what the configuration keeps reachable. Within the container all goes on.
//
// What shares the container's network, as the others of its pod do, is cut off with it; the radius names them. What has no network of its
// own but the host's is refused.
package isolate

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/signal"
)

// Kind is the kind of this responder's actions.
const Kind = "isolate"

// maxKeep bounds what is kept reachable.
const maxKeep = 64

// Hand is the one who isolates.
type Hand = workload.Hand

// Config says what may be isolated, for how long, and from what not.
type Config struct {
	// Default is how long something stays isolated where nobody says otherwise.
	Default time.Duration `yaml:"default"`
	// Max is the longest that anybody may ask for.
	Max time.Duration `yaml:"max"`
	// MaxProcesses is the most processes that a rule isolates at once; a person may isolate more.
	MaxProcesses int `yaml:"max_processes"`
	// Keep lists addresses with their port that an isolated container may still exchange packets with, as in 10.0.0.5:443, or with port 0 for
	// any: of whoever must look into it.
	Keep []string `yaml:"keep"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config {
	return Config{Default: time.Hour, Max: 30 * 24 * time.Hour, MaxProcesses: 1000}
}

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	if c.Default < time.Second || c.Max < c.Default || c.Max > 10*365*24*time.Hour {
		return fmt.Errorf("default: %v, max: %v: want 1s <= default <= max <= 10 years", c.Default, c.Max)
	}
	if c.MaxProcesses < 1 || c.MaxProcesses > 1_000_000 {
		return fmt.Errorf("max_processes: %d: want 1 to 1000000", c.MaxProcesses)
	}
	_, err := c.keep()
	return err
}

func (c *Config) keep() (all []netip.AddrPort, err error) {
	if len(c.Keep) > maxKeep {
		return nil, fmt.Errorf("keep: %d addresses, at most %d", len(c.Keep), maxKeep)
	}
	for _, s := range c.Keep {
		a, err := netip.ParseAddrPort(s)
		if err != nil || a.Addr().Zone() != "" {
			return nil, fmt.Errorf("keep: %q is no address with a port, as in 10.0.0.5:443 or [fd00::5]:443", s)
		}
		all = append(all, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	return all, nil
}

// Responder isolates. It is safe for concurrent use.
type Responder struct {
	cfg  Config
	keep []netip.AddrPort
	plan workload.Planner
}

// New returns the responder.
func New(cfg Config, protect workload.Protection, hand Hand) (*Responder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("respond.isolate: %w", err)
	}
	keep, _ := cfg.keep()
	return &Responder{cfg, keep, workload.Planner{Hand: hand, Protect: protect, MaxProcesses: cfg.MaxProcesses, Kind: Kind}}, nil
}

// Part returns the responder as the host takes it.
func (i *Responder) Part(needs respond.Needs) respond.Part {
	return respond.Part{Kind: Kind, Needs: needs, Default: i.cfg.Default, Max: i.cfg.Max, Responder: i}
}

// Plan implements respond.Responder.
func (i *Responder) Plan(ctx context.Context, r respond.Request) (respond.Plan, error) {
	plan, d, err := i.plan.Plan(ctx, &r, workload.Isolate)
	if err != nil || d.Target == "" {
		return plan, err
	}
	v := &plan.Radius
	whose := "the network that it is in"
	if d.Container.ID != "" {
		whose = "the network of container " + d.Container.String()
	}
	v.Summary = fmt.Sprintf("Lets nothing in or out of %s (%s).", whose, workload.Plural(d.Count, "process", "processes"))
	switch {
	case len(i.keep) > 0:
		v.Summary += fmt.Sprintf(" Still reachable: %v.", i.keep)
	default:
		v.Summary += " Nothing stays reachable: respond.isolate.keep can name addresses."
	}
	if d.Connections > 0 {
		v.Warnings = append(v.Warnings, workload.Plural(d.Connections, "established connection falls", "established connections fall")+" silent")
	}
	if n := len(d.Sharing); n > 0 {
		v.Warnings = append(v.Warnings, workload.Plural(n, "other process shares", "other processes share")+" this network and will be cut off too: "+workload.List(d.Sharing, n))
	}
	return plan, nil
}

// Apply implements respond.Responder.
func (i *Responder) Apply(ctx context.Context, a *signal.Action) error {
	_, err := i.plan.Hand.Do(ctx, workload.Order{Verb: workload.Isolate, ID: a.ID, Target: a.Target, Keep: i.keep})
	return err
}

// Undo implements respond.Responder.
func (i *Responder) Undo(ctx context.Context, a *signal.Action) error {
	_, err := i.plan.Hand.Do(ctx, workload.Order{Verb: workload.Join, ID: a.ID, Target: a.Target})
	return err
}
