package falco

import (
	"fmt"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
)

// maxDepth bounds how deep a condition is nested, macros included.
const maxDepth = 200

// node is a part of a condition.
type node interface{ node() }

type (
	andNode []node
	orNode  []node
	notNode struct{ part node }
	refNode struct { // a macro by its name
		name   string
		src    *text
		offset int
	}
	checkNode struct {
		left   operand
		op     string
		values []value  // the right side
		other  *operand // or a field there
		src    *text
		offset int // of the operator
	}
)

func (andNode) node()    {}
func (orNode) node()     {}
func (notNode) node()    {}
func (refNode) node()    {}
func (*checkNode) node() {}

// operand is a field, with what is done to its values.
type operand struct {
	name   string
	arg    string
	hasArg bool
	steps  []string // transformers, innermost first

	// join and concat make one text of several operands and texts.
	join  string // name of it, "" for none
	parts []joinPart

	src    *text
	offset int
}

type joinPart struct {
	field *operand
	text  string
}

// String returns the operand as rules write it.
func (o *operand) String() string {
	s := o.name
	if o.hasArg {
		s += "[" + o.arg + "]"
	}
	if o.join != "" {
		s = o.join + "(...)"
	}
	for _, step := range o.steps {
		s = step + "(" + s + ")"
	}
	return s
}

// value is a constant.
type value struct {
	text   string
	quoted bool
	src    *text
	offset int
}

// The operators, by what stands behind them.
var (
	symbolOps = []string{"==", "=", "!=", "<=", "<", ">=", ">"}
	wordOps   = []string{"contains", "icontains", "bcontains", "startswith", "bstartswith", "endswith", "glob", "iglob", "regex"}
	listOps   = []string{"in", "intersects", "pmatch"}
)

var transformers = []string{"tolower", "toupper", "b64", "basename", "len"}

func operators() []string {
	return slices.Concat(symbolOps, wordOps, listOps, []string{"exists"})
}

// parse reads a condition.
func parse(src *text) (node, *mistake) {
	l := &lexer{src: src}
	l.blank()
	if l.done() {
		return nil, l.wrong(0, "the condition is empty", "write an expression, as in evt.type = execve and proc.name = nc")
	}
	n, m := l.or()
	if m != nil {
		return nil, m
	}
	l.blank()
	if !l.done() {
		hint := "and, or, or a closing parenthesis may stand here"
		if l.rest()[0] == ')' {
			return nil, l.wrong(l.pos, "a closing parenthesis without an opening one", "")
		}
		return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q", policy.Printable(l.next(), 40)), hint)
	}
	return n, nil
}

// next returns the next word or character, for people.
func (l *lexer) next() string {
	at := l.pos
	defer func() { l.pos = at }()
	if w := l.bare(); w != "" {
		return w
	}
	if l.done() {
		return "end"
	}
	return l.rest()[:1]
}

func (l *lexer) or() (node, *mistake) {
	return l.joined("or", (*lexer).and, func(parts []node) node { return orNode(parts) })
}

func (l *lexer) and() (node, *mistake) {
	return l.joined("and", (*lexer).not, func(parts []node) node { return andNode(parts) })
}

func (l *lexer) joined(word string, part func(*lexer) (node, *mistake), join func([]node) node) (node, *mistake) {
	var parts []node
	for {
		n, m := part(l)
		if m != nil {
			return nil, m
		}
		parts = append(parts, n)
		l.blank()
		if !l.word(word) {
			break
		}
	}
	if len(parts) == 1 {
		return parts[0], nil
	}
	return join(parts), nil
}

func (l *lexer) not() (node, *mistake) {
	negated := false
	for {
		l.blank()
		if !l.word("not") {
			break
		}
		negated = !negated
	}
	n, m := l.check()
	if m != nil {
		return nil, m
	}
	if negated {
		return notNode{n}, nil
	}
	return n, nil
}

func (l *lexer) check() (node, *mistake) {
	l.blank()
	if l.take("(") {
		at := l.pos - 1
		if l.deep++; l.deep > maxDepth {
			return nil, l.wrong(at, "nested too deeply", "")
		}
		n, m := l.or()
		if m != nil {
			return nil, m
		}
		l.deep--
		l.blank()
		if !l.take(")") {
			if l.done() {
				return nil, l.wrong(at, "a parenthesis that is not closed", "")
			}
			return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q", policy.Printable(l.next(), 40)), "and, or, or a closing parenthesis may stand here")
		}
		return n, nil
	}
	at := l.pos
	name := l.peekName()
	switch {
	case l.done():
		return nil, l.wrong(l.pos, "the condition ends too early", "a field or the name of a macro is missing at its end")
	case name == "":
		return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q", policy.Printable(l.next(), 40)), "a field or the name of a macro stands here")
	case name == "and" || name == "or" || name == "in":
		return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q", name), "a field or the name of a macro stands before it")
	case strings.Contains(name, ".") || strings.HasPrefix(l.rest()[len(name):], "("):
		left, m := l.operand()
		if m != nil {
			return nil, m
		}
		return l.comparison(left)
	}
	l.pos += len(name)
	return refNode{name, l.src, at}, nil
}

// operand reads a field, with transformers around it.
func (l *lexer) operand() (*operand, *mistake) {
	at := l.pos
	name := l.peekName()
	if !strings.HasPrefix(l.rest()[len(name):], "(") {
		return l.field()
	}
	if name == "join" || name == "concat" {
		return l.join(name)
	}
	if !slices.Contains(transformers, name) && name != "val" {
		hint := "known: " + strings.Join(transformers, ", ") + ", join, concat"
		if near := spell.Nearest(name, transformers); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return nil, l.wrong(at, fmt.Sprintf("unknown transformer %q", policy.Printable(name, 40)), hint)
	}
	if l.deep++; l.deep > maxDepth {
		return nil, l.wrong(at, "nested too deeply", "")
	}
	l.pos += len(name) + 1
	l.blank()
	inner, m := l.operand()
	if m != nil {
		return nil, m
	}
	l.deep--
	l.blank()
	if !l.take(")") {
		return nil, l.wrong(l.pos, "the parenthesis of "+name+"( is not closed", "")
	}
	if name != "val" {
		inner.steps = append(inner.steps, name)
	}
	inner.offset = at
	return inner, nil
}

// field reads a field and its argument in brackets.
func (l *lexer) field() (*operand, *mistake) {
	at := l.pos
	name := l.peekName()
	if !strings.Contains(name, ".") {
		return nil, l.wrong(at, "a field is missing", "as in proc.name")
	}
	l.pos += len(name)
	o := &operand{name: name, src: l.src, offset: at}
	if !l.take("[") {
		return o, nil
	}
	o.hasArg = true
	arg, ok, m := l.quoted()
	if m != nil {
		return nil, m
	}
	if !ok {
		arg = l.argument()
	}
	if arg == "" {
		return nil, l.wrong(l.pos, "the brackets of "+name+" are empty", "")
	}
	o.arg = arg
	if !l.take("]") {
		return nil, l.wrong(l.pos, "the bracket of "+name+" is not closed", "")
	}
	return o, nil
}

// join reads join("sep", a, b) and concat(a, "text", b), whose list may stand in parentheses of its own.
func (l *lexer) join(name string) (*operand, *mistake) {
	o := &operand{join: name, src: l.src, offset: l.pos}
	l.pos += len(name) + 1
	closing := 1
	for {
		l.blank()
		if l.take("(") {
			closing++
			continue
		}
		at := l.pos
		part := joinPart{}
		v, ok, m := l.quoted()
		if m != nil {
			return nil, m
		}
		switch {
		case ok:
			part.text = v
		case l.peekName() == "" && l.bare() == "":
			return nil, l.wrong(at, name+"() takes texts in quotes and fields", "")
		default:
			l.pos = at
			if part.field, m = l.operand(); m != nil {
				return nil, m
			}
		}
		if o.parts = append(o.parts, part); len(o.parts) > 64 {
			return nil, l.wrong(at, name+"() has more than 64 parts", "")
		}
		l.blank()
		if l.take(",") {
			continue
		}
		for closing > 0 && l.take(")") {
			closing--
			l.blank()
		}
		if closing > 0 {
			return nil, l.wrong(l.pos, "the parenthesis of "+name+"( is not closed", "")
		}
		break
	}
	if name == "join" && (len(o.parts) < 2 || o.parts[0].field != nil) {
		return nil, l.wrong(o.offset, "join() takes a separator in quotes and what it joins", "")
	}
	return o, nil
}

func (l *lexer) comparison(left *operand) (node, *mistake) {
	l.blank()
	c := &checkNode{left: *left, src: l.src, offset: l.pos}
	if word := l.peekName(); word != "" {
		if !slices.Contains(operators(), word) {
			return nil, l.unknownOp(left, word)
		}
		c.op = word
		l.pos += len(word)
	} else {
		for _, op := range symbolOps {
			if l.take(op) {
				c.op = op
				break
			}
		}
	}
	switch {
	case c.op == "":
		return nil, l.unknownOp(left, l.next())
	case c.op == "exists":
		return c, nil
	case c.op == "==":
		c.op = "="
	}
	l.blank()
	var m *mistake
	if name := l.peekName(); name != "" && strings.HasPrefix(l.rest()[len(name):], "(") &&
		(name == "val" || name == "join" || name == "concat" || slices.Contains(transformers, name)) {
		c.other, m = l.operand()
		return c, m
	}
	if slices.Contains(listOps, c.op) {
		c.values, m = l.list(c.op)
		return c, m
	}
	v, m := l.value()
	if m != nil {
		if !m.fixed() {
			m.message = fmt.Sprintf("a value is missing behind %s", c.op)
		}
		return nil, m
	}
	c.values = []value{v}
	return c, nil
}

// fixed reports whether the mistake says already what it is.
func (m *mistake) fixed() bool { return m.message != "" }

func (l *lexer) unknownOp(left *operand, word string) *mistake {
	if l.done() || word == ")" || word == "and" || word == "or" {
		return l.wrong(l.pos, fmt.Sprintf("%s is compared with nothing", left), fmt.Sprintf("write %s exists, or an operator and a value", left))
	}
	hint := "known: " + strings.Join(operators(), ", ")
	switch near := spell.Nearest(word, operators()); {
	case word == "iequals" || word == "istartswith" || word == "iendswith":
		hint = fmt.Sprintf("write tolower(%s) and a value in lower case", left)
	case near != "":
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return l.wrong(l.pos, fmt.Sprintf("unknown operator %q", policy.Printable(word, 40)), hint)
}

// value reads a constant.
func (l *lexer) value() (value, *mistake) {
	l.blank()
	v := value{src: l.src, offset: l.pos}
	text, ok, m := l.quoted()
	switch {
	case m != nil:
		return v, m
	case ok:
		v.text, v.quoted = text, true
		return v, nil
	}
	if v.text = l.bare(); v.text == "" {
		return v, l.wrong(l.pos, "", "")
	}
	return v, nil
}

// list reads the constants of a list operator.
func (l *lexer) list(op string) ([]value, *mistake) {
	at := l.pos
	if !l.take("(") {
		word := l.bare()
		return nil, l.wrong(at, fmt.Sprintf("%s is followed by a list in parentheses", op), fmt.Sprintf("write %s (%s)", op, policy.Printable(word, 60)))
	}
	var all []value
	for {
		l.blank()
		if len(all) == 0 && l.take(")") {
			return all, nil
		}
		v, m := l.value()
		if m != nil {
			if !m.fixed() {
				m.message = "a value is missing in the list"
			}
			return nil, m
		}
		all = append(all, v)
		l.blank()
		if l.take(",") {
			continue
		}
		if l.take(")") {
			return all, nil
		}
		if l.done() {
			return nil, l.wrong(at, "a list that is not closed", "")
		}
		return nil, l.wrong(l.pos, fmt.Sprintf("unexpected %q in a list", policy.Printable(l.next(), 40)), "a comma stands between values")
	}
}
