package edge

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

func TestReceived(t *testing.T) {
	for _, m := range []Received{
		{Header: http.Header{}, Body: []byte{}},
		{Method: "POST", URI: "/a?b=c", Proto: "HTTP/1.1", Host: "shop", Header: http.Header{"A": {"1", ""}, "B": {"x\r\ny"}}, Coding: []string{"chunked"}, Length: -1, Body: []byte("body\x00"), Truncated: true},
	} {
		b, err := m.AppendBinary(nil)
		var got Received
		if err = errOr(err, got.UnmarshalBinary(b)); err != nil || cmp.Diff(m, got) != "" {
			t.Errorf("%v %s", err, cmp.Diff(m, got))
		}
		for n := range b {
			if err := got.UnmarshalBinary(b[:n]); err == nil {
				t.Errorf("%d bytes of %d were taken", n, len(b))
			}
		}
		if err := got.UnmarshalBinary(append(b, 0)); err == nil {
			t.Error("more was taken")
		}
	}
}

func errOr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func FuzzReceived(f *testing.F) {
	f.Add([]byte{1, 3, 'G', 'E', 'T'})
	f.Add(bytes.Repeat([]byte{1}, 40))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again Received
		if m.UnmarshalBinary(b) != nil {
			return
		}
		out, err := m.AppendBinary(nil)
		if err != nil || again.UnmarshalBinary(out) != nil || cmp.Diff(m, again) != "" {
			t.Errorf("%v %s", err, cmp.Diff(m, again))
		}
	})
}

// kept is a Recorder.
type kept struct {
	mu   sync.Mutex
	list map[signal.ID]Received
	long time.Duration
}

func (k *kept) Keep(id signal.ID, keep time.Duration, request []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var m Received
	if err := m.UnmarshalBinary(request); err == nil {
		k.list[id], k.long = m, keep
	}
}

// TestKeeps: a route that asks for it has its requests kept as they were received, and no other has.
func TestKeeps(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {})
	for _, c := range []struct {
		name    string
		keep    time.Duration
		waf     bool
		mode    Mode
		request string
		want    Received // nothing where the method is ""
	}{
		{"a form", time.Hour, true, ModeBlock, "POST /a%20b?q=1 HTTP/1.1\r\nHost: shop\r\nCookie: s=secret\r\nContent-Length: 7\r\n\r\nx=card1",
			Received{Method: "POST", URI: "/a%20b?q=1", Proto: "HTTP/1.1", Host: "shop", Header: http.Header{"Cookie": {"s=secret"}, "Content-Length": {"7"}}, Length: 7, Body: []byte("x=card1")}},
		{"longer than is inspected", time.Hour, true, ModeDetect, "POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n",
			Received{Method: "POST", URI: "/", Proto: "HTTP/1.1", Host: "shop", Header: http.Header{}, Coding: []string{"chunked"}, Length: -1, Body: []byte("0123456789"), Truncated: true}},
		{"refused", time.Hour, true, ModeBlock, "GET /?q=attack HTTP/1.1\r\nHost: shop\r\n\r\n",
			Received{Method: "GET", URI: "/?q=attack", Proto: "HTTP/1.1", Host: "shop", Header: http.Header{}, Body: []byte{}}},
		{"not asked for", 0, true, ModeBlock, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", Received{}},
		{"no firewall", time.Hour, false, ModeBlock, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", Received{}},
		{"off", time.Hour, true, ModeOff, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n", Received{}},
		{"refused by its form", time.Hour, true, ModeBlock, "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", Received{}},
	} {
		k := &kept{list: map[signal.ID]Received{}}
		ed := start(t, []string{up}, func(s *setup) {
			s.route.Mode, s.route.WAF, s.route.Record.Bodies.For = c.mode, c.waf, c.keep
			s.deps.Inspector, s.deps.Recorder = &fakeInspector{bodyLimit: 10}, k
			s.sink.judge = byScore
		})
		raw(t, ed.addr, strings.Replace(c.request, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		ed.stop()
		if c.want.Method == "" {
			if len(k.list) > 0 {
				t.Errorf("%s: %+v", c.name, k.list)
			}
			continue
		}
		c.want.Header.Set("Connection", "close")
		if len(k.list) != 1 || k.long != time.Hour {
			t.Fatalf("%s: %+v for %v", c.name, k.list, k.long)
		}
		for id, got := range k.list {
			if len(got.Body) == 0 {
				got.Body = c.want.Body
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.name, diff)
			}
			if e := ed.sink.all(); len(e) == 0 || e[0].ID != id {
				t.Errorf("%s: kept under another id than the event's", c.name)
			}
		}
	}
	cfg := Default()
	for _, bad := range []time.Duration{time.Second, -time.Hour, 8 * 24 * time.Hour} {
		r := DefaultRoute()
		r.Name, r.Upstreams, r.Record.Bodies.For = "a", []Upstream{{URL: "http://127.0.0.1:1"}}, bad
		cfg.Routes = []Route{r}
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "record.bodies.for") {
			t.Errorf("%v: %v", bad, err)
		}
	}
}
