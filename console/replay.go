package console

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// ReplaySource asks what other rules would have made of what is recorded. Progress may be nil; it is called now and
// then with the share that is done, from 0 to 1, in the goroutine of the call.
type ReplaySource interface {
	// WhatIf replays records through the rules in force and through changed ones. Rules that do not compile
	// are in the report's Errors, which has nothing else then.
	WhatIf(ctx context.Context, q WhatIfQuery, progress func(float64)) (WhatIfReport, error)
	// Exceptions proposes how to free an event from a rule. ErrNotFound where there is no such event, an
	// InputError with Field "rule" where no rule, or not that one, fires on it.
	Exceptions(ctx context.Context, q ExceptionQuery, progress func(float64)) (ExceptionReport, error)
}

// RuleText is a rule file that is not in force.
type RuleText struct {
	Name string `json:"name" doc:"file name, as in rule.yaml"`
	Text string `json:"text"`
}

// WhatIfQuery is a change of rules, and on which records it is tried.
type WhatIfQuery struct {
	Files   []RuleText `json:"files,omitempty" doc:"rules that take the place of those in force with the same id, and new ones"`
	Replace bool       `json:"replace,omitempty" doc:"try these rules instead of all that are in force"`
	Remove  []string   `json:"remove,omitempty" doc:"ids of rules to be taken away"`
	Disable []string   `json:"disable,omitempty" doc:"ids of rules to be switched off"`
	// Firewall is tried in the place of the web application firewall as it was.
	Firewall *FirewallChange `json:"firewall,omitempty" doc:"another setting of the web application firewall"`
	Enforce  []string        `json:"enforce,omitempty" doc:"edge routes that are tried as if their mode were block; * for all"`
	Since    time.Time       `json:"since,omitzero" doc:"not before (RFC 3339)"`
	Until    time.Time       `json:"until,omitzero" doc:"before (RFC 3339)"`
	Planes   []string        `json:"planes,omitempty" doc:"planes whose events are counted, as in edge; left out, all"`
	Classes  []string        `json:"classes,omitempty" doc:"short names of OCSF classes whose events are counted; left out, all"`
	Verify   bool            `json:"verify,omitempty" doc:"judge all records again by the rules in force too, and compare with the recorded verdicts"`
}

// FirewallChange is another setting of the web application firewall.
type FirewallChange struct {
	Directives string   `json:"directives,omitempty" doc:"SecLang that is put behind waf.before, where it excludes by ctl or sets the Core Rule Set up, or behind waf.after"`
	Before     string   `json:"before,omitempty" doc:"SecLang behind waf.before"`
	After      string   `json:"after,omitempty" doc:"SecLang behind waf.after"`
	Paranoia   int      `json:"paranoia,omitempty" doc:"paranoia level, 1 to 4; left out, that of each request"`
	Threshold  int      `json:"threshold,omitempty" doc:"score from which a request is an attack; left out, that of each request"`
	Routes     []string `json:"routes,omitempty" doc:"edge routes that it is tried on; left out, all"`
}

// WhatIfReport says what a change of rules would have made of what is recorded.
type WhatIfReport struct {
	Errors    []RuleError         `json:"errors" doc:"why the rules do not compile"`
	Live      string              `json:"live" doc:"digest of the rules in force"`
	Changed   string              `json:"changed" doc:"digest of the changed rules"`
	Since     time.Time           `json:"since,omitzero"`
	Until     time.Time           `json:"until,omitzero"`
	Rules     WhatIfRules         `json:"rules"`
	Events    int64               `json:"events" doc:"looked at"`
	Judged    int64               `json:"judged" doc:"of them, those on which a changed rule could matter, judged by both sets"`
	Counts    map[string]int64    `json:"counts" doc:"events by kind: newly_blocked, no_longer_blocked, no_longer_caught, newly_alerted, decision_changed, rules_changed"`
	ByRule    []WhatIfRow         `json:"by_rule"`
	ByRoute   []WhatIfRow         `json:"by_route"`
	ByAsset   []WhatIfRow         `json:"by_asset"`
	ByClient  []WhatIfRow         `json:"by_client"`
	Examples  []WhatIfExample     `json:"examples"`
	Kept      int64               `json:"kept,omitempty" doc:"requests that were kept sealed, and judged as they were received"`
	Firewall  *WhatIfFirewall     `json:"firewall,omitempty" doc:"how a change of the web application firewall was tried"`
	Exact     bool                `json:"exact"`
	Inexact   []ReplayReason      `json:"inexact" doc:"why the answer may not be that of the moment"`
	Verified  *ReplayVerification `json:"verified,omitempty"`
	ElapsedMS int64               `json:"elapsed_ms"`
	PerSecond int64               `json:"per_second"`
	Files     int                 `json:"files" doc:"lake files read"`
	Skipped   int                 `json:"skipped" doc:"lake files and parts of them that were ruled out unread"`
}

// WhatIfFirewall says how a change of the web application firewall was tried.
type WhatIfFirewall struct {
	Requests  int64       `json:"requests" doc:"that it was tried on"`
	Kept      int64       `json:"kept" doc:"of them, those that were kept sealed and judged again themselves"`
	Uncertain int64       `json:"uncertain" doc:"of them, those of which something is not certain; inexact says why"`
	ByRule    []WhatIfRow `json:"by_rule" doc:"firewall rules: requests that each matched and would, and what becomes of those for which it makes the difference"`
	Before    string      `json:"before,omitempty" doc:"directives that were tried behind waf.before"`
	After     string      `json:"after,omitempty" doc:"directives that were tried behind waf.after"`
}

// WhatIfRules are ids of rules.
type WhatIfRules struct {
	Added   []string `json:"added"`
	Removed []string `json:"removed"`
	Changed []string `json:"changed"`
}

// WhatIfRow is what changes for one rule, route, asset or client.
type WhatIfRow struct {
	Name         string           `json:"name"`
	Title        string           `json:"title,omitempty" doc:"of a rule"`
	Counts       map[string]int64 `json:"counts"`
	Before       int64            `json:"before,omitempty" doc:"events on which the rule fired"`
	After        int64            `json:"after,omitempty" doc:"events on which it would fire"`
	OrdersBefore int64            `json:"orders_before,omitempty" doc:"how often the rule asked for an action"`
	OrdersAfter  int64            `json:"orders_after,omitempty"`
}

// WhatIfExample is an event for which something would change.
type WhatIfExample struct {
	Kind     string          `json:"kind"`
	Event    string          `json:"event" doc:"id"`
	Time     time.Time       `json:"time"`
	Rule     string          `json:"rule"`
	Before   signal.Decision `json:"before"`
	After    signal.Decision `json:"after"`
	Sentence string          `json:"sentence"`
}

// ReplayReason says why a replay may differ from what was.
type ReplayReason struct {
	Reason string `json:"reason"`
	Events int64  `json:"events" doc:"that it touches; 0 where that is not known"`
}

// ReplayVerification says whether records are what the rules in force make of them.
type ReplayVerification struct {
	Same       int64            `json:"same"`
	Different  int64            `json:"different"`
	Masked     int64            `json:"masked" doc:"different, and a rule that makes the difference reads a masked value"`
	Other      int64            `json:"other" doc:"judged by other rules than those in force"`
	Mismatches []ReplayMismatch `json:"mismatches"`
}

// ReplayMismatch is a rule that fired on record and does not, or the other way round.
type ReplayMismatch struct {
	Rule     string `json:"rule"`
	Recorded int64  `json:"recorded"`
	Replayed int64  `json:"replayed"`
	Event    string `json:"event" doc:"id of one of the events"`
}

// ExceptionQuery is an event that a rule should not have fired on.
type ExceptionQuery struct {
	Event signal.ID
	Rule  string    // "" for the one that decided
	Since time.Time // records that a proposal is tried on
	Until time.Time
}

// ExceptionReport holds proposals, the narrowest first.
type ExceptionReport struct {
	Event     string      `json:"event" doc:"id"`
	Summary   string      `json:"summary"`
	Rule      string      `json:"rule" doc:"the rule to except from"`
	Title     string      `json:"title"`
	For       string      `json:"for,omitempty" doc:"the correlation that the rule feeds, where that was asked about"`
	Fired     int64       `json:"fired" doc:"events of the time on which the rule fires"`
	Proposals []Exception `json:"proposals"`
	// Exclusions and NoExclusion are about the web application firewall, where it found something in the event.
	Exclusions  []Exclusion    `json:"exclusions,omitempty" doc:"of the firewall from its own rules, from narrow to wide, instead of a proposal"`
	NoExclusion string         `json:"no_exclusion,omitempty" doc:"why there are none"`
	Exact       bool           `json:"exact"`
	Inexact     []ReplayReason `json:"inexact"`
}

// Exception is a condition under which a rule is not to fire.
type Exception struct {
	Terms    []ExceptionTerm `json:"terms" doc:"that all have to hold"`
	Text     string          `json:"text" doc:"the terms for people"`
	Freed    int64           `json:"freed" doc:"other events that it frees"`
	Suspect  int64           `json:"suspect" doc:"of them, those on which other rules fire"`
	Suspects []string        `json:"suspects" doc:"ids of these rules"`
	Examples []FreedEvent    `json:"examples"`
	Change   string          `json:"change" doc:"what to put into a rule file"`
	How      string          `json:"how" doc:"where to put it"`
	Firewall string          `json:"firewall,omitempty" doc:"a line of waf.before that leaves out what matched on this path, instead of the change"`
	Checked  bool            `json:"checked" doc:"the change was compiled, and the rule does not fire on the event any more"`
}

// Exclusion is something that the firewall's rules do not look at.
type Exclusion struct {
	Text   string `json:"text" doc:"the exclusion for people"`
	Before string `json:"before,omitempty" doc:"directives for waf.before"`
	After  string `json:"after,omitempty" doc:"directives for waf.after"`
	Freed  int64  `json:"freed" doc:"other recorded alarms of the firewall that would not be"`
	AtMost bool   `json:"at_most,omitempty" doc:"freed is a bound: it depends on values, which are not recorded"`
	Exact  bool   `json:"exact,omitempty" doc:"freed was counted over the requests themselves, which were kept sealed"`
	// The price: attacks of the Core Rule Set's regression tests that are detected without the exclusion, and those that are not with it.
	Attacks    int      `json:"attacks" doc:"detected, sent as the tests have them"`
	Lost       int      `json:"lost" doc:"of these, not detected with the exclusion"`
	Placed     int      `json:"placed" doc:"values of attacks, detected in the parameter and on the path of the event; 0 where none can be sent there"`
	LostPlaced int      `json:"lost_placed" doc:"of these, not detected with the exclusion"`
	Examples   []string `json:"examples,omitempty" doc:"tests that are lost"`
}

// ExceptionTerm is one part of an exception.
type ExceptionTerm struct {
	Field  string   `json:"field"`
	Shape  string   `json:"shape" doc:"is, like (a regular expression) or among (a list)"`
	Value  string   `json:"value,omitempty"`
	Values []string `json:"values,omitempty"`
}

// FreedEvent is an event that an exception frees.
type FreedEvent struct {
	Event   string    `json:"event" doc:"id"`
	Time    time.Time `json:"time"`
	Summary string    `json:"summary"`
	Rules   []string  `json:"rules" doc:"other rules that fire on it"`
}

// WhatIfLine is one line of a replay's answer: how far it is, or, last, the report or the problem that ended it.
type WhatIfLine struct {
	Progress *float64      `json:"progress,omitempty" doc:"share that is done, from 0 to 1"`
	Report   *WhatIfReport `json:"report,omitempty"`
	Problem  *Problem      `json:"problem,omitempty"`
}

// ExceptionLine is the same of a search for exceptions.
type ExceptionLine struct {
	Progress *float64         `json:"progress,omitempty" doc:"share that is done, from 0 to 1"`
	Report   *ExceptionReport `json:"report,omitempty"`
	Problem  *Problem         `json:"problem,omitempty"`
}

// The bounds of replays: each may read all that is kept.
const (
	maxReplays    = 2
	replayTime    = 30 * time.Minute
	progressEvery = 200 * time.Millisecond
)

type whatIfIn struct {
	Body WhatIfQuery `body:"json"`
}

type exceptionIn struct {
	ID   signal.ID `path:"id" doc:"id of the event"`
	Body struct {
		Rule  string    `json:"rule,omitempty" doc:"id of the rule; left out, the one that decided"`
		Since time.Time `json:"since,omitzero" doc:"try on records not before (RFC 3339)"`
		Until time.Time `json:"until,omitzero" doc:"try on records before (RFC 3339)"`
	} `body:"json"`
}

func (s *Server) replayRoutes() []Route {
	whatIf := stream[whatIfIn, WhatIfLine](v1+"/whatif", "application/x-ndjson", RoleOperator,
		says{id: "whatIf", summary: "What a change of rules would have made of what is recorded; puts nothing in force; lines of progress, the report last", tag: "rules"},
		func(w http.ResponseWriter, r *http.Request, in whatIfIn) error {
			return answerReplay(s, w, r, func(ctx context.Context, progress func(float64)) (WhatIfReport, error) {
				return s.WhatIf(ctx, in.Body, progress)
			})
		})
	exceptions := stream[exceptionIn, ExceptionLine](v1+"/events/{id}/exceptions", "application/x-ndjson", RoleOperator,
		says{id: "proposeExceptions", summary: "The narrowest exceptions that free an event from a rule, and what else they free; lines of progress, the report last", tag: "rules"},
		func(w http.ResponseWriter, r *http.Request, in exceptionIn) error {
			q := ExceptionQuery{Event: in.ID, Rule: in.Body.Rule, Since: in.Body.Since, Until: in.Body.Until}
			return answerReplay(s, w, r, func(ctx context.Context, progress func(float64)) (ExceptionReport, error) {
				return s.Exceptions(ctx, q, progress)
			})
		})
	whatIf.Method, exceptions.Method = post, post
	return append([]Route{whatIf, exceptions}, s.exceptionRoutes()...)
}

// WhatIf replays a change of rules, for pages and the API: within the bounds of replays, which are a LimitedError where
// they are reached. See ReplaySource.
func (s *Server) WhatIf(ctx context.Context, q WhatIfQuery, progress func(float64)) (WhatIfReport, error) {
	ctx, done, err := s.replaying(ctx)
	if err != nil {
		return WhatIfReport{}, err
	}
	defer done()
	return s.sources.Replay.WhatIf(ctx, q, progress)
}

// Exceptions proposes how to free an event, as WhatIf does.
func (s *Server) Exceptions(ctx context.Context, q ExceptionQuery, progress func(float64)) (ExceptionReport, error) {
	ctx, done, err := s.replaying(ctx)
	if err != nil {
		return ExceptionReport{}, err
	}
	defer done()
	return s.sources.Replay.Exceptions(ctx, q, progress)
}

// replaying takes one of the places of replays; done gives it back.
func (s *Server) replaying(ctx context.Context) (_ context.Context, done func(), err error) {
	if s.sources.Replay == nil {
		return nil, nil, unavailable("a lake")
	}
	select {
	case s.replays <- struct{}{}:
	default:
		return nil, nil, &LimitedError{RetryAfter: 10 * time.Second}
	}
	ctx, cancel := context.WithTimeout(ctx, replayTime)
	return ctx, func() { cancel(); <-s.replays }, nil
}

// replayLine is WhatIfLine or ExceptionLine.
type replayLine[T any] struct {
	Progress *float64 `json:"progress,omitempty"`
	Report   *T       `json:"report,omitempty"`
	Problem  *Problem `json:"problem,omitempty"`
}

// answerReplay writes how far a replay is, and last its report. An error before the first line is a problem as
// ever; one after it is the last line.
func answerReplay[T any](s *Server, w http.ResponseWriter, r *http.Request, replay func(context.Context, func(float64)) (T, error)) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	out := &lineWriter{w: w, control: http.NewResponseController(w)}
	write := func(l replayLine[T]) error {
		b, err := json.Marshal(l)
		if err == nil {
			err = out.line(b)
		}
		return err
	}
	told := time.Now()
	report, err := replay(ctx, func(done float64) {
		if time.Since(told) < progressEvery {
			return
		}
		told = time.Now()
		if write(replayLine[T]{Progress: &done}) != nil || out.flush() != nil {
			cancel()
		}
	})
	if err != nil && !out.begun {
		return err
	}
	last := replayLine[T]{}
	if err == nil {
		report = listed(report)
		last.Report = &report
	} else {
		if errors.Is(err, errGone) || r.Context().Err() != nil {
			return nil
		}
		p, _, ours := problemOf(err)
		if ours {
			s.metrics.faults.Inc()
			s.log.Error("replay ended", "error", err)
		}
		last.Problem = &p
	}
	if write(last) == nil {
		_ = out.flush()
	}
	return nil
}
