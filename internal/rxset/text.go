package rxset

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// view is a text as the two dialects read it, as valid UTF-8.
type view struct {
	raw   string
	ascii bool // both dialects read the same
	// characters is the text with U+FFFD for each byte that is not UTF-8, as the regexp package decodes it.
	characters string
	// latin is the text with each byte as the character of that number; it is made when it is asked for.
	latin     string
	hasLatin  bool
	mended    []byte // what backs characters, where it is not raw
	latinized []byte
}

func (v *view) set(text string) {
	v.raw, v.characters, v.ascii, v.hasLatin = text, text, isASCII(text), false
	if v.ascii || utf8.ValidString(text) {
		return
	}
	v.mended = v.mended[:0]
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		v.mended = utf8.AppendRune(v.mended, r)
		i += n
	}
	v.characters = unsafe.String(unsafe.SliceData(v.mended), len(v.mended))
}

// bytes returns the text for the binary dialect.
func (v *view) bytes() string {
	if v.ascii {
		return v.raw
	}
	if !v.hasLatin {
		v.latinized = v.latinized[:0]
		for i := 0; i < len(v.raw); i++ {
			v.latinized = utf8.AppendRune(v.latinized, rune(v.raw[i]))
		}
		v.latin = unsafe.String(unsafe.SliceData(v.latinized), len(v.latinized))
		v.hasLatin = true
	}
	return v.latin
}

// keptBytes bounds the buffers that a view keeps from one text to the next.
const keptBytes = 1 << 20

// release forgets the text.
func (v *view) release() {
	v.raw, v.characters, v.latin, v.hasLatin = "", "", "", false
	if cap(v.mended) > keptBytes {
		v.mended = nil
	}
	if cap(v.latinized) > keptBytes {
		v.latinized = nil
	}
}

func isASCII(s string) bool {
	const high = 0x8080808080808080
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&high != 0 {
			return false
		}
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
