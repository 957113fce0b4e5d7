package native

import (
	"errors"
	"slices"
	"sync/atomic"

	celast "github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// ErrFault says that a condition could not be worked out for an event: a division by
// zero, an index out of range, a text that is no number, too much work.
var ErrFault = errors.New("the condition cannot be worked out for this event")

// Condition is a compiled condition. It is safe for concurrent use.
type Condition struct {
	text    string
	root    node
	fields  []signal.Field
	classes []signal.Class
	celOnly int // parts that run on CEL's evaluator
	faults  atomic.Uint64
}

// Eval reports whether the event matches; a fault is no match, and the error ErrFault.
func (c *Condition) Eval(e *signal.Event) (bool, error) {
	switch c.root.eval(e, "") {
	case yes:
		return true, nil
	case fault:
		return false, ErrFault
	}
	return false, nil
}

// Match reports whether the event matches. Faults are no match and are counted.
func (c *Condition) Match(e *signal.Event) bool {
	switch c.root.eval(e, "") {
	case yes:
		return true
	case fault:
		c.faults.Add(1)
	}
	return false
}

// Faults returns how many events Match could not work the condition out for.
func (c *Condition) Faults() uint64 { return c.faults.Load() }

// Expr returns the condition in the form that sets of rules are made of.
func (c *Condition) Expr() match.Expr {
	return &match.Func{Text: c.text, Fields: c.fields, Cost: 10 * c.root.cost(), Call: func(e *signal.Event) match.Answer {
		return match.Answer(c.root.eval(e, "")) // the answers have the same order
	}}
}

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
