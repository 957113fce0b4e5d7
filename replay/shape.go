package replay

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// candidates returns exceptions of which each frees the event from the rule. They are made of the values for which the
// rule holds and of those that say what the event is, exactly and by shape, on the event's route.
func candidates(r *policy.Rule, e *signal.Event) []Exception {
	fields := heldFields(r.Condition, e)
	what, where := signal.FieldWAFRules, signal.FieldWAFTargets
	api := slices.ContainsFunc(fields, isAPI)
	switch { // a sum stands for what was found, and where
	case api:
		what, where = signal.FieldAPIViolations, signal.FieldAPITargets
		fields = append([]signal.Field{what, where}, fields...)
	case slices.ContainsFunc(fields, isWAF):
		fields = append([]signal.Field{what, where}, fields...)
	}
	fields = slices.DeleteFunc(fields, says)
	held := append(termsOf(e, fields), attrTerms(e, heldAttrs(r.Condition, e))...)
	context := termsOf(e, slices.DeleteFunc(contextFields(), func(f signal.Field) bool { return slices.Contains(fields, f) }))
	scope := termsOf(e, []signal.Field{signal.FieldEdgeRoute})
	of := func(f signal.Field) []Term {
		return slices.DeleteFunc(slices.Concat(held, context), func(t Term) bool { return t.Field != f })
	}
	place := placeOf(e)
	if api && e.Has(signal.FieldAPIOperation) {
		place = signal.FieldAPIOperation
	}
	places := of(place)
	var out []Exception
	add := func(context bool, terms ...Term) {
		x := Exception{Terms: slices.Concat(scope, terms), context: context}
		if len(out) < maxCandidates && match.Eval(x.Expr(), e) == match.Yes {
			out = append(out, x)
		}
	}
	for _, p := range places {
		for _, rules := range of(what) {
			for _, targets := range of(where) {
				add(false, p, rules, targets)
			}
		}
	}
	for _, t := range held {
		for _, p := range places {
			if p.Field != t.Field || t.Attr != "" {
				add(false, p, t)
			}
		}
		add(false, t)
	}
	for _, t := range context {
		add(true, t)
	}
	return out
}

// isWAF reports whether a field is one of the web application firewall's sums.
func isWAF(f signal.Field) bool {
	return slices.Contains([]signal.Field{signal.FieldWAFScore, signal.FieldWAFThreshold, signal.FieldWAFCategories, signal.FieldWAFMessages}, f)
}

// isAPI reports whether a field is one of what the guard of APIs found, or its sum.
func isAPI(f signal.Field) bool {
	return slices.Contains([]signal.Field{signal.FieldAPIBlock, signal.FieldAPIViolations, signal.FieldAPIMessages, signal.FieldAPITargets}, f)
}

// says reports whether a field says how an event was looked at, or a sum, and not what it was: an exception by it would
// say nothing.
func says(f signal.Field) bool {
	return isWAF(f) || slices.Contains([]signal.Field{signal.FieldAPIBlock, signal.FieldAPIMessages, signal.FieldAPIAuth, signal.FieldEdgeMode, signal.FieldEdgeRoute, signal.FieldWAFParanoia, signal.FieldWAFOutboundScore,
		signal.FieldActivityID, signal.FieldHTTPRequestVersion, signal.FieldEdgeClientTrust, signal.FieldHTTPResponseLatency,
		signal.FieldMetadataLogProduct, signal.FieldMetadataLogName, signal.FieldMetadataLogCategory, signal.FieldMetadataEventCode}, f)
}

// placeOf returns the field that says what an event was about, by which an exception can be narrowed.
func placeOf(e *signal.Event) signal.Field {
	for _, f := range []signal.Field{signal.FieldHTTPRequestURLPath, signal.FieldProcessFilePath, signal.FieldAPIOperation, signal.FieldFilePath} {
		if e.Has(f) {
			return f
		}
	}
	return 0
}

// contextFields are the fields that say what an event is, whatever a rule looks at.
func contextFields() []signal.Field {
	return []signal.Field{
		signal.FieldWAFRules, signal.FieldWAFTargets, signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestUserAgent,
		signal.FieldProcessFilePath, signal.FieldProcessParentProcessFilePath, signal.FieldProcessCmdLine, signal.FieldActorUserName, signal.FieldAPIOperation, signal.FieldFilePath,
		signal.FieldSrcEndpointIP,
	}
}

// heldFields returns the fields of the atoms that make a condition hold.
func heldFields(x match.Expr, e *signal.Event) []signal.Field {
	var out []signal.Field
	held(x, e, func(x match.Expr) {
		for _, f := range match.Fields(x) {
			if !slices.Contains(out, f) {
				out = append(out, f)
			}
		}
	})
	return out
}

// heldAttrs returns the attributes outside of the field table that the atoms read which make a condition hold.
func heldAttrs(x match.Expr, e *signal.Event) []string {
	var out []string
	held(x, e, func(x match.Expr) {
		for _, name := range match.Attrs(x) {
			if !slices.Contains(out, name) {
				out = append(out, name)
			}
		}
	})
	return out
}

// held visits the atoms, loops and functions that make a condition hold: of a choice the first part that does.
func held(x match.Expr, e *signal.Event, visit func(match.Expr)) {
	switch x := x.(type) {
	case match.And:
		for _, part := range x {
			held(part, e, visit)
		}
	case match.Or:
		for _, part := range x {
			if match.Eval(part, e) == match.Yes {
				held(part, e, visit)
				return
			}
		}
	case *match.Atom, *match.Loop, *match.Func:
		visit(x)
	}
}

// attrTerms returns what the values of attributes outside of the field table are.
func attrTerms(e *signal.Event, names []string) []Term {
	var out []Term
	for _, name := range names {
		for _, a := range e.UnmappedAttrs() {
			if !match.AttrIs(a.Name, name) || a.Value == "" || len(a.Value) > maxTermText || !utf8.ValidString(a.Value) {
				continue
			}
			out = append(out, Term{Attr: name, Shape: ShapeIs, Value: a.Value})
			if like := shapeOf(a.Value); like != "" {
				out = append(out, Term{Attr: name, Shape: ShapeLike, Value: like})
			}
		}
	}
	return out
}

// maxTermText bounds the values that are put into an exception.
const maxTermText = 512

// termsOf returns what the values of fields are: exactly, and by shape where that is something else. What was
// masked when it was recorded has no value that could be compared.
func termsOf(e *signal.Event, fields []signal.Field) []Term {
	var out []Term
	for _, f := range fields {
		if !e.Has(f) || e.IsMasked(f) || f == signal.FieldTime || f.Kind() == signal.KindTime || f.Kind() == signal.KindFloat || restored(f) ||
			f.IsHeader() && f != signal.FieldActivityID {
			continue
		}
		if f.Kind() == signal.KindStrings {
			out = append(out, listTerms(e, f)...)
			continue
		}
		text := e.RecordedText(f)
		if text == "" || len(text) > maxTermText || !utf8.ValidString(text) {
			continue
		}
		out = append(out, Term{Field: f, Shape: ShapeIs, Value: text})
		if f.Kind() == signal.KindString && f != signal.FieldEdgeRoute {
			if like := shapeOf(text); like != "" {
				out = append(out, Term{Field: f, Shape: ShapeLike, Value: like})
			}
		}
	}
	return out
}

func listTerms(e *signal.Event, f signal.Field) []Term {
	list := e.Strings(f)
	distinct := slices.Compact(slices.Sorted(slices.Values(list)))
	if len(distinct) > 16 || slices.ContainsFunc(distinct, func(v string) bool { return len(v) > maxTermText || !utf8.ValidString(v) }) {
		return nil
	}
	return []Term{{Field: f, Shape: ShapeAmong, Values: distinct}}
}

// What stands for one of many in a text: an identifier, a number, an encoded value.
var variable = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}` +
	`|[A-Za-z0-9_-]{20,}={0,2}` +
	`|[0-9a-fA-F]{8,}` +
	`|[0-9]+`)

// shapeOf returns the pattern of the texts that differ from this one in nothing but identifiers, numbers and encoded
// values, "" where it has none.
func shapeOf(text string) string {
	var b strings.Builder
	last, found := 0, false
	for _, at := range variable.FindAllStringIndex(text, -1) {
		class := classOf(text[at[0]:at[1]])
		if class == "" {
			continue
		}
		b.WriteString(regexp.QuoteMeta(text[last:at[0]]))
		b.WriteString(class)
		last, found = at[1], true
	}
	if !found {
		return ""
	}
	b.WriteString(regexp.QuoteMeta(text[last:]))
	return "^" + b.String() + "$"
}

// classOf returns the pattern of a variable part, "" where it is rather a word.
func classOf(part string) string {
	digits, upper, lower, hex := 0, 0, 0, true
	for i := range len(part) {
		switch c := part[i]; {
		case '0' <= c && c <= '9':
			digits++
		case 'a' <= c && c <= 'z':
			lower++
			hex = hex && c <= 'f'
		case 'A' <= c && c <= 'Z':
			upper++
			hex = hex && c <= 'F'
		case c == '-' && len(part) == 36:
		default:
			hex = false
		}
	}
	switch {
	case digits == len(part):
		return "[0-9]+"
	case digits == 0:
		return ""
	case hex && len(part) == 36 && strings.Count(part, "-") == 4:
		return "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
	case hex:
		return "[0-9a-fA-F]+"
	case upper > 0 && lower > 0:
		return "[A-Za-z0-9_-]+={0,2}"
	}
	return ""
}

// compileShape compiles a pattern of shapeOf.
func compileShape(pattern string) *regexp.Regexp { return regexp.MustCompile(pattern) }
