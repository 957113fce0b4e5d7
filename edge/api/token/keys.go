package token

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/lestrrat-go/jwx/v3/jwa"
	"github.com/lestrrat-go/jwx/v3/jwk"
)

// Bounds on a key set: what an issuer may make us do.
const (
	maxSet     = 1 << 20 // bytes
	maxKeys    = 100
	minModulus = 2048 // bits of RSA: fewer can be broken
	maxModulus = 8192 // more cost too much to verify with
	sameKeys   = 4    // keys that are tried for one token
)

// algorithm is what RFC 7518 and RFC 8037 say of a name.
type algorithm struct {
	is    jwa.SignatureAlgorithm
	curve elliptic.Curve // of ES*
	rsa   bool
}

var algorithms = map[string]algorithm{
	"RS256": {is: jwa.RS256(), rsa: true}, "RS384": {is: jwa.RS384(), rsa: true}, "RS512": {is: jwa.RS512(), rsa: true},
	"PS256": {is: jwa.PS256(), rsa: true}, "PS384": {is: jwa.PS384(), rsa: true}, "PS512": {is: jwa.PS512(), rsa: true},
	"ES256": {is: jwa.ES256(), curve: elliptic.P256()}, "ES384": {is: jwa.ES384(), curve: elliptic.P384()},
	"ES512": {is: jwa.ES512(), curve: elliptic.P521()},
	"EdDSA": {is: jwa.EdDSA()},
}

// takes reports whether a key is of the algorithm's kind, and the signature as long as that kind makes it.
// ECDSA's is R and S side by side (RFC 7518, 3.4), never the DER that other formats have.
func (a algorithm) takes(public any, signature int) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return a.rsa && signature == k.Size()
	case *ecdsa.PublicKey:
		return a.curve != nil && k.Curve == a.curve && signature == 2*((a.curve.Params().BitSize+7)/8)
	case ed25519.PublicKey:
		return !a.rsa && a.curve == nil && signature == ed25519.SignatureSize
	}
	return false
}

// key is one of a set.
type key struct {
	id     string
	alg    string // the only algorithm it is for; empty: all of its kind
	public any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
}

// set is an issuer's keys at one time. It never changes.
type set struct {
	keys []key
	sum  [sha256.Size]byte // of the text: the same text is the same set
	read time.Time
}

// parseSet reads a key set (RFC 7517, 5). Keys that cannot verify signatures here are left out, as it asks for;
// a set without any other is an error.
func parseSet(text []byte, now time.Time) (*set, error) {
	if len(text) > maxSet {
		return nil, fmt.Errorf("the key set is larger than %d bytes", maxSet)
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("the key set is no JSON: %w", err)
	}
	if len(doc.Keys) > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys: want %d at most", len(doc.Keys), maxKeys)
	}
	s := &set{sum: sha256.Sum256(text), read: now}
	var why error
	for _, raw := range doc.Keys {
		k, err := parseKey(raw)
		if err != nil {
			why = err
			continue
		}
		s.keys = append(s.keys, k)
	}
	switch {
	case len(s.keys) > 0:
		return s, nil
	case why != nil:
		return nil, fmt.Errorf("the key set has no key that signatures can be verified with: %w", why)
	}
	return nil, errors.New("the key set has no keys")
}

func parseKey(raw []byte) (key, error) {
	j, err := jwk.ParseKey(raw)
	if err != nil {
		return key{}, errors.New("a key is broken, or of a kind that is not known") // its text may be a secret
	}
	if j.KeyType() == jwa.OctetSeq() {
		return key{}, errors.New("a key is a shared secret")
	}
	if use, ok := j.KeyUsage(); ok && use != "" && use != "sig" {
		return key{}, errors.New("a key is not for signatures")
	}
	if ops, ok := j.KeyOps(); ok && len(ops) > 0 {
		verifies := false
		for _, op := range ops {
			verifies = verifies || op == jwk.KeyOpVerify || op == jwk.KeyOpSign
		}
		if !verifies {
			return key{}, errors.New("a key is not for verifying")
		}
	}
	p, err := j.PublicKey()
	if err != nil {
		return key{}, errors.New("a key has no public part")
	}
	var k key
	if err := jwk.Export(p, &k.public); err != nil {
		return key{}, errors.New("a key is broken")
	}
	k.id, _ = j.KeyID()
	if alg, ok := j.Algorithm(); ok {
		k.alg = alg.String()
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		if n := public.N.BitLen(); n < minModulus || n > maxModulus || public.E < 3 || public.E&1 == 0 {
			return key{}, fmt.Errorf("a key of RSA has %d bits: want %d to %d, and an odd exponent of 3 or more", n, minModulus, maxModulus)
		}
	case *ecdsa.PublicKey:
		if _, err := public.ECDH(); err != nil {
			return key{}, errors.New("a key is no point of its curve, or of a curve that is not taken")
		}
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize {
			return key{}, errors.New("a key of Ed25519 has the wrong size")
		}
	default:
		return key{}, errors.New("a key is of a kind that is not taken")
	}
	return k, nil
}

// find returns the keys that may have made a signature. Without a kid these are all of the algorithm's kind, where
// there are few. known tells whether the set has the kid.
func (s *set) find(kid, alg string, signature int) (found []key, known bool) {
	a := algorithms[alg]
	for _, k := range s.keys {
		if kid != "" && k.id != kid {
			continue
		}
		known = true
		if (k.alg == "" || k.alg == alg) && a.takes(k.public, signature) && len(found) < sameKeys {
			found = append(found, k)
		}
	}
	return found, known
}
