package schema

import (
	"encoding/json"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Types is a set of JSON types.
type Types uint8

// The JSON types. Integer is a part of Number.
const (
	Null Types = 1 << iota
	Boolean
	Integer
	Number
	String
	Array
	Object

	Any = Null | Boolean | Integer | Number | String | Array | Object
)

// Schema is one schema, ready to be evaluated.
type Schema struct {
	set     *Set
	library *jsonschema.Schema // evaluates where dynamic references are within reach; else nil

	never bool // the schema false
	plain bool // nothing to check

	types  Types // that the schema itself allows; 0 any
	accept Types // that it allows with all it refers to

	ref      *Schema
	enum     []any
	words    map[string]bool // the strings of enum, where it has strings alone
	constant *any
	format   *jsonschema.Format
	not      *Schema
	allOf    []*Schema
	anyOf    []*Schema
	oneOf    []*Schema
	cond     *Schema
	then     *Schema
	orElse   *Schema
	choice   *choice

	minProps, maxProps int // -1 none
	required           []string
	props              map[string]*Schema
	patterns           []patternSchema
	additional         *Schema
	closed             bool // additionalProperties: false, or what means the same
	closedBy           string
	names              *Schema
	needs              map[string][]string
	depends            map[string]*Schema
	unevalProps        *Schema

	minItems, maxItems       int
	unique                   bool
	prefix                   []*Schema
	items                    *Schema
	contains                 *Schema
	minContains, maxContains int
	unevalItems              *Schema

	minLength, maxLength   int
	pattern                jsonschema.Regexp
	min, max, above, below *bound
	multiple               *bound

	readOnly, writeOnly bool
}

type patternSchema struct {
	re jsonschema.Regexp
	s  *Schema
}

// bound is a number of a schema in the forms that are quick to compare with.
type bound struct {
	f       float64
	i       int64
	integer bool // i is exact
	exact   *big.Rat
	// The same as mantissa / 10^places, where that fits and is above zero.
	mantissa int64
	places   int
}

func newBound(r *big.Rat) *bound {
	if r == nil {
		return nil
	}
	b := &bound{exact: r}
	b.f, _ = r.Float64()
	if r.IsInt() && r.Num().IsInt64() {
		b.i, b.integer = r.Num().Int64(), true
	}
	if places, exact := r.FloatPrec(); exact && places <= 15 && r.Sign() > 0 {
		scaled := new(big.Rat).Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil)))
		if scaled.IsInt() && scaled.Num().IsInt64() {
			b.mantissa, b.places = scaled.Num().Int64(), places
		}
	}
	return b
}

func (b *bound) String() string {
	if b.integer {
		return strconv.FormatInt(b.i, 10)
	}
	return strconv.FormatFloat(b.f, 'g', -1, 64)
}

// Accepts returns the JSON types that a value of the schema can have.
func (s *Schema) Accepts() Types { return s.accept }

// Closed tells whether the schema itself names all its properties.
func (s *Schema) Closed() bool { return s.closed }

// Property finds what the schema, or one that it consists of, says of a property by its name; nil if nothing.
func (s *Schema) Property(name string) *Schema { return s.property(name, 16) }

func (s *Schema) property(name string, depth int) *Schema {
	if s == nil || depth == 0 {
		return nil
	}
	if p := s.props[name]; p != nil {
		return p
	}
	for inner := range s.parts {
		if p := inner.property(name, depth-1); p != nil {
			return p
		}
	}
	for _, p := range s.patterns {
		if p.re.MatchString(name) {
			return p.s
		}
	}
	return s.additional
}

// Properties calls yield with each property that the schema names, or one that it consists of.
func (s *Schema) Properties(yield func(name string, p *Schema) bool) {
	s.properties(yield, 16)
}

func (s *Schema) properties(yield func(string, *Schema) bool, depth int) bool {
	if s == nil || depth == 0 {
		return true
	}
	for name, p := range s.props {
		if !yield(name, p) {
			return false
		}
	}
	for inner := range s.parts {
		if !inner.properties(yield, depth-1) {
			return false
		}
	}
	return true
}

// Open tells whether the schema may take properties that it does not name.
func (s *Schema) Open() bool { return s.open(16) }

func (s *Schema) open(depth int) bool {
	if s == nil || depth == 0 {
		return true
	}
	if s.closed {
		return false
	}
	for inner := range s.parts {
		if !inner.open(depth - 1) {
			return false
		}
	}
	return true
}

// Items returns what the schema, or one that it consists of, says of the items of an array; nil if nothing.
func (s *Schema) Items() *Schema { return s.item(16) }

func (s *Schema) item(depth int) *Schema {
	if s == nil || depth == 0 {
		return nil
	}
	if s.items != nil {
		return s.items
	}
	for inner := range s.parts {
		if p := inner.item(depth - 1); p != nil {
			return p
		}
	}
	return nil
}

// parts yields the schemas that a value of s may have to fulfil as a whole.
func (s *Schema) parts(yield func(*Schema) bool) {
	if s.ref != nil && !yield(s.ref) {
		return
	}
	for _, list := range [...][]*Schema{s.allOf, s.anyOf, s.oneOf} {
		for _, inner := range list {
			if !yield(inner) {
				return
			}
		}
	}
	for _, inner := range [...]*Schema{s.cond, s.then, s.orElse} {
		if inner != nil && !yield(inner) {
			return
		}
	}
}

// typeOf returns the types that a value has: of an integer both.
func typeOf(v any) Types {
	switch v := v.(type) {
	case nil:
		return Null
	case bool:
		return Boolean
	case string:
		return String
	case []any:
		return Array
	case map[string]any:
		return Object
	case json.Number:
		if integral(v) {
			return Integer | Number
		}
		return Number
	}
	return 0
}

// name says a set of types in words.
func (t Types) String() string {
	var words []string
	for i, word := range [...]string{"null", "boolean", "integer", "number", "string", "array", "object"} {
		if t&(1<<i) != 0 {
			words = append(words, word)
		}
	}
	if t&Number != 0 {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "integer" })
	}
	return strings.Join(words, " or ")
}
