package process

import (
	"strings"

	"github.com/testudo-sec/testudo/kernel/record"
)

// texts keeps one copy of each text that came lately. It holds two generations of at most half its limits: when the younger
// one is full it becomes the elder, and the elder is forgotten. It is not safe for concurrent use.
type texts struct {
	young, old map[string]string // what came, as bytes -> what is kept
	bytes      int
}

// limits of one generation.
const (
	textsMax      = 16 << 10
	textsMaxBytes = 2 << 20
	textsMaxOne   = 4096 // longer ones are not shared
)

func newTexts() texts { return texts{young: map[string]string{}} }

// of returns the bytes as text that is valid UTF-8. It allocates only for what it did not see lately.
func (t *texts) of(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := t.young[string(b)]; ok {
		return s
	}
	raw := string(b)
	s, ok := t.old[raw]
	if !ok {
		s = record.Text(b)
	}
	if len(raw) > textsMaxOne {
		return s
	}
	if len(t.young) >= textsMax || t.bytes+len(raw) > textsMaxBytes {
		t.old, t.young, t.bytes = t.young, make(map[string]string, len(t.young)/2), 0
	}
	t.young[raw] = s
	t.bytes += len(raw)
	return s
}

// shorten cuts s to at most n bytes, at the beginning of a character.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return strings.Clone(s[:n])
}
