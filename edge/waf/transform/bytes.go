package transform

// Bytes is a set of bytes.
type Bytes [4]uint64

// In returns the bytes that occur in a value.
func In(value string) Bytes {
	var b Bytes
	for i := 0; i < len(value); i++ {
		b[value[i]>>6] |= 1 << (value[i] & 63)
	}
	return b
}

// Meets reports whether the sets have a byte in common.
func (b *Bytes) Meets(other *Bytes) bool {
	return b[0]&other[0]|b[1]&other[1]|b[2]&other[2]|b[3]&other[3] != 0
}

func bytesOf(s string) Bytes { return In(s) }

func (b Bytes) with(other Bytes) Bytes {
	for i := range b {
		b[i] |= other[i]
	}
	return b
}

// high are the bytes that are not ASCII, anyByte all.
func high() Bytes { return Bytes{2: ^uint64(0), 3: ^uint64(0)} }

func anyByte() Bytes { return Bytes{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)} }
