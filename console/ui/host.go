package ui

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/testudo-sec/testudo/console"
)

type hostView struct {
	console.Host
	Lacks    int
	LostAll  uint64
	Enforced int // rules
}

func (p *Pages) host(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Host
	if src == nil {
		return missing("a view of the host")
	}
	h, err := src.Host(r.Context())
	if err != nil {
		return err
	}
	v := p.view(w, r, "Host", "system")
	m := &hostView{Host: h}
	slices.SortStableFunc(m.Features, func(a, b console.HostFeature) int { return cmp.Compare(rank(a.OK), rank(b.OK)) })
	for _, f := range m.Features {
		m.Lacks += 1 - rank(f.OK)
	}
	for _, c := range m.Lost {
		m.LostAll += c.Count
	}
	for _, rule := range m.Rules {
		m.Enforced += rank(rule.Enforced)
	}
	v.Main = m
	if fragment(r) {
		return p.part(w, "host", "host-parts", v)
	}
	return p.page(w, "host", v)
}

func rank(ok bool) int {
	if ok {
		return 1
	}
	return 0
}

type filesView struct {
	console.FileReport
	None string // why there is nothing to show
}

// maxFileRows bounds the changes of a page.
const maxFileRows = 200

func (p *Pages) files(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Files
	if src == nil {
		return missing("files")
	}
	v := p.view(w, r, "Files that changed", "system")
	m := &filesView{}
	report, err := src.Files(r.Context(), false)
	switch {
	case errors.Is(err, console.ErrUnavailable):
		m.None = err.Error()
	case err != nil:
		return err
	}
	m.FileReport = report
	m.Changes = m.Changes[:min(len(m.Changes), maxFileRows)]
	v.Main = m
	return p.page(w, "files", v)
}

func (p *Pages) acceptFile(w http.ResponseWriter, r *http.Request) error {
	taken, err := p.srv.Desk().AcceptFiles(r.Context(), console.FileOrder{Paths: []string{r.PostFormValue("path")}})
	if err != nil {
		return err
	}
	return p.done(w, r, "/system/files", plural(len(taken), "file is", "files are")+" as accepted from now on.")
}
