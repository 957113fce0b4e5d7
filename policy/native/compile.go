package native

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/cel-go/cel"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// mistake is what is wrong with a condition.
type mistake struct {
	offset  int // in characters from the condition's begin
	message string
	hint    string
}

// compile returns the compiled condition, or everything that is wrong with it.
func (d *Dialect) compile(text string) (*Condition, []mistake) {
	tree, env, mistakes := d.check(text)
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	p := planner{env: env, tree: tree}
	expr := p.plan(tree.Expr())
	c := &Condition{Condition: *match.NewCondition(expr), text: text, classes: classesOf(tree.Expr()), fields: fieldsOf(tree.Expr()), celOnly: p.leaves}
	if p.err != nil {
		return nil, []mistake{{message: p.err.Error()}}
	}
	return c, nil
}

// check parses and type-checks the text.
func (d *Dialect) check(text string) (*celast.AST, *cel.Env, []mistake) {
	if strings.TrimSpace(text) == "" {
		return nil, nil, []mistake{{message: "the condition is empty", hint: "write an expression, as in http_response.code >= 500"}}
	}
	env, err := d.env()
	if err != nil {
		return nil, nil, []mistake{{message: err.Error()}}
	}
	lines := lineOffsets(text)
	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return nil, nil, fromIssues(issues, lines, true)
	}
	c := checker{env: env, tree: parsed.NativeRep(), lines: lines}
	c.names(c.tree.Expr(), nil)
	if len(c.mistakes) > 0 {
		return nil, nil, c.mistakes
	}
	checked, issues := env.Check(parsed)
	if issues.Err() != nil {
		return nil, nil, fromIssues(issues, lines, false)
	}
	c.tree = checked.NativeRep()
	if t := checked.OutputType(); !t.IsExactType(types.BoolType) {
		c.report(c.tree.Expr(), "compare it with something, as in waf.score >= 5", "the condition gives %s, not true or false", typeName(t.String()))
	}
	c.restrict(c.tree.Expr(), 0)
	return c.tree, env, c.mistakes
}

func lineOffsets(text string) []int {
	offsets, n := []int{0}, 0
	for _, r := range text {
		n++
		if r == '\n' {
			offsets = append(offsets, n)
		}
	}
	return offsets
}

func offset(lines []int, line, column int) int {
	if line < 1 || line > len(lines) {
		return 0
	}
	return lines[line-1] + column
}

// checker looks at what CEL itself would say less clearly, or would allow.
type checker struct {
	env      *cel.Env
	tree     *celast.AST
	lines    []int
	mistakes []mistake
}

func (c *checker) report(at celast.Expr, hint, format string, args ...any) {
	if len(c.mistakes) >= 20 {
		return
	}
	// A call's own place is its operator or parenthesis: people look for its begin.
	first := 0
	found := false
	celast.PreOrderVisit(at, celast.NewExprVisitor(func(e celast.Expr) {
		l := c.tree.SourceInfo().GetStartLocation(e.ID())
		if l.Line() < 1 || e.Kind() == celast.SelectKind {
			return
		}
		if o := offset(c.lines, l.Line(), l.Column()); !found || o < first {
			first, found = o, true
		}
	}))
	c.mistakes = append(c.mistakes, mistake{first, fmt.Sprintf(format, args...), hint})
}

// unknownField is the message for a name that is no field's.
func unknownField(name string) string {
	m := fmt.Sprintf("unknown field %q", policy.Printable(name, 100))
	if near := spell.Nearest(name, signal.FieldNames()); near != "" {
		m += fmt.Sprintf("; did you mean %q?", near)
	}
	return m
}

// names reports fields and functions that do not exist. bound holds the variables
// of the comprehensions around the expression.
func (c *checker) names(e celast.Expr, bound []string) {
	switch e.Kind() {
	case celast.IdentKind, celast.SelectKind:
		name, root := dotted(e)
		if root == nil {
			c.names(e.AsSelect().Operand(), bound)
			return
		}
		first, _, _ := strings.Cut(name, ".")
		if strings.HasPrefix(name, "@") || slices.Contains(bound, first) || isTypeName(name) {
			return
		}
		for prefix := name; ; {
			if _, ok := signal.Lookup(prefix); ok {
				return // what is selected from it, the type check judges
			}
			cut := strings.LastIndexByte(prefix, '.')
			if cut < 0 {
				break
			}
			prefix = prefix[:cut]
		}
		c.report(root, "", "%s", unknownField(name))
	case celast.CallKind:
		call := e.AsCall()
		if !c.env.HasFunction(call.FunctionName()) {
			c.unknownFunction(e, call)
		}
		if call.IsMemberFunction() {
			c.names(call.Target(), bound)
		}
		for _, arg := range call.Args() {
			c.names(arg, bound)
		}
	case celast.ListKind:
		for _, item := range e.AsList().Elements() {
			c.names(item, bound)
		}
	case celast.MapKind:
		for _, en := range e.AsMap().Entries() {
			c.names(en.AsMapEntry().Key(), bound)
			c.names(en.AsMapEntry().Value(), bound)
		}
	case celast.ComprehensionKind:
		loop := e.AsComprehension()
		c.names(loop.IterRange(), bound)
		inner := append(slices.Clone(bound), loop.IterVar(), loop.AccuVar())
		c.names(loop.LoopStep(), inner)
		c.names(loop.Result(), inner)
	}
}

func isTypeName(name string) bool {
	switch name {
	case "bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint":
		return true
	}
	return false
}

func (c *checker) unknownFunction(e celast.Expr, call celast.CallExpr) {
	name := call.FunctionName()
	hint := ""
	switch name {
	case "exists", "all", "exists_one", "filter":
		hint = fmt.Sprintf("write list.%s(x, condition on x)", name)
		c.report(e, hint, "%s() takes a variable and a condition", name)
		return
	case "has":
		c.report(e, "write has(http_request.user_agent)", "has() takes the name of one field")
		return
	case "map":
		c.report(e, "use exists, all, exists_one or filter", "map() is not part of conditions")
		return
	}
	var known []string
	for f := range c.env.Functions() {
		if f[0] >= 'a' && f[0] <= 'z' {
			known = append(known, f)
		}
	}
	slices.Sort(known)
	if near := spell.Nearest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	c.report(e, hint, "unknown function %q", policy.Printable(name, 100))
}

// restrict refuses what CEL allows and conditions do not: work without a bound, results
// that depend on the machine, and comparisons that can never hold.
func (c *checker) restrict(e celast.Expr, loops int) {
	switch e.Kind() {
	case celast.SelectKind:
		if _, ok := fieldOf(e); !ok {
			c.restrict(e.AsSelect().Operand(), loops)
		}
	case celast.CallKind:
		call := e.AsCall()
		c.restrictCall(e, call)
		if call.IsMemberFunction() {
			c.restrict(call.Target(), loops)
		}
		for _, arg := range call.Args() {
			c.restrict(arg, loops)
		}
	case celast.ListKind:
		for _, item := range e.AsList().Elements() {
			c.restrict(item, loops)
		}
	case celast.MapKind:
		for _, en := range e.AsMap().Entries() {
			c.restrict(en.AsMapEntry().Key(), loops)
			c.restrict(en.AsMapEntry().Value(), loops)
		}
	case celast.StructKind:
		c.report(e, "", "message literals are not part of conditions")
	case celast.ComprehensionKind:
		if loops > 0 {
			c.report(e, "write two conditions joined by &&", "exists, all, exists_one and filter cannot stand inside of each other")
			return
		}
		loop := e.AsComprehension()
		c.restrict(loop.IterRange(), loops)
		c.restrict(loop.LoopStep(), loops+1)
	}
}

func (c *checker) restrictCall(e celast.Expr, call celast.CallExpr) {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case "dyn":
		c.report(e, "", "dyn() is not part of conditions")
	case "matches":
		pattern := args[len(args)-1]
		if text, ok := stringLiteral(pattern); !ok {
			c.report(pattern, "write it out in quotes", "the pattern of matches() must be a literal")
		} else if _, err := match.CompileRegex(text); err != nil {
			c.report(pattern, "", "%v", err)
		}
	case "cidr":
		prefixes := []celast.Expr{args[1]}
		if args[1].Kind() == celast.ListKind {
			prefixes = args[1].AsList().Elements()
		}
		for _, p := range prefixes {
			if text, ok := stringLiteral(p); !ok {
				c.report(p, `as in cidr(src_endpoint.ip, "10.0.0.0/8")`, "the prefix of cidr() must be a literal")
			} else if _, ok := parsePrefix(text); !ok {
				c.report(p, `as in "10.0.0.0/8" or "2001:db8::/32"`, "%q is no CIDR prefix", policy.Printable(text, 60))
			}
		}
	case operators.Equals, operators.NotEquals:
		for i, arg := range args {
			if f, ok := fieldOf(arg); ok && f.Kind() == signal.KindIP {
				c.address(args[1-i])
			}
		}
	case operators.In:
		if f, ok := fieldOf(args[0]); ok && f.Kind() == signal.KindIP && args[1].Kind() == celast.ListKind {
			for _, item := range args[1].AsList().Elements() {
				c.address(item)
			}
		}
	default:
		// getHours("Europe/Berlin") would read the machine's time zone files.
		if call.IsMemberFunction() && strings.HasPrefix(name, "get") && len(args) == 1 {
			if zone, ok := stringLiteral(args[0]); !ok || (zone != "UTC" && !fixedZone(zone)) {
				c.report(args[0], `write a fixed offset, as in "+02:00", or "UTC"`, "time zones by name are not part of conditions")
			}
		}
	}
}

func fixedZone(zone string) bool {
	return len(zone) == 6 && (zone[0] == '+' || zone[0] == '-') && zone[3] == ':'
}

// address reports a literal that no address field can ever equal.
func (c *checker) address(e celast.Expr) {
	text, ok := stringLiteral(e)
	if !ok || text == "" {
		return
	}
	a := parseAddr(text)
	switch {
	case !a.IsValid() && strings.Contains(text, "/"):
		c.report(e, fmt.Sprintf("use cidr(field, %q)", policy.Printable(text, 60)), "%q is a prefix, not an address", policy.Printable(text, 60))
	case !a.IsValid():
		c.report(e, "", "%q is no address", policy.Printable(text, 60))
	case a.String() != text:
		c.report(e, fmt.Sprintf("write %q", a), "%q is not how addresses are written here", policy.Printable(text, 60))
	}
}

func stringLiteral(e celast.Expr) (string, bool) {
	if e.Kind() != celast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}
