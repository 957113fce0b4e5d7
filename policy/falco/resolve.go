package falco

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
)

// problem is a mistake at its place in the files.
func (r *reader) problem(m *mistake, rule string) policy.Problem {
	p := m.src.at(m.offset)
	p.Rule, p.Message, p.Hint = rule, m.message, m.hint
	return p
}

// resolveLists puts lists into lists. As in Falco, a list is known to those that stand behind it: to others its name is a
// text like any other.
func (r *reader) resolveLists() {
	all := slices.SortedFunc(maps.Values(r.lists), func(a, b *list) int { return a.first - b.first })
	total, notes := 0, 0
	for _, l := range all {
		var items []value
		for _, v := range l.items {
			other := r.lists[v.text]
			switch {
			case v.quoted || other == nil:
				items = append(items, v)
			case other.first < l.last && other != l:
				items = append(items, other.items...)
			default:
				items = append(items, v)
				if notes++; notes > maxNotes {
					continue
				}
				p := v.src.at(v.offset)
				p.Note, p.Message = true, fmt.Sprintf("list %q stands below: here its name is a value", policy.Printable(v.text, 100))
				p.Hint = "move it up"
				r.problems = append(r.problems, p)
			}
			switch {
			case len(items) > maxListItems:
				p := v.src.at(v.offset)
				p.Message = fmt.Sprintf("list %q has more than %d items", policy.Printable(l.name, 100), maxListItems)
				r.problems = append(r.problems, p)
				items = nil
			case total+len(items) > maxAllItems:
				p := v.src.at(v.offset)
				p.Message = fmt.Sprintf("up to here all lists together have more than %d items", maxAllItems)
				r.problems = append(r.problems, p)
				return
			default:
				continue
			}
			break
		}
		l.items = items
		total += len(items)
	}
}

// guess returns the name that a misspelt one was most likely meant to be, or "". It gives up where there are very many
// to be guessed: each is compared with all names.
func (r *reader) guess(name string, names func() []string) string {
	if r.guesses++; r.guesses > maxGuesses {
		return ""
	}
	all := names()
	slices.Sort(all)
	return spell.Nearest(name, all)
}

func keysOf[V any](m map[string]V) func() []string {
	return func() []string { return slices.Collect(maps.Keys(m)) }
}

// expansion puts macros and lists into a condition. It counts its parts, of which there are at most maxNodes.
type expansion struct {
	r       *reader
	nodes   int
	deepest int
	used    bool // a macro or list was put in
	alone   bool // macros are left where they are
}

func (x *expansion) expand(n node, deep int) (node, *mistake) {
	x.nodes++
	x.deepest = max(x.deepest, deep)
	switch n := n.(type) {
	case andNode:
		out := make(andNode, len(n))
		for i, part := range n {
			var m *mistake
			if out[i], m = x.expand(part, deep+1); m != nil {
				return nil, m
			}
		}
		return out, nil
	case orNode:
		out := make(orNode, len(n))
		for i, part := range n {
			var m *mistake
			if out[i], m = x.expand(part, deep+1); m != nil {
				return nil, m
			}
		}
		return out, nil
	case notNode:
		part, m := x.expand(n.part, deep+1)
		return notNode{part}, m
	case refNode:
		if x.alone {
			return n, nil
		}
		return x.macro(n, deep)
	case *checkNode:
		return x.values(n)
	}
	panic(fmt.Sprintf("falco: a %T in a condition", n))
}

func (x *expansion) macro(n refNode, deep int) (node, *mistake) {
	x.used = true
	m := x.r.macros[n.name]
	if m == nil {
		hint := ""
		if x.r.lists[n.name] != nil {
			hint = fmt.Sprintf("%s is a list: write field in (%s)", n.name, n.name)
		} else if near := x.r.guess(n.name, keysOf(x.r.macros)); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, &mistake{n.src, n.offset, fmt.Sprintf("unknown macro %q", policy.Printable(n.name, 100)), hint}
	}
	switch m.state {
	case 1:
		return nil, &mistake{n.src, n.offset, fmt.Sprintf("macro %q contains itself", n.name), "leave it out"}
	case 3:
		return nil, &mistake{} // it is reported where it stands
	case 0:
		m.state = 1
		inner := &expansion{r: x.r}
		parsed, wrong := parse(&m.cond)
		if wrong == nil {
			parsed, wrong = inner.expand(parsed, 0)
		}
		if wrong == nil && (inner.nodes > maxNodes || inner.deepest > maxDepth) {
			wrong = &mistake{&m.cond, 0, fmt.Sprintf("macro %q is too large with all that it contains", n.name), "split it"}
		}
		if wrong != nil {
			m.state = 3
			if wrong.src != nil {
				x.r.problems = append(x.r.problems, x.r.problem(wrong, ""))
			}
			return nil, &mistake{}
		}
		m.parsed, m.nodes, m.deep, m.state = parsed, inner.nodes, inner.deepest, 2
	}
	x.nodes += m.nodes
	x.deepest = max(x.deepest, deep+m.deep)
	if x.nodes > maxNodes || x.deepest > maxDepth {
		return nil, &mistake{n.src, n.offset, fmt.Sprintf("the condition is too large or too deep with macro %q", n.name), "split it"}
	}
	return m.parsed, nil
}

// patternNodes is what a pattern counts for: compiled it takes some 30 KB.
const patternNodes = 100

// values puts lists into the constants of a comparison.
func (x *expansion) values(c *checkNode) (node, *mistake) {
	if c.op == "regex" || c.op == "glob" || c.op == "iglob" {
		x.nodes += patternNodes
	}
	if !slices.Contains(listOps, c.op) || c.other != nil {
		return c, nil
	}
	out := *c
	out.values = nil
	for _, v := range c.values {
		l := x.r.lists[v.text]
		if v.quoted || l == nil {
			x.misspelt(v)
			x.nodes++
			out.values = append(out.values, v)
			continue
		}
		x.used = true
		if x.nodes += len(l.items); x.nodes > maxNodes {
			return nil, &mistake{v.src, v.offset, fmt.Sprintf("the condition is too large with list %q", policy.Printable(v.text, 100)), "split the rule"}
		}
		out.values = append(out.values, l.items...)
	}
	if c.op == "pmatch" {
		for _, v := range out.values {
			if strings.ContainsAny(v.text, `*?[`) {
				x.nodes += patternNodes
			}
		}
	}
	return &out, nil
}

// misspelt notes a value that looks like the name of a list: Falco takes it for a text.
func (x *expansion) misspelt(v value) {
	if v.quoted || !strings.Contains(v.text, "_") || len(v.text) < 8 || x.r.guesses > maxGuesses {
		return
	}
	alike := x.r.alike(v.text)
	if len(alike) == 0 {
		return
	}
	near := x.r.guess(v.text, func() []string { return alike })
	if near == "" {
		return
	}
	p := v.src.at(v.offset)
	p.Note, p.Message, p.Hint = true, fmt.Sprintf("%q is no list: it is a value here", policy.Printable(v.text, 100)), fmt.Sprintf("did you mean %q?", near)
	if !slices.Contains(x.r.problems, p) {
		x.r.problems = append(x.r.problems, p)
	}
}

// alike returns the names of lists that begin as the text does and are about as long.
func (r *reader) alike(text string) []string {
	if r.listNames == nil {
		r.listNames = make(map[string][]string)
		for name := range r.lists {
			if len(name) >= 3 {
				r.listNames[name[:3]] = append(r.listNames[name[:3]], name)
			}
		}
	}
	var all []string
	for _, name := range r.listNames[text[:3]] {
		if len(name) >= len(text)-1 && len(name) <= len(text)+1 {
			all = append(all, name)
		}
	}
	return all
}
