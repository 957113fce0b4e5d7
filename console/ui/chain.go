package ui

import (
	"net/http"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// chainView is what a request caused.
type chainView struct {
	Request string
	Path    []link // from the request to the worst of it
	Lines   []chainLine
	More    bool
	Answer  string // what the client got
}

// link is one station on the way from a request to what it caused.
type link struct {
	chainLine
	By string // how it hangs on the one before: "socket", "started", "did"
}

type chainLine struct{ console.TraceLine }

// Indent is a depth for which the style sheet has a place.
func (l chainLine) Indent() int { return min(l.Depth, 12) }

// Bad reports whether a rule fired on it.
func (l chainLine) Bad() bool { return l.Decision > signal.Allow }

// maxChain bounds the stations that are drawn in a row; those in the middle are left out first.
const maxChain = 7

func (p *Pages) chain(w http.ResponseWriter, r *http.Request) error {
	m, err := p.chainOf(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	v := p.view(w, r, "What a request caused", "traffic")
	v.Main = m
	return p.page(w, "chain", v)
}

func (p *Pages) chainOf(r *http.Request, request string) (*chainView, error) {
	src := p.srv.Sources().Trace
	if src == nil {
		return nil, missing("traces")
	}
	t, err := src.Trace(r.Context(), request)
	if err != nil {
		return nil, err
	}
	m := &chainView{Request: t.Request, More: t.More}
	for _, l := range t.Lines {
		if l.Kind == "response" {
			m.Answer = l.Text
			continue
		}
		m.Lines = append(m.Lines, chainLine{l})
	}
	m.Path = pathOf(m.Lines)
	return m, nil
}

// chainBehind is the chain of the request that an event belongs to, nil where it caused nothing that is known.
func (p *Pages) chainBehind(r *http.Request, request string) *chainView {
	if request == "" {
		return nil
	}
	m, err := p.chainOf(r, request)
	if err != nil || len(m.Lines) < 2 {
		return nil
	}
	return m
}

// pathOf is the way from the request to the worst that came of it, to the deepest of those.
func pathOf(lines []chainLine) []link {
	worst := -1
	for i, l := range lines {
		if worst < 0 || l.Decision > lines[worst].Decision && l.Kind != "request" || l.Decision == lines[worst].Decision && l.Depth > lines[worst].Depth ||
			lines[worst].Kind == "request" && l.Kind != "request" {
			worst = i
		}
	}
	if worst < 0 {
		return nil
	}
	// What a process did right after is the point of it: one step further down, where there is one.
	for i := worst + 1; i < len(lines) && lines[i].Depth > lines[worst].Depth; i++ {
		if k := lines[i].Kind; lines[i].Depth == lines[worst].Depth+1 && (k == "network" || k == "file" && !strings.HasSuffix(lines[worst].Kind, "file")) {
			worst = i
			break
		}
	}
	var path []link
	depth := lines[worst].Depth + 1
	for i := worst; i >= 0; i-- {
		if l := lines[i]; l.Depth < depth {
			path = append([]link{{chainLine: l, By: joinOf(l)}}, path...)
			depth = l.Depth
		}
	}
	if len(path) > 0 && path[0].Kind != "request" && lines[0].Kind == "request" {
		path = append([]link{{chainLine: lines[0]}}, path...)
	}
	if n := len(path); n > maxChain {
		path = append(path[:3:3], path[n-maxChain+3:]...)
	}
	return path
}

// joinOf says how a thing is known to hang on what stands before it.
func joinOf(l chainLine) string {
	switch l.Kind {
	case "service":
		by := l.Joined
		if by == "" {
			by = "read it"
		}
		if l.Unsure {
			by += ", perhaps"
		}
		return by
	case "process":
		return "started"
	case "request":
		return ""
	}
	return "did"
}
