package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// base is the address of a set's schemas, under which nothing is ever loaded.
const base = "https://schemas.invalid/set"

// Set is a number of schemas that refer to each other.
type Set struct {
	schemas map[string]*Schema
	pool    sync.Pool // of *evaluator

	// Unsupported names the patterns that Go's regular expressions cannot say, such as look-aheads: they match every text.
	Unsupported []string
	// Loosened names the patterns that are enforced but for how often what repeats more than 1000 times does so.
	Loosened []string
}

// Error says which of the schemas is none, and where in it.
type Error struct {
	Name    string // as in the call of Compile
	Pointer string // within that schema, "" for itself
	Reason  string
}

func (e *Error) Error() string { return fmt.Sprintf("schema %s%s: %s", e.Name, e.Pointer, e.Reason) }

// Compile reads the schemas by their names. They refer to each other as #/$defs/NAME, where NAME has no character
// that a JSON pointer or a URL would escape. Numbers are json.Number. Nothing is loaded. Where schemas are none, the error is an *Error.
func Compile(defs map[string]any) (*Set, error) {
	set := &Set{schemas: map[string]*Schema{}}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	for _, f := range formats() {
		c.RegisterFormat(f)
	}
	c.UseLoader(nothing{})
	seen := map[string]jsonschema.Regexp{}
	var compiled atomic.Bool
	c.UseRegexpEngine(func(p string) (jsonschema.Regexp, error) {
		if compiled.Load() {
			return everything(""), nil // the format regex, of a value: see formats
		}
		if re, ok := seen[p]; ok {
			return &named{re}, nil
		}
		re, how := compileRegexp(p)
		switch how {
		case none:
			set.Unsupported = append(set.Unsupported, p)
		case most:
			set.Loosened = append(set.Loosened, p)
		}
		seen[p] = re
		return &named{re}, nil
	})
	c.RegisterVocabulary(discriminators())
	c.AssertVocabs()
	if err := c.AddResource(base, map[string]any{"$defs": defs}); err != nil {
		return nil, err
	}
	b := builder{set: set, made: map[*jsonschema.Schema]*Schema{}, from: map[*Schema]*jsonschema.Schema{}}
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		one, err := c.Compile(base + "#/$defs/" + name)
		if err != nil {
			return nil, explain(err)
		}
		set.schemas[name] = b.schema(one)
	}
	b.finish()
	compiled.Store(true)
	set.pool.New = func() any { return &evaluator{set: set} }
	return set, nil
}

// Get returns a schema by its name, nil if there is none.
func (s *Set) Get(name string) *Schema { return s.schemas[name] }

type nothing struct{}

func (nothing) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is not among the schemas, and nothing is loaded from the network", url)
}

// named makes each use of a pattern a key of its own: patternProperties are a map by these.
type named struct{ jsonschema.Regexp }

// explain finds the place in an error of the library.
func explain(err error) error {
	if e, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		if v, ok := errors.AsType[*jsonschema.ValidationError](e.Err); ok {
			for len(v.Causes) > 0 {
				v = deepest(v.Causes)
			}
			at := v.InstanceLocation
			reason := strings.TrimPrefix(v.Error(), "jsonschema validation failed with ")
			if _, text, found := strings.Cut(reason, "': "); found {
				reason = text
			}
			if len(at) >= 2 && at[0] == "$defs" {
				p := ""
				for _, token := range at[2:] {
					p += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
				}
				return &Error{at[1], p, reason}
			}
		}
	}
	// The other errors of the library name the place as a URL.
	text := err.Error()
	if _, rest, ok := strings.Cut(text, base+"#/$defs/"); ok {
		end := strings.IndexAny(rest, "\"' ")
		if end < 0 {
			end = len(rest)
		}
		name, pointer, _ := strings.Cut(rest[:end], "/")
		if pointer != "" {
			pointer = "/" + pointer
		}
		return &Error{name, pointer, strings.ReplaceAll(text, base+"#/$defs/", "")}
	}
	return err
}

// deepest chooses the cause that lies furthest inside.
func deepest(causes []*jsonschema.ValidationError) *jsonschema.ValidationError {
	best := causes[0]
	for _, c := range causes[1:] {
		if depth(c) > depth(best) {
			best = c
		}
	}
	return best
}

func depth(e *jsonschema.ValidationError) int {
	d := len(e.InstanceLocation)
	for _, c := range e.Causes {
		d = max(d, depth(c))
	}
	return d
}

// builder turns the library's schemas into ours.
type builder struct {
	set  *Set
	made map[*jsonschema.Schema]*Schema
	from map[*Schema]*jsonschema.Schema
	all  []*Schema
}

func (b *builder) schema(l *jsonschema.Schema) *Schema {
	if l == nil {
		return nil
	}
	if s, ok := b.made[l]; ok {
		return s
	}
	s := &Schema{set: b.set, minProps: -1, maxProps: -1, minItems: -1, maxItems: -1, minContains: -1, maxContains: -1, minLength: -1, maxLength: -1}
	b.made[l], b.from[s] = s, l
	b.all = append(b.all, s)
	if l.Bool != nil {
		s.never, s.plain = !*l.Bool, *l.Bool
		return s
	}
	if l.DynamicRef != nil || l.RecursiveRef != nil {
		if d := l.DynamicRef; d != nil && (d.Anchor == "" || d.Ref.DynamicAnchor != d.Anchor) && l.Ref == nil {
			s.ref = b.schema(d.Ref) // in effect a reference like others
		} else {
			s.library = l
		}
	}
	if l.DraftVersion < 2020 {
		s.library = l // items and their like have other meanings
	}
	if l.Types != nil {
		s.types = typesOf(l.Types)
	}
	if l.Ref != nil {
		s.ref = b.schema(l.Ref)
	}
	if l.Enum != nil {
		s.enum = numbers(l.Enum.Values)
		s.words = wordsOf(s.enum)
	}
	if l.Const != nil {
		v := exact(*l.Const)
		s.constant = &v
	}
	s.format = l.Format
	if s.format != nil && s.format.Name == "regex" {
		s.format = &jsonschema.Format{Name: "regex", Validate: validRegex}
	}
	s.not = b.schema(l.Not)
	s.allOf, s.anyOf, s.oneOf = b.list(l.AllOf), b.list(l.AnyOf), b.list(l.OneOf)
	s.cond, s.then, s.orElse = b.schema(l.If), b.schema(l.Then), b.schema(l.Else)
	b.object(s, l)
	set(&s.minItems, l.MinItems)
	set(&s.maxItems, l.MaxItems)
	s.unique = l.UniqueItems
	s.prefix = b.list(l.PrefixItems)
	s.items = b.schema(l.Items2020)
	s.contains = b.schema(l.Contains)
	set(&s.minContains, l.MinContains)
	set(&s.maxContains, l.MaxContains)
	s.unevalItems = b.schema(l.UnevaluatedItems)
	set(&s.minLength, l.MinLength)
	set(&s.maxLength, l.MaxLength)
	s.pattern = l.Pattern
	s.min, s.max = newBound(l.Minimum), newBound(l.Maximum)
	s.above, s.below = newBound(l.ExclusiveMinimum), newBound(l.ExclusiveMaximum)
	s.multiple = newBound(l.MultipleOf)
	s.readOnly, s.writeOnly = l.ReadOnly, l.WriteOnly
	for _, ext := range l.Extensions {
		if d, ok := ext.(*discriminator); ok {
			s.choice = b.choice(d, l)
		}
	}
	return s
}

func (b *builder) object(s *Schema, l *jsonschema.Schema) {
	set(&s.minProps, l.MinProperties)
	set(&s.maxProps, l.MaxProperties)
	s.required = l.Required
	if l.Properties != nil {
		s.props = make(map[string]*Schema, len(l.Properties))
		for name, p := range l.Properties {
			s.props[name] = b.schema(p)
		}
	}
	for re, p := range l.PatternProperties {
		s.patterns = append(s.patterns, patternSchema{re, b.schema(p)})
	}
	slices.SortFunc(s.patterns, func(a, b patternSchema) int { return strings.Compare(a.re.String(), b.re.String()) })
	switch a := l.AdditionalProperties.(type) {
	case bool:
		s.closed, s.closedBy = !a, "additionalProperties"
		if a {
			s.additional = &Schema{set: b.set, plain: true, accept: Any}
		}
	case *jsonschema.Schema:
		s.additional = b.schema(a)
		if a.Bool != nil && !*a.Bool {
			s.closed, s.closedBy, s.additional = true, "additionalProperties", nil
		}
	}
	s.names = b.schema(l.PropertyNames)
	s.needs = l.DependentRequired
	if l.DependentSchemas != nil {
		s.depends = map[string]*Schema{}
		for name, p := range l.DependentSchemas {
			s.depends[name] = b.schema(p)
		}
	}
	s.unevalProps = b.schema(l.UnevaluatedProperties)
	alone := l.Ref == nil && l.DynamicRef == nil && l.RecursiveRef == nil && len(l.AllOf)+len(l.AnyOf)+len(l.OneOf)+len(l.DependentSchemas) == 0 && l.If == nil
	if s.unevalProps != nil && alone && l.AdditionalProperties == nil {
		// No other schema looks at the object: it means additionalProperties, and that is quicker.
		if s.unevalProps.never {
			s.closed, s.closedBy = true, "unevaluatedProperties"
		} else {
			s.additional = s.unevalProps
		}
		s.unevalProps = nil
	}
}

func (b *builder) list(l []*jsonschema.Schema) []*Schema {
	var out []*Schema
	for _, one := range l {
		out = append(out, b.schema(one))
	}
	return out
}

func set(to *int, from *int) {
	if from != nil {
		*to = *from
	}
}

func typesOf(t *jsonschema.Types) Types {
	var out Types
	for _, name := range t.ToStrings() {
		switch name {
		case "null":
			out |= Null
		case "boolean":
			out |= Boolean
		case "integer":
			out |= Integer
		case "number":
			out |= Number | Integer
		case "string":
			out |= String
		case "array":
			out |= Array
		case "object":
			out |= Object
		}
	}
	return out
}

// numbers makes every number of a schema a json.Number.
func numbers(values []any) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = exact(v)
	}
	return out
}

func exact(v any) any {
	switch v := v.(type) {
	case []any:
		return numbers(v)
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, inner := range v {
			out[k] = exact(inner)
		}
		return out
	case nil, bool, string, json.Number:
		return v
	}
	return json.Number(fmt.Sprint(v))
}

// wordsOf returns the values as a set where all are strings; else nil.
func wordsOf(values []any) map[string]bool {
	out := make(map[string]bool, len(values))
	for _, v := range values {
		s, ok := v.(string)
		if !ok {
			return nil
		}
		out[s] = true
	}
	return out
}

// finish works out what depends on schemas that are referred to, once all are there.
func (b *builder) finish() {
	for _, s := range b.all {
		s.accept = Any
	}
	// Types only ever get fewer and marks more, so this ends; references in a circle keep what is left.
	for changed := true; changed; {
		changed = false
		for _, s := range b.all {
			if t := s.accepts(); t != s.accept {
				s.accept, changed = t, true
			}
			if s.library == nil && b.reaches(s) {
				s.library, changed = b.from[s], true
			}
			for _, inner := range s.whole() {
				if inner.readOnly && !s.readOnly {
					s.readOnly, changed = true, true
				}
				if inner.writeOnly && !s.writeOnly {
					s.writeOnly, changed = true, true
				}
			}
		}
	}
}

// whole returns the schemas that every value of s has to fulfil too.
func (s *Schema) whole() []*Schema {
	if s.ref == nil {
		return s.allOf
	}
	return append([]*Schema{s.ref}, s.allOf...)
}

// reaches tells whether the library evaluates a schema within s, whose scope then begins outside.
func (b *builder) reaches(s *Schema) bool {
	found := false
	for inner := range s.parts {
		found = found || inner.library != nil
	}
	for inner := range s.inside {
		found = found || inner.library != nil
	}
	return found
}

// inside yields the schemas of values inside of a value of s, and those that apply under a condition.
func (s *Schema) inside(yield func(*Schema) bool) {
	for _, one := range [...]*Schema{s.additional, s.names, s.unevalProps, s.items, s.contains, s.unevalItems, s.not} {
		if one != nil && !yield(one) {
			return
		}
	}
	for _, p := range s.props {
		if !yield(p) {
			return
		}
	}
	for _, p := range s.depends {
		if !yield(p) {
			return
		}
	}
	for _, p := range s.patterns {
		if !yield(p.s) {
			return
		}
	}
	for _, p := range s.prefix {
		if !yield(p) {
			return
		}
	}
}

func (s *Schema) accepts() Types {
	if s.never {
		return 0
	}
	t := Any
	if s.types != 0 {
		t = s.types
	}
	if s.ref != nil {
		t &= s.ref.accept
	}
	for _, inner := range s.allOf {
		t &= inner.accept
	}
	for _, list := range [...][]*Schema{s.anyOf, s.oneOf} {
		if len(list) > 0 {
			var some Types
			for _, inner := range list {
				some |= inner.accept
			}
			t &= some
		}
	}
	if len(s.enum) > 0 {
		var some Types
		for _, v := range s.enum {
			some |= typeOf(v)
		}
		t &= some
	}
	if s.constant != nil {
		t &= typeOf(*s.constant)
	}
	return t
}
