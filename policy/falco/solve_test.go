package falco

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// TestCorpusFires makes an event for each rule of the corpus out of what the rule asks for, and sees it fire: what a rule
// compiles to can hold. The rules for which that does not succeed are named here with the reason.
func TestCorpusFires(t *testing.T) {
	rules, _ := New().Compile(corpus(t))
	all := make([]match.Rule, len(rules))
	for i, r := range rules {
		all[i] = match.Rule{Expr: r.Condition, Classes: r.On}
	}
	index := match.NewIndex(all)
	var silent []string
	for _, r := range rules {
		e := solve(r, 4000)
		if e != nil {
			// The index finds what each rule by itself says.
			var m match.Matches
			index.Match(e, &m)
			for i, other := range rules {
				if got := slices.Contains(m.Fired, int32(i)); got != judge(other, e) {
					t.Errorf("an event for %s: the index says %v of %s", r.Name, got, other.Name)
				}
			}
		}
		if e == nil {
			silent = append(silent, r.Name)
		} else if s := r.Sentence(e); s == "" || strings.Contains(s, "%proc") {
			t.Errorf("%s: sentence %q", r.Name, s)
		}
	}
	slices.Sort(silent)
	want := []string{
		"Launch Disallowed Container",             // its macro lets all pass until somebody overrides it
		"Network Connection outside Local Subnet", // its list of namespaces is empty until somebody fills it
	}
	if diff := cmp.Diff(want, silent); diff != "" {
		t.Errorf("rules that no event was found for (-want +got):\n%s", diff)
	}
	t.Logf("%d of %d rules fire", len(rules)-len(silent), len(rules))
}

// solver tries to make an event that a condition holds for. It chooses by chance, and does not know all: what it makes
// is put to the evaluator.
type solver struct {
	r *rand.Rand
	e *signal.Event
}

func solve(r *policy.Rule, tries int) *signal.Event {
	s := &solver{r: rand.New(rand.NewPCG(1, 2)), e: new(signal.Event)}
	for range tries {
		s.e.Reset()
		s.e.Time = 1 << 60
		s.e.Plane = signal.PlaneKernel
		if len(r.On) > 0 {
			s.e.Class = r.On[s.r.IntN(len(r.On))]
		}
		s.e.Activity = [...]uint8{1, 14, 99}[s.r.IntN(3)]
		s.want(r.Condition, true)
		if judge(r, s.e) {
			return s.e
		}
	}
	return nil
}

func (s *solver) want(x match.Expr, yes bool) {
	switch x := x.(type) {
	case match.And:
		s.group(x, yes, yes)
	case match.Or:
		s.group(x, !yes, yes)
	case match.Not:
		s.want(x.Part, !yes)
	case *match.Func:
		if strings.Contains(x.Text, "container.mount.") {
			s.e.SetUnmapped("container.mounts[0]", "/etc:/host/etc:rw:true:rprivate")
		}
	case *match.Atom:
		if yes && match.Eval(x, s.e) != match.Yes {
			s.set(x)
		}
	}
}

// group makes all parts so, or one of them.
func (s *solver) group(parts []match.Expr, all, yes bool) {
	if len(parts) == 0 {
		return
	}
	if !all {
		s.want(parts[s.r.IntN(len(parts))], yes)
		return
	}
	for _, part := range parts {
		s.want(part, yes)
	}
}

// set gives the atom's operand a value that it holds for.
func (s *solver) set(a *match.Atom) {
	o := a.On
	if o.Field.IsHeader() {
		if len(a.Ints) > 0 && o.Field == signal.FieldActivityID {
			s.e.Activity = uint8(a.Ints[0].Min)
		}
		return
	}
	v := ""
	pick := func(n int) int { return s.r.IntN(n) }
	switch {
	case a.Other != nil:
		return
	case len(a.Texts) > 0:
		v = a.Texts[pick(len(a.Texts))]
		old := s.text(o)
		switch a.Op {
		case match.OpPrefix:
			v += old
		case match.OpSuffix, match.OpContains:
			v = old + v
		case match.OpGlob:
			v = strings.NewReplacer("*", "x", "?", "y").Replace(v)
		}
	case len(a.Ints) > 0:
		r := a.Ints[pick(len(a.Ints))]
		n := r.Min
		if n < -1<<40 {
			n = r.Max
		}
		v = fmt.Sprint(n)
	case len(a.Prefixes) > 0:
		p := a.Prefixes[pick(len(a.Prefixes))]
		if v = p.Addr().String(); !p.IsSingleIP() {
			v = p.Addr().Next().String()
		}
	case a.Op == match.OpExists && o.Field.Kind() == signal.KindIP:
		v = "203.0.113.9"
	case a.Op == match.OpExists:
		v = "1"
	case a.Regex != nil:
		v = "/etc/x"
	}
	for _, step := range slices.Backward(o.Steps) {
		switch step {
		case match.StepBasename:
			v = "/opt/" + v
		case match.StepFolder:
			v += "/file"
		case match.StepArgs:
			v = "prog " + v
		}
	}
	if o.Field == 0 {
		s.e.SetUnmapped(o.Attr, v)
		return
	}
	switch o.Field.Kind() {
	case signal.KindString:
		s.e.SetString(o.Field, v)
	case signal.KindStrings:
		list := slices.Clone(s.e.Strings(o.Field))
		for len(list) < o.At {
			list = append(list, "/bin/filler")
		}
		if o.At > 0 {
			list[o.At-1] = v
		} else {
			list = append(list, v)
		}
		s.e.SetStrings(o.Field, list)
	case signal.KindInt:
		n, _ := match.ParseInt(v)
		s.e.SetInt(o.Field, n)
	case signal.KindIP:
		if addr, err := netip.ParseAddr(v); err == nil {
			s.e.SetIP(o.Field, addr)
		}
	}
}

// text returns what the operand is now.
func (s *solver) text(o match.Operand) string {
	var v string
	o.Texts(s.e, func(t string) bool { v = strings.Clone(t); return true })
	return v
}
