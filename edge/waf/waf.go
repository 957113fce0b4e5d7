package waf

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf/engine"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// WAF holds the compiled rules. It is safe for concurrent use.
type WAF struct {
	cfg       Config
	count     int // of rules
	begin     func(id string) transaction
	engine    *engine.Engine // nil: Coraza executes the rules
	uncovered []Uncovered
	fallbacks prometheus.Counter // nil where nothing falls back
	broken    prometheus.Counter
}

// New compiles the Core Rule Set with the settings. Parts of uploads that Coraza writes to
// disk while it inspects them go to dir, which is made with mode 0700.
//
// Directives of the user's are read by Coraza first, so that what is an error there is the same error here. Where the fast engine
// does not cover all of them Coraza executes all rules; [WAF.Uncovered] says why.
func New(cfg Config, dir string) (*WAF, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("waf: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("waf: %w", err)
	}
	w := &WAF{cfg: cfg, broken: newBroken()}
	t := directives(&cfg, dir)
	if cfg.Engine != EngineCoraza {
		if cfg.own() {
			if err := readable(t.String()); err != nil {
				return nil, fmt.Errorf("waf: %w", err)
			}
		}
		if w.compile(t); w.engine != nil {
			return w, nil
		}
	}
	rules, err := newCoraza(t.String())
	if err != nil {
		return nil, fmt.Errorf("waf: %w", explain(err))
	}
	if counted, ok := rules.(experimental.WAFWithRules); ok {
		w.count = counted.RulesCount()
	}
	w.begin = func(id string) transaction { return &slow{tx: rules.NewTransactionWithID(id)} }
	return w, nil
}

func newBroken() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_waf_broken_total", Help: "Inspections that broke off: edge.routes[].fail decided."})
}

// compile makes the fast engine, or says why there is none.
func (w *WAF) compile(t *text) {
	program, err := seclang.Parse(coreruleset.FS, t.String())
	if err == nil {
		w.engine, err = engine.New(program)
	}
	if err != nil {
		w.uncovered = t.uncovered(err, &w.cfg)
		w.fallbacks = prometheus.NewCounter(prometheus.CounterOpts{Name: "testudo_waf_fallback_total", Help: "Exchanges that Coraza judged because the fast engine does not cover the rules, by what it does not cover.",
			ConstLabels: prometheus.Labels{"reason": w.uncovered[0].What}})
		return
	}
	w.count = len(program.Rules)
	w.begin = func(id string) transaction { return &fast{tx: w.engine.Begin(id)} }
}

// newCoraza compiles directives. Some that it means to support make it panic, such as SecRuleRemoveByMsg.
func newCoraza(directives string) (rules coraza.WAF, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("coraza breaks off at a directive: %v", r)
		}
	}()
	return coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(directives))
}

// readable returns the error that Coraza has about directives.
func readable(directives string) error {
	rules, err := newCoraza(directives)
	if err != nil {
		return explain(err)
	}
	if c, ok := rules.(experimental.WAFCloser); ok {
		return c.Close() // or the expressions would stay in memory
	}
	return nil
}

// Rules returns how many rules are loaded.
func (w *WAF) Rules() int { return w.count }

// Uncovered says why Coraza executes the rules although the fast engine was to; nothing where it does not.
func (w *WAF) Uncovered() []Uncovered { return w.uncovered }

// Register registers the counters.
func (w *WAF) Register(reg prometheus.Registerer) error {
	all := []prometheus.Collector{w.broken}
	if w.fallbacks != nil {
		all = append(all, w.fallbacks)
	}
	if w.engine != nil {
		all = append(all, automata{w.engine})
	}
	for _, c := range all {
		if err := reg.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// Begin starts the inspection of one exchange.
func (w *WAF) Begin(_ context.Context, x edge.Exchange) edge.Inspection {
	if w.fallbacks != nil {
		w.fallbacks.Inc()
	}
	i := &inspection{waf: w, x: x, level: max(x.Paranoia, 1)}
	i.guard(func() {
		i.tx = w.begin(x.ID)
		if len(x.Muted) > 0 {
			i.tx.mute(x.Muted)
		}
	})
	return i
}

// streams reports whether a body of that media type passes uninspected.
func (w *WAF) streams(contentType string) bool {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	for _, pattern := range w.cfg.StreamTypes {
		if ok, _ := path.Match(pattern, media); ok {
			return true
		}
	}
	return false
}
