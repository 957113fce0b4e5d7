package schema

import (
	"encoding/json"
)

// Scalar reads a text, such as a parameter's, as the value that the schema has in mind: a number, a boolean, null, or the
// text itself. Where it could be several, it is one that fulfils the schema, if there is any. A text that is nothing else is itself, and breaks the
// schema's type.
func (s *Schema) Scalar(text string) any {
	if s.accept&^(Array|Object) == String {
		return text
	}
	var other any = text
	found := false
	switch {
	case s.accept&(Integer|Number) != 0 && isNumber(text):
		other, found = json.Number(text), true
	case s.accept&Boolean != 0 && (text == "true" || text == "false"):
		other, found = text == "true", true
	case s.accept&Null != 0 && (text == "null" || text == ""):
		other, found = nil, true
	}
	if !found || s.accept&String == 0 || s.Fulfilled(other, Neither) {
		return other
	}
	return text
}

// isNumber tells whether a text is a number of JSON (RFC 8259, section 6) of bearable length.
func isNumber(s string) bool {
	if len(s) > maxDigits {
		return false
	}
	digits := func() bool {
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		s = s[n:]
		return n > 0
	}
	if s != "" && s[0] == '-' {
		s = s[1:]
	}
	if s != "" && s[0] == '0' {
		s = s[1:]
	} else if !digits() {
		return false
	}
	if s != "" && s[0] == '.' {
		if s = s[1:]; !digits() {
			return false
		}
	}
	if s != "" && (s[0] == 'e' || s[0] == 'E') {
		if s = s[1:]; s != "" && (s[0] == '+' || s[0] == '-') {
			s = s[1:]
		}
		if !digits() {
			return false
		}
	}
	return s == ""
}

// AnyText tells whether every text fulfils the schema, so that a long one need not be looked at.
func (s *Schema) AnyText() bool {
	return s.plain || s.accept&String != 0 && !s.never && s.library == nil && s.ref == nil && s.enum == nil && s.constant == nil && s.format == nil && s.not == nil &&
		len(s.allOf)+len(s.anyOf)+len(s.oneOf) == 0 && s.cond == nil && s.minLength <= 0 && s.maxLength < 0 && s.pattern == nil
}
