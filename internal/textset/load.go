package textset

// load8 returns the eight bytes from i on, the first in the lowest place. The compiler makes one load of it.
func load8(s string, i int) uint64 {
	s = s[i : i+8]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// load4 returns the four bytes from i on.
func load4(s string, i int) uint32 {
	s = s[i : i+4]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

// head returns the first bytes of a text, at most eight, zeros behind them.
func head(s string) uint64 {
	switch n := len(s); {
	case n >= 8:
		return load8(s, 0)
	case n >= 4:
		return uint64(load4(s, 0)) | uint64(load4(s, n-4))<<(8*(n-4))
	case n >= 2:
		return uint64(s[0]) | uint64(s[n/2])<<(8*(n/2)) | uint64(s[n-1])<<(8*(n-1))
	case n == 1:
		return uint64(s[0])
	}
	return 0
}

// mix spreads the bits of a key; the high ones are the best.
func mix(v uint64) uint64 {
	v *= 0x9E3779B97F4A7C15
	return (v ^ v>>29) * 0xBF58476D1CE4E5B9
}
