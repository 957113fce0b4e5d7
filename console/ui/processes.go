package ui

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// Bounds of what a page shows of processes.
const (
	groupRows    = 60  // of one container, while all are shown
	oneGroupRows = 500 // of the one that was chosen
	maxGroups    = 40
	maxTreeRows  = 80
	maxDeeds     = 40
)

type processesView struct {
	console.ProcessList
	Filter    filter
	All       bool
	Container string
	More      int // containers that are not shown
}

func (p *Pages) processes(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Host
	if src == nil {
		return missing("a view of the host")
	}
	v := p.view(w, r, "Processes", "processes")
	m := &processesView{Filter: filter{query: newQuery(r.URL.Query())}}
	m.All, m.Container = m.Filter.Get("show") == "all", strings.TrimSpace(m.Filter.Get("container"))
	q := console.ProcessQuery{Text: strings.TrimSpace(m.Filter.Get("q")), Container: m.Container, All: m.All, Limit: groupRows}
	if m.Container != "" {
		q.Limit = oneGroupRows
	}
	v.Main = m
	var err error
	if len(q.Text) > 500 || len(q.Container) > 200 {
		err = &console.InputError{Field: "q", Reason: "this is too long: 500 characters are read"}
	} else {
		m.ProcessList, err = src.Processes(r.Context(), q)
	}
	if errors.Is(err, console.ErrUnavailable) {
		m.Filter.Problem, err = err.Error(), nil
	}
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	if n := len(m.Groups); n > maxGroups {
		m.More, m.Groups = n-maxGroups, m.Groups[:maxGroups]
	}
	m.More += m.Hidden
	if fragment(r) {
		return p.part(w, "processes", "processes-list", v)
	}
	return p.page(w, "processes", v)
}

// processView is one process in full.
type processView struct {
	console.ProcessDetail
	Tree  []treeLine
	Deeds []row // what it did, newest first
	// Request is the id of the request that it was started for, "" for none or where it is not known.
	Request string
	May     bool // give orders about it
}

// treeLine is one process of a tree that is drawn.
type treeLine struct {
	console.ProcessLine
	Self  bool
	Plain bool // without a page of its own
}

// Indent is a depth for which the style sheet has a place.
func (l treeLine) Indent() int { return min(l.Depth, 12) }

// End says how a process ended, "" while it lives.
func (l treeLine) End() string { return endOf(l.ProcessLine) }

func endOf(l console.ProcessLine) string {
	switch {
	case l.Ended.IsZero():
		return ""
	case l.Signal != 0:
		return fmt.Sprintf("killed by signal %d", l.Signal)
	}
	return fmt.Sprintf("exit %d", l.Code)
}

// commandOf is what a process runs, as far as it is known.
func commandOf(l console.ProcessLine) string { return cmp.Or(l.CmdLine, l.Exe, l.Name, "not known") }

// treeOf draws what a process came from, itself and what came from it, outermost first; rest are left out.
func treeOf(d *console.ProcessDetail) (lines []treeLine, rest int) {
	from := d.Lineage[:min(len(d.Lineage), 12)]
	for i, a := range slices.Backward(from) {
		a.Depth = len(from) - 1 - i
		lines = append(lines, treeLine{ProcessLine: a, Plain: a.UID == ""})
	}
	for _, l := range d.Tree {
		if len(lines) >= maxTreeRows {
			rest++
			continue
		}
		self := l.UID == d.UID
		l.Depth += len(from)
		lines = append(lines, treeLine{ProcessLine: l, Self: self, Plain: self})
	}
	return lines, rest + d.More
}

func (p *Pages) process(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().Host
	if src == nil {
		return missing("a view of the host")
	}
	d, err := src.Process(r.Context(), r.PathValue("uid"))
	if err != nil {
		return err
	}
	v := p.view(w, r, visText(clip(60, cmp.Or(d.Name, d.Exe)))+" "+fmt.Sprint(d.PID), "processes")
	m := &processView{ProcessDetail: d, May: v.Caller.May(console.RoleOperator)}
	m.Tree, m.More = treeOf(&d)
	m.Deeds, m.Request = p.deeds(r, d.UID)
	v.Main = m
	return p.page(w, "process", v)
}

// deeds returns the last events of a process, and the request that it was started for.
func (p *Pages) deeds(r *http.Request, uid string) (rows []row, request string) {
	src := p.srv.Sources().Events
	if src == nil || strings.ContainsAny(uid, `"\`) || uid == "" {
		return nil, ""
	}
	for _, f := range []signal.Field{signal.FieldProcessUID, signal.FieldActorProcessUID} {
		page, err := src.Events(r.Context(), console.EventQuery{Condition: f.Name() + ` == "` + uid + `"`, Limit: maxDeeds})
		if err != nil {
			continue
		}
		for _, e := range page.Items {
			request = cmp.Or(request, e.RecordedStr(signal.FieldHTTPRequestUID))
			rows = append(rows, rowOf(e))
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int { return b.Time.Compare(a.Time) })
	return rows[:min(len(rows), maxDeeds)], request
}

// family is the processes around an event or a finding: drawn from the table while it remembers, else from what the event says.
type family struct {
	UID  string // of the process with a page of its own, "" for none
	Tree []treeLine
	More int
	Gone bool // the table remembers it no more
}

// familyOf draws the tree of the process that an event is of; nil where it is of none.
func (p *Pages) familyOf(r *http.Request, e *signal.Event) *family {
	if e.Plane != signal.PlaneKernel {
		return nil
	}
	uid := cmp.Or(e.RecordedStr(signal.FieldProcessUID), e.RecordedStr(signal.FieldActorProcessUID))
	if uid == "" {
		return nil
	}
	if src := p.srv.Sources().Host; src != nil {
		if d, err := src.Process(r.Context(), uid); err == nil {
			f := &family{UID: uid}
			f.Tree, f.More = treeOf(&d)
			return f
		}
	}
	f := &family{Gone: true}
	paths := e.Strings(signal.FieldProcessLineage)
	paths = paths[:min(len(paths), 12)]
	for i, path := range slices.Backward(paths) {
		l := console.ProcessLine{Exe: path, Depth: len(paths) - 1 - i}
		if i == 0 {
			l.PID = int(e.Int(signal.FieldProcessParentProcessPID))
			l.CmdLine = e.RecordedStr(signal.FieldProcessParentProcessCmdLine)
		}
		f.Tree = append(f.Tree, treeLine{ProcessLine: l, Plain: true})
	}
	self := console.ProcessLine{Depth: len(paths), PID: int(cmp.Or(e.Int(signal.FieldProcessPID), e.Int(signal.FieldActorProcessPID))),
		Exe:     cmp.Or(e.RecordedStr(signal.FieldProcessFilePath), e.RecordedStr(signal.FieldActorProcessFilePath)),
		CmdLine: cmp.Or(e.RecordedStr(signal.FieldProcessCmdLine), e.RecordedStr(signal.FieldActorProcessCmdLine)), User: e.RecordedStr(signal.FieldProcessUserName)}
	f.Tree = append(f.Tree, treeLine{ProcessLine: self, Self: true, Plain: true})
	return f
}

// groupKey is how a list names its container in a filter.
func groupKey(g console.ProcessGroup) string {
	if g.Container == nil {
		return "host"
	}
	return cmp.Or(g.Container.ID, g.Container.Name)
}
