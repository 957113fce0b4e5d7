package upstream

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPassiveHealth(t *testing.T) {
	now := time.Unix(1000, 0)
	check := Check{Unhealthy: 3, CoolDown: 10 * time.Second}
	p, err := New([]Address{{URL: "http://a", Weight: 3}, {URL: "http://b", Weight: 1}}, Timeouts{}, check)
	if err != nil {
		t.Fatal(err)
	}
	count := func(n int) map[string]int {
		got := map[string]int{}
		for range n {
			got[p.Pick(now, nil).Host]++
		}
		return got
	}
	if d := cmp.Diff(map[string]int{"a": 30, "b": 10}, count(40)); d != "" {
		t.Errorf("by weight: %s", d)
	}
	a := p.all[0]
	for range check.Unhealthy {
		a.Failed(Refused, now)
	}
	if d := cmp.Diff(map[string]int{"b": 8}, count(8)); d != "" {
		t.Errorf("while one is out: %s", d)
	}
	p.all[1].down.Store(true)
	if d := cmp.Diff(map[string]int{"a": 8}, count(8)); d != "" {
		t.Errorf("one that failed is better than none: %s", d)
	}
	p.all[1].down.Store(false)
	now = now.Add(check.CoolDown)
	if got := count(8); got["a"] == 0 {
		t.Error("never tried again")
	}
	if got := p.Pick(now, []*Server{a}); got != p.all[1] {
		t.Errorf("a retry went to %s again", got.Host)
	}
}

func TestNone(t *testing.T) {
	if up := new(Pool).Pick(time.Unix(1, 0), nil); up != nil {
		t.Errorf("picked %s of nothing", up.Host)
	}
}

// TestWatch takes a server down and up again by its own answers.
func TestWatch(t *testing.T) {
	var status atomic.Int64
	var path atomic.Pointer[string]
	status.Store(500)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path.Store(&r.URL.Path)
		w.WriteHeader(int(status.Load()))
	}))
	defer s.Close()
	p, err := New([]Address{{URL: s.URL + "/base/"}}, Timeouts{Connect: 10 * time.Second, Response: 10 * time.Second, Idle: 10 * time.Second}, Check{Path: "/healthz", Interval: time.Millisecond, Timeout: 10 * time.Second, Healthy: 2, Unhealthy: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer p.CloseIdle()
	up := p.All()[0]
	type change struct {
		well   bool
		reason string
	}
	changes := make(chan change)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		up.Watch(ctx, func(well bool, reason string) {
			select {
			case changes <- change{well, reason}:
			case <-ctx.Done():
			}
		})
	}()
	if got := <-changes; got != (change{false, "health check answered 500"}) || up.Healthy(time.Now()) || up.Reason() != got.reason || p.Pick(time.Now(), nil) != nil {
		t.Errorf("down: %+v, healthy %v, reason %q", got, up.Healthy(time.Now()), up.Reason())
	}
	status.Store(204)
	if got := <-changes; got != (change{true, ""}) || !up.Healthy(time.Now()) || p.Pick(time.Now(), nil) != up {
		t.Errorf("up again: %+v", got)
	}
	if got := *path.Load(); got != "/base/healthz" {
		t.Errorf("asked for %s", got)
	}
	cancel()
	<-ended
	if p, err = New([]Address{{URL: s.URL}}, Timeouts{}, Check{}); err != nil {
		t.Fatal(err)
	}
	p.All()[0].Watch(context.Background(), nil) // returns: nobody asks
}

// TestReason makes requests fail for real, and has them named without an address.
func TestReason(t *testing.T) {
	closed := httptest.NewServer(nil)
	closed.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer plain.Close()
	own := httptest.NewUnstartedServer(nil)
	own.Config.ErrorLog = nil
	own.StartTLS()
	defer own.Close()
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-hang }))
	defer slow.Close()
	defer close(hang)
	cut, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer cut.Close()
	go func() {
		for {
			c, err := cut.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, 1)) // what is left unread makes the close a reset
			c.Close()
		}
	}()
	for _, c := range []struct{ url, want string }{
		{closed.URL, Refused},
		{"https" + strings.TrimPrefix(plain.URL, "http"), BadTLS},
		{own.URL, BadTLS},
		{slow.URL, Timeout},
		{"http://" + cut.Addr().String(), Reset},
	} {
		p, err := New([]Address{{URL: c.url}}, Timeouts{Connect: 10 * time.Second, Response: 50 * time.Millisecond, Idle: 10 * time.Second}, Check{})
		if err != nil {
			t.Fatal(err)
		}
		up := p.All()[0]
		req, err := http.NewRequest(http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := up.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s: answered", c.want)
			continue
		}
		if got := Reason(err); got != c.want || up.InFlight() != 0 {
			t.Errorf("%v is named %s, want %s; %d in flight", err, got, c.want, up.InFlight())
		}
		p.CloseIdle()
	}
}

// TestIdle has a server stop in the midst of a body.
func TestIdle(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "beginning")
		w.(http.Flusher).Flush()
		<-hang
	}))
	defer s.Close()
	defer close(hang)
	p, err := New([]Address{{URL: s.URL}}, Timeouts{Connect: 10 * time.Second, Response: 10 * time.Second, Idle: 50 * time.Millisecond}, Check{})
	if err != nil {
		t.Fatal(err)
	}
	up := p.All()[0]
	req, err := http.NewRequest(http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := up.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if n := up.InFlight(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "beginning" {
		t.Errorf("got %q, %v", body, err)
	}
	if up.Done(); up.InFlight() != 0 {
		t.Errorf("%d in flight after Done", up.InFlight())
	}
}

func TestNewErrors(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bad, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		a    Address
		want string
	}{
		{Address{URL: "http://a b\x1b"}, "is not a URL"},
		{Address{URL: "https://a", CA: bad + ".missing"}, "upstream a: ca: "},
		{Address{URL: "https://a", CA: bad}, "upstream a: ca: no certificate in " + bad},
	} {
		if _, err := New([]Address{c.a}, Timeouts{}, Check{}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%v does not say %q", err, c.want)
		}
	}
}
