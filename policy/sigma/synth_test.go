package sigma

import (
	"math/rand/v2"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// synth makes an event that a condition holds for, from the condition's own positive atoms: it takes one way through
// every Or, gathers what is asked of each operand, and writes a value that fits all of it.
type synth struct {
	random *rand.Rand
	wants  map[string]*want
	order  []*want
	denied []match.Operand // of negated parts: what they ask about may have to be there
}

// want is what is asked of one operand.
type want struct {
	on     match.Operand
	equal  *string
	prefix string
	suffix string
	inside []string
	copyOf *match.Operand // fieldref
	copyOp match.Op

	padding bool // whether something stands around what is asked for
}

func (s *synth) want(o match.Operand) *want {
	key := o.String() + "|" + strconv.FormatBool(o.Any)
	w := s.wants[key]
	if w == nil {
		w = &want{on: o, padding: s.random.IntN(2) == 0}
		s.wants[key], s.order = w, append(s.order, w)
	}
	return w
}

func (s *synth) take(x match.Expr) {
	switch x := x.(type) {
	case match.And:
		for _, part := range x {
			s.take(part)
		}
	case match.Or:
		s.take(x[s.random.IntN(len(x))])
	case match.Not:
		s.denied = append(s.denied, match.Operands(x.Part)...)
	case *match.Atom:
		s.atom(x)
	}
}

func (s *synth) atom(a *match.Atom) {
	w := s.want(a.On)
	pick := func() string { return a.Texts[s.random.IntN(len(a.Texts))] }
	switch {
	case a.Other != nil:
		w.copyOf, w.copyOp = a.Other, a.Op
		return
	case a.Op == match.OpInt:
		r := a.Ints[s.random.IntN(len(a.Ints))]
		if r.Min < 0 {
			r.Min = r.Max
		}
		w.set(strconv.FormatInt(r.Min, 10))
		return
	case a.Op == match.OpNumber:
		r := a.Numbers[s.random.IntN(len(a.Numbers))]
		v := 0.0
		for _, v = range []float64{r.Min, r.Max, r.Min + 1, r.Max - 1, 0} {
			if r.Has(v) {
				break
			}
		}
		w.set(strconv.FormatFloat(v, 'f', -1, 64))
		return
	case a.Op == match.OpCIDR:
		w.set(a.Prefixes[s.random.IntN(len(a.Prefixes))].Addr().String())
		return
	case a.Op == match.OpRegex:
		tree, _ := syntax.Parse(a.Regex.String(), syntax.Perl)
		text := s.regex(tree.Simplify())
		if strings.HasPrefix(a.Regex.String(), "^") || strings.HasSuffix(a.Regex.String(), "$") {
			w.set(text)
		} else {
			w.inside = append(w.inside, text)
		}
		return
	}
	switch a.Op {
	case match.OpEqual:
		w.set(pick())
	case match.OpPrefix:
		w.prefix = longer(w.prefix, pick())
	case match.OpSuffix:
		w.suffix = longer(w.suffix, pick())
	case match.OpContains:
		w.inside = append(w.inside, pick())
	case match.OpGlob:
		pattern := pick()
		var b strings.Builder
		for i := 0; i < len(pattern); i++ {
			switch pattern[i] {
			case '*':
			case '?':
				b.WriteByte('q')
			case '\\':
				i++
				b.WriteByte(pattern[i])
			default:
				b.WriteByte(pattern[i])
			}
		}
		switch before, behind := strings.HasPrefix(pattern, "*"), openEnd(pattern); {
		case before && behind:
			w.inside = append(w.inside, b.String())
		case before:
			w.suffix = longer(w.suffix, b.String())
		case behind:
			w.prefix = longer(w.prefix, b.String())
		default:
			w.set(b.String())
		}
	}
}

// openEnd reports whether a pattern ends with a star that is not escaped.
func openEnd(pattern string) bool {
	rest, star := strings.CutSuffix(pattern, "*")
	return star && (len(rest)-len(strings.TrimRight(rest, `\`)))%2 == 0
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

func (w *want) set(s string) { w.equal = &s }

// regex writes a text that a regular expression fits.
func (s *synth) regex(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			return ""
		}
		for i := 0; i+1 < len(re.Rune); i += 2 { // a printable character where there is one
			if re.Rune[i+1] > ' ' {
				return string(max(re.Rune[i], '!'))
			}
		}
		return string(re.Rune[0])
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpCapture, syntax.OpPlus:
		return s.regex(re.Sub[0])
	case syntax.OpRepeat:
		return strings.Repeat(s.regex(re.Sub[0]), max(re.Min, 1))
	case syntax.OpConcat:
		var b strings.Builder
		for _, sub := range re.Sub {
			b.WriteString(s.regex(sub))
		}
		return b.String()
	case syntax.OpAlternate:
		return s.regex(re.Sub[s.random.IntN(len(re.Sub))])
	}
	return ""
}

func (w *want) text() string {
	if w.equal != nil {
		return *w.equal
	}
	inside := strings.Join(w.inside, " ")
	text := w.prefix + inside + w.suffix
	if strings.HasSuffix(w.prefix, w.suffix) && inside == "" {
		text = w.prefix
	}
	if text == "" {
		text = "x"
	}
	if w.prefix == "" && w.padding {
		text = `Q:\qq ` + text
	}
	if w.suffix == "" && w.padding {
		text += " qq"
	}
	return text
}

// event writes what is wanted: into the field where the value fits its kind, else under the name.
func (s *synth) event() *signal.Event {
	e := &signal.Event{}
	texts := make(map[string]string)
	for round := range 2 {
		for _, w := range s.order {
			if (w.copyOf != nil) != (round == 1) {
				continue
			}
			text := w.text()
			if w.copyOf != nil {
				other, ok := texts[w.copyOf.String()]
				if !ok {
					if other = text; w.text() == "x" {
						other = "same"
					}
					put(e, *w.copyOf, other)
					texts[w.copyOf.String()] = other
				}
				text = w.prefix + other + w.suffix
			}
			texts[w.on.String()] = text
			put(e, w.on, text)
		}
	}
	for _, o := range s.denied {
		if _, wanted := texts[o.String()]; !wanted && s.random.IntN(2) == 0 && !o.Any {
			put(e, o, []string{"zzz", `C:\zzz\zzz.exe`, "203.0.113.77", "65001"}[s.random.IntN(4)])
		}
	}
	return e
}

func put(e *signal.Event, o match.Operand, text string) {
	switch o.Field {
	case signal.FieldClassUID:
		n, _ := strconv.Atoi(text)
		e.Class = signal.Class(n)
		return
	case signal.FieldActivityID:
		n, _ := strconv.Atoi(text)
		e.Activity = uint8(n)
		return
	case signal.FieldMetadataLogProvider:
		e.Plane = signal.PlaneEdge
		return
	}
	switch o.Field.Kind() {
	case signal.KindString:
		e.SetString(o.Field, text)
		return
	case signal.KindStrings:
		e.SetStrings(o.Field, []string{text})
		return
	case signal.KindInt:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			e.SetInt(o.Field, n)
			return
		}
	case signal.KindIP:
		if a, err := netip.ParseAddr(text); err == nil {
			e.SetIP(o.Field, a)
			return
		}
	}
	name := o.Attr
	if o.Any {
		name = "any"
	}
	if name != "" {
		e.AddUnmapped(name, text)
	}
}

// eventFor makes an event that the rule fires on, or none after many tries.
func eventFor(r *policy.Rule) *signal.Event {
	for try := range uint64(300) {
		s := &synth{random: rand.New(rand.NewPCG(1, try)), wants: make(map[string]*want)}
		s.take(r.Condition)
		if e := s.event(); fires(r, e) {
			return e
		}
	}
	return nil
}

// TestCorpusFires makes for every public rule an event from what the rule asks for, and judges it: by the rule alone, and
// by an index over all of them, which must name the same rules as all of them asked one by one (for some of the
// events: that is what the index is there to avoid).
func TestCorpusFires(t *testing.T) {
	rules, _ := New(Config{}).Compile(corpus(t))
	all := make([]match.Rule, len(rules))
	for i, r := range rules {
		all[i] = match.Rule{Expr: r.Condition, Classes: r.On}
	}
	index := match.NewIndex(all)
	var found match.Matches
	fired, compared := 0, 0
	for i, r := range rules {
		e := eventFor(r)
		if why := notMade[r.File]; (why != "") != (e == nil) {
			t.Errorf("%s: an event was made: %v; listed as not to be made: %q", r.File, e != nil, why)
		}
		if e == nil {
			continue
		}
		fired++
		index.Match(e, &found)
		if !slices.Contains(found.Fired, int32(i)) {
			t.Errorf("%s fires, and the index does not find it", r.File)
		}
		if i%50 != 0 {
			continue
		}
		compared++
		var want []int32
		for k, other := range rules {
			if fires(other, e) {
				want = append(want, int32(k))
			}
		}
		if d := cmp.Diff(want, found.Fired); d != "" {
			t.Errorf("on the event of %s the index and the rules differ: %s", r.File, d)
		}
	}
	t.Logf("%d of %d rules fire on an event made from their own atoms; %d of the events were judged by every rule", fired, len(rules), compared)
}

// notMade lists the rules that no event can be made for, and why.
var notMade = map[string]string{
	"rules/windows/process_creation/proc_creation_win_xwizard_runwizard_com_object_exec.yml": "asks for a CommandLine that is RunWizard and holds a GUID: nothing is both",
}
