package api

import (
	"strings"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/habit"
	"github.com/testudo-sec/testudo/internal/urlmask"
)

// tellUnusual notes how the request differs from what others send.
func (c *check) tellUnusual() {
	if !c.r.cfg.Habits || c.template == "" {
		return
	}
	o := c.observation()
	notices, known := c.g.habits.Unusual(&o)
	c.found.Habits = known
	for _, n := range notices {
		c.found.Unusual = append(c.found.Unusual, n.String())
	}
}

// learnHabits takes the request into account that nobody had anything against and that was answered with success.
func (c *check) learnHabits(e edge.End) {
	if !c.r.cfg.Habits || c.template == "" || !e.Clean || !e.Whole || e.Status < 200 || e.Status >= 400 || len(c.found.Violations) > 0 || c.found.Err != nil || c.request.truncated {
		return
	}
	if m := &c.request; m.json == nil && (isJSON(c.media) || c.untold() && m.looksLikeJSON()) {
		m.read(maxAgain)
	}
	if o := c.observation(); !o.Cut {
		c.g.habits.Learn(&o)
	}
}

// observation is the request as package habit sees it.
func (c *check) observation() habit.Observation {
	o := habit.Observation{Time: c.x.Time, Route: c.r.cfg.Route, Method: c.x.Request.Method, Template: c.template, Body: c.request.json, Client: c.client(), Cut: c.request.truncated}
	if len(c.params) > 0 {
		o.Path = make([]habit.Value, len(c.params))
		for i, p := range c.params {
			o.Path[i] = habit.Value(p)
		}
	}
	if pairs := c.pairs(); len(pairs) > 0 {
		o.Cut = o.Cut || len(pairs) == maxQuery
		o.Query = make([]habit.Value, len(pairs))
		for i, p := range pairs {
			o.Query[i] = habit.Value(p)
		}
	}
	if isForm(c.media) && !c.request.coded(c.x.Request.Header) {
		o.Form = formPairs(c.request.body)
		o.Cut = o.Cut || len(o.Form) == maxQuery
	}
	return o
}

func isForm(media string) bool { return media == "application/x-www-form-urlencoded" }

// formPairs are the first fields of a form that have names.
func formPairs(body []byte) []habit.Value {
	out := []habit.Value{} // there is a form, be it an empty one
	for pair := range strings.SplitSeq(string(body), "&") {
		if len(out) == maxQuery {
			break
		}
		name, value, _ := strings.Cut(pair, "=")
		if name = unescape(name); name != "" && urlmask.PlainName(name) { // else it may be a value
			out = append(out, habit.Value{Name: name, Value: unescape(value)})
		}
	}
	return out
}
