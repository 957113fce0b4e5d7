package people

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"hash/crc32"
	"math/big"
	"strings"
)

// secretLength is the length of a link's token and of a session's secret: 256
// random bits in base64url.
const secretLength = 43

func newSecret() string {
	var b [32]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func validSecret(s string) bool {
	if len(s) != secretLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// digest is the key under which a secret is stored. Looking it up compares
// digests, so its time says nothing about the secret.
func digest(secret string) string {
	h := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(h[:])
}

// publicID is what lists show of a stored secret.
func publicID(key string) string { return key[:16] }

func newUID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// TokenPrefix begins every API token. A token is the prefix, 43 characters of
// base62 with 256 random bits, and the CRC-32 (IEEE) of all that in six more:
// secret scanners can tell one from chance, and a mistyped one is refused
// without asking the store.
const TokenPrefix = "tst_"

const (
	tokenBody = 43 // base62 digits of 2^256-1
	tokenSum  = 6  // base62 digits of 2^32-1
	tokenLen  = len(TokenPrefix) + tokenBody + tokenSum
	base62    = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

func newToken() string {
	var b [32]byte
	rand.Read(b[:])
	s := TokenPrefix + inBase62(new(big.Int).SetBytes(b[:]), tokenBody)
	return s + checksum(s)
}

// ValidToken reports whether s has the form and checksum of an API token.
func ValidToken(s string) bool {
	if len(s) != tokenLen || !strings.HasPrefix(s, TokenPrefix) {
		return false
	}
	for i := len(TokenPrefix); i < len(s); i++ {
		if strings.IndexByte(base62, s[i]) < 0 {
			return false
		}
	}
	return checksum(s[:tokenLen-tokenSum]) == s[tokenLen-tokenSum:]
}

func checksum(s string) string {
	return inBase62(big.NewInt(int64(crc32.ChecksumIEEE([]byte(s)))), tokenSum)
}

func inBase62(n *big.Int, digits int) string {
	out := make([]byte, digits)
	rem, base := new(big.Int), big.NewInt(int64(len(base62)))
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, rem)
		out[i] = base62[rem.Int64()]
	}
	return string(out)
}

// CSRF returns the token that a session's forms carry. It is derived from the
// session's secret, which the browser keeps in an HttpOnly cookie, and says
// nothing about it; it changes with each sign-in.
func CSRF(sessionSecret string) string {
	m := hmac.New(sha256.New, []byte(sessionSecret))
	m.Write([]byte("testudo console csrf v1"))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// CheckCSRF reports whether a form's token belongs to the session, in
// constant time. An empty or malformed session secret has none.
func CheckCSRF(sessionSecret, token string) bool {
	return validSecret(sessionSecret) && hmac.Equal([]byte(CSRF(sessionSecret)), []byte(token))
}
