// Package match holds the one intermediate form that every rule dialect compiles to, and
// the index that makes judging by thousands of rules cost little more than by a few.
//
// A condition is an [Expr]: [And], [Or] and [Not] over [Atom] values, which ask one thing
// about one value of the event ("process.cmd_line contains one of these"). What has no atom
// is a [Func], which a dialect evaluates itself. [Eval] says by the form's own definition
// whether an event matches; [Index] gives the same answers for many conditions at
// once, and the property tests hold the two against each other.
//
// The meaning of the form, which dialects build their own upon:
//
//   - an operand has any number of values: none where the event lacks the field, several
//     where it is a list. An atom holds if it holds for one of them, so that an atom over
//     what is not there is false, and Not of it true;
//   - a comparison of texts is by bytes, and with Fold by letters without regard to case:
//     each character by Unicode's simple lower case ([Fold]);
//   - there are three answers. A [Func] may fault, as on a division by zero. And is No where
//     a part is No, Or is Yes where a part is Yes, whatever faults beside it, in any order;
//   - regular expressions are RE2's: time is linear in the text.
//
// How the index works is said at [Index], why so in docs/decisions/0016-match-index.md. Its files follow the way of a rule (normal.go:
// equal parts become one; spec.go, required.go: what a value must have; access.go, price.go: which of it to wait for; build.go: tables)
// and of an event (scratch.go: memory and values; column.go: look-ups; answer.go: evaluation).
//
// Expressions are immutable once they are made, and everything here is safe for concurrent use
// unless it says otherwise.
package match
