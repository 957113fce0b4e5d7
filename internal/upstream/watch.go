package upstream

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Watch asks the server whether it is well until ctx ends, and tells when that changes; reason is why
// it is not. It begins at once, and then waits the interval give or take a tenth, so that many
// nodes do not ask in step. Where there is nothing to ask for it returns.
func (up *Server) Watch(ctx context.Context, tell func(well bool, reason string)) {
	check := up.check
	if check.Path == "" {
		return
	}
	good, bad := 0, 0
	for {
		reason := up.ask(ctx)
		if ctx.Err() != nil {
			return
		}
		if reason == "" {
			good, bad = good+1, 0
			if good >= check.Healthy && up.down.CompareAndSwap(true, false) {
				tell(true, "")
			}
		} else {
			good, bad = 0, bad+1
			up.reason.Store(&reason)
			if bad >= check.Unhealthy && up.down.CompareAndSwap(false, true) {
				tell(false, reason)
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

// ask returns why the server is not well, or "".
func (up *Server) ask(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, up.check.Timeout)
	defer cancel()
	target := *up.Base
	target.Path, target.RawPath = up.Prefix+up.check.Path, ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return "the health check's path is not valid"
	}
	req.Header.Set("User-Agent", "testudo-edge-health")
	resp, err := up.transport.RoundTrip(req)
	if err != nil {
		return Reason(err)
	}
	defer resp.Body.Close()
	io.CopyN(io.Discard, resp.Body, 64<<10)
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return "health check answered " + strconv.Itoa(resp.StatusCode)
	}
	return ""
}
