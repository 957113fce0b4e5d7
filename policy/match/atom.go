package match

import (
	"math"
	"net/netip"
	"regexp"

	"github.com/testudo-sec/testudo/signal"
)

// Operand says which values of an event an atom looks at. Where Field and Attr are both
// set, the values are those of both: a parser that could not fit a value into the field left it
// under its own name.
type Operand struct {
	Field signal.Field // 0 for none
	// Attr is the name of an attribute outside of the field table, "" for none. Indexes
	// in the event's names are passed over: "a.items.cidr" also has the values of
	// "a.items[0].cidr".
	Attr string
	Any  bool // every text of the event but what testudo adds itself
	Elem bool // the value of the loop around it

	// At chooses one element of a list field, from 1; 0 stands for all of them.
	At int
	// Steps change each text before it is looked at, innermost first. What a step cannot be done to
	// has no value.
	Steps []Step
	// Measure makes a number of the texts.
	Measure Measure
}

// Step is a change that a text goes through before it is looked at.
type Step uint8

// The steps.
const (
	StepLower     Step = iota + 1 // ASCII letters to lower case
	StepUpper                     // ASCII letters to upper case
	StepURLDecode                 // percent-encoding undone once (RFC 3986, section 2.1); what is no valid escape stays
	StepBase64                    // base64 undone (RFC 4648, section 4, padding optional); other texts have no value
	StepBasename                  // what follows the last slash
	StepFolder                    // what stands before the last slash, "/" where that is nothing
	StepProgram                   // of a command line, its first word
	StepArgs                      // of a command line, what follows its first word
	StepCommand                   // of a command line, with the first word's folder left out: "/bin/sh -c x" is "sh -c x"
)

// Measure makes a number of an operand's texts.
type Measure uint8

// The measures.
const (
	MeasureNone  Measure = iota
	MeasureCount         // how many values there are, 0 where there are none: it always has a value
	MeasureBytes         // length of each text in bytes
	MeasureRunes         // length of each text in characters
)

// Op is what an atom asks about a value.
type Op uint8

// The operators. Text operators see a number, an address, a time or a truth as its text: decimal,
// canonical, RFC 3339, "true" or "false".
const (
	OpExists     Op = iota // there is a value
	OpEqual                // it is one of Texts
	OpPrefix               // it begins with one of Texts
	OpSuffix               // it ends with one of Texts
	OpContains             // one of Texts is in it
	OpGlob                 // one of Texts, a pattern, fits all of it: see [GlobMatch]
	OpPathPrefix           // it is one of Texts, which are paths without a slash at their end, or lies below one
	OpRegex                // Regex matches some of it
	OpInt                  // it is a whole number in one of Ints
	OpNumber               // it is a number in one of Numbers
	OpCIDR                 // it is an address in one of Prefixes
	OpCompare              // it is a number that compares with a number of Other as Order says
)

// Order is how [OpCompare] compares.
type Order uint8

// The orders.
const (
	Equal Order = iota
	Unequal
	Less
	LessEqual
	Greater
	GreaterEqual
)

// Holds reports whether the order holds for a comparison with the result c, as of [cmp.Compare].
func (o Order) Holds(c int) bool {
	switch o {
	case Equal:
		return c == 0
	case Unequal:
		return c != 0
	case Less:
		return c < 0
	case LessEqual:
		return c <= 0
	case Greater:
		return c > 0
	}
	return c >= 0
}

// Atom asks one thing about the values of one operand. It holds where it holds for one of
// the values and one of the constants.
type Atom struct {
	On Operand
	Op Op
	// Fold compares texts without regard to case. Texts are folded then: [Text] makes them so.
	Fold bool

	Texts    []string       // OpEqual to OpPathPrefix; unused where Other is set
	Regex    *regexp.Regexp // OpRegex
	Ints     []IntRange     // OpInt
	Numbers  []NumberRange  // OpNumber
	Prefixes []netip.Prefix // OpCIDR; masked
	Other    *Operand       // OpEqual to OpContains: its values stand for Texts; OpCompare
	Order    Order          // OpCompare
}

// IntRange holds the whole numbers from Min to Max, both included.
type IntRange struct{ Min, Max int64 }

// IntIs returns the range of one number.
func IntIs(n int64) IntRange { return IntRange{n, n} }

// IntOrder returns the ranges of the whole numbers that stand in that order to n.
func IntOrder(o Order, n int64) []IntRange {
	switch o {
	case Equal:
		return []IntRange{{n, n}}
	case Unequal:
		return append(IntOrder(Less, n), IntOrder(Greater, n)...)
	case Less:
		if n == math.MinInt64 {
			return nil
		}
		return []IntRange{{math.MinInt64, n - 1}}
	case LessEqual:
		return []IntRange{{math.MinInt64, n}}
	case Greater:
		if n == math.MaxInt64 {
			return nil
		}
		return []IntRange{{n + 1, math.MaxInt64}}
	}
	return []IntRange{{n, math.MaxInt64}}
}

// NumberRange holds the numbers between Min and Max; an end belongs to it unless it is open.
type NumberRange struct {
	Min, Max         float64
	MinOpen, MaxOpen bool
}

// Has reports whether v lies in the range.
func (r NumberRange) Has(v float64) bool {
	return (v > r.Min || v == r.Min && !r.MinOpen) && (v < r.Max || v == r.Max && !r.MaxOpen)
}

// NumberOrder returns the ranges of the numbers that stand in that order to n.
func NumberOrder(o Order, n float64) []NumberRange {
	low, high := math.Inf(-1), math.Inf(1)
	switch o {
	case Equal:
		return []NumberRange{{Min: n, Max: n}}
	case Unequal:
		return []NumberRange{{Min: low, Max: n, MaxOpen: true}, {Min: n, Max: high, MinOpen: true}}
	case Less:
		return []NumberRange{{Min: low, Max: n, MaxOpen: true}}
	case LessEqual:
		return []NumberRange{{Min: low, Max: n}}
	case Greater:
		return []NumberRange{{Min: n, Max: high, MinOpen: true}}
	}
	return []NumberRange{{Min: n, Max: high}}
}

// Exists asks whether a field is set.
func Exists(f signal.Field) *Atom { return &Atom{On: Operand{Field: f}, Op: OpExists} }

// Text asks about the texts of an operand: an operator from OpEqual to OpPathPrefix.
func Text(on Operand, op Op, fold bool, texts ...string) *Atom {
	if fold {
		folded := make([]string, len(texts))
		for i, t := range texts {
			folded[i] = Fold(t)
		}
		texts = folded
	}
	return &Atom{On: on, Op: op, Fold: fold, Texts: texts}
}

// Int asks whether an operand is a whole number in one of the ranges.
func Int(on Operand, ranges ...IntRange) *Atom { return &Atom{On: on, Op: OpInt, Ints: ranges} }
