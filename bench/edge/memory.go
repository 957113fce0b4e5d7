package edge

import (
	"context"
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func memoryFlat() bar.Bar {
	return bar.Bar{
		Name: "edge-memory-flat", Part: "edge", Unit: "ratio", Bound: bar.AtMost(1.15), Limit: 30 * time.Minute,
		What: "resident memory of the edge process, as for edge-judge-cpu, after a million requests over that after 100,000 (greatest of the last 40,000 each)",
		Run:  runMemoryFlat,
	}
}

func runMemoryFlat(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	const warmUp, step, window = 100_000, 10_000, 4
	total := 1_000_000
	if env.Short {
		total = 200_000
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
	edge, err := startSide(ctx, env, nil, "edge", address, "", dir)
	if err != nil {
		return m, err
	}
	defer edge.stop()
	var resident []int64 // after each step
	for edge.sent < total {
		if _, _, err := edge.send(step); err != nil {
			return m, err
		}
		rss, err := proc.RSS(edge.proxy.PID())
		if err != nil {
			return m, err
		}
		resident = append(resident, rss)
		if edge.sent%warmUp == 0 {
			env.Progress("%d requests: %.1f MB resident", edge.sent, megabytes(rss))
		}
	}
	if err := edge.check(); err != nil {
		return m, err
	}
	if _, err := edge.finish(); err != nil {
		return m, err
	}
	warm := greatest(resident[warmUp/step-window : warmUp/step])
	end := greatest(resident[len(resident)-window:])
	m.Value = float64(end) / float64(warm)
	m.Detail = fmt.Sprintf("%.1f MB after 100,000, %.1f MB after %d requests, %.1f MB at the most", megabytes(warm), megabytes(end), edge.sent, megabytes(greatest(resident)))
	return m, nil
}

func greatest(values []int64) int64 {
	most := values[0]
	for _, v := range values {
		most = max(most, v)
	}
	return most
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }
