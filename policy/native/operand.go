package native

import (
	"regexp"
	"slices"
	"strings"

	celast "github.com/google/cel-go/common/ast"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// text is a string operand: a literal, a field, an attribute outside of the field table, or the value of
// the loop around it.
type text struct {
	literal string
	field   signal.Field // where it is set
	list    bool         // any value of the list field; only for testText's first operand
	attr    string       // where it is set
	elem    bool
	steps   []match.Step // innermost first; a literal has none
}

// text returns a string operand. An address field is none: its text would have to be made.
func (p *planner) text(e celast.Expr, sc *scope) (text, bool) {
	switch e.Kind() {
	case celast.LiteralKind:
		s, ok := stringLiteral(e)
		return text{literal: s}, ok
	case celast.IdentKind, celast.SelectKind:
		if sc != nil && e.Kind() == celast.IdentKind && e.AsIdent() == sc.name {
			return sc.value, true
		}
		f, ok := p.field(e, sc)
		return text{field: f}, ok && f.Kind() == signal.KindString
	case celast.CallKind:
		if name, ok := attrOf(e); ok {
			return text{attr: name}, true
		}
		call := e.AsCall()
		var st match.Step
		switch call.FunctionName() {
		case "lower":
			st = match.StepLower
		case "urldecode":
			st = match.StepURLDecode
		default:
			return text{}, false
		}
		v, ok := p.text(call.Args()[0], sc)
		return v.with(st), ok
	}
	return text{}, false
}

func (t text) constant() bool { return t.field == 0 && t.attr == "" && !t.elem }

// missing reports whether the operand may have no value, which stands for an empty text.
func (t text) missing() bool { return t.field != 0 && !t.field.IsHeader() && !t.list }

// with returns the text after one more step.
func (t text) with(st match.Step) text {
	if !t.constant() {
		t.steps = append(slices.Clone(t.steps), st)
		return t
	}
	t.literal = after(st, t.literal)
	return t
}

func (t text) operand() match.Operand {
	return match.Operand{Field: t.field, Elem: t.elem, Steps: t.steps}
}

// absent holds where the operand has no value.
func (t text) absent() match.Expr { return match.Not{Part: exists(t.field)} }

// empty holds where the text is empty. No step empties a text, or fills an empty one.
func (t text) empty() match.Expr {
	x := match.Expr(match.Text(t.operand(), match.OpEqual, false, ""))
	if t.missing() {
		x = match.Or{t.absent(), x}
	}
	return x
}

// testText asks for one of OpEqual, OpPrefix, OpSuffix and OpContains between two operands, or is
// nil where match has no form for it.
func testText(v text, op match.Op, arg text) match.Expr {
	if arg.constant() {
		return testLiterals(v, op, []string{arg.literal})
	}
	if v.attr != "" || arg.attr != "" || first(v) || first(arg) {
		return nil
	}
	if v.constant() {
		if op == match.OpEqual {
			return testLiterals(arg, op, []string{v.literal})
		}
		// match has no literal on the left: what is asked is which texts fit into it.
		return nil
	}
	on, other := v.operand(), arg.operand()
	choice := match.Or{&match.Atom{On: on, Op: op, Other: &other}}
	if v.missing() { // "" equals, begins, ends and contains nothing but ""
		choice = append(choice, match.And{v.absent(), arg.empty()})
	}
	if arg.missing() {
		x := match.And{arg.absent()}
		switch {
		case op == match.OpEqual:
			x = append(x, v.empty())
		case v.list:
			x = append(x, match.Exists(v.field))
		}
		choice = append(choice, x)
	}
	if len(choice) == 1 {
		return choice[0]
	}
	return choice
}

// testLiterals asks whether an operator holds for the text and one of some literals.
func testLiterals(v text, op match.Op, literals []string) match.Expr {
	holds := func(s string) bool {
		return slices.ContainsFunc(literals, func(l string) bool { return literalHolds(op, s, l) })
	}
	switch {
	case v.constant():
		return match.Const(holds(v.literal))
	case first(v):
		if len(v.steps) > 0 || op != match.OpEqual || len(literals) != 1 || literals[0] != "" {
			return nil
		}
		return &match.Func{Text: "no event came before it", Fields: []signal.Field{signal.FieldMetadataCorrelationUID}, Cost: 1,
			Call: func(e *signal.Event) match.Answer { return match.Of(e.Parent.IsZero()) }}
	case v.attr != "":
		return attrFunc(v, string(opNames[op])+" "+strings.Join(literals, ", "), holds)
	}
	x := match.Expr(match.Text(v.operand(), op, false, literals...))
	if v.missing() && holds("") {
		x = match.Or{v.absent(), x}
	}
	return x
}

var opNames = map[match.Op]string{match.OpEqual: "is", match.OpPrefix: "starts with", match.OpSuffix: "ends with", match.OpContains: "contains"}

// first reports whether the operand is the id of the event before, whose text is not worth making: an event
// without one is asked for, see expandRequest.
func first(t text) bool { return t.field == signal.FieldMetadataCorrelationUID }

// attrFunc asks about the attribute of exactly that name; the form's own attributes pass over
// indexes in names.
func attrFunc(v text, what string, holds func(string) bool) match.Expr {
	return &match.Func{Text: "attr " + v.attr + " " + what, Attrs: true, Attr: v.attr, Cost: 30, Call: func(e *signal.Event) match.Answer {
		s, _ := e.Unmapped(v.attr)
		s, _ = match.ApplySteps(v.steps, s) // no step of this dialect fails
		return match.Of(holds(s))
	}}
}

func literalHolds(op match.Op, v, literal string) bool {
	switch op {
	case match.OpPrefix:
		return strings.HasPrefix(v, literal)
	case match.OpSuffix:
		return strings.HasSuffix(v, literal)
	case match.OpContains:
		return strings.Contains(v, literal)
	}
	return v == literal
}

// testRegex asks whether a pattern matches some of the text.
func testRegex(v text, pattern string) match.Expr {
	re := regexp.MustCompile(pattern) // restrict has compiled it
	switch {
	case v.constant():
		return match.Const(re.MatchString(v.literal))
	case first(v):
		return nil
	case v.attr != "":
		return attrFunc(v, "matches /"+pattern+"/", re.MatchString)
	}
	x := match.Expr(&match.Atom{On: v.operand(), Op: match.OpRegex, Regex: re})
	if v.missing() && re.MatchString("") {
		x = match.Or{v.absent(), x}
	}
	return x
}
