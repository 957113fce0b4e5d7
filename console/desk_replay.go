package console

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// pageReplayTime bounds a what-if whose answer is a page: it must be written before the connection's own time ends.
const pageReplayTime = 40 * time.Second

// ErrTooLong is the error of a what-if that takes longer than a page may.
var ErrTooLong = errors.New("the replay takes longer than a page can wait")

// WhatIf says what a change of rules would have made of what is recorded. It puts nothing in force. The error is
// ErrTooLong where a page cannot wait for the answer; the API's call of that name has half an hour. Operators may.
func (d *Desk) WhatIf(ctx context.Context, q WhatIfQuery) (WhatIfReport, error) {
	if _, err := d.caller(ctx, RoleOperator); err != nil {
		return WhatIfReport{}, err
	}
	if d.sources.Replay == nil {
		return WhatIfReport{}, unavailable("a lake")
	}
	size := 0
	for _, f := range q.Files {
		size += len(f.Text)
	}
	if f := q.Firewall; f != nil {
		size += len(f.Directives) + len(f.Before) + len(f.After)
	}
	if size > maxRuleText {
		return WhatIfReport{}, &InputError{Field: "text", Reason: fmt.Sprintf("%d bytes, at most %d are read", size, maxRuleText)}
	}
	return waiting(ctx, d, func(ctx context.Context) (WhatIfReport, error) { return d.sources.Replay.WhatIf(ctx, q, nil) })
}

// waiting runs a replay for a page.
func waiting[T any](ctx context.Context, d *Desk, run func(context.Context) (T, error)) (T, error) {
	select {
	case d.replays <- struct{}{}:
		defer func() { <-d.replays }()
	default:
		var none T
		return none, &LimitedError{RetryAfter: 10 * time.Second}
	}
	limited, cancel := context.WithTimeout(ctx, pageReplayTime)
	defer cancel()
	r, err := run(limited)
	if err != nil && ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		return r, ErrTooLong
	}
	return r, err
}

var regoForm = regexp.MustCompile(`(?m)^[ \t]*package[ \t]+[\w.\[\]"]+[ \t\r]*$`)

// RuleFileName returns the name of a file that could hold the text: dialects tell their files by name and text.
func RuleFileName(text string) string {
	if regoForm.MatchString(text) {
		return "rule.rego"
	}
	return "rule.yaml"
}
