package falco

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
)

// The bounds of what files define.
const (
	maxItems      = 20_000  // lists, macros and rules
	maxListItems  = 100_000 // values of one list, others put in
	maxAllItems   = 1 << 20 // values of all lists, others put in
	maxExceptions = 100     // of one rule
	maxNodes      = 200_000 // parts of one condition, macros and lists put in
	maxTotal      = 2 << 20 // of all conditions together, in bytes
	maxAllNodes   = 1 << 20 // parts of all conditions together, macros and lists put in
	maxPieces     = 500     // of one text: as often one may be appended to
	maxGuesses    = 200     // at what a misspelt name was meant to be: more problems are not shown
	maxNotes      = 200     // of one kind
)

// reader collects what the files define, in their order.
type reader struct {
	lists   map[string]*list
	macros  map[string]*macro
	rules   map[string]*rule
	order   []*rule
	nodes   int // parts of the rules' conditions so far
	count   int // of definitions so far: what stands where
	guesses int // at what misspelt names were meant to be
	// names of lists by how they begin, once all are known
	listNames map[string][]string
	problems  policy.Problems
}

type list struct {
	name  string
	items []value
	first int // number of the definition
	last  int // number of the last definition that adds to it
	file  string
	line  int
}

type macro struct {
	name string
	cond text
	file string
	line int

	parsed node
	state  int // of expanding it: 0 not yet, 1 in it, 2 done, 3 wrong
	nodes  int
	deep   int
}

type rule struct {
	name       string
	cond       text
	output     text
	desc       string
	priority   string
	source     string
	sourceAt   policy.Problem
	tags       []string
	exceptions []*exception
	disabled   bool
	lenient    bool // skip-if-unknown-filter
	file       string
	line, col  int
}

type exception struct {
	name   string
	single bool
	fields []text
	comps  []string
	values []exceptionValue
	at     policy.Problem
}

// exceptionValue is one entry of values: a text where the exception has one field, else a list of
// texts and lists.
type exceptionValue struct {
	parts []exceptionPart
	at    policy.Problem
}

type exceptionPart struct {
	texts []text
	list  bool
}

// file is a rule file that is being read.
type file struct {
	rulefile.File
	r *reader
}

func (r *reader) file(f policy.File) {
	open, source := rulefile.Open(f)
	s := &file{open, r}
	before := r.count
	for _, body := range s.Parse(source) {
		seq, ok := body.(*ast.SequenceNode)
		if !ok {
			s.Problem(rulefile.TokenOf(body), "begin each rule, macro and list with a dash", "a rule file is a list, not %s", rulefile.KindOf(body))
			continue
		}
		for _, item := range seq.Values {
			if _, empty := item.(*ast.NullNode); empty {
				continue
			}
			if r.count-before > maxItems {
				s.Problem(rulefile.TokenOf(item), "split the file", "more than %d rules, macros and lists", maxItems)
				break
			}
			s.item(item)
		}
	}
	r.problems = append(r.problems, s.Problems...)
}

var (
	listKeys  = []string{"list", "items", "append", "override"}
	macroKeys = []string{"macro", "condition", "append", "override"}
	ruleKeys  = []string{"rule", "desc", "condition", "output", "priority", "tags", "source", "enabled", "exceptions", "warn_evttypes",
		"skip-if-unknown-filter", "append", "override", "capture", "capture_duration"}
)

// keys holds the entries of one item.
type keys map[string]rulefile.Pair

func (s *file) item(n ast.Node) {
	pairs, ok := s.Pairs(n, "an entry")
	if !ok {
		return
	}
	by := make(keys, len(pairs))
	for _, p := range pairs {
		if _, twice := by[p.Key]; twice {
			s.Problem(p.At, "", "key %q stands twice", policy.Printable(p.Key, 60))
			return
		}
		by[p.Key] = p
	}
	s.r.count++
	s.Rule = ""
	switch {
	case has(by, "required_engine_version"):
		s.engineVersion(by["required_engine_version"])
	case has(by, "required_plugin_versions"):
		s.pluginVersions(by["required_plugin_versions"])
	case has(by, "list"):
		if s.Known(pairs, "a list", listKeys...) {
			s.list(by)
		}
	case has(by, "macro"):
		if s.Known(pairs, "a macro", macroKeys...) {
			s.macro(by)
		}
	case has(by, "rule"):
		if s.Known(pairs, "a rule", ruleKeys...) {
			s.rule(by, rulefile.TokenOf(n))
		}
	default:
		what := []string{"rule", "macro", "list", "required_engine_version", "required_plugin_versions"}
		hint := "one of " + strings.Join(what, ", ")
		for _, p := range pairs {
			if near := spell.Nearest(p.Key, what); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
		}
		s.Problem(rulefile.TokenOf(n), hint, "an entry is neither a rule, a macro nor a list")
	}
}

func has(by keys, key string) bool {
	_, ok := by[key]
	return ok
}

// note says something that does not keep the rules from being loaded.
func (s *file) note(tk *token.Token, hint, format string, args ...any) {
	s.Problem(tk, hint, format, args...)
	s.Problems[len(s.Problems)-1].Note = true
}

// place is where a token stands, for a problem that is found later.
func (s *file) place(tk *token.Token) policy.Problem {
	p := policy.Problem{File: s.Name, Line: 1, Column: 1}
	if tk != nil && tk.Position != nil {
		p.Line, p.Column = max(1, min(tk.Position.Line, len(s.Lines))), max(1, tk.Position.Column)
	}
	return p
}

// text reads a text whose characters' places are kept.
func (s *file) text(n ast.Node, what string) (text, bool) {
	v, ok := s.Scalar(n, what)
	if !ok {
		return text{}, false
	}
	return text{value: v.Text, pieces: []piece{{0, s.Name, s.Span(v)}}}, true
}

// name reads the name of an item.
func (s *file) name(p rulefile.Pair) (string, bool) {
	v, ok := s.Scalar(p.Value, p.Key)
	if !ok {
		return "", false
	}
	name := strings.TrimSpace(v.Text)
	if name == "" || len(name) > 300 {
		s.Problem(v.At, "", "the name of a %s is 1 to 300 bytes long", p.Key)
		return "", false
	}
	return name, true
}

// truth reads a key that is true or false; a missing one is missing.
func (s *file) truth(by keys, key string, missing bool) bool {
	p, ok := by[key]
	if !ok {
		return missing
	}
	if b, ok := p.Value.(*ast.BoolNode); ok {
		return b.Value
	}
	s.Problem(p.At, "", "%s must be true or false, not %s", key, rulefile.KindOf(p.Value))
	return missing
}

// overrides reads which keys of an item are to be appended to and which replaced in an earlier one of the name.
func (s *file) overrides(by keys, appendable, replaceable []string) (how map[string]string, ok bool) {
	how = make(map[string]string)
	if s.truth(by, "append", false) {
		if has(by, "override") {
			s.Problem(by["override"].At, "leave append out", "append and override stand together")
			return nil, false
		}
		for _, key := range appendable {
			if has(by, key) {
				how[key] = "append"
			}
		}
		return how, true
	}
	p, given := by["override"]
	if !given {
		return nil, true
	}
	pairs, ok := s.Pairs(p.Value, "override")
	if !ok {
		return nil, false
	}
	for _, o := range pairs {
		v, isText := s.Scalar(o.Value, o.Key)
		if !isText {
			return nil, false
		}
		switch {
		case !slices.Contains(replaceable, o.Key):
			s.Problem(o.At, "one of "+strings.Join(replaceable, ", "), "%q cannot be overridden", policy.Printable(o.Key, 60))
			return nil, false
		case v.Text != "append" && v.Text != "replace":
			s.Problem(v.At, "write append or replace", "override says %q of %s", policy.Printable(v.Text, 60), o.Key)
			return nil, false
		case v.Text == "append" && !slices.Contains(appendable, o.Key):
			s.Problem(v.At, "write replace", "nothing can be appended to %s", o.Key)
			return nil, false
		case !has(by, o.Key):
			s.Problem(o.At, "add "+o.Key, "override names %s, which is not there", o.Key)
			return nil, false
		}
		how[o.Key] = v.Text
	}
	for _, key := range replaceable {
		if has(by, key) && how[key] == "" {
			s.Problem(by[key].At, fmt.Sprintf("add %s: replace to override", key), "override does not say what becomes of %s", key)
			return nil, false
		}
	}
	return how, true
}

// earlier says that there is nothing of the name to append to.
func (s *file) earlier(tk *token.Token, kind, name string, names func() []string) {
	hint := "the file that defines it must come first"
	if near := s.r.guess(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	s.Problem(tk, hint, "there is no %s %q above to append to or override", kind, policy.Printable(name, 100))
}

// again reports a second definition in one file. In a later file it takes the place of the first, which is how rules are
// adapted to a place.
func (s *file) again(tk *token.Token, kind, name, where string, line int) bool {
	if where != s.Name {
		return false
	}
	s.Problem(tk, "rename one, or add override", "%s %q is defined in line %d already", kind, policy.Printable(name, 100), line)
	return true
}
