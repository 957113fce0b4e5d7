package policy

import (
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// MaxRelated bounds the events that a correlation names as its reason, its last one included.
const MaxRelated = signal.MaxFindingEvents

// Correlation makes a rule of what other rules of the set match over time. The events of one
// group are folded into a window (see package window for what completes it); the rule fires on the event
// that completes it.
//
// A group is named by GroupBy, read in the recorded form of each event. An event that lacks one of the
// values belongs to no group, and is counted ([window.Stats.Skipped]); so is one without
// the value that a kind counts or adds up. An event on which several rules of Of fire is one event
// that is several things, unless these rules read their groups from different places.
type Correlation struct {
	Kind    window.Kind
	Of      []Ref     // at least one, each rule once; at most window.MaxSlots
	GroupBy []Reading // none: all events are one group
	// Value is what Distinct counts (several: their combinations), and the one number that Sum, Average and
	// Percentile read; the other kinds have none.
	Value []Reading

	Tests   []window.Test // see window.Spec
	Percent float64
	Need    *window.Seen // of Temporal and Ordered: over Of by index; nil for all of them

	Within    time.Duration
	Tolerance time.Duration // 0 for window.DefaultTolerance

	Line, Column int // where it stands in the rule's file, for problems that NewSet finds
}

// Ref names a rule of the set by its id or by its [Rule.Name], which must then be no other rule's.
type Ref struct {
	Rule         string
	Line, Column int
}

// Operand is where a value stands in an event: a field, an attribute outside of the field table, or
// either, the field first.
type Operand struct {
	Field signal.Field // 0 for none
	Attr  string       // "" for none; indexes in the event's names are passed over: see match.AttrIs
}

// IsZero reports whether the operand is none.
func (o Operand) IsZero() bool { return o.Field == 0 && o.Attr == "" }

// String returns the operand's name.
func (o Operand) String() string {
	if o.Field != 0 {
		return o.Field.Name()
	}
	return o.Attr
}

// Reading is a value by the name that people gave it, and where it stands in the events of each rule.
type Reading struct {
	Name string
	From Operand   // in the events of every rule, but for those of Per
	Per  []Operand // by index in Of, where an alias says so; a zero Operand stands for From; nil for none
}

// of returns where the value stands in an event of the rule at that index of Of.
func (r *Reading) of(ref int) Operand {
	if ref < len(r.Per) && !r.Per[ref].IsZero() {
		return r.Per[ref]
	}
	return r.From
}

// String returns the correlation as people read it: "event_count of failed-login by user.name within 10m0s:
// >= 5".
func (c *Correlation) String() string {
	var b strings.Builder
	b.WriteString(c.Kind.String())
	if c.Kind == window.Percentile {
		b.WriteString(" " + strconv.FormatFloat(c.Percent, 'g', -1, 64))
	}
	for i, r := range c.Of {
		b.WriteString([]string{" of ", ", "}[min(i, 1)] + r.Rule)
	}
	for i := range c.Value {
		b.WriteString([]string{" over ", ", "}[min(i, 1)] + c.Value[i].Name)
	}
	for i := range c.GroupBy {
		b.WriteString([]string{" by ", ", "}[min(i, 1)] + c.GroupBy[i].Name)
	}
	b.WriteString(" within " + c.Within.String())
	for i, t := range c.Tests {
		b.WriteString([]string{": ", " and "}[min(i, 1)] + t.String())
	}
	if c.Need != nil {
		b.WriteString(": ")
		c.need(&b, c.Need, 0)
	}
	return b.String()
}

// need writes a condition over what was seen with the rules' names; inner says how it is joined outside.
func (c *Correlation) need(b *strings.Builder, s *window.Seen, outer window.SeenOp) {
	join, wrap := "", false
	switch s.Op {
	case window.SeenThing:
		if s.Slot >= 0 && s.Slot < len(c.Of) {
			b.WriteString(c.Of[s.Slot].Rule)
		}
		return
	case window.SeenNot:
		b.WriteString("not ")
	case window.SeenAll:
		join, wrap = " and ", outer == window.SeenNot
	case window.SeenAny:
		join, wrap = " or ", outer != 0
	}
	if wrap {
		b.WriteString("(")
	}
	for i := range s.Of {
		if i > 0 {
			b.WriteString(join)
		}
		c.need(b, &s.Of[i], s.Op)
	}
	if wrap {
		b.WriteString(")")
	}
}
