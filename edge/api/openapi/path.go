package openapi

import (
	"strings"
	"unicode/utf8"
)

// maxPath bounds the segments of a path that is looked up.
const maxPath = 256

// segments splits the path of a request as it was received and decodes each segment once. What is wrong says why
// two servers could read the path differently; it is "" where none could. A segment's text is decoded after
// the split, so that an encoded slash never makes two of one.
func segments(path string, into []string) (parts []string, wrong, code string) {
	if path == "" || path[0] != '/' {
		return nil, "does not begin with a slash", CodeAmbiguous
	}
	parts = into[:0]
	for rest := path[1:]; ; {
		raw, after, more := strings.Cut(rest, "/")
		part := raw
		if strings.IndexByte(raw, '%') >= 0 {
			var ok bool
			if part, ok = percent(raw, false); !ok {
				return nil, "has a broken percent-encoding", CodeEncoding
			}
		}
		if code, wrong = suspicious(raw, part); wrong != "" {
			return nil, wrong, code
		}
		if len(parts) >= maxPath {
			return nil, "has more than 256 segments", CodeNotChecked
		}
		parts = append(parts, part)
		if !more {
			return parts, "", ""
		}
		rest = after
	}
}

func suspicious(raw, part string) (code, wrong string) {
	if name, _, _ := strings.Cut(part, ";"); name == "." || name == ".." { // some servers take off what follows a semicolon
		return CodeAmbiguous, "has a dot segment"
	}
	ascii := true
	for i := 0; i < len(part); i++ {
		switch c := part[i]; {
		case c == '/':
			return CodeAmbiguous, "has an encoded slash"
		case c == '\\':
			return CodeAmbiguous, "has a backslash"
		case c < ' ' || c == 0x7f:
			return CodeAmbiguous, "has a control character"
		case c >= utf8.RuneSelf:
			ascii = false
		case c == '%' && len(raw) != len(part) && i+2 < len(part) && unhex(part[i+1]) < 16 && unhex(part[i+2]) < 16:
			return CodeAmbiguous, "has a percent-encoding within a percent-encoding"
		}
	}
	if !ascii && !utf8.ValidString(part) {
		return CodeEncoding, "is not valid UTF-8"
	}
	return "", ""
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

// percent decodes; in a query a plus is a space.
func percent(s string, query bool) (string, bool) {
	if !strings.ContainsAny(s, "%+") {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '%':
			if i+2 >= len(s) || unhex(s[i+1]) > 15 || unhex(s[i+2]) > 15 {
				return "", false
			}
			b.WriteByte(unhex(s[i+1])<<4 | unhex(s[i+2]))
			i += 2
		case c == '+' && query:
			b.WriteByte(' ')
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), true
}
