package sigma

import (
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy/match"
)

// The bounds of a condition.
const (
	maxConditionDepth = 64
	maxConditionWords = 5_000
	maxConditionParts = 20_000 // that "1 of" and "all of" stand for
	maxConditions     = 100    // of a rule
)

type conditionOp uint8

const (
	opName conditionOp = iota
	opAnd
	opOr
	opNot
)

// condition is a tree over names: selections of a rule, or rules of a correlation.
type condition struct {
	op   conditionOp
	name string // of opName
	of   []condition
}

// expr returns the tree with an expression in the place of each name.
func (c condition) expr(of func(string) match.Expr) match.Expr {
	switch c.op {
	case opName:
		return of(c.name)
	case opNot:
		return match.Not{Part: c.of[0].expr(of)}
	}
	parts := make([]match.Expr, len(c.of))
	for i := range c.of {
		parts[i] = c.of[i].expr(of)
	}
	if c.op == opAnd {
		return match.And(parts)
	}
	return match.Or(parts)
}

// holds answers for the names that hold.
func (c condition) holds(name func(string) bool) bool {
	switch c.op {
	case opName:
		return name(c.name)
	case opNot:
		return !c.of[0].holds(name)
	}
	for i := range c.of {
		if c.of[i].holds(name) != (c.op == opAnd) {
			return c.op != opAnd
		}
	}
	return c.op == opAnd
}

// fault is what is wrong with a condition's text.
type fault struct {
	offset        int
	message, hint string
}

// parseCondition reads a condition over these names (rules specification, "Condition"). Or binds least, then and,
// then not, then "1 of", then parentheses.
func parseCondition(text string, names []string) (condition, *fault) {
	p := &conditionParser{words: conditionWords(text), names: names, end: len(text)}
	if len(p.words) > maxConditionWords {
		return condition{}, &fault{0, fmt.Sprintf("more than %d words", maxConditionWords), "split the rule"}
	}
	for _, w := range p.words {
		if w.text == "|" {
			return condition{}, aggregation(text, w.offset)
		}
	}
	c, f := p.or(0)
	if f != nil {
		return condition{}, f
	}
	if w, ok := p.peek(); ok {
		f := &fault{offset: w.offset, message: fmt.Sprintf("%q does not go on the condition", shown(w.text)), hint: "join selections with and, or"}
		if w.text == ")" {
			f = &fault{offset: w.offset, message: "a closing parenthesis too many"}
		}
		return condition{}, f
	}
	return c, nil
}

// aggregation says what to write in the place of what Sigma had before correlation rules.
func aggregation(text string, offset int) *fault {
	f := &fault{offset: offset, message: "aggregations behind | are no longer part of Sigma",
		hint: "write a correlation rule that refers to this one: type event_count, group-by, timespan, condition"}
	rest := strings.ToLower(text[offset:])
	switch {
	case strings.Contains(rest, "near"):
		f.hint = "write a correlation rule that refers to this one: type temporal, rules, group-by, timespan"
	case strings.Contains(rest, "count(") && !strings.Contains(rest, "count()"):
		f.hint = "write a correlation rule that refers to this one: type value_count, group-by, timespan, condition with field"
	case strings.Contains(rest, "sum("):
		f.hint = "write a correlation rule that refers to this one: type value_sum, group-by, timespan, condition with field"
	case strings.Contains(rest, "avg("):
		f.hint = "write a correlation rule that refers to this one: type value_avg, group-by, timespan, condition with field"
	}
	return f
}

type word struct {
	text   string
	offset int
}

// conditionWords cuts a condition at white space, parentheses and pipes.
func conditionWords(text string) []word {
	var words []word
	for i := 0; i < len(text); {
		switch c := text[i]; c {
		case ' ', '\t', '\n', '\r':
			i++
		case '(', ')', '|':
			words = append(words, word{text[i : i+1], i})
			i++
		default:
			end := i
			for end < len(text) && !strings.ContainsRune(" \t\n\r()|", rune(text[end])) {
				end++
			}
			words = append(words, word{text[i:end], i})
			i = end
		}
	}
	return words
}

type conditionParser struct {
	words []word
	next  int
	names []string
	end   int
	parts int // that quantifiers stand for so far
}

func (p *conditionParser) peek() (word, bool) {
	if p.next < len(p.words) {
		return p.words[p.next], true
	}
	return word{offset: p.end}, false
}

// is takes the next word where it is the given one.
func (p *conditionParser) is(text string) bool {
	if w, ok := p.peek(); ok && strings.EqualFold(w.text, text) {
		p.next++
		return true
	}
	return false
}

func (p *conditionParser) or(depth int) (condition, *fault) {
	return p.joined("or", opOr, func() (condition, *fault) { return p.and(depth) })
}

func (p *conditionParser) and(depth int) (condition, *fault) {
	return p.joined("and", opAnd, func() (condition, *fault) { return p.not(depth) })
}

func (p *conditionParser) joined(by string, op conditionOp, operand func() (condition, *fault)) (condition, *fault) {
	first, f := operand()
	if f != nil {
		return first, f
	}
	all := condition{op: op, of: []condition{first}}
	for p.is(by) {
		next, f := operand()
		if f != nil {
			return next, f
		}
		all.of = append(all.of, next)
	}
	if len(all.of) == 1 {
		return first, nil
	}
	return all, nil
}

func (p *conditionParser) not(depth int) (condition, *fault) {
	negative := false
	for p.is("not") {
		negative = !negative
	}
	c, f := p.operand(depth)
	if f == nil && negative {
		c = condition{op: opNot, of: []condition{c}}
	}
	return c, f
}

var reserved = []string{"and", "or", "not", "of", "them"}

func (p *conditionParser) operand(depth int) (condition, *fault) {
	w, ok := p.peek()
	switch {
	case !ok:
		return condition{}, &fault{offset: w.offset, message: "it breaks off", hint: "name a selection"}
	case depth > maxConditionDepth:
		return condition{}, &fault{offset: w.offset, message: "nested too deeply"}
	case w.text == "(":
		p.next++
		c, f := p.or(depth + 1)
		if f != nil {
			return c, f
		}
		if !p.is(")") {
			return c, &fault{offset: w.offset, message: "the parenthesis is not closed"}
		}
		return c, nil
	case w.text == ")" || slices.Contains(reserved, strings.ToLower(w.text)):
		return condition{}, &fault{offset: w.offset, message: fmt.Sprintf("a selection is missing before %q", w.text), hint: "name a selection"}
	}
	p.next++
	if p.is("of") {
		return p.quantified(w)
	}
	if slices.Contains(p.names, w.text) {
		return condition{name: w.text}, nil
	}
	f := &fault{offset: w.offset, message: fmt.Sprintf("there is no selection %q", shown(w.text))}
	if strings.Contains(w.text, "*") {
		f.hint = "before a pattern stands 1 of or all of"
	} else if near := spell.Nearest(w.text, p.names); near != "" {
		f.hint = fmt.Sprintf("did you mean %q?", near)
	} else {
		f.hint = "there are " + shown(strings.Join(p.names, ", "))
	}
	return condition{}, f
}

// quantified reads what stands behind "1 of", "any of" or "all of".
func (p *conditionParser) quantified(how word) (condition, *fault) {
	op := opOr
	switch strings.ToLower(how.text) {
	case "1", "any":
	case "all":
		op = opAnd
	default:
		return condition{}, &fault{offset: how.offset, message: fmt.Sprintf("%q of selections is not part of Sigma", shown(how.text)), hint: "1 of, any of or all of"}
	}
	w, ok := p.peek()
	if !ok || w.text == "(" || w.text == ")" {
		return condition{}, &fault{offset: w.offset, message: fmt.Sprintf("of what is missing behind %q", how.text+" of"), hint: "them, or a pattern as in selection_*"}
	}
	p.next++
	all := condition{op: op}
	them := strings.EqualFold(w.text, "them")
	for _, name := range p.names {
		// Names that begin with an underscore are left out of them by the specification.
		if them && !strings.HasPrefix(name, "_") || !them && starMatch(w.text, name) {
			all.of = append(all.of, condition{name: name})
		}
	}
	if p.parts += len(all.of); p.parts > maxConditionParts {
		return condition{}, &fault{offset: w.offset, message: fmt.Sprintf("it names more than %d selections", maxConditionParts), hint: "split the rule"}
	}
	if len(all.of) == 0 {
		f := &fault{offset: w.offset, message: fmt.Sprintf("no selection is called %q", shown(w.text)), hint: "there are " + shown(strings.Join(p.names, ", "))}
		if them {
			f.message, f.hint = "them is none: every selection's name begins with _", ""
		}
		return condition{}, f
	}
	if len(all.of) == 1 {
		return all.of[0], nil
	}
	return all, nil
}

// starMatch reports whether a pattern whose stars stand for any characters fits a name.
func starMatch(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(rest, part)
		if i < 0 {
			return false
		}
		rest = rest[i+len(part):]
	}
	return strings.HasSuffix(rest, parts[len(parts)-1])
}
