package match

import (
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// Answer is what a condition makes of an event.
type Answer uint8

// The answers.
const (
	No    Answer = iota
	Yes          //
	Fault        // it cannot be worked out for this event
)

// Of returns Yes for true and No for false.
func Of(b bool) Answer {
	if b {
		return Yes
	}
	return No
}

// String returns the lower-case name.
func (a Answer) String() string { return [...]string{"no", "yes", "fault"}[min(a, Fault)] }

// An Expr is a condition over an event: [Const], [And], [Or], [Not], *[Atom], *[Loop]
// or *[Func].
type Expr interface{ expr() }

// Const is a condition that always has the same answer.
type Const bool

// And holds where all of its parts do; an empty one holds.
type And []Expr

// Or holds where one of its parts does; an empty one does not.
type Or []Expr

// Not holds where its part does not.
type Not struct{ Part Expr }

// Loop holds where Body holds for one of the values of List, or for all of them where Every
// is set. In Body an operand with Elem stands for the value. Loops do not nest.
type Loop struct {
	List  Operand
	Every bool
	Body  Expr
}

// Func is a condition that a dialect evaluates itself.
type Func struct {
	Text   string         // for people
	Fields []signal.Field // that it reads
	Attrs  bool           // whether it reads attributes outside of the field table
	Attr   string         // the only one of these that it reads, where that is known
	Cost   int            // of a call, in nanoseconds, roughly
	// Call answers for an event. It does not keep e, is a function of it alone, and is safe for
	// concurrent use.
	Call func(e *signal.Event) Answer
}

func (Const) expr() {}
func (And) expr()   {}
func (Or) expr()    {}
func (Not) expr()   {}
func (*Atom) expr() {}
func (*Loop) expr() {}
func (*Func) expr() {}

// Walk calls visit for x and everything in it, outer parts first, until visit returns
// false for a part, whose own parts are then passed over.
func Walk(x Expr, visit func(Expr) bool) {
	if !visit(x) {
		return
	}
	switch x := x.(type) {
	case And:
		for _, part := range x {
			Walk(part, visit)
		}
	case Or:
		for _, part := range x {
			Walk(part, visit)
		}
	case Not:
		Walk(x.Part, visit)
	case *Loop:
		Walk(x.Body, visit)
	}
}

// Operands returns the operands of a condition's atoms and loops, in the order in which they stand.
func Operands(x Expr) []Operand {
	var all []Operand
	Walk(x, func(x Expr) bool {
		switch x := x.(type) {
		case *Atom:
			all = append(all, x.On)
			if x.Other != nil {
				all = append(all, *x.Other)
			}
		case *Loop:
			all = append(all, x.List)
		}
		return true
	})
	return all
}

// Fields returns the fields that a condition reads, in rising order, each once. A condition that
// looks at every text of the event reads fields that are not listed: see [ReadsAll].
func Fields(x Expr) []signal.Field {
	var all []signal.Field
	for _, o := range Operands(x) {
		if o.Field != 0 {
			all = append(all, o.Field)
		}
	}
	Walk(x, func(x Expr) bool {
		if f, ok := x.(*Func); ok {
			all = append(all, f.Fields...)
		}
		return true
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// Attrs returns the names of the attributes outside of the field table that a condition
// reads, sorted, each once.
func Attrs(x Expr) []string {
	var all []string
	for _, o := range Operands(x) {
		if o.Attr != "" {
			all = append(all, o.Attr)
		}
	}
	Walk(x, func(x Expr) bool {
		if f, ok := x.(*Func); ok && f.Attr != "" {
			all = append(all, f.Attr)
		}
		return true
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// ReadsAll reports whether a condition looks at every text of the event.
func ReadsAll(x Expr) bool {
	return slices.ContainsFunc(Operands(x), func(o Operand) bool { return o.Any })
}

// ReadsAttrs reports whether a condition reads attributes outside of the field table.
func ReadsAttrs(x Expr) bool {
	reads := false
	for _, o := range Operands(x) {
		reads = reads || o.Attr != "" || o.Any
	}
	Walk(x, func(x Expr) bool {
		f, ok := x.(*Func)
		reads = reads || ok && f.Attrs
		return true
	})
	return reads
}
