package people

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/argon2"
)

// Params are argon2id's costs.
type Params struct {
	Time      uint32 // passes
	MemoryKiB uint32
	Threads   uint8
}

// DefaultParams is the second recommended option of RFC 9106, section 4, for
// machines that are not dedicated to hashing: 64 MiB, three passes, four lanes.
var DefaultParams = Params{Time: 3, MemoryKiB: 64 << 10, Threads: 4}

const (
	saltBytes = 16
	hashBytes = 32
	// What a stored hash may ask for at most: the store may have been tampered
	// with, and must not be able to exhaust memory or time.
	maxMemoryKiB = 256 << 10
	maxTime      = 16
	maxThreads   = 16
)

func (p Params) valid() bool {
	return p.Time >= 1 && p.Time <= maxTime && p.Threads >= 1 && p.Threads <= maxThreads &&
		p.MemoryKiB >= 8*uint32(p.Threads) && p.MemoryKiB <= maxMemoryKiB
}

// formatPHC writes the PHC string format
// (https://github.com/P-H-C/phc-string-format).
func formatPHC(p Params, salt, hash []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.MemoryKiB, p.Time, p.Threads,
		b64.EncodeToString(salt), b64.EncodeToString(hash))
}

var errPHC = errors.New("people: malformed password hash in the store")

// parsePHC accepts exactly what formatPHC writes, within the limits above.
func parsePHC(s string) (p Params, salt, hash []byte, err error) {
	if len(s) > 200 {
		return Params{}, nil, nil, errPHC
	}
	parts := strings.Split(s, "$")
	if len(parts) != 6 {
		return Params{}, nil, nil, errPHC
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.MemoryKiB, &p.Time, &p.Threads); err != nil || !p.valid() {
		return Params{}, nil, nil, errPHC
	}
	salt, err1 := base64.RawStdEncoding.DecodeString(parts[4])
	hash, err2 := base64.RawStdEncoding.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) != saltBytes || len(hash) != hashBytes || formatPHC(p, salt, hash) != s {
		return Params{}, nil, nil, errPHC
	}
	return p, salt, hash, nil
}

// dummyHash is a hash that no password has, at today's cost.
func dummyHash(p Params) string {
	var b [saltBytes + hashBytes]byte
	rand.Read(b[:])
	return formatPHC(p, b[:saltBytes], b[saltBytes:])
}

// hasher hashes few passwords at a time: each takes Params.MemoryKiB.
type hasher struct {
	params     Params
	slots      chan struct{}
	reserved   chan struct{} // one more, for known addresses and links
	waiting    [2]atomic.Int64
	maxWaiting int64
}

func newHasher(p Params, slots, waiting int) *hasher {
	if !p.valid() {
		p = DefaultParams
	}
	return &hasher{params: p, slots: make(chan struct{}, slots), reserved: make(chan struct{}, 1), maxWaiting: int64(waiting)}
}

// acquire waits for a slot. Those who are known do not stand behind the others.
func (h *hasher) acquire(ctx context.Context, known bool) (release func(), err error) {
	waiting, reserved := &h.waiting[0], chan struct{}(nil)
	if known {
		waiting, reserved = &h.waiting[1], h.reserved
	}
	if waiting.Add(1) > h.maxWaiting {
		waiting.Add(-1)
		return nil, ErrLimited{RetryAfter: 2 * time.Second}
	}
	defer waiting.Add(-1)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case h.slots <- struct{}{}:
		return func() { <-h.slots }, nil
	case reserved <- struct{}{}:
		return func() { <-reserved }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *hasher) hash(ctx context.Context, password string, known bool) (string, error) {
	release, err := h.acquire(ctx, known)
	if err != nil {
		return "", err
	}
	defer release()
	salt := make([]byte, saltBytes)
	rand.Read(salt)
	p := h.params
	return formatPHC(p, salt, argon2.IDKey([]byte(normalize(password)), salt, p.Time, p.MemoryKiB, p.Threads, hashBytes)), nil
}

// verify compares a password with a stored hash; stale says that the hash was
// made at another cost than today's.
func (h *hasher) verify(ctx context.Context, phc, password string, known bool) (ok, stale bool, err error) {
	p, salt, want, err := parsePHC(phc)
	if err != nil {
		return false, false, err
	}
	release, err := h.acquire(ctx, known)
	if err != nil {
		return false, false, err
	}
	defer release()
	got := argon2.IDKey([]byte(normalize(password)), salt, p.Time, p.MemoryKiB, p.Threads, hashBytes)
	return subtle.ConstantTimeCompare(got, want) == 1, p != h.params, nil
}
