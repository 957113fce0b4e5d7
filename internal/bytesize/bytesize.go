// Package bytesize reads and writes sizes such as "64KiB" in configuration.
package bytesize

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is a number of bytes. Its text form is a number with an optional unit:
// B, KB, MB, GB, TB (powers of 1000) or KiB, MiB, GiB, TiB (powers of 1024).
type Size int64

// Units of 1024.
const (
	KiB Size = 1 << 10
	MiB Size = 1 << 20
	GiB Size = 1 << 30
	TiB Size = 1 << 40
)

type unit struct {
	name string
	size int64
}

// units are tried in order, so that "KiB" is not read as "B".
func units() []unit {
	return []unit{
		{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
		{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
	}
}

// Parse reads a size, as in "10MiB", "1.5 GB" or "4096".
func Parse(s string) (Size, error) {
	text := strings.TrimSpace(s)
	for _, u := range units() {
		if len(text) < len(u.name) || !strings.EqualFold(text[len(text)-len(u.name):], u.name) {
			continue
		}
		number := strings.TrimSpace(text[:len(text)-len(u.name)])
		if whole, err := strconv.ParseInt(number, 10, 64); err == nil && whole >= 0 && whole <= math.MaxInt64/u.size {
			return Size(whole * u.size), nil
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || math.IsNaN(v) || v < 0 || v*float64(u.size) >= math.MaxInt64 {
			break
		}
		return Size(v * float64(u.size)), nil
	}
	return 0, fmt.Errorf("not a size: %q: write a number and a unit, as in 10MiB", s)
}

// String returns the size in the largest unit of 1024 that divides it.
func (s Size) String() string {
	for _, u := range []unit{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if s != 0 && int64(s)%u.size == 0 {
			return strconv.FormatInt(int64(s)/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}

// Round cuts the size to whole MiB, or to tenths of a GiB, for people.
func (s Size) Round() string {
	switch {
	case s >= GiB:
		return strconv.FormatFloat(float64(s)/float64(GiB), 'f', 1, 64) + " GiB"
	case s >= MiB:
		return strconv.FormatInt(int64(s/MiB), 10) + " MiB"
	}
	return s.String()
}

// MarshalText writes the form of String.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the forms of Parse.
func (s *Size) UnmarshalText(b []byte) error {
	v, err := Parse(string(b))
	if err == nil {
		*s = v
	}
	return err
}
