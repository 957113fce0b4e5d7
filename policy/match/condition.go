package match

import (
	"errors"

	"github.com/testudo-sec/testudo/signal"
)

// ErrFault says that a condition could not be worked out for an event: a division by
// zero, an index out of range, a text that is no number, too much work.
var ErrFault = errors.New("the condition cannot be worked out for this event")

// Condition is a condition that stands alone, as that of a hunt.
type Condition struct {
	expr   Expr
	fields []signal.Field
	attrs  bool
	all    bool
}

// NewCondition returns the condition of an expression.
func NewCondition(x Expr) *Condition {
	return &Condition{expr: x, fields: Fields(x), attrs: ReadsAttrs(x), all: ReadsAll(x)}
}

// Expr returns the expression.
func (c *Condition) Expr() Expr { return c.expr }

// Eval reports whether the event matches; a fault is no match, and the error ErrFault.
func (c *Condition) Eval(e *signal.Event) (bool, error) {
	switch Eval(c.expr, e) {
	case Yes:
		return true, nil
	case Fault:
		return false, ErrFault
	}
	return false, nil
}

// Fields returns the fields that the condition reads, in rising order, each once.
func (c *Condition) Fields() []signal.Field { return c.fields }

// ReadsAttrs reports whether it reads attributes outside of the field table.
func (c *Condition) ReadsAttrs() bool { return c.attrs }

// ReadsAll reports whether it looks at every text of the event.
func (c *Condition) ReadsAll() bool { return c.all }
