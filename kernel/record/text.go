package record

import "unicode/utf8"

// Text returns bytes of the kernel as text: what is valid UTF-8 as it is, control characters too, and each other byte as \xHH.
// So nothing that a program chose for a name is lost, and two names that differ stay two, unless one spells out such an escape.
func Text(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	return string(AppendText(make([]byte, 0, len(b)+16), b))
}

// AppendText appends what [Text] returns.
func AppendText(dst, b []byte) []byte {
	const hex = "0123456789abcdef"
	for i := 0; i < len(b); {
		c := b[i]
		if c < utf8.RuneSelf {
			dst = append(dst, c)
			i++
			continue
		}
		if r, n := utf8.DecodeRune(b[i:]); r != utf8.RuneError || n > 1 {
			dst = append(dst, b[i:i+n]...)
			i += n
			continue
		}
		dst = append(dst, '\\', 'x', hex[c>>4], hex[c&15])
		i++
	}
	return dst
}
