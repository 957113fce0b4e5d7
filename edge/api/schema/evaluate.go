package schema

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// Direction says whose values are checked: properties may belong to one direction alone.
type Direction uint8

// The directions. Neither checks as the standard does.
const (
	Neither Direction = iota
	Request
	Response
)

// A Problem is one way in which a value breaks its schema. It holds names and the schema's own words, never a value.
type Problem struct {
	Code    string // the keyword, as in type or maxLength; read-only, write-only; not-checked
	Where   string // JSON pointer to the value
	Message string
}

// NotChecked is the code of a Problem that says that the check was not finished: the value asked for too much work.
const NotChecked = "not-checked"

const (
	maxProblems = 16
	maxSteps    = 500_000 // of evaluation, each well under a microsecond
	maxNesting  = 2000    // schemas within each other, references counted
)

// Check returns in what ways the value breaks the schema, at most sixteen; nil where it fulfils it.
// Values are as jsontree makes them.
func (s *Schema) Check(v any, d Direction) []Problem {
	e := s.set.pool.Get().(*evaluator)
	e.begin(d)
	e.within(s, v)
	if e.exhausted {
		e.problems = append(e.problems, Problem{Code: NotChecked, Message: "checking the value against its schema asked for too much work"})
	}
	out := e.problems
	slices.SortFunc(out, func(a, b Problem) int { // fields come in random order
		return cmp.Or(strings.Compare(a.Where, b.Where), strings.Compare(a.Code, b.Code))
	})
	e.end()
	return out
}

// Fulfilled tells whether the value fulfils the schema.
func (s *Schema) Fulfilled(v any, d Direction) bool {
	e := s.set.pool.Get().(*evaluator)
	e.begin(d)
	e.quiet = 1
	ok := e.within(s, v) && !e.exhausted
	e.end()
	return ok
}

type evaluator struct {
	set       *Set
	direction Direction
	quiet     int // above 0 only the answer is wanted
	steps     int
	nesting   int
	exhausted bool
	outer     *Schema // the outermost schema of the value that is being looked at
	path      []place
	problems  []Problem
}

type place struct {
	name  string
	index int // of an array, or -1
}

func (e *evaluator) begin(d Direction) {
	e.direction, e.quiet, e.steps, e.nesting, e.exhausted = d, 0, maxSteps, 0, false
}

// end keeps nothing of what was checked.
func (e *evaluator) end() {
	clear(e.path[:cap(e.path)])
	e.path, e.problems, e.outer = e.path[:0], nil, nil
	e.set.pool.Put(e)
}

// fail reports a problem, and is false.
func (e *evaluator) fail(code, message string) bool {
	if e.quiet > 0 || len(e.problems) >= maxProblems {
		return false
	}
	var b strings.Builder
	for _, p := range e.path {
		b.WriteByte('/')
		if p.index >= 0 {
			b.WriteString(strconv.Itoa(p.index))
		} else {
			b.WriteString(jsontree.Token(p.name))
		}
		if b.Len() > 512 {
			break
		}
	}
	e.problems = append(e.problems, Problem{code, b.String(), message})
	return false
}

// failAt reports a problem of a property.
func (e *evaluator) failAt(name, code, message string) bool {
	e.path = append(e.path, place{name, -1})
	e.fail(code, message)
	e.path = e.path[:len(e.path)-1]
	return false
}

// stop tells whether evaluation of a value need not go on after a first problem.
func (e *evaluator) stop() bool { return e.quiet > 0 || e.exhausted }

// spend counts work that is more than that of one call.
func (e *evaluator) spend(n int) bool {
	if e.steps -= n; e.steps < 0 {
		e.exhausted = true
	}
	return !e.exhausted
}

// within evaluates a value for which s is all there is to say.
func (e *evaluator) within(s *Schema, v any) bool {
	before := e.outer
	e.outer = s
	ok := e.eval(s, v, nil)
	e.outer = before
	return ok
}

// eval tells whether v fulfils s. What of v is evaluated is added to seen, unless it is nil.
func (e *evaluator) eval(s *Schema, v any, seen *evaluated) bool {
	if s.plain {
		return true
	}
	if !e.spend(1) || e.nesting >= maxNesting {
		e.exhausted = true
		return false
	}
	if s.never {
		return e.fail("false", "no value is allowed here")
	}
	if s.library != nil {
		return e.byLibrary(s, v)
	}
	e.nesting++
	ok := e.inner(s, v, seen)
	e.nesting--
	return ok
}

func (e *evaluator) inner(s *Schema, v any, seen *evaluated) bool {
	own := seen
	if s.unevalProps != nil || s.unevalItems != nil {
		own = &evaluated{}
	}
	ok := true
	if s.types != 0 && typeOf(v)&s.types == 0 {
		return e.fail("type", "must be "+s.types.String())
	}
	if s.constant != nil && !equal(*s.constant, v) {
		ok = e.fail("const", "must be the one value that the schema names")
	}
	if ok && s.enum != nil && !e.listed(s, v) {
		ok = e.fail("enum", "must be one of the values that the schema lists")
	}
	if ok && s.format != nil {
		if text, is := v.(string); !is || e.spend(len(text)/32) {
			if s.format.Validate(v) != nil {
				ok = e.fail("format", "must have the format "+s.format.Name)
			}
		}
	}
	if s.ref != nil && (ok || !e.stop()) {
		ok = e.eval(s.ref, v, own) && ok
	}
	if !ok && e.stop() {
		return false
	}
	switch v := v.(type) {
	case string:
		ok = e.text(s, v) && ok
	case json.Number:
		ok = e.number(s, v) && ok
	case []any:
		ok = e.array(s, v, own) && ok
	case map[string]any:
		ok = e.object(s, v, own) && ok
	}
	if !ok && e.stop() {
		return false
	}
	ok = e.combined(s, v, own) && ok
	if own != seen {
		if !ok && e.stop() {
			return false
		}
		ok = e.unevaluated(s, v, own) && ok
		if ok && seen != nil {
			seen.merge(own)
		}
	}
	return ok && !e.exhausted
}

func (e *evaluator) listed(s *Schema, v any) bool {
	if s.words != nil {
		text, is := v.(string)
		return is && s.words[text]
	}
	for _, one := range s.enum {
		if !e.spend(1) {
			return false
		}
		if equal(one, v) {
			return true
		}
	}
	return false
}

func (e *evaluator) text(s *Schema, v string) bool {
	ok := true
	if s.minLength >= 0 || s.maxLength >= 0 {
		n := len(v) // a code point has from one to four bytes: often that is enough to know
		if s.maxLength >= 0 && n > s.maxLength || n < 4*s.minLength {
			n = utf8.RuneCountInString(v)
		}
		if s.minLength >= 0 && n < s.minLength {
			ok = e.fail("minLength", "must have at least "+strconv.Itoa(s.minLength)+" characters")
		}
		if s.maxLength >= 0 && n > s.maxLength {
			ok = e.fail("maxLength", "must have at most "+strconv.Itoa(s.maxLength)+" characters")
		}
	}
	if s.pattern != nil && ok {
		if !e.spend(len(v) / 4) {
			return false
		}
		if !s.pattern.MatchString(v) {
			ok = e.fail("pattern", "must match the schema's pattern")
		}
	}
	return ok
}

func (e *evaluator) number(s *Schema, v json.Number) bool {
	ok := true
	if s.min != nil && compare(v, s.min) < 0 {
		ok = e.fail("minimum", "must be at least "+s.min.String())
	}
	if s.max != nil && compare(v, s.max) > 0 {
		ok = e.fail("maximum", "must be at most "+s.max.String())
	}
	if s.above != nil && compare(v, s.above) <= 0 {
		ok = e.fail("exclusiveMinimum", "must be more than "+s.above.String())
	}
	if s.below != nil && compare(v, s.below) >= 0 {
		ok = e.fail("exclusiveMaximum", "must be less than "+s.below.String())
	}
	if s.multiple != nil {
		divides, quick := s.multiple.divides(v)
		if !quick {
			if !e.spend(64) {
				return false
			}
			divides = multipleOf(v, s.multiple)
		}
		if divides {
			return ok
		}
		ok = e.fail("multipleOf", "must be a multiple of "+s.multiple.String())
	}
	return ok
}

func (e *evaluator) array(s *Schema, v []any, seen *evaluated) bool {
	ok := true
	if s.minItems >= 0 && len(v) < s.minItems {
		ok = e.fail("minItems", "must have at least "+strconv.Itoa(s.minItems)+" items")
	}
	if s.maxItems >= 0 && len(v) > s.maxItems {
		return e.fail("maxItems", "must have at most "+strconv.Itoa(s.maxItems)+" items")
	}
	if s.unique && len(v) > 1 && !e.unique(v) && !e.exhausted {
		ok = e.fail("uniqueItems", "must have no item twice")
	}
	from := min(len(s.prefix), len(v))
	if from > 0 || s.items != nil {
		e.path = append(e.path, place{index: 0})
		at := len(e.path) - 1
		for i, item := range v {
			if !ok && e.stop() {
				break
			}
			e.path[at].index = i
			if i < from {
				ok = e.within(s.prefix[i], item) && ok
				continue
			}
			if s.items == nil {
				break
			}
			ok = e.within(s.items, item) && ok
		}
		e.path = e.path[:at]
	}
	if seen != nil {
		seen.first = max(seen.first, from)
		if s.items != nil {
			seen.first = len(v)
		}
	}
	if s.contains != nil && (ok || !e.stop()) {
		ok = e.containing(s, v, seen) && ok
	}
	return ok
}

func (e *evaluator) containing(s *Schema, v []any, seen *evaluated) bool {
	n := 0
	e.quiet++
	for i, item := range v {
		if e.exhausted {
			break
		}
		if e.within(s.contains, item) {
			n++
			seen.item(i)
		}
	}
	e.quiet--
	least := max(s.minContains, 0)
	if s.minContains < 0 {
		least = 1
	}
	if n < least {
		return e.fail("contains", "must have at least "+strconv.Itoa(least)+" items of the kind that the schema names")
	}
	if s.maxContains >= 0 && n > s.maxContains {
		return e.fail("maxContains", "must have at most "+strconv.Itoa(s.maxContains)+" items of the kind that the schema names")
	}
	return true
}

func (e *evaluator) object(s *Schema, v map[string]any, seen *evaluated) bool {
	ok := true
	if s.minProps >= 0 && len(v) < s.minProps {
		ok = e.fail("minProperties", "must have at least "+strconv.Itoa(s.minProps)+" fields")
	}
	if s.maxProps >= 0 && len(v) > s.maxProps {
		return e.fail("maxProperties", "must have at most "+strconv.Itoa(s.maxProps)+" fields")
	}
	for _, name := range s.required {
		if _, has := v[name]; has {
			continue
		}
		if e.direction != Neither && (e.spared(s, name) || e.spared(e.outer, name)) {
			continue
		}
		ok = e.failAt(name, "required", "is required")
	}
	if !ok && e.stop() {
		return false
	}
	if s.props != nil || s.patterns != nil || s.additional != nil || s.closed {
		e.path = append(e.path, place{index: -1})
		at := len(e.path) - 1
		for name, inner := range v {
			if !ok && e.stop() {
				break
			}
			e.path[at].name = name
			ok = e.field(s, name, inner, seen) && ok
		}
		e.path = e.path[:at]
	}
	if s.names != nil || s.needs != nil || s.depends != nil {
		ok = e.dependent(s, v, seen) && ok
	}
	return ok
}

// spared tells whether a property belongs to the other direction. What requires it may stand in another schema than what describes it.
func (e *evaluator) spared(s *Schema, name string) bool {
	p := s.Property(name)
	return p != nil && (e.direction == Request && p.readOnly || e.direction == Response && p.writeOnly)
}

func (e *evaluator) field(s *Schema, name string, v any, seen *evaluated) bool {
	ok, known := true, false
	if p := s.props[name]; p != nil {
		known = true
		switch {
		case p.readOnly && e.direction == Request:
			ok = e.fail("read-only", "is set by the server alone")
		case p.writeOnly && e.direction == Response:
			ok = e.fail("write-only", "must never be sent to clients")
		default:
			ok = e.within(p, v)
		}
	}
	for _, p := range s.patterns {
		if e.spend(len(name)/8) && p.re.MatchString(name) {
			known = true
			ok = e.within(p.s, v) && ok
		}
	}
	if !known {
		switch {
		case s.closed:
			return e.fail(s.closedBy, "is not among the fields that the schema names")
		case s.additional != nil:
			known = true
			ok = e.within(s.additional, v) && ok
		}
	}
	if known {
		seen.field(name)
	}
	return ok
}

func (e *evaluator) dependent(s *Schema, v map[string]any, seen *evaluated) bool {
	ok := true
	if s.names != nil {
		e.quiet++
		fine := true
		for name := range v {
			fine = fine && e.within(s.names, name)
		}
		e.quiet--
		if !fine {
			ok = e.fail("propertyNames", "has a field whose name the schema does not allow")
		}
	}
	for name, others := range s.needs {
		if _, has := v[name]; !has {
			continue
		}
		for _, other := range others {
			if _, has := v[other]; !has {
				ok = e.failAt(other, "dependentRequired", "is required beside another field that is there")
			}
		}
	}
	for name, p := range s.depends {
		if _, has := v[name]; has && (ok || !e.stop()) {
			ok = e.eval(p, v, seen) && ok
		}
	}
	return ok
}

// byLibrary leaves a value to the library, whose words hold values: only places and keywords are taken over.
func (e *evaluator) byLibrary(s *Schema, v any) bool {
	// The library's work is not bounded, and grows with the power of the depth at worst; what is, are size and depth of values it is given.
	if !e.spend(50 * size(v, 16)) {
		return false
	}
	err := s.library.Validate(v)
	if err == nil {
		return true
	}
	depth := len(e.path)
	if ve, ok := err.(*jsonschema.ValidationError); ok {
		e.leaves(ve, depth)
	} else {
		e.fail("schema", "breaks its schema")
	}
	return false
}

func (e *evaluator) leaves(err *jsonschema.ValidationError, depth int) {
	for _, cause := range err.Causes {
		e.leaves(cause, depth)
	}
	if len(err.Causes) > 0 {
		return
	}
	for _, token := range err.InstanceLocation {
		e.path = append(e.path, place{token, -1})
	}
	code := "schema"
	if p := err.ErrorKind.KeywordPath(); len(p) > 0 {
		code = p[0]
	}
	e.fail(code, "breaks the schema's "+code)
	e.path = e.path[:depth]
}

// size counts the values within a value. What is too deep or a number that is not to be read exactly makes it too large.
func size(v any, depth int) int {
	if depth == 0 {
		return maxSteps
	}
	n := 1
	switch v := v.(type) {
	case json.Number:
		if rational(v) == nil {
			return maxSteps
		}
	case []any:
		for _, inner := range v {
			n += size(inner, depth-1)
		}
	case map[string]any:
		for _, inner := range v {
			n += size(inner, depth-1)
		}
	}
	return n
}
