package kernel

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// agent is a running `testudo up`: the node, and the keeper and the sensor that stay root.
type agent struct {
	*proc.Child
	processes []int // of the whole agent, the node first
	sensor    int
	dir       string
}

// startAgent starts `testudo up` with these arguments behind the usual ones and waits until it watches the host, at most half a minute.
func startAgent(ctx context.Context, env *bar.Env, args ...string) (*agent, error) {
	if err := needRoot(); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(env.Dir, "data")
	if err != nil {
		return nil, err
	}
	var addresses [2]string
	for i := range addresses {
		if addresses[i], err = freeAddress(); err != nil {
			return nil, err
		}
	}
	args = append([]string{"up", "--data", filepath.Join(dir, "data"), "--edge", addresses[0], "--console", addresses[1]}, args...)
	c, err := proc.Start(ctx, nil, env.Testudo, args...)
	if err != nil {
		return nil, err
	}
	a := &agent{Child: c, dir: filepath.Join(dir, "data")}
	go c.Drain()
	within, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := awaitWatch(within, c, addresses[1]); err != nil {
		c.Stop()
		return nil, err
	}
	if a.processes, err = proc.Family(c.PID()); err != nil {
		a.Stop()
		return nil, err
	}
	a.sensor = a.processes[len(a.processes)-1]
	if len(a.processes) != 3 {
		a.Stop()
		return nil, fmt.Errorf("node, keeper and sensor are %d processes", len(a.processes))
	}
	return a, nil
}

// awaitWatch waits until the sensor has told of what runs, which it does when all its programs are attached.
func awaitWatch(ctx context.Context, c *proc.Child, console string) error {
	// The console's certificate is its own; this is loopback and nothing is sent.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 2 * time.Second}
	for last := errors.New("no record yet"); ; {
		select {
		case <-ctx.Done():
			return fmt.Errorf("the host is not watched: %w", errors.Join(last, ctx.Err()))
		case <-c.Ended():
			return c.Failure()
		case <-time.After(100 * time.Millisecond):
		}
		answer, err := client.Get("https://" + console + "/metrics")
		if err != nil {
			last = err
			continue
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil {
			last = err
		} else if seen := watched.FindSubmatch(text); seen != nil && string(seen[1]) != "0" {
			return nil
		}
	}
}

var watched = regexp.MustCompile(`(?m)^testudo_kernel_records_total\{kind="exec"\} (\S+)$`)

// calm waits until the agent has nothing more to do of its start: digests of what runs, the index of packages.
func (a *agent) calm(ctx context.Context) error {
	const look, busy, most = time.Second, 30 * time.Millisecond, time.Minute
	before, err := a.cpu()
	for began := time.Now(); err == nil && time.Since(began) < most; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(look):
		}
		var now time.Duration
		if now, err = a.cpu(); now-before < busy {
			return err
		}
		before = now
	}
	return err
}

// cpu is what the whole agent has spent.
func (a *agent) cpu() (time.Duration, error) { return proc.CPUs(a.processes) }

// freeAddress returns an address on loopback that nobody listens on at the moment.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return ln.Addr().String(), ln.Close()
}

// rounds runs what is measured with and without the agent in turn, the first one changing from round to round.
func rounds(ctx context.Context, n int, run func(round int, on bool) error) error {
	for round := range n {
		for i := range 2 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := run(round, (round+i)%2 == 1); err != nil {
				return err
			}
		}
	}
	return nil
}
