package native_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/signal"
)

// benign is a request as a browser sends it, with all that the edge says about it.
func benign() *signal.Event {
	e := new(signal.Event)
	e.Class, e.Activity, e.Plane, e.Time = signal.ClassHTTPActivity, 3, signal.PlaneEdge, 1767225600e9
	e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(signal.FieldHTTPRequestURLPath, "/shop/Items/42%20b")
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "q=red+shoes&page=2", "q=*&page=*")
	e.SetString(signal.FieldHTTPRequestUserAgent, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
	e.SetString(signal.FieldHTTPRequestReferrer, "https://shop.example/")
	e.SetStrings(signal.FieldHTTPRequestHeaderNames, []string{"accept", "accept-encoding", "host", "user-agent"})
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.9"))
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetInt(signal.FieldWAFScore, 0)
	e.SetInt(signal.FieldWAFThreshold, 5)
	return e
}

// some returns a set of n rules, the shipped ones over and over under other ids. Those that read others by their
// ids are left out.
func some(tb testing.TB, n int) *policy.Set {
	tb.Helper()
	shipped := slices.DeleteFunc(slices.Clone(edgeSet(tb).Rules()), func(r *policy.Rule) bool { return r.Correlation != nil || r.PartOf != "" })
	rules := make([]*policy.Rule, n)
	for i := range rules {
		r := *shipped[i%len(shipped)]
		r.ID = fmt.Sprintf("%s-%d", r.ID, i)
		rules[i] = &r
	}
	set, err := policy.NewSet(rules)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func BenchmarkJudge(b *testing.B) {
	for _, n := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("benign/rules=%d", n), func(b *testing.B) {
			engine, e := policy.NewEngine(some(b, n)), benign()
			b.ReportAllocs()
			for b.Loop() {
				engine.Judge(e)
			}
		})
	}
	b.Run("numbered/rules=20", func(b *testing.B) {
		engine, e := policy.NewEngine(some(b, 20)), benign()
		b.ReportAllocs()
		for b.Loop() {
			engine.JudgeNumbered(e)
		}
	})
	b.Run("otherclass/rules=200", func(b *testing.B) {
		engine, e := policy.NewEngine(some(b, 200)), benign()
		e.Class = signal.ClassDNSActivity
		b.ReportAllocs()
		for b.Loop() {
			engine.Judge(e)
		}
	})
	b.Run("hit/rules=21", func(b *testing.B) {
		engine, e := policy.NewEngine(edgeSet(b)), benign()
		e.SetInt(signal.FieldWAFScore, 15)
		b.ReportAllocs()
		for b.Loop() {
			e.Time += 1e9
			engine.JudgeNumbered(e)
		}
	})
	b.Run("cel/rules=1", func(b *testing.B) {
		e := benign()
		c, err := native.New().Condition("waf.score / waf.threshold > 2")
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			_, _ = c.Eval(e)
		}
	})
}

func BenchmarkLoad(b *testing.B) {
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	var text strings.Builder
	for i := range 200 {
		fmt.Fprintf(&text, "---\nid: rule-%d\ntitle: Rule\nseverity: low\non: http_activity\nwhen: waf.score > %d && http_request.url.path.contains(\"/x%d\")\nthen: alert\n", i, i, i)
	}
	src := policy.Embedded("r", oneFile("a.yaml", text.String()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := l.Load(context.Background(), src); err != nil {
			b.Fatal(err)
		}
	}
}
