package edge

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// watch asks an upstream whether it is well until ctx ends. It begins at once, and then waits
// the interval give or take a tenth, so that many edges do not ask in step.
func (up *upstream) watch(ctx context.Context, route string, check *HealthCheck, log *slog.Logger) {
	good, bad := 0, 0
	for {
		reason := up.ask(ctx, check)
		if ctx.Err() != nil {
			return
		}
		if reason == "" {
			good, bad = good+1, 0
			if good >= check.Healthy && up.down.CompareAndSwap(true, false) {
				log.Info("edge: upstream is well again", "route", route, "upstream", up.host)
			}
		} else {
			good, bad = 0, bad+1
			up.reason.Store(&reason)
			if bad >= check.Unhealthy && up.down.CompareAndSwap(false, true) {
				log.Warn("edge: upstream is down", "route", route, "upstream", up.host, "reason", reason)
			}
		}
		spread := check.Interval / 10
		wait := time.NewTimer(check.Interval - spread + rand.N(2*spread+1))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
	}
}

// ask returns why the upstream is not well, or "".
func (up *upstream) ask(ctx context.Context, check *HealthCheck) string {
	ctx, cancel := context.WithTimeout(ctx, check.Timeout)
	defer cancel()
	target := *up.base
	target.Path, target.RawPath = up.prefix+check.Path, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return "the health check's path is not valid"
	}
	req.Header.Set("User-Agent", "testudo-edge-health")
	resp, err := up.transport.RoundTrip(req)
	if err != nil {
		return upstreamError(err)
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return "health check answered " + strconv.Itoa(resp.StatusCode)
	}
	return ""
}
