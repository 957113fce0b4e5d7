package native

import (
	"slices"

	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// Condition is a compiled condition. It is safe for concurrent use.
type Condition struct {
	match.Condition
	text    string
	classes []signal.Class
	fields  []signal.Field
	celOnly int // parts that run on CEL's evaluator
}

// CELParts returns how many parts of the condition run on CEL's evaluator, each at about a
// microsecond an event.
func (c *Condition) CELParts() int { return c.celOnly }

// Fields returns the fields that the condition reads, in rising order, each once.
func (c *Condition) Fields() []signal.Field { return c.fields }

// Classes returns the only classes whose events can match, as far as the condition says
// so itself (class_uid == 4002 as one of its && parts), or nil for any class.
func (c *Condition) Classes() []signal.Class { return c.classes }

// String returns the condition's text.
func (c *Condition) String() string { return c.text }

// fieldsOf returns the fields that the expression names, in rising order.
func fieldsOf(e celast.Expr) []signal.Field {
	var all []signal.Field
	celast.PreOrderVisit(e, celast.NewExprVisitor(func(e celast.Expr) {
		if f, ok := fieldOf(e); ok {
			all = append(all, f)
		} else if f, ok := presenceOf(e); ok {
			all = append(all, f)
		}
	}))
	slices.Sort(all)
	return slices.Compact(all)
}

// fieldOf returns the field that an expression of a checked tree stands for.
func fieldOf(e celast.Expr) (signal.Field, bool) {
	name, root := dotted(e)
	if root == nil {
		return 0, false
	}
	return signal.Lookup(name)
}

// presenceOf returns the field of a has(field).
func presenceOf(e celast.Expr) (signal.Field, bool) {
	if e.Kind() != celast.IdentKind || len(e.AsIdent()) <= len(hasPrefix) || e.AsIdent()[:len(hasPrefix)] != hasPrefix {
		return 0, false
	}
	return signal.Lookup(e.AsIdent()[len(hasPrefix):])
}

// classesOf returns the classes that an expression confines itself to, nil for any.
func classesOf(e celast.Expr) []signal.Class {
	if e.Kind() != celast.CallKind {
		return nil
	}
	call := e.AsCall()
	switch call.FunctionName() {
	case operators.LogicalAnd:
		var both []signal.Class
		for _, arg := range call.Args() {
			if c := classesOf(arg); c != nil && both == nil {
				both = c
			}
		}
		return both
	case operators.LogicalOr:
		var either []signal.Class
		for _, arg := range call.Args() {
			c := classesOf(arg)
			if c == nil {
				return nil
			}
			either = append(either, c...)
		}
		slices.Sort(either)
		return slices.Compact(either)
	case operators.Equals:
		for i, arg := range call.Args() {
			if f, ok := fieldOf(arg); ok && f == signal.FieldClassUID {
				return classLiterals(call.Args()[1-i])
			}
		}
	case operators.In:
		if f, ok := fieldOf(call.Args()[0]); ok && f == signal.FieldClassUID && call.Args()[1].Kind() == celast.ListKind {
			return classLiterals(call.Args()[1].AsList().Elements()...)
		}
	}
	return nil
}

func classLiterals(items ...celast.Expr) []signal.Class {
	all := []signal.Class{}
	for _, item := range items {
		if item.Kind() != celast.LiteralKind {
			return nil
		}
		n, ok := item.AsLiteral().(types.Int)
		if !ok || n < 0 || n > 1<<16-1 {
			return nil
		}
		all = append(all, signal.Class(n))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
