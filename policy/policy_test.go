package policy

import (
	"context"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// condition matches a path that holds a text; "fault" is the text that cannot be worked out.
func condition(text string) match.Expr {
	if text == "fault" {
		return &match.Func{Text: text, Call: func(*signal.Event) match.Answer { return match.Fault }}
	}
	return match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpContains, false, text)
}

// lines is a dialect for tests: a rule a line, "id decision text [count]".
type lines struct{}

func (lines) Name() string       { return "lines" }
func (lines) Detect(f File) bool { return !strings.HasPrefix(string(f.Text), "other") }
func (lines) Compile(files []File) ([]*Rule, Problems) {
	var rules []*Rule
	var problems Problems
	for _, f := range files {
		for i, line := range strings.Split(strings.TrimSpace(string(f.Text)), "\n") {
			words := strings.Fields(line)
			if len(words) < 3 {
				problems = append(problems, Problem{File: f.Name, Line: i + 1, Column: 1, Message: "too few words"})
				continue
			}
			d, err := signal.ParseDecision(words[1])
			if err != nil {
				problems = append(problems, Problem{File: f.Name, Line: i + 1, Column: 1 + len(words[0]), Message: err.Error()})
				continue
			}
			r := &Rule{ID: words[0], Title: words[0], Then: d, On: []signal.Class{signal.ClassHTTPActivity}, When: words[2],
				Dialect: "lines", File: f.Name, Line: i + 1, Column: 1, Condition: condition(words[2])}
			if len(words) > 3 {
				r.Actions = []Action{{Kind: "block", Target: signal.FieldSrcEndpointIP, For: time.Minute, After: len(words[3]), Within: time.Minute}}
			}
			rules = append(rules, r)
		}
	}
	return rules, problems
}

func loader() *Loader { return &Loader{Dialects: []Dialect{lines{}}} }

func load(t testing.TB, text string) *Set {
	t.Helper()
	set, err := loader().Load(context.Background(), Embedded("r", tree("a.yaml", text)))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func tree(files ...string) fs.FS {
	m := fstest.MapFS{}
	for i := 0; i < len(files); i += 2 {
		m[files[i]] = &fstest.MapFile{Data: []byte(files[i+1])}
	}
	return m
}

func request(path, ip string, at int64) *signal.Event {
	e := new(signal.Event)
	e.Class, e.Time = signal.ClassHTTPActivity, at*int64(time.Second)
	e.SetString(signal.FieldHTTPRequestURLPath, path)
	if ip != "" {
		e.SetIP(signal.FieldSrcEndpointIP, addr(ip))
	}
	return e
}

func summary(v signal.Verdict) string {
	var b strings.Builder
	b.WriteString(v.Decision.String())
	for _, h := range v.Hits {
		fmt.Fprintf(&b, " %s", h.Rule)
		for _, o := range h.Orders {
			fmt.Fprintf(&b, "[%s %s %v]", o.Kind, o.Target, o.For)
		}
	}
	return b.String()
}

func TestJudge(t *testing.T) {
	set := load(t, "z-alert alert a\nb-deny deny b\na-deny deny b\nlimit limit c\n")
	engine := NewEngine(set)
	for _, tt := range []struct{ path, want string }{
		{"/x", "allow"},
		{"/a", "alert z-alert"},
		{"/ab", "deny a-deny b-deny z-alert"},
		{"/abc", "deny a-deny b-deny limit z-alert"},
		{"/ac", "limit limit z-alert"},
	} {
		if got := summary(engine.Judge(request(tt.path, "", 0))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
		}
	}
	e := request("/abc", "", 0)
	e.Class = signal.ClassDNSActivity
	if got := summary(engine.Judge(e)); got != "allow" {
		t.Errorf("another class: %s", got)
	}
	e.Class = 60000
	if got := summary(engine.Judge(e)); got != "allow" {
		t.Errorf("a class that there is none of: %s", got)
	}
}

func TestJudgeAllClasses(t *testing.T) {
	all := &Rule{ID: "all", Then: signal.Alert, Condition: condition("")}
	http := &Rule{ID: "http", Then: signal.Alert, On: []signal.Class{signal.ClassHTTPActivity, signal.ClassHTTPActivity}, Condition: condition("")}
	off := &Rule{ID: "off", Then: signal.Deny, Disabled: true}
	set, err := NewSet([]*Rule{http, off, all})
	if err != nil {
		t.Fatal(err)
	}
	engine := NewEngine(set)
	e := request("/", "", 0)
	if got := summary(engine.Judge(e)); got != "alert all http" {
		t.Errorf("HTTP: %s", got)
	}
	e.Class = signal.ClassDNSActivity
	if got := summary(engine.Judge(e)); got != "alert all" {
		t.Errorf("DNS: %s", got)
	}
}

func TestOrders(t *testing.T) {
	engine := NewEngine(load(t, "deny-it deny bad xxx\n"))
	for i, tt := range []struct {
		ip   string
		at   int64
		want string
	}{
		{"203.0.113.9", 0, "deny deny-it"},
		{"203.0.113.9", 10, "deny deny-it"},
		{"203.0.113.7", 11, "deny deny-it"},
		{"", 12, "deny deny-it"},
		{"203.0.113.9", 60, "deny deny-it[block 203.0.113.9 1m0s]"},
		{"203.0.113.9", 61, "deny deny-it"},
		{"203.0.113.7", 72, "deny deny-it"},
	} {
		if got := summary(engine.Judge(request("/bad", tt.ip, tt.at))); got != tt.want {
			t.Errorf("event %d: %s, want %s", i, got, tt.want)
		}
	}
	if in, ok := engine.Info("deny-it"); !ok || in.Hits != 7 || in.LastHit.Unix() != 72 || in.Windows.Keys != 2 {
		t.Errorf("info %+v", in)
	}
	at := NewEngine(load(t, "deny-it deny bad x\n"))
	if got := summary(at.Judge(request("/bad", "203.0.113.9", 0))); got != "deny deny-it[block 203.0.113.9 1m0s]" {
		t.Errorf("at once: %s", got)
	}
}

func TestFaultsAreNoMatch(t *testing.T) {
	engine := NewEngine(load(t, "broken deny fault\nfine alert a\n"))
	if got := summary(engine.Judge(request("/a", "", 0))); got != "alert fine" {
		t.Errorf("%s", got)
	}
	if in, _ := engine.Info("broken"); in.Faults != 1 || in.Hits != 0 {
		t.Errorf("faults %d, hits %d", in.Faults, in.Hits)
	}
}

func TestSwap(t *testing.T) {
	engine := NewEngine(load(t, "keep deny bad xxx\nchange alert a\ngone alert a\n"))
	judge := func(at int64) string { return summary(engine.Judge(request("/bad", "203.0.113.9", at))) }
	judge(0)
	judge(1)
	old := engine.Set().Digest()
	c := engine.Swap(load(t, "\nkeep deny bad xxx\nchange alert zzz\nnew alert zzz\n"))
	if fmt.Sprint(c.Added, c.Changed, c.Removed) != "[new] [change] [gone]" || c.Old != old || c.New != engine.Set().Digest() || c.Old == c.New {
		t.Errorf("change %+v", c)
	}
	if in, _ := engine.Info("keep"); in.Hits != 2 {
		t.Errorf("hits of a rule that stayed: %d", in.Hits)
	}
	if in, _ := engine.Info("change"); in.Hits != 0 {
		t.Errorf("hits of a rule that changed: %d", in.Hits)
	}
	if got := judge(2); got != "deny keep[block 203.0.113.9 1m0s]" {
		t.Errorf("the window was lost: %s", got)
	}
	// A rule that counts otherwise begins anew.
	judge(3)
	engine.Swap(load(t, "keep deny bad xx\n"))
	if got := judge(4); got != "deny keep" {
		t.Errorf("the window outlived its rule: %s", got)
	}
}

// TestReplay judges a stream from several goroutines, with a swap in its middle, and then again
// in the order of the numbers that it was given, with the swap at its number: every
// verdict must be the same, though the swap changes a rule that counts.
func TestReplay(t *testing.T) {
	first := load(t, "keep deny bad xxx\nother alert a xxxxx\n")
	second := load(t, "keep deny bad xxx\nother alert a xxxx\nthird alert d\n")
	engine := NewEngine(first)
	type judged struct {
		e       *signal.Event
		verdict string
	}
	const workers, each = 4, 4000
	results := make(chan []judged, workers)
	swapped := make(chan Change, 1)
	for w := range workers {
		go func() {
			var mine []judged
			for i := range each {
				e := request("/bad", fmt.Sprintf("203.0.113.%d", i%7), int64(i/3))
				v := engine.JudgeNumbered(e)
				mine = append(mine, judged{e, summary(v)})
				if w == 0 && i == each/2 {
					swapped <- engine.Swap(second)
				}
			}
			results <- mine
		}()
	}
	var all []judged
	for range workers {
		all = append(all, <-results...)
	}
	slices.SortFunc(all, func(a, b judged) int { return int(a.e.Seq) - int(b.e.Seq) })
	replay := NewEngine(first)
	orders, change := 0, <-swapped
	for i, j := range all {
		if j.e.Seq != uint64(i+1) {
			t.Fatalf("number %d at place %d", j.e.Seq, i+1)
		}
		if j.e.Seq == change.Seq+1 {
			replay.Swap(second)
		}
		if got, want := j.e.Str(signal.FieldPolicyUID), replay.Set().Digest(); got != want {
			t.Fatalf("event %d names set %s, want %s; the swap was after %d", j.e.Seq, got, want, change.Seq)
		}
		orders += strings.Count(j.verdict, "keep[")
		if got := summary(replay.Judge(j.e)); got != j.verdict {
			t.Fatalf("event %d: replay says %s, live was %s", j.e.Seq, got, j.verdict)
		}
	}
	if orders == 0 || replay.Set() != second || engine.Seq() != workers*each {
		t.Errorf("%d orders, %d numbered, the swap after %d", orders, engine.Seq(), change.Seq)
	}
}

func TestDigest(t *testing.T) {
	a := load(t, "one alert a\ntwo deny b xx\n")
	if b := load(t, "two deny b xx\none alert a\n"); a.Digest() != b.Digest() {
		t.Error("the order of the rules changes the digest")
	}
	for _, other := range []string{"one alert a\n", "one deny a\ntwo deny b xx\n", "one alert c\ntwo deny b xx\n", "one alert a\ntwo deny b xxx\n", "one alert a\ntwo deny b\n"} {
		if load(t, other).Digest() == a.Digest() {
			t.Errorf("same digest for %q", other)
		}
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":           "plain",
		"a\nb\x1b[2J":     `a\nb\x1b[2J`,
		"\u202eevil":      `\u202eevil`,
		"zero\u200bwidth": `zero\u200bwidth`,
		"\xff\xfe":        `\xff\xfe`,
		"größe":           "größe",
		"aaaaaaaaaaaaaa":  "aaaaaaaaaa…",
		"\ufffd":          "\ufffd",
		"nbsp\u00a0":      `nbsp\u00a0`,
	} {
		if got := Printable(in, 10); got != want && Printable(in, 100) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMetrics(t *testing.T) {
	engine := NewEngine(load(t, "keep deny bad xxx\nother alert zzz\nbroken alert fault\n"))
	reg := prometheus.NewPedanticRegistry()
	if err := Register(reg, engine, nil); err != nil {
		t.Fatal(err)
	}
	engine.Judge(request("/bad", "203.0.113.9", 0))
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := ""
			for _, l := range m.GetLabel() {
				labels += l.GetValue()
			}
			got = append(got, fmt.Sprint(f.GetName(), " ", labels, " ", m.GetCounter().GetValue()+m.GetGauge().GetValue()))
		}
	}
	want := []string{
		"testudo_policy_faults_total broken 1", "testudo_policy_hits_total keep 1",
		"testudo_policy_rules false 0", "testudo_policy_rules true 3",
		"testudo_policy_window_dropped_total  0", "testudo_policy_window_events  1", "testudo_policy_window_evicted_total  0",
		"testudo_policy_window_keys  1", "testudo_policy_window_late_total  0", "testudo_policy_window_skipped_total  0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
