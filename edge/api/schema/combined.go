package schema

import (
	"encoding/json"
	"hash/maphash"
	"strconv"
)

// combined evaluates the schemas that apply to the same value: allOf, anyOf, oneOf, not, if.
func (e *evaluator) combined(s *Schema, v any, seen *evaluated) bool {
	ok := true
	for _, inner := range s.allOf {
		if !e.eval(inner, v, seen) {
			if ok = false; e.stop() {
				return false
			}
		}
	}
	chosen := false
	if s.choice != nil {
		if object, is := v.(map[string]any); is {
			chosen = true
			ok = e.chosen(s.choice, object, seen) && ok
		}
	}
	if len(s.anyOf) > 0 && !(chosen && s.choice.anyOf) && (ok || !e.stop()) {
		ok = e.some(s.anyOf, v, seen, false) && ok
	}
	if len(s.oneOf) > 0 && (!chosen || s.choice.anyOf) && (ok || !e.stop()) {
		ok = e.some(s.oneOf, v, seen, true) && ok
	}
	if !ok && e.stop() {
		return false
	}
	if s.not != nil && e.quietly(s.not, v, nil) && !e.exhausted {
		ok = e.fail("not", "must not be of the kind that the schema excludes")
	}
	if s.cond != nil {
		branch := s.orElse
		if e.quietly(s.cond, v, seen) {
			branch = s.then
		}
		if branch != nil {
			ok = e.eval(branch, v, seen) && ok
		}
	}
	return ok
}

// quietly evaluates without reporting. What a schema that is not fulfilled has evaluated does not count.
func (e *evaluator) quietly(s *Schema, v any, seen *evaluated) bool {
	var own *evaluated
	if seen != nil {
		own = &evaluated{}
	}
	e.quiet++
	ok := e.eval(s, v, own)
	e.quiet--
	if ok && own != nil {
		seen.merge(own)
	}
	return ok
}

func (e *evaluator) chosen(c *choice, v map[string]any, seen *evaluated) bool {
	value, has := v[c.property].(string)
	if !has {
		return e.failAt(c.property, "discriminator", "is required: it says of which kind the object is")
	}
	branch := c.branches[value]
	if branch == nil {
		return e.failAt(c.property, "discriminator", "must be one of the values that the schema maps to a kind")
	}
	return e.eval(branch, v, seen)
}

// some evaluates anyOf, and oneOf where exactly one must be fulfilled.
func (e *evaluator) some(branches []*Schema, v any, seen *evaluated, one bool) bool {
	matched := 0
	t := typeOf(v)
	for _, inner := range branches {
		if inner.accept&t == 0 {
			continue // by its type alone
		}
		if e.quietly(inner, v, seen) {
			matched++
			if !one && seen == nil || one && matched > 1 {
				break
			}
		}
		if e.exhausted {
			return false
		}
	}
	switch {
	case matched == 1 || matched > 1 && !one:
		return true
	case matched > 1:
		return e.fail("oneOf", "is of more than one of the kinds that exclude each other")
	}
	if e.quiet > 0 {
		return false
	}
	// Where only one branch is for values of that type, its words are better than "none of them".
	var only *Schema
	for _, inner := range branches {
		if inner.accept&t != 0 {
			if only != nil {
				only = nil
				break
			}
			only = inner
		}
	}
	if only != nil {
		return e.eval(only, v, nil)
	}
	code := "anyOf"
	if one {
		code = "oneOf"
	}
	return e.fail(code, "is of none of the "+strconv.Itoa(len(branches))+" kinds that the schema allows")
}

// evaluated is what unevaluatedProperties and unevaluatedItems ask about: which parts of one value a schema has looked at.
type evaluated struct {
	fields map[string]bool
	first  int // so many items from the start
	items  map[int]bool
}

func (s *evaluated) field(name string) {
	if s == nil {
		return
	}
	if s.fields == nil {
		s.fields = map[string]bool{}
	}
	s.fields[name] = true
}

func (s *evaluated) item(i int) {
	if s == nil {
		return
	}
	if s.items == nil {
		s.items = map[int]bool{}
	}
	s.items[i] = true
}

func (s *evaluated) merge(other *evaluated) {
	for name := range other.fields {
		s.field(name)
	}
	for i := range other.items {
		s.item(i)
	}
	s.first = max(s.first, other.first)
}

func (e *evaluator) unevaluated(s *Schema, v any, seen *evaluated) bool {
	ok := true
	switch v := v.(type) {
	case map[string]any:
		if s.unevalProps == nil {
			break
		}
		e.path = append(e.path, place{index: -1})
		at := len(e.path) - 1
		for name, inner := range v {
			if seen.fields[name] || !ok && e.stop() {
				continue
			}
			e.path[at].name = name
			if s.unevalProps.never {
				ok = e.fail("unevaluatedProperties", "is not among the fields that the schema names")
			} else {
				ok = e.within(s.unevalProps, inner) && ok
			}
			seen.field(name)
		}
		e.path = e.path[:at]
	case []any:
		if s.unevalItems == nil {
			break
		}
		e.path = append(e.path, place{index: 0})
		at := len(e.path) - 1
		for i := seen.first; i < len(v); i++ {
			if seen.items[i] || !ok && e.stop() {
				continue
			}
			e.path[at].index = i
			if s.unevalItems.never {
				ok = e.fail("unevaluatedItems", "is an item more than the schema names")
			} else {
				ok = e.within(s.unevalItems, v[i]) && ok
			}
		}
		seen.first = len(v)
		e.path = e.path[:at]
	}
	return ok
}

// unique tells whether no two items are equal. Few are compared with each other, many by a hash first.
func (e *evaluator) unique(v []any) bool {
	if len(v) <= 8 {
		for i := range v {
			for j := range i {
				if !e.spend(1) {
					return false
				}
				if equal(v[i], v[j]) {
					return false
				}
			}
		}
		return true
	}
	seed := maphash.MakeSeed()
	byHash := make(map[uint64][]int, len(v))
	for i, item := range v {
		if !e.spend(4) {
			return false
		}
		h := e.hash(seed, item)
		for _, j := range byHash[h] {
			if !e.spend(1) {
				return false
			}
			if equal(item, v[j]) {
				return false
			}
		}
		byHash[h] = append(byHash[h], i)
	}
	return true
}

// hash is the same for equal values. The order of an object's fields does not matter to it.
func (e *evaluator) hash(seed maphash.Seed, v any) uint64 {
	if !e.spend(1) {
		return 0
	}
	switch v := v.(type) {
	case nil:
		return 1
	case bool:
		if v {
			return 2
		}
		return 3
	case string:
		return maphash.String(seed, v)
	case json.Number:
		if i, ok := whole(v); ok {
			return maphash.Comparable(seed, i)
		}
		if r := rational(v); r != nil {
			if r.IsInt() && r.Num().IsInt64() {
				return maphash.Comparable(seed, r.Num().Int64())
			}
			return maphash.String(seed, r.RatString())
		}
		return maphash.String(seed, string(v))
	case []any:
		h := uint64(len(v)) + 4
		for _, inner := range v {
			h = h*1099511628211 ^ e.hash(seed, inner)
		}
		return h
	case map[string]any:
		h := uint64(len(v)) + 5
		for name, inner := range v {
			h += maphash.String(seed, name)*31 ^ e.hash(seed, inner)*17
		}
		return h
	}
	return 0
}
