package policy

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// firing is a rule that fires on an event, and what completed its window where it is a correlation.
type firing struct {
	rule      int
	completed *window.Completion
}

// pending is a correlation that is yet to be fed with an event.
type pending struct {
	link   int
	refs   uint64 // the rules of Of that fired, a bit each
	behind []signal.ID
}

// fold adds an event on which these rules fire to the windows of the correlations that they feed, and
// returns the rules with the correlations that it completes. Wants says whose windows are
// folded, by rule; nil is all.
func (b *bound) fold(e *signal.Event, fired []firing, wants func(rule int) bool) []firing {
	var todo []pending
	push := func(f firing) {
		for _, to := range b.set.links.feeds[f.rule] {
			at := slices.IndexFunc(todo, func(p pending) bool { return p.link == to.link })
			if at < 0 {
				at = len(todo)
				todo = append(todo, pending{link: to.link})
			}
			todo[at].refs |= 1 << to.ref
			if f.completed != nil {
				for _, id := range f.completed.IDs {
					if id != e.ID {
						todo[at].behind = append(todo[at].behind, id)
					}
				}
			}
		}
	}
	for _, f := range fired {
		push(f)
	}
	for len(todo) > 0 {
		// A correlation stands behind those that feed it: the first one is complete.
		first := 0
		for i := range todo {
			if todo[i].link < todo[first].link {
				first = i
			}
		}
		p := todo[first]
		todo = slices.Delete(todo, first, first+1)
		rule := b.set.links.all[p.link].rule
		if wants != nil && !wants(rule) {
			continue
		}
		if c, ok := b.feed(e, &p); ok {
			f := firing{rule: rule, completed: &c}
			fired = append(fired, f)
			push(f)
		}
	}
	return fired
}

// feed adds the event to the window of one correlation, once for each group that it belongs to.
func (b *bound) feed(e *signal.Event, p *pending) (done window.Completion, ok bool) {
	k := &b.set.links.all[p.link]
	w := b.state[k.rule].window
	event := window.Event{Time: e.Time, ID: e.ID, Behind: p.behind}
	if !k.apart {
		event.Slots = p.refs
		if !k.read(e, bits.TrailingZeros64(p.refs), &event) {
			w.Skip()
			return done, false
		}
		return w.Add(&event)
	}
	// The rules read their groups from different places: an event may belong to several.
	var each []window.Event
	for refs := p.refs; refs != 0; refs &= refs - 1 {
		ref := bits.TrailingZeros64(refs)
		one := event
		if !k.read(e, ref, &one) {
			w.Skip()
			continue
		}
		at := slices.IndexFunc(each, func(o window.Event) bool { return o.Key == one.Key && o.Value == one.Value && o.Number == one.Number })
		if at < 0 {
			at = len(each)
			each = append(each, one)
		}
		each[at].Slots |= 1 << ref
	}
	for i := range each {
		if c, complete := w.Add(&each[i]); complete && !ok {
			done, ok = c, true
		}
	}
	return done, ok
}

// read reads the group and the value of an event of the rule at that index of Of. It reports whether they are
// all there.
func (k *link) read(e *signal.Event, ref int, into *window.Event) bool {
	var buf [256]byte
	key := buf[:0]
	for i := range k.GroupBy {
		text, ok := k.GroupBy[i].of(ref).Text(e)
		if !ok {
			return false
		}
		key = appendPart(key, text)
	}
	into.Key = string(key)
	if k.Kind.HasNumber() {
		var ok bool
		into.Number, ok = k.Value[0].of(ref).number(e)
		return ok
	}
	if len(k.Value) == 0 {
		return true
	}
	value := buf[:0]
	for i := range k.Value {
		text, ok := k.Value[i].of(ref).Text(e)
		if !ok {
			return false
		}
		value = appendPart(value, text)
	}
	into.Value = string(value)
	return true
}

// appendPart appends a text with its length before it, so that "a", "bc" is not "ab", "c".
func appendPart(b []byte, text string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}

// Text returns the operand's value in an event in its recorded form; false where the event has none, or an empty
// one.
func (o Operand) Text(e *signal.Event) (string, bool) {
	if o.Field != 0 && !match.Added(o.Field) { // the record has more than was judged
		if text := e.RecordedText(o.Field); text != "" {
			return text, true
		}
	}
	if o.Attr != "" {
		for _, a := range e.UnmappedAttrs() {
			if a.Value != "" && match.AttrIs(a.Name, o.Attr) {
				return a.Value, true
			}
		}
	}
	return "", false
}

// number returns the operand's value in an event as a number; false where it is none.
func (o Operand) number(e *signal.Event) (float64, bool) {
	text, ok := o.Text(e)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return v, err == nil
}

// because says in words what completed a correlation that has no sentence of its own.
func (c *Correlation) because(e *signal.Event, done *window.Completion) string {
	var b strings.Builder
	what := c.Kind.String() + " " + shortNumber(done.Number)
	if c.Kind.HasSlots() {
		what = shortNumber(done.Number) + " of its rules"
	}
	fmt.Fprintf(&b, "%s within %v", what, time.Duration(done.Last-done.First).Round(time.Millisecond))
	for i := range c.GroupBy {
		if text, ok := c.GroupBy[i].From.Text(e); ok {
			fmt.Fprintf(&b, ", %s %s", c.GroupBy[i].Name, Printable(text, 120))
		}
	}
	return b.String()
}

// proof returns what completed a correlation: the window's number and the group, in recorded forms.
func (c *Correlation) proof(e *signal.Event, done *window.Completion) []signal.Evidence {
	what := c.String()
	all := []signal.Evidence{{Name: Printable(what, 300), Value: shortNumber(done.Number)}}
	for i := range c.GroupBy {
		if text, ok := c.GroupBy[i].From.Text(e); ok && len(all) < maxProof {
			all = append(all, signal.Evidence{Name: c.GroupBy[i].Name, Value: Printable(text, 120)})
		}
	}
	return all
}

func shortNumber(v float64) string { return strconv.FormatFloat(v, 'g', 6, 64) }

// explain says which of the rules that feed a correlation fire on the event. Whether the correlation does
// depends on the events before it, which the record of the verdict tells.
func (s *Set) explainCorrelation(e *signal.Event, r *Rule, x *Explanation) {
	x.Fires = slices.Contains(e.Strings(signal.FieldVerdictRules), r.ID)
	x.Because = append(x.Because, "it fires on what other rules match over time: "+Printable(r.Correlation.String(), 500))
	for _, of := range s.closure(r) {
		if of == r || of.Correlation != nil {
			continue
		}
		sub, ok := s.Explain(e, of.ID)
		if !ok {
			continue
		}
		word := "does not fire"
		if sub.Fires {
			word = "fires"
		}
		x.Because = append(x.Because, fmt.Sprintf("rule %s %s on this event", of.ID, word))
		x.Inexact = append(x.Inexact, sub.Inexact...)
	}
}
