package match

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// String returns a condition as text for people. It is not read back.
func String(x Expr) string {
	var b strings.Builder
	describe(&b, x, 0)
	return b.String()
}

// describe writes x; level is how tightly the operator around it binds: 0 nothing, 1 or, 2 and, 3 not.
func describe(b *strings.Builder, x Expr, level int) {
	join := func(parts []Expr, word string, own int, empty string) {
		if len(parts) == 0 {
			b.WriteString(empty)
			return
		}
		if len(parts) == 1 {
			own = level
		}
		if own < level {
			b.WriteByte('(')
			defer b.WriteByte(')')
		}
		for i, part := range parts {
			if i > 0 {
				b.WriteString(word)
			}
			describe(b, part, own)
		}
	}
	switch x := x.(type) {
	case Const:
		b.WriteString(map[bool]string{true: "always", false: "never"}[bool(x)])
	case And:
		join(x, " and ", 2, "always")
	case Or:
		join(x, " or ", 1, "never")
	case Not:
		b.WriteString("not ")
		describe(b, x.Part, 3)
	case *Atom:
		b.WriteString(x.String())
	case *Loop:
		word := "any"
		if x.Every {
			word = "every"
		}
		fmt.Fprintf(b, "%s value of %s (", word, x.List.String())
		describe(b, x.Body, 0)
		b.WriteByte(')')
	case *Func:
		b.WriteString(x.Text)
	}
}

var opWords = [...]string{
	OpExists: "exists", OpEqual: "is", OpPrefix: "starts with", OpSuffix: "ends with", OpContains: "contains", OpGlob: "matches",
	OpPathPrefix: "is below", OpRegex: "matches", OpInt: "is", OpNumber: "is", OpCIDR: "is in", OpCompare: "",
}

var orderWords = [...]string{Equal: "=", Unequal: "!=", Less: "<", LessEqual: "<=", Greater: ">", GreaterEqual: ">="}

// String returns the order as an operator, as in "<=".
func (o Order) String() string { return orderWords[min(o, GreaterEqual)] }

// maxShown bounds the constants of an atom that are shown.
const maxShown = 8

// String returns the atom as text for people: "process.cmd_line contains any of 'a', 'b' (any case)".
func (a *Atom) String() string {
	var b strings.Builder
	b.WriteString(a.On.String())
	if a.Op == OpCompare {
		return b.String() + " " + a.Order.String() + " " + a.Other.String()
	}
	b.WriteString(" " + opWords[a.Op])
	var shown []string
	add := func(s string) {
		if len(shown) <= maxShown {
			shown = append(shown, s)
		}
	}
	switch {
	case a.Other != nil:
		add(a.Other.String())
	case a.Op == OpRegex:
		add("/" + a.Regex.String() + "/")
	}
	for _, t := range a.Texts {
		add("'" + t + "'")
	}
	for _, r := range a.Ints {
		if a.On.Field.Kind() == signal.KindBool && r.Min == r.Max {
			add(strconv.FormatBool(r.Min != 0))
			continue
		}
		add(r.String())
	}
	for _, r := range a.Numbers {
		add(r.String())
	}
	for _, p := range a.Prefixes {
		add(p.String())
	}
	if len(shown) > 1 {
		b.WriteString(" any of")
	}
	if len(shown) > maxShown {
		total := len(a.Texts) + len(a.Ints) + len(a.Numbers) + len(a.Prefixes)
		shown[maxShown] = fmt.Sprintf("%d more", total-maxShown)
	}
	if len(shown) > 0 {
		b.WriteString(" " + strings.Join(shown, ", "))
	}
	if a.Fold {
		b.WriteString(" (any case)")
	}
	return b.String()
}

// String returns the range as text: "5", "> 5", "5 to 7".
func (r IntRange) String() string {
	low, high := strconv.FormatInt(r.Min, 10), strconv.FormatInt(r.Max, 10)
	all := IntOrder(GreaterEqual, 0)[0].Max
	switch {
	case r.Min == r.Max:
		return low
	case r.Max == all:
		return "at least " + low
	case r.Min == -all-1:
		return "at most " + high
	}
	return low + " to " + high
}

// String returns the range as text: "5", "over 5", "5 to 7".
func (r NumberRange) String() string {
	text := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	whole := NumberOrder(Unequal, 0)
	low, high := whole[0].Min, whole[1].Max
	switch {
	case r.Min == r.Max:
		return text(r.Min)
	case r.Max == high && r.MinOpen:
		return "over " + text(r.Min)
	case r.Max == high:
		return "at least " + text(r.Min)
	case r.Min == low && r.MaxOpen:
		return "under " + text(r.Max)
	case r.Min == low:
		return "at most " + text(r.Max)
	}
	return text(r.Min) + " to " + text(r.Max)
}

var stepWords = map[Step]string{StepLower: "lower", StepUpper: "upper", StepURLDecode: "urldecode", StepBase64: "base64", StepBasename: "basename", StepFolder: "folder", StepProgram: "program", StepArgs: "args", StepCommand: "command"}

// String returns the operand as text: "process.cmd_line", "lower(urldecode(http_request.url.path))".
func (o Operand) String() string {
	name := o.Attr
	switch {
	case o.Field != 0:
		name = o.Field.Name()
	case o.Any:
		name = "any text of the event"
	case o.Elem:
		name = "value"
	}
	if o.At > 0 {
		name += "[" + strconv.Itoa(o.At) + "]"
	}
	for _, s := range o.Steps {
		name = stepWords[s] + "(" + name + ")"
	}
	switch o.Measure {
	case MeasureCount:
		name = "count(" + name + ")"
	case MeasureBytes, MeasureRunes:
		name = "length(" + name + ")"
	}
	return name
}
