package token

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// Bounds on a token. What real issuers make has a few kilobytes.
const (
	maxToken  = 16 << 10
	maxDepth  = 16
	maxValues = 2000
	maxKid    = 1024
)

// jwsToken is a token taken apart. None of it is verified.
type jwsToken struct {
	alg, kid, typ string
	claims        map[string]any
	signature     int // length in bytes
}

// parse takes a compact JWS apart (RFC 7515, 7.1). Where it returns a Violation, the token is not to be used.
func parse(text string) (*jwsToken, *Violation) {
	if len(text) > maxToken {
		return nil, violation(CodeTooLarge, "", "the token is larger than any that is taken")
	}
	if strings.ContainsAny(text, " ,\t") {
		return nil, violation(CodeMalformed, "", "there is more than a token")
	}
	switch strings.Count(text, ".") {
	case 2:
	case 4:
		return nil, violation(CodeEncrypted, "", "the token is encrypted (JWE), which is not taken")
	default:
		return nil, violation(CodeMalformed, "", "the token has not three parts")
	}
	head, rest, _ := strings.Cut(text, ".")
	body, mac, _ := strings.Cut(rest, ".")
	signature, ok := segment(mac)
	if !ok {
		return nil, violation(CodeMalformed, "signature", "the signature is not in base64url")
	}
	h, v := object(head, "header")
	if v != nil {
		return nil, v
	}
	t := &jwsToken{signature: len(signature)}
	for name, to := range map[string]*string{"alg": &t.alg, "kid": &t.kid, "typ": &t.typ} {
		value, there := h[name]
		if s, ok := value.(string); ok {
			*to = s
		} else if there {
			return nil, violation(CodeMalformed, "header/"+name, "a field of the header is no text")
		}
	}
	if _, ok := h["crit"]; ok {
		return nil, violation(CodeCritical, "header/crit", "the token asks for extensions to be understood that are not")
	}
	if _, ok := h["b64"]; ok {
		return nil, violation(CodeCritical, "header/b64", "the token's claims may stand in another form than base64url")
	}
	if _, ok := h["enc"]; ok {
		return nil, violation(CodeEncrypted, "header/enc", "the token is encrypted (JWE), which is not taken")
	}
	// RFC 7519, 5.2: cty says that the claims are a token themselves. Some issuers write it where they are not, as "JWT"
	// beside claims; those are refused too, since the server behind might go on unwrapping.
	if cty, ok := h["cty"]; ok {
		if s, ok := cty.(string); !ok || strings.EqualFold(mediaType(s), "jwt") {
			return nil, violation(CodeNested, "header/cty", "the token holds another token")
		}
	}
	if len(t.kid) > maxKid {
		return nil, violation(CodeMalformed, "header/kid", "the name of the key is too long")
	}
	if t.claims, v = object(body, "claims"); v != nil {
		return nil, v
	}
	return t, nil
}

func mediaType(s string) string {
	if rest, ok := cutPrefixFold(s, "application/"); ok {
		return rest
	}
	return s
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix) {
		return s[len(prefix):], true
	}
	return s, false
}

// strict refuses bits that decode to nothing: one text has one form.
var strict = base64.RawURLEncoding.Strict()

func segment(s string) ([]byte, bool) {
	if strings.ContainsAny(s, "\r\n") { // which Go's decoder skips
		return nil, false
	}
	b, err := strict.DecodeString(s)
	return b, err == nil
}

func object(part, where string) (map[string]any, *Violation) {
	b, ok := segment(part)
	if !ok {
		return nil, violation(CodeMalformed, where, "a part of the token is not in base64url")
	}
	v, notes, err := jsontree.Decode(b, jsontree.Limits{Depth: maxDepth, Values: maxValues})
	if err != nil {
		return nil, violation(CodeMalformed, where, "a part of the token is no JSON, or nested too deeply")
	}
	for _, n := range notes {
		return nil, violation(CodeMalformed, where, "parsers disagree about a part of the token: "+n.Kind.String())
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, violation(CodeMalformed, where, "a part of the token is no object")
	}
	return o, nil
}

// date reads a claim that is a NumericDate (RFC 7519, 2): seconds, with a fraction maybe. there is false where it is
// missing, ok where it is something else.
func date(claims map[string]any, name string) (at time.Time, there, ok bool) {
	v, there := claims[name]
	if !there {
		return at, false, true
	}
	n, ok := v.(json.Number)
	if !ok {
		return at, true, false
	}
	f, err := n.Float64()
	if err != nil || math.Abs(f) > 1<<40 { // the year 36812
		return at, true, false
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), true, true
}

// texts reads a claim that is a text or a list of such. ok is false where it is neither.
func texts(v any) (all []string, ok bool) {
	switch v := v.(type) {
	case string:
		return []string{v}, true
	case []any:
		for _, one := range v {
			s, ok := one.(string)
			if !ok {
				return nil, false
			}
			all = append(all, s)
		}
		return all, true
	}
	return nil, false
}
