package assembly

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/atomicfile"
	"github.com/testudo-sec/testudo/internal/forwarded"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/budget"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// budgetsFile is what was demoted, in the data directory.
const budgetsFile = "budgets.json"

// maxBudgets bounds the file: some thousand demotions.
const maxBudgets = 8 << 20

// budgets counts what rules do to traffic that is known to be good, and demotes those that do too much.
type budgets struct {
	m     *Machine
	book  *budget.Book
	cfg   budget.Config
	path  string
	news  chan budget.Demotion
	rules chan struct{}                    // others are in force
	muted atomic.Pointer[map[string][]int] // ids of the firewall's rules, by route
	crs   string                           // version of the firewall's rules
	lost  prometheus.Counter
}

type savedBudgets struct {
	Version int               `json:"version"`
	Demoted []budget.Demotion `json:"demoted"`
}

// openBudgets reads what was demoted before. A file that cannot be read is an error: with it a rule might refuse again what a person has seen pass.
func (m *Machine) openBudgets() error {
	b := &budgets{m: m, cfg: m.settings.Policy.Budget, path: filepath.Join(m.opts.Dir, budgetsFile), news: make(chan budget.Demotion, 256), rules: make(chan struct{}, 1),
		lost: prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_policy_budget_late_total", Help: "Demotions that could not be told of at once: they are put in force with the next."})}
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", m.settings.WAF))
	b.crs = hex.EncodeToString(sum[:8])
	var before savedBudgets
	text, err := readBounded(b.path, maxBudgets)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return fmt.Errorf("budgets: %w", err)
	default:
		if err := json.Unmarshal(text, &before); err != nil || before.Version != 1 {
			return fmt.Errorf("budgets: %s is damaged, or of another version: remove it, and every rule that was demoted decides again", b.path)
		}
	}
	b.book = budget.New(b.cfg, before.Demoted)
	b.mute()
	m.budgets = b
	return m.registry.Register(b)
}

func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, no more than %d are read", path, info.Size(), limit)
	}
	return os.ReadFile(path)
}

// Describe implements prometheus.Collector.
func (b *budgets) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(b, ch) }

// Collect implements prometheus.Collector.
func (b *budgets) Collect(ch chan<- prometheus.Metric) {
	b.lost.Collect(ch)
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("testudo_policy_budget_demoted", "Rules that only alert at a route, because they fired on too much that is known to be good.", nil, nil), prometheus.GaugeValue, float64(len(b.book.Demoted())))
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc("testudo_policy_budget_dropped_total", "What was not counted of budgets because there was no room.", nil, nil), prometheus.CounterValue, float64(b.book.Dropped()))
}

// monitored lists, by rule, the routes at which it only alerts.
func (b *budgets) monitored() map[string][]string {
	out := map[string][]string{}
	for _, d := range b.book.Demoted() {
		if d.Kind == budget.Rule {
			out[d.Rule] = append(out[d.Rule], d.Route)
		}
	}
	return out
}

// mute has the edge know which of the firewall's rules do not count.
func (b *budgets) mute() {
	out := map[string][]int{}
	for _, d := range b.book.Demoted() {
		if id, err := strconv.Atoi(d.Rule); err == nil && d.Kind == budget.Firewall {
			out[d.Route] = append(out[d.Route], id)
		}
	}
	b.muted.Store(&out)
}

// at is Deps.Muted of the edge.
func (b *budgets) at(route string) []int { return (*b.muted.Load())[route] }

// judged is a sink whose verdicts are counted.
type judged struct {
	signal.Sink
	b *budgets
}

// Event implements signal.Sink.
func (j judged) Event(ctx context.Context, e *signal.Event) (signal.Verdict, error) {
	v, err := j.Sink.Event(ctx, e)
	if err == nil {
		j.b.saw(e, &v)
	}
	return v, err
}

// saw counts a verdict on a request that is known to be good, or its answer.
func (b *budgets) saw(e *signal.Event, v *signal.Verdict) {
	client := e.IP(signal.FieldSrcEndpointIP)
	if len(b.cfg.KnownGood) == 0 || e.Class != signal.ClassHTTPActivity || !client.IsValid() || !b.book.Good(client) {
		return
	}
	if e.Str(signal.FieldEdgeClientTrust) == forwarded.Undeclared {
		return // the address is that of a proxy: who is behind it is not known
	}
	if from := e.Str(signal.FieldEdgeFetchSite); from != "" && from != "same-origin" {
		return // a stranger's page or letter may have sent the browser
	}
	now, route := time.Unix(0, e.Time), e.Str(signal.FieldEdgeRoute)
	if e.Parent.IsZero() {
		b.book.Saw(now, route)
	}
	if v.Decision <= signal.Alert {
		return
	}
	set := b.m.engine.Set()
	fired := func(k budget.Kind, rule, version string) {
		if d, ok := b.book.Fired(now, budget.Key{Kind: k, Rule: rule, Route: route}, client, version); ok {
			select {
			case b.news <- d:
			default: // what is demoted is known to the book
				b.lost.Inc()
			}
		}
	}
	for i := range v.Hits {
		h := &v.Hits[i]
		r := set.Rule(h.Rule)
		if h.Decision <= signal.Alert || r == nil {
			continue
		}
		if readsScore(r) { // the firewall's rules made it so
			for _, id := range e.Strings(signal.FieldWAFRules) {
				if !bookkeeping(id) && !slices.Contains(b.at(route), ruleNumber(id)) {
					fired(budget.Firewall, id, b.crs)
				}
			}
			continue
		}
		fired(budget.Rule, r.ID, r.Version())
	}
}

func ruleNumber(id string) int {
	n, _ := strconv.Atoi(id)
	return n
}

// bookkeeping holds for rules of the Core Rule Set that set up, sum and compare scores.
func bookkeeping(id string) bool {
	n := ruleNumber(id)
	return n >= 900_000 && n < 902_000 || n >= 949_000 && n < 950_000 || n >= 959_000 && n < 960_000 || n >= 980_000 && n < 981_000
}

// readsScore reports whether a rule goes by what the firewall's rules sum up to.
func readsScore(r *policy.Rule) bool {
	return slices.ContainsFunc(match.Fields(r.Condition), func(f signal.Field) bool {
		return f == signal.FieldWAFScore || f == signal.FieldWAFOutboundScore
	})
}

// run puts demotions in force until ctx ends.
func (b *budgets) run(ctx context.Context) error {
	b.review(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-b.rules:
			b.review(ctx)
		case d := <-b.news:
			b.m.log.Warn("a rule only alerts from now on: it fired on too much that is known to be good", "kind", d.Kind, "rule", d.Rule, "route", d.Route, "fired", d.Fired, "requests", d.Requests)
			b.record(ctx, "system", "budget.demote", d, "")
			b.changed(ctx)
		}
	}
}

// rulesChanged says that other rules are in force.
func (b *budgets) rulesChanged() {
	select {
	case b.rules <- struct{}{}:
	default:
	}
}

// record writes to the ledger what became of a rule.
func (b *budgets) record(ctx context.Context, actor, verb string, d budget.Demotion, reason string) {
	detail := map[string]string{"kind": string(d.Kind), "route": d.Route, "fired": strconv.Itoa(d.Fired), "requests": strconv.Itoa(d.Requests), "clients": strconv.Itoa(d.Clients), "share.allowed": strconv.FormatFloat(b.cfg.Share, 'g', -1, 64)}
	if reason != "" {
		detail["reason"] = reason
	}
	if err := b.m.storage.Record(ctx, actor, verb, d.Rule, detail); err != nil {
		b.m.log.Error("what became of a rule could not be written to the ledger", "verb", verb, "rule", d.Rule, "error", err)
	}
}

// changed saves what is demoted, and puts it in force.
func (b *budgets) changed(ctx context.Context) {
	b.mute()
	text, err := json.Marshal(savedBudgets{1, b.book.Demoted()})
	if err == nil {
		err = atomicfile.Write(b.path, text)
	}
	if err != nil {
		b.m.log.Error("what is demoted could not be saved: it is forgotten at the next start", "error", err)
	}
	if err := b.m.watcher.Reload(ctx); err != nil && ctx.Err() == nil {
		b.m.log.Warn("what is demoted is in force when the rules load again", "error", err)
	}
	b.m.changed(console.TopicRules)
}

// review ends the demotions of rules that are others now. What is gone stays as it is: it may come back.
func (b *budgets) review(ctx context.Context) {
	set, any := b.m.engine.Set(), false
	for _, d := range b.book.Demoted() {
		var version string
		if d.Kind == budget.Firewall {
			version = b.crs
		} else if r := set.Rule(d.Rule); r != nil {
			version = r.Version()
		}
		if version == "" || version == d.Version {
			continue
		}
		if _, ok := b.book.Lift(d.Key); ok {
			b.record(ctx, "system", "budget.lift", d, "the rule is another one now")
			any = true
		}
	}
	if any {
		b.changed(ctx)
	}
}

// budgetDesk fits budgets to the console.
type budgetDesk struct{ b *budgets }

// Budgets implements console.BudgetSource.
func (k budgetDesk) Budgets(context.Context) (console.BudgetReport, error) {
	b := k.b
	r := console.BudgetReport{Window: console.Duration(b.cfg.Window), Least: int64(b.cfg.Least), Budgets: []console.Budget{}}
	if len(b.cfg.KnownGood) == 0 {
		r.Problem = "no traffic is known to be good: name networks in policy.budget.known_good"
	}
	set := b.m.engine.Set()
	for _, e := range b.book.Entries(time.Now()) {
		one := b.row(e)
		if rule := set.Rule(e.Rule); rule != nil {
			one.Title = rule.Title
		}
		if one.State == console.BudgetDemoted {
			r.Demoted++
		}
		r.Budgets = append(r.Budgets, one)
	}
	used := func(o console.Budget) float64 {
		if o.Allowed == 0 {
			return o.Share
		}
		return o.Share / o.Allowed
	}
	slices.SortStableFunc(r.Budgets, func(x, y console.Budget) int {
		if d := strings.Compare(rank(x.State), rank(y.State)); d != 0 {
			return d
		}
		switch u, v := used(x), used(y); {
		case u > v:
			return -1
		case u < v:
			return 1
		}
		return 0
	})
	r.Budgets = r.Budgets[:min(len(r.Budgets), console.MaxLimit)]
	return r, nil
}

func rank(state string) string {
	if state == console.BudgetDemoted {
		return "0"
	}
	return "1"
}

func (b *budgets) row(e budget.Entry) console.Budget {
	one := console.Budget{BudgetKey: console.BudgetKey{Kind: string(e.Kind), Rule: e.Rule, Route: e.Route}, Requests: int64(e.Requests), Fired: int64(e.Fired), Clients: e.Clients, Allowed: b.cfg.Share, State: console.BudgetWithin}
	if d := e.Demotion; d != nil {
		one.State, one.Requests, one.Fired, one.Clients, one.Demoted = console.BudgetDemoted, int64(d.Requests), int64(d.Fired), d.Clients, d.At
	}
	if one.Requests > 0 {
		one.Share = min(float64(one.Fired)/float64(one.Requests), 1)
	}
	switch {
	case e.Demotion != nil:
	case e.Requests < b.cfg.Least:
		one.State = console.BudgetCounting
	case one.Share > one.Allowed:
		one.State = console.BudgetOver
	}
	return one
}

// Restore implements console.BudgetSource.
func (k budgetDesk) Restore(ctx context.Context, key console.BudgetKey, reason string, by console.Identity) (console.Budget, error) {
	b, at := k.b, budget.Key{Kind: budget.Kind(key.Kind), Rule: key.Rule, Route: key.Route}
	known := slices.ContainsFunc(b.book.Entries(time.Now()), func(e budget.Entry) bool { return e.Key == at })
	d, ok := b.book.Lift(at)
	switch {
	case !ok && known:
		return console.Budget{}, fmt.Errorf("it is not demoted: %w", console.ErrConflict)
	case !ok:
		return console.Budget{}, console.ErrNotFound
	}
	b.record(ctx, by.Actor(), "budget.restore", d, reason)
	b.changed(ctx)
	return b.row(budget.Entry{Key: at}), nil
}

// budgetCheck tells the doctor's readers of rules that only alert.
func (b *budgets) check() console.Check {
	all := b.book.Demoted()
	if len(all) == 0 {
		return ok("budgets", "no rule is demoted")
	}
	names := make([]string, len(all))
	for i, d := range all {
		names[i] = fmt.Sprintf("%s at %s (fired on %d of %d)", d.Rule, d.Route, d.Fired, d.Requests)
	}
	return console.Check{Name: "budgets", Detail: fmt.Sprintf("%d rules only alert, because they fired on too much that is known to be good: %s", len(all), some(names)),
		Cost: "what they would refuse passes", Command: "testudo rule budgets; make an exception with testudo exception EVENT-ID, then testudo rule restore RULE --route ROUTE"}
}
