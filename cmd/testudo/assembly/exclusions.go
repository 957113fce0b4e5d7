package assembly

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/edge/waf/rerun"
	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/trust/sealed"
)

// maxAlarms bounds the kinds of alarms that exclusions are tried on.
const maxAlarms = 20_000

// exclusions proposes what the firewall's rules could leave out so that an event is no attack to it, tried on its other alarms
// and on known attacks.
func exclusions(ctx context.Context, history *store.History, cfg waf.Config, kept *sealed.Reader, attacks func() (*coverage.Corpus, error), e *signal.Event, q *console.ExceptionQuery) ([]console.Exclusion, error) {
	program, err := waf.Program(cfg)
	if err != nil {
		program = nil // Coraza executes the rules
	}
	alarm := alarmOf(e)
	if m, err := received(kept, e.ID); err == nil && m != nil {
		alarm.Shapes = shapesOf(m)
	}
	proposals, err := coverage.Propose(program, &alarm)
	if err != nil {
		return nil, err
	}
	kinds := map[string]*coverage.Alarm{}
	var whole []*signal.Event // of which the request is kept
	if _, err := replay.Alarms(ctx, history, q.Since, q.Until, func(other *signal.Event) {
		if other.ID == e.ID {
			return
		}
		if len(whole) < maxWhole {
			if m, err := received(kept, other.ID); err == nil && m != nil {
				whole = append(whole, other.Recorded())
				return
			}
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
	exact := make([]bool, len(proposals))
	for i := range proposals {
		before, after := proposals[i].Directives(program)
		n, err := freed(ctx, cfg, kept, rerun.Change{Before: before, After: after}, whole)
		if err != nil {
			return nil, err
		}
		if proposals[i].Freed += n; len(whole) > 0 && len(others) == 0 {
			exact[i], proposals[i].AtMost = true, false
		}
	}
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
		x := console.Exclusion{Text: p.String(), Freed: p.Freed, AtMost: p.AtMost, Exact: exact[i], Attacks: p.Price.Attacks, Lost: p.Price.Lost, Placed: p.Price.Placed, LostPlaced: p.Price.LostPlaced, Examples: p.Price.Examples}
		x.Before, x.After = p.Directives(program)
		out = append(out, x)
	}
	return out, nil
}

// maxWhole bounds the alarms whose requests are judged again.
const maxWhole = 2000

// freed counts the alarms that are none with a change, by judging their requests again.
func freed(ctx context.Context, cfg waf.Config, kept *sealed.Reader, c rerun.Change, alarms []*signal.Event) (n int64, err error) {
	if len(alarms) == 0 {
		return 0, nil
	}
	r, err := rerun.New(cfg, c)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for _, e := range alarms {
		m, err := received(kept, e.ID)
		if err != nil || m == nil {
			continue // its time was over meanwhile
		}
		f, err := r.Find(ctx, e.Recorded(), m)
		if err != nil {
			return 0, err
		}
		if f.Flipped {
			n++
		}
	}
	return n, nil
}

// maxShapes bounds the values of a request that are looked at.
const maxShapes = 1000

// shapesOf returns what the arguments of a request look like, named as the firewall names them.
func shapesOf(m *edge.Received) map[string]coverage.Shape {
	values, n := map[string][]string{}, 0
	add := func(name, value string) {
		if n++; n <= maxShapes {
			values["ARGS:"+name] = append(values["ARGS:"+name], value)
		}
	}
	form := func(text string) {
		for pair := range strings.SplitSeq(text, "&") {
			name, value, _ := strings.Cut(pair, "=")
			plainName, err := url.QueryUnescape(name)
			plain, err2 := url.QueryUnescape(value)
			if err == nil && err2 == nil && n < maxShapes {
				add(plainName, plain)
			}
		}
	}
	_, query, _ := strings.Cut(m.URI, "?")
	form(query)
	switch media := strings.ToLower(m.Header.Get("Content-Type")); {
	case strings.HasPrefix(media, "application/x-www-form-urlencoded"):
		form(string(m.Body))
	case strings.Contains(media, "json"):
		var tree any
		if json.Unmarshal(m.Body, &tree) == nil {
			texts("json", tree, add)
		}
	}
	out := map[string]coverage.Shape{}
	for name, list := range values {
		if s, ok := coverage.ShapeOf(list...); ok {
			out[name] = s
		}
	}
	return out
}

// texts yields the texts of a JSON value under the names that the firewall gives them: json.items.0.name.
func texts(name string, v any, yield func(name, value string)) {
	switch v := v.(type) {
	case string:
		yield(name, v)
	case []any:
		for i, e := range v[:min(len(v), maxShapes)] {
			texts(name+"."+strconv.Itoa(i), e, yield)
		}
	case map[string]any:
		for key, e := range v {
			texts(name+"."+key, e, yield)
		}
	}
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
