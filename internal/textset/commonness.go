package textset

// Commonness estimates how often a text occurs at a given place of command lines, paths and
// addresses: the product of its bytes' frequencies, upper case as lower.
func Commonness(text string) float64 {
	p := 1.0
	for i := range len(text) {
		p *= frequency(text[i])
	}
	return p
}

// frequency is a rough share of a byte in command lines, paths, addresses and names.
func frequency(b byte) float64 {
	if 'A' <= b && b <= 'Z' {
		b |= 0x20
	}
	if b >= 0x80 {
		return 0.0001
	}
	switch b {
	case 'e':
		return 0.08
	case 's', 'i', 't', 'r', 'o', 'n', 'a', '\\', '/':
		return 0.055
	case 'c', 'm', 'd', 'l', '.', ' ', 'p':
		return 0.035
	case 'u', 'w', 'x', 'g', 'h', 'f', 'b', '-', ':', '"', '0', '1', '2', '3':
		return 0.015
	case 'v', 'y', 'k', '_', '4', '5', '6', '7', '8', '9', '=', '%':
		return 0.008
	case 'j', 'q', 'z', '&', '?', ',', '(', ')', '{', '}':
		return 0.003
	}
	return 0.001
}
