package assembly

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/policy"
)

// hostRules is what the rules in force mean for this host.
type hostRules struct {
	digest string
	want   kernel.Interest
	reads  kernel.Reads
	plan   *hostrules.Plan
}

func newHostRules(set *policy.Set, routes []edge.Route) *hostRules {
	r := &hostRules{digest: set.Digest(), want: hostrules.Interest(set), reads: hostrules.Reads(set), plan: hostrules.Compile(set)}
	r.want.Served = servedPorts(routes)
	return r
}

// maxAskedContainers bounds the containers on whose file systems opens and execs are asked about.
const maxAskedContainers = 256

// guard returns what the kernel is to refuse while these containers run.
func (r *hostRules) guard(cfg *kernel.Config, running []kernel.Workload, roots func(cgroup uint64) string) kernel.Guard {
	g := kernel.Guard{Closed: cfg.Fail == kernel.FailClosed}
	for _, rule := range r.plan.Guard(running, cfg.Enforces) {
		if rule.Enforce { // the others are told of by their events
			g.Rules = append(g.Rules, rule)
		}
	}
	places := []string{"/"}
	for _, w := range running {
		if root := roots(w.Cgroup); root != "" && len(places) < maxAskedContainers {
			places = append(places, root)
		}
	}
	g.Ask = r.plan.Ask(places, cfg.Enforces)
	return g
}

// servedPorts returns the ports of the applications behind the edge: their requests are followed into the processes.
func servedPorts(routes []edge.Route) []uint16 {
	var ports []uint16
	for _, route := range routes {
		for _, up := range route.Upstreams {
			u, err := url.Parse(up.URL)
			if err != nil {
				continue
			}
			port := u.Port()
			if port == "" {
				port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
			}
			if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
				ports = append(ports, uint16(n))
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// apply is where rules become what the kernel sees and refuses: after a change of rules, and when a container appears.
func (p *kernelPlane) apply(ctx context.Context) error {
	set := p.m.engine.Set()
	var errs []error
	if p.host == nil || p.host.digest != set.Digest() {
		host := newHostRules(set, p.m.settings.Edge.Routes)
		p.plane.SetReads(host.reads)
		if p.files != nil {
			host.want = hostrules.Union(host.want, p.m.settings.FIM.Interest())
		}
		if err := p.plane.SetInterest(ctx, host.want); err != nil {
			errs = append(errs, err)
		}
		p.host = host
	}
	cfg := &p.m.settings.Kernel
	pids := map[uint64]uint32{} // a process of each workload
	for _, proc := range p.plane.Table().Live() {
		pids[proc.Cgroup] = proc.PID
	}
	g := p.host.guard(cfg, p.plane.Workloads(), func(cgroup uint64) string {
		if pid := pids[cgroup]; pid != 0 {
			return fmt.Sprintf("/proc/%d/root", pid)
		}
		return ""
	})
	if len(g.Rules)+len(g.Ask) == 0 && !p.guarded {
		return errors.Join(errs...)
	}
	p.guarded = true
	err := p.plane.SetGuard(ctx, g)
	if err != nil {
		errs = append(errs, fmt.Errorf("%d rules are enforced later than they could be, or not at all: %w", len(g.Rules), err))
	}
	p.guardErr.Store(&err)
	return errors.Join(errs...)
}
