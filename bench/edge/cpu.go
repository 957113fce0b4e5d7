package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

const judged = "CPU a request of the whole edge process without WAF, each request and answer judged by the shipped rules, recorded, synced and put into " +
	"the lake, over that of a process with a bare httputil.ReverseProxy (small GET over keep-alive connections, 1 KB answer)"

func judgeCPU() bar.Bar {
	return bar.Bar{
		Name: "edge-judge-cpu", Part: "edge", Unit: "ratio", Bound: bar.AtMost(1.30), Limit: 15 * time.Minute,
		What: judged,
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runJudgeCPU(ctx, env, "edge-judge-cpu", nil)
		},
	}
}

// judgeCPURoomy compares what the code costs, less what Go's collector does to small heaps: a bare proxy
// holds next to nothing, so that under load it is collected at 4 MB, hundreds of times a
// second, which takes a third of its CPU and flatters whoever holds more.
func judgeCPURoomy() bar.Bar {
	return bar.Bar{
		Name: "edge-judge-cpu-roomy", Part: "edge", Unit: "ratio", Bound: bar.AtMost(1.30), Limit: 15 * time.Minute,
		What: "as edge-judge-cpu, against a bare proxy that may fill 64 MB between two collections (GOGC=1600), as the edge does, instead of Go's least of 4 MB, which costs it a third of its CPU",
		Run: func(ctx context.Context, env *bar.Env) (bar.Measure, error) {
			return runJudgeCPU(ctx, env, "edge-judge-cpu-roomy", []string{"GOGC=1600"})
		},
	}
}

// runJudgeCPU measures the edge against a bare proxy whose process has these settings in its environment.
func runJudgeCPU(ctx context.Context, env *bar.Env, name string, settings []string) (m bar.Measure, err error) {
	requests, warmUp, rounds := 25_000, 20_000, max(env.Runs, 3)
	if env.Short {
		requests, warmUp = 10_000, 10_000
	}
	upstream, address, err := proc.StartRole(ctx, nil, env.Self, "upstream")
	if err != nil {
		return m, err
	}
	defer upstream.Stop()
	dir, err := dataDir(env)
	if err != nil {
		return m, err
	}
	profile, err := profileFile(env, name+"-bare")
	if err != nil {
		return m, err
	}
	bare, err := startSide(ctx, env, settings, "bare", address, profile)
	if err != nil {
		return m, err
	}
	defer bare.stop()
	if profile, err = profileFile(env, name+"-edge"); err != nil {
		return m, err
	}
	edge, err := startSide(ctx, env, nil, "edge", address, profile, dir)
	if err != nil {
		return m, err
	}
	defer edge.stop()
	for _, s := range []*side{bare, edge} {
		if _, _, err := s.send(warmUp); err != nil {
			return m, err
		}
		if _, err := s.proxy.Ask("profile"); err != nil {
			return m, err
		}
	}
	var ratios, bareCost, edgeCost []float64
	for round := range rounds {
		// Who goes first changes from round to round, so that a drift hits both.
		var cost, rate [2]float64
		for i := range 2 {
			which := (i + round) % 2
			cpu, speed, err := []*side{bare, edge}[which].send(requests)
			if err != nil {
				return m, err
			}
			cost[which], rate[which] = micros(cpu, requests), speed
		}
		ratios, bareCost, edgeCost = append(ratios, cost[1]/cost[0]), append(bareCost, cost[0]), append(edgeCost, cost[1])
		env.Progress("round %d of %d: bare %.1f µs at %.0f/s, edge %.1f µs at %.0f/s, ratio %.2f",
			round+1, rounds, cost[0], rate[0], cost[1], rate[1], cost[1]/cost[0])
	}
	if err := edge.check(); err != nil {
		return m, err
	}
	sent := edge.sent
	last, err := edge.finish()
	if err != nil {
		return m, err
	}
	if _, err := bare.finish(); err != nil {
		return m, err
	}
	// Closing the last lake files belongs to the requests whose events are in them.
	closing := micros(last, sent)
	m.Value = bar.Median(ratios) + closing/bar.Median(bareCost)
	m.Detail = fmt.Sprintf("bare %.1f µs, edge %.1f µs of which %.1f closing the lake's files", bar.Median(bareCost), bar.Median(edgeCost)+closing, closing)
	return m, nil
}

func micros(d time.Duration, n int) float64 { return float64(d.Microseconds()) / float64(n) }
