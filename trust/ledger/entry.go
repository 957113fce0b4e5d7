package ledger

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits of an entry, in bytes of its escaped form. A longer actor, subject or
// detail is cut and ends in a mark that says how much is missing: an attacker
// who can choose a long subject must not be able to keep an action out of the
// ledger.
const (
	MaxActor   = 256
	MaxVerb    = 64
	MaxSubject = 2048
	MaxDetails = 32
	MaxKey     = 64
	MaxValue   = 1536
	// MaxLine is longer than any entry's line can be.
	MaxLine = 64 << 10
)

// An Entry says who did what to whom.
type Entry struct {
	// Time is when it happened; the time of the append if zero. It is kept in
	// UTC to the nanosecond, years 1 to 9999.
	Time time.Time
	// Actor is who did it: "person:ann", "token:ci", "uid:1000",
	// "rule:edge.waf-attack", "system". Not empty.
	Actor string
	// Verb is what was done: lower-case words joined by dots, such as
	// "block.apply", "person.create", "settings.change".
	Verb string
	// Subject is what it was done to; may be empty.
	Subject string
	// Detail holds the rest; at most MaxDetails keys. Never put a secret here.
	Detail map[string]string
}

// A Record is an entry that is in the ledger.
type Record struct {
	Index uint64
	Entry
	// Hash is the leaf hash: SHA-256 of a zero byte and the line.
	Hash Hash
}

const timeLayout = "2006-01-02T15:04:05.000000000Z"

// encode writes the part of the line that does not depend on the entry's
// place: everything between the index and the seal.
func encode(e Entry) ([]byte, error) {
	if e.Actor == "" {
		return nil, fmt.Errorf("%w: it has no actor", ErrEntry)
	}
	if !validVerb(e.Verb) {
		return nil, fmt.Errorf("%w: verb %.80q is not lower-case words joined by dots, at most %d bytes", ErrEntry, e.Verb, MaxVerb)
	}
	if len(e.Detail) > MaxDetails {
		return nil, fmt.Errorf("%w: %d details, at most %d are kept", ErrEntry, len(e.Detail), MaxDetails)
	}
	t := e.Time.UTC()
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, fmt.Errorf("%w: year %d", ErrEntry, t.Year())
	}
	b := make([]byte, 0, 256)
	b = append(b, `"time":"`...)
	b = t.AppendFormat(b, timeLayout)
	b = append(b, `","actor":`...)
	b = appendString(b, e.Actor, MaxActor)
	b = append(b, `,"verb":"`...)
	b = append(b, e.Verb...)
	b = append(b, `","subject":`...)
	b = appendString(b, e.Subject, MaxSubject)
	if len(e.Detail) > 0 {
		b = append(b, `,"detail":{`...)
		for i, k := range slices.Sorted(maps.Keys(e.Detail)) {
			if len(k) > MaxKey || !validVerb(k) {
				return nil, fmt.Errorf("%w: detail key %.80q is not lower-case words, at most %d bytes", ErrEntry, k, MaxKey)
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '"')
			b = append(b, k...)
			b = append(b, `":`...)
			b = appendString(b, e.Detail[k], MaxValue)
		}
		b = append(b, '}')
	}
	return b, nil
}

// body is the line without its seal and closing brace.
func body(index uint64, rest []byte) []byte {
	b := make([]byte, 0, len(rest)+80)
	b = append(b, `{"index":`...)
	b = strconv.AppendUint(b, index, 10)
	b = append(b, ',')
	return append(b, rest...)
}

const sealPrefix = `,"seal":"`

func appendSeal(body []byte, seal string) []byte {
	body = append(body, sealPrefix...)
	body = append(body, seal...)
	return append(body, `"}`...)
}

type line struct {
	Index   uint64            `json:"index"`
	Time    string            `json:"time"`
	Actor   string            `json:"actor"`
	Verb    string            `json:"verb"`
	Subject string            `json:"subject"`
	Detail  map[string]string `json:"detail"`
	Seal    string            `json:"seal"`
}

// parse reads one line without its newline. It accepts exactly what encode
// writes: one entry has one form.
func parse(b []byte) (rec Record, seal string, err error) {
	if len(b) > MaxLine {
		return Record{}, "", fmt.Errorf("a line of %d bytes, at most %d are written", len(b), MaxLine)
	}
	var l line
	if err := json.Unmarshal(b, &l); err != nil {
		return Record{}, "", fmt.Errorf("not an entry: %w", err)
	}
	t, err := time.Parse(timeLayout, l.Time)
	if err != nil {
		return Record{}, "", fmt.Errorf("not an entry: time %.60q", l.Time)
	}
	e := Entry{Time: t, Actor: l.Actor, Verb: l.Verb, Subject: l.Subject, Detail: l.Detail}
	rest, err := encode(e)
	if err != nil {
		return Record{}, "", err
	}
	if !validSeal(l.Seal) {
		return Record{}, "", fmt.Errorf("not an entry: malformed seal")
	}
	if !bytes.Equal(appendSeal(body(l.Index, rest), l.Seal), b) {
		return Record{}, "", fmt.Errorf("not in the form that the ledger writes")
	}
	return Record{Index: l.Index, Entry: e, Hash: leafHash(b)}, l.Seal, nil
}

func validVerb(s string) bool {
	if s == "" || len(s) > MaxVerb {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// appendString appends s as a JSON string whose escaped form, without quotes,
// is at most limit bytes.
func appendString(b []byte, s string, limit int) []byte {
	b = append(b, '"')
	start := len(b)
	const markRoom = 40 // "…[+9223372036854775807 bytes]" and an escape
	safe, safeAt := start, 0
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			// The byte itself, as text: \xff.
			b = fmt.Appendf(b, `\\x%02x`, s[i])
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case plain(r):
			b = utf8.AppendRune(b, r)
		case r > 0xffff:
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
		i += n
		if len(b)-start <= limit-markRoom {
			safe, safeAt = len(b), i
		}
		if len(b)-start > limit {
			b = fmt.Appendf(b[:safe], "…[+%d bytes]", len(s)-safeAt)
			break
		}
	}
	return append(b, '"')
}

// plain reports whether r stands for itself in a line. Control, format and
// direction characters do not: they would let one entry look like another in a
// terminal. The list is fixed here, and not taken from the unicode package, so
// that a line's one form never changes.
func plain(r rune) bool {
	switch {
	case r < 0x20, r >= 0x7f && r < 0xa0, r == 0xad, r == 0x61c, r == 0x180e,
		r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x206f,
		r == 0xfeff, r >= 0xfff0 && r <= 0xfffc, r >= 0xe0000:
		return false
	}
	return true
}
