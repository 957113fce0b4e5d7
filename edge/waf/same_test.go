package waf_test

import (
	"context"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/waftest"
	"github.com/testudo-sec/testudo/internal/require"
)

// both are a firewall of each engine, with the same settings.
func both(t testing.TB, change func(*waf.Config)) (fast, slow *waf.WAF) {
	t.Helper()
	fast = newWAF(t, change)
	slow = newWAF(t, func(c *waf.Config) {
		if change != nil {
			change(c)
		}
		c.Engine = waf.EngineCoraza
	})
	if list := fast.Uncovered(); len(list) > 0 {
		t.Fatalf("the fast engine does not cover %v", list)
	}
	return fast, slow
}

// dialogue is a request and what came back, if a status is there.
type dialogue struct {
	r        *http.Request
	body     string
	level    int
	status   int
	header   http.Header
	response string
}

// inspectAll runs both halves through a firewall.
func inspectAll(w *waf.WAF, d *dialogue) edge.Result {
	client := netip.MustParseAddrPort("192.0.2.1:4711")
	i := w.Begin(context.Background(), edge.Exchange{Request: d.r, Client: client, Server: client, ID: "id", Paranoia: d.level})
	defer i.Close()
	res, limit := i.Headers()
	if limit > 0 {
		res = i.Body([]byte(d.body)[:min(int64(len(d.body)), limit)], int64(len(d.body)) > limit)
	}
	if d.status > 0 {
		if res, limit = i.ResponseHeaders(d.status, d.header); limit > 0 {
			res = i.ResponseBody([]byte(d.response)[:min(int64(len(d.response)), limit)], int64(len(d.response)) > limit)
		}
	}
	return res
}

// same holds that both engines come to the same result. In which of some arguments a rule matched first depends in Coraza on
// the order of a map, and so may what rules see that look at what has matched: Coraza has some tries.
func same(t *testing.T, fast, slow *waf.WAF, d *dialogue) {
	t.Helper()
	got := inspectAll(fast, d)
	var want edge.Result
	targets := map[string]bool{}
	options := cmp.Options{cmpopts.EquateErrors(), cmpopts.EquateEmpty()}
	for range 60 {
		if want = inspectAll(slow, d); cmp.Equal(got, want, options) {
			return
		}
		for i, id := range want.Rules {
			targets[id+" "+want.Targets[i]] = true
		}
		if cmp.Equal(got, want, options, cmpopts.IgnoreFields(edge.Result{}, "Targets")) && !slices.ContainsFunc(got.Rules, func(id string) bool {
			return !targets[id+" "+got.Targets[slices.Index(got.Rules, id)]]
		}) {
			return
		}
	}
	if waftest.LosesFields(d.body) {
		return
	}
	t.Errorf("%s %s level %d, %q:\n%s", d.r.Method, d.r.RequestURI, d.level, d.body, cmp.Diff(want, got, options))
}

// requestOf makes a request of raw bytes as net/http would, and of some that it would refuse.
func requestOf(raw string) *dialogue {
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	r := &http.Request{Header: http.Header{}, Body: http.NoBody}
	r.Method, r.RequestURI, _ = strings.Cut(lines[0], " ")
	if at := strings.LastIndexByte(r.RequestURI, ' '); at >= 0 {
		r.RequestURI, r.Proto = r.RequestURI[:at], r.RequestURI[at+1:]
	}
	r.URL = &url.URL{}
	_, r.URL.RawQuery, _ = strings.Cut(r.RequestURI, "?")
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		if name, value = textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value); name == "Host" {
			r.Host = value
		} else {
			r.Header[name] = append(r.Header[name], value)
		}
	}
	if body != "" {
		r.ContentLength, r.Body = int64(len(body)), struct {
			*strings.Reader
			nopCloser
		}{Reader: strings.NewReader(body)}
	}
	return &dialogue{r: r, body: body}
}

// TestSameResult holds that results do not depend on the engine: for the Core Rule Set's regression tests, as they are and changed
// somewhere, at all levels, and with their own bodies as responses.
func TestSameResult(t *testing.T) {
	fast, slow := both(t, nil)
	tests := waftest.Read(t, require.Corpora(t))
	step := 25
	if os.Getenv("TESTUDO_LONG") != "" {
		step = 1
	}
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	for i := 0; i < len(tests) && !t.Failed(); i += step * require.Stride(5) {
		for s := range tests[i].Stages {
			raw := string(tests[i].Stages[s].Bytes())
			for level := 1; level <= 4; level++ {
				d := requestOf(raw)
				if d.level = level; level == 4 {
					d.status, d.header, d.response = 200, http.Header{"Content-Type": {"text/html"}, "Server": {"x"}}, d.body
				}
				same(t, fast, slow, d)
				at := r.IntN(len(raw))
				changed := requestOf(raw[:at] + []string{"'", "%00", "<", "\xff", "{", "&", "--", "a"}[r.IntN(8)] + raw[min(len(raw), at+r.IntN(3)):])
				changed.level = level
				same(t, fast, slow, changed)
				n += 2
			}
		}
	}
	t.Logf("%d exchanges", n)
}

// TestSameCount holds that both load the same rules.
func TestSameCount(t *testing.T) {
	fast, slow := both(t, func(c *waf.Config) { c.After = "SecRule ARGS \"@rx x\" \"id:1,phase:2,pass\"\nSecMarker OWN" })
	if fast.Rules() != slow.Rules() || fast.Rules() < 500 {
		t.Errorf("%d and %d rules", fast.Rules(), slow.Rules())
	}
}
