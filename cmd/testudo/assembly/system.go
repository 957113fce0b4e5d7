package assembly

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/store/state"
)

// consoleSources fits what the machine runs to what the console reads.
func (m *Machine) consoleSources() console.Sources {
	a := accounts{m}
	return console.Sources{
		Auth: a, Sessions: a, Passwords: a, People: a, PeopleDesk: peopleDesk{m}, Tokens: tokens{m},
		Overview: overview{m}, Events: events{m}, Live: events{m}, Conditions: events{m}, Hunt: hunts{m}, Replay: replays{m}, Explain: explanations{m}, Trace: traces{m}, Files: filesDesk{m}, Host: hostView{m}, APIs: &apiView{m: m}, Budgets: budgetDesk{m.budgets},
		Findings: findings{m}, Packages: packages{m}, Scans: packages{m}, Actions: actions{m}, Orders: orders{m}, Rules: ruleBook{m}, RuleDesk: ruleBook{m},
		System: systemDesk{m}, Ledger: ledgerBook{m}, Recorder: consoleRecorder{m}, Health: m,
	}
}

// Health says how the machine is. It only reads what the parts last knew.
func (m *Machine) Health() console.Health {
	h := console.Health{State: console.HealthOK}
	if m.stopping.Load() {
		return console.Health{State: console.HealthStopping}
	}
	if !m.ready.Load() {
		return console.Health{State: console.HealthStarting}
	}
	add := func(what string, err error) {
		for _, one := range unjoin(err) {
			h.Reasons = append(h.Reasons, what+": "+strings.TrimPrefix(one, what+": "))
		}
	}
	add("store", m.storage.Store.Health())
	add("lake", m.storage.Lake.Health())
	add("bus", m.storage.Bus.Health())
	add("findings", m.node.Health())
	add("ledger", m.storage.LedgerFault)
	if fault := m.stateFault.Load(); fault != nil {
		add("state", *fault)
	}
	h.Reasons = append(h.Reasons, m.host.Health().Degraded...)
	if st := m.watcher.Status(); !st.OK() {
		h.Reasons = append(h.Reasons, fmt.Sprintf("rules: the last reload found %d problems, the rules before it judge", len(st.Problems)))
	}
	for _, n := range m.notes {
		if n.What == "socket" || n.What == "console" || n.What == "logs" || n.What == "edge" && len(m.settings.Edge.Routes) > 0 {
			h.Reasons = append(h.Reasons, n.What+": "+n.Text)
		}
	}
	if m.logs != nil {
		add("logs", m.logs.health())
	}
	add("kernel", m.kernel.health())
	if m.edge != nil {
		st := m.edge.Status()
		for _, r := range st.Routes {
			down := 0
			for _, u := range r.Upstreams {
				if !u.Healthy {
					down++
				}
			}
			if down > 0 && down == len(r.Upstreams) {
				h.Reasons = append(h.Reasons, fmt.Sprintf("edge: no upstream of route %s answers", r.Name))
			}
		}
	}
	if len(h.Reasons) > 0 {
		h.State = console.HealthDegraded
	}
	return h
}

// watchState tries the state now and then, so that Health need not: a try writes a row.
func (m *Machine) watchState(ctx context.Context) error {
	timer := time.NewTicker(stateTry)
	defer timer.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, stateTry)
		err := m.storage.State.Health(limited).Err
		cancel()
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			m.stateFault.Store(nil)
		default:
			if m.stateFault.Swap(&err) == nil {
				m.log.Error("the state cannot be read and written", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
	}
}

// stateTry is how often the state is tried.
const stateTry = 5 * time.Second

// unjoin returns the texts of what errors.Join joined.
func unjoin(err error) []string {
	if err == nil {
		return nil
	}
	var many interface{ Unwrap() []error }
	if !errors.As(err, &many) {
		return []string{err.Error()}
	}
	var all []string
	for _, one := range many.Unwrap() {
		all = append(all, unjoin(one)...)
	}
	return all
}

// systemDesk tells how this node runs.
type systemDesk struct{ m *Machine }

func (s systemDesk) System(ctx context.Context) (console.System, error) {
	m := s.m
	host, _ := os.Hostname()
	sys := console.System{Version: m.opts.Version, Host: host, Started: m.started, DataDir: m.opts.Dir, Health: m.Health(),
		Queues: m.queues(), Memory: residentMemory()}
	for _, l := range m.listens {
		sys.Listeners = append(sys.Listeners, l)
	}
	slices.SortFunc(sys.Listeners, func(a, b console.Listener) int { return strings.Compare(a.Name, b.Name) })
	sys.Checks = m.Doctor(ctx)
	sys.Stores = m.stores(ctx)
	sys.Logs = m.logs.view(m.opts.Dir)
	if m.edge != nil {
		for _, r := range m.edge.Status().Routes {
			for _, u := range r.Upstreams {
				sys.Upstreams = append(sys.Upstreams, console.Upstream{Route: r.Name, URL: u.Address, Healthy: u.Healthy, Error: u.Reason})
			}
		}
	}
	return sys, nil
}

func (s systemDesk) Doctor(ctx context.Context) ([]console.Check, error) { return s.m.Doctor(ctx), nil }

// proxyChecks names proxies in front of the edge that it was not told of. They are no
// reason to call the node degraded: anybody who can reach it could make one up.
func proxyChecks(st edge.Status) []console.Check {
	var checks []console.Check
	for _, p := range st.Undeclared {
		checks = append(checks, console.Check{Name: "proxy " + p.Peer.String(),
			Detail:  fmt.Sprintf("forwards for others, %d requests so far, and is not declared", p.Requests),
			Cost:    "its clients cannot be told apart, so that no rule blocks them",
			Command: "edge.trusted_proxies: [" + p.Peer.String() + "/" + strconv.Itoa(p.Peer.BitLen()) + "] in testudo.yaml, if it is yours"})
	}
	return checks
}

func (m *Machine) queues() []console.Queue {
	recorder, archiver := m.storage.Store.Stats()
	node, host := m.node.Stats(), m.host.Health()
	return []console.Queue{
		{Name: "recorder, bytes", Length: int(recorder.Pending), Capacity: int(m.settings.Store.Memory), Dropped: recorder.Dropped()},
		{Name: "findings", Length: node.Queue, Capacity: node.Capacity, Dropped: node.Missed},
		{Name: "orders", Length: host.Queued, Capacity: m.settings.Respond.Queue, Dropped: host.QueueFull},
		{Name: "batches to archive", Length: int(recorder.LastSeq - min(recorder.LastSeq, archiver.Done)), Dropped: archiver.DeadLetters},
		{Name: "live view", Capacity: m.settings.Store.Recent, Dropped: m.storage.Store.Live().Missed()},
	}
}

func (m *Machine) stores(ctx context.Context) []console.StoreSize {
	lake := m.storage.Lake.Stats()
	first, last, _ := m.storage.Bus.Bounds(ctx)
	stores := []console.StoreSize{
		{Name: "lake", Detail: fmt.Sprintf("%d files, %d damaged", lake.Files, lake.Damaged), Bytes: lake.Bytes, Items: uint64(lake.Files)},
		{Name: "bus", Detail: "batches that are not in the lake yet", Items: last + 1 - min(first, last+1), Bytes: bytesOf(filepath.Join(m.opts.Dir, busFolder))},
		{Name: "state", Detail: m.storage.State.Where(), Bytes: bytesOf(filepath.Join(m.opts.Dir, state.FileName)) + bytesOf(filepath.Join(m.opts.Dir, state.FileName+"-wal"))},
	}
	if l := m.storage.Ledger; l != nil {
		stores = append(stores, console.StoreSize{Name: "ledger", Detail: l.Dir(), Items: l.Head().Size, Bytes: bytesOf(l.Dir())})
	}
	return stores
}

// bytesOf returns the size of a file, or of the files in a folder; what cannot be read does not count.
func bytesOf(path string) (n int64) {
	_ = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			n += info.Size()
		}
		return nil
	})
	return n
}

// residentMemory returns the bytes of memory that the process holds, 0 where that is not known.
func residentMemory() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(f[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// nodeMetrics shows a node's counters to Prometheus.
type nodeMetrics struct{ node *testudo.Node }

func (c nodeMetrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

func (c nodeMetrics) Collect(ch chan<- prometheus.Metric) {
	st := c.node.Stats()
	counter := func(name, help string, v uint64) {
		ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), prometheus.CounterValue, float64(v))
	}
	counter("testudo_node_events_judged_total", "Events judged.", st.Judged)
	counter("testudo_node_findings_missed_total", "Findings that did not fit into the queue.", st.Missed)
	counter("testudo_node_orders_withheld_total", "Orders of rules that were not given: the route only detects, or its client is not known.", st.Withheld)
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("testudo_node_findings_queue", "Findings that wait to be stored.", nil, nil),
		prometheus.GaugeValue, float64(st.Queue))
	inexact := 0.0
	if st.Inexact {
		inexact = 1
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("testudo_node_windows_inexact", "1 where windows of rules lack events of before the start; the log says why.", nil, nil),
		prometheus.GaugeValue, inexact)
}
