package edge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

// crowdGuard finds a hundred things of which only the last is refused.
type crowdGuard struct{ fakeGuard }

type crowdCheck struct{ fakeCheck }

func (g *crowdGuard) Begin(_ context.Context, x Exchange) Check {
	c := &crowdCheck{fakeCheck{g: &g.fakeGuard, x: x, f: Found{Operation: x.Request.Method + " /{x}"}}}
	for i := range 100 {
		c.f.Violations = append(c.f.Violations, Violation{Code: fmt.Sprintf("query/unknown%d", i), Message: "is unknown", Block: i == 99})
	}
	return c
}

// TestGuardIsNotCrowdedOut: what a request is refused by counts however much else was found before it, and is told of.
func TestGuardIsNotCrowdedOut(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, _ *http.Request) { t.Error("it came through") })
	ed := start(t, []string{up}, func(s *setup) { s.deps.Guard, s.sink.judge = &crowdGuard{}, byGuard })
	req, _ := http.NewRequest(strings.Repeat("LONG", 1000), ed.url, nil)
	if resp, _ := do(t, client1(t), req); resp.StatusCode != 403 {
		t.Errorf("status %d", resp.StatusCode)
	}
	e := ed.sink.wait(t, "request", isRequest)
	if codes := e.Strings(signal.FieldAPIViolations); len(codes) != maxViolations || codes[0] != "query/unknown99" || codes[1] != "query/unknown0" {
		t.Errorf("told %q", codes)
	}
	if n := len(e.Str(signal.FieldAPIOperation)); n > maxValue+8 {
		t.Errorf("the method of a stranger is recorded with %d bytes", n)
	}
}

// lateGuard holds the last byte of each piece back, and panics at a word.
type lateGuard struct{ fakeGuard }

type lateCheck struct {
	fakeCheck
	held []byte
}

func (g *lateGuard) Begin(_ context.Context, x Exchange) Check {
	return &lateCheck{fakeCheck: fakeCheck{g: &g.fakeGuard, x: x}}
}

func (c *lateCheck) Pass(p []byte, last bool) ([]byte, bool) {
	if bytes.Contains(p, []byte("panic")) {
		panic("at " + string(p))
	}
	c.held = append(c.held, p...)
	n := max(len(c.held)-1, 0)
	if last {
		n = len(c.held)
	}
	out := c.held[:n]
	c.held = bytes.Clone(c.held[n:])
	return out, true
}

// TestGuardPanicsWithBytes: where a check that panics has bytes of the response the client is not given the rest as if it were whole,
// whatever the route's fail mode is.
func TestGuardPanicsWithBytes(t *testing.T) {
	for _, first := range []string{"", "first"} {
		seen := make(chan struct{})
		up := backend(t, func(w http.ResponseWriter, _ *http.Request) {
			if first != "" {
				io.WriteString(w, first)
				w.(http.Flusher).Flush()
				<-seen
			}
			io.WriteString(w, "panic")
		})
		ed := start(t, []string{up}, func(s *setup) { s.route.Fail, s.deps.Guard = "open", &lateGuard{fakeGuard{fake: fake{pass: true}}} })
		resp, err := client1(t).Get(ed.url)
		if err != nil {
			t.Fatal(err)
		}
		if first != "" {
			if _, err := io.ReadFull(resp.Body, make([]byte, len(first)-1)); err != nil {
				t.Fatal(err)
			}
		}
		close(seen)
		rest, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if first == "" && (err != nil || string(rest) != "panic") {
			t.Errorf("nothing was held back: %q %v", rest, err)
		}
		if first != "" && err == nil {
			t.Errorf("a response with a hole: %q", rest)
		}
	}
}

// TestGuardIsTold: whether a route refuses is known to the check.
func TestGuardIsTold(t *testing.T) {
	up := backend(t, func(http.ResponseWriter, *http.Request) {})
	for _, mode := range []Mode{ModeDetect, ModeBlock} {
		g := &toldGuard{}
		ed := start(t, []string{up}, func(s *setup) { s.route.Mode, s.deps.Guard = mode, g })
		get(t, client1(t), ed.url)
		if g.blocks != (mode == ModeBlock) {
			t.Errorf("mode %s: %v", mode, g.blocks)
		}
	}
}

type toldGuard struct{ blocks bool }

func (g *toldGuard) Begin(_ context.Context, x Exchange) Check {
	g.blocks = x.Blocks
	return nil
}

// TestTargets: what a client calls its parameters and fields may be a secret.
func TestTargets(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/items/0/price_cents": "/items/0/price_cents", "/items/*/price": "/items/*/price", "claims/exp": "claims/exp", "header X-Original-Url": "header X-Original-Url",
		"cookie jwt": "cookie jwt", "0.items.name": "0.items.name", "/4111111111111111/a": "/*/a", "eyJhbGciOiJIUzI1NiJ9": "*", "query my password": "*", "/a b": "/*", "201": "201",
	} {
		if got := target(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
