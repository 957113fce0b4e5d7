package assembly

import (
	"context"
	"fmt"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/rerun"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

// changedFirewall tries another setting of the firewall for a replay.
type changedFirewall struct {
	rerun         *rerun.Rerun
	before, after string
	kept          *keptRequests
}

// newChangedFirewall reads the change. The error says what of it makes no sense, or cannot be tried.
func newChangedFirewall(live waf.Config, kept *keptRequests, c *console.FirewallChange) (*changedFirewall, error) {
	f := &changedFirewall{kept: kept}
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

// Find implements replay.Firewall.
func (f *changedFirewall) Find(ctx context.Context, e *signal.Event) (replay.Finding, error) {
	x, err := f.rerun.Find(ctx, e, f.kept.request)
	out := replay.Finding{Gone: x.Gone, New: x.New, Was: x.Was, Is: x.Rules, Flipped: x.Flipped, Kept: f.kept.request != nil, Doubt: doubts(x.How)}
	if out.Doubt != "" && f.kept.fault != "" {
		out.Doubt = f.kept.fault
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
