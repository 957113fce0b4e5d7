package history

import (
	"encoding/hex"
	"errors"
)

// oid is an object's name; SHA-1 names are followed by zeros.
type oid [32]byte

// id is an object's number in an opened repository: those in packs first, in the order of the packs and
// of names in them, then the loose ones.
type id uint32

const none = id(1<<32 - 1)

var errName = errors.New("not the name of an object")

// parseOID reads the n bytes of a name in hexadecimal.
func parseOID(s []byte, n int) (o oid, err error) {
	if len(s) != 2*n {
		return o, errName
	}
	if _, err := hex.Decode(o[:], s); err != nil {
		return o, errName
	}
	return o, nil
}

func (o *oid) text(n int) string { return hex.EncodeToString(o[:n]) }

// bits is a set of objects.
type bits []uint64

func newBits(n id) bits { return make(bits, (uint64(n)+63)/64) }

func (b bits) has(i id) bool { return b[i/64]&(1<<(i%64)) != 0 }

// add reports whether the object was not yet in the set.
func (b bits) add(i id) bool {
	if b.has(i) {
		return false
	}
	b[i/64] |= 1 << (i % 64)
	return true
}
