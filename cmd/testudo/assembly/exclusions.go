package assembly

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// maxAlarms bounds the kinds of alarms that exclusions are tried on.
const maxAlarms = 20_000

// exclusions proposes what the firewall's rules could leave out so that an event is no attack to it, tried on its other alarms
// and on known attacks.
func exclusions(ctx context.Context, history *store.History, cfg waf.Config, attacks func() (*coverage.Corpus, error), e *signal.Event, q *console.ExceptionQuery) ([]console.Exclusion, error) {
	program, err := waf.Program(cfg)
	if err != nil {
		program = nil // Coraza executes the rules
	}
	alarm := alarmOf(e)
	proposals, err := coverage.Propose(program, &alarm)
	if err != nil {
		return nil, err
	}
	kinds := map[string]*coverage.Alarm{}
	if _, err := replay.Alarms(ctx, history, q.Since, q.Until, func(other *signal.Event) {
		if other.ID == e.ID {
			return
		}
		a := alarmOf(other)
		key := fmt.Sprint(a.Path, a.Rules, a.Targets, a.Score, a.Threshold)
		if known := kinds[key]; known != nil {
			known.Count++
		} else if len(kinds) < maxAlarms {
			a.Path, a.Rules, a.Targets, a.Count = strings.Clone(a.Path), cloned(a.Rules), cloned(a.Targets), 1 // the event is the scan's
			kinds[key] = &a
		}
	}); err != nil {
		return nil, err
	}
	others := make([]coverage.Alarm, 0, len(kinds))
	for _, a := range kinds {
		others = append(others, *a)
	}
	coverage.Count(program, proposals, others)
	corpus, err := attacks()
	if err != nil {
		return nil, err
	}
	if err := coverage.Weigh(ctx, corpus, coverage.Setting{WAF: cfg, Paranoia: alarm.Paranoia, Threshold: alarm.Threshold}, &alarm, proposals); err != nil {
		return nil, err
	}
	var out []console.Exclusion
	for i := range proposals {
		p := &proposals[i]
		x := console.Exclusion{Text: p.String(), Freed: p.Freed, AtMost: p.AtMost, Attacks: p.Price.Attacks, Lost: p.Price.Lost, Placed: p.Price.Placed, LostPlaced: p.Price.LostPlaced, Examples: p.Price.Examples}
		x.Before, x.After = p.Directives(program)
		out = append(out, x)
	}
	return out, nil
}

func cloned(list []string) []string {
	out := slices.Clone(list)
	for i := range out {
		out[i] = strings.Clone(out[i])
	}
	return out
}

// alarmOf reads an alarm from its event. Its strings are the event's.
func alarmOf(e *signal.Event) coverage.Alarm {
	a := coverage.Alarm{
		Method: e.RecordedStr(signal.FieldHTTPRequestHTTPMethod), Path: e.RecordedStr(signal.FieldHTTPRequestURLPath),
		Query: e.RecordedStr(signal.FieldHTTPRequestURLQueryString), ContentType: e.RecordedStr(signal.FieldHTTPRequestContentType),
		Rules: e.Strings(signal.FieldWAFRules), Targets: e.Strings(signal.FieldWAFTargets),
		Paranoia: int(e.Int(signal.FieldWAFParanoia)), Threshold: int(e.Int(signal.FieldWAFThreshold)), Score: int(e.Int(signal.FieldWAFScore)),
	}
	// Of parameters that the route records in clear it is known what they look like.
	for pair := range strings.SplitSeq(a.Query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || value == urlmask.Masked || strings.Contains(value, "…") {
			continue
		}
		name, err := url.QueryUnescape(name)
		if err != nil {
			continue
		}
		plain, err := url.QueryUnescape(value)
		if err != nil {
			continue
		}
		if s, ok := coverage.ShapeOf(plain); ok {
			if a.Shapes == nil {
				a.Shapes = map[string]coverage.Shape{}
			}
			a.Shapes["ARGS:"+name] = s
		}
	}
	return a
}
