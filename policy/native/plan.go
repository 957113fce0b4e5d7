package native

import (
	"net/netip"
	"slices"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/interpreter"

	"github.com/testudo-sec/testudo/signal"
)

// planner turns a checked expression into nodes.
type planner struct {
	env    *cel.Env
	tree   *celast.AST
	leaves int
	err    error
}

// scope is the loop around an expression. Inside of one no leaf can be made: CEL's
// evaluator would not know the loop's variable.
type scope struct {
	name  string
	items []text // of a list that is written out; nil for a field's
}

// plan returns the nodes of an expression, with leaves where need be.
func (p *planner) plan(e celast.Expr) node {
	if n := p.node(e, nil); n != nil {
		return n
	}
	return p.leaf(e)
}

// leaf makes a program of its own of a part of the expression.
func (p *planner) leaf(e celast.Expr) node {
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
		return constant(false)
	}
	p.leaves++
	return &leaf{program}
}

// node returns the node of an expression that gives true or false, or nil where it has none.
func (p *planner) node(e celast.Expr, sc *scope) node {
	switch e.Kind() {
	case celast.LiteralKind:
		if b, ok := e.AsLiteral().(types.Bool); ok {
			return constant(b)
		}
	case celast.IdentKind, celast.SelectKind:
		if f, ok := presenceOf(e); ok {
			return present(f)
		}
		if f, ok := p.field(e, sc); ok && f.Kind() == signal.KindBool {
			return boolField(f)
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

// field returns the field that an expression stands for; a loop's variable hides one of
// the same name.
func (p *planner) field(e celast.Expr, sc *scope) (signal.Field, bool) {
	if sc != nil && e.Kind() == celast.IdentKind && e.AsIdent() == sc.name {
		return 0, false
	}
	if sc != nil {
		// "x.y" where x is the loop's variable is no field either.
		if _, root := dotted(e); root != nil && root.AsIdent() == sc.name {
			return 0, false
		}
	}
	return fieldOf(e)
}

func (p *planner) call(call celast.CallExpr, sc *scope) node {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case operators.LogicalAnd, operators.LogicalOr:
		return p.join(call, name, sc)
	case operators.LogicalNot:
		if n := p.part(args[0], sc); n != nil {
			return not{n}
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
			return &addressIn{field: f, private: true}
		}
	case "cidr":
		return p.cidr(args[0], args[1], sc)
	}
	return nil
}

// part returns the node of an operand of && || or !, as a leaf where need and scope be.
func (p *planner) part(e celast.Expr, sc *scope) node {
	if n := p.node(e, sc); n != nil || sc != nil {
		return n
	}
	return p.leaf(e)
}

// join plans a chain of && or of ||. Its parts have no effects and CEL's operators do not
// care for their order, so that the cheap ones come first.
func (p *planner) join(call celast.CallExpr, name string, sc *scope) node {
	var parts []node
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
		n := p.part(e, sc)
		if n != nil {
			parts = append(parts, n)
		}
		return n != nil
	}
	for _, arg := range call.Args() {
		if !collect(arg) {
			return nil
		}
	}
	slices.SortStableFunc(parts, func(a, b node) int { return a.cost() - b.cost() })
	if name == operators.LogicalAnd {
		return and(parts)
	}
	return or(parts)
}

func orderOf(name string) order {
	switch name {
	case operators.Equals:
		return equal
	case operators.NotEquals:
		return unequal
	case operators.Less:
		return less
	case operators.LessEquals:
		return lessEqual
	case operators.Greater:
		return greater
	}
	return greaterEqual
}

// mirrored is the operator for swapped operands.
func (o order) mirrored() order {
	return [...]order{equal, unequal, greater, greaterEqual, less, lessEqual}[o]
}

func (p *planner) compare(op order, a, b celast.Expr, sc *scope) node {
	if x, ok := p.number(a, sc); ok {
		if y, ok := p.number(b, sc); ok {
			return &compareNumbers{x, y, op}
		}
		return nil
	}
	if op == equal || op == unequal {
		if n := p.compareTruth(op, a, b, sc); n != nil {
			return n
		}
		if n := p.compareAddress(op, a, b, sc); n != nil {
			return n
		}
	}
	x, okX := p.text(a, sc)
	y, okY := p.text(b, sc)
	switch {
	case !okX || !okY || len(x.steps) > 0 && len(y.steps) > 0:
		return nil
	case len(y.steps) > 0:
		x, y, op = y, x, op.mirrored()
	}
	if x.field == signal.FieldMetadataCorrelationUID && len(x.steps) == 0 && y.field == 0 && !y.elem && y.literal == "" {
		switch op {
		case equal:
			return first{}
		case unequal:
			return not{first{}}
		}
	}
	return &testText{val: x, op: textOp(op), arg: y}
}

// compareTruth plans a comparison with true or false.
func (p *planner) compareTruth(op order, a, b celast.Expr, sc *scope) node {
	for range 2 {
		if b.Kind() == celast.LiteralKind {
			if want, ok := b.AsLiteral().(types.Bool); ok {
				if t := p.tree.GetType(a.ID()); !t.IsExactType(types.BoolType) {
					return nil
				}
				n := p.part(a, sc)
				if n == nil || bool(want) == (op == equal) {
					return n
				}
				return not{n}
			}
		}
		a, b = b, a
	}
	return nil
}

func (p *planner) compareAddress(op order, a, b celast.Expr, sc *scope) node {
	for range 2 {
		if f, ok := p.field(a, sc); ok && f.Kind() == signal.KindIP {
			if text, ok := stringLiteral(b); ok {
				n := p.addresses(f, []string{text})
				if n != nil && op == unequal {
					return not{n}
				}
				return n
			}
		}
		a, b = b, a
	}
	return nil
}

// addresses is nil where one is not written as address fields write it: CEL compares texts.
func (p *planner) addresses(f signal.Field, texts []string) node {
	n := &addressIn{field: f}
	for _, text := range texts {
		a := parseAddr(text)
		if !a.IsValid() || a.String() != text {
			return nil
		}
		n.set = append(n.set, a)
	}
	return n
}

func (p *planner) in(item, list celast.Expr, sc *scope) node {
	if f, ok := p.field(list, sc); ok && f.Kind() == signal.KindStrings {
		if v, ok := p.text(item, sc); ok && len(v.steps) == 0 {
			return &listHas{f, v}
		}
		return nil
	}
	if list.Kind() != celast.ListKind {
		return nil
	}
	elements := list.AsList().Elements()
	if v, ok := p.number(item, sc); ok {
		n := &numberIn{a: v}
		for _, el := range elements {
			lit, ok := el, el.Kind() == celast.LiteralKind
			if !ok {
				return nil
			}
			i, ok := lit.AsLiteral().(types.Int)
			if !ok {
				return nil
			}
			n.set = append(n.set, int64(i))
		}
		slices.Sort(n.set)
		return n
	}
	texts, ok := stringLiterals(elements)
	if !ok {
		return nil
	}
	if f, ok := p.field(item, sc); ok && f.Kind() == signal.KindIP {
		return p.addresses(f, texts)
	}
	v, ok := p.text(item, sc)
	if !ok {
		return nil
	}
	n := &testText{val: v, op: opIn, set: make(map[string]struct{}, len(texts))}
	for _, text := range texts {
		n.set[text] = struct{}{}
	}
	return n
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

func (p *planner) textCall(name string, target, arg celast.Expr, sc *scope) node {
	v, ok := p.text(target, sc)
	if !ok {
		return nil
	}
	if name == "matches" {
		pattern, ok := stringLiteral(arg)
		if !ok {
			return nil
		}
		return &testText{val: v, op: opMatches, re: mustRegex(pattern)}
	}
	a, ok := p.text(arg, sc)
	if !ok || len(a.steps) > 0 {
		return nil
	}
	n := &testText{val: v, arg: a}
	switch name {
	case "startsWith":
		n.op = opPrefix
	case "endsWith":
		n.op = opSuffix
	case "contains":
		n.op = opContains
	case "icontains":
		// lower(v).contains(lower(arg)): the argument is folded here.
		switch {
		case a.elem && sc.items != nil && !slices.ContainsFunc(sc.items, func(t text) bool { return t.field != 0 || hasUpper(t.literal) }):
		case a.elem || a.field != 0:
			return nil
		default:
			n.arg.literal = lower(a.literal)
		}
		n.op = opContains
		if n.val.field == 0 && !n.val.elem {
			return nil
		}
		n.val.steps = append(slices.Clone(v.steps), stepLower)
	}
	return n
}

func (p *planner) cidr(item, prefixes celast.Expr, sc *scope) node {
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
	n := &addressIn{field: f, prefixes: make([]netip.Prefix, 0, len(texts))}
	for _, text := range texts {
		prefix, ok := parsePrefix(text)
		if !ok {
			return nil
		}
		n.prefixes = append(n.prefixes, prefix)
	}
	return n
}

// number returns an integer operand.
func (p *planner) number(e celast.Expr, sc *scope) (number, bool) {
	switch e.Kind() {
	case celast.LiteralKind:
		i, ok := e.AsLiteral().(types.Int)
		return number{literal: int64(i)}, ok
	case celast.IdentKind, celast.SelectKind:
		f, ok := p.field(e, sc)
		return number{field: f}, ok && f.Kind() == signal.KindInt
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
			return number{field: f, list: true}, true
		}
		if v, ok := p.text(of, sc); ok && len(v.steps) == 0 {
			return number{text: &v}, true
		}
	}
	return number{}, false
}

// text returns a string operand. An address field is none: its text would have to be made.
func (p *planner) text(e celast.Expr, sc *scope) (text, bool) {
	switch e.Kind() {
	case celast.LiteralKind:
		s, ok := stringLiteral(e)
		return text{literal: s}, ok
	case celast.IdentKind, celast.SelectKind:
		if sc != nil && e.Kind() == celast.IdentKind && e.AsIdent() == sc.name {
			return text{elem: true}, true
		}
		f, ok := p.field(e, sc)
		return text{field: f}, ok && f.Kind() == signal.KindString
	case celast.CallKind:
		call := e.AsCall()
		var st step
		switch call.FunctionName() {
		case "lower":
			st = stepLower
		case "urldecode":
			st = stepDecode
		default:
			return text{}, false
		}
		v, ok := p.text(call.Args()[0], sc)
		if !ok || v.field == 0 && !v.elem {
			return text{}, false
		}
		v.steps = append(slices.Clone(v.steps), st)
		return v, true
	}
	return text{}, false
}

// loop plans exists and all over a list field or a list of literals. The macros expand to
// a fold whose step is @result || body, or @result && body.
func (p *planner) loop(c celast.ComprehensionExpr) node {
	if c.HasIterVar2() || c.AccuInit().Kind() != celast.LiteralKind || c.LoopStep().Kind() != celast.CallKind ||
		c.Result().Kind() != celast.IdentKind || c.Result().AsIdent() != c.AccuVar() {
		return nil
	}
	begin, ok := c.AccuInit().AsLiteral().(types.Bool)
	step := c.LoopStep().AsCall()
	want := operators.LogicalOr
	if begin {
		want = operators.LogicalAnd
	}
	if !ok || step.FunctionName() != want || len(step.Args()) != 2 ||
		step.Args()[0].Kind() != celast.IdentKind || step.Args()[0].AsIdent() != c.AccuVar() {
		return nil
	}
	n := &loop{every: bool(begin)}
	sc := &scope{name: c.IterVar()}
	if f, ok := p.field(c.IterRange(), nil); ok && f.Kind() == signal.KindStrings {
		n.field = f
	} else if c.IterRange().Kind() == celast.ListKind {
		for _, el := range c.IterRange().AsList().Elements() {
			item, ok := p.text(el, nil)
			if !ok || len(item.steps) > 0 {
				return nil
			}
			n.items = append(n.items, item)
		}
		sc.items = n.items
	} else {
		return nil
	}
	if n.body = p.node(step.Args()[1], sc); n.body == nil {
		return nil
	}
	return n.split()
}

// split takes a loop apart where that is the same: exists over a choice is a choice of
// exists, and all over a conjunction is a conjunction of all. What is left of most loops
// asks one text about many literals.
func (n *loop) split() node {
	with := func(parts []node) []node {
		each := make([]node, len(parts))
		for i, part := range parts {
			l := *n
			l.body = part
			each[i] = l.split()
		}
		slices.SortStableFunc(each, func(a, b node) int { return a.cost() - b.cost() })
		return each
	}
	switch body := n.body.(type) {
	case or:
		if !n.every {
			return or(with(body))
		}
	case and:
		if n.every {
			return and(with(body))
		}
	case *testText:
		if n.field != 0 || body.val.elem || !body.arg.elem || !slices.Contains([]textOp{opEqual, opContains, opPrefix, opSuffix}, body.op) ||
			slices.ContainsFunc(n.items, func(t text) bool { return t.field != 0 }) {
			return n
		}
		any := &textAny{val: body.val, op: body.op, every: n.every}
		for _, item := range n.items {
			any.items = append(any.items, item.literal)
		}
		return any
	}
	return n
}
