//go:build linux

package enforce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Config of what is enforced in the kernel.
type Config struct {
	// Pins is where the file system of eBPF objects is, or is mounted when what is enforced is to outlive testudo.
	Pins string `yaml:"pins"`
	// Force allows rules that refuse every program, file or connection of the host.
	Force bool `yaml:"force"`
}

// Default returns the configuration of a host without one.
func Default() Config { return Config{Pins: "/sys/fs/bpf"} }

// Validate names what is wrong.
func (c Config) Validate() error {
	if len(c.Pins) == 0 || c.Pins[0] != '/' {
		return fmt.Errorf("pins: %q is no absolute path; the usual one is /sys/fs/bpf", c.Pins)
	}
	return nil
}

// Options of an [Enforcer] that are not the user's.
type Options struct {
	Config
	Log *slog.Logger
	// Spare are processes that nothing is refused to, beside the first of the host and this one: testudo's other half.
	Spare []int
	// Cgroup is the folder whose processes connect is refused to; "" for the root of the mounted cgroup2.
	Cgroup string

	skip []string // names of forms that are not to be used: for tests of the lesser ones
}

// Enforcer holds the maps, programs and links. Its methods are safe for concurrent use.
type Enforcer struct {
	opt Options
	log *slog.Logger

	mu         sync.Mutex
	objects    *objects
	plan       plan
	links      map[kernel.Hook][]namedLink
	generation uint32
	revision   uint64
	compiled   *compiled
	pins       *pins
	closed     bool
	loaded     bool
	err        error // of the load

	pastMu   sync.Mutex
	past     map[uint64]*compiled // revisions that decisions may still be told of
	settling settling
}

type namedLink struct {
	name string
	link.Link
}

// keepPast bounds the revisions that late decisions are attributed to.
const keepPast = 16

// New returns an enforcer that has touched nothing.
func New(o Options) *Enforcer {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Enforcer{opt: o, log: o.Log, links: map[kernel.Hook][]namedLink{}, past: map[uint64]*compiled{}}
}

// Load loads the maps and, of each hook, the best program that this kernel takes. Nothing is attached, so nothing costs. What does not work
// is in [Enforcer.Features]; an error means that nothing works. A second Load does nothing.
func (e *Enforcer) Load() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.load()
}

func (e *Enforcer) load() error {
	if e.loaded {
		return e.err
	}
	e.loaded = true
	if e.err = e.opt.Validate(); e.err != nil {
		return e.err
	}
	if e.err = firstPIDs(); e.err != nil {
		e.err = fmt.Errorf("%w: %w", kernel.ErrUnable, e.err)
		return e.err
	}
	if e.objects, e.err = loadObjects(); e.err != nil {
		e.err = fmt.Errorf("%w: eBPF maps: %w", kernel.ErrUnable, e.err)
		return e.err
	}
	e.plan = e.objects.choose(e.opt.Cgroup, e.opt.skip)
	if e.err = e.objects.spare(append([]int{os.Getpid()}, e.opt.Spare...)); e.err != nil {
		return e.err
	}
	dev, err := rootDevice()
	if e.plan.able.host = err == nil; err != nil {
		e.log.Warn("what is in no container cannot be told from the rest", "error", err)
	}
	e.plan.root = dev
	e.err = e.objects.current.Put(uint32(0), guardState{Active: 0, Root: dev})
	return e.err
}

// Residue names the rules that cannot be enforced here, and why. They are for a gate that can wait.
func (e *Enforcer) Residue(rules []kernel.GuardRule) []Residue {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.load(); err != nil {
		all := make([]Residue, len(rules))
		for i, r := range rules {
			all[i] = Residue{Index: i, Rule: r.Rule, Hook: r.Hook, Why: err.Error()}
		}
		return all
	}
	return residueOf(rules, e.plan.able)
}

// Guard puts rules in force in the place of those before: all, or with an error none. An error of the type [ResidueError] names rules
// that cannot be enforced here.
func (e *Enforcer) Guard(ctx context.Context, g kernel.Guard) error {
	return e.GuardExcept(ctx, g, nil)
}

// GuardExcept is Guard without the rules left, which another gate has taken over. Rules keep their numbers: their places in g.
func (e *Enforcer) GuardExcept(ctx context.Context, g kernel.Guard, left []Residue) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := e.load(); err != nil {
		if len(g.Rules) == 0 || len(g.Rules) == len(left) && !g.Closed {
			return nil // nothing is asked of us
		}
		return err
	}
	leave := map[int]bool{}
	for _, r := range left {
		leave[r.Index] = true
	}
	for i, r := range g.Rules {
		if why := lockout(r); why != "" && !e.opt.Force && !r.Force && !leave[i] {
			return fmt.Errorf("rule %s: %s", r.Rule, why)
		}
	}
	residue := slices.DeleteFunc(residueOf(g.Rules, e.plan.able), func(r Residue) bool { return leave[r.Index] })
	if len(residue) > 0 {
		return &ResidueError{residue}
	}
	return e.swap(compile(g, leave), g.Closed)
}

// swap puts compiled rules in force. Whatever fails, what was in force stays.
func (e *Enforcer) swap(c *compiled, closed bool) (err error) {
	next, fresh := 1-e.generation, map[kernel.Hook][]namedLink{}
	c.table.Revision = e.revision + 1
	var pinned []string
	defer func() {
		if err != nil {
			for _, links := range fresh {
				closeAll(links)
			}
			err = errors.Join(err, e.pins.unpin(pinned), e.objects.remove(next, c))
			if e.pins != nil && len(e.pins.names) == 0 {
				err = errors.Join(err, e.pins.close())
				e.pins = nil
			}
		}
	}()
	if err = e.objects.put(next, c); err != nil {
		return err
	}
	// What they decide may be told of before this returns.
	e.pastMu.Lock()
	e.past[c.table.Revision] = c
	delete(e.past, c.table.Revision-keepPast)
	e.pastMu.Unlock()
	if len(c.rules) > 0 {
		e.settling.deciding.Store(true)
	}
	for hook := range c.hooks {
		if e.links[hook] == nil {
			if fresh[hook], err = e.plan.attach(hook); err != nil {
				return fmt.Errorf("%s: %w", hookName(hook), err)
			}
		}
	}
	if closed && len(c.rules) > 0 {
		if pinned, err = e.pin(fresh, c.hooks); err != nil {
			return err
		}
	}
	if err = e.objects.current.Put(uint32(0), guardState{Active: next, Root: e.plan.root}); err != nil {
		return fmt.Errorf("switch to the new rules: %w", err)
	}

	// From here on the new rules hold.
	maps.Copy(e.links, fresh)
	before := e.compiled
	e.generation, e.compiled, e.closed = next, c, closed
	e.revision++
	e.settling.deciding.Store(len(c.rules) > 0)
	e.settle(before)
	return nil
}

// settle takes away what held before. It undoes nothing where it fails: too much is in force then, never too little.
func (e *Enforcer) settle(before *compiled) {
	var all []error
	if err := e.objects.wait(); err != nil {
		all = append(all, err)
	} else if before != nil {
		all = append(all, e.objects.remove(1-e.generation, before))
	}
	for hook, links := range e.links {
		if !e.compiled.hooks[hook] {
			all = append(all, e.pins.unpin(names(links)))
			closeAll(links)
			delete(e.links, hook)
		}
	}
	if !e.closed || len(e.compiled.rules) == 0 {
		all = append(all, e.pins.close())
		e.pins = nil
	}
	all = append(all, releaseStale(e.opt.Pins))
	if err := errors.Join(all...); err != nil {
		e.log.Warn("rules that held before are not wholly taken away", "error", err)
	}
}

// pin keeps the links beyond this process, and returns the names of those pinned now.
func (e *Enforcer) pin(fresh map[kernel.Hook][]namedLink, hooks map[kernel.Hook]bool) (pinned []string, err error) {
	if e.pins == nil {
		if e.pins, err = newPins(e.opt.Pins); err != nil {
			return nil, err
		}
	}
	for _, group := range []map[kernel.Hook][]namedLink{e.links, fresh} {
		for hook, links := range group {
			for _, l := range links {
				if !hooks[hook] || e.pins.has(l.name) {
					continue
				}
				if err := e.pins.pin(l); err != nil {
					return pinned, err
				}
				pinned = append(pinned, l.name)
			}
		}
	}
	return pinned, nil
}

// Close ends what this process holds. What was to stay in force (kernel.Guard.Closed) stays, all else is let through.
func (e *Enforcer) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.objects == nil {
		return nil
	}
	var all []error
	if e.closed {
		all = append(all, e.pins.leave())
	} else {
		all = append(all, e.pins.close())
	}
	e.pins = nil
	for hook, links := range e.links {
		closeAll(links)
		delete(e.links, hook)
	}
	all = append(all, e.plan.Close(), e.objects.Close())
	e.objects, e.err = nil, fmt.Errorf("%w: it is closed", kernel.ErrUnable)
	return errors.Join(all...)
}

func closeAll[C io.Closer](all []C) {
	for _, c := range all {
		_ = c.Close() // closes a file descriptor
	}
}

func names(links []namedLink) []string {
	all := make([]string, len(links))
	for i, l := range links {
		all[i] = l.name
	}
	return all
}

// Gates returns the gates that work here, the earliest first.
func (e *Enforcer) Gates() []record.Gate {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.load() != nil {
		return nil
	}
	gates := slices.Sorted(maps.Values(e.plan.able.gates))
	return slices.Compact(gates)
}

// Gate returns what a hook is enforced by; GateNone where it is not.
func (e *Enforcer) Gate(h kernel.Hook) record.Gate {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.load() != nil {
		return record.GateNone
	}
	return e.plan.able.gates[h]
}

// Counts are what was decided since the load.
type Counts struct {
	Fired   uint64 // decisions that a rule fired in, watching ones too
	Refused uint64
	Spared  uint64 // would have been refused to the first process or testudo itself
	Untold  uint64 // refused or watched as it should, but no record told of it: the reader was too slow
	Unable  uint64 // there was no place to decide in; refused where closed
	Failed  uint64 // kills that the kernel did not carry out
}

// Counts reads the counters of the kernel.
func (e *Enforcer) Counts() (Counts, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.objects == nil {
		return Counts{}, e.err
	}
	return e.objects.read()
}

// program has the name of its function.
type program struct {
	name string
	*ebpf.Program
}
