package token

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lestrrat-go/jwx/v3/jws"
)

// Check is what a Violation of this package is about.
const Check = "token"

// The codes.
const (
	CodeMissing    = "missing"   // no token, or not a claim that must be there
	CodeRepeated   = "repeated"  // more than one token
	CodeTooLarge   = "too-large" // beyond 16 KiB
	CodeMalformed  = "malformed"
	CodeEncrypted  = "encrypted"
	CodeNested     = "nested"
	CodeCritical   = "critical" // asks for extensions
	CodeType       = "wrong-type"
	CodeIssuer     = "unknown-issuer"
	CodeAlgorithm  = "alg-not-allowed"
	CodeUnknownKey = "unknown-key"
	CodeSignature  = "bad-signature"
	CodeExpired    = "expired"
	CodeNotYet     = "not-yet" // before nbf, or made in the future
	CodeAudience   = "wrong-audience"
	CodeScope      = "scope"
	CodeNotChecked = "not-checked" // no keys: see Result.Err
)

// Violation says what is wrong with a token. It holds no value of it.
type Violation struct {
	Check   string
	Code    string // one of the Code constants
	Where   string // header, claims or signature, with the name of a field; or where the token stood
	Message string
}

func violation(code, where, message string) *Violation {
	return &Violation{Check: Check, Code: code, Where: where, Message: message}
}

// The values of Result.Auth.
const (
	AuthNone  = "none"  // no credentials where tokens stand
	AuthOther = "other" // credentials of another kind, such as Basic
	AuthToken = "jwt"
)

// Result is what a Verifier says of one request.
type Result struct {
	// Subject is a keyed hash of iss and sub, in 32 hexadecimal digits. It is empty unless the token is verified.
	Subject string
	// Auth is what kind of credentials there are.
	Auth string
	// Verified tells that the signature is the issuer's, and that the token is valid now and meant for us.
	Verified bool
	// Violations are what is wrong. Scopes can be missing from a token that is verified.
	Violations []Violation
	// Err tells why nothing could be said: no keys. The route's fail decides.
	Err error
}

// Options are what a Verifier needs besides its Config.
type Options struct {
	// Secret is the key of Subjects, 16 bytes or more, the same for all who compare them.
	Secret []byte
	// Log is told of key sets that cannot be read. Nil: nobody is.
	Log *slog.Logger
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// Remember is how many verified tokens are kept. 0: 10,000.
	Remember int
}

const remember = 10_000

// Verifier checks the tokens of a route's requests. It is safe for concurrent use.
type Verifier struct {
	config  Config
	options Options
	sources map[string]*source // by the claim iss
	memory  *memory
}

// New returns a Verifier. It reads no keys: Run does, or the first request that needs them.
func New(c Config, o Options) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if len(c.Issuers) == 0 {
		return nil, errors.New("no issuers: name those whose tokens are taken")
	}
	if len(o.Secret) < 16 {
		return nil, errors.New("the secret of subjects has less than 16 bytes")
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Remember <= 0 {
		o.Remember = remember
	}
	c.Header = http.CanonicalHeaderKey(c.Header)
	v := &Verifier{config: c, options: o, sources: map[string]*source{}, memory: newMemory(o.Remember)}
	for _, is := range c.Issuers {
		s, err := newSource(is, c.Stale, o.Now)
		if err != nil {
			return nil, err
		}
		v.sources[is.Name] = s
	}
	return v, nil
}

// Run reads the key sets, and anew each Config.Refresh, until ctx ends. A set that cannot be read is told to the log, and
// the one before it stays in use for Config.Stale.
func (v *Verifier) Run(ctx context.Context) error {
	tick := time.NewTicker(v.config.Refresh)
	defer tick.Stop()
	for {
		var all sync.WaitGroup
		for _, s := range v.sources {
			all.Go(func() {
				if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
					v.options.Log.Warn("keys of tokens were not read", "error", err)
				}
			})
		}
		all.Wait()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Fault says whose keys could not be read when that was tried last, and why. Those that were read before may still be in use.
func (v *Verifier) Fault() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(v.sources)) {
		s := v.sources[name]
		s.mu.Lock()
		errs = append(errs, s.err)
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// Verify checks the token of a request. scopes are those that the operation asks for beside the route's. ctx bounds how
// long it waits for keys that are being fetched.
func (v *Verifier) Verify(ctx context.Context, h http.Header, scopes []string) Result {
	text, where, auth, bad := v.extract(h)
	switch {
	case bad != nil:
		return Result{Auth: auth, Violations: []Violation{*bad}}
	case text == "" && v.config.Optional:
		return Result{Auth: auth}
	case text == "":
		return Result{Auth: auth, Violations: []Violation{*violation(CodeMissing, where, "there is no token")}}
	}
	var sum [sha256.Size]byte
	if len(text) <= maxToken {
		sum = sha256.Sum256([]byte(text))
		if known := v.memory.get(sum); known != nil {
			if v.holds(known) {
				return v.scoped(known, scopes)
			}
			v.memory.drop(sum)
		}
	}
	found, bad, err := v.verify(ctx, text)
	if err != nil {
		return Result{Auth: auth, Err: err, Violations: []Violation{*violation(CodeNotChecked, where, "the issuer's keys could not be read")}}
	}
	if bad != nil {
		return Result{Auth: auth, Violations: []Violation{*bad}}
	}
	v.memory.add(sum, found)
	return v.scoped(found, scopes)
}

// holds reports whether what was found about a token is still so.
func (v *Verifier) holds(known *verified) bool {
	now, keys := v.options.Now(), known.from.keys()
	return keys != nil && keys.sum == known.keys &&
		now.Before(known.expires.Add(v.config.Leeway)) && !now.Before(known.notBefore.Add(-v.config.Leeway))
}

func (v *Verifier) scoped(known *verified, scopes []string) Result {
	r := known.result
	for _, list := range [2][]string{v.config.Scopes, scopes} {
		for _, want := range list {
			if !slices.Contains(known.scopeTexts, want) {
				r.Violations = []Violation{*violation(CodeScope, "claims", "the token has not the scope "+want)}
				return r
			}
		}
	}
	return r
}

// verify does the work for a token that is not known.
func (v *Verifier) verify(ctx context.Context, text string) (*verified, *Violation, error) {
	t, bad := parse(text)
	if bad != nil {
		return nil, bad, nil
	}
	if len(v.config.Types) > 0 && !slices.ContainsFunc(v.config.Types, func(one string) bool {
		return strings.EqualFold(mediaType(one), mediaType(t.typ))
	}) {
		return nil, violation(CodeType, "header/typ", "the token is of a type that is not taken"), nil
	}
	iss, ok := t.claims["iss"].(string)
	from := v.sources[iss]
	if !ok || from == nil {
		return nil, violation(CodeIssuer, "claims/iss", "the token is of an issuer that is not configured"), nil
	}
	if !slices.Contains(from.issuer.Algorithms, t.alg) {
		return nil, violation(CodeAlgorithm, "header/alg", "the token's algorithm is not one that the issuer signs with"), nil
	}
	keys, bad, err := v.signed(ctx, from, t, text)
	if err != nil || bad != nil {
		return nil, bad, err
	}
	found := &verified{from: from, keys: keys.sum}
	if bad := v.claims(from, t, found); bad != nil {
		return nil, bad, nil
	}
	found.result = Result{Auth: AuthToken, Verified: true}
	if sub, ok := t.claims["sub"].(string); ok && sub != "" {
		found.result.Subject = v.subject(iss, sub)
	}
	return found, nil, nil
}

// signed verifies the signature, with keys that are read anew where none of the set can have made it.
func (v *Verifier) signed(ctx context.Context, from *source, t *jwsToken, text string) (*set, *Violation, error) {
	keys := from.keys()
	var candidates []key
	known := false
	if keys != nil {
		candidates, known = keys.find(t.kid, t.alg, t.signature)
	}
	if keys == nil || !known {
		from.renew(ctx)
		if keys = from.keys(); keys == nil {
			return nil, nil, from.why()
		}
		candidates, known = keys.find(t.kid, t.alg, t.signature)
	}
	if !known {
		return nil, violation(CodeUnknownKey, "header/kid", "the issuer has no key of that name"), nil
	}
	if made(candidates, t, text) {
		return keys, nil, nil
	}
	if t.kid == "" { // nothing told that the keys are other ones by now
		from.renew(ctx)
		if newer := from.keys(); newer != nil && newer.sum != keys.sum {
			if candidates, _ = newer.find("", t.alg, t.signature); made(candidates, t, text) {
				return newer, nil, nil
			}
		}
	}
	return nil, violation(CodeSignature, "signature", "the signature is not that of the issuer's key"), nil
}

// made reports whether one of the keys made the signature.
func made(candidates []key, t *jwsToken, text string) bool {
	for _, k := range candidates {
		if _, err := jws.VerifyCompactFast(k.public, []byte(text), algorithms[t.alg].is); err == nil {
			return true
		}
	}
	return false
}

func (v *Verifier) claims(from *source, t *jwsToken, found *verified) *Violation {
	now, leeway := v.options.Now(), v.config.Leeway
	for _, name := range v.config.Require {
		if value, ok := t.claims[name]; !ok || value == nil || value == "" {
			return violation(CodeMissing, "claims/"+name, "the token has not the claim that must be there")
		}
	}
	if sub, ok := t.claims["sub"]; ok {
		if _, ok := sub.(string); !ok {
			return violation(CodeMalformed, "claims/sub", "a claim is no text")
		}
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		at, there, ok := date(t.claims, name)
		switch {
		case !ok:
			return violation(CodeMalformed, "claims/"+name, "a claim is no time")
		case !there && name == "exp":
			return violation(CodeMissing, "claims/exp", "the token is valid for ever")
		case !there:
		case name == "exp":
			if found.expires = at; !now.Before(at.Add(leeway)) {
				return violation(CodeExpired, "claims/exp", "the token has expired")
			}
		case now.Before(at.Add(-leeway)):
			return violation(CodeNotYet, "claims/"+name, "the token is not valid yet")
		case at.After(found.notBefore):
			found.notBefore = at
		}
	}
	claim := from.issuer.AudienceClaim
	if claim == "" {
		claim = "aud"
	}
	audiences, ok := texts(t.claims[claim])
	if !ok || !slices.ContainsFunc(audiences, func(a string) bool { return slices.Contains(from.issuer.Audiences, a) }) {
		return violation(CodeAudience, "claims/"+claim, "the token is meant for others")
	}
	for _, name := range v.config.ScopeClaims {
		all, _ := texts(t.claims[name])
		for _, s := range all {
			for _, one := range strings.Fields(s) {
				found.scopeTexts = append(found.scopeTexts, strings.Clone(one))
			}
		}
	}
	return nil
}

// subject is the same for the same person of the same issuer, and tells nothing of who that is without the secret.
func (v *Verifier) subject(iss, sub string) string {
	h := hmac.New(sha256.New, v.options.Secret)
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(iss))) // so that no two pairs read the same
	h.Write(size[:])
	h.Write([]byte(iss))
	h.Write([]byte(sub))
	return hex.EncodeToString(h.Sum(nil)[:16])
}
