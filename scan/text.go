package scan

import (
	"bytes"
	"encoding/binary"
	"unicode/utf16"
	"unicode/utf8"
)

// sniff is how many bytes decide whether a file is binary, as in Git.
const sniff = 8000

// fromUTF16 converts text that begins with a UTF-16 byte order mark. Text without a zero byte is left as
// it is: it holds nothing that a scanner knows if it is UTF-16, and much if only the mark is.
func fromUTF16(data []byte) ([]byte, bool) {
	if len(data) < 4 || bytes.IndexByte(data, 0) < 0 {
		return nil, false
	}
	var order binary.ByteOrder
	switch {
	case data[0] == 0xff && data[1] == 0xfe:
		order = binary.LittleEndian
	case data[0] == 0xfe && data[1] == 0xff:
		order = binary.BigEndian
	default:
		return nil, false
	}
	out := make([]byte, 0, len(data)/2+16)
	for i := 2; i+1 < len(data); i += 2 {
		u := rune(order.Uint16(data[i:]))
		if utf16.IsSurrogate(u) && i+3 < len(data) {
			if pair := utf16.DecodeRune(u, rune(order.Uint16(data[i+2:]))); pair != utf8.RuneError {
				u = pair
				i += 2
			}
		}
		out = utf8.AppendRune(out, u)
	}
	return out, bytes.IndexByte(out[:min(len(out), sniff)], 0) < 0
}

// text converts the data to UTF-8 where it is UTF-16, and says what is binary.
func (f *File) text() {
	if text, ok := fromUTF16(f.Data); ok {
		f.Data, f.Binary = text, false
		return
	}
	f.Binary = bytes.IndexByte(f.Data[:min(len(f.Data), sniff)], 0) >= 0
}
