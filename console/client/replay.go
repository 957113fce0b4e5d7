package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// WhatIf asks what a change of rules would have made of what is recorded. Progress may be nil; it is called now and then with
// the share that is done.
func (c *Client) WhatIf(ctx context.Context, q console.WhatIfQuery, progress func(float64)) (console.WhatIfReport, error) {
	return replay[console.WhatIfReport](ctx, c, v1+"/whatif", q, progress)
}

// Exceptions asks for the narrowest exceptions that free an event from a rule.
func (c *Client) Exceptions(ctx context.Context, q console.ExceptionQuery, progress func(float64)) (console.ExceptionReport, error) {
	body := struct {
		Rule  string    `json:"rule,omitempty"`
		Since time.Time `json:"since,omitzero"`
		Until time.Time `json:"until,omitzero"`
	}{q.Rule, q.Since, q.Until}
	return replay[console.ExceptionReport](ctx, c, v1+"/events/"+q.Event.String()+"/exceptions", body, progress)
}

func replay[T any](ctx context.Context, c *Client, path string, body any, progress func(float64)) (report T, err error) {
	resp, err := c.do(ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return report, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), 32<<20)
	for lines.Scan() {
		var l struct {
			Progress *float64         `json:"progress"`
			Report   *T               `json:"report"`
			Problem  *console.Problem `json:"problem"`
		}
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return report, fmt.Errorf("the node's answer to the replay: %w", err)
		}
		switch {
		case l.Problem != nil:
			return report, &Error{*l.Problem}
		case l.Report != nil:
			return *l.Report, nil
		case l.Progress != nil && progress != nil:
			progress(*l.Progress)
		}
	}
	if err := errors.Join(lines.Err(), ctx.Err()); err != nil {
		return report, err
	}
	return report, errors.New("the node stopped before the replay was through")
}
