package kernel

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
	"github.com/testudo-sec/testudo/bench/wrk"
)

const httpCost = "CPU a request of a Go HTTP server (1 KB answers, 16 keep-alive connections by wrk) while `testudo up` watches the host with the shipped rules, over that without it, in turn, median"

func overheadHTTP() bar.Bar {
	return bar.Bar{
		Name: "kernel-overhead-http", Part: "kernel", Unit: "ratio", Bound: bar.AtMost(1.03), Limit: 15 * time.Minute,
		What: httpCost,
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runOverheadHTTP(ctx, env, false)
		},
	}
}

func overheadHTTPFollowed() bar.Bar {
	return bar.Bar{
		Name: "kernel-overhead-http-followed", Part: "kernel", Unit: "ratio", Bound: bar.AtMost(1.03), Limit: 15 * time.Minute,
		What: httpCost + ", the server being an application that testudo protects, each of whose requests is followed to the goroutine that serves it",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runOverheadHTTP(ctx, env, true)
		},
	}
}

func runOverheadHTTP(ctx context.Context, env *bar.Env, followed bool) (m bar.Measure, err error) {
	if err := needRoot(); err != nil {
		return m, err
	}
	if err := wrk.Find(); err != nil {
		return m, err
	}
	server, address, err := proc.StartRole(ctx, nil, env.Self, "upstream")
	if err != nil {
		return m, err
	}
	defer server.Stop()
	lasts, n := 5*time.Second, 2*env.Runs
	if env.Short {
		lasts, n = 2*time.Second, env.Runs
	}
	if _, err := load(ctx, server, address, lasts); err != nil { // the server's heap, the caches
		return m, err
	}
	var cost, rates [2][]float64
	var agents []float64
	err = rounds(ctx, n, func(round int, on bool) error {
		which := 0
		var a *agent
		var spent time.Duration
		if on {
			which = 1
			var args []string
			if followed {
				args = []string{"--protect", "http://" + address}
			}
			if a, err = startAgent(ctx, env, args...); err != nil {
				return err
			}
			defer a.Stop()
			if err := a.calm(ctx); err != nil {
				return err
			}
			if spent, err = a.cpu(); err != nil {
				return err
			}
		}
		l, err := load(ctx, server, address, lasts)
		if err != nil {
			return err
		}
		cost[which], rates[which] = append(cost[which], l.cost), append(rates[which], l.rate)
		if on {
			now, err := a.cpu()
			if err != nil {
				return err
			}
			agents = append(agents, micros(now-spent)/l.requests)
		}
		env.Progress("round %d of %d: watched %t, %.2f µs a request at %.0f/s", round+1, n, on, l.cost, l.rate)
		return nil
	})
	if err != nil {
		return m, err
	}
	m.Value = bar.Median(ratios(cost[1], cost[0]))
	m.Detail = fmt.Sprintf("server %.2f µs a request on, %.2f off; %.0f requests/s on, %.0f off (ratio %.2f); the agent itself %.2f µs a request; ratios of the rounds %.3f",
		bar.Median(cost[1]), bar.Median(cost[0]), bar.Median(rates[1]), bar.Median(rates[0]), bar.Median(ratios(rates[1], rates[0])), bar.Median(agents),
		ratios(cost[1], cost[0]))
	return m, nil
}

// loaded is what a load did.
type loaded struct {
	requests float64
	cost     float64 // µs of the server's CPU a request
	rate     float64 // requests a second
}

// load has wrk ask the server.
func load(ctx context.Context, server *proc.Child, address string, lasts time.Duration) (l loaded, err error) {
	before, err := proc.CPU(server.PID())
	if err != nil {
		return l, err
	}
	done, err := wrk.Run(ctx, wrk.Load{URL: "http://" + address + "/", Connections: 16, Lasts: lasts})
	if err != nil {
		return l, err
	}
	after, err := proc.CPU(server.PID())
	if err != nil {
		return l, err
	}
	l.requests, l.rate = done.Requests, done.Rate
	l.cost = micros(after-before) / l.requests
	return l, nil
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
