package assembly

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
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

// Bounds of what a sensor is asked to ask about. Containers that are left out have their file systems covered all the same where those are
// mounted below the host's root, as most runtimes do.
const (
	maxAskedPlaces = 256     // file systems: the host's, and those of containers
	maxAskedTexts  = 100_000 // paths of all of them together
)

// askedPlaces returns on how many file systems may be asked about these, which are said anew for each.
func askedPlaces(one []kernel.AskScope) int {
	texts := 1
	for i := range one {
		f := &one[i].Files
		texts += len(f.Exact) + len(f.Prefix) + len(f.Name) + len(f.Part) + len(f.End)
	}
	return min(maxAskedPlaces, max(maxAskedTexts/texts, 1))
}

// guard returns what the kernel is to refuse while these containers run.
func (r *hostRules) guard(cfg *kernel.Config, enforces func(rule string) bool, running []kernel.Workload, roots func(cgroup uint64) string) kernel.Guard {
	g := kernel.Guard{Closed: cfg.Fail == kernel.FailClosed}
	for _, rule := range r.plan.Guard(running, enforces) {
		if rule.Enforce { // the others are told of by their events
			rule.Force = slices.Contains(cfg.Force, rule.Rule)
			g.Rules = append(g.Rules, rule)
		}
	}
	places := []string{"/"}
	g.Ask = r.plan.Ask(places, enforces)
	most := askedPlaces(g.Ask)
	for _, w := range running {
		if root := roots(w.Cgroup); root != "" && len(places) < most {
			places = append(places, root)
		}
	}
	if len(places) > 1 && len(g.Ask) > 0 {
		g.Ask = r.plan.Ask(places, enforces)
	}
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
		tried, err := tryRules(set, factsOfHost(uint32(os.Getuid())))
		if err != nil {
			return fmt.Errorf("whether the rules lock everybody out of this host: %w", err)
		}
		p.m.lockedOut.Store(tried)
		if fault := p.m.lockoutFault(); fault != nil {
			errs = append(errs, fault)
		}
		host := newHostRules(set, p.m.settings.Edge.Routes)
		p.plane.SetReads(host.reads)
		if p.files != nil {
			host.want = hostrules.Union(host.want, p.m.settings.FIM.Interest())
		}
		if err := p.plane.SetInterest(ctx, host.want); err != nil {
			errs = append(errs, err)
		}
		p.host = host
		p.plan.Store(host.plan)
	}
	cfg := &p.m.settings.Kernel
	pids := map[uint64]uint32{} // a process of each workload
	for _, proc := range p.plane.Table().Live() {
		pids[proc.Cgroup] = proc.PID
	}
	g := p.host.guard(cfg, p.m.enforces, p.workloads(pids), func(cgroup uint64) string {
		if pid := pids[cgroup]; pid != 0 {
			return fmt.Sprintf("/proc/%d/root", pid)
		}
		return ""
	})
	// Also where nothing is to be refused: what a testudo that has ended left in force (fail-closed) ends with that.
	if err := p.plane.SetGuard(ctx, g); err != nil {
		errs = append(errs, fmt.Errorf("%d rules are enforced later than they could be, or not at all: %w", len(g.Rules), err))
	}
	return errors.Join(errs...)
}

// workloads returns the containers that run. The plane forgets those that it has not seen something of for long, where many others came and went: whoever
// can make cgroups must not free a container of its rules by making many.
func (p *kernelPlane) workloads(pids map[uint64]uint32) []kernel.Workload {
	all := p.plane.Workloads()
	now := make(map[uint64]kernel.Workload, len(all))
	for _, w := range all {
		now[w.Cgroup] = w
	}
	for cgroup, w := range p.containers {
		if _, seen := now[cgroup]; !seen && pids[cgroup] != 0 {
			now[cgroup] = w
			all = append(all, w)
		}
	}
	p.containers = now
	slices.SortFunc(all, func(a, b kernel.Workload) int { return cmp.Compare(a.Cgroup, b.Cgroup) })
	return all
}
