package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// base returns a rule that looks for a text in the path.
func base(id, text string) *Rule {
	return &Rule{ID: id, Title: id, File: "r.yaml", Line: 1, Column: 1, When: text, Then: signal.Alert, Severity: signal.SeverityLow,
		Condition: match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpContains, false, text)}
}

func silent(r *Rule) *Rule {
	r.Silent = true
	return r
}

func client() []Reading {
	return []Reading{{Name: "client", From: Operand{Field: signal.FieldSrcEndpointIP}}}
}

func correlated(id string, c Correlation, of ...string) *Rule {
	for _, name := range of {
		c.Of = append(c.Of, Ref{Rule: name})
	}
	if c.Within == 0 {
		c.Within = 10 * time.Minute
	}
	return &Rule{ID: id, Title: id, File: "r.yaml", Line: 50, Column: 1, Then: signal.Deny, Severity: signal.SeverityHigh, Correlation: &c}
}

func atLeast(n float64) []window.Test { return []window.Test{{Op: window.AtLeast, Than: n}} }

func newSet(t testing.TB, rules ...*Rule) *Set {
	t.Helper()
	set, err := NewSet(rules)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// numbered is a request with an id that tells its number.
func numbered(n int, path, ip string, at int64) *signal.Event {
	e := request(path, ip, at)
	e.ID = signal.ID{0: 1, 14: byte(n >> 8), 15: byte(n)}
	return e
}

func related(v signal.Verdict, rule string) []int {
	var out []int
	if h := hitOf(&v, rule); h != nil {
		for _, id := range h.Related {
			out = append(out, int(id[14])<<8|int(id[15]))
		}
	}
	return out
}

// TestCorrelate tells stories of requests; a step is "path client", a second after the one before.
func TestCorrelate(t *testing.T) {
	tests := []struct {
		name  string
		rules []*Rule
		steps []string
		want  map[int]string // by step, the rules that fire; other steps have none
		ids   []int          // behind the last step's first rule
	}{
		{"three from one client", []*Rule{silent(base("login", "/login")), correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(3)}, "login")},
			[]string{"/login a", "/login b", "/login a", "/other a", "/login b", "/login a"}, map[int]string{5: "brute"}, []int{0, 2, 5}},
		{"the base rule is heard too", []*Rule{base("login", "/login"), correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "login")},
			[]string{"/login a", "/login a"}, map[int]string{0: "login", 1: "brute login"}, []int{0, 1}},
		{"by name", []*Rule{func() *Rule { r := silent(base("6b0e", "/login")); r.Name = "login"; return r }(),
			correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "login")},
			[]string{"/login a", "/login a"}, map[int]string{1: "brute"}, []int{0, 1}},
		{"distinct paths", []*Rule{silent(base("scan", "/")), correlated("probe", Correlation{Kind: window.Distinct, GroupBy: client(), Tests: atLeast(3),
			Value: []Reading{{Name: "path", From: Operand{Field: signal.FieldHTTPRequestURLPath}}}}, "scan")},
			[]string{"/a a", "/a a", "/b a", "/b a", "/c a"}, map[int]string{4: "probe"}, []int{1, 3, 4}},
		{"all of three in any order", []*Rule{silent(base("x", "x")), silent(base("y", "y")), silent(base("z", "z")), correlated("all", Correlation{Kind: window.Temporal, GroupBy: client()}, "x", "y", "z")},
			[]string{"/z a", "/x b", "/y a", "/x a"}, map[int]string{3: "all"}, []int{0, 2, 3}},
		{"one request is two of them", []*Rule{silent(base("x", "x")), silent(base("y", "y")), correlated("all", Correlation{Kind: window.Temporal, GroupBy: client()}, "x", "y")},
			[]string{"/xy a"}, map[int]string{0: "all"}, []int{0}},
		{"in order", []*Rule{silent(base("x", "x")), silent(base("y", "y")), correlated("seq", Correlation{Kind: window.Ordered, GroupBy: client()}, "y", "x")},
			[]string{"/x a", "/y a", "/xy a"}, map[int]string{2: "seq"}, []int{1, 2}},
		{"without", []*Rule{silent(base("x", "x")), silent(base("y", "y")), correlated("alone", Correlation{Kind: window.Temporal, GroupBy: client(),
			Need: &window.Seen{Op: window.SeenAll, Of: []window.Seen{{Op: window.SeenThing}, {Op: window.SeenNot, Of: []window.Seen{{Op: window.SeenThing, Slot: 1}}}}}}, "x", "y")},
			[]string{"/y a", "/x a", "/x b"}, map[int]string{2: "alone"}, []int{2}},
		{"a correlation of a correlation", []*Rule{silent(base("fail", "/fail")), silent(base("ok", "/ok")),
			silent(correlated("many", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(3)}, "fail")),
			correlated("broken-in", Correlation{Kind: window.Ordered, GroupBy: client()}, "many", "ok")},
			[]string{"/ok a", "/fail a", "/fail a", "/ok a", "/fail a", "/ok b", "/ok a"}, map[int]string{6: "broken-in"}, []int{1, 2, 4, 6}},
		{"an event that completes a correlation is one event for the one that both feed", []*Rule{silent(base("x", "x")),
			silent(correlated("two", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "x")),
			correlated("x-then-two", Correlation{Kind: window.Ordered, GroupBy: client()}, "x", "two"),
			silent(correlated("a-two-then-x", Correlation{Kind: window.Ordered, GroupBy: client()}, "two", "x"))},
			[]string{"/y a", "/x b", "/x a", "/x a"}, map[int]string{3: "x-then-two"}, []int{2, 3}},
		{"an event stands for one step", []*Rule{silent(base("x", "x")),
			silent(correlated("one", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(1)}, "x")),
			correlated("x-then-one", Correlation{Kind: window.Ordered, GroupBy: client()}, "x", "one")},
			[]string{"/x a", "/x b", "/x a"}, map[int]string{2: "x-then-one"}, []int{0, 2}},
		{"aliases: client of one is host of the other", []*Rule{silent(base("x", "x")), silent(base("y", "y")), correlated("both", Correlation{Kind: window.Temporal,
			GroupBy: []Reading{{Name: "who", From: Operand{Field: signal.FieldSrcEndpointIP}, Per: []Operand{{}, {Attr: "peer.ip"}}}}}, "x", "y")},
			[]string{"/x a", "/y b peer=10.0.0.99", "/y b peer=10.0.0.97"}, map[int]string{2: "both"}, []int{0, 2}},
		{"elements of a list of objects", []*Rule{silent(base("x", "x")), correlated("two", Correlation{Kind: window.Count, Tests: atLeast(2),
			GroupBy: []Reading{{Name: "peer", From: Operand{Attr: "peer.ip"}}}}, "x")},
			[]string{"/x a peer[0]=h", "/x b", "/x b peer[1]=h"}, map[int]string{2: "two"}, []int{0, 2}},
		{"without a group they are one", []*Rule{silent(base("x", "x")), correlated("two", Correlation{Kind: window.Count, Tests: atLeast(2)}, "x")},
			[]string{"/x a", "/x b"}, map[int]string{1: "two"}, []int{0, 1}},
		{"an average of numbers in texts", []*Rule{silent(base("x", "x")), correlated("big", Correlation{Kind: window.Average, GroupBy: client(), Tests: []window.Test{{Op: window.Above, Than: 10}},
			Value: []Reading{{Name: "size", From: Operand{Attr: "size"}}}}, "x")},
			[]string{"/x a size=5", "/x a size=none", "/x a size=14.5", "/x a size=100"}, map[int]string{3: "big"}, []int{0, 2, 3}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			engine := NewEngine(newSet(t, tt.rules...))
			for i, step := range tt.steps {
				words := strings.Fields(step)
				e := numbered(i, words[0], fmt.Sprintf("10.0.0.%d", words[1][0]), int64(i))
				for _, w := range words[2:] {
					name, value, _ := strings.Cut(w, "=")
					if index, ok := strings.CutPrefix(name, "peer"); ok {
						name = "peer" + index + ".ip"
					}
					e.SetUnmapped(name, value)
				}
				v := engine.JudgeNumbered(e)
				var got []string
				for _, h := range v.Hits {
					got = append(got, h.Rule)
				}
				if strings.Join(got, " ") != tt.want[i] {
					t.Errorf("step %d, %s: %q fire, want %q", i, step, got, tt.want[i])
				}
				if i == len(tt.steps)-1 {
					if diff := cmp.Diff(tt.ids, related(v, v.Hits[0].Rule)); diff != "" {
						t.Errorf("events behind the verdict (-want +got):\n%s", diff)
					}
				}
			}
		})
	}
}

// TestSilent: a rule that only feeds others makes no hit, but is told in the record and counted.
func TestSilent(t *testing.T) {
	engine := NewEngine(newSet(t, silent(base("login", "/login")), correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "login")))
	e := request("/login", "203.0.113.9", 1)
	if v := engine.JudgeNumbered(e); v.Decision != signal.Allow || v.Hits != nil {
		t.Errorf("verdict %+v", v)
	}
	if got := e.Strings(signal.FieldVerdictFeeding); !slices.Equal(got, []string{"login"}) {
		t.Errorf("the record names %q", got)
	}
	v := engine.JudgeNumbered(request("/login", "203.0.113.9", 60))
	if want := "brute: event_count 2 within 59s, client 203.0.113.9"; v.Hits[0].Why != want {
		t.Errorf("why: %q, want %q", v.Hits[0].Why, want)
	}
	want := []signal.Evidence{{Name: "event_count of login by client within 10m0s: >= 2", Value: "2"}, {Name: "client", Value: "203.0.113.9"}}
	if diff := cmp.Diff(want, v.Hits[0].Proof); diff != "" {
		t.Errorf("proof (-want +got):\n%s", diff)
	}
	engine.JudgeNumbered(request("/login", "", 61))
	login, _ := engine.Info("login")
	brute, _ := engine.Info("brute")
	if login.Hits != 3 || !login.Silent || brute.Hits != 1 || brute.Windows != (window.Stats{Skipped: 1}) || brute.Correlation == "" {
		t.Errorf("login %+v\nbrute %+v", login, brute)
	}
}

// TestCorrelateActions: a correlation may ask for actions like any rule.
func TestCorrelateActions(t *testing.T) {
	brute := correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "login")
	brute.Actions = []Action{{Kind: "block", Target: signal.FieldSrcEndpointIP, After: 2, Within: time.Hour}}
	engine := NewEngine(newSet(t, silent(base("login", "/login")), brute))
	var got []string
	for i := range 4 {
		got = append(got, summary(engine.Judge(request("/login", "203.0.113.9", int64(i)))))
	}
	if diff := cmp.Diff([]string{"allow", "deny brute", "allow", "deny brute[block 203.0.113.9 0s]"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestLinkProblems(t *testing.T) {
	count := func(of ...string) Correlation {
		c := Correlation{Kind: window.Count, Tests: atLeast(2), Line: 60, Column: 3}
		for i, name := range of {
			c.Of = append(c.Of, Ref{Rule: name, Line: 70 + i, Column: 7})
		}
		return c
	}
	off := base("off", "x")
	off.Disabled = true
	twin := func(id string) *Rule { r := base(id, "x"); r.Name = "twin"; return r }
	tooMany := count("one")
	tooMany.Tests = atLeast(1e9)
	tests := []struct {
		name  string
		rules []*Rule
		want  string
	}{
		{"unknown", []*Rule{base("login", "x"), correlated("c", count("logn"))}, `r.yaml:70:7: there is no rule "logn"; did you mean "login"?`},
		{"unlike any", []*Rule{base("login", "x"), correlated("c", count("zzzzzzzz"))}, `r.yaml:70:7: there is no rule "zzzzzzzz"; name a rule of the set by its id or name`},
		{"twice", []*Rule{base("login", "x"), correlated("c", count("login", "login"))}, `r.yaml:71:7: rule "login" is named twice; name each rule once`},
		{"disabled", []*Rule{off, correlated("c", count("off"))}, `r.yaml:70:7: rule "off" is disabled, so that this one would never fire; enable it, or disable this rule too`},
		{"ambiguous", []*Rule{twin("t1"), twin("t2"), correlated("c", count("twin"))}, `r.yaml:70:7: "twin" is the name of several rules: t1 and t2; refer to it by its id`},
		{"itself", []*Rule{correlated("c", count("c"))}, `r.yaml:70:7: the correlation depends on itself: c of c`},
		{"a circle", []*Rule{base("x", "x"), correlated("c", count("x", "d")), correlated("d", count("e")), correlated("e", count("c"))}, `r.yaml:70:7: the correlation depends on itself: c of d of e of c`},
		{"too much", []*Rule{base("one", "x"), correlated("c", tooMany)}, `r.yaml:60:3: a count is tested against 1e+09: want 0 to 10000`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := NewSet(tt.rules)
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 || problems[0].Error() != tt.want {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	// A correlation that is disabled itself may refer to what is disabled.
	c := correlated("c", count("off"))
	c.Disabled = true
	if _, err := NewSet([]*Rule{off, c}); err != nil {
		t.Error(err)
	}
	// What a dialect has left out is its own mistake.
	for i, bad := range []*Rule{
		correlated("c", Correlation{Kind: window.Count, Tests: atLeast(1)}),
		correlated("c", Correlation{Kind: window.Distinct, Tests: atLeast(1)}, "x"),
		correlated("c", Correlation{Kind: window.Count, Tests: atLeast(1)}, slices.Repeat([]string{"x"}, window.MaxSlots+1)...),
		correlated("c", Correlation{Kind: window.Sum, Tests: atLeast(1), Value: []Reading{{}, {}}}, "x"),
		correlated("c", Correlation{Kind: window.Count, Tests: atLeast(1), GroupBy: []Reading{{Name: "nowhere"}}}, "x"),
	} {
		var problems Problems
		if _, err := NewSet([]*Rule{base("x", "x"), bad}); err == nil || errors.As(err, &problems) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// TestSwapKeepsCorrelations: windows outlive a swap while the correlation and what feeds it judge the same.
func TestSwapKeepsCorrelations(t *testing.T) {
	set := func(text string, changed *Rule) *Set {
		return newSet(t, changed, silent(base("login", text)), correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "login"))
	}
	engine := NewEngine(set("/login", base("other", "1")))
	engine.Judge(request("/login", "203.0.113.9", 1))
	engine.Swap(set("/login", base("other", "2")))
	if v := engine.Judge(request("/login", "203.0.113.9", 2)); v.Decision != signal.Deny {
		t.Error("a change of another rule emptied the window")
	}
	engine.Judge(request("/login", "203.0.113.9", 3))
	engine.Swap(set("/log", base("other", "2")))
	if v := engine.Judge(request("/login", "203.0.113.9", 4)); v.Decision != signal.Allow {
		t.Error("a change of the feeding rule kept the window")
	}
}

// TestCorrelationTests: the tests of a correlation run with the rules that it refers to.
func TestCorrelationTests(t *testing.T) {
	deny := signal.Deny
	brute := correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2)}, "login")
	steps := func(second bool) []Step {
		return []Step{{Event: request("/login", "203.0.113.9", 1)}, {Event: request("/login", "203.0.113.9", 2), Fires: second, Decision: &deny, Line: 9}}
	}
	brute.Tests = []Test{{Name: "two", Steps: steps(true)}, {Name: "wrong", Steps: steps(false)}}
	login := silent(base("login", "/login"))
	login.Tests = []Test{{Name: "alone", Steps: []Step{{Event: request("/login", "", 1), Fires: true}}}}
	report, err := RunTests(context.Background(), newSet(t, login, brute))
	if err != nil {
		t.Fatal(err)
	}
	if report.Tests != 3 || len(report.Failures) != 1 || report.Failures[0].Test != "wrong" || report.Failures[0].Values[0] != "client=203.0.113.9" {
		t.Errorf("%+v", report)
	}
}

func TestExplainCorrelation(t *testing.T) {
	set := newSet(t, silent(base("login", "/login")), silent(base("other", "/other")), correlated("both", Correlation{Kind: window.Temporal, GroupBy: client()}, "login", "other"))
	e := request("/login", "203.0.113.9", 1)
	x, ok := set.Explain(e, "both")
	want := []string{"it fires on what other rules match over time: temporal of login, other by client within 10m0s",
		"rule login fires on this event", "rule other does not fire on this event"}
	if diff := cmp.Diff(want, x.Because); !ok || x.Fires || diff != "" {
		t.Errorf("%v %+v\n%s", ok, x, diff)
	}
}

// TestCorrelateInTheOrderOfNumbers: events that are judged side by side, with a reload in the middle, are judged as one by one
// in the order of their numbers.
func TestCorrelateInTheOrderOfNumbers(t *testing.T) {
	rules := func(other string) *Set {
		return newSet(t, base("other", other), silent(base("x", "x")), silent(base("y", "y")),
			silent(correlated("two", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(2), Within: 20 * time.Second}, "x")),
			correlated("two-then-y", Correlation{Kind: window.Ordered, GroupBy: client(), Within: 30 * time.Second}, "two", "y"))
	}
	first, second := rules("1"), rules("2")
	engine := NewEngine(first)
	const workers, each = 4, 500
	var mu sync.Mutex
	verdicts := make(map[uint64]string)
	events := make(map[uint64]*signal.Event)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				e := numbered(w*each+i, []string{"/x", "/y", "/x1", "/"}[(i+w)%4], fmt.Sprintf("10.0.0.%d", i%3), int64(i))
				v := engine.JudgeNumbered(e)
				mu.Lock()
				verdicts[e.Seq], events[e.Seq] = told(v), e
				mu.Unlock()
			}
		})
	}
	wg.Go(func() { engine.Swap(second) })
	wg.Wait()
	replay, fired := NewEngine(first), 0
	for seq := uint64(1); seq <= workers*each; seq++ {
		if events[seq].Str(signal.FieldPolicyUID) == second.Digest() && replay.Set() == first {
			replay.Swap(second)
		}
		got := told(replay.Judge(events[seq]))
		if got != verdicts[seq] {
			t.Fatalf("event %d: judged again %s\nlive %s", seq, got, verdicts[seq])
		}
		fired += strings.Count(got, "two-then-y")
	}
	if fired == 0 || replay.Set() != second {
		t.Errorf("%d sequences: the test shows nothing", fired)
	}
}

// BenchmarkCorrelate is the price of an event on which one rule fires, which feeds a correlation.
func BenchmarkCorrelate(b *testing.B) {
	engine := NewEngine(newSet(b, silent(base("login", "/login")), correlated("brute", Correlation{Kind: window.Count, GroupBy: client(), Tests: atLeast(1000)}, "login")))
	events := make([]*signal.Event, 256)
	for i := range events {
		events[i] = request("/login", fmt.Sprintf("10.0.0.%d", i), 0)
	}
	b.ReportAllocs()
	for i := range b.N {
		e := events[i%len(events)]
		e.Time = int64(i) * 1e8
		engine.JudgeNumbered(e)
	}
}
