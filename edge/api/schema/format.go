package schema

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"regexp/syntax"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

var errFormat = errors.New("is not of the format")

// formats are those of OpenAPI's registry that JSON Schema does not know. Others that a schema names are
// annotations; those of JSON Schema are asserted by the library.
func formats() []*jsonschema.Format {
	whole := func(low, high float64) func(any) error {
		return func(v any) error {
			n, ok := v.(json.Number)
			if !ok {
				return nil
			}
			f, err := strconv.ParseFloat(string(n), 64)
			if err != nil || f < low || f >= high || !integral(n) {
				return errFormat
			}
			return nil
		}
	}
	return []*jsonschema.Format{
		{Name: "int8", Validate: whole(-1<<7, 1<<7)},
		{Name: "int16", Validate: whole(-1<<15, 1<<15)},
		{Name: "int32", Validate: whole(-1<<31, 1<<31)},
		{Name: "int64", Validate: func(v any) error {
			n, ok := v.(json.Number)
			if !ok {
				return nil
			}
			if _, err := strconv.ParseInt(string(n), 10, 64); err == nil {
				return nil
			}
			return whole(-1<<63, 1<<63)(v)
		}},
		{Name: "uint8", Validate: whole(0, 1<<8)},
		{Name: "uint16", Validate: whole(0, 1<<16)},
		{Name: "uint32", Validate: whole(0, 1<<32)},
		{Name: "float", Validate: func(v any) error {
			if n, ok := v.(json.Number); ok {
				if f, err := strconv.ParseFloat(string(n), 64); err != nil || math.Abs(f) > math.MaxFloat32 {
					return errFormat
				}
			}
			return nil
		}},
		{Name: "double", Validate: func(v any) error {
			if n, ok := v.(json.Number); ok {
				if _, err := strconv.ParseFloat(string(n), 64); err != nil {
					return errFormat
				}
			}
			return nil
		}},
		{Name: "byte", Validate: func(v any) error {
			if s, ok := v.(string); ok {
				if _, err := base64.StdEncoding.DecodeString(s); err != nil {
					return errFormat
				}
			}
			return nil
		}},
		{Name: "uuid", Validate: func(v any) error {
			if s, ok := v.(string); ok && !uuid(s) {
				return errFormat
			}
			return nil
		}},
	}
}

// validRegex parses a pattern that was sent, and compiles nothing.
func validRegex(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil
	}
	if len(s) > 1000 {
		return errFormat
	}
	if _, err := syntax.Parse(translate(s), syntax.Perl); err != nil {
		if e, ok := errors.AsType[*syntax.Error](err); ok && (e.Code == syntax.ErrInvalidPerlOp || e.Code == syntax.ErrInvalidRepeatSize || e.Code == syntax.ErrInvalidEscape) {
			return nil // other engines may know it
		}
		return errFormat
	}
	return nil
}

func uuid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
		default:
			return false
		}
	}
	return true
}
