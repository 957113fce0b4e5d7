package signal

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// RecordedText returns the recorded form of a field as text, "" where it is not set: an address
// in its canonical form, a time in RFC 3339, the elements of a list joined by ", " until
// there are a few thousand bytes.
func (e *Event) RecordedText(f Field) string {
	if !e.Has(f) {
		return ""
	}
	switch f.Kind() {
	case KindString:
		return e.RecordedStr(f)
	case KindStrings:
		return joinSome(e.Strings(f))
	}
	b, _ := e.AppendText(nil, f)
	return string(b)
}

// AppendText appends the text of a field that is neither a string nor a list, and reports whether it is
// such a field. Of one that is not set the text is that of its zero, nothing for an address.
func (e *Event) AppendText(b []byte, f Field) ([]byte, bool) {
	switch f.Kind() {
	case KindInt:
		return strconv.AppendInt(b, e.Int(f), 10), true
	case KindBool:
		return strconv.AppendBool(b, e.Bool(f)), true
	case KindFloat:
		return strconv.AppendFloat(b, e.Float(f), 'g', -1, 64), true
	case KindIP:
		return e.IP(f).AppendTo(b), true
	case KindTime:
		return e.Timestamp(f).AppendFormat(b, time.RFC3339Nano), true
	}
	return b, false
}

// maxJoined bounds what a list of the sender's making costs to show.
const maxJoined = 4096

func joinSome(list []string) string {
	size := 0
	for i, item := range list {
		if size += len(item) + 2; size > maxJoined {
			return strings.Join(append(slices.Clone(list[:i]), "…"), ", ")
		}
	}
	return strings.Join(list, ", ")
}
