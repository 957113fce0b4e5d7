package schema

import (
	"encoding/json"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// maxDigits bounds the numbers that are compared exactly: jsontree has a note of longer ones.
const maxDigits = 64

// whole reads a number that is written as an integer of at most 18 digits.
func whole(n json.Number) (int64, bool) {
	s := string(n)
	digits := s
	if s != "" && s[0] == '-' {
		digits = s[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	var i int64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		i = i*10 + int64(c-'0')
	}
	if len(digits) < len(s) {
		i = -i
	}
	return i, true
}

// integral tells whether a number has no fraction; 1.0 has none.
func integral(n json.Number) bool {
	s := string(n)
	point := strings.IndexByte(s, '.')
	if !strings.ContainsAny(s, "eE") {
		return point < 0 || strings.Trim(s[point+1:], "0") == ""
	}
	if r := rational(n); r != nil {
		return r.IsInt()
	}
	return false
}

// rational reads a number exactly; nil where that would cost too much.
func rational(n json.Number) *big.Rat {
	s := string(n)
	if len(s) > maxDigits {
		return nil
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		if e, err := strconv.Atoi(strings.TrimPrefix(s[i+1:], "+")); err != nil || e > 400 || e < -400 {
			return nil
		}
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return nil
	}
	return r
}

// compare returns -1, 0 or 1 as n is less than b, equal to it, or more. Rounding to float64 keeps the
// order, so only what is equal after it needs the exact numbers.
func compare(n json.Number, b *bound) int {
	if i, ok := whole(n); ok && b.integer {
		switch {
		case i < b.i:
			return -1
		case i > b.i:
			return 1
		}
		return 0
	}
	f, _ := strconv.ParseFloat(string(n), 64) // beyond the range: an infinity, which compares rightly
	switch {
	case f < b.f:
		return -1
	case f > b.f:
		return 1
	}
	if r := rational(n); r != nil {
		return r.Cmp(b.exact)
	}
	return 0
}

// divides tells whether n is a multiple of b, as far as whole numbers of a power of ten suffice for that; else quick is false.
func (b *bound) divides(n json.Number) (divides, quick bool) {
	if b.mantissa == 0 {
		return false, false
	}
	s := string(n)
	point := strings.IndexByte(s, '.')
	places := 0
	if point >= 0 {
		places = len(s) - point - 1
		s = s[:point] + s[point+1:]
	}
	i, ok := whole(json.Number(s))
	if !ok {
		return false, false
	}
	m := b.mantissa
	for ; places < b.places; places++ {
		if i > math.MaxInt64/10 || i < -math.MaxInt64/10 {
			return false, false
		}
		i *= 10
	}
	for p := b.places; p < places; p++ {
		if m > math.MaxInt64/10 {
			return false, false
		}
		m *= 10
	}
	return i%m == 0, true
}

func multipleOf(n json.Number, b *bound) bool {
	r := rational(n)
	if r == nil {
		return false
	}
	return r.Quo(r, b.exact).IsInt()
}

// equal compares two values as JSON Schema does: 1 and 1.0 are one number.
func equal(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case bool:
		b, ok := b.(bool)
		return ok && a == b
	case string:
		b, ok := b.(string)
		return ok && a == b
	case json.Number:
		b, ok := b.(json.Number)
		if !ok {
			return false
		}
		if a == b {
			return true
		}
		if i, ok := whole(a); ok {
			if j, ok := whole(b); ok {
				return i == j
			}
		}
		x, y := rational(a), rational(b)
		return x != nil && y != nil && x.Cmp(y) == 0
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for i := range a {
			if !equal(a[i], b[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !equal(v, w) {
				return false
			}
		}
		return true
	}
	return false
}
