// Package edge measures the edge against a bare reverse proxy, and with its firewall against nginx with ModSecurity.
package edge

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar { return []bar.Bar{judgeCPU(), judgeCPURoomy(), memoryFlat(), wafNginx()} }

// Roles lists the processes that they start.
func Roles() []proc.Role {
	return []proc.Role{
		{Name: "upstream", Run: serveUpstream},
		{Name: "load", Run: makeLoad},
		{Name: "bare", Run: serveBare},
		{Name: "edge", Run: serveEdge},
	}
}

// connections is how many clients ask at a time, each over one connection that it keeps.
const connections = 16

// side is a proxy and the clients that ask it.
type side struct {
	name    string
	proxy   *proc.Child
	clients *proc.Child
	sent    int
}

// startSide starts a proxy in a role with its arguments, and clients for it. The settings are added to
// the proxy's environment.
func startSide(ctx context.Context, env *bar.Env, settings []string, role string, args ...string) (*side, error) {
	p, address, err := proc.StartRole(ctx, settings, env.Self, role, args...)
	if err != nil {
		return nil, err
	}
	c, _, err := proc.StartRole(ctx, nil, env.Self, "load", address, strconv.Itoa(connections))
	if err != nil {
		p.Stop()
		return nil, err
	}
	return &side{name: role, proxy: p, clients: c}, nil
}

func (s *side) stop() {
	s.clients.Stop()
	s.proxy.Stop()
}

// send has n requests answered and waits until what follows from them is done. It returns
// the CPU time that the proxy spent, and the requests a second.
func (s *side) send(n int) (cpu time.Duration, rate float64, err error) {
	before, err := proc.CPU(s.proxy.PID())
	if err != nil {
		return 0, 0, err
	}
	elapsed, err := s.clients.Ask(strconv.Itoa(n))
	if err != nil {
		return 0, 0, fmt.Errorf("clients of %s: %w", s.name, err)
	}
	if _, err := s.proxy.Ask("settle"); err != nil {
		return 0, 0, fmt.Errorf("%s: %w", s.name, err)
	}
	after, err := proc.CPU(s.proxy.PID())
	if err != nil {
		return 0, 0, err
	}
	s.sent += n
	took, err := time.ParseDuration(elapsed)
	return after - before, float64(n) / took.Seconds(), err
}

// check makes sure that every request was recorded, with its answer, and none refused.
func (s *side) check() error {
	recorded, err := s.proxy.Ask("check")
	if err != nil {
		return err
	}
	if want := strconv.Itoa(2 * s.sent); recorded != want {
		return fmt.Errorf("%s events were recorded of %d requests, want %s: each with its answer", recorded, s.sent, want)
	}
	return nil
}

// finish ends clients and proxy and returns the CPU time that the proxy spent after the last
// request, for what was still to be written.
func (s *side) finish() (time.Duration, error) {
	before, err := proc.CPU(s.proxy.PID())
	if err != nil {
		return 0, err
	}
	if _, err := s.clients.Close(); err != nil {
		return 0, err
	}
	whole, err := s.proxy.Close()
	return max(0, whole-before), err
}

// profileFile returns the file that a role's CPU profile goes to, or none.
func profileFile(env *bar.Env, name string) (string, error) {
	if env.Profile == "" {
		return "", nil
	}
	return filepath.Join(env.Profile, name+".pprof"), os.MkdirAll(env.Profile, 0o755)
}

// dataDir makes a folder for an edge's data.
func dataDir(env *bar.Env) (string, error) {
	dir := filepath.Join(env.Dir, "edge")
	return dir, os.MkdirAll(filepath.Join(dir, "data"), 0o700)
}
