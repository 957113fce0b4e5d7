package signal

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"time"
)

// ID names an event, a finding's event or a request: 16 bytes that sort by time
// (RFC 9562, UUID version 7). The zero ID is no id. It is unique, not secret.
type ID [16]byte

// NewID returns a fresh id for the time t.
func NewID(t time.Time) ID {
	var id ID
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	a, b := rand.Uint64(), rand.Uint64()
	id[6] = 0x70 | byte(a>>8)&0x0f
	id[7] = byte(a)
	for i := range 8 {
		id[8+i] = byte(b >> (56 - 8*i))
	}
	id[8] = 0x80 | id[8]&0x3f
	return id
}

// IsZero reports whether id is no id.
func (id ID) IsZero() bool { return id == ID{} }

// String returns the canonical form of 36 characters, "" for no id.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return string(id.appendTo(make([]byte, 0, 36)))
}

func (id ID) appendTo(b []byte) []byte {
	for i, part := range [...][]byte{id[0:4], id[4:6], id[6:8], id[8:10], id[10:16]} {
		if i > 0 {
			b = append(b, '-')
		}
		b = hex.AppendEncode(b, part)
	}
	return b
}

var errID = errors.New("not an id: want 8-4-4-4-12 hexadecimal digits")

// ParseID reads the canonical form, or "" as no id.
func ParseID(s string) (ID, error) {
	var id ID
	if s == "" {
		return id, nil
	}
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return id, errID
	}
	digits := s[0:8] + s[9:13] + s[14:18] + s[19:23] + s[24:36]
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return ID{}, errID
	}
	return id, nil
}

// MarshalText writes the canonical form.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the canonical form.
func (id *ID) UnmarshalText(b []byte) error {
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}
