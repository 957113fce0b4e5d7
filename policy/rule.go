package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// Rule is what a dialect makes of one rule of a file. The host does not change it,
// and nor may others once it is in a set.
type Rule struct {
	ID         string
	Name       string // by which correlations may refer to it beside its id; "" for none
	Title      string
	Severity   signal.Severity
	On         []signal.Class // classes it reads; nil for all
	When       string         // the condition's text, for people
	Then       signal.Decision
	Actions    []Action
	Why        string // the sentence's text, with its references to fields
	Fix        string
	References []string
	Tags       []string
	Notes      []Note   // what the file says beside that, for people
	Disabled   bool     // it is checked and listed, and never fires
	Silent     bool     // it only feeds correlations: it makes no hit and asks for no action
	Monitor    []string // routes of the edge at which it only alerts, whatever Then says
	PartOf     string   // of a rule that stands for a piece of another one: that one's id. It is listed and counted with it.
	Dialect    string
	File       string // as the loader named it
	Line       int    // where the rule begins, from 1
	Column     int
	Tests      []Test
	Uses       []Use // what it reads under its dialect's own names, where the dialect has any

	// Condition is what When compiles to. It is a function of the event alone: no clock, no
	// disk, no network, no state.
	Condition match.Expr
	// Correlation stands in the place of a condition: the rule fires on what others match over time.
	Correlation *Correlation
	// Sentence renders Why for an event that fired, from recorded forms only. Nil
	// stands for Title.
	Sentence func(e *signal.Event) string
}

// Note is something that a rule's file says about the rule, by the file's own key: its author, known false positives.
type Note struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// Action is something that a rule asks for when it fires.
type Action struct {
	Kind   string        `json:"kind"`             // responder: "block"
	Target signal.Field  `json:"-"`                // the field whose value is acted on
	For    time.Duration `json:"for,omitempty"`    // how long; 0 for the responder's default
	After  int           `json:"after,omitempty"`  // matches with the same target that it takes; 0 and 1 mean at once
	Within time.Duration `json:"within,omitempty"` // span of event time that they must fall into
}

// counts reports whether the action waits for more than one match.
func (a Action) counts() bool { return a.After > 1 }

// String returns the action as a sentence's end: "block src_endpoint.ip for 10m0s after
// 3 matches within 10m0s".
func (a Action) String() string {
	s := a.Kind + " " + a.Target.Name()
	if a.For > 0 {
		s += " for " + a.For.String()
	}
	if a.counts() {
		s += fmt.Sprintf(" after %d matches within %v", a.After, a.Within)
	}
	return s
}

// MarshalJSON writes the action with its target's name and durations in words.
func (a Action) MarshalJSON() ([]byte, error) {
	out := struct {
		Kind   string `json:"kind"`
		Target string `json:"target"`
		For    string `json:"for,omitempty"`
		After  int    `json:"after,omitempty"`
		Within string `json:"within,omitempty"`
	}{Kind: a.Kind, Target: a.Target.Name()}
	if a.For > 0 {
		out.For = a.For.String()
	}
	if a.counts() {
		out.After, out.Within = a.After, a.Within.String()
	}
	return json.Marshal(out)
}

// Use is a field that a rule reads, under the name that its dialect has for it.
type Use struct {
	Name    string `json:"name"`    // as the rule writes it: "proc.name"
	Reads   string `json:"reads"`   // where its values are: "process.name", "attribute proc.vpid"
	Carried string `json:"carried"` // "yes" where events have it today, "kernel" where the kernel plane is to set it, "no" where none does
}

// Test is an example that stands beside a rule: events, and what the rule makes of them.
type Test struct {
	Name  string
	Line  int // where it stands, from 1
	Steps []Step
}

// Step is one event of a test.
type Step struct {
	Event    *signal.Event    // with its time set
	Fires    bool             // whether the rule fires on it
	Decision *signal.Decision // what it decides, where the test says so
	Orders   []string         // "block 203.0.113.9", where the test says so; nil is not said, empty is none
	Line     int
}

// validate says what a dialect has left out: a mistake in the dialect, not in the rule.
func (r *Rule) validate() error {
	switch {
	case r.ID == "":
		return fmt.Errorf("%s:%d: dialect %q made a rule without an id", r.File, r.Line, r.Dialect)
	case r.Condition == nil && r.Correlation == nil && !r.Disabled:
		return fmt.Errorf("%s:%d: dialect %q made rule %s without a condition", r.File, r.Line, r.Dialect, r.ID)
	case r.Condition != nil && r.Correlation != nil:
		return fmt.Errorf("%s:%d: dialect %q made rule %s with a condition and a correlation", r.File, r.Line, r.Dialect, r.ID)
	}
	if r.Correlation != nil {
		if err := r.Correlation.validate(); err != nil {
			return fmt.Errorf("%s:%d: dialect %q made rule %s: %w", r.File, r.Line, r.Dialect, r.ID, err)
		}
	}
	for _, a := range r.Actions {
		if !a.counts() {
			continue
		}
		if err := (window.Config{Count: a.After, Within: a.Within}).Validate(); err != nil {
			return fmt.Errorf("%s:%d: rule %s: action %s: %w", r.File, r.Line, r.ID, a.Kind, err)
		}
	}
	return nil
}

// maxLabels bounds the tags and the references of a rule: they go with every finding.
const maxLabels = 200

// tooMuch returns a problem where the rule says more about itself than findings can carry.
func (r *Rule) tooMuch() Problems {
	var problems Problems
	for what, n := range map[string]int{"tags": len(r.Tags), "references": len(r.References)} {
		if n > maxLabels {
			problems = append(problems, Problem{File: r.File, Line: r.Line, Column: r.Column, Rule: r.ID,
				Message: fmt.Sprintf("rule %s has %d %s, and %d are allowed: they go with each of its findings", r.ID, n, what, maxLabels)})
		}
	}
	return problems
}

// unreadable returns a problem for each field of the condition that testudo writes when it has judged
// the event. Live, such a rule would never fire; over a record it might, and a replay would not give the
// verdict of the moment.
func (r *Rule) unreadable() Problems {
	var problems Problems
	for _, f := range match.Fields(r.Condition) {
		if match.Added(f) {
			problems = append(problems, Problem{File: r.File, Line: r.Line, Column: r.Column, Rule: r.ID,
				Message: fmt.Sprintf("the condition of rule %s reads %s, which is written when the event has been judged", r.ID, f),
				Hint:    "a rule over what rules decided is a rule over their findings: on: detection_finding"})
		}
	}
	return problems
}

// monitors reports whether the rule only alerts of an event.
func (r *Rule) monitors(e *signal.Event) bool {
	return len(r.Monitor) > 0 && slices.Contains(r.Monitor, e.Str(signal.FieldEdgeRoute))
}

// Version returns a digest over what decides whether and how the rule fires, demoted or not.
func (r *Rule) Version() string {
	whole := *r
	whole.Monitor = nil
	return whole.judging()
}

// judging returns a digest over what decides whether and how the rule fires. The state of
// a rule survives a reload while this is the same.
func (r *Rule) judging() string {
	parts := map[string]any{
		"id": r.ID, "dialect": r.Dialect, "on": r.On, "when": r.When, "then": r.Then,
		"actions": r.Actions, "disabled": r.Disabled,
	}
	if r.Silent {
		parts["silent"] = true
	}
	if len(r.Monitor) > 0 {
		parts["monitor"] = r.Monitor
	}
	if c := r.Correlation; c != nil {
		of := make([]string, len(c.Of))
		for i := range c.Of {
			of[i] = c.Of[i].Rule
		}
		parts["correlation"] = map[string]any{
			"kind": c.Kind, "of": of, "group_by": c.GroupBy, "value": c.Value, "tests": c.Tests, "percent": c.Percent,
			"need": c.Need, "within": c.Within, "tolerance": c.Tolerance,
		}
	}
	return digest(parts)
}

// whole returns a digest over all that reaches a verdict; where the rule stands
// and how it is tested does not.
func (r *Rule) whole() string {
	return digest(map[string]any{
		"judging": r.judging(), "name": r.Name, "title": r.Title, "severity": r.Severity, "why": r.Why,
		"fix": r.Fix, "references": r.References, "tags": r.Tags,
	})
}

// digest hashes the canonical JSON of v: maps are written with sorted keys.
func digest(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic("policy: digest: " + err.Error()) // the callers pass plain values only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
