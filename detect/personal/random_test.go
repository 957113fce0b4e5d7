package personal

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
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

// TestForms: of each form of each kind, numbers made at random that pass its check are found, with the word where it takes one, and the stream and
// the mask agree; without a word those that count alone are.
func TestForms(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	d := detector(t)
	fill := func(shape string) string {
		b := []byte(shape)
		for i, c := range b {
			switch c {
			case 'd':
				b[i] = '0' + byte(r.IntN(10))
			case 'A':
				b[i] = 'A' + byte(r.IntN(26))
			case 'X':
				b[i] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[r.IntN(36)]
			}
		}
		return string(b)
	}
	bare := strings.NewReplacer(" ", "", "-", "", ".", "", "/", "", "+", "")
	for _, n := range numbers() {
		for _, f := range n.forms {
			for range 3 {
				number, tries := "", 0
				for ; tries < 3_000_000; tries++ {
					if number = fill(f.shape); n.check([]byte(bare.Replace(number))) {
						break
					}
				}
				if tries == 3_000_000 {
					t.Fatalf("%s: no number of the form %s", n.kind.ID, f.shape)
				}
				found := func(text string) bool {
					for _, m := range collect(d, text) {
						if m.Kind.ID == n.kind.ID && text[m.Start:m.End] == number {
							return true
						}
					}
					return false
				}
				// A number that is of another kind as well, and of that without a word, may be told as that one.
				if text := `{"` + n.words[0] + `":"` + number + `"}`; !found(text) {
					t.Errorf("%s: not found in %s, but %v", n.kind.ID, text, describe(collect(d, text), text))
				}
				if text := `{"value":"` + number + `"}`; len(collect(d, text)) == 0 && f.alone >= detect.Medium {
					t.Errorf("%s: not found in %s", n.kind.ID, text)
				}
				text := []byte("a " + n.words[0] + " " + number + ", b")
				checkText(t, d, text, func() int { return 1 }, func() int { return 1 + r.IntN(9) })
			}
		}
	}
}
