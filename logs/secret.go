package logs

import (
	"bytes"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// Masked stands where a secret stood.
const Masked = "*"

// IsSecretName reports whether an attribute of that name holds a secret: a password, a key, a token that lets its
// bearer in. Only the last part of a flattened name counts, without case, "-" and "_", and it must be the whole of it:
// "TokenElevationType" is none.
func IsSecretName(name string) bool {
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name = name[i+1:]
	}
	if i := strings.IndexByte(name, '['); i > 0 {
		name = name[:i]
	}
	if len(name) < 3 || len(name) > 32 {
		return false
	}
	var b [32]byte
	n := 0
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case c == '-' || c == '_':
			continue
		case 'A' <= c && c <= 'Z':
			c += 'a' - 'A'
		}
		b[n] = c
		n++
	}
	own := b[:n]
	for _, prefix := range [...]string{"http", "request", "downstream", "origin"} { // names of headers in access logs
		own = bytes.TrimPrefix(own, []byte(prefix))
	}
	switch string(own) {
	case "password", "passwd", "pwd", "passphrase", "newpassword", "oldpassword", "masteruserpassword", "userpassword",
		"adminpassword", "secret", "secretkey", "secretaccesskey", "clientsecret", "appsecret", "secretstring", "secretbinary",
		"sharedsecret", "token", "sessiontoken", "accesstoken", "refreshtoken", "idtoken", "authtoken", "bearertoken", "apitoken",
		"csrftoken", "securitytoken", "xamzsecuritytoken", "authorizationtoken", "apikey", "xapikey", "privatekey", "privatekeypem",
		"authorization", "proxyauthorization", "xauthtoken", "cookie", "setcookie", "cscookie", "keymaterial", "plaintext":
		return true
	}
	return false
}

// MaskSecrets masks in an event that came as one what a [Mapper] would have masked in a record: attributes that are
// called like a secret, structures kept as text that speak of one, and values in addresses and queries.
func MaskSecrets(e *signal.Event) {
	for _, f := range [...]signal.Field{signal.FieldHTTPRequestURLQueryString, signal.FieldHTTPRequestReferrer, signal.FieldURLURLString,
		signal.FieldHTTPRequestURLPath} {
		if e.Has(f) && !e.IsMasked(f) {
			SetText(e, f, e.Str(f))
		}
	}
	for _, f := range [...]signal.Field{signal.FieldAPIRequestData, signal.FieldRawData} {
		if v := e.Str(f); v != "" && !e.IsMasked(f) && mentionsSecret(v) {
			e.SetMasked(f, v, Masked)
		}
	}
	attrs := e.UnmappedAttrs()
	for i := range attrs {
		a := &attrs[i]
		structure := strings.HasPrefix(a.Value, "{") || strings.HasPrefix(a.Value, "[")
		if a.Value != "" && (IsSecretName(a.Name) || structure && mentionsSecret(a.Value)) {
			a.Value = Masked
		}
	}
}
