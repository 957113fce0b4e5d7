package native

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
	"github.com/testudo-sec/testudo/signal"
)

// The bounds of a rule's tests.
const (
	maxTests = 500
	maxSteps = 2000 // events of one test
)

// testBegin is the time of a test's first event, where it does not say otherwise.
const testBegin = "2026-01-01T00:00:00Z"

func (s *source) tests(r *policy.Rule, n ast.Node) []policy.Test {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		s.Problem(rulefile.TokenOf(n), "begin each test with a dash", "tests must be a list, not %s", rulefile.KindOf(n))
		return nil
	}
	if len(seq.Values) > maxTests {
		s.Problem(rulefile.TokenOf(n), "", "more than %d tests", maxTests)
		return nil
	}
	var all []policy.Test
	names := make(map[string]bool)
	for _, item := range seq.Values {
		pairs, ok := s.Pairs(item, "a test")
		if !ok || !s.Known(pairs, "a test", "name", "class", "event", "events", "fires", "verdict", "orders") {
			continue
		}
		by := make(map[string]rulefile.Pair, len(pairs))
		for _, p := range pairs {
			by[p.Key] = p
		}
		t := policy.Test{Line: rulefile.TokenOf(item).Position.Line}
		if p, ok := by["name"]; ok {
			t.Name = s.oneLine(p, 200)
			if names[t.Name] {
				s.Problem(p.At, "", "two tests of the rule are called %q", policy.Printable(t.Name, 60))
			}
			names[t.Name] = true
		} else {
			s.Problem(rulefile.TokenOf(item), "say in a few words what it shows", "a test has no name")
		}
		class := signal.Class(0)
		if len(r.On) > 0 {
			class = r.On[0]
		}
		if p, ok := by["class"]; ok {
			if v, ok := s.Scalar(p.Value, "class"); ok {
				class, _ = s.class(v)
			}
		}
		if t.Steps = s.steps(item, by, class); t.Steps != nil {
			all = append(all, t)
		}
	}
	return all
}

// steps reads a test's one event, or its list of events; then event holds what they have
// in common.
func (s *source) steps(item ast.Node, by map[string]rulefile.Pair, class signal.Class) []policy.Step {
	var common []rulefile.Pair
	if p, ok := by["event"]; ok {
		if common, ok = s.Pairs(p.Value, "event"); !ok {
			return nil
		}
	}
	begin, _ := time.Parse(time.RFC3339, testBegin)
	list, several := by["events"]
	if !several {
		if _, ok := by["event"]; !ok {
			s.Problem(rulefile.TokenOf(item), "add event: with fields and values", "a test has no event")
			return nil
		}
		step, ok := s.step(item, by, class, begin, common, nil)
		if !ok {
			return nil
		}
		return []policy.Step{step}
	}
	for _, key := range []string{"fires", "verdict", "orders"} {
		if p, ok := by[key]; ok {
			s.Problem(p.At, "move it into the entries of events", "%s beside events is ambiguous", key)
			return nil
		}
	}
	seq, ok := list.Value.(*ast.SequenceNode)
	if !ok || len(seq.Values) == 0 || len(seq.Values) > maxSteps {
		s.Problem(list.At, "", "events must be a list of 1 to %d entries", maxSteps)
		return nil
	}
	var steps []policy.Step
	for _, entry := range seq.Values {
		pairs, ok := s.Pairs(entry, "an entry of events")
		if !ok || !s.Known(pairs, "an entry of events", "at", "class", "event", "fires", "verdict", "orders") {
			return nil
		}
		own := make(map[string]rulefile.Pair, len(pairs))
		for _, p := range pairs {
			own[p.Key] = p
		}
		at := begin
		if p, ok := own["at"]; ok {
			v, ok := s.Scalar(p.Value, "at")
			if !ok {
				return nil
			}
			after, err := time.ParseDuration(v.Text)
			if err != nil && v.Text != "0" {
				s.Problem(v.At, "as in 0s, 90s or 10m", "at must be a duration since the first event, not %q", policy.Printable(v.Text, 60))
				return nil
			}
			at = begin.Add(after)
		}
		var extra []rulefile.Pair
		if p, ok := own["event"]; ok {
			if extra, ok = s.Pairs(p.Value, "event"); !ok {
				return nil
			}
		}
		class := class
		if p, ok := own["class"]; ok {
			if v, ok := s.Scalar(p.Value, "class"); ok {
				class, _ = s.class(v)
			}
		}
		step, ok := s.step(entry, own, class, at, common, extra)
		if !ok {
			return nil
		}
		steps = append(steps, step)
	}
	return steps
}

func (s *source) step(at ast.Node, by map[string]rulefile.Pair, class signal.Class, when time.Time, fields ...[]rulefile.Pair) (policy.Step, bool) {
	step := policy.Step{Line: rulefile.TokenOf(at).Position.Line, Event: new(signal.Event)}
	step.Event.Class, step.Event.Time = class, when.UnixNano()
	ok := true
	for _, list := range fields {
		for _, p := range list {
			ok = s.set(step.Event, p) && ok
		}
	}
	fires, has := by["fires"]
	if !has {
		s.Problem(rulefile.TokenOf(at), "add fires: true or fires: false", "it is not said whether the rule fires")
		return step, false
	}
	step.Fires, has = s.truth(fires.Value, "fires")
	ok = ok && has
	if p, has := by["verdict"]; has {
		v, has := s.Scalar(p.Value, "verdict")
		decision := signal.Allow
		if !has || !s.verdict(v, &decision) {
			return step, false
		}
		step.Decision = &decision
	}
	if p, has := by["orders"]; has {
		items, has := s.Scalars(p.Value, "orders")
		ok = ok && has
		step.Orders = []string{}
		for _, v := range items {
			step.Orders = append(step.Orders, v.Text)
		}
		slices.Sort(step.Orders)
	}
	return step, ok
}

// set sets a field of a test's event as its kind asks for.
func (s *source) set(e *signal.Event, p rulefile.Pair) bool {
	if p.Key == "unmapped" {
		return s.setUnmapped(e, p)
	}
	name := rulefile.Scalar{Text: p.Key, At: p.At}
	f := s.field(name, p.Key)
	if f == 0 {
		return false
	}
	if f.Kind() == signal.KindStrings {
		items, ok := s.Scalars(p.Value, p.Key)
		if !ok {
			return false
		}
		list := make([]string, len(items))
		for i, v := range items {
			list[i] = v.Text
		}
		e.SetStrings(f, list)
		return true
	}
	v, ok := s.Scalar(p.Value, p.Key)
	if !ok {
		return false
	}
	if f.IsHeader() {
		return s.setHeader(e, f, v)
	}
	var err error
	switch f.Kind() {
	case signal.KindString:
		e.SetString(f, v.Text)
	case signal.KindInt:
		var i int64
		if i, err = strconv.ParseInt(v.Text, 0, 64); err == nil {
			e.SetInt(f, i)
		}
	case signal.KindBool:
		b, ok := s.truth(p.Value, p.Key)
		if !ok {
			return false
		}
		e.SetBool(f, b)
	case signal.KindFloat:
		var x float64
		if x, err = strconv.ParseFloat(v.Text, 64); err == nil {
			e.SetFloat(f, x)
		}
	case signal.KindIP:
		var a netip.Addr
		if a, err = netip.ParseAddr(v.Text); err == nil {
			e.SetIP(f, a)
		}
	case signal.KindTime:
		var t time.Time
		if t, err = time.Parse(time.RFC3339Nano, v.Text); err == nil {
			e.SetTime(f, t)
		}
	}
	if err != nil {
		s.Problem(v.At, kindHint(f.Kind()), "%s is of kind %v, and %q is none", p.Key, f.Kind(), policy.Printable(v.Text, 60))
	}
	return err == nil
}

// setUnmapped sets the attributes of a test's event that have no field.
func (s *source) setUnmapped(e *signal.Event, p rulefile.Pair) bool {
	attrs, ok := s.Pairs(p.Value, "unmapped")
	for _, a := range attrs {
		v, has := s.Scalar(a.Value, a.Key)
		if !has {
			return false
		}
		if !e.SetUnmapped(a.Key, v.Text) {
			s.Problem(a.At, "", "more than %d attributes", signal.MaxUnmapped)
			return false
		}
	}
	return ok
}

func kindHint(k signal.Kind) string {
	switch k {
	case signal.KindIP:
		return "as in 203.0.113.9 or 2001:db8::1"
	case signal.KindTime:
		return "as in 2026-01-31T08:30:00Z"
	}
	return ""
}

// setHeader sets an attribute that every event has.
func (s *source) setHeader(e *signal.Event, f signal.Field, v rulefile.Scalar) bool {
	var err error
	switch f {
	case signal.FieldTime:
		var t time.Time
		if t, err = time.Parse(time.RFC3339Nano, v.Text); err == nil {
			e.Time = t.UnixNano()
		}
	case signal.FieldActivityID, signal.FieldSeverityID:
		var i uint64
		if i, err = strconv.ParseUint(v.Text, 10, 8); err == nil {
			if f == signal.FieldActivityID {
				e.Activity = uint8(i)
			} else {
				e.Severity = signal.Severity(i)
			}
		}
	case signal.FieldMetadataLogProvider:
		e.Plane, err = signal.ParsePlane(v.Text)
	case signal.FieldMetadataUID:
		e.ID, err = signal.ParseID(v.Text)
	case signal.FieldMetadataCorrelationUID:
		e.Parent, err = signal.ParseID(v.Text)
	default:
		s.Problem(v.At, "leave it out; class says which class the event is of", "%s cannot be set in a test", f)
		return false
	}
	if err != nil {
		s.Problem(v.At, kindHint(f.Kind()), "%q is no value for %s", policy.Printable(v.Text, 60), f)
	}
	return err == nil
}
