package openapi

import (
	"fmt"
	"slices"
	"strings"
)

// Param is a part of a path that a template names.
type Param struct {
	Name  string
	Value string // decoded
}

// pathItem is one documented path.
type pathItem struct {
	template string // with the server's base path
	methods  map[string]*Operation
}

// router is a tree of segments. What is fixed goes before what is a template, and of templates those with
// more fixed text.
type router struct {
	fixed     map[string]*router
	templates []branch
	item      *pathItem
}

type branch struct {
	pattern string // with {} for each name
	match   segment
	to      *router
}

// segment is a template of one segment: fixed texts around parameters, one more of them than parameters.
type segment []string

// parseSegment reads {id}, {id}.json, {from}...{to}.
func parseSegment(s string) (fixed segment, names []string, err error) {
	for {
		before, rest, open := strings.Cut(s, "{")
		if strings.Contains(before, "}") {
			return nil, nil, fmt.Errorf("a brace is closed that was not opened")
		}
		fixed = append(fixed, before)
		if !open {
			return fixed, names, nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed || name == "" || strings.Contains(name, "{") {
			return nil, nil, fmt.Errorf("a brace is not closed, or holds no name")
		}
		if len(fixed) > 1 && before == "" {
			return nil, nil, fmt.Errorf("two parameters follow each other with nothing between")
		}
		names = append(names, name)
		s = after
	}
}

// take splits a segment by the template: each parameter as short as can be, the last one takes the rest, none is empty.
func (t segment) take(s string, values []string) ([]string, bool) {
	if !strings.HasPrefix(s, t[0]) {
		return values, false
	}
	s = s[len(t[0]):]
	last := len(t) - 1
	if !strings.HasSuffix(s, t[last]) {
		return values, false
	}
	s = s[:len(s)-len(t[last])]
	for _, fixed := range t[1:last] {
		if s == "" {
			return values, false
		}
		i := strings.Index(s[1:], fixed)
		if i < 0 {
			return values, false
		}
		values = append(values, s[:i+1])
		s = s[i+1+len(fixed):]
	}
	if s == "" {
		return values, false
	}
	return append(values, s), true
}

// add enters a documented path.
func (r *router) add(template string, item *pathItem) error {
	at := r
	var names []string
	for part := range strings.SplitSeq(strings.TrimPrefix(template, "/"), "/") {
		fixed, found, err := parseSegment(part)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			text, ok := percent(part, false)
			if !ok {
				text = part
			}
			next := at.fixed[text]
			if next == nil {
				next = &router{}
				if at.fixed == nil {
					at.fixed = map[string]*router{}
				}
				at.fixed[text] = next
			}
			at = next
			continue
		}
		for _, name := range found {
			if slices.Contains(names, name) {
				return fmt.Errorf("the parameter %q stands there twice", name)
			}
			names = append(names, name)
		}
		pattern := strings.Join(fixed, "{}")
		i := slices.IndexFunc(at.templates, func(b branch) bool { return b.pattern == pattern })
		if i < 0 {
			at.templates = append(at.templates, branch{pattern, fixed, &router{}})
			slices.SortStableFunc(at.templates, func(a, b branch) int { return len(b.pattern) - 2*len(b.match) - (len(a.pattern) - 2*len(a.match)) })
			i = slices.IndexFunc(at.templates, func(b branch) bool { return b.pattern == pattern })
		}
		at = at.templates[i].to
	}
	if at.item == nil {
		at.item = item
		return nil
	}
	// The same path but for the names of parameters: allowed where the methods are others.
	for method, op := range item.methods {
		if at.item.methods[method] != nil {
			return fmt.Errorf("is the same as %s but for the names of parameters", at.item.template)
		}
		at.item.methods[method] = op
	}
	return nil
}

// search is one look-up.
type search struct {
	method string
	fold   bool // letters' case does not matter
	values []string
	steps  int
	known  *pathItem // the first path that matched without the method
}

// find returns the most specific path that has the method. What values it took are those of its parameters.
func (s *search) find(r *router, parts []string) *router {
	if s.steps--; s.steps < 0 {
		return nil
	}
	if len(parts) == 0 {
		if r.item == nil {
			return nil
		}
		if r.item.operation(s.method) != nil {
			return r
		}
		if s.known == nil {
			s.known = r.item
		}
		return nil
	}
	if next := r.fixed[parts[0]]; next != nil {
		if found := s.find(next, parts[1:]); found != nil {
			return found
		}
	}
	if s.fold {
		for _, text := range s.alike(r, parts[0]) {
			if found := s.find(r.fixed[text], parts[1:]); found != nil {
				return found
			}
		}
	}
	for _, b := range r.templates {
		before := len(s.values)
		values, ok := b.match.take(parts[0], s.values)
		if ok {
			s.values = values
			if found := s.find(b.to, parts[1:]); found != nil {
				return found
			}
		}
		s.values = s.values[:before]
	}
	return nil
}

// alike lists the fixed texts that differ from a segment in letters' case only, in order.
func (s *search) alike(r *router, part string) []string {
	var all []string
	for text := range r.fixed {
		s.steps--
		if text != part && strings.EqualFold(text, part) {
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return all
}

// operation returns what a path does for a method; HEAD is GET unless it is described.
func (p *pathItem) operation(method string) *Operation {
	if op := p.methods[method]; op != nil {
		return op
	}
	if method == "HEAD" {
		return p.methods["GET"]
	}
	return nil
}

// Found is what Find learned.
type Found struct {
	Path       string      // the documented path with the server's base, as /v1/pets/{id}; "" if none
	Violations []Violation // why there is no operation
}

// maxSearch bounds the places of the tree that one look-up visits.
const maxSearch = 10_000

// Find names the operation for a method and a path, as received and without the query. Where there is none, Found says
// why, unless it was an OPTIONS request of a known path, which asks about the path itself: then there is neither operation nor violation.
// Params are those of the path, for Request.
func (d *Document) Find(method, path string) (*Operation, []Param, Found) {
	return d.find(method, path, false)
}

// FindLax is Find as a server may have it that does not care about letters' case or slashes at the end.
func (d *Document) FindLax(method, path string) (*Operation, []Param, Found) {
	if short := strings.TrimRight(path, "/"); short != "" {
		path = short
	}
	return d.find(method, path, true)
}

func (d *Document) find(method, path string, fold bool) (*Operation, []Param, Found) {
	if method == "OPTIONS" && path == "*" {
		return nil, nil, Found{}
	}
	var room [24]string
	parts, wrong, code := segments(path, room[:])
	if wrong != "" {
		return nil, nil, Found{Violations: []Violation{{CheckPath, code, "", "the path " + wrong}}}
	}
	var values [8]string
	s := search{method: method, fold: fold, values: values[:0], steps: maxSearch}
	r := s.find(&d.routes, parts)
	switch {
	case r != nil:
		op := r.item.operation(method)
		var params []Param
		if len(op.names) > 0 && len(op.names) == len(s.values) {
			params = make([]Param, len(op.names))
			for i, name := range op.names {
				params[i] = Param{name, s.values[i]}
			}
		}
		return op, params, Found{Path: r.item.template}
	case s.steps < 0:
		return nil, nil, Found{Violations: []Violation{{CheckPath, CodeNotChecked, "", "looking the path up asked for too much work"}}}
	case s.known != nil && method == "OPTIONS":
		return nil, nil, Found{Path: s.known.template}
	case s.known != nil:
		return nil, nil, Found{s.known.template, []Violation{{CheckMethod, CodeUndocumented, "", "the document does not know the method for this path"}}}
	}
	return nil, nil, Found{Violations: []Violation{{CheckPath, CodeUndocumented, "", "the document does not know the path"}}}
}
