package match

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// dice chooses a number from 0 to n-1: drawn by rapid, read from a fuzzer's bytes, or random.
type dice func(n int) int

func (d dice) chance(percent int) bool { return d(100) < percent }

func pick[T any](d dice, from []T) T { return from[d(len(from))] }

// randomFields are of every kind, those of the header among them.
var randomFields = []signal.Field{
	signal.FieldProcessCmdLine, signal.FieldProcessCmdLine, signal.FieldFilePath, signal.FieldUserName, // strings
	signal.FieldResourcesName, signal.FieldOpenFlags, // lists
	signal.FieldAPIResponseCode, signal.FieldRcodeID, // ints
	signal.FieldIsMFA, signal.FieldSrcEndpointIP, signal.FieldDstEndpointIP, signal.FieldQueryTime,
	signal.FieldClassUID, signal.FieldSeverityID, signal.FieldMetadataLogProvider, signal.FieldMetadataUID, signal.FieldTime,
	signal.FieldMetadataLogProduct, signal.FieldFirewallRuleUID,
}

var randomAttrs = []string{"a", "a.b", "a.items.cidr", "x[y", "a]", "EventID", "a[0]", ""}

// attrSpellings are names in events, with indexes and with brackets that are none.
var attrSpellings = []string{"a", "a[0]", "a.b", "a[12].b", "a.items[0].cidr", "a.items[1].cidr", "a.items.cidr", "a.items[].cidr", "x[y", "x[y[3]", "x[3][y", "a]", "a[1]]", "EventID", "other", "[0]", "a[x]", "a[0"}

// words overlap each other, differ in case only, fold into each other, are no UTF-8, look like numbers, paths,
// addresses, encodings.
var words = []string{
	"", "a", "A", "b", "ab", "aB", "AB", "abc", "abcd", "ABCD", "abcde", "abcdeabcd", "bcd", "bcde", "aaaa", "aaaaa", "aaaaaaaaaaaa",
	`\cmd.exe`, `cmd.exe`, `\CMD.EXE`, `.exe`, `c:\windows\system32\cmd.exe`, `c:\Windows\`, "powershell -enc", "-enc", " -e", "e",
	"k", "K", "\u212a", "s", "S", "ſ", "i", "İ", "ı", "é", "É", "\xc3", "\xa9", "\x89", "\xff", "ß", "ẞ", "Σ", "ς", "σ", "Ǆ", "ǅ", "ǆ", "µ", "μ", "\ufffd", "mas\u212a", "maſk", "mask", "MASK",
	"/", "/etc", "/etc/", "/etc/passwd", "/etcetera", "/usr/bin/curl", "curl http://x", "//",
	"0", "1", "-3", "42", "042", "+1", "3.5", "1e3", "9223372036854775807", "-9223372036854775808", "99999999999999999999", "4688",
	"10.0.0.1", "10.0.0.0", "192.168.7.9", "::1", "::ffff:10.0.0.1", "fe80::1%eth0", "2001:db8::5",
	"true", "false", "TRUE", "windows", "Windows", "%41", "%zz", "a%2fb", "YWJjZA==", "YWJjZA", "!!",
	"*", "?", `\`, `\*`, "a*c", "linux", "2026-01-02T03:04:05Z", strings.Repeat("long ", 20), strings.Repeat("x", 70) + "y",
}

func (d dice) text() string {
	switch d(4) {
	case 0, 1:
		return pick(d, words)
	case 2:
		return pick(d, words) + pick(d, words)
	}
	return pick(d, words) + pick(d, words) + pick(d, words) + pick(d, words)
}

// near returns a text that has one of the constants in it, begins or ends with it, or nearly so.
func (d dice) near(constants []string) string {
	if len(constants) == 0 || d.chance(25) {
		return d.text()
	}
	c := pick(d, constants)
	switch d(8) {
	case 0:
		return c
	case 1:
		return c + d.text()
	case 2:
		return d.text() + c
	case 3:
		return d.text() + c + d.text()
	case 4:
		return strings.ToUpper(c)
	case 5:
		return d.text() + strings.ToUpper(c) + pick(d, constants)
	case 6: // a byte short, a byte other
		if c != "" {
			at := d(len(c))
			return c[:at] + pick(d, []string{"", "a", "\xff", "K"}) + c[at+1:]
		}
	}
	return c + pick(d, constants)
}

func (d dice) texts() []string {
	n := 1 + d(3)
	if d.chance(15) {
		n = 8 + d(8)
	}
	if d.chance(3) {
		n = 0
	}
	out := make([]string, n)
	for i := range out {
		out[i] = d.text()
	}
	return out
}

func (d dice) operand(loop bool) Operand {
	var o Operand
	switch k := d(20); {
	case loop && k < 12:
		o.Elem = true
	case k < 12:
		o.Field = pick(d, randomFields)
	case k < 16:
		o.Attr = pick(d, randomAttrs)
	case k < 18:
		o.Field, o.Attr = pick(d, randomFields), pick(d, randomAttrs)
	default:
		o.Any = true
	}
	if d.chance(15) {
		o.At = d(4)
	}
	for d.chance(15) && len(o.Steps) < 3 {
		o.Steps = append(o.Steps, Step(1+d(int(StepCommand))))
	}
	if d.chance(10) {
		o.Measure = Measure(d(int(MeasureRunes) + 1))
	}
	return o
}

func (d dice) int() int64 {
	return pick(d, []int64{0, 1, -3, 3, 4, 42, 4688, 1007, 4002, 200, 9223372036854775807, -9223372036854775808, 70, 1767225600e9})
}

func (d dice) number() float64 {
	return pick(d, []float64{0, 1, -3, 3.5, 1000, 42, 4688, -0.5})
}

var prefixTexts = []string{"10.0.0.0/8", "10.0.0.1/32", "192.168.0.0/16", "0.0.0.0/0", "::/0", "::1/128", "2001:db8::/32", "fe80::/10", "::ffff:0:0/96"}

func (d dice) glob() string {
	var b strings.Builder
	for range 1 + d(4) {
		b.WriteString(pick(d, []string{"*", "?", "*", "", `\*`}))
		if d.chance(60) {
			b.WriteString(GlobEscape(pick(d, words)))
		}
	}
	return b.String()
}

func (d dice) regex() *regexp.Regexp {
	for {
		var b strings.Builder
		if d.chance(40) {
			b.WriteString("(?i)")
		}
		for range 1 + d(3) {
			switch d(7) {
			case 0, 1, 2:
				b.WriteString(regexp.QuoteMeta(pick(d, words)))
			case 3:
				b.WriteString("(" + regexp.QuoteMeta(pick(d, words)) + "|" + regexp.QuoteMeta(pick(d, words)) + ")" + pick(d, []string{"", "+", "*", "?", "{2}"}))
			case 4:
				b.WriteString(pick(d, []string{".*", ".", "[a-e]+", "[a-e]{9,}", `\d+`, "^", "$", `\b`, "[^a]", "(?s:.)"}))
			case 5:
				b.WriteString("(?:" + regexp.QuoteMeta(pick(d, words)) + ")?")
			case 6:
				b.WriteString(pick(d, []string{"mask", "abcd", "maſk", "ma[sk]k", "(?i:MASK)", "kilo", "[abK]", "a[bc]d", "(a|b)[cd]", "(?:ab|cd)(?:e|f)?"}))
			}
		}
		if re, err := regexp.Compile(b.String()); err == nil {
			return re
		}
	}
}

func (d dice) atom(loop bool) *Atom {
	a := &Atom{On: d.operand(loop), Op: Op(d(int(OpCompare) + 1)), Fold: d.chance(50)}
	switch a.Op {
	case OpExists:
		a.Fold = false
	case OpInt:
		a.Fold = false
		for range d(4) {
			r := IntRange{d.int(), d.int()}
			if d.chance(60) {
				r.Max = r.Min
			}
			a.Ints = append(a.Ints, r)
		}
	case OpNumber:
		a.Fold = false
		for range d(4) {
			a.Numbers = append(a.Numbers, pick(d, NumberOrder(Order(d(6)), d.number())))
		}
		if d.chance(20) {
			a.Numbers = append(a.Numbers, NumberRange{Min: d.number(), Max: d.number(), MinOpen: d.chance(50), MaxOpen: d.chance(50)})
		}
	case OpCIDR:
		a.Fold = false
		for range d(4) {
			a.Prefixes = append(a.Prefixes, netip.MustParsePrefix(pick(d, prefixTexts)))
		}
	case OpCompare:
		other := d.operand(loop)
		a.Fold, a.Other, a.Order = false, &other, Order(d(6))
	case OpRegex:
		a.Fold, a.Regex = false, d.regex()
	case OpGlob:
		var patterns []string
		for range 1 + d(3) {
			patterns = append(patterns, d.glob())
		}
		return Text(a.On, OpGlob, a.Fold, patterns...)
	default:
		if a.Op <= OpContains && d.chance(5) {
			other := d.operand(loop)
			a.Other = &other
			return a
		}
		texts := d.texts()
		if a.Op == OpPathPrefix {
			for i := range texts {
				texts[i] = strings.TrimRight(texts[i], "/")
			}
		}
		return Text(a.On, a.Op, a.Fold, texts...)
	}
	return a
}

// call is a function that answers, and faults, by what is in the event.
func (d dice) call() *Func {
	f, k := pick(d, randomFields), d(3)
	return &Func{Text: fmt.Sprintf("f%d(%s)", k, f), Fields: []signal.Field{f}, Call: func(e *signal.Event) Answer {
		if !e.Has(f) {
			return Fault
		}
		return Answer((len(e.Str(f)) + int(e.Int(f)&3) + k) % 3)
	}}
}

func (d dice) expr(depth int, loop bool, known *[]Expr) Expr {
	if len(*known) > 0 && !loop && d.chance(15) {
		return pick(d, *known) // parts that rules share, as those of macros
	}
	var x Expr
	switch k := d(20); {
	case depth <= 0 || k < 8:
		x = d.atom(loop)
	case k < 12:
		x = And(d.parts(depth, loop, known))
	case k < 15:
		x = Or(d.parts(depth, loop, known))
	case k < 17:
		x = Not{d.expr(depth-1, loop, known)}
	case k < 18 && !loop:
		list := d.operand(false)
		x = &Loop{List: list, Every: d.chance(30), Body: d.expr(depth-1, true, known)}
	case k < 19:
		x = d.call()
	default:
		x = Const(d.chance(50))
	}
	if !loop {
		*known = append(*known, x)
	}
	return x
}

func (d dice) parts(depth int, loop bool, known *[]Expr) []Expr {
	parts := make([]Expr, d(5))
	for i := range parts {
		parts[i] = d.expr(depth-1, loop, known)
	}
	return parts
}

var randomClasses = []signal.Class{signal.ClassProcessActivity, signal.ClassHTTPActivity, signal.ClassFileActivity, signal.ClassBaseEvent}

func (d dice) rules() []Rule {
	var known []Expr
	rules := make([]Rule, 1+d(25))
	for i := range rules {
		rules[i].Expr = d.expr(4, false, &known)
		for range 3 {
			if c := pick(d, randomClasses); d.chance(30) && !slices.Contains(rules[i].Classes, c) {
				rules[i].Classes = append(rules[i].Classes, c)
			}
		}
	}
	return rules
}

// constantsOf returns the texts that rules ask for.
func constantsOf(rules []Rule) []string {
	var all []string
	for _, r := range rules {
		Walk(r.Expr, func(x Expr) bool {
			if a, ok := x.(*Atom); ok {
				all = append(all, a.Texts...)
				if a.Regex != nil {
					all = append(all, strings.Trim(a.Regex.String(), "(?i)^$.*+"))
				}
			}
			return true
		})
	}
	return all
}

func (d dice) event(constants []string) *signal.Event {
	e := new(signal.Event)
	e.Class, e.Severity, e.Plane = pick(d, randomClasses), signal.Severity(d(6)), signal.PlaneEdge
	e.Time = pick(d, []int64{0, 1767225600e9})
	if d.chance(30) {
		e.ID = signal.ID{1, 2, 3}
	}
	for range d(8) {
		f := pick(d, randomFields)
		if f.IsHeader() {
			continue
		}
		switch f.Kind() {
		case signal.KindString:
			if d.chance(20) {
				e.SetMasked(f, d.near(constants), "masked")
			} else {
				e.SetString(f, d.near(constants))
			}
		case signal.KindStrings:
			var list []string
			for range d(4) {
				list = append(list, d.near(constants))
			}
			e.SetStrings(f, list)
		case signal.KindInt:
			e.SetInt(f, d.int())
		case signal.KindBool:
			e.SetBool(f, d.chance(50))
		case signal.KindIP:
			e.SetIP(f, netip.MustParseAddr(pick(d, []string{"10.0.0.1", "192.168.7.9", "8.8.8.8", "::1", "2001:db8::5", "::ffff:10.0.0.1", "fe80::1%eth0"})))
		case signal.KindTime:
			e.SetTime(f, time.Unix(int64(d(3)), 5).UTC())
		}
	}
	for range d(6) {
		e.SetUnmapped(pick(d, attrSpellings), d.near(constants))
	}
	return e
}
