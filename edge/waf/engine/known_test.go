package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// TestKnown holds that what is remembered of texts changes no verdict: attacks and harmless requests, some again and again with
// other values, are judged the same by an engine that remembers and by one that does not, at all paranoia levels.
func TestKnown(t *testing.T) {
	remembers, forgets := newPair(t, shipped), newPair(t, shipped)
	forgets.engine.Forget()
	r := rand.New(rand.NewPCG(5, 3))
	var some []*message
	for range 3000 / require.Stride(10) {
		m := randomMessage(r)
		switch {
		case len(some) > 0 && r.IntN(2) == 0: // the names of one that came before, in other places and at another level
			old := some[r.IntN(len(some))]
			m.header, m.level = append(slices.Clone(old.header), header{"X-" + value(r), value(r)}), 1+r.IntN(4)
		case r.IntN(3) == 0: // attacks as names
			m.uri += "?" + query(value(r)) + "=1"
			m.header = append(m.header, header{"Cookie", value(r) + "=1"}, header{"Accept-Language", value(r)}, header{value(r), "x"})
		}
		some = append(some, m)
		if want, got := forgets.byEngine(m), remembers.byEngine(m); want.String() != got.String() {
			t.Fatalf("%+v\n%s", *m, difference(want, got))
		}
	}
	if n := len(remembers.engine.Known()); n < 100 {
		t.Errorf("%d texts are remembered: the test shows nothing", n)
	}
}

// TestKnownKeepsNoSecrets holds that values of parameters, cookies and credentials, and paths, are not remembered.
func TestKnownKeepsNoSecrets(t *testing.T) {
	p := newPair(t, shipped)
	for range 5 {
		p.byEngine(&message{method: "POST", uri: "/reset/s3cret-1?token=s3cret-2", proto: "HTTP/1.1", level: 4, status: 200,
			header: []header{{"Host", "example.org"}, {"User-Agent", "Mozilla/5.0"}, {"Cookie", "session=s3cret-3"}, {"Authorization", "Bearer s3cret-4"}, {"X-Api-Key", "s3cret-5"},
				{"Referer", "https://example.org/?key=s3cret-6"}, {"Content-Type", "application/json"}},
			body: `{"password":"s3cret-7","list":["s3cret-8"]}`, respHeader: []header{{"Content-Type", "text/html"}, {"Set-Cookie", "session=s3cret-9"}, {"Location", "/s3cret-10"}}, respBody: "s3cret-11"})
	}
	texts := p.engine.Known()
	for _, want := range []string{"Mozilla/5.0", "json.password", "session"} {
		if !slices.Contains(texts, want) {
			t.Errorf("%q is not remembered, of %q", want, texts)
		}
	}
	for _, text := range texts {
		if strings.Contains(strings.ToLower(text), "s3cret") {
			t.Errorf("%q is remembered", text)
		}
	}
}

// TestKnownIsBounded holds that texts without end take no more than their places, and long ones none, while requests are judged at once.
func TestKnownIsBounded(t *testing.T) {
	p := newPair(t, shipped)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 300 / require.Stride(10) {
				m := &message{method: "GET", uri: "/?", proto: "HTTP/1.1", level: 1, header: []header{{"Host", "example.org"}, {"User-Agent", strings.Repeat("long ", 60)}}}
				for k := range 30 {
					m.uri += fmt.Sprintf("name-%d-%d-%d=1&", w, i, k)
				}
				p.byEngine(m)
				p.byEngine(m)
			}
		})
	}
	wg.Wait()
	texts := p.engine.Known()
	if n := len(texts); n == 0 || n > 4096*9 {
		t.Errorf("%d texts are remembered", n)
	}
	if slices.ContainsFunc(texts, func(s string) bool { return len(s) > 192 }) {
		t.Error("a long text is remembered")
	}
}
