package assembly

import (
	"cmp"
	"context"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/cmd/testudo/hostrules"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// Host implements console.HostSource.
func (v hostView) Host(ctx context.Context) (console.Host, error) {
	cfg := &v.m.settings.Kernel
	h := console.Host{Mode: cfg.Mode, Fail: cfg.Fail, MaxLost: cfg.MaxLost, Lost: []console.Count{}, Features: []console.HostFeature{}, Gates: []string{}, Rules: []console.HostRule{}}
	p := v.m.kernel
	if p == nil {
		h.Problem = "The host is " + v.m.Kernel(ctx) + "."
		return h, nil
	}
	stats := p.plane.Table().Stats()
	h.Living, h.Ended, h.Starts, h.SensorPID = stats.Live, stats.Exited, 1, os.Getpid()
	if p.client != nil {
		h.Starts, h.SensorPID = p.client.Starts(), int(p.pid.Load())
	}
	if err := p.health(); err != nil {
		h.Problem = err.Error()
	}
	st, err := p.status(ctx)
	if err != nil {
		h.Problem = cmp.Or(h.Problem, err.Error())
	}
	h.Kernel, h.By, h.Records, h.Bytes, h.Rate = st.Kernel, st.Mode, st.Records, st.Bytes, p.pace.rate(v.m.started, time.Now(), st.Records)
	for kind, n := range st.Lost {
		if n == 0 {
			continue
		}
		name := kind.String()
		if kind == record.KindNone {
			name = "not known which"
		}
		h.Lost = append(h.Lost, console.Count{Key: name, Count: n})
	}
	slices.SortFunc(h.Lost, func(a, b console.Count) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Key, b.Key)) })
	for _, f := range st.Features {
		h.Features = append(h.Features, console.HostFeature(f))
	}
	for _, g := range st.Gates {
		h.Gates = append(h.Gates, g.String())
	}
	if plan := p.plan.Load(); plan != nil {
		h.Rules = hostRulesShown(plan, st.Gates, v.m.enforces)
	}
	return h, nil
}

// gatesAt are the gates that can stand at a hook by themselves, and those that ask the judge first.
func gatesAt(hook kernel.Hook, ask bool) []record.Gate {
	switch {
	case ask:
		return []record.Gate{record.GateFanotify, record.GateKill}
	case hook == kernel.HookConnect:
		return []record.Gate{record.GateLSM, record.GateCgroup, record.GateKill}
	case hook == kernel.HookExec:
		return []record.Gate{record.GateLSM, record.GateFanotify, record.GateExecKill, record.GateKill}
	}
	return []record.Gate{record.GateLSM, record.GateFanotify, record.GateKill}
}

// hostRulesShown says what refuses what rules refuse, where these gates work. Where the kernel decides some of a rule by itself and not all, both
// ways are named.
func hostRulesShown(plan *hostrules.Plan, works []record.Gate, enforces func(string) bool) []console.HostRule {
	out := []console.HostRule{}
	at := map[string]int{}
	rule := func(id string, hook kernel.Hook) *console.HostRule {
		name := map[kernel.Hook]string{kernel.HookExec: "exec", kernel.HookOpen: "open", kernel.HookConnect: "connect"}[hook]
		i, ok := at[id+" "+name]
		if !ok {
			i = len(out)
			at[id+" "+name] = i
			out = append(out, console.HostRule{Rule: id, Hook: name, Enforced: enforces(id), By: []string{}})
		}
		return &out[i]
	}
	by := func(r *console.HostRule, gates []record.Gate) {
		for _, g := range gates {
			if !slices.Contains(works, g) && g != record.GateKill {
				continue
			}
			if name := g.String(); !slices.Contains(r.By, name) {
				r.By = append(r.By, name)
			}
			return // the earliest that works refuses it
		}
	}
	for i := range plan.Clauses {
		c := &plan.Clauses[i].Rule
		by(rule(c.Rule, c.Hook), gatesAt(c.Hook, false))
	}
	for _, rest := range plan.Residue {
		r := rule(rest.Rule, rest.Hook)
		gates := []record.Gate{record.GateKill}
		if rest.Ask {
			gates = gatesAt(rest.Hook, true)
		}
		by(r, gates)
		if !slices.Contains(r.Why, rest.Why) {
			r.Why = append(r.Why, rest.Why)
		}
	}
	slices.SortFunc(out, func(a, b console.HostRule) int {
		return cmp.Or(cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Hook, b.Hook))
	})
	return out
}

// pace tells how fast a counter goes, between two looks.
type pace struct {
	mu   sync.Mutex
	at   time.Time
	was  uint64
	last float64
}

// rate returns what is counted in a second since the look before, or since began. Looks close to each other get one answer.
func (p *pace) rate(began, now time.Time, n uint64) float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.at.IsZero() {
		p.at = began
	}
	past := now.Sub(p.at)
	if past < time.Second {
		return p.last
	}
	if n < p.was { // the sensor was started anew
		p.was = 0
	}
	p.last = float64(n-p.was) / past.Seconds()
	p.at, p.was = now, n
	return p.last
}
