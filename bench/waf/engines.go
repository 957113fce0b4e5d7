package waf

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// inspectRole is a process with one firewall that inspects what it is asked to.
const inspectRole = "waf-inspect"

// Roles lists the processes of the measurements.
func Roles() []proc.Role { return []proc.Role{{Name: inspectRole, Run: inspect}} }

// engineBars are those of the executor against plain Coraza, which the same host runs with the same rules.
func engineBars() []bar.Bar {
	times := func(name, kind string, least float64, what string) bar.Bar {
		return bar.Bar{Name: name, Part: "waf", Unit: "times", Bound: bar.AtLeast(least), Limit: 30 * time.Minute,
			What: "CPU of " + what + ", request and answer inspected by the Core Rule Set at paranoia level 1: how many times as much plain Coraza takes, medians",
			Run:  func(ctx context.Context, env *bar.Env) (bar.Measure, error) { return compare(ctx, env, kind, 1) }}
	}
	return []bar.Bar{
		times("waf-get", "get", 15, "a harmless GET"),
		times("waf-form", "form", 10, "a small form"),
		times("waf-json-1k", "json1k", 25, "1 KB of JSON"),
		times("waf-json-10k", "json10k", 40, "10 KB of JSON"),
		times("waf-unseen", "unseen", 20, "real JSON, documentation and code found on this machine, each once and after 800 others"),
		times("waf-attacks", "attacks", 1, "the Core Rule Set's own attacks"),
		times("waf-hostile", "hostile", 1, "texts made to give automata many states, each once"),
		{
			Name: "waf-allocs", Part: "waf", Unit: "ratio", Bound: bar.AtMost(0.01), Limit: 20 * time.Minute,
			What: "allocations of those four harmless requests over plain Coraza's, the largest ratio",
			Run:  allocations,
		}, {
			Name: "waf-levels", Part: "waf", Unit: "times", Bound: bar.AtLeast(1), Limit: 40 * time.Minute,
			What: "CPU of those four harmless requests at paranoia levels 2 to 4: how many times as much plain Coraza takes, the smallest",
			Run:  levels,
		},
	}
}

// inspect answers lines of "kind level from count": CPU in nanoseconds and allocations, of a request each.
func inspect(ctx context.Context, talk *proc.Talk, args []string) error {
	cfg := waf.DefaultConfig()
	cfg.Engine = args[0]
	dir, err := os.MkdirTemp("", "waf")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	w, err := waf.New(cfg, dir)
	if err != nil {
		return err
	}
	kinds := map[string][]exchange{}
	if err := talk.Say("ready"); err != nil {
		return err
	}
	for {
		line, ok := talk.Hear()
		if !ok {
			return nil
		}
		var kind string
		var level, from, count int
		if _, err := fmt.Sscan(line, &kind, &level, &from, &count); err != nil {
			return err
		}
		if kinds[kind] == nil {
			if kinds[kind], err = exchanges(kind); err != nil {
				return talk.Fail(err)
			}
		}
		all := kinds[kind]
		runtime.GC()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began, err := spent()
		if err != nil {
			return err
		}
		for i := range count {
			all[(from+i)%len(all)].run(ctx, w, level)
		}
		ended, err := spent()
		if err != nil {
			return err
		}
		runtime.ReadMemStats(&after)
		if err := talk.Say("%d %d %d", (ended-began).Nanoseconds()/int64(count), (after.Mallocs-before.Mallocs)/uint64(count), len(all)); err != nil {
			return err
		}
	}
}

// spent is the CPU that this process has taken.
func spent() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// exchange is a request with its body, and the answer to it.
type exchange struct {
	request *http.Request
	body    []byte
}

var (
	clientAddress = netip.MustParseAddrPort("192.0.2.7:4711")
	serverAddress = netip.MustParseAddrPort("198.51.100.1:80")
)

const page = "<!doctype html><title>Shop</title><p>Welcome back. Your order will leave the house tomorrow morning.</p>"

// run inspects one exchange as the edge has it inspected.
func (x *exchange) run(ctx context.Context, w *waf.WAF, level int) {
	i := w.Begin(ctx, edge.Exchange{Request: x.request, Client: clientAddress, Server: serverAddress, ID: "01a20722-3595-7241-9773-c1000defbb59", Paranoia: level})
	defer i.Close()
	if _, want := i.Headers(); want > 0 {
		i.Body(x.body, false)
	}
	h := http.Header{"Content-Type": {"text/html; charset=utf-8"}, "Content-Length": {strconv.Itoa(len(page))}}
	if _, want := i.ResponseHeaders(http.StatusOK, h); want > 0 {
		i.ResponseBody([]byte(page), false)
	}
}

// pair is a process of each engine.
type pair struct{ ours, theirs *proc.Child }

func startPair(ctx context.Context, env *bar.Env) (*pair, error) {
	p := &pair{}
	for _, e := range []struct {
		name string
		to   **proc.Child
	}{{waf.EngineFast, &p.ours}, {waf.EngineCoraza, &p.theirs}} {
		c, err := proc.Start(ctx, nil, env.Self, "role:"+inspectRole, e.name)
		if err == nil {
			*e.to = c
			_, err = c.Ask("")
		}
		if err != nil {
			p.stop()
			return nil, err
		}
	}
	return p, nil
}

func (p *pair) stop() {
	for _, c := range []*proc.Child{p.ours, p.theirs} {
		if c != nil {
			c.Stop()
		}
	}
}

type cost struct{ cpu, allocs, kinds float64 }

func ask(c *proc.Child, kind string, level, from, count int) (cost, error) {
	text, err := c.Ask(fmt.Sprintf("%s %d %d %d", kind, level, from, count))
	if err != nil {
		return cost{}, err
	}
	var x cost
	_, err = fmt.Sscan(text, &x.cpu, &x.allocs, &x.kinds)
	return x, err
}

// rounds measures both in turn. What is to be seen once is another part of its kind in each round.
func (p *pair) rounds(env *bar.Env, kind string, level int) (ours, theirs cost, err error) {
	count := map[string]int{"json1k": 60, "json10k": 8, "unseen": 40, "attacks": 100, "hostile": 30}[kind]
	if count == 0 {
		count = 200
	}
	others := map[string]int{"unseen": 800, "hostile": 200}[kind]
	runs, once := max(env.Runs, 5), kind == "unseen" || kind == "hostile"
	if env.Short {
		count, runs = max(count/4, 4), 3
	}
	var a, b []cost
	for i := range runs + 1 {
		from, factor := 0, 10
		if once { // after some others, as a firewall that runs has seen: none twice
			from, factor = others+i*count, 1
			if i == 0 {
				if _, err := ask(p.ours, kind, level, 0, others); err != nil {
					return ours, theirs, err
				}
				if _, err := ask(p.theirs, kind, level, 0, 20); err != nil { // it learns nothing
					return ours, theirs, err
				}
			}
		}
		x, err := ask(p.ours, kind, level, from, count*factor) // more of what takes less, for the clock's sake
		if err != nil {
			return ours, theirs, err
		}
		y, err := ask(p.theirs, kind, level, from, count)
		if err != nil {
			return ours, theirs, err
		}
		if i > 0 { // the first warms what is made lazily
			a, b = append(a, x), append(b, y)
		}
	}
	return median(a), median(b), nil
}

func median(all []cost) cost {
	part := func(of func(cost) float64) float64 {
		var list []float64
		for _, c := range all {
			list = append(list, of(c))
		}
		slices.Sort(list)
		return list[len(list)/2]
	}
	return cost{part(func(c cost) float64 { return c.cpu }), part(func(c cost) float64 { return c.allocs }), all[0].kinds}
}

func compare(ctx context.Context, env *bar.Env, kind string, level int) (m bar.Measure, err error) {
	p, err := startPair(ctx, env)
	if err != nil {
		return m, err
	}
	defer p.stop()
	ours, theirs, err := p.rounds(env, kind, level)
	if err != nil {
		return m, err
	}
	m.Value = theirs.cpu / ours.cpu
	m.Detail = fmt.Sprintf("%.0f us and %.0f allocations against %.0f us and %.0f; %.0f different requests", ours.cpu/1e3, ours.allocs, theirs.cpu/1e3, theirs.allocs, ours.kinds)
	return m, nil
}

func harmless() []string { return []string{"get", "form", "json1k", "json10k"} }

func allocations(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	p, err := startPair(ctx, env)
	if err != nil {
		return m, err
	}
	defer p.stop()
	var told []string
	for _, kind := range harmless() {
		ours, theirs, err := p.rounds(env, kind, 1)
		if err != nil {
			return m, err
		}
		m.Value = max(m.Value, ours.allocs/theirs.allocs)
		told = append(told, fmt.Sprintf("%s %.0f of %.0f", kind, ours.allocs, theirs.allocs))
	}
	m.Detail = strings.Join(told, ", ")
	return m, nil
}

func levels(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	p, err := startPair(ctx, env)
	if err != nil {
		return m, err
	}
	defer p.stop()
	var told []string
	for level := 2; level <= 4; level++ {
		for _, kind := range harmless() {
			ours, theirs, err := p.rounds(env, kind, level)
			if err != nil {
				return m, err
			}
			times := theirs.cpu / ours.cpu
			if m.Value == 0 || times < m.Value {
				m.Value = times
			}
			told = append(told, fmt.Sprintf("%d %s %.0f us, %.0f times", level, kind, ours.cpu/1e3, times))
		}
	}
	m.Detail = strings.Join(told, "; ")
	return m, nil
}
