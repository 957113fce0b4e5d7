// Package engine executes SecLang: a program of rules is compiled once, and each request and response is judged by it
// in a [Transaction]. The verdicts are Coraza's: the rules that match, the variables they match in, scores and
// interruptions; tests hold that against Coraza itself, which edge/waf falls back to for what this package does not cover.
//
// How it goes about it differs. Coraza asks each rule in turn about each value, and transforms the value for it. Here the
// expressions of all rules stand in automata that look at a value once, after transformations that are done once for all rules
// which ask for the same ones; a rule is only looked at itself where an automaton says that its expression is met.
package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/edge/waf/transform"
	"github.com/testudo-sec/testudo/internal/rxset"
)

// Engine is a compiled program. It is safe for concurrent use.
type Engine struct {
	settings seclang.Settings
	rules    []*rule    // heads of chains and markers, in their order
	phases   [6][]*rule // those of each phase, with all markers
	chains   map[string]*transform.Chain
	slots    map[string]int // keys of TX that the program names
	names    []string       // of the slots
	heads    heads
	known    *known
	timed    bool // a rule reads the time
	pool     sync.Pool
}

// Uncovered says what of a program the engine cannot execute.
type Uncovered struct {
	Rule  int    // its id
	What  string // as in "@rbl"
	Place seclang.Place
}

func (u Uncovered) Error() string { return fmt.Sprintf("rule %d: %s is not covered", u.Rule, u.What) }

// New compiles a program. An error joins an [Uncovered] for every rule that cannot be executed.
func New(p *seclang.Program) (*Engine, error) {
	e, err := compile(p)
	if err != nil {
		return nil, err
	}
	if err := e.planHeads(); err != nil {
		return nil, err
	}
	e.pool.New = func() any { return newTransaction(e) }
	return e, nil
}

// Check says what of a program cannot be executed, as New does, without making the automata.
func Check(p *seclang.Program) error {
	_, err := compile(p)
	return err
}

// Stats tells of the automata.
func (e *Engine) Stats() rxset.Stats { return e.heads.set.Stats() }

func compile(p *seclang.Program) (*Engine, error) {
	e := &Engine{known: newKnown(), settings: p.Settings, chains: map[string]*transform.Chain{}, slots: map[string]int{}}
	for i := range 11 { // captures, as Coraza has them
		e.slot(fmt.Sprint(i))
	}
	var errs []error
	for i, from := range p.Rules {
		r, err := e.compile(from, i)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		e.rules = append(e.rules, r)
		for phase := 1; phase <= seclang.Logging; phase++ {
			if from.Phase == 0 || from.Phase == phase {
				e.phases[phase] = append(e.phases[phase], r)
			}
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	for _, r := range e.rules {
		for c := r; c != nil; c = c.next {
			for i := range c.actions {
				if ctl := c.actions[i].ctl; ctl != nil {
					ctl.rules = e.concerned(ctl.Ctl)
				}
			}
		}
	}
	return e, nil
}

// slot returns where TX keeps a key. Keys are in lower case.
func (e *Engine) slot(key string) int {
	at, ok := e.slots[key]
	if !ok {
		at = len(e.names)
		e.slots[key] = at
		e.names = append(e.names, key)
	}
	return at
}

// rule is a compiled rule, or a marker.
type rule struct {
	*seclang.Rule
	number  int // of its head, among all rules
	targets []target
	op      operator // nil: matches
	negated bool
	chain   *transform.Chain // nil: values as they are
	message *macro
	actions []action
	next    *rule // of the chain

	pattern      int   // of the expression among heads; -1: it is not one of them
	chainNumbers []int // of chain among heads, for multiMatch of all that it begins with
	class        class
}

type target struct {
	seclang.Target
	slot    int // of TX, where the key is known; -1 otherwise
	sources []source
}

func (e *Engine) compile(from *seclang.Rule, number int) (*rule, error) {
	r := &rule{Rule: from, number: number}
	uncovered := func(what string) error { return Uncovered{from.ID, what, from.Place} }
	for _, t := range from.Targets {
		if err := e.reads(t.Variable); err != nil {
			return nil, uncovered(err.Error())
		}
		compiled := target{Target: t, slot: -1}
		if t.Variable == variables.TX && t.KeyRx == nil && t.Key != "" {
			compiled.slot = e.slot(strings.ToLower(t.Key))
		}
		r.targets = append(r.targets, compiled)
	}
	if len(from.Transforms) > 0 {
		name := strings.Join(from.Transforms, ",")
		chain, ok := e.chains[name]
		if !ok {
			var err error
			if chain, err = transform.NewChain(from.Transforms); err != nil {
				return nil, uncovered(err.Error())
			}
			e.chains[name] = chain
		}
		r.chain = chain
	}
	if from.Operator != nil {
		var err error
		if r.op, err = e.operator(from.Operator); err != nil {
			return nil, uncovered(err.Error())
		}
		r.negated = from.Operator.Negated
	}
	r.pattern = -1
	if _, ok := r.op.(tester); ok {
		e.headed(r, from.Operator.Name+" "+from.Operator.Argument)
	}
	var err error
	if r.message, err = e.macro(from.Message); err != nil {
		return nil, uncovered(err.Error())
	}
	for _, a := range from.Actions {
		compiled := action{}
		if a.Ctl != nil {
			compiled.ctl = &ctl{Ctl: a.Ctl}
		} else if compiled.set, err = e.setVar(a.Set); err != nil {
			return nil, uncovered(err.Error())
		}
		r.actions = append(r.actions, compiled)
	}
	if from.Chain != nil {
		if r.next, err = e.compile(from.Chain, number); err != nil {
			u := err.(Uncovered)
			u.Rule = from.ID
			return nil, u
		}
	}
	return r, nil
}

// reads says that the program reads a variable. The engine has not all of them: rules know their own names and the environment
// in Coraza, and files that it keeps.
func (e *Engine) reads(v variables.RuleVariable) error {
	switch v {
	case variables.Env, variables.Rule, variables.JSON, variables.FilesTmpNames, variables.FilesTmpContent, variables.Geo:
		return errors.New(v.Name())
	case variables.Time, variables.TimeDay, variables.TimeEpoch, variables.TimeHour, variables.TimeMin, variables.TimeMon, variables.TimeSec,
		variables.TimeWday, variables.TimeYear:
		e.timed = true
	}
	return nil
}

// concerned returns the rules that a ctl takes out, or takes targets from.
func (e *Engine) concerned(c *seclang.Ctl) bits {
	out := newBits(len(e.rules))
	for i, r := range e.rules {
		hit := false
		switch c.Kind {
		case seclang.RemoveByID, seclang.RemoveTargetByID:
			hit = r.ID != 0 && r.ID >= c.From && r.ID <= c.To
		case seclang.RemoveByTag, seclang.RemoveTargetByTag:
			hit = slices.Contains(r.Tags, c.Value)
		case seclang.RemoveByMessage, seclang.RemoveTargetByMessage:
			hit = r.Message != nil && r.Message.Text == c.Value
		}
		if hit {
			out.set(i)
		}
	}
	return out
}

// bits is a set of small numbers.
type bits []uint64

func newBits(n int) bits      { return make(bits, (n+63)/64) }
func (b bits) set(i int)      { b[i>>6] |= 1 << (i & 63) }
func (b bits) has(i int) bool { return b[i>>6]>>(i&63)&1 != 0 }
func (b bits) any() bool {
	for _, w := range b {
		if w != 0 {
			return true
		}
	}
	return false
}
func (b bits) add(other bits) {
	for i := range b {
		b[i] |= other[i]
	}
}
