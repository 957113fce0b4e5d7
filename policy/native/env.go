package native

import (
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common"
	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// The bounds of a condition.
const (
	maxConditionSize  = 16 << 10 // characters
	maxConditionDepth = 60       // nested expressions
	maxLeafCost       = 200_000  // CEL cost units of one part that runs on CEL's evaluator
)

// hasPrefix begins the names of the variables that has(field) becomes. No expression can
// write it: '@' is not part of a CEL identifier.
const hasPrefix = "@has:"

// newEnv declares the fields of events as variables under their dotted names, and
// the functions of the dialect. Everything in it is a function of its arguments: what
// would read a clock or a time zone file is not declared or refused by restrict.
func newEnv() (*cel.Env, error) {
	opts := []cel.EnvOption{
		cel.StdLib(),
		cel.ClearMacros(),
		cel.Macros(cel.ExistsMacro, cel.AllMacro, cel.ExistsOneMacro, cel.FilterMacro, cel.GlobalMacro("has", 1, expandHas),
			cel.GlobalMacro("request", 0, expandRequest), cel.GlobalMacro("response", 0, expandResponse), cel.GlobalMacro("attr", 1, expandAttr)),
		cel.Variable(attrs, cel.MapType(cel.StringType, cel.StringType)),
		cel.CrossTypeNumericComparisons(true),
		cel.HomogeneousAggregateLiterals(),
		cel.DefaultUTCTimeZone(true),
		cel.ParserRecursionLimit(maxConditionDepth),
		cel.ParserExpressionSizeLimit(maxConditionSize),
	}
	for _, f := range signal.Fields() {
		opts = append(opts, cel.Variable(f.Name(), celType(f.Kind())), cel.Variable(hasPrefix+f.Name(), cel.BoolType))
	}
	return cel.NewCustomEnv(append(opts, functions()...)...)
}

func celType(k signal.Kind) *cel.Type {
	switch k {
	case signal.KindInt:
		return cel.IntType
	case signal.KindBool:
		return cel.BoolType
	case signal.KindFloat:
		return cel.DoubleType
	case signal.KindTime:
		return cel.TimestampType
	case signal.KindStrings:
		return cel.ListType(cel.StringType)
	}
	return cel.StringType // text, and addresses in their canonical form
}

// functions are the dialect's own. Their names, with those of CEL, are what an unknown
// name is compared with.
func functions() []cel.EnvOption {
	str, list := cel.StringType, cel.ListType(cel.StringType)
	text := func(name string, f func(string) string) cel.EnvOption {
		return cel.Function(name, cel.Overload(name+"_string", []*cel.Type{str}, str,
			cel.UnaryBinding(func(v ref.Val) ref.Val {
				s, ok := v.(types.String)
				if !ok {
					return types.MaybeNoSuchOverloadErr(v)
				}
				return types.String(f(string(s)))
			})))
	}
	return []cel.EnvOption{
		text("lower", lower),
		text("urldecode", urldecode),
		cel.Function("icontains", cel.MemberOverload("string_icontains_string", []*cel.Type{str, str}, cel.BoolType,
			cel.BinaryBinding(func(s, sub ref.Val) ref.Val {
				a, okA := s.(types.String)
				b, okB := sub.(types.String)
				if !okA || !okB {
					return types.MaybeNoSuchOverloadErr(sub)
				}
				return types.Bool(icontains(string(a), string(b)))
			}))),
		cel.Function("private", cel.Overload("private_string", []*cel.Type{str}, cel.BoolType,
			cel.UnaryBinding(func(v ref.Val) ref.Val {
				s, ok := v.(types.String)
				if !ok {
					return types.MaybeNoSuchOverloadErr(v)
				}
				return types.Bool(private(parseAddr(string(s))))
			}))),
		cel.Function("cidr",
			cel.Overload("cidr_string_string", []*cel.Type{str, str}, cel.BoolType,
				cel.BinaryBinding(func(addr, prefix ref.Val) ref.Val {
					a, okA := addr.(types.String)
					p, okP := prefix.(types.String)
					if !okA || !okP {
						return types.MaybeNoSuchOverloadErr(addr)
					}
					return types.Bool(inPrefix(parseAddr(string(a)), string(p)))
				})),
			cel.Overload("cidr_string_list", []*cel.Type{str, list}, cel.BoolType,
				cel.BinaryBinding(func(addr, prefixes ref.Val) ref.Val {
					s, okS := addr.(types.String)
					l, okL := prefixes.(traits.Lister)
					if !okS || !okL {
						return types.MaybeNoSuchOverloadErr(addr)
					}
					a := parseAddr(string(s))
					for it := l.Iterator(); it.HasNext() == types.True; {
						if p, ok := it.Next().(types.String); ok && inPrefix(a, string(p)) {
							return types.True
						}
					}
					return types.False
				}))),
	}
}

// expandHas turns has(http_request.url.path) into a variable that says whether the field
// is set.
func expandHas(eh cel.MacroExprFactory, _ celast.Expr, args []celast.Expr) (celast.Expr, *common.Error) {
	name, root := dotted(args[0])
	if root == nil {
		return nil, eh.NewError(args[0].ID(), "has() takes the name of a field, as in has(http_request.user_agent)")
	}
	if _, ok := signal.Lookup(name); !ok {
		return nil, eh.NewError(root.ID(), unknownField(name))
	}
	return eh.NewIdent(hasPrefix + name), nil
}

// expandRequest turns request() into what holds for a request that waits for a verdict:
// it has no event before it, which a response has, and the edge has not refused it
// already. Without it a rule would count a response, or a request of a client
// that is blocked, once more.
func expandRequest(eh cel.MacroExprFactory, _ celast.Expr, _ []celast.Expr) (celast.Expr, *common.Error) {
	refused := eh.NewCall(operators.In, eh.NewIdent(signal.FieldEdgeError.Name()),
		eh.NewList(eh.NewLiteral(types.String("blocklist")), eh.NewLiteral(types.String("malformed"))))
	return eh.NewCall(operators.LogicalAnd, caused(eh, operators.Equals), eh.NewCall(operators.LogicalNot, refused)), nil
}

// expandResponse turns response() into what holds for the answer to a request.
func expandResponse(eh cel.MacroExprFactory, _ celast.Expr, _ []celast.Expr) (celast.Expr, *common.Error) {
	return caused(eh, operators.NotEquals), nil
}

func caused(eh cel.MacroExprFactory, op string) celast.Expr {
	return eh.NewCall(op, eh.NewIdent(signal.FieldMetadataCorrelationUID.Name()), eh.NewLiteral(types.String("")))
}

// dotted returns the name that a chain of selections writes, and the identifier it begins
// with, or nil where the expression is no such chain.
func dotted(e celast.Expr) (string, celast.Expr) {
	switch e.Kind() {
	case celast.IdentKind:
		return trimDot(e.AsIdent()), e
	case celast.SelectKind:
		sel := e.AsSelect()
		if sel.IsTestOnly() {
			return "", nil
		}
		name, root := dotted(sel.Operand())
		if root == nil {
			return "", nil
		}
		return name + "." + sel.FieldName(), root
	}
	return "", nil
}

func trimDot(name string) string {
	if name != "" && name[0] == '.' {
		return name[1:]
	}
	return name
}

// attrs is the variable that attr(name) looks into.
const attrs = "@attrs"

// expandAttr turns attr("Image") into a look into the attributes that have no field.
func expandAttr(eh cel.MacroExprFactory, _ celast.Expr, args []celast.Expr) (celast.Expr, *common.Error) {
	if name, ok := stringLiteral(args[0]); !ok || name == "" {
		return nil, eh.NewError(args[0].ID(), `attr() takes the name of an attribute in quotes, as in attr("EventID")`)
	}
	return eh.NewCall(operators.Index, eh.NewIdent(attrs), args[0]), nil
}

// attrOf returns the name of an attr(name).
func attrOf(e celast.Expr) (string, bool) {
	if e.Kind() != celast.CallKind || e.AsCall().FunctionName() != operators.Index {
		return "", false
	}
	args := e.AsCall().Args()
	if args[0].Kind() != celast.IdentKind || args[0].AsIdent() != attrs {
		return "", false
	}
	return stringLiteral(args[1])
}

// readsAttrs reports whether an expression has an attr(name).
func readsAttrs(e celast.Expr) bool {
	reads := false
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		_, ok := attrOf(e)
		reads = reads || ok
	}))
	return reads
}

// attributes are an event's attributes outside of the field table, as a map in which every
// name is: "" stands for those that the event does not have.
type attributes struct {
	traits.Mapper // an empty map, for what attr() never asks
	e             *signal.Event
}

// Get returns an attribute.
func (a attributes) Get(name ref.Val) ref.Val {
	n, ok := name.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(name)
	}
	v, _ := a.e.Unmapped(string(n))
	return types.String(v)
}

// Find returns an attribute; there always is one.
func (a attributes) Find(name ref.Val) (ref.Val, bool) { return a.Get(name), true }

// evaluator returns a function that runs a program over an event. It is safe for concurrent use.
func evaluator(program cel.Program) func(*signal.Event) match.Answer {
	return func(e *signal.Event) match.Answer {
		a := activations.Get().(*activation)
		a.e = e
		v, _, err := program.Eval(a) // it recovers from panics
		a.e = nil
		activations.Put(a)
		if b, ok := v.(types.Bool); ok && err == nil {
			return match.Of(bool(b))
		}
		return match.Fault
	}
}

var activations = sync.Pool{New: func() any { return new(activation) }}

// activation hands an event's fields to CEL's evaluator.
type activation struct{ e *signal.Event }

// ResolveName returns the field's value, its kind's zero where it is not set.
func (a *activation) ResolveName(name string) (any, bool) {
	if f, ok := signal.Lookup(name); ok {
		return a.value(f), true
	}
	if name == attrs {
		return attributes{noAttributes, a.e}, true
	}
	if len(name) > len(hasPrefix) && name[:len(hasPrefix)] == hasPrefix {
		f, ok := signal.Lookup(name[len(hasPrefix):])
		return types.Bool(a.e.Has(f)), ok
	}
	return nil, false
}

// noAttributes is an empty map.
var noAttributes = types.NewStringStringMap(types.DefaultTypeAdapter, map[string]string{})

// Parent returns nil: an event has nothing around it.
func (a *activation) Parent() cel.Activation { return nil }

func (a *activation) value(f signal.Field) ref.Val {
	switch f.Kind() {
	case signal.KindInt:
		return types.Int(a.e.Int(f))
	case signal.KindBool:
		return types.Bool(a.e.Bool(f))
	case signal.KindFloat:
		return types.Double(a.e.Float(f))
	case signal.KindTime:
		return types.Timestamp{Time: a.e.Timestamp(f)}
	case signal.KindStrings:
		return types.NewStringList(types.DefaultTypeAdapter, a.e.Strings(f))
	case signal.KindIP:
		if addr := a.e.IP(f); addr.IsValid() {
			return types.String(addr.String())
		}
		return types.String("")
	}
	return types.String(a.e.Str(f))
}
