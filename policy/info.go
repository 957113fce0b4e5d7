package policy

import (
	"slices"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

// Info describes a rule and how it has fared in an engine, for people.
type Info struct {
	ID         string          `json:"id"`
	Title      string          `json:"title"`
	Severity   signal.Severity `json:"severity"`
	On         []string        `json:"on"` // class names; empty for all
	When       string          `json:"when"`
	Then       signal.Decision `json:"then"`
	Actions    []Action        `json:"actions,omitempty"`
	Why        string          `json:"why,omitempty"`
	Fix        string          `json:"fix,omitempty"`
	References []string        `json:"references,omitempty"`
	Tags       []string        `json:"tags,omitempty"`
	Notes      []Note          `json:"notes,omitempty"`
	Enabled    bool            `json:"enabled"`
	Dialect    string          `json:"dialect"`
	File       string          `json:"file"`
	Line       int             `json:"line"`
	Fields     []string        `json:"fields"` // names of the fields that its condition reads
	Tests      int             `json:"tests"`
	Hits       uint64          `json:"hits"`
	LastHit    time.Time       `json:"last_hit,omitzero"` // event time
	Faults     uint64          `json:"faults"`            // events that its condition could not be worked out for
	Windows    window.Stats    `json:"windows,omitzero"`  // of its correlation and all its actions together
	// Correlation is what the rule waits for over time, in words; "" for others.
	Correlation string `json:"correlation,omitempty"`
	Silent      bool   `json:"silent,omitempty"` // it only feeds correlations
}

// Infos returns the rules of the current set by id, with what they did in this
// engine since they were loaded or last changed how they judge.
func (j *Engine) Infos() []Info {
	b := j.current.Load()
	all := make([]Info, 0, len(b.set.rules))
	at := make(map[string]int)
	for i, r := range b.set.rules {
		if r.PartOf == "" {
			at[r.ID] = len(all)
			all = append(all, b.info(i))
		}
	}
	for i, r := range b.set.rules {
		if whole, ok := at[r.PartOf]; ok && r.PartOf != "" {
			all[whole].add(b.info(i))
		}
	}
	return all
}

// Info returns one rule as [Engine.Infos] does, and whether there is one of that id.
func (j *Engine) Info(id string) (Info, bool) {
	b := j.current.Load()
	i, ok := b.set.find(id)
	if !ok {
		return Info{}, false
	}
	in := b.info(i)
	for k, r := range b.set.rules {
		if r.PartOf == id {
			in.add(b.info(k))
		}
	}
	return in, true
}

// add joins what a piece of the rule reads, and could not work out.
func (in *Info) add(part Info) {
	in.Faults += part.Faults
	in.Fields = append(in.Fields, part.Fields...)
	slices.Sort(in.Fields)
	in.Fields = slices.Compact(in.Fields)
	in.On = append(in.On, part.On...)
	slices.Sort(in.On)
	in.On = slices.Compact(in.On)
}

func (b *bound) info(i int) Info {
	r, st := b.set.rules[i], b.state[i]
	in := Info{
		ID: r.ID, Title: r.Title, Severity: r.Severity, On: make([]string, len(r.On)), When: r.When,
		Then: r.Then, Actions: r.Actions, Why: r.Why, Fix: r.Fix, References: r.References,
		Tags: r.Tags, Notes: r.Notes, Enabled: !r.Disabled, Dialect: r.Dialect, File: r.File, Line: r.Line,
		Fields: []string{}, Tests: len(r.Tests), Hits: st.hits.Load(), Faults: st.faults.Load(),
	}
	in.Silent = r.Silent
	if r.Correlation != nil {
		in.Correlation = r.Correlation.String()
	}
	for k, c := range r.On {
		in.On[k] = c.String()
	}
	if r.Condition != nil {
		for _, f := range match.Fields(r.Condition) {
			in.Fields = append(in.Fields, f.Name())
		}
	}
	if last := st.last.Load(); last != 0 {
		in.LastHit = time.Unix(0, last).UTC()
	}
	in.Windows = st.stats()
	return in
}

// stats returns the figures of all windows of a rule together.
func (st *ruleState) stats() window.Stats {
	var all window.Stats
	for _, w := range st.windows {
		if w != nil {
			all.Add(w.Stats())
		}
	}
	if st.window != nil {
		all.Add(st.window.Stats())
	}
	return all
}
