package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// tap reads a live stream.
type tap struct {
	t      *testing.T
	resp   *http.Response
	lines  *bufio.Scanner
	cancel context.CancelFunc
}

type message struct{ event, id, data string }

func openTap(t *testing.T, s *console.Server, path, person string, w *consoletest.World, lastID string) *tap {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	r, _ := http.NewRequestWithContext(ctx, "GET", s.URL()+path, nil)
	r.AddCookie(&http.Cookie{Name: s.CookieName(), Value: w.Session(person)})
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := consoletest.Client(t).Do(r)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	tp := &tap{t: t, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
	tp.lines.Buffer(nil, 1<<20)
	t.Cleanup(tp.close)
	return tp
}

func (tp *tap) close() {
	tp.cancel()
	_ = tp.resp.Body.Close()
}

// next returns the next message, passing comments over; ok is false at the end.
func (tp *tap) next() (m message, ok bool) {
	for tp.lines.Scan() {
		line := tp.lines.Text()
		key, value, _ := strings.Cut(line, ": ")
		switch key {
		case "event":
			m.event = value
		case "id":
			m.id = value
		case "data":
			m.data += value
		case "":
			if m.event != "" || m.data != "" {
				return m, true
			}
		}
	}
	return m, false
}

type update struct {
	Events  []map[string]any `json:"events"`
	Skipped uint64           `json:"skipped"`
	Lost    uint64           `json:"lost"`
	Gap     bool             `json:"gap"`
	Topics  []string         `json:"topics"`
}

func (tp *tap) update() (update, string) {
	tp.t.Helper()
	m, ok := tp.next()
	if !ok {
		tp.t.Fatalf("the stream ended: %v", tp.lines.Err())
	}
	var u update
	if err := json.Unmarshal([]byte(m.data), &u); err != nil {
		tp.t.Fatalf("%v in %+v", err, m)
	}
	return u, m.id
}

func TestStreamShowsWhatHappens(t *testing.T) {
	w := consoletest.New()
	s := consoletest.Serve(t, w, nil)
	tp := openTap(t, s, "/api/v1/events/stream?decision=deny", consoletest.ViewerName, w, "")
	if tp.resp.ProtoMajor != 2 || tp.resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%s %v", tp.resp.Proto, tp.resp.Header)
	}
	ready(t, w)
	w.Publish(consoletest.Request(w.Now(), "192.0.2.1", "GET", "/", "", signal.Allow, ""))
	e := w.Attack("203.0.113.66")
	u, id := tp.update()
	if len(u.Events) != 1 || u.Events[0]["metadata"].(map[string]any)["uid"] != e.ID.String() || id == "" {
		t.Fatalf("got %+v with id %q, want the attack alone", u, id)
	}
	w.Lose(7)
	w.Attack("203.0.113.66")
	if u, id = tp.update(); u.Lost != 7 || len(u.Events) != 1 {
		t.Errorf("got %+v, want 7 lost and an attack", u)
	}
	w.Change(console.TopicFindings)
	if u, _ := tp.update(); len(u.Topics) != 1 || u.Topics[0] != "findings" {
		t.Errorf("got %+v, want the topic findings", u)
	}
	tp.close()

	// What happens while nobody is connected is told after.
	missed := w.Attack("203.0.113.67")
	waitFor(t, func() bool {
		u, _ := openTap(t, s, "/api/v1/events/stream", consoletest.ViewerName, w, id).update()
		return len(u.Events) > 0
	})
	u, _ = openTap(t, s, "/api/v1/events/stream?decision=deny", consoletest.ViewerName, w, id).update()
	if len(u.Events) != 1 || u.Events[0]["metadata"].(map[string]any)["uid"] != missed.ID.String() || u.Gap {
		t.Errorf("after coming back: %+v, want the missed attack", u)
	}
	for _, bad := range []string{"0011223344-1", "nonsense", strings.Split(id, "-")[0] + "-99999999"} {
		if u, _ := openTap(t, s, "/api/v1/events/stream", consoletest.ViewerName, w, bad).update(); !u.Gap || len(u.Events) != 0 {
			t.Errorf("coming back with %q: %+v, want a gap", bad, u)
		}
	}
}

// ready waits until the console watches the world.
func ready(t *testing.T, w *consoletest.World) {
	t.Helper()
	waitFor(t, w.Watched)
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestFloodIsCoalesced publishes 30,000 events: the reader gets few updates, that
// account for every one.
func TestFloodIsCoalesced(t *testing.T) {
	w := consoletest.New()
	s := consoletest.Serve(t, w, nil)
	tp := openTap(t, s, "/api/v1/events/stream?class=http_activity", consoletest.ViewerName, w, "")
	ready(t, w)
	const total, batch = 30_000, 500
	begin := time.Now()
	for i := range total / batch {
		events := make([]*signal.Event, batch)
		for k := range events {
			events[k] = consoletest.Request(w.Now(), "192.0.2.1", "GET", fmt.Sprint("/", i, k), "", signal.Allow, "")
		}
		w.Publish(events...)
		time.Sleep(10 * time.Millisecond)
	}
	var told, shown uint64
	updates := 0
	for told < total {
		u, _ := tp.update()
		if len(u.Events) > 50 {
			t.Fatalf("%d events in one update", len(u.Events))
		}
		shown += uint64(len(u.Events))
		told += uint64(len(u.Events)) + u.Skipped + u.Lost
		updates++
	}
	if told != total {
		t.Errorf("told of %d events, there were %d", told, total)
	}
	if most := int(time.Since(begin)/(50*time.Millisecond)) + 2; updates > most {
		t.Errorf("%d updates, at 20 a second %d were allowed", updates, most)
	}
	if shown == 0 {
		t.Error("no event was shown")
	}
}

func TestStreamOfAnEndedSessionEnds(t *testing.T) {
	w := consoletest.New()
	s := consoletest.Serve(t, w, nil)
	s.SetBeat(20 * time.Millisecond)
	tp := openTap(t, s, "/api/v1/events/stream", consoletest.OperatorName, w, "")
	req, _ := http.NewRequest("DELETE", s.URL()+"/api/v1/people/"+consoletest.OperatorName, nil)
	req.Header.Set("Authorization", "Bearer "+consoletest.AdminToken)
	resp, err := consoletest.Client(t).Do(req)
	if err != nil || resp.StatusCode != http.StatusNoContent {
		t.Fatalf("removing: %v %v", resp, err)
	}
	_ = resp.Body.Close()
	for {
		m, ok := tp.next()
		if !ok {
			t.Fatal("the stream ended without a word")
		}
		if m.event == "bye" {
			break
		}
	}
	if m, ok := tp.next(); ok {
		t.Errorf("after the end: %+v", m)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	w := consoletest.New()
	s := consoletest.Serve(t, w, nil, func(c *console.Config) { c.MaxStreams, c.MaxStreamsPerIdentity = 3, 2 })
	status := func(person string) int {
		return openTap(t, s, "/api/v1/changes", person, w, "").resp.StatusCode
	}
	first := openTap(t, s, "/api/v1/changes", consoletest.ViewerName, w, "")
	for i, c := range []struct {
		person string
		want   int
	}{{consoletest.ViewerName, 200}, {consoletest.ViewerName, 429}, {consoletest.AdminName, 200}, {consoletest.OperatorName, 503}} {
		if got := status(c.person); got != c.want {
			t.Errorf("stream %d of %s answers %d, want %d", i+2, c.person, got, c.want)
		}
	}
	first.close()
	waitFor(t, func() bool { return status(consoletest.ViewerName) == 200 })
}

func TestStopEndsStreams(t *testing.T) {
	w := consoletest.New()
	var tp *tap
	t.Run("serving", func(t *testing.T) {
		s := consoletest.Serve(t, w, nil)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		r, _ := http.NewRequestWithContext(ctx, "GET", s.URL()+"/api/v1/events/stream", nil)
		r.Header.Set("Authorization", "Bearer "+consoletest.ViewerToken)
		c := consoletest.Client(t)
		resp, err := c.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		tp = &tap{t: t, resp: resp, lines: bufio.NewScanner(resp.Body), cancel: cancel}
		w.Publish(consoletest.Request(w.Now(), "192.0.2.1", "GET", "/", "", signal.Allow, ""))
	}) // its cleanup stops the server, and fails where that takes an error
	defer tp.close()
	last := message{}
	for {
		m, ok := tp.next()
		if !ok {
			break
		}
		last = m
	}
	if last.event != "bye" {
		t.Errorf("the last message was %+v, want bye", last)
	}
	_, _ = io.Copy(io.Discard, tp.resp.Body)
}

func TestStreamConditionIsChecked(t *testing.T) {
	b := newBench(t, nil)
	r := b.request("GET", "/api/v1/events/stream?condition=nonsense", "", consoletest.ViewerName)
	w := b.sendStream(r)
	if w.Code != http.StatusUnprocessableEntity || decode[console.Problem](t, w).Field != "condition" {
		t.Errorf("answers %d %s", w.Code, w.Body)
	}
}
