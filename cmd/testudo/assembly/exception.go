package assembly

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/falco"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

// exceptionWriter writes an exception in the language of its rule.
type exceptionWriter struct {
	loader    *policy.Loader
	files     []policy.File // of the rules in force
	rule      *policy.Rule
	event     *signal.Event
	exception *replay.Exception
}

// write returns what to put into a rule file and where. Checked says that it was compiled beside the
// rules in force, and that the rule does not fire on the event any more.
func (w *exceptionWriter) write() (change, how string, checked bool) {
	switch w.rule.Dialect {
	case "native":
		return w.native()
	case "falco":
		return w.falco()
	case "sigma":
		return w.sigma()
	}
	return "", fmt.Sprintf("rules in the dialect %s cannot be written here: change rule %s by hand so that it does not fire where %s", w.rule.Dialect, w.rule.ID, w.exception), false
}

// check compiles files and asks the rule of that id about the event.
func (w *exceptionWriter) check(files []policy.File, id string) bool {
	rules, err := w.loader.Compile(files)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(rules, func(r *policy.Rule) bool { return r.ID == id })
	return i >= 0 && rules[i].Condition != nil && match.Eval(rules[i].Condition, w.event) != match.Yes && match.Eval(w.rule.Condition, w.event) == match.Yes
}

// native writes a copy of the rule whose condition leaves the exception out.
func (w *exceptionWriter) native() (change, how string, checked bool) {
	terms := make([]string, len(w.exception.Terms))
	for i := range w.exception.Terms {
		terms[i] = celTerm(&w.exception.Terms[i])
	}
	r := w.rule
	when := "(" + strings.TrimSpace(r.When) + ")\n&& !(" + strings.Join(terms, " && ") + ")"
	builtin := strings.HasPrefix(r.File, builtinPrefix)
	id := r.ID
	if builtin {
		id += "-excepted"
	}
	rule := yaml.MapSlice{{Key: "id", Value: id}, {Key: "title", Value: r.Title}, {Key: "severity", Value: r.Severity.String()}}
	if r.On != nil {
		var on []string
		for _, c := range r.On {
			on = append(on, c.String())
		}
		rule = append(rule, yaml.MapItem{Key: "on", Value: on})
	}
	rule = append(rule, yaml.MapItem{Key: "when", Value: when + "\n"})
	if len(r.Actions) == 0 {
		rule = append(rule, yaml.MapItem{Key: "then", Value: r.Then.String()})
	} else {
		then := []any{r.Then.String()}
		for _, a := range r.Actions {
			asks := yaml.MapSlice{{Key: "target", Value: a.Target.Name()}}
			if a.For > 0 {
				asks = append(asks, yaml.MapItem{Key: "for", Value: a.For.String()})
			}
			if a.After > 1 {
				asks = append(asks, yaml.MapItem{Key: "after", Value: a.After}, yaml.MapItem{Key: "within", Value: a.Within.String()})
			}
			then = append(then, yaml.MapSlice{{Key: a.Kind, Value: asks}})
		}
		rule = append(rule, yaml.MapItem{Key: "then", Value: then})
	}
	for _, item := range []yaml.MapItem{{Key: "why", Value: r.Why}, {Key: "fix", Value: r.Fix}} {
		if item.Value != "" {
			rule = append(rule, item)
		}
	}
	if len(r.References) > 0 {
		rule = append(rule, yaml.MapItem{Key: "references", Value: r.References})
	}
	if len(r.Tags) > 0 {
		rule = append(rule, yaml.MapItem{Key: "tags", Value: r.Tags})
	}
	text, err := yaml.MarshalWithOptions(rule, yaml.UseLiteralStyleIfMultiline(true), yaml.IndentSequence(true))
	if err != nil {
		return "", fmt.Sprintf("add && !(%s) to the when of rule %s in %s", strings.Join(terms, " && "), r.ID, r.File), false
	}
	how = fmt.Sprintf("in %s, line %d: put this in the place of rule %s; keep its tests", r.File, r.Line, r.ID)
	if builtin {
		how = fmt.Sprintf("put this into a file of your rules folder, and %s into policy.disable: the rule ships with testudo", r.ID)
	}
	return string(text), how, w.check([]policy.File{{Name: "exception.yaml", Text: text}}, id)
}

// exclusion returns the SecLang directives that leave the rules out which matched, in what they matched in, for the
// event's path; "" where the exception is not about them.
func (w *exceptionWriter) exclusion() string {
	rules, targets := w.event.Strings(signal.FieldWAFRules), w.event.Strings(signal.FieldWAFTargets)
	if len(rules) == 0 || len(rules) != len(targets) || !slices.ContainsFunc(w.exception.Terms, func(t replay.Term) bool { return t.Field == signal.FieldWAFRules }) {
		return ""
	}
	pattern, path := "", ""
	for i := range w.exception.Terms {
		if t := &w.exception.Terms[i]; t.Field == signal.FieldHTTPRequestURLPath {
			if t.Shape == replay.ShapeLike {
				pattern = strings.TrimSuffix(strings.TrimPrefix(t.Value, "^"), "$")
			} else {
				path = t.Value
			}
		}
	}
	p, ok := coverage.Plainly(rules, targets, path, pattern)
	if !ok {
		return ""
	}
	before, after := p.Directives(nil)
	return strings.TrimSpace(before + after)
}

// celTerm writes a term as a condition of native rules.
func celTerm(t *replay.Term) string {
	name := t.Field.Name()
	if t.Attr != "" {
		name = "attr(" + celText(t.Attr) + ")"
	}
	switch t.Shape {
	case replay.ShapeLike:
		return name + ".matches(" + celText(t.Value) + ")"
	case replay.ShapeAmong:
		values := make([]string, len(t.Values))
		for i, v := range t.Values {
			values[i] = celText(v)
		}
		return fmt.Sprintf("size(%s) > 0 && %s.all(x, x in [%s])", name, name, strings.Join(values, ", "))
	}
	switch t.Field.Kind() {
	case signal.KindInt, signal.KindBool:
		return name + " == " + t.Value
	}
	return name + " == " + celText(t.Value)
}

// celText writes a text as a CEL literal. Go's escapes of printable texts are CEL's.
func celText(s string) string { return strconv.Quote(s) }

// falco appends an exception to the rule.
func (w *exceptionWriter) falco() (change, how string, checked bool) {
	var fields, comps []string
	var values []any
	for i := range w.exception.Terms {
		t := &w.exception.Terms[i]
		name := falcoField(t.Field)
		if name == "" || t.Shape == replay.ShapeAmong && len(t.Values) > 1 {
			return w.byHand("Falco has no field for " + t.Name())
		}
		fields = append(fields, name)
		switch t.Shape {
		case replay.ShapeLike:
			comps, values = append(comps, "regex"), append(values, t.Value)
		case replay.ShapeAmong:
			comps, values = append(comps, "="), append(values, t.Values[0])
		default:
			comps, values = append(comps, "="), append(values, t.Value)
		}
	}
	name := cmp.Or(w.rule.Name, w.rule.ID)
	document := []yaml.MapSlice{{
		{Key: "rule", Value: name},
		{Key: "exceptions", Value: []yaml.MapSlice{{
			{Key: "name", Value: "excepted_" + fingerprint(w.exception.String())}, {Key: "fields", Value: fields}, {Key: "comps", Value: comps}, {Key: "values", Value: []any{values}},
		}}},
		{Key: "override", Value: yaml.MapSlice{{Key: "exceptions", Value: "append"}}},
	}}
	return w.beside(document, "falco")
}

// falcoField returns the name by which Falco knows a field, "" where it does not.
func falcoField(f signal.Field) string {
	for _, known := range falco.Fields() {
		if (known.Process == f.Name() || known.Other == f.Name()) && known.Argument == "-" {
			return known.Name
		}
	}
	return ""
}

// sigma writes a filter for the rule.
func (w *exceptionWriter) sigma() (change, how string, checked bool) {
	source := logfields.Source{Product: w.event.Str(signal.FieldMetadataLogProduct), Service: w.event.Str(signal.FieldMetadataLogName), Category: w.event.Str(signal.FieldMetadataLogCategory)}
	var selection yaml.MapSlice
	for i := range w.exception.Terms {
		t := &w.exception.Terms[i]
		name := t.Attr
		if name == "" {
			name = sigmaField(source, t.Field)
		}
		if name == "" || t.Shape == replay.ShapeAmong {
			return w.byHand("Sigma has no field for " + t.Name() + " in records of this log")
		}
		switch t.Shape {
		case replay.ShapeLike:
			selection = append(selection, yaml.MapItem{Key: name + "|re", Value: t.Value})
		default:
			// A backslash before a wildcard makes it a character; one before anything else stands for itself.
			selection = append(selection, yaml.MapItem{Key: name + "|cased", Value: strings.NewReplacer(`*`, `\*`, `?`, `\?`).Replace(t.Value)})
		}
	}
	logsource := yaml.MapSlice{}
	for _, part := range []struct{ key, value string }{{"product", source.Product}, {"service", source.Service}, {"category", source.Category}} {
		if part.value != "" {
			logsource = append(logsource, yaml.MapItem{Key: part.key, Value: part.value})
		}
	}
	print := sha256.Sum256([]byte(w.rule.ID + w.exception.String()))
	document := yaml.MapSlice{
		{Key: "title", Value: "Exception from " + w.rule.Title},
		{Key: "id", Value: fmt.Sprintf("%x-%x-4%x-8%x-%x", print[:4], print[4:6], print[6:8], print[8:10], print[10:16])[:36]},
		{Key: "logsource", Value: logsource},
		{Key: "filter", Value: yaml.MapSlice{{Key: "rules", Value: []string{w.rule.ID}}, {Key: "selection", Value: selection}, {Key: "condition", Value: "not selection"}}},
	}
	return w.beside(document, "sigma")
}

// sigmaField returns an attribute of the log's records that is put into the field, "" where none is.
func sigmaField(src logfields.Source, f signal.Field) string {
	found := ""
	for _, row := range logfields.Rows() {
		if row.Field != f.Name() || row.ReadOnly || found != "" && found <= row.Attr {
			continue
		}
		if name, ok := logfields.Lookup(src, row.Attr); ok && name == row.Field {
			found = row.Attr
		}
	}
	return found
}

// beside writes a document that is loaded after the files of the rules in force.
func (w *exceptionWriter) beside(document any, dialect string) (change, how string, checked bool) {
	text, err := yaml.MarshalWithOptions(document, yaml.IndentSequence(true))
	if err != nil {
		return w.byHand(err.Error())
	}
	files := append(slices.Clone(w.files), policy.File{Name: "zz-exceptions.yaml", Text: text})
	return string(text), "put this into a file of the rules folder that is read after " + w.rule.File + ", as zz-exceptions.yaml", w.check(files, w.rule.ID)
}

func (w *exceptionWriter) byHand(why string) (change, how string, checked bool) {
	return "", fmt.Sprintf("%s: change rule %s in %s by hand so that it does not fire where %s", why, w.rule.ID, w.rule.File, w.exception), false
}

func fingerprint(text string) string {
	sum := sha256.Sum256([]byte(text))
	return fmt.Sprintf("%x", sum[:4])
}
