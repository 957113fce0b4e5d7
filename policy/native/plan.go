package native

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"
	"github.com/google/cel-go/parser"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// planner turns a checked expression into the form of package match. What has no place in it
// becomes a match.Func that runs on CEL's evaluator.
//
// The two differ in what a field is that an event does not have: to CEL it is the zero of
// its kind, to match it has no value. Where the zero would match, the planner adds that case.
type planner struct {
	env    *cel.Env
	tree   *celast.AST
	leaves int
	err    error
}

// scope is the loop around an expression: its variable's name, and what it stands for. Inside of
// one no leaf can be made: CEL's evaluator would not know the variable.
type scope struct {
	name  string
	value text
}

// plan returns an expression's form, with leaves where need be.
func (p *planner) plan(e celast.Expr) match.Expr {
	if x := p.expr(e, nil); x != nil {
		return x
	}
	return p.leaf(e)
}

// leafCost is what a part on CEL's evaluator takes, in nanoseconds, roughly.
const leafCost = 1000

// leaf makes a program of its own of a part of the expression.
func (p *planner) leaf(e celast.Expr) match.Expr {
	part := celast.NewCheckedAST(celast.NewAST(e, p.tree.SourceInfo()), p.tree.TypeMap(), p.tree.ReferenceMap())
	program, err := p.env.PlanProgram(part,
		cel.EvalOptions(cel.OptOptimize),
		cel.OptimizeRegex(interpreter.MatchesRegexOptimization),
		cel.CostLimit(maxLeafCost),
	)
	if err != nil {
		if p.err == nil {
			p.err = err
		}
		return match.Const(false)
	}
	p.leaves++
	return &match.Func{Text: sourceOf(p.tree, e), Fields: fieldsOf(e), Attrs: readsAttrs(e), Cost: leafCost, Call: evaluator(program)}
}

// sourceOf returns an expression as people would write it.
func sourceOf(tree *celast.AST, e celast.Expr) string {
	s, err := parser.Unparse(e, tree.SourceInfo())
	if err != nil {
		return "a part on CEL's evaluator"
	}
	return asWritten.ReplaceAllString(strings.ReplaceAll(s, attrs, "unmapped"), "has($1)")
}

// asWritten finds what has() became.
var asWritten = regexp.MustCompile(`@has:([a-z0-9_.]+)`)

// expr returns the form of an expression that gives true or false, or nil where it has none.
func (p *planner) expr(e celast.Expr, sc *scope) match.Expr {
	switch e.Kind() {
	case celast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return match.Const(b)
		}
	case celast.IdentKind, celast.SelectKind:
		if f, ok := presenceOf(e); ok {
			return exists(f)
		}
		if f, ok := p.field(e, sc); ok && f.Kind() == signal.KindBool {
			return match.Int(match.Operand{Field: f}, match.IntIs(1))
		}
	case celast.ComprehensionKind:
		if sc == nil {
			return p.loop(e.AsComprehension())
		}
	case celast.CallKind:
		return p.call(e.AsCall(), sc)
	}
	return nil
}

// exists asks whether a field is set; those of the header always are.
func exists(f signal.Field) match.Expr {
	if f.IsHeader() {
		return match.Const(true)
	}
	return match.Exists(f)
}

// field returns the field that an expression stands for; a loop's variable hides one of
// the same name.
func (p *planner) field(e celast.Expr, sc *scope) (signal.Field, bool) {
	if sc != nil {
		// "x.y" where x is the loop's variable is no field either.
		if _, root := dotted(e); root != nil && root.AsIdent() == sc.name {
			return 0, false
		}
	}
	return fieldOf(e)
}

func (p *planner) call(call celast.CallExpr, sc *scope) match.Expr {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd, operators.LogicalOr:
		return p.join(call, name, sc)
	case operators.LogicalNot:
		if x := p.part(args[0], sc); x != nil {
			return match.Not{Part: x}
		}
	case operators.Equals, operators.NotEquals, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals:
		return p.compare(orderOf(name), args[0], args[1], sc)
	case operators.In:
		return p.in(args[0], args[1], sc)
	case "contains", "startsWith", "endsWith", "icontains", "matches":
		if call.IsMemberFunction() {
			return p.textCall(name, call.Target(), args[0], sc)
		}
		if name == "matches" { // CEL also knows matches(text, pattern)
			return p.textCall(name, args[0], args[1], sc)
		}
	case "private":
		if f, ok := p.field(args[0], sc); ok && f.Kind() == signal.KindIP {
			return &match.Atom{On: match.Operand{Field: f}, Op: match.OpCIDR, Prefixes: privatePrefixes()}
		}
	case "cidr":
		return p.cidr(args[0], args[1], sc)
	}
	return nil
}

// part returns the form of an operand of && || or !, a leaf where need and scope be.
func (p *planner) part(e celast.Expr, sc *scope) match.Expr {
	if x := p.expr(e, sc); x != nil || sc != nil {
		return x
	}
	return p.leaf(e)
}

// join plans a chain of && or of ||. Its parts have no effects and CEL's operators do not
// care for their order.
func (p *planner) join(call celast.CallExpr, name string, sc *scope) match.Expr {
	var parts []match.Expr
	var collect func(e celast.Expr) bool
	collect = func(e celast.Expr) bool {
		if e.Kind() == celast.CallKind && e.AsCall().FunctionName() == name {
			for _, arg := range e.AsCall().Args() {
				if !collect(arg) {
					return false
				}
			}
			return true
		}
		x := p.part(e, sc)
		if x != nil {
			parts = append(parts, x)
		}
		return x != nil
	}
	for _, arg := range call.Args() {
		if !collect(arg) {
			return nil
		}
	}
	if name == operators.LogicalAnd {
		return match.And(parts)
	}
	return match.Or(parts)
}

func orderOf(name string) match.Order {
	switch name {
	case operators.Equals:
		return match.Equal
	case operators.NotEquals:
		return match.Unequal
	case operators.Less:
		return match.Less
	case operators.LessEquals:
		return match.LessEqual
	case operators.Greater:
		return match.Greater
	}
	return match.GreaterEqual
}

// mirrored is the order for swapped operands.
func mirrored(o match.Order) match.Order {
	switch o {
	case match.Less:
		return match.Greater
	case match.LessEqual:
		return match.GreaterEqual
	case match.Greater:
		return match.Less
	case match.GreaterEqual:
		return match.LessEqual
	}
	return o
}

func (p *planner) compare(op match.Order, a, b celast.Expr, sc *scope) match.Expr {
	if x, ok := p.number(a, sc); ok {
		if y, ok := p.number(b, sc); ok {
			return compareNumbers(x, op, y)
		}
		return nil
	}
	if op == match.Equal || op == match.Unequal {
		if x := p.compareTruth(op, a, b, sc); x != nil {
			return x
		}
		if x := p.compareAddress(op, a, b, sc); x != nil {
			return x
		}
	}
	x, okX := p.text(a, sc)
	y, okY := p.text(b, sc)
	if !okX || !okY {
		return nil
	}
	if x.constant() && y.constant() {
		return match.Const(op.Holds(strings.Compare(x.literal, y.literal)))
	}
	if x.constant() {
		x, y, op = y, x, mirrored(op)
	}
	switch op {
	case match.Equal:
		return testText(x, match.OpEqual, y)
	case match.Unequal:
		return negate(testText(x, match.OpEqual, y))
	}
	return nil
}

func negate(x match.Expr) match.Expr {
	if x == nil {
		return nil
	}
	return match.Not{Part: x}
}

// compareTruth plans a comparison with true or false.
func (p *planner) compareTruth(op match.Order, a, b celast.Expr, sc *scope) match.Expr {
	for range 2 {
		if b.Kind() == celast.LiteralKind {
			if want, ok := b.AsLiteral().(types.Bool); ok {
				if t := p.tree.GetType(a.ID()); !t.IsExactType(types.BoolType) {
					return nil
				}
				x := p.part(a, sc)
				if bool(want) == (op == match.Equal) {
					return x
				}
				return negate(x)
			}
		}
		a, b = b, a
	}
	return nil
}

func (p *planner) compareAddress(op match.Order, a, b celast.Expr, sc *scope) match.Expr {
	for range 2 {
		if f, ok := p.field(a, sc); ok && f.Kind() == signal.KindIP {
			if text, ok := stringLiteral(b); ok {
				x := addresses(f, []string{text})
				if op == match.Unequal {
					return negate(x)
				}
				return x
			}
		}
		a, b = b, a
	}
	return nil
}

// addresses is nil where one is not written as address fields write it: CEL compares texts. An
// empty text is what an address that is not there is to CEL.
func addresses(f signal.Field, texts []string) match.Expr {
	a := &match.Atom{On: match.Operand{Field: f}, Op: match.OpCIDR}
	missing := false
	for _, text := range texts {
		if text == "" {
			missing = true
			continue
		}
		addr := parseAddr(text)
		if !addr.IsValid() || addr.String() != text {
			return nil
		}
		a.Prefixes = append(a.Prefixes, netip.PrefixFrom(addr, addr.BitLen()))
	}
	if missing {
		return match.Or{match.Not{Part: exists(f)}, a}
	}
	return a
}

func (p *planner) in(item, list celast.Expr, sc *scope) match.Expr {
	if f, ok := p.field(list, sc); ok && f.Kind() == signal.KindStrings {
		v, ok := p.text(item, sc)
		if !ok {
			return nil
		}
		return testText(text{field: f, list: true}, match.OpEqual, v)
	}
	if list.Kind() != celast.ListKind {
		return nil
	}
	elements := list.AsList().Elements()
	if v, ok := p.number(item, sc); ok {
		var ranges []match.IntRange
		for _, el := range elements {
			if el.Kind() != celast.LiteralKind {
				return nil
			}
			i, ok := el.AsLiteral().(types.Int)
			if !ok {
				return nil
			}
			ranges = append(ranges, match.IntIs(int64(i)))
		}
		return v.in(ranges)
	}
	texts, ok := stringLiterals(elements)
	if !ok {
		return nil
	}
	if f, ok := p.field(item, sc); ok && f.Kind() == signal.KindIP {
		return addresses(f, texts)
	}
	v, ok := p.text(item, sc)
	if !ok {
		return nil
	}
	return testLiterals(v, match.OpEqual, texts)
}

func stringLiterals(elements []celast.Expr) ([]string, bool) {
	texts := make([]string, len(elements))
	for i, el := range elements {
		text, ok := stringLiteral(el)
		if !ok {
			return nil, false
		}
		texts[i] = text
	}
	return texts, true
}

func (p *planner) textCall(name string, target, arg celast.Expr, sc *scope) match.Expr {
	v, ok := p.text(target, sc)
	if !ok {
		return nil
	}
	if name == "matches" {
		pattern, ok := stringLiteral(arg)
		if !ok {
			return nil
		}
		return testRegex(v, pattern)
	}
	a, ok := p.text(arg, sc)
	if !ok {
		return nil
	}
	switch name {
	case "startsWith":
		return testText(v, match.OpPrefix, a)
	case "endsWith":
		return testText(v, match.OpSuffix, a)
	case "icontains":
		v, a = v.with(match.StepLower), a.with(match.StepLower)
	}
	return testText(v, match.OpContains, a)
}

func (p *planner) cidr(item, prefixes celast.Expr, sc *scope) match.Expr {
	f, ok := p.field(item, sc)
	if !ok || f.Kind() != signal.KindIP {
		return nil
	}
	list := []celast.Expr{prefixes}
	if prefixes.Kind() == celast.ListKind {
		list = prefixes.AsList().Elements()
	}
	texts, ok := stringLiterals(list)
	if !ok {
		return nil
	}
	a := &match.Atom{On: match.Operand{Field: f}, Op: match.OpCIDR}
	for _, text := range texts {
		prefix, ok := parsePrefix(text)
		if !ok {
			return nil
		}
		a.Prefixes = append(a.Prefixes, prefix)
	}
	return a
}

// number is an integer operand: a literal, a field, or the size of a list or text.
type number struct {
	literal int64
	on      match.Operand
	missing bool // the operand may have no value, which stands for 0
	fixed   bool // a literal
}

// number returns an integer operand.
func (p *planner) number(e celast.Expr, sc *scope) (number, bool) {
	switch e.Kind() {
	case celast.LiteralKind:
		i, ok := e.AsLiteral().(types.Int)
		return number{literal: int64(i), fixed: true}, ok
	case celast.IdentKind, celast.SelectKind:
		f, ok := p.field(e, sc)
		return number{on: match.Operand{Field: f}, missing: !f.IsHeader()}, ok && f.Kind() == signal.KindInt
	case celast.CallKind:
		call := e.AsCall()
		if call.FunctionName() != "size" {
			return number{}, false
		}
		of := call.Target()
		if !call.IsMemberFunction() {
			of = call.Args()[0]
		}
		if f, ok := p.field(of, sc); ok && f.Kind() == signal.KindStrings {
			return number{on: match.Operand{Field: f, Measure: match.MeasureCount}}, true
		}
		v, ok := p.text(of, sc)
		if !ok || v.attr != "" {
			return number{}, false
		}
		if v.constant() {
			return number{literal: int64(utf8.RuneCountInString(v.literal)), fixed: true}, true
		}
		on := v.operand()
		on.Measure = match.MeasureRunes
		return number{on: on, missing: v.missing()}, true
	}
	return number{}, false
}

// in asks whether the number is in one of the ranges.
func (n number) in(ranges []match.IntRange) match.Expr {
	holds := func(v int64) bool {
		return slices.ContainsFunc(ranges, func(r match.IntRange) bool { return r.Min <= v && v <= r.Max })
	}
	if n.fixed {
		return match.Const(holds(n.literal))
	}
	a := match.Int(n.on, ranges...)
	if n.missing && holds(0) {
		return match.Or{match.Not{Part: exists(n.on.Field)}, a}
	}
	return a
}

func compareNumbers(x number, op match.Order, y number) match.Expr {
	switch {
	case y.fixed:
		return x.in(match.IntOrder(op, y.literal))
	case x.fixed:
		return y.in(match.IntOrder(mirrored(op), x.literal))
	case x.on.Measure != match.MeasureNone || y.on.Measure != match.MeasureNone:
		return nil
	}
	// Fields are compared here and not by match.OpCompare, which compares floating-point numbers.
	a, b := x.on.Field, y.on.Field
	return &match.Func{Text: a.Name() + " " + op.String() + " " + b.Name(), Fields: []signal.Field{a, b}, Cost: 5,
		Call: func(e *signal.Event) match.Answer { return match.Of(op.Holds(cmp.Compare(e.Int(a), e.Int(b)))) }}
}

// loop plans exists and all over a list field or a list that is written out. The macros expand
// to a fold whose step is @result || body, or @result && body.
func (p *planner) loop(c celast.ComprehensionExpr) match.Expr {
	if c.HasIterVar2() || c.AccuInit().Kind() != celast.LiteralKind || c.LoopStep().Kind() != celast.CallKind ||
		c.Result().Kind() != celast.IdentKind || c.Result().AsIdent() != c.AccuVar() {
		return nil
	}
	begin, ok := c.AccuInit().AsLiteral().(types.Bool)
	every, step := bool(begin), c.LoopStep().AsCall()
	want := operators.LogicalOr
	if every {
		want = operators.LogicalAnd
	}
	if !ok || step.FunctionName() != want || len(step.Args()) != 2 ||
		step.Args()[0].Kind() != celast.IdentKind || step.Args()[0].AsIdent() != c.AccuVar() {
		return nil
	}
	body := step.Args()[1]
	if f, ok := p.field(c.IterRange(), nil); ok && f.Kind() == signal.KindStrings {
		x := p.expr(body, &scope{name: c.IterVar(), value: text{elem: true}})
		if x == nil {
			return nil
		}
		return overList(f, every, x)
	}
	if c.IterRange().Kind() != celast.ListKind {
		return nil
	}
	var parts []match.Expr
	for _, el := range c.IterRange().AsList().Elements() {
		item, ok := p.text(el, nil)
		if !ok {
			return nil
		}
		x := p.expr(body, &scope{name: c.IterVar(), value: item})
		if x == nil {
			return nil
		}
		parts = append(parts, x)
	}
	if every {
		return match.And(parts)
	}
	return match.Simplify(match.Or(parts))
}

// overList returns a loop over a list field, taken apart where that is the same: exists over a
// choice is a choice of exists, all over a conjunction one of all, and exists over a question about
// the value a question about the list.
func overList(f signal.Field, every bool, body match.Expr) match.Expr {
	split := func(parts []match.Expr) []match.Expr {
		each := make([]match.Expr, len(parts))
		for i, part := range parts {
			each[i] = overList(f, every, part)
		}
		return each
	}
	switch body := body.(type) {
	case match.Or:
		if !every {
			return match.Or(split(body))
		}
	case match.And:
		if every {
			return match.And(split(body))
		}
	case *match.Atom:
		if !every && body.On.Elem && (body.Other == nil || !body.Other.Elem) {
			a := *body
			a.On.Elem, a.On.Field = false, f
			return &a
		}
	}
	return &match.Loop{List: match.Operand{Field: f}, Every: every, Body: body}
}
