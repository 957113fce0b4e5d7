package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// heldWriter is a client that reads nothing until it is let go.
type heldWriter struct {
	header http.Header
	first  chan struct{} // closed when the stream has begun
	once   sync.Once
	gate   chan struct{}
	mu     sync.Mutex
	buf    bytes.Buffer
}

func (h *heldWriter) Header() http.Header              { return h.header }
func (h *heldWriter) WriteHeader(int)                  {}
func (h *heldWriter) SetWriteDeadline(time.Time) error { return nil }
func (h *heldWriter) SetReadDeadline(time.Time) error  { return nil }
func (h *heldWriter) FlushError() error                { return nil }
func (h *heldWriter) Flush()                           {}

func (h *heldWriter) Write(b []byte) (int, error) {
	h.once.Do(func() { close(h.first) })
	<-h.gate
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.Write(b)
}

func (h *heldWriter) text() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.String()
}

// TestSlowReaderIsToldWhatItLost overtakes a reader by more than the ring holds.
func TestSlowReaderIsToldWhatItLost(t *testing.T) {
	w := consoletest.New()
	s := consoletest.Serve(t, w, nil)
	ready(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := httptest.NewRequest("GET", "https://localhost/api/v1/events/stream", nil).WithContext(ctx)
	r.Header.Set("Authorization", "Bearer "+consoletest.ViewerToken)
	held := &heldWriter{header: http.Header{}, first: make(chan struct{}), gate: make(chan struct{})}
	done := make(chan struct{})
	go func() { defer close(done); s.Handler().ServeHTTP(held, r) }()
	<-held.first
	const total, ring = 10_000, 4096
	for range total / 100 {
		batch := make([]*signal.Event, 100)
		for i := range batch {
			batch[i] = consoletest.Request(w.Now(), "192.0.2.1", "GET", "/", "", signal.Allow, "")
		}
		w.Publish(batch...)
	}
	waitFor(t, w.Drained) // all of them are in the ring before the reader goes on
	close(held.gate)
	waitFor(t, func() bool { return strings.Contains(held.text(), "data: ") && strings.HasSuffix(held.text(), "\n\n") })
	cancel()
	<-done
	_, data, _ := strings.Cut(held.text(), "data: ")
	data, _, _ = strings.Cut(data, "\n")
	var u update
	if err := json.Unmarshal([]byte(data), &u); err != nil {
		t.Fatal(err)
	}
	if u.Lost < total-ring-100 || u.Lost > total-ring || len(u.Events) != 50 || u.Lost+u.Skipped+50 > total || u.Skipped < ring-150 {
		t.Errorf("lost %d, skipped %d, shown %d of %d", u.Lost, u.Skipped, len(u.Events), total)
	}
}

// TestLoweredRoleEndsStream checks that who may less now does not go on watching as before.
func TestLoweredRoleEndsStream(t *testing.T) {
	w := consoletest.New()
	s := consoletest.Serve(t, w, nil)
	s.SetBeat(20 * time.Millisecond)
	tp := openTap(t, s, "/api/v1/changes", consoletest.OperatorName, w, "")
	w.Lock.Lock()
	for i := range w.People {
		if w.People[i].Name == consoletest.OperatorName {
			w.People[i].Role = console.RoleViewer
		}
	}
	w.Lock.Unlock()
	if m, ok := tp.next(); !ok || m.event != "bye" {
		t.Errorf("the stream goes on with %+v, %v", m, ok)
	}
}

func TestSessionsOfOthers(t *testing.T) {
	b := newBench(t, nil)
	viewers, admins := sessionID(b, consoletest.ViewerName), sessionID(b, consoletest.AdminName)
	seen := func(person string) (ids []string) {
		for _, s := range decode[console.Page[console.SessionView]](t, b.send(b.request("GET", "/api/v1/sessions", "", person))).Items {
			if s.Current != (s.ID == sessionID(b, person)) {
				t.Errorf("%s sees %+v", person, s)
			}
			ids = append(ids, s.ID)
		}
		return ids
	}
	if ids := seen(consoletest.ViewerName); len(ids) != 1 || ids[0] != viewers {
		t.Errorf("a viewer sees the sessions %v", ids)
	}
	if ids := seen(consoletest.AdminName); len(ids) != 3 {
		t.Errorf("an admin sees the sessions %v", ids)
	}
	end := func(person, id string) int {
		return b.send(b.request("DELETE", "/api/v1/sessions/"+id, "", person)).Code
	}
	if got := end(consoletest.ViewerName, admins); got != http.StatusForbidden {
		t.Errorf("a viewer ends an admin's session: %d", got)
	}
	if got := end(consoletest.AdminName, viewers); got != http.StatusNoContent {
		t.Errorf("an admin ends a viewer's session: %d", got)
	}
	if got := b.send(b.request("GET", "/api/v1/me", "", consoletest.ViewerName)).Code; got != http.StatusUnauthorized {
		t.Errorf("after that the viewer gets %d", got)
	}
}

// TestLinksLeadHere checks what an invitation shows.
func TestLinksLeadHere(t *testing.T) {
	b := newBench(t, nil)
	for _, ex := range []example{b.example("invite"), b.example("consoleLink")} {
		inv := decode[console.Invitation](t, b.send(b.request("POST", ex.path, ex.body, consoletest.AdminName)))
		secret, ok := strings.CutPrefix(inv.URL, "https://127.0.0.1:7443/welcome?link=")
		if !ok || secret == "" {
			t.Errorf("%s gives %+v", ex.op, inv)
		}
		if _, err := b.Link(httptest.NewRequest("GET", "/", nil), secret); err != nil {
			t.Errorf("%s: the link is %v", ex.op, err)
		}
	}
}

func TestTextThatLies(t *testing.T) {
	b := newBench(t, nil)
	for _, body := range []string{`{"kind":"block","target":"203.0.113.9","reason":"\u202eelbaromra"}`, `{"kind":"block","target":"203.0.113.9","reason":"\u0007"}`, `{"kind":"block","target":"203.0.113.9\u001b[2K"}`,
		`{"kind":"block","target":"203.0.113.9","reason":"` + strings.Repeat("x", 501) + `"}`, `{"kind":"block","target":"203.0.113.9","for":"-1s"}`, `{"kind":"block","target":" "}`, `{"kind":"","target":"::1"}`} {
		if w := b.send(b.request("POST", "/api/v1/actions", body, consoletest.OperatorName)); w.Code != http.StatusUnprocessableEntity {
			t.Errorf("%s answers %d", body, w.Code)
		}
	}
}

// TestBodyOfUnknownLength sends more than is read without saying so before.
func TestBodyOfUnknownLength(t *testing.T) {
	b := newBench(t, nil)
	for _, kind := range []string{"application/json", "application/x-www-form-urlencoded"} {
		r := b.request("POST", "/api/v1/ruleset/check", "x", consoletest.AdminName)
		r.Header.Set("Content-Type", kind)
		if kind != "application/json" {
			r.Header.Del(console.CSRFHeader) // it is looked for in the form then
		}
		r.ContentLength, r.TransferEncoding = -1, []string{"chunked"}
		body := &endless{left: 64 << 20, open: `{"text":"`}
		r.Body = io.NopCloser(body)
		w := b.send(r)
		if want := map[bool]int{true: http.StatusRequestEntityTooLarge, false: http.StatusForbidden}[kind == "application/json"]; w.Code != want {
			t.Errorf("%s: answers %d, want %d", kind, w.Code, want)
		}
		if body.read > 2<<20 {
			t.Errorf("%s: %d bytes were read", kind, body.read)
		}
	}
}

type endless struct {
	open       string
	read, left int
}

func (e *endless) Read(p []byte) (int, error) {
	if e.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p, e.open)
	e.open = e.open[n:]
	for i := n; i < len(p); i++ {
		p[i] = 'a'
	}
	e.read += len(p)
	e.left -= len(p)
	return len(p), nil
}

// busy is a source that works until it is let go.
type busy struct {
	console.LedgerSource
	began, gate chan struct{}
}

func (b busy) Hunt(context.Context, console.HuntQuery, func(*signal.Event) error) (console.HuntStats, error) {
	b.began <- struct{}{}
	<-b.gate
	return console.HuntStats{}, nil
}

func (b busy) Verify(context.Context) (console.LedgerReport, error) {
	b.began <- struct{}{}
	<-b.gate
	return console.LedgerReport{}, nil
}

// TestCostlyWorkIsBounded starts as many searches and verifications as may run at once.
func TestCostlyWorkIsBounded(t *testing.T) {
	for path, most := range map[string]int{"/api/v1/hunt": 4, "/api/v1/ledger/verify": 1} {
		src := busy{began: make(chan struct{}), gate: make(chan struct{})}
		b := newBench(t, nil, func(s *console.Sources) { s.Hunt, s.Ledger = src, src })
		done := make(chan int)
		ask := func() *httptest.ResponseRecorder {
			return b.send(b.request("GET", path, "", consoletest.AdminName))
		}
		for range most {
			go func() { done <- ask().Code }()
			<-src.began
		}
		if w := ask(); w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: one more than %d answers %d", path, most, w.Code)
		}
		close(src.gate)
		for range most {
			if got := <-done; got != http.StatusOK {
				t.Errorf("%s answers %d", path, got)
			}
		}
		go func() { <-src.began }()
		if w := ask(); w.Code != http.StatusOK {
			t.Errorf("%s: after that it answers %d", path, w.Code)
		}
	}
}

// counted counts overviews, and hands out lists that are shared and nil.
type counted struct {
	n      int
	shared []console.PlaneRate
}

func (c *counted) Overview(context.Context) (console.Overview, error) {
	c.n++
	return console.Overview{Rates: c.shared}, nil
}

func TestOverviewIsMadeOnceASecond(t *testing.T) {
	c := &counted{shared: []console.PlaneRate{{Plane: signal.PlaneEdge}}}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	s, err := console.New(console.Default(), console.Sources{Overview: c, Sessions: consoletest.New().Sources().Sessions}, console.Deps{Now: func() time.Time { return at }})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		r := httptest.NewRequest("GET", "https://localhost/api/v1/overview", nil)
		r.Header.Set("Authorization", "Bearer "+consoletest.ViewerToken)
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		return w.Body.String()
	}
	for range 20 {
		ask()
	}
	if c.n != 1 {
		t.Errorf("20 at once make %d overviews", c.n)
	}
	at = at.Add(time.Second)
	body := ask()
	if c.n != 2 {
		t.Errorf("a second later there were %d overviews", c.n)
	}
	if strings.Contains(body, "null") || !strings.Contains(body, `"values":[]`) {
		t.Errorf("lists that are nil show as %s", body)
	}
	if c.shared[0].Series.Values != nil {
		t.Error("what the source shares was changed")
	}
}

// TestAddressOfTheConnection checks that a machine's own address is a host it answers for.
func TestAddressOfTheConnection(t *testing.T) {
	b := newBench(t, nil)
	for host, want := range map[string]int{"192.0.2.10:7443": 200, "192.0.2.11:7443": 421} {
		r := b.request("GET", "/livez", "", "")
		r.Host = host
		local := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.10:7443"))
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))
		if w := b.send(r); w.Code != want {
			t.Errorf("%s answers %d, want %d", host, w.Code, want)
		}
	}
}
