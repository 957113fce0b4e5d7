package assembly

import (
	"context"
	"errors"
	"fmt"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/rerun"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/trust/sealed"
)

// changedFirewall tries another setting of the firewall for a replay.
type changedFirewall struct {
	rerun         *rerun.Rerun
	before, after string
	kept          *sealed.Reader  // nil where nothing is
	request       *edge.Received  // that was restored last
	refused       map[string]bool // sealed files that could not be read
	fault         string          // of the request that was to be restored last
}

// newChangedFirewall reads the change. The error says what of it makes no sense, or cannot be tried.
func newChangedFirewall(live waf.Config, kept *sealed.Reader, c *console.FirewallChange) (*changedFirewall, error) {
	f := &changedFirewall{kept: kept, refused: map[string]bool{}}
	before, after := rerun.Split(c.Directives)
	f.before, f.after = c.Before+lineEnd(c.Before)+before, c.After+lineEnd(c.After)+after
	change := rerun.Change{Before: f.before, After: f.after, Paranoia: c.Paranoia, Threshold: c.Threshold, Routes: c.Routes}
	if change.Empty() {
		return nil, fmt.Errorf("nothing of the firewall would change: give directives, a paranoia level or a threshold")
	}
	var err error
	f.rerun, err = rerun.New(live, change)
	return f, err
}

func lineEnd(text string) string {
	if text == "" || text[len(text)-1] == '\n' {
		return ""
	}
	return "\n"
}

func (f *changedFirewall) Close() { f.rerun.Close() }

// Scope implements replay.Firewall.
func (f *changedFirewall) Scope() (routes []string, clean bool) {
	return f.rerun.Routes(), f.rerun.Clean()
}

// Fields implements replay.Firewall.
func (f *changedFirewall) Fields() []signal.Field { return rerun.Fields() }

// Restore implements replay.Firewall.
func (f *changedFirewall) Restore(_ context.Context, e *signal.Event) bool {
	f.request, f.fault = nil, ""
	m, err := received(f.kept, e.ID)
	if err != nil {
		if f.fault = err.Error(); !f.refused[f.fault] && len(f.refused) >= maxRefused {
			f.fault = "sealed requests could not be read"
		}
		f.refused[f.fault] = true
	}
	if f.request = m; m == nil {
		return false
	}
	rerun.Restore(e, m)
	return true
}

// maxRefused bounds the damaged files that a report names.
const maxRefused = 10

// received opens the request of an event: nil where it is not kept. The error names the file that cannot be read.
func received(kept *sealed.Reader, id signal.ID) (*edge.Received, error) {
	if kept == nil {
		return nil, nil
	}
	text, err := kept.Get(id)
	if errors.Is(err, sealed.ErrNotKept) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := new(edge.Received)
	if err := m.UnmarshalBinary(text); err != nil {
		return nil, fmt.Errorf("sealed request %s: %w", id, err)
	}
	return m, nil
}

// Find implements replay.Firewall.
func (f *changedFirewall) Find(ctx context.Context, e *signal.Event) (replay.Finding, error) {
	x, err := f.rerun.Find(ctx, e, f.request)
	out := replay.Finding{Gone: x.Gone, New: x.New, Was: x.Was, Is: x.Rules, Flipped: x.Flipped, Kept: f.request != nil, Doubt: doubts(x.How)}
	if out.Doubt != "" && f.fault != "" {
		out.Doubt = f.fault
	}
	return out, err
}

// doubts says in a sentence why a finding is not certain.
func doubts(how rerun.How) string {
	switch how {
	case rerun.Bounded:
		return "rules match in several values, and which part of the score is whose was not recorded: some requests may score less than is said here"
	case rerun.Masked:
		return "values that the changed firewall looks at were masked when they were recorded: what it would find in them is not known"
	case rerun.Unread:
		return "the firewall could not judge requests, then or now"
	}
	return ""
}
