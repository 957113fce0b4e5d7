package replay

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Kind is a way in which what becomes of an event differs.
type Kind string

// The kinds, the gravest first. An event is of one kind.
const (
	NewlyBlocked    Kind = "newly_blocked"     // it was let through, and would be denied, challenged or limited
	NoLongerBlocked Kind = "no_longer_blocked" // the other way round; it may still be alerted on
	NoLongerCaught  Kind = "no_longer_caught"  // rules fired and let it through, and none would fire
	NewlyAlerted    Kind = "newly_alerted"     // no rule fired, and one would, and let it through
	DecisionChanged Kind = "decision_changed"  // another decision, as deny for limit, or deny on a route that only detects
	RulesChanged    Kind = "rules_changed"     // the same decision for other rules
)

// Kinds lists the kinds, the gravest first.
func Kinds() []Kind {
	return []Kind{NewlyBlocked, NoLongerBlocked, NoLongerCaught, NewlyAlerted, DecisionChanged, RulesChanged}
}

// Label returns the kind in words: "newly blocked".
func (k Kind) Label() string { return strings.ReplaceAll(string(k), "_", " ") }

// Counts are numbers of events by kind. Kinds without events are not there.
type Counts map[Kind]int64

// Total returns the number of events of all kinds.
func (c Counts) Total() int64 {
	var n int64
	for _, v := range c {
		n += v
	}
	return n
}

// Report says what a change of rules would have made of what was recorded. Its JSON form is stable: keys are
// added, never changed.
type Report struct {
	Live    string      `json:"live"`    // digests of the rules in force
	Changed string      `json:"changed"` // and of the changed ones
	Since   time.Time   `json:"since,omitzero"`
	Until   time.Time   `json:"until,omitzero"`
	Rules   RuleChanges `json:"rules"`

	Events  int64   `json:"events"` // looked at
	Judged  int64   `json:"judged"` // of them, those on which one of the changed rules could matter, judged by both sets
	Counts  Counts  `json:"counts"`
	ByRule  []ByOne `json:"by_rule"`
	ByRoute []ByOne `json:"by_route"`
	ByAsset []ByOne `json:"by_asset"`
	// ByClient holds addresses, or names of users where an event has no address.
	ByClient []ByOne   `json:"by_client"`
	Examples []Example `json:"examples"`

	Kept int64 `json:"kept,omitempty"` // requests that were judged as they were received
	// Firewall is there where a change of the firewall was tried.
	Firewall *FirewallReport `json:"firewall,omitempty"`

	Exact    bool          `json:"exact"`
	Inexact  []Reason      `json:"inexact"`
	Verified *Verification `json:"verified,omitempty"`

	ElapsedMS int64 `json:"elapsed_ms"`
	PerSecond int64 `json:"per_second"` // events looked at in a second
	Files     int   `json:"files"`
	Skipped   int   `json:"skipped"`
}

// RuleChanges are ids of rules.
type RuleChanges struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
}

// Empty reports whether nothing has changed.
func (c RuleChanges) Empty() bool { return len(c.Added)+len(c.Removed)+len(c.Changed) == 0 }

// ByOne are the differences of one rule, route, asset or client.
type ByOne struct {
	Name   string `json:"name"`
	Title  string `json:"title,omitempty"` // of a rule
	Counts Counts `json:"counts"`
	// Of a rule that has changed: the events on which it fired, and would fire.
	Before int64 `json:"before,omitempty"`
	After  int64 `json:"after,omitempty"`
	// Of a rule with actions: how often it asked for one, and would.
	OrdersBefore int64 `json:"orders_before,omitempty"`
	OrdersAfter  int64 `json:"orders_after,omitempty"`
}

// Example is an event for which something would change.
type Example struct {
	Kind     Kind            `json:"kind"`
	Event    string          `json:"event"` // id
	Time     time.Time       `json:"time"`
	Rule     string          `json:"rule"` // that makes the difference
	Before   signal.Decision `json:"before"`
	After    signal.Decision `json:"after"`
	Sentence string          `json:"sentence"`
}

// Reason says why a replay may differ from what was or would have been.
type Reason struct {
	Reason string `json:"reason"`
	Events int64  `json:"events"` // that it touches; 0 where that is not known
}

// The bounds of a report.
const (
	maxNames      = 20_000 // names of a table that are counted apart
	maxRows       = 100    // rows of a table that are reported
	maxExamples   = 40
	examplesOfOne = 3 // of a kind and a rule
	others        = "(others)"
)

// table counts by name, and what is beyond its bound under one name.
type table map[string]*ByOne

func (t table) of(name string) *ByOne {
	if one := t[name]; one != nil {
		return one
	}
	if len(t) >= maxNames {
		name = others
		if one := t[name]; one != nil {
			return one
		}
	}
	one := &ByOne{Name: strings.Clone(name), Counts: Counts{}}
	t[one.Name] = one
	return one
}

func (t table) add(name string, k Kind) {
	if name != "" {
		t.of(name).Counts[k]++
	}
}

// rows returns the table, those with the gravest and most differences first.
func (t table) rows() []ByOne {
	out := make([]ByOne, 0, min(len(t), maxRows))
	all := make([]*ByOne, 0, len(t))
	for _, one := range t {
		all = append(all, one)
	}
	slices.SortFunc(all, func(a, b *ByOne) int {
		for _, k := range Kinds() {
			if c := cmp.Compare(b.Counts[k], a.Counts[k]); c != 0 {
				return c
			}
		}
		return strings.Compare(a.Name, b.Name)
	})
	for _, one := range all {
		if len(out) == maxRows {
			break
		}
		out = append(out, *one)
	}
	return out
}
