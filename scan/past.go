package scan

import (
	"cmp"
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// maxQuietPast bounds the findings of a history that are remembered only to be counted once.
const maxQuietPast = 1_000_000

// past is the findings in files of a history. The same one is in every version of its file, so they wait until
// all are there: then the oldest is reported, with whether the newest state still has it.
type past struct {
	held  map[string]*heldFinding
	quiet map[string]bool
}

type heldFinding struct {
	Judged
	order   int
	current bool
}

// hold keeps a finding in a file of a history.
func (r *run) hold(file *File, j Judged) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p, name := &r.past, j.Finding.ID
	if p.held == nil {
		p.held, p.quiet = map[string]*heldFinding{}, map[string]bool{}
	}
	h := p.held[name]
	switch {
	case j.Confidence < r.least:
		if !p.quiet[name] && len(p.quiet) < maxQuietPast {
			p.quiet[name] = true
			r.stats.Quiet++
		}
		return
	case h == nil && len(p.held) >= r.Config.MaxFindings+len(r.Baseline):
		r.stats.Dropped++
		return
	case h == nil:
		h = &heldFinding{Judged: j, order: file.Order}
		p.held[name] = h
		r.findings.Add(1)
	default:
		older := cmp.Or(cmp.Compare(file.Order, h.order), cmp.Compare(j.Finding.Location.Line, h.Finding.Location.Line)) < 0
		// A later version may allow it too: it is the same secret at the same place.
		j.Confidence, j.Allowed = max(j.Confidence, h.Confidence), j.Allowed || h.Allowed
		if older {
			h.Judged, h.order = j, file.Order
		} else {
			h.Confidence, h.Allowed = j.Confidence, j.Allowed
		}
	}
	h.current = h.current || file.Current
}

// settle reports what was held, the oldest first.
func (r *run) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]*heldFinding, 0, len(r.past.held))
	for _, h := range r.past.held {
		all = append(all, h)
	}
	r.past = past{}
	slices.SortFunc(all, func(a, b *heldFinding) int {
		return cmp.Or(cmp.Compare(a.order, b.order), cmp.Compare(a.Finding.Location.Path, b.Finding.Location.Path),
			cmp.Compare(a.Finding.Location.Line, b.Finding.Location.Line), cmp.Compare(a.Finding.ID, b.Finding.ID))
	})
	r.findings.Add(-uint64(len(all)))
	for _, h := range all {
		still := "no"
		if h.current {
			still = "yes"
		}
		h.Finding.Evidence = append(h.Finding.Evidence, signal.Evidence{Name: "in HEAD", Value: still})
		r.reportLocked(h.Judged)
	}
}
