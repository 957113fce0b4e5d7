package inventory

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// place is one place of the trie as it is told of: what may be a parameter was decided.
type place struct {
	name     string
	words    map[string]*place
	param    *place
	open     bool     // words are values of param, too
	ending   bool     // some endpoint is here
	template string   // empty for the root
	names    []string // of the parameters in the template
	shapes   []shapeSet
	methods  []string // of what is confirmed
	ends     []*end   // nil in what Match walks over
}

// Match is what a path names.
type Match struct {
	Template string
	Known    bool // several callers asked for it with this method, or one did often
}

// Refresh makes what was learned until now visible to Match. It costs some tens of milliseconds for ten thousand
// endpoints; once in a minute is often enough.
func (v *Inventory) Refresh() {
	all := v.settled()
	for _, p := range all {
		p.forget()
	}
	v.views.Store(&all)
}

// Match finds the template of a path as of the last Refresh, and appends the values of its parameters to values, decoded.
// The template is empty where no endpoint is known.
func (v *Inventory) Match(route, method, path string, values []Value) (Match, []Value) {
	views := v.views.Load()
	if views == nil || isOdd(path) {
		return Match{}, values
	}
	p := (*views)[route]
	if p == nil {
		return Match{}, values
	}
	before := len(values)
	for segment, rest := cutSegment(path); segment != ""; segment, rest = cutSegment(rest) {
		s := decoded(segment)
		if w := p.words[s]; w != nil {
			p = w
			continue
		}
		if p.param == nil || !p.open && !shapeOf(s).isID() {
			return Match{}, values[:before]
		}
		p = p.param
		values = append(values, Value{p.names[len(p.names)-1], s})
	}
	if !p.ending {
		return Match{}, values[:before]
	}
	return Match{p.path(), slices.Contains(p.methods, method)}, values
}

func (p *place) path() string {
	if p.template == "" {
		return "/"
	}
	return p.template
}

func (p *place) forget() {
	p.ends, p.shapes = nil, nil
	for _, w := range p.words {
		w.forget()
	}
	if p.param != nil {
		p.param.forget()
	}
}

// settled decides about copies of all tries.
func (v *Inventory) settled() map[string]*place {
	all := map[string]*place{}
	for route, root := range v.copies() {
		t := v.newTree()
		t.settle(root)
		all[route] = newPlace(root, nil, "", nil)
	}
	return all
}

// settle makes parameters of all names that are known to be values by now.
func (t *tree) settle(n *node) {
	for _, name := range slices.Sorted(maps.Keys(n.Words)) {
		w := n.Words[name]
		if w.Trial && (n.Param == nil || w.Count < 3 || !isOther(n.Param, w, n.Param.Count-min(w.Born, n.Param.Count))) {
			delete(n.Words, name)
			t.absorb(n, w)
		}
	}
	v := judgeWords(n.Words, n.Evicted, n.Open, false)
	for _, name := range v.values {
		w := n.Words[name]
		delete(n.Words, name)
		n.Open = true
		t.absorb(n, w)
	}
	for _, w := range n.Words {
		t.settle(w)
	}
	if n.Param != nil {
		t.settle(n.Param)
	}
}

// newPlace names a place and all behind it. before are the parameters on the way to it, last the name of the segment before.
func newPlace(n *node, before *place, last string, shapes []shapeSet) *place {
	p := &place{name: n.Name, open: n.Open, shapes: shapes}
	switch {
	case before == nil:
	case n.Name != "":
		p.template, p.names = before.template+"/"+url.PathEscape(n.Name), before.names
	default:
		name := parameterName(n.Shapes, last, before.names)
		p.template = before.template + "/{" + name + "}"
		p.names = append(slices.Clone(before.names), name)
		p.shapes = append(slices.Clone(shapes), n.Shapes)
	}
	slices.SortFunc(n.Ends, func(a, b *end) int { return strings.Compare(a.Method, b.Method) })
	p.ends, p.ending = n.Ends, len(n.Ends) > 0
	for _, e := range n.Ends {
		if e.confirmed() {
			p.methods = append(p.methods, e.Method)
		}
	}
	if len(n.Words) > 0 {
		p.words = make(map[string]*place, len(n.Words))
		for name, w := range n.Words {
			p.words[name] = newPlace(w, p, w.Name, p.shapes)
		}
	}
	if n.Param != nil {
		p.param = newPlace(n.Param, p, last, p.shapes)
	}
	return p
}

// parameterName calls a parameter by the form of its values, and by what stands before it where that is not unique.
func parameterName(s shapeSet, last string, used []string) string {
	const ids = 1<<integer | 1<<number | 1<<uuid | 1<<hex | 1<<ulid | 1<<token
	name := "name"
	switch {
	case s&ids != 0:
		name = "id"
	case s == 1<<day:
		name = "date"
	case s&(1<<day|1<<clock) == s && s != 0:
		name = "time"
	case s == 1<<email:
		name = "email"
	case s == 1<<file:
		name = "file"
	case s == 1<<phrase:
		name = "text"
	}
	if !slices.Contains(used, name) {
		return name
	}
	if one := singular(last); one != "" {
		name = one + "_" + name
	}
	full := name
	for i := 2; slices.Contains(used, full); i++ {
		full = name + strconv.Itoa(i)
	}
	return full
}

func singular(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 128 && kindOf(byte(r)) != 0 {
			return r
		}
		return '_'
	}, s)
	switch {
	case len(s) < 3 || strings.HasSuffix(s, "ss"):
	case strings.HasSuffix(s, "ies"):
		s = s[:len(s)-3] + "y"
	case strings.HasSuffix(s, "sses"), strings.HasSuffix(s, "xes"), strings.HasSuffix(s, "shes"), strings.HasSuffix(s, "ches"):
		s = s[:len(s)-2]
	case strings.HasSuffix(s, "s"):
		s = s[:len(s)-1]
	}
	return s
}
