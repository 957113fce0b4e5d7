package sigma

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// FuzzCondition holds the parser to a property: what it accepts, written out again, is accepted and answers alike
// whatever the selections say.
func FuzzCondition(f *testing.F) {
	for _, seed := range []string{"a", "a and b or not c", "1 of a*", "all of them", "not (a or (b and c))", "any of *", "a | count() > 3", "((((", "1 of", "not not a", "a\nor b"} {
		f.Add(seed)
	}
	names := []string{"a", "b", "c", "a_1", "_x"}
	f.Fuzz(func(t *testing.T, text string) {
		c, fault := parseCondition(text, names)
		if fault != nil {
			if fault.offset < 0 || fault.offset > len(text) || fault.message == "" {
				t.Fatalf("%q: a fault at %d: %q", text, fault.offset, fault.message)
			}
			return
		}
		var b strings.Builder
		c.write(&b)
		again, fault := parseCondition(b.String(), names)
		if fault != nil {
			t.Fatalf("%q is written as %q, which is refused: %s", text, b.String(), fault.message)
		}
		for set := range 1 << len(names) {
			holds := func(name string) bool {
				for i, n := range names {
					if n == name {
						return set>>i&1 != 0
					}
				}
				t.Fatalf("%q asks for %q", text, name)
				return false
			}
			if c.holds(holds) != again.holds(holds) {
				t.Fatalf("%q and %q answer differently", text, b.String())
			}
			x := c.expr(func(name string) match.Expr { return match.Const(holds(name)) })
			if got := match.Eval(match.Simplify(x), &signal.Event{}) == match.Yes; got != c.holds(holds) {
				t.Fatalf("%q: the expression says %v", text, got)
			}
		}
	})
}

func (c condition) write(b *strings.Builder) {
	switch c.op {
	case opName:
		b.WriteString(c.name)
		return
	case opNot:
		b.WriteString("not ")
	}
	b.WriteString("(")
	for i := range c.of {
		if i > 0 {
			b.WriteString(map[conditionOp]string{opAnd: " and ", opOr: " or "}[c.op])
		}
		c.of[i].write(b)
	}
	b.WriteString(")")
}

// FuzzPattern holds values to properties: the operator that a pattern becomes says the same as the pattern walked
// character by character, and a text with every special character escaped is equal to itself alone.
func FuzzPattern(f *testing.F) {
	for _, seed := range [][2]string{{`*\cmd.exe`, `C:\cmd.exe`}, {`a\*b`, `a*b`}, {`a\\*`, `a\x`}, {`\\\\?\\`, `\\x\`}, {`*a*`, "bab"}, {"?", "ß"}, {"", ""}, {`\`, `\`}, {"a?c*", "abcd"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		if len(text) > 100 || len(value) > 100 || strings.ToValidUTF8(value, "") != value || strings.ToValidUTF8(text, "") != text {
			return
		}
		ask := func(p pattern, v string) bool {
			e := &signal.Event{}
			e.AddUnmapped("F", v)
			var all match.Or
			all = append(all, textAtoms(match.Operand{Attr: "F"}, false, []pattern{p})...)
			if len(p) == 0 {
				all = append(all, match.Text(match.Operand{Attr: "F"}, match.OpEqual, false, ""))
			}
			return match.Eval(match.Simplify(all), e) == match.Yes
		}
		p := parsePattern(text)
		if got, want := ask(p, value), walk(p, value); got != want {
			t.Fatalf("%q on %q: %v, walked %v (%v)", text, value, got, want, p)
		}
		escaped := strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(value)
		if q := parsePattern(escaped); !ask(q, value) || ask(q, value+"x") {
			t.Fatalf("%q does not stand for %q alone", escaped, value)
		}
	})
}

// walk says by definition whether a pattern fits all of a text.
func walk(p pattern, s string) bool {
	if len(p) == 0 {
		return s == ""
	}
	switch p[0].what {
	case literal:
		rest, ok := strings.CutPrefix(s, p[0].text)
		return ok && walk(p[1:], rest)
	case one:
		for i := range s {
			if i > 0 {
				return walk(p[1:], s[i:])
			}
		}
		return s != "" && walk(p[1:], "")
	}
	for i := range s {
		if walk(p[1:], s[i:]) {
			return true
		}
	}
	return walk(p[1:], "")
}

// FuzzFile holds whole files to what a loader relies on: no file makes the dialect panic or hang, a file without a rule
// has a problem, problems have places in the file, and what loads loads alike again and judges.
func FuzzFile(f *testing.F) {
	f.Add("title: T\nlogsource: {product: x}\ndetection:\n  sel:\n    A|contains|windash: [' -a', '*b']\n    B|re|i: '^x'\n  kw: [a, b]\n  condition: sel and not 1 of kw\n")
	f.Add(twoBases + "title: C\ncorrelation: {type: temporal, rules: [failed, success], group-by: [A], timespan: 5m, condition: failed and not success}\n")
	f.Add(twoBases + "title: F\nlogsource: {product: windows}\nfilter: {rules: any, s: {A: 1}, condition: not s}\n")
	f.Add("a: &a [*a, *a]\ntitle: T\n")
	f.Add("a: &a {b: 1}\nlogsource: *a\ndetection: {s: [*a, *a, *a], condition: s}\ntitle: T\n")
	f.Add(strings.Repeat("[", 500))
	f.Add(strings.Repeat("- ", 500))
	f.Add("detection:\n\tx")
	f.Add("title: T\nlogsource: {category: dns_query}\ndetection: {s: {QueryName|base64offset|contains: 'abc', F|hour|gt: 3, G|cidr: 10.0.0.0/8, H|fieldref|neq: A, I: null, J|exists: true}, condition: s}\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<16 {
			return
		}
		files := []policy.File{{Name: "f.yml", Text: []byte(text)}}
		rules, problems := New(Config{}).Compile(files)
		if len(rules) == 0 && len(problems) == 0 && !strings.Contains(text, "filter") {
			t.Fatal("neither a rule nor a problem")
		}
		lines := 2
		for _, c := range text { // YAML's line breaks; the parser counts the end as one too
			if strings.ContainsRune("\n\r\u0085\u2028\u2029", c) {
				lines++
			}
		}
		for _, p := range problems {
			if p.File != "f.yml" || p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Fatalf("%+v", p)
			}
		}
		again, _ := New(Config{}).Compile(files)
		if len(again) != len(rules) {
			t.Fatalf("%d rules, then %d", len(rules), len(again))
		}
		for i, r := range rules {
			if r.ID == "" || r.Title == "" || r.Condition == nil && r.Correlation == nil || again[i].ID != r.ID || again[i].When != r.When {
				t.Fatalf("%+v", r)
			}
			if r.Condition != nil {
				e := attrs("A=1", "B=x")
				if match.Eval(r.Condition, e) != match.Eval(again[i].Condition, e) {
					t.Fatal("two loads judge differently")
				}
			}
		}
	})
}
