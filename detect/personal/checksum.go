package personal

// The check digits that more than one kind has. A c is characters without what separates them, digits where not said otherwise.

func val(c byte) int { return int(c - '0') }

// weighted is the sum of digits times weights, from the left.
func weighted(c []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += w * val(c[i])
	}
	return sum
}

// mod is the number's remainder, digit by digit.
func mod(c []byte, m int) int {
	r := 0
	for _, d := range c {
		r = (r*10 + val(d)) % m
	}
	return r
}

// number is the value of few digits.
func number(c []byte) int {
	n := 0
	for _, d := range c {
		n = n*10 + val(d)
	}
	return n
}

// luhn is ISO/IEC 7812-1 annex B.
func luhn(c []byte) bool {
	sum, double := 0, false
	for i := len(c) - 1; i >= 0; i-- {
		d := val(c[i])
		if double {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
		double = !double
	}
	return sum%10 == 0
}

// iso11x10 is ISO/IEC 7064 MOD 11,10, the check digit last.
func iso11x10(c []byte) bool {
	p := 10
	for _, d := range c[:len(c)-1] {
		s := (val(d) + p) % 10
		if s == 0 {
			s = 10
		}
		p = s * 2 % 11
	}
	return (val(c[len(c)-1])+p)%10 == 1
}

// ean13 is the check digit of EAN-13 (GS1 General Specifications, section 7.9).
func ean13(c []byte) bool {
	return weighted(c, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1)%10 == 0
}

// verhoeff is J. Verhoeff, Error Detecting Decimal Codes (1969): the dihedral group of ten elements and a permutation.
func verhoeff(c []byte) bool {
	const permuted = "1576283094"
	sum := 0
	for i := range c {
		d := val(c[len(c)-1-i])
		for range i % 8 {
			d = val(permuted[d])
		}
		sum = dihedral(sum, d)
	}
	return sum == 0
}

// dihedral multiplies in the group of the pentagon's symmetries: 0 to 4 turn, 5 to 9 mirror.
func dihedral(a, b int) int {
	switch {
	case a < 5 && b < 5:
		return (a + b) % 5
	case a < 5:
		return 5 + (a+b-5)%5
	case b < 5:
		return 5 + (a-b)%5
	default:
		return (a - b + 5) % 5
	}
}

// same reports whether all are the same character.
func same(c []byte) bool {
	for _, x := range c {
		if x != c[0] {
			return false
		}
	}
	return true
}

// date reports whether a month and a day may be one of a year nobody named: so 29 February is.
func date(month, day int) bool {
	const days = "\x1f\x1d\x1f\x1e\x1f\x1e\x1f\x1f\x1e\x1f\x1e\x1f"
	return month >= 1 && month <= 12 && day >= 1 && day <= int(days[month-1])
}
