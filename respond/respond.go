// Package respond acts on what was seen: it blocks, and later kills, quarantines, rotates. A
// responder knows one kind of action; the Host holds the contract that all of them share:
//
//   - What an action touches, its radius, is stated before it is done.
//   - Every action has a time limit and an undo, and names who asked for it and why. One that cannot be undone says so before
//     (Part.Momentary), and is never done a second time because of a restart.
//   - An action is in force only after the ledger and the state have it. What cannot be
//     recorded is not done.
//   - An action survives a restart, and one whose limit passed meanwhile does not.
//   - The same target is acted on once: a second order makes the first one last longer.
//   - Rules act within bounds: so many actions a minute, so many at once, none on
//     what a responder protects. What goes beyond is counted and shown, not done.
//
// To lift an action is always possible: where the ledger or the state cannot be written it
// is lifted all the same, and the records are owed and written when that is possible again.
//
// What is not promised: actions are not coordinated between nodes that share a state.
package respond

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Request asks for an action.
type Request struct {
	Kind   string        // responder: "block"
	Target string        // what to act on, in any form that the responder reads
	For    time.Duration // time limit; 0 asks for the responder's default
	Actor  string        // who asks: "rule:ID", "person:NAME", "token:NAME", "uid:N", "system"
	Reason string        // a sentence for people
	Event  signal.ID     // the event that led to it, if one did
	Asker  netip.Addr    // the address that the person asks from, to warn who locks themselves out
	Force  bool          // a person insists on a protected target; a rule cannot
}

// Automatic reports whether a rule asks, not a person.
func (r *Request) Automatic() bool { return strings.HasPrefix(r.Actor, "rule:") }

// Plan is what an action would do.
type Plan struct {
	Target    string        // the target in its one canonical form: equal targets are one action
	Radius    signal.Radius // what it touches
	Refusal   string        // why it must not be done, "" where it may
	Forceable bool          // a person may insist in spite of Refusal
	Group     string        // who may be behind the target, as in a network: rules have a budget for each group
}

// A Responder does one kind of action. Its methods are called by one goroutine at a time
// for changes (Apply, Undo), and by any number for Plan.
//
// Plan changes nothing. Its error means that the target makes no sense.
//
// Apply puts an action in force until a.Until. It may be called again for an action that is in
// force, with a later limit or after a restart, and then makes sure of it. An error means
// that it is not in force; Undo is called then, to clear away what was half done.
//
// Undo lifts exactly what Apply did for that action: others stay in force, also where
// they overlap. Undo of what is not in force is no error.
//
// A responder does not promise to watch the time limit itself: the Host undoes it.
type Responder interface {
	Plan(ctx context.Context, r Request) (Plan, error)
	Apply(ctx context.Context, a *signal.Action) error
	Undo(ctx context.Context, a *signal.Action) error
}

// A Counter is a Responder that counts what its actions stop.
type Counter interface {
	// Hits returns what an action stopped since it was applied in this process.
	Hits(a *signal.Action) uint64
}

// Part is a responder and what the host must know of it.
type Part struct {
	Kind  string // lower-case letters; "block"
	Needs Needs
	// Momentary says that an action is over when Apply returns, and that nothing can undo it: its Undo only clears away what was half done.
	// Its time limit is how long may pass between its being recorded and its being done.
	Momentary bool
	Default   time.Duration // time limit where none is asked for
	Max       time.Duration // longest time limit
	Responder Responder
}

func (p *Part) validate() error {
	switch {
	case p.Kind == "" || strings.Trim(p.Kind, "abcdefghijklmnopqrstuvwxyz") != "":
		return fmt.Errorf("responder %q: its kind is not one word of lower-case letters", p.Kind)
	case p.Responder == nil:
		return fmt.Errorf("responder %q: there is none", p.Kind)
	case p.Default <= 0 || p.Max < p.Default:
		return fmt.Errorf("responder %q: time limits of %v, at most %v: want 0 < default <= max", p.Kind, p.Default, p.Max)
	}
	return nil
}

// Needs says what a responder needs of the machine. The zero Needs is met everywhere.
type Needs struct {
	OS    []string     // one of these, as in runtime.GOOS; nil for any
	Root  bool         // effective uid 0
	Check func() error // anything else; its error says what is missing and how to get it
}

// Missing says what the machine lacks, "" for nothing.
func (n *Needs) Missing() string {
	if len(n.OS) > 0 && !slices.Contains(n.OS, runtime.GOOS) {
		return "it runs on " + strings.Join(n.OS, ", ") + " only, this is " + runtime.GOOS
	}
	if n.Root && os.Geteuid() != 0 {
		return "it needs root"
	}
	if n.Check != nil {
		if err := n.Check(); err != nil {
			return err.Error()
		}
	}
	return ""
}

// Store keeps the actions. A method that returned without error has committed.
type Store interface {
	PutActions(ctx context.Context, actions ...*signal.Action) error // all or none
	Action(ctx context.Context, id string) (a signal.Action, ok bool, err error)
	ActiveActions(ctx context.Context) ([]signal.Action, error)
}

// Ledger records who did what. What Record returned without error for cannot be denied later.
type Ledger interface {
	Record(ctx context.Context, actor, verb, subject string, detail map[string]string) error
}

var (
	// ErrRequest is wrapped by errors about a request that makes no sense.
	ErrRequest = errors.New("cannot be asked for")
	// ErrRefused is wrapped by the error of an action that must not be done. The action is
	// returned with it, in the state refused.
	ErrRefused = errors.New("refused")
	// ErrBudget is wrapped by errors about a rule that asks for more than rules may.
	ErrBudget = errors.New("over the budget of rules")
	// ErrMomentary is wrapped by the error of Undo of what cannot be undone.
	ErrMomentary = errors.New("cannot be undone")
	// ErrNotFound is wrapped by errors about an action that there is not.
	ErrNotFound = errors.New("no such action")
	// ErrUnavailable is wrapped by errors about a responder that this machine does not run.
	ErrUnavailable = errors.New("not available here")
	// ErrUnrecorded is wrapped by the error of Undo where the action was lifted but the ledger or the
	// state could not be written. The records are written later, unless the
	// process ends before: then the action is in force again after the next start.
	ErrUnrecorded = errors.New("lifted, but not yet recorded")
)

// Config bounds what rules, and what all together, may do.
type Config struct {
	// MaxActive bounds the actions in force at once.
	MaxActive int `yaml:"max_active"`
	// MaxAutomatic bounds those of them that rules asked for, so that a storm of attackers
	// leaves room for what people want to do.
	MaxAutomatic int `yaml:"max_automatic"`
	// RulePerMinute bounds the new actions that one rule may start in a minute. What goes beyond is
	// counted and shown. The requests themselves are judged one by one all the same.
	RulePerMinute int `yaml:"rule_per_minute"`
	// GroupPerMinute bounds the new actions that one rule may start in a minute against one
	// network (IPv4 /24, IPv6 /48), so that an attacker with many addresses cannot use up what is
	// there for all attackers.
	GroupPerMinute int `yaml:"group_per_minute"`
	// Queue bounds the orders of rules that wait to be carried out.
	Queue int `yaml:"queue"`
	// RefusalEvery is how often the same refusal of the same rule's order is recorded.
	RefusalEvery time.Duration `yaml:"refusal_every"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config {
	return Config{MaxActive: 50_000, MaxAutomatic: 45_000, RulePerMinute: 600, GroupPerMinute: 30, Queue: 1024, RefusalEvery: 10 * time.Minute}
}

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	for _, n := range []struct {
		name  string
		value int
	}{{"max_active", c.MaxActive}, {"max_automatic", c.MaxAutomatic}, {"rule_per_minute", c.RulePerMinute},
		{"group_per_minute", c.GroupPerMinute}, {"queue", c.Queue}} {
		if n.value < 1 || n.value > 1_000_000 {
			return fmt.Errorf("%s: %d: want 1 to 1000000", n.name, n.value)
		}
	}
	if c.MaxAutomatic > c.MaxActive {
		return fmt.Errorf("max_automatic: %d is more than max_active, %d", c.MaxAutomatic, c.MaxActive)
	}
	if c.RefusalEvery < time.Second {
		return fmt.Errorf("refusal_every: %v: want 1s or more", c.RefusalEvery)
	}
	return nil
}
