package assembly

import (
	"context"
	"time"

	"github.com/testudo-sec/testudo"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// overview makes the snapshot of the first page.
type overview struct{ m *Machine }

// topLines is how many lines the tables of the most frequent have.
const topLines = 8

func (s overview) Overview(ctx context.Context) (console.Overview, error) {
	now := time.Now()
	m := s.m
	tally := m.node.Tally()
	o := console.Overview{Time: now, Health: m.Health()}
	start := now.Truncate(time.Minute).Add(-59 * time.Minute)
	series := func(values []uint64) console.Series { return console.Series{Start: start, Step: 60, Values: values} }
	var denied []uint64
	for _, plane := range []signal.Plane{signal.PlaneEdge, signal.PlaneScan, signal.PlaneTestudo} {
		var events []uint64
		events, denied = tally.Hour(now, plane)
		if plane == signal.PlaneEdge && m.edge != nil || sum(events) > 0 {
			o.Rates = append(o.Rates, console.PlaneRate{Plane: plane, Now: tally.Rate(now, plane), Series: series(events)})
		}
	}
	o.Blocked = series(denied)
	if err := s.requests(ctx, &o, start); err != nil {
		return o, err
	}
	counts, err := m.storage.State.FindingCounts(ctx)
	if err != nil {
		return o, err
	}
	for severity := signal.SeverityFatal; severity >= signal.SeverityInfo; severity-- {
		if n := counts[signal.FindingOpen][severity]; n > 0 {
			o.Findings = append(o.Findings, console.SeverityCount{Severity: severity, Count: int(n)})
		}
	}
	active := m.host.List()
	o.InForce = len(active)
	o.Actions = active[:min(len(active), 10)]
	rules, clients, routes := tally.Top(now, topLines)
	o.Rules, o.Clients, o.Routes = frequent(rules), frequent(clients), frequent(routes)
	set := m.engine.Set()
	for i := range o.Rules {
		if r := set.Rule(o.Rules[i].Key); r != nil {
			o.Rules[i].Title = r.Title
		}
	}
	return o, nil
}

// requests adds what earlier runs of this node counted in the hour, which the tally
// does not know.
func (s overview) requests(ctx context.Context, o *console.Overview, start time.Time) error {
	points, err := s.m.storage.State.Counts(ctx, start, "edge.requests", "edge.blocked")
	if err != nil {
		return err
	}
	fill := func(series string) console.Series {
		values := make([]uint64, 60)
		for _, p := range points[series] {
			if i := int(p.Minute.Sub(start) / time.Minute); i >= 0 && i < len(values) {
				values[i] = uint64(p.Count)
			}
		}
		return console.Series{Start: start, Step: 60, Values: values}
	}
	o.Requests = fill("edge.requests")
	o.Blocked = fill("edge.blocked")
	return nil
}

func sum(values []uint64) (n uint64) {
	for _, v := range values {
		n += v
	}
	return n
}

func frequent(list []testudo.Frequent) []console.Count {
	counts := make([]console.Count, len(list))
	for i, f := range list {
		counts[i] = console.Count{Key: f.Name, Count: f.Count}
	}
	return counts
}
