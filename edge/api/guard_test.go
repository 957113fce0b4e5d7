package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/config"
	"github.com/testudo-sec/testudo/detect/personal"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api/inventory"
)

// rig is a guard of one route, shop.
type rig struct {
	g       *Guard
	from    netip.AddrPort
	now     time.Time
	clock   atomic.Int64 // now, for the guard in an edge
	watches bool         // the edge's route only detects
	suspect bool         // firewall or judge have something against requests
}

// newRig reads a configuration of the route in YAML.
func newRig(t testing.TB, text string, files map[string]string) *rig {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var file struct {
		API Config `yaml:"api"`
	}
	file.API = Default()
	if err := config.Decode("testudo.yaml", []byte("api:\n  routes:\n    - route: shop\n"+text), &file); err != nil {
		t.Fatal(err)
	}
	r := &rig{from: netip.MustParseAddrPort("203.0.113.7:4711"), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	r.set(r.now)
	g, err := New(t.Context(), file.API, Deps{Routes: []string{"shop", "other"}, Dir: dir, Secret: []byte("0123456789abcdef"), Now: func() time.Time { return time.Unix(0, r.clock.Load()) }})
	if err != nil {
		t.Fatal(err)
	}
	r.g = g
	return r
}

// set says what time it is.
func (r *rig) set(now time.Time) {
	r.now = now
	r.clock.Store(now.UnixNano())
}

// exchanged is an exchange as the edge has it, without a judge.
type exchanged struct {
	edge.Found
	request int    // violations found before it went on
	forward string // Accept-Encoding as the server sees it
	body    string // as the client sees it
	cut     bool
}

func (x *exchanged) codes() (all []string) {
	for _, v := range x.Violations {
		code := v.Code
		if v.Block {
			code += "!"
		}
		all = append(all, code)
	}
	return all
}

// do sends a request, as HTTP/1 text without Host, through the guard, and an answer back.
func (r *rig) do(t testing.TB, method, target, header, body string, status int, answerType, answer string) *exchanged {
	t.Helper()
	r.set(r.now)
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	req := &http.Request{Method: method, URL: u, RequestURI: target, Header: headers(header), ContentLength: int64(len(body)), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	path, _, _ := strings.Cut(target, "?")
	c := r.g.Begin(t.Context(), edge.Exchange{Request: req, Client: r.from, Time: r.now, Route: "shop", Host: "shop.test", Path: path, Blocks: !r.watches})
	if c == nil {
		t.Fatal("nothing is looked at")
	}
	x := &exchanged{}
	if n := c.Request(); n > 0 {
		c.RequestBody([]byte(body)[:min(int(n), len(body))], len(body) > int(n))
	}
	x.request = len(c.Found().Violations)
	c.Forward(req.Header)
	x.forward = req.Header.Get("Accept-Encoding")
	h := headers(answerType)
	hold, pass := c.Response(status, h)
	if hold > 0 {
		c.ResponseBody([]byte(answer)[:min(int(hold), len(answer))], len(answer) > int(hold))
	}
	if pass {
		var out bytes.Buffer
		for piece := range slices.Chunk([]byte(answer), 7) {
			p, ok := c.Pass(piece, false)
			if x.cut = x.cut || !ok; x.cut {
				break
			}
			out.Write(p)
		}
		if !x.cut {
			p, ok := c.Pass(nil, true)
			x.cut = !ok
			out.Write(p)
		}
		x.body = out.String()
	} else {
		x.body = answer
	}
	x.Found = *c.Found()
	c.Close(edge.End{Status: status, Sent: int64(len(x.body)), Whole: !x.cut, Clean: !r.suspect})
	return x
}

func headers(text string) http.Header {
	h := http.Header{}
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			h.Add(name, value)
		}
	}
	return h
}

const document = `
openapi: 3.1.0
info: {title: Orders, version: "1"}
components:
  securitySchemes: {t: {type: http, scheme: bearer}}
paths:
  /orders/{id}:
    get:
      parameters: [{name: id, in: path, required: true, schema: {type: integer}}]
      responses: {"200": {description: x, content: {application/json: {schema: {type: object, properties: {id: {type: integer}, total: {type: number}}, additionalProperties: false}}}}}
  /orders:
    post:
      requestBody: {required: true, content: {application/json: {schema: {type: object, required: [item], additionalProperties: false, properties: {item: {type: string, maxLength: 8}, count: {type: integer}}}}}}
      responses: {"201": {description: x}}
`

const jsonType = "Content-Type: application/json"

func TestDocument(t *testing.T) {
	for _, c := range []struct {
		name, cfg            string
		method, target, body string
		answer               string
		operation            string
		codes                []string
	}{
		{"honest", "", "GET", "/orders/7", "", `{"id": 7}`, "GET /orders/{id}", nil},
		{"a word for a number", "", "GET", "/orders/seven", "", `{"id": 7}`, "GET /orders/{id}", []string{"path/type!"}},
		{"reported only", "requests: report", "GET", "/orders/seven", "", `{"id": 7}`, "GET /orders/{id}", []string{"path/type"}},
		{"left out", "requests: off", "GET", "/orders/seven", "", `{"id": 7}`, "GET /orders/{id}", nil},
		{"unknown path", "", "GET", "/admin", "", ``, "", []string{"path/undocumented"}},
		{"unknown path refused", "undocumented: block", "GET", "/admin", "", ``, "", []string{"path/undocumented!"}},
		{"unknown method", "undocumented: block", "DELETE", "/orders/7", "", ``, "", []string{"method/undocumented!"}},
		{"unknown parameter", "", "GET", "/orders/7?debug=1", "", `{"id": 7}`, "GET /orders/{id}", []string{"query/unknown!"}},
		{"any parameter", "any_query: true", "GET", "/orders/7?debug=1", "", `{"id": 7}`, "GET /orders/{id}", nil},
		{"body", "", "POST", "/orders", `{"item": "rope", "count": 2}`, ``, "POST /orders", nil},
		{"field too much", "", "POST", "/orders", `{"item": "rope", "price": 0}`, ``, "POST /orders", []string{"body/additionalProperties!", "assignment/privileged-field"}},
		{"field too long", "", "POST", "/orders", `{"item": "rope of gold"}`, ``, "POST /orders", []string{"body/maxLength!"}},
		{"no body", "", "POST", "/orders", ``, ``, "POST /orders", []string{"body/required!"}},
		{"an answer with a field too much", "", "GET", "/orders/7", "", `{"id": 7, "margin": 3}`, "GET /orders/{id}", []string{"response/additionalProperties"}},
		{"that is refused", "responses: block", "GET", "/orders/7", "", `{"id": 7, "margin": 3}`, "GET /orders/{id}", []string{"response/additionalProperties!"}},
		{"a long body", "bodies: 16", "POST", "/orders", `{"item": "rope", "count": 2}`, ``, "POST /orders", []string{"body/not-checked!"}},
		{"a long body refused", "{bodies: 16, unchecked: block}", "POST", "/orders", `{"item": "rope", "count": 2}`, ``, "POST /orders", []string{"body/not-checked!"}},
		{"override", "", "GET", "/orders/7?_method=DELETE", "", `{"id": 7}`, "GET /orders/{id}", []string{"bypass/method-override", "query/unknown!"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "      document: orders.yaml\n"+indent(c.cfg), map[string]string{"orders.yaml": document})
			status := http.StatusOK
			if c.method == "POST" {
				status = http.StatusCreated
			}
			answerType := jsonType
			if c.answer == "" {
				answerType = ""
			}
			header := ""
			if c.body != "" {
				header = jsonType
			}
			x := r.do(t, c.method, c.target, header, c.body, status, answerType, c.answer)
			if d := cmp.Diff(c.codes, x.codes()); d != "" {
				t.Errorf("%s\n%+v", d, x.Violations)
			}
			if x.Operation != c.operation || (x.Document == "Orders") != (c.operation != "") {
				t.Errorf("operation %q of %q", x.Operation, x.Document)
			}
			if x.body != c.answer {
				t.Errorf("body %q", x.body)
			}
			for _, v := range x.Violations {
				for _, value := range []string{"seven", "gold", "debug=1"} {
					if strings.Contains(v.Message+v.Target, value) {
						t.Errorf("a value is told: %+v", v)
					}
				}
			}
		})
	}
}

// indent writes settings as those of the route: a line, or a map in braces.
func indent(s string) string {
	if s == "" {
		return ""
	}
	var b strings.Builder
	for _, line := range strings.Split(strings.Trim(s, "{}"), ", ") {
		fmt.Fprintf(&b, "      %s\n", line)
	}
	return b.String()
}

func TestLeaks(t *testing.T) {
	const card = `{"owner": "x", "card": "4111 1111 1111 1111", "mail": "a@example.com"}`
	const masked = `{"owner": "x", "card": "**** **** **** 1111", "mail": "a@example.com"}`
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	io.WriteString(w, card)
	w.Close()
	for _, c := range []struct {
		name, cfg, header, answer string
		want                      string
		codes                     []string
		forward                   string
		cut                       bool
	}{
		{"reported", "leaks: {mode: report}", jsonType, card, card, []string{"leak/card"}, "", false},
		{"reported though compressed", "leaks: {mode: report}", jsonType + "\nContent-Encoding: gzip", zipped.String(), zipped.String(), []string{"leak/card"}, "", false},
		{"masked", "leaks: {mode: mask}", jsonType, card, masked, []string{"leak/card"}, "identity", false},
		{"left to the verdict", "leaks: {mode: block}", jsonType, card, card, []string{"leak/card!"}, "identity", false},
		{"cut behind what was judged", "leaks: {mode: block}\n      bodies: 16", jsonType, card, "", []string{"leak/card!"}, "identity", true},
		{"cut in a stream", "leaks: {mode: block}", "Content-Type: text/event-stream", "data: 1\n\n" + card + "\n\ndata: 2\n\n", "", []string{"leak/card!"}, "identity", true},
		{"compressed though it must not be", "leaks: {mode: mask}", jsonType + "\nContent-Encoding: gzip", zipped.String(), zipped.String(), []string{"leak/not-checked", "leak/card"}, "identity", false},
		{"a picture", "leaks: {mode: mask}", "Content-Type: image/png", card, card, nil, "identity", false},
		{"off", "leaks: {mode: off}", jsonType, card, card, nil, "", false},
		{"other kinds", "leaks: {mode: report, find: {kinds: [bank]}}", jsonType, card, card, nil, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "      "+c.cfg+"\n", nil)
			x := r.do(t, "GET", "/me", "", "", 200, c.header, c.answer)
			if d := cmp.Diff(c.codes, x.codes()); d != "" {
				t.Errorf("%s\n%+v", d, x.Violations)
			}
			if !x.cut && x.body != c.want || x.cut != c.cut || x.forward != c.forward {
				t.Errorf("body %q, cut %v, forwarded %q", x.body, x.cut, x.forward)
			}
			if x.cut && strings.Contains(x.body, "4111") {
				t.Errorf("went out: %q", x.body)
			}
			if sensitive := len(c.codes) > 0; sensitive != slices.Contains(x.Sensitive, personal.Card) {
				t.Errorf("sensitive %q", x.Sensitive)
			}
		})
	}
}

// TestLearns: endpoints are learned without any document, saved, and known by the next guard.
func TestLearns(t *testing.T) {
	r := newRig(t, "      leaks: {mode: off}\n", nil)
	for i := range 60 {
		r.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(i%20 + 1)}), 1000)
		r.do(t, "GET", fmt.Sprintf("/users/%d?full=true", i), "Authorization: Bearer t"+fmt.Sprint(i%20), "", 200, jsonType, fmt.Sprintf(`{"id": %d, "name": "n"}`, i))
	}
	r.g.Inventory().Refresh()
	x := r.do(t, "GET", "/users/99?full=true", "", "", 200, jsonType, `{"id": 99}`)
	if x.Operation != "GET /users/{id}" && x.Operation != "GET /users/{userId}" {
		t.Errorf("operation %q", x.Operation)
	}
	s := &memory{}
	r.g.stores[0].store = s
	r.g.save(t.Context())
	var text map[string]any
	if err := json.Unmarshal(s.b, &text); err != nil {
		t.Fatal(err)
	}
	g, err := New(t.Context(), Default(), Deps{Routes: []string{"shop"}, Secret: []byte("0123456789abcdef"), Store: s})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(g.Inventory().Endpoints(inventory.Filter{})), 1; got != want {
		t.Errorf("%d endpoints, want %d", got, want)
	}
	s.b = []byte("{")
	if _, err := New(t.Context(), Default(), Deps{Routes: []string{"shop"}, Secret: []byte("0123456789abcdef"), Store: s}); err != nil {
		t.Error("what cannot be read keeps it from starting: ", err)
	}
}

type memory struct {
	b    []byte
	fail bool
}

func (m *memory) Load(context.Context) ([]byte, error) { return m.b, nil }

func (m *memory) Save(_ context.Context, b []byte) error {
	if m.fail {
		return errors.New("the disk is full")
	}
	m.b = b
	return nil
}

// TestWalk: one subject opens what was given to others; what is not certain is told and not blocked by.
func TestWalk(t *testing.T) {
	r := newRig(t, "      objects: block\n      leaks: {mode: off}\n", nil)
	id := func(user, n int) int { return 100_000 + (user*7919+n*104_729)%800_000 }
	for day := range 3 {
		for user := range 40 {
			who := fmt.Sprintf("Authorization: Bearer u%d", user)
			var list []string
			for n := range 4 {
				list = append(list, fmt.Sprintf(`{"id": %d}`, id(user, n)))
			}
			r.do(t, "GET", "/orders", who, "", 200, jsonType, "["+strings.Join(list, ",")+"]")
			for n := range 4 {
				r.do(t, "GET", fmt.Sprintf("/orders/%d", id(user, n)), who, "", 200, jsonType, fmt.Sprintf(`{"id": %d}`, id(user, n)))
			}
			r.now = r.now.Add(time.Minute)
		}
		r.g.Inventory().Refresh()
		r.now = r.now.Add(time.Duration(day+1) * 8 * time.Hour)
	}
	var first int
	for user := range 40 {
		x := r.do(t, "GET", fmt.Sprintf("/orders/%d", id(user, 1)), "Authorization: Bearer thief", "", 200, jsonType, `{"id": 1}`)
		if slices.ContainsFunc(x.codes(), func(c string) bool { return strings.HasPrefix(c, "object/") }) {
			first = user + 1
			break
		}
	}
	if first == 0 {
		t.Fatal("nobody notices")
	}
	x := r.do(t, "GET", fmt.Sprintf("/orders/%d", id(39, 2)), "Authorization: Bearer thief", "", 200, jsonType, `{"id": 1}`)
	if x.request == 0 || !strings.HasPrefix(x.Violations[0].Code, "object/") {
		t.Errorf("the next request is not known for what it is: %+v", x.Violations)
	}
	t.Logf("noticed at object %d: %v", first, x.codes())
}
