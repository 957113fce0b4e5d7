package ui

import (
	"cmp"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

type packagesView struct {
	Filter filter
	Rows   []console.Package
	Next   string
}

func (p *Pages) packages(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Packages
	if src == nil {
		return missing("packages")
	}
	v := p.view(w, r, "Packages", "findings")
	m := &packagesView{Filter: filter{query: newQuery(r.URL.Query())}}
	v.Main = m
	q := console.PackageQuery{Asset: m.Filter.Get("asset"), Cursor: r.URL.Query().Get("cursor"), Limit: pageSize}
	// One field takes both: nobody should have to choose what a text is that says so itself.
	if asked := strings.TrimSpace(m.Filter.Get("q")); strings.HasPrefix(asked, "pkg:") {
		q.PURL = asked
	} else {
		q.Text = asked
	}
	page, err := console.Page[console.Package]{}, error(nil)
	if len(q.PURL)+len(q.Text) > 500 || len(q.Asset) > 500 {
		err = &console.InputError{Field: "q", Reason: "this is too long: 500 characters are read"}
	} else {
		page, err = src.Packages(r.Context(), q)
	}
	var input *console.InputError
	if errors.As(err, &input) && input.Field == "purl" {
		err = &console.InputError{Field: "q", Reason: input.Reason}
	}
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	m.Rows = page.Items
	if page.Next != "" {
		m.Next = m.Filter.With("cursor", page.Next).At("/packages")
	}
	status := http.StatusOK
	if m.Filter.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return p.status(w, status, "packages", "base", v)
}

// priorityOf is the number of a vulnerability's priority; "" for other findings.
func priorityOf(f signal.Finding) string {
	if f.Kind != signal.FindingVulnerability {
		return ""
	}
	score, _, ok := strings.Cut(f.EvidenceOf(signal.EvidencePriority), " of ")
	if _, err := strconv.Atoi(score); !ok || err != nil {
		return ""
	}
	return score
}

// reasonsOf are the reasons for the priority.
func reasonsOf(f signal.Finding) string {
	_, why, _ := strings.Cut(f.EvidenceOf(signal.EvidencePriority), ": ")
	return why
}

// fixOf is the version that mends a vulnerability: that which mends all of the package's, where it is known.
func fixOf(f signal.Finding) string {
	if f.Kind != signal.FindingVulnerability {
		return ""
	}
	return cmp.Or(f.EvidenceOf("upgrade to"), f.EvidenceOf(signal.EvidenceFixed), "no fix yet")
}

// flawFacts are what decides about a vulnerability, in the order in which people ask.
func flawFacts(f *signal.Finding) (facts, rest []signal.Evidence) {
	if f.Kind != signal.FindingVulnerability {
		return nil, f.Evidence
	}
	order := []string{"priority", "package", "installed", "fixed in", "upgrade to", "known exploited", "EPSS", "brought by", "calls", "base image"}
	for _, name := range order {
		for _, e := range f.Evidence {
			if e.Name == name {
				facts = append(facts, e)
			}
		}
	}
	for _, e := range f.Evidence {
		known := false
		for _, name := range order {
			known = known || e.Name == name
		}
		if !known {
			rest = append(rest, e)
		}
	}
	return facts, rest
}

// Facts are what decides about a vulnerability; nil for other findings.
func (f *findingView) Facts() []signal.Evidence { facts, _ := flawFacts(&f.Finding); return facts }

// Others are the evidence that Facts does not have.
func (f *findingView) Others() []signal.Evidence { _, rest := flawFacts(&f.Finding); return rest }

// PackageAt is the page of who has the package of a vulnerability; "" for other findings.
func (f *findingView) PackageAt() string {
	for _, e := range f.Facts() {
		if e.Name == "package" {
			purl, _, _ := strings.Cut(e.Value, "?")
			if at := strings.LastIndexByte(purl, '@'); at > strings.LastIndexByte(purl, '/') {
				purl = purl[:at]
			}
			return query{}.With("q", purl).At("/packages")
		}
	}
	return ""
}
