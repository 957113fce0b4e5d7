package waf_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/signal"
)

// watcher lets everything pass and counts events that say that the firewall broke off.
type watcher struct{ errors atomic.Int64 }

func (w *watcher) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	if strings.Contains(e.Str(signal.FieldWAFError), "broke off") {
		w.errors.Add(1)
	}
	return signal.Verdict{}, nil
}

// serve runs an edge with a firewall in front of a backend until the test ends, and returns its URL.
func serve(t *testing.T, w *waf.WAF, sink signal.Sink, backend http.Handler, change func(*edge.Config, *edge.Route)) string {
	t.Helper()
	server := httptest.NewServer(backend)
	t.Cleanup(server.Close)
	route := edge.DefaultRoute()
	route.Name, route.Mode = "app", edge.ModeBlock
	route.Upstreams = []edge.Upstream{{URL: server.URL, Weight: 1}}
	cfg := edge.Default()
	cfg.Listen = []edge.Listener{{Address: "127.0.0.1:0"}}
	if change != nil {
		change(&cfg, &route)
	}
	cfg.Routes = []edge.Route{route}
	ed, err := edge.New(cfg, edge.Deps{Sink: sink, Inspector: w})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := ed.Listen(ctx); err != nil {
		t.Fatal(err)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- ed.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return "http://" + ed.Addrs()[0].String()
}

// TestPanic holds that a panic of the engine, wherever it happens, costs the request that caused it alone, and that the route's
// fail decides about that one.
func TestPanic(t *testing.T) {
	backend := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, "served")
	})
	fast, slow := both(t, nil)
	for engine, whole := range map[string]*waf.WAF{waf.EngineFast: fast, waf.EngineCoraza: slow} {
		for _, c := range []struct {
			step         string
			open, closed int
		}{
			{"begin", 200, 503}, {"request", 200, 503}, {"body", 200, 503}, {"found", 200, 503},
			{"close", 200, 200}, // all is said by then
		} {
			for _, fail := range []string{"open", "closed"} {
				t.Run(engine+"/"+c.step+"/"+fail, func(t *testing.T) {
					w := waf.Break(whole, c.step)
					reg := prometheus.NewRegistry()
					if err := w.Register(reg); err != nil {
						t.Fatal(err)
					}
					var sink watcher
					url := serve(t, w, &sink, backend, func(_ *edge.Config, r *edge.Route) { r.Fail = fail })
					want := map[string]int{"open": c.open, "closed": c.closed}[fail]
					for range 3 { // the edge goes on
						resp, err := http.Post(url+"/x?a=1", "application/json", strings.NewReader(`{"a":1}`))
						if err != nil {
							t.Fatal(err)
						}
						_, _ = io.Copy(io.Discard, resp.Body)
						_ = resp.Body.Close()
						if resp.StatusCode != want {
							t.Errorf("status %d, want %d", resp.StatusCode, want)
						}
					}
					if c.step != "close" && sink.errors.Load() < 3 {
						t.Errorf("%d events say so", sink.errors.Load())
					}
					if n := counter(t, reg, "testudo_waf_broken_total"); n < 3 {
						t.Errorf("%v are counted", n)
					}
				})
			}
		}
	}
}

// TestPanicOverResponse holds the same for what comes back.
func TestPanicOverResponse(t *testing.T) {
	for _, step := range []string{"response", "reply"} {
		w := waf.Break(newWAF(t, nil), step)
		for range 3 {
			d := &dialogue{r: request("GET", "/x?a=1", "", ""), status: 200, header: http.Header{"Content-Type": {"text/html"}}, response: "<p>x</p>"}
			if res := inspectAll(w, d); res.Err == nil || !strings.Contains(res.Err.Error(), "index out of range") {
				t.Errorf("%s: %v", step, res.Err)
			}
		}
	}
}

func counter(t *testing.T, reg *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			sum := 0.0
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
			return sum
		}
	}
	return -1
}
