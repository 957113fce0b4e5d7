package edge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

type fake struct {
	body, hold int64
	pass       bool
	block      bool
	panics     string // in which method
	cut        string // a piece with this ends the response
}

// fakeGuard finds the word "odd" in requests and "leak" in responses, and masks the word "card".
type fakeGuard struct {
	fake

	mu    sync.Mutex
	calls []string
}

type fakeCheck struct {
	g *fakeGuard
	x Exchange
	f Found
}

func (g *fakeGuard) note(call string, args ...any) {
	g.mu.Lock()
	g.calls = append(g.calls, fmt.Sprintf(call, args...))
	g.mu.Unlock()
	if method, _, _ := strings.Cut(call, " "); method == g.panics {
		_ = []string{}[len(method)]
	}
}

func (g *fakeGuard) all() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

func (g *fakeGuard) Begin(_ context.Context, x Exchange) Check {
	g.note("begin %s %s", x.Route, x.Path)
	if strings.HasPrefix(x.Path, "/free") {
		return nil
	}
	return &fakeCheck{g: g, x: x, f: Found{Operation: x.Request.Method + " /{x}", Document: "Fake", Subject: "s1", Auth: "jwt"}}
}

func (c *fakeCheck) find(text, word, code string) {
	if strings.Contains(text, word) {
		c.f.Violations = append(c.f.Violations, Violation{Code: code, Target: "/" + word, Message: word + " is not described", Block: c.g.block})
	}
}

func (c *fakeCheck) Request() int64 {
	c.g.note("request")
	c.find(c.x.Request.URL.RawQuery, "odd", "query/unknown")
	return c.g.body
}

func (c *fakeCheck) RequestBody(b []byte, truncated bool) {
	c.g.note("body %s %v", b, truncated)
	c.find(string(b), "odd", "body/unknown")
}

func (c *fakeCheck) Forward(h http.Header) {
	c.g.note("forward")
	h["Accept-Encoding"] = []string{"identity"}
}

func (c *fakeCheck) Response(status int, h http.Header) (int64, bool) {
	c.g.note("response %d", status)
	h.Set("X-Looked", "at")
	return c.g.hold, c.g.pass
}

func (c *fakeCheck) ResponseBody(b []byte, truncated bool) {
	c.g.note("answer %s %v", b, truncated)
	c.find(string(b), "leak", "leak/seen")
}

func (c *fakeCheck) Pass(p []byte, last bool) ([]byte, bool) {
	c.g.note("pass %s %v", p, last)
	if c.g.cut != "" && bytes.Contains(p, []byte(c.g.cut)) {
		return nil, false
	}
	if bytes.Contains(p, []byte("card")) && !slices.Contains(c.f.Sensitive, "card") {
		c.f.Sensitive = append(c.f.Sensitive, "card")
	}
	return bytes.ReplaceAll(p, []byte("card"), []byte("****")), true
}

func (c *fakeCheck) Found() *Found { return &c.f }

func (c *fakeCheck) Close(e End) {
	c.g.note("close %d %d %v", e.Status, e.Sent, e.Whole)
}

// byGuard decides as the built-in rules do.
func byGuard(e *signal.Event) (signal.Verdict, error) {
	if e.Bool(signal.FieldAPIBlock) {
		return signal.Verdict{Decision: signal.Deny}, nil
	}
	return signal.Verdict{}, nil
}

func TestGuard(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("X-Encoding-Asked", r.Header.Get("Accept-Encoding"))
		fmt.Fprintf(w, "%s%s", r.URL.Query().Get("say"), b)
	})
	for _, c := range []struct {
		name, path, body string
		guard            fake
		mode             Mode
		waf              bool // the firewall looks too, at 4 bytes of bodies
		status           int
		want             string
		calls            []string
		firewall         []string
	}{
		{"not guarded", "/free?say=odd", "", fake{block: true}, ModeBlock, false, 200, "odd", []string{"begin shop /free"}, nil},
		{"mode off", "/?say=odd", "", fake{block: true}, ModeOff, false, 200, "odd", nil, nil},
		{"honest", "/a%2Fb?say=x", "hello", fake{body: 10, hold: 10, pass: true, block: true}, ModeBlock, false, 200, "xhello",
			[]string{"begin shop /a%2Fb", "request", "body hello false", "forward", "response 200", "answer xhello false", "pass xhello false", "pass  true", "close 200 6 true"}, nil},
		{"refused by its query", "/?say=odd", "hello", fake{body: 10, block: true}, ModeBlock, false, 403, "",
			[]string{"begin shop /", "request", "body hello false", "close 403 0 false"}, nil},
		{"refused by its body", "/", "odd", fake{body: 10, block: true}, ModeBlock, false, 403, "", []string{"begin shop /", "request", "body odd false", "close 403 0 false"}, nil},
		{"reported only", "/", "odd", fake{body: 10}, ModeBlock, false, 200, "odd",
			[]string{"begin shop /", "request", "body odd false", "forward", "response 200", "close 200 3 true"}, nil},
		{"detected only", "/", "odd", fake{body: 10, block: true}, ModeDetect, false, 200, "odd",
			[]string{"begin shop /", "request", "body odd false", "forward", "response 200", "close 200 3 true"}, nil},
		{"the firewall wants less", "/", "0123456789", fake{body: 8, hold: 8}, ModeBlock, true, 200, "0123456789",
			[]string{"begin shop /", "request", "body 01234567 true", "forward", "response 200", "answer 01234567 true", "close 200 10 true"},
			[]string{"begin", "headers", "body 0123 truncated", "response headers", "response body 0123 truncated", "close"}},
		{"the firewall wants more", "/", "012", fake{body: 2, hold: 2}, ModeBlock, true, 200, "012",
			[]string{"begin shop /", "request", "body 01 true", "forward", "response 200", "answer 01 true", "close 200 3 true"},
			[]string{"begin", "headers", "body 012", "response headers", "response body 012", "close"}},
		{"a leak in the answer", "/?say=leak", "", fake{hold: 100, block: true}, ModeBlock, false, 502, "",
			[]string{"begin shop /", "request", "forward", "response 200", "answer leak false", "close 502 0 true"}, nil},
		{"not masked where nothing is blocked", "/?say=card", "", fake{pass: true}, ModeDetect, false, 200, "card",
			[]string{"begin shop /", "request", "forward", "response 200", "pass card false", "pass  true", "close 200 4 true"}, nil},
		{"masked on its way", "/?say=card", "", fake{pass: true}, ModeBlock, false, 200, "****",
			[]string{"begin shop /", "request", "forward", "response 200", "pass card false", "pass  true", "close 200 4 true"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g, f := &fakeGuard{fake: c.guard}, &fakeInspector{bodyLimit: 4, responseLimit: 4}
			ed := start(t, []string{up}, func(s *setup) {
				s.route.Name, s.route.Mode, s.route.WAF = "shop", c.mode, c.waf
				s.deps.Guard, s.deps.Inspector, s.sink.judge = g, f, byGuard
			})
			req, _ := http.NewRequest("POST", ed.url+c.path, strings.NewReader(c.body))
			resp, body := do(t, client1(t), req)
			if resp.StatusCode != c.status || c.status == 200 && body != c.want {
				t.Errorf("got %d %q", resp.StatusCode, body)
			}
			if len(c.calls) > 1 && c.status == 200 && (resp.Header.Get("X-Looked") != "at" || resp.Header.Get("X-Encoding-Asked") != "identity") {
				t.Errorf("headers %v", resp.Header)
			}
			for range 1000 {
				if len(g.all()) >= len(c.calls) {
					break
				}
				runtimeYield()
			}
			if d := cmp.Diff(c.calls, g.all()); d != "" {
				t.Errorf("calls: %s", d)
			}
			if c.waf {
				waitCalls(t, f, len(c.firewall))
				if d := cmp.Diff(c.firewall, f.calls); d != "" {
					t.Errorf("the firewall's calls: %s", d)
				}
			}
			e := ed.sink.wait(t, "request", isRequest)
			guards := len(c.calls) > 1
			if guards != e.Has(signal.FieldAPIOperation) || guards && (e.Str(signal.FieldAPIOperation) != "POST /{x}" || e.Str(signal.FieldAPISubject) != "s1") {
				t.Errorf("event %s", e.AppendJSON(nil))
			}
			if odd := guards && strings.Contains(c.path+c.body, "odd"); odd != e.Has(signal.FieldAPIViolations) || odd && e.Bool(signal.FieldAPIBlock) != c.guard.block {
				t.Errorf("event %s", e.AppendJSON(nil))
			}
		})
	}
}

// TestGuardOfAResponse: what the response holds is told of once, by an event of its own where the head's could not know it.
func TestGuardOfAResponse(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("declared") {
			w.Header().Set("Content-Length", "16")
		}
		for _, s := range []string{"12345678", "the card"} {
			io.WriteString(w, s)
			w.(http.Flusher).Flush()
		}
	})
	for _, query := range []string{"?declared", ""} {
		g := &fakeGuard{fake: fake{pass: true}}
		ed := start(t, []string{up}, func(s *setup) { s.deps.Guard = g })
		if resp, body := get(t, client1(t), ed.url+"/"+query); body != "12345678the ****" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		e := ed.sink.wait(t, "data in the response", func(e *signal.Event) bool { return e.Has(signal.FieldAPISensitive) })
		if got := e.Strings(signal.FieldAPISensitive); !slices.Equal(got, []string{"card"}) || !isFinal(e) {
			t.Errorf("%s", e.AppendJSON(nil))
		}
		told := 0
		for _, e := range ed.sink.all() {
			if e.Has(signal.FieldAPISensitive) {
				told++
			}
		}
		if told != 1 {
			t.Errorf("told %d times", told)
		}
	}
}

// TestGuardCutsOff: a response is cut in its midst, so that the client does not take the part for the whole.
func TestGuardCutsOff(t *testing.T) {
	seen := make(chan struct{})
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-seen
		io.WriteString(w, "second")
	})
	g := &fakeGuard{fake: fake{pass: true, cut: "second"}}
	ed := start(t, []string{up}, func(s *setup) { s.deps.Guard = g })
	resp, err := client1(t).Get(ed.url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	first := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
		t.Fatalf("%q %v", first, err)
	}
	close(seen)
	if rest, err := io.ReadAll(resp.Body); err == nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	ed.sink.wait(t, "the end", hasError("stopped"))
}

// TestGuardPanics: a panic ends the check and not the request; the route's fail mode decides.
func TestGuardPanics(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "fine") })
	for _, method := range []string{"begin", "request", "body", "forward", "response", "answer", "pass", "close"} {
		for _, fail := range []string{"open", "closed"} {
			t.Run(method+" "+fail, func(t *testing.T) {
				var text bytes.Buffer
				g := &fakeGuard{fake: fake{body: 10, hold: 10, pass: true, panics: method}}
				ed := start(t, []string{up}, func(s *setup) {
					s.route.Fail = fail
					s.deps.Guard, s.deps.Logger = g, newTextLog(&text)
				})
				status, read := 0, ""
				resp, err := client1(t).Post(ed.url+"/?q=odd", "text/plain", strings.NewReader("hello"))
				if err == nil {
					b, err2 := io.ReadAll(resp.Body)
					resp.Body.Close()
					status, read, err = resp.StatusCode, string(b), errors.Join(err, err2)
				}
				var ok bool
				switch closed := fail == "closed"; {
				case method == "close" || !closed:
					ok = err == nil && status == 200 && read == "fine"
				case method == "begin" || method == "request" || method == "body":
					ok = status == 503
				case method == "pass":
					ok = err != nil || status == 502
				default:
					ok = status == 502
				}
				if !ok {
					t.Errorf("%d %q %v", status, read, err)
				}
				if method != "close" {
					ed.sink.wait(t, "the panic", func(e *signal.Event) bool { return strings.Contains(e.Str(signal.FieldAPIError), "panic") })
				}
				ed.stop()
				if strings.Contains(text.String(), "odd") || !strings.Contains(text.String(), "panic while") {
					t.Errorf("log: %s", text.String())
				}
			})
		}
	}
}
