package edge

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

// fakeInspector finds what bodies and headers say is there: it matches the word "attack".
type fakeInspector struct {
	bodyLimit, responseLimit int64
	err                      error

	mu    sync.Mutex
	calls []string
}

type fakeInspection struct {
	f *fakeInspector
	r Result
	x Exchange
}

func (f *fakeInspector) note(call string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
}

func (f *fakeInspector) Begin(_ context.Context, x Exchange) Inspection {
	f.note("begin")
	return &fakeInspection{f: f, x: x, r: Result{Err: f.err}}
}

func (i *fakeInspection) match(what, where string) {
	if strings.Contains(what, "attack") {
		i.r.Score += 5
		i.r.Rules = append(i.r.Rules, "942100")
		i.r.Messages = append(i.r.Messages, "attack found")
		i.r.Targets = append(i.r.Targets, where)
		i.r.Categories = []string{"attack-test"}
	}
}

func (i *fakeInspection) Headers() (Result, int64) {
	i.f.note("headers")
	i.match(i.x.Request.URL.RawQuery, "ARGS:q")
	return i.r, i.f.bodyLimit
}

func (i *fakeInspection) Body(b []byte, truncated bool) Result {
	call := "body " + string(b)
	if truncated {
		call += " truncated"
	}
	i.f.note(call)
	i.match(string(b), "REQUEST_BODY")
	return i.r
}

func (i *fakeInspection) ResponseHeaders(int, http.Header) (Result, int64) {
	i.f.note("response headers")
	return i.r, i.f.responseLimit
}

func (i *fakeInspection) ResponseBody(b []byte, truncated bool) Result {
	call := "response body " + string(b)
	if truncated {
		call += " truncated"
	}
	i.f.note(call)
	if strings.Contains(string(b), "leak") {
		i.r.OutboundScore = 4
	}
	return i.r
}

func (i *fakeInspection) Close() { i.f.note("close") }

// byScore decides as the built-in rules do: on the inspector's scores and the route's threshold.
func byScore(e *signal.Event) (signal.Verdict, error) {
	over := func(score, threshold signal.Field) bool { return e.Has(score) && e.Int(score) >= e.Int(threshold) }
	if e.Parent.IsZero() && over(signal.FieldWAFScore, signal.FieldWAFThreshold) || over(signal.FieldWAFOutboundScore, signal.FieldWAFOutboundThreshold) {
		return signal.Verdict{Decision: signal.Deny}, nil
	}
	return signal.Verdict{}, nil
}

func TestInspection(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, r.URL.Query().Get("say")+string(b))
	})
	for _, c := range []struct {
		name, query, body string
		mode              Mode
		waf               bool
		limit             int64
		inspect           int64
		status            int
		want              string
		calls             []string
	}{
		{"honest", "q=1", "hello", ModeBlock, true, 100, 100, 200, "hello", []string{"begin", "headers", "body hello", "response headers", "response body hello", "close"}},
		{"attack in the query", "q=attack", "", ModeBlock, true, 100, 100, 403, "", []string{"begin", "headers", "body ", "close"}},
		{"attack in the body", "", "an attack", ModeBlock, true, 100, 100, 403, "", []string{"begin", "headers", "body an attack", "close"}},
		{"detected only", "q=attack", "x", ModeDetect, true, 100, 0, 200, "x", []string{"begin", "headers", "body x", "response headers", "close"}},
		{"mode off", "q=attack", "x", ModeOff, true, 100, 100, 200, "x", nil},
		{"without the firewall", "q=attack", "x", ModeBlock, false, 100, 100, 200, "x", nil},
		{"bodies not asked for", "", "an attack", ModeBlock, true, 0, 0, 200, "an attack", []string{"begin", "headers", "response headers", "close"}},
		{"longer than the limit", "", "0123456789attack", ModeBlock, true, 10, 10, 200, "0123456789attack",
			[]string{"begin", "headers", "body 0123456789 truncated", "response headers", "response body 0123456789 truncated", "close"}},
		{"exactly the limit", "", "0123456789", ModeBlock, true, 10, 10, 200, "0123456789",
			[]string{"begin", "headers", "body 0123456789", "response headers", "response body 0123456789", "close"}},
		{"leak", "say=leak", "", ModeBlock, true, 0, 100, 502, "", []string{"begin", "headers", "response headers", "response body leak", "close"}},
		{"leak detected only", "say=leak", "", ModeDetect, true, 0, 100, 200, "leak", []string{"begin", "headers", "response headers", "response body leak", "close"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			insp := &fakeInspector{bodyLimit: c.limit, responseLimit: c.inspect}
			ed := start(t, []string{up}, func(s *setup) {
				s.route.Mode, s.route.WAF = c.mode, c.waf
				s.deps.Inspector, s.sink.judge = insp, byScore
			})
			for _, declared := range []bool{true, false} {
				insp.calls = nil
				req, _ := http.NewRequest("POST", ed.url+"/?"+c.query, strings.NewReader(c.body))
				if !declared {
					req.ContentLength, req.Body = -1, io.NopCloser(io.MultiReader(strings.NewReader(c.body)))
				}
				resp, body := do(t, client1(t), req)
				if resp.StatusCode != c.status || c.status == 200 && body != c.want {
					t.Errorf("got %d %q", resp.StatusCode, body)
				}
				if c.status != 200 && (strings.Contains(body, "942100") || strings.Contains(body, "attack found") || !strings.Contains(body, resp.Header.Get("X-Request-Id"))) {
					t.Errorf("page: %q", body)
				}
				http.DefaultClient.CloseIdleConnections()
				ed.sink.wait(t, "request", isRequest)
				waitCalls(t, insp, len(c.calls))
				if d := cmp.Diff(c.calls, insp.calls); d != "" {
					t.Errorf("declared %v: calls: %s", declared, d)
				}
			}
			e := ed.sink.wait(t, "request", isRequest)
			if e.Str(signal.FieldEdgeMode) != string(c.mode) {
				t.Errorf("mode recorded: %q", e.Str(signal.FieldEdgeMode))
			}
			if inspected := len(c.calls) > 0; inspected != e.Has(signal.FieldWAFScore) || inspected && (e.Int(signal.FieldWAFThreshold) != 5 || e.Int(signal.FieldWAFParanoia) != 1) {
				t.Errorf("event %s", e.AppendJSON(nil))
			}
			if c.query == "q=attack" && len(c.calls) > 0 {
				if d := cmp.Diff([]string{"942100", "ARGS:q", "attack-test"}, []string{e.Strings(signal.FieldWAFRules)[0], e.Strings(signal.FieldWAFTargets)[0], e.Strings(signal.FieldWAFCategories)[0]}); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// waitCalls waits until the inspection is closed: that happens after the client has its answer.
// TestInspectNothing holds that a body of which nothing is held back does not count as one that was seen.
func TestInspectNothing(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) })
	insp := &fakeInspector{bodyLimit: 100, responseLimit: 100}
	ed := start(t, []string{up}, func(s *setup) {
		s.route.Mode, s.route.WAF, s.route.InspectLimit, s.deps.Inspector = ModeBlock, true, 0, insp
	})
	if resp, body := do(t, client1(t), mustPost(t, ed.url, "an attack")); resp.StatusCode != 200 || body != "an attack" {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	want := []string{"begin", "headers", "body  truncated", "response headers", "response body  truncated", "close"}
	waitCalls(t, insp, len(want))
	if d := cmp.Diff(want, insp.calls); d != "" {
		t.Error(d)
	}
}

func mustPost(t *testing.T, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequest("POST", url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func waitCalls(t *testing.T, f *fakeInspector, n int) {
	t.Helper()
	for range 1000 {
		f.mu.Lock()
		got := len(f.calls)
		f.mu.Unlock()
		if got >= n {
			return
		}
		runtimeYield()
	}
}

func TestFail(t *testing.T) {
	up := backend(t, echo)
	for _, c := range []struct {
		name, fail string
		mode       Mode
		waf        bool // the inspector errs, not the judge
		status     int
		failure    string
	}{
		{"judge, open", "open", ModeBlock, false, 200, "not-judged"},
		{"judge, closed", "closed", ModeBlock, false, 503, "not-judged"},
		{"judge, closed, detect", "closed", ModeDetect, false, 200, "not-judged"},
		{"firewall, open", "open", ModeBlock, true, 200, ""},
		{"firewall, closed", "closed", ModeBlock, true, 503, "waf-error"},
		{"firewall, closed, detect", "closed", ModeDetect, true, 200, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			ed := start(t, []string{up}, func(s *setup) {
				s.route.Fail, s.route.Mode = c.fail, c.mode
				if c.waf {
					s.deps.Inspector = &fakeInspector{err: errors.New("parser gave up")}
					return
				}
				s.sink.judge = func(e *signal.Event) (signal.Verdict, error) {
					if isRequest(e) {
						return signal.Verdict{}, errJudge
					}
					return signal.Verdict{}, nil
				}
			})
			resp, _ := get(t, client1(t), ed.url)
			if resp.StatusCode != c.status {
				t.Errorf("status %d, want %d", resp.StatusCode, c.status)
			}
			e := ed.sink.wait(t, "response", isFinal)
			if got := e.Str(signal.FieldEdgeError); got != c.failure {
				t.Errorf("edge.error %q, want %q", got, c.failure)
			}
			if c.waf && e.Str(signal.FieldWAFError) != "parser gave up" {
				t.Errorf("waf.error %q", e.Str(signal.FieldWAFError))
			}
		})
	}
}

func TestVerdicts(t *testing.T) {
	up := backend(t, echo)
	for _, c := range []struct {
		decision     signal.Decision
		block, other int
	}{{signal.Allow, 200, 200}, {signal.Alert, 200, 200}, {signal.Limit, 429, 200}, {signal.Challenge, 403, 200}, {signal.Deny, 403, 200}} {
		for _, mode := range []Mode{ModeBlock, ModeDetect, ModeOff} {
			ed := start(t, []string{up}, func(s *setup) {
				s.route.Mode = mode
				s.sink.judge = func(e *signal.Event) (signal.Verdict, error) {
					if isRequest(e) {
						return signal.Verdict{Decision: c.decision, Hits: []signal.Hit{{Rule: "secret-rule", Title: "why", Why: "because"}}}, nil
					}
					return signal.Verdict{}, nil
				}
			})
			want := c.other
			if mode == ModeBlock {
				want = c.block
			}
			for _, accept := range []string{"text/html", "application/json", "*/*"} {
				resp, body := get(t, client1(t), ed.url, "Accept", accept)
				if resp.StatusCode != want {
					t.Errorf("%v in mode %s: %d, want %d", c.decision, mode, resp.StatusCode, want)
				}
				if want == 200 {
					continue
				}
				if strings.Contains(body, "secret-rule") || strings.Contains(body, "because") || !strings.Contains(body, resp.Header.Get("X-Request-Id")) {
					t.Errorf("page: %s", body)
				}
				if accept != "*/*" && !strings.HasPrefix(resp.Header.Get("Content-Type"), accept) {
					t.Errorf("accept %s: got %s", accept, resp.Header.Get("Content-Type"))
				}
				if (want == 429) != (resp.Header.Get("Retry-After") != "") {
					t.Errorf("Retry-After %q with %d", resp.Header.Get("Retry-After"), want)
				}
			}
			ed.stop()
		}
	}
}
