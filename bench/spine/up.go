package spine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

func idleRSS() bar.Bar {
	return bar.Bar{
		Name: "spine-idle-rss", Part: "spine", Unit: "MB", Bound: bar.AtMost(200), Limit: 3 * time.Minute,
		What: "resident memory of `testudo up --protect URL` that nobody uses, 20 s after it was ready",
		Run:  runIdleRSS,
	}
}

func binarySize() bar.Bar {
	return bar.Bar{
		Name: "spine-binary-size", Part: "spine", Unit: "MB", Bound: bar.AtMost(100), Limit: time.Minute,
		What: "size of the testudo binary",
		Run: func(_ context.Context, env *bar.Env) (m bar.Measure, err error) {
			info, err := os.Stat(env.Testudo)
			if err != nil {
				return m, err
			}
			m.Value = float64(info.Size()) / 1e6
			return m, nil
		},
	}
}

func startTime() bar.Bar {
	return bar.Bar{
		Name: "spine-start-time", Part: "spine", Unit: "s", Bound: bar.AtMost(2), Limit: 5 * time.Minute,
		What: "time from the start of `testudo up --protect URL` in an empty folder until /readyz answers 200, median",
		Run:  runStartTime,
	}
}

// patience is how long a start may take before it counts as failed.
const patience = 30 * time.Second

// up is a running `testudo up` in front of an application of ours.
type up struct {
	*proc.Child
	app   *http.Server
	ready time.Duration // from start to readiness
}

func startUp(ctx context.Context, env *bar.Env, dir string) (*up, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := &up{app: &http.Server{Handler: http.NotFoundHandler()}}
	go func() { _ = u.app.Serve(ln) }()
	edge, err := freeAddress()
	if err != nil {
		return nil, errors.Join(err, u.app.Close())
	}
	console, err := freeAddress()
	if err != nil {
		return nil, errors.Join(err, u.app.Close())
	}
	begin := time.Now()
	u.Child, err = proc.Start(ctx, nil, env.Testudo, "up", "--data", dir, "--protect", "http://"+ln.Addr().String(), "--edge", edge, "--console", console)
	if err != nil {
		return nil, errors.Join(err, u.app.Close())
	}
	go u.Drain()
	if err := awaitReady(ctx, u.Child, "https://"+console+"/readyz"); err != nil {
		u.close()
		return nil, err
	}
	u.ready = time.Since(begin)
	return u, nil
}

func (u *up) close() {
	u.Stop()
	u.app.Close()
}

// freeAddress returns an address on loopback that nobody listens on at the moment.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// awaitReady asks until the answer is 200.
func awaitReady(ctx context.Context, c *proc.Child, url string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	// The console's certificate is its own; this is loopback and nothing is sent.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	last := "no answer"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if answer, err := client.Do(req); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
			last = answer.Status
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready after %s: %s", url, patience, last)
		case <-c.Ended():
			return c.Failure()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func runIdleRSS(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	u, err := startUp(ctx, env, filepath.Join(env.Dir, "data"))
	if err != nil {
		return m, err
	}
	defer u.close()
	select {
	case <-ctx.Done():
		return m, ctx.Err()
	case <-time.After(20 * time.Second):
	}
	rss, err := proc.RSS(u.PID())
	m.Value = float64(rss) / 1e6
	return m, err
}

func runStartTime(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	var times []float64
	for i := range max(env.Runs, 3) {
		u, err := startUp(ctx, env, filepath.Join(env.Dir, fmt.Sprint("data", i)))
		if err != nil {
			return m, err
		}
		times = append(times, u.ready.Seconds())
		u.close()
	}
	m.Value = bar.Median(times)
	m.Detail = fmt.Sprintf("%.2f s", times)
	return m, nil
}
