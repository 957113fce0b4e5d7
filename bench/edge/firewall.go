package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
	"github.com/testudo-sec/testudo/bench/wrk"
)

func wafNginx() bar.Bar {
	return bar.Bar{
		Name: "edge-waf-nginx", Part: "edge", Unit: "times", Bound: bar.AtLeast(8), Limit: 30 * time.Minute,
		What: "requests a second of `testudo edge` with its firewall and all else that it does, over those of nginx with ModSecurity 3 from Debian, both with the Core Rule Set that ships at paranoia level 1, " +
			"refusing, bodies inspected alike; GET, small form and 1 KB of JSON in equal parts by wrk over 16 kept connections, in turn on the same cores, median",
		Run: runWAFNginx,
	}
}

// guardian is a proxy with a firewall.
type guardian struct {
	name    string
	address string
	child   *proc.Child
	family  []int
	app     int // the application behind it
}

// wafCost is what a load cost: requests a second, CPU a request of the guardian and of all three, with the application and wrk, and which part of
// the machine others took meanwhile.
type wafCost struct{ rate, micros, all, others float64 }

// quiet is which part of the machine others may take in a round that counts before the others.
const quiet = 0.15

// load has wrk send a script, and waits until what follows from it is done: its CPU counts too.
func (g *guardian) load(ctx context.Context, script string, lasts time.Duration) (c wafCost, err error) {
	ours := append([]int{g.app}, g.family...)
	before, err := proc.CPUs(g.family)
	if err != nil {
		return c, err
	}
	busy, began, err := spent(ours)
	if err != nil {
		return c, err
	}
	start := time.Now()
	done, err := wrk.Run(ctx, wrk.Load{URL: "http://" + g.address, Script: script, Connections: connections, Lasts: lasts})
	if err != nil {
		return c, fmt.Errorf("%s: %w", g.name, err)
	}
	took := time.Since(start)
	all, own, err := spent(ours)
	if err != nil {
		return c, err
	}
	after, err := g.calm(ctx)
	if err != nil {
		return c, err
	}
	_, last, err := spent(ours)
	others := (all - busy) - (own - began) - done.CPU
	return wafCost{rate: done.Rate, micros: float64((after - before).Microseconds()) / done.Requests, all: float64((last - began + done.CPU).Microseconds()) / done.Requests,
		others: max(0, others.Seconds()/took.Seconds()/float64(runtime.NumCPU()))}, err
}

// spent is what the whole machine has spent, and what some processes have.
func spent(pids []int) (machine, own time.Duration, err error) {
	if machine, err = proc.Busy(); err != nil {
		return 0, 0, err
	}
	own, err = proc.CPUs(pids)
	return machine, own, err
}

// calm waits until the guardian has nothing to do any more, and returns what it has spent.
func (g *guardian) calm(ctx context.Context) (spent time.Duration, err error) {
	const look, busy, most = 500 * time.Millisecond, 20 * time.Millisecond, 30 * time.Second
	for began := time.Now(); time.Since(began) < most; {
		before := spent
		if spent, err = proc.CPUs(g.family); err != nil || spent-before < busy {
			return spent, err
		}
		select {
		case <-ctx.Done():
			return spent, ctx.Err()
		case <-time.After(look):
		}
	}
	return spent, nil
}

func runWAFNginx(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	if err := wrk.Find(); err != nil {
		return m, err
	}
	nginx, err := findNginx()
	if err != nil {
		return m, err
	}
	upstream, app, err := proc.StartRole(ctx, nil, env.Self, "upstream")
	if err != nil {
		return m, err
	}
	defer upstream.Stop()
	both, stop, err := startGuardians(ctx, env, nginx, app, upstream.PID())
	if err != nil {
		return m, err
	}
	defer stop()
	scripts := map[string]string{}
	for _, kind := range append(kinds(), "mix") {
		all := mix(strings.TrimSuffix(kind, "mix"))
		if scripts[kind], err = script(env.Dir, kind, all); err != nil {
			return m, err
		}
	}
	if err := judgeAlike(both, 60); err != nil {
		return m, err
	}
	// Many short rounds: what else the machine does hits both sides of most of them alike.
	lasts, rounds := 4*time.Second, 3*env.Runs
	if env.Short {
		lasts, rounds = 2*time.Second, env.Runs
	}
	for _, g := range both {
		if _, err := g.load(ctx, scripts["mix"], 2*lasts); err != nil { // what is made as it is needed
			return m, err
		}
	}
	var times, undisturbed, perCPU, others []float64
	var cost [2][]float64
	var rates [2][]float64
	for round := range rounds {
		// Who goes first changes from round to round, so that a drift hits both.
		var c [2]wafCost
		for i := range both {
			which := (i + round) % 2
			if c[which], err = both[which].load(ctx, scripts["mix"], lasts); err != nil {
				return m, err
			}
			cost[which], rates[which] = append(cost[which], c[which].micros), append(rates[which], c[which].rate)
		}
		times = append(times, c[1].rate/c[0].rate)
		perCPU = append(perCPU, c[0].all/c[1].all)
		most := max(c[0].others, c[1].others)
		if others = append(others, most); most <= quiet {
			undisturbed = append(undisturbed, c[1].rate/c[0].rate)
		}
		env.Progress("round %d of %d: nginx %.0f/s, %.0f µs; edge %.0f/s, %.0f µs: %.1f times; others took %.0f%% of the machine", round+1, rounds,
			c[0].rate, c[0].micros, c[1].rate, c[1].micros, c[1].rate/c[0].rate, 100*most)
	}
	var told []string
	for _, kind := range kinds() {
		var c [2]wafCost
		for which, g := range both {
			if c[which], err = g.load(ctx, scripts[kind], lasts); err != nil {
				return m, err
			}
		}
		told = append(told, fmt.Sprintf("%s %.0f and %.0f/s, %.0f and %.0f µs", kind, c[0].rate, c[1].rate, c[0].micros, c[1].micros))
	}
	if err := judgeAlike(both, 160); err != nil { // nor does one let things pass under load, or after it
		return m, err
	}
	meanwhile := ""
	if len(undisturbed) >= 3 {
		m.Value = bar.Median(undisturbed)
		meanwhile = fmt.Sprintf("of which the %d count in which others took at most %.0f%% of the machine", len(undisturbed), 100*quiet)
	} else {
		m.Value = bar.Median(perCPU)
		meanwhile = fmt.Sprintf("while others took %.0f%% of the machine, so that the value is of requests for each second of CPU of proxy, application and wrk together: %.1f", 100*bar.Median(others), perCPU)
	}
	m.Detail = fmt.Sprintf("nginx %.0f requests/s and %.0f µs of CPU each, edge %.0f and %.0f (CPU %.1f times less), each alone with wrk and the application; rounds %.1f, %s; by kind, nginx and edge: %s",
		bar.Median(rates[0]), bar.Median(cost[0]), bar.Median(rates[1]), bar.Median(cost[1]), bar.Median(cost[0])/bar.Median(cost[1]), times, meanwhile, strings.Join(told, "; "))
	return m, nil
}

// startGuardians starts nginx and the edge in front of the same application.
func startGuardians(ctx context.Context, env *bar.Env, nginx, app string, pid int) (both [2]*guardian, stop func(), err error) {
	stop = func() {
		for _, g := range both {
			if g != nil {
				g.child.Stop()
			}
		}
	}
	for i, name := range []string{"nginx", "edge"} {
		var c *proc.Child
		var address string
		if address, err = freeAddress(); err == nil {
			dir := filepath.Join(env.Dir, name)
			if err = os.Mkdir(dir, 0o755); err == nil {
				if i == 0 {
					c, err = startNginx(ctx, nginx, dir, address, app)
				} else {
					c, err = startGuard(ctx, env, dir, address, app)
				}
			}
		}
		if err != nil {
			stop()
			return both, nil, fmt.Errorf("%s: %w", name, err)
		}
		both[i] = &guardian{name: name, address: address, child: c, app: pid}
		if both[i].family, err = proc.Family(c.PID()); err != nil {
			stop()
			return both, nil, err
		}
	}
	return both, stop, nil
}

// startGuard starts the edge as a user does, with what it does unless told otherwise: firewall, API guard, rules, recording.
func startGuard(ctx context.Context, env *bar.Env, dir, address, app string) (*proc.Child, error) {
	c, err := proc.Start(ctx, nil, env.Testudo, "edge", "--data", filepath.Join(dir, "data"), "--listen", address, "--upstream", "http://"+app)
	if err != nil {
		return nil, err
	}
	go c.Drain()
	if err := answers(ctx, c, address); err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// judgeAlike holds that both refuse the same attacks, each from a loopback address of its own, for who attacks may be refused whatever he asks for, and pass the same
// harmless requests.
func judgeAlike(both [2]*guardian, from byte) error {
	for _, g := range both {
		for i, one := range attacks() {
			if err := exchange(net.IPv4(127, 0, 0, from+byte(i)), g.address, [][]byte{one}, http.StatusForbidden); err != nil {
				return fmt.Errorf("%s: attack: %w", g.name, err)
			}
		}
		if err := exchange(net.IPv4(127, 0, 0, 1), g.address, mix(""), http.StatusOK); err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
	}
	return nil
}

// freeAddress returns an address on loopback that nobody listens on at the moment.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// answers waits until connections to an address are accepted.
func answers(ctx context.Context, c *proc.Child, address string) error {
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-within.Done():
			return fmt.Errorf("nobody listens: %w", errors.Join(err, within.Err()))
		case <-c.Ended():
			return c.Failure()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
