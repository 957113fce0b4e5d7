package detect

import "unsafe"

// AppendRedacted appends src to dst with every secret replaced by "[redacted RULE]". A text that
// Find would give up on is replaced as a whole.
func (s *Set) AppendRedacted(dst, src []byte) []byte {
	mark, last := len(dst), 0
	complete := s.find("", src, (*finder).merged, func(m Match) bool {
		dst = append(dst, src[last:m.Start]...)
		dst = append(dst, "[redacted "...)
		dst = append(dst, m.Rule.ID...)
		dst = append(dst, ']')
		last = m.End
		return true
	})
	if !complete {
		return append(dst[:mark], "[redacted: too many secrets]"...)
	}
	return append(dst, src[last:]...)
}

// Redact returns text with every secret replaced; text itself, without a copy, where there is
// none.
func (s *Set) Redact(text string) string {
	src := unsafe.Slice(unsafe.StringData(text), len(text))
	found := false
	complete := s.Find(src, func(Match) bool {
		found = true
		return false
	})
	if complete && !found {
		return text
	}
	return string(s.AppendRedacted(nil, src))
}
