package personal

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// TestRandomNumbers: what services send that is full of digits, and is nothing of anybody. Each kind of value has the share of a hundred thousand in which
// something may be found.
func TestRandomNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	digits := func(n int) string {
		var b strings.Builder
		b.WriteByte('1' + byte(r.IntN(9)))
		for range n - 1 {
			b.WriteByte('0' + byte(r.IntN(10)))
		}
		return b.String()
	}
	hex := func(n int) string {
		var b strings.Builder
		for range n {
			b.WriteByte("0123456789abcdef"[r.IntN(16)])
		}
		return b.String()
	}
	d := detector(t)
	for _, c := range []struct {
		name string
		most int
		make func() string
	}{
		{"uuid", 0, func() string { return hex(8) + "-" + hex(4) + "-" + hex(4) + "-" + hex(4) + "-" + hex(12) }},
		{"upper uuid", 0, func() string {
			return strings.ToUpper(hex(8) + "-" + hex(4) + "-" + hex(4) + "-" + hex(4) + "-" + hex(12))
		}},
		{"md5", 0, func() string { return hex(32) }},
		{"sha256", 0, func() string { return strings.ToUpper(hex(64)) }},
		{"seconds", 0, func() string { return fmt.Sprint(1500000000 + r.IntN(300000000)) }},
		{"milliseconds", 0, func() string { return fmt.Sprint(1500000000000 + r.Int64N(300000000000)) }},
		{"microseconds", 0, func() string { return fmt.Sprint(1500000000000000 + r.Int64N(300000000000000)) }},
		{"nanoseconds", 0, func() string { return fmt.Sprint(1500000000000000000 + r.Int64N(300000000000000000)) }},
		{"coordinate", 0, func() string { return fmt.Sprintf("%.15f", r.Float64()*180-90) }},
		{"time", 0, func() string {
			return fmt.Sprintf("20%02d-%02d-%02dT%02d:%02d:%02d.%06dZ", r.IntN(30), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1000000))
		}},
		{"compact time", 0, func() string {
			return fmt.Sprintf("20%02d%02d%02d%02d%02d%02d", r.IntN(30), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60))
		}},
		{"address", 0, func() string {
			return fmt.Sprintf("%d.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256))
		}},
		{"version", 0, func() string { return fmt.Sprintf("%d.%d.%d-%d", r.IntN(100), r.IntN(1000), r.IntN(1000), r.IntN(100)) }},
		{"9 digits", 0, func() string { return digits(9) }},
		{"10 digits", 0, func() string { return digits(10) }},
		{"11 digits", 0, func() string { return digits(11) }},
		{"12 digits", 0, func() string { return digits(12) }},
		{"13 digits", 50, func() string { return digits(13) }}, // 756 and a check digit
		{"14 digits", 0, func() string { return digits(14) }},
		{"15 digits", 1000, func() string { return digits(15) }}, // American Express; French numbers
		{"16 digits", 5000, func() string { return digits(16) }}, // nothing but an issuer's range and Luhn tells them from a card
		{"18 digits", 50, func() string { return digits(18) }},
		{"19 digits", 0, func() string { return digits(19) }},
		{"ticket", 0, func() string { return fmt.Sprintf("%s-%s", digits(4), digits(5)) }},
		{"part number", 0, func() string { return fmt.Sprintf("AB%s", digits(6)) }},
		{"phone", 0, func() string { return fmt.Sprintf("(%s) %s-%s", digits(3), digits(3), digits(4)) }},
		{"list", 0, func() string { return digits(3) + ", " + digits(4) + ", " + digits(9) }},
		{"table", 0, func() string {
			return digits(4) + " " + digits(4) + " " + digits(4) + " " + digits(4) + " " + digits(4) + " " + digits(4)
		}},
	} {
		const rounds = 20000
		found, last := 0, ""
		for range rounds {
			text := `{"value":"` + c.make() + `","more":1}`
			if got := collect(d, text); len(got) > 0 {
				found++
				last = fmt.Sprint(text, describe(got, text))
			}
		}
		t.Logf("%s: %d of %d", c.name, found, rounds)
		if found*(100000/rounds) > c.most {
			t.Errorf("%s: %d of %d, such as %s", c.name, found, rounds, last)
		}
	}
}
