package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// signer makes tokens by the standard library alone.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner(t testing.TB) *signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{k}
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func (s *signer) point() []byte {
	b, err := s.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	return b
}

// set is the key set (RFC 7517) with the signer's public key.
func (s *signer) set() string {
	p := s.point()
	return `{"keys":[{"kty":"EC","crv":"P-256","kid":"k1","alg":"ES256","use":"sig","x":"` + b64(p[1:33]) + `","y":"` + b64(p[33:]) + `"}]}`
}

// token signs claims over honest ones; alg other than ES256 is made as attackers do.
func (s *signer) token(t testing.TB, r *rig, alg string, change map[string]any) string {
	t.Helper()
	claims := map[string]any{"iss": "https://id.example", "sub": "u1", "aud": "shop", "exp": r.now.Unix() + 600, "iat": r.now.Unix(), "scope": "orders:read"}
	maps.Copy(claims, change)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	header, _ := json.Marshal(map[string]any{"alg": alg, "kid": "k1", "typ": "JWT"})
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	text := b64(header) + "." + b64(body)
	sum := sha256.Sum256([]byte(text))
	switch alg {
	case "none":
		return text + "."
	case "HS256": // the public key as a secret
		mac := hmac.New(sha256.New, s.point())
		mac.Write([]byte(text))
		return text + "." + b64(mac.Sum(nil))
	}
	a, b, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	a.FillBytes(sig[:32])
	b.FillBytes(sig[32:])
	return text + "." + b64(sig)
}

const securedShop = `
openapi: 3.1.0
info: {title: Orders, version: "1"}
components:
  securitySchemes: {o: {type: oauth2, flows: {clientCredentials: {tokenUrl: https://id.example/token, scopes: {"orders:read": x, "orders:write": x}}}}}
security: [{o: ["orders:read"]}]
paths:
  /orders/{id}:
    get: {parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {"200": {description: x}}}
    delete: {security: [{o: ["orders:write"]}], parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {"200": {description: x}}}
  /login:
    post: {security: [], requestBody: {content: {application/json: {schema: {type: object}}}}, responses: {"200": {description: x}}}
`

const tokenRoute = `      document: orders.yaml
      bypass: off
      tokens:
        mode: block
        by_document: true
        verify:
          cookie: jwt
          issuers: [{issuer: "https://id.example", keys: KEYS, audiences: [shop], algorithms: [ES256]}]
`

// tokenRig is a rig whose keys stand in a file, or are missing.
func tokenRig(t testing.TB, s *signer, keys string) *rig {
	t.Helper()
	dir := t.TempDir()
	r := newRig(t, strings.ReplaceAll(tokenRoute, "KEYS", dir+"/keys.json"), map[string]string{"orders.yaml": securedShop})
	if keys != "" {
		writeFile(t, dir+"/keys.json", keys)
	}
	return r
}

// TestTokens: requests are held to their issuers' tokens, by what the document asks for.
func TestTokens(t *testing.T) {
	good, other := newSigner(t), newSigner(t)
	r := tokenRig(t, good, good.set())
	bearer := func(s *signer, alg string, change map[string]any) string {
		return "Authorization: Bearer " + s.token(t, r, alg, change)
	}
	valid := bearer(good, "ES256", nil)
	const preflight = "Origin: https://shop.example\nAccess-Control-Request-Method: DELETE"
	for _, c := range []struct {
		name, method, target, header string
		codes                        []string
		verified                     bool
	}{
		{"valid", "GET", "/orders/7", valid, nil, true},
		{"in a cookie", "GET", "/orders/7", "Cookie: a=b; jwt=" + strings.TrimPrefix(valid, "Authorization: Bearer "), nil, true},
		{"expired", "GET", "/orders/7", bearer(good, "ES256", map[string]any{"exp": r.now.Unix() - 600}), []string{"token/expired!"}, false},
		{"for others", "GET", "/orders/7", bearer(good, "ES256", map[string]any{"aud": "bank"}), []string{"token/wrong-audience!"}, false},
		{"another issuer", "GET", "/orders/7", bearer(good, "ES256", map[string]any{"iss": "https://evil.example"}), []string{"token/unknown-issuer!"}, false},
		{"without an end", "GET", "/orders/7", bearer(good, "ES256", map[string]any{"exp": nil}), []string{"token/missing!"}, false},
		{"alg none", "GET", "/orders/7", bearer(good, "none", nil), []string{"token/alg-not-allowed!"}, false},
		{"the public key as a secret", "GET", "/orders/7", bearer(good, "HS256", nil), []string{"token/alg-not-allowed!"}, false},
		{"another's key", "GET", "/orders/7", bearer(other, "ES256", nil), []string{"token/bad-signature!"}, false},
		{"none", "GET", "/orders/7", "", []string{"token/missing!"}, false},
		{"of another kind", "GET", "/orders/7", "Authorization: Basic dTpw", []string{"token/missing!"}, false},
		{"two", "GET", "/orders/7", valid + "\nCookie: jwt=x", []string{"token/repeated!"}, false},
		{"two headers", "GET", "/orders/7", valid + "\n" + valid, []string{"token/repeated!"}, false},
		{"a scope is missing", "DELETE", "/orders/7", valid, []string{"token/scope!"}, true},
		{"a scope is there", "DELETE", "/orders/7", bearer(good, "ES256", map[string]any{"scope": []string{"orders:read", "orders:write"}}), nil, true},
		{"a scope is missing behind a slash", "DELETE", "/ORDERS/7/", valid, []string{"path/undocumented", "token/scope!"}, true},
		{"for everybody", "POST", "/login", "", nil, false},
		{"for everybody, with an old token", "POST", "/login", bearer(good, "ES256", map[string]any{"exp": r.now.Unix() - 600}), []string{"token/expired"}, false},
		{"nearly for everybody", "POST", "/LOGIN/", "", []string{"path/undocumented", "token/missing!"}, false},
		{"not described", "GET", "/admin", "", []string{"path/undocumented", "token/missing!"}, false},
		{"a browser asks first", "OPTIONS", "/orders/7", preflight, nil, false},
		{"and means another method", "OPTIONS", "/orders/7", preflight + "\nX-Http-Method-Override: GET", []string{"token/missing!"}, false},
		{"and means another method by its query", "OPTIONS", "/orders/7?_method=get", preflight, []string{"token/missing!"}, false},
		{"nobody asks first", "OPTIONS", "/orders/7", "", []string{"token/missing!"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := r.do(t, c.method, c.target, c.header, "", 200, "", "")
			if d := cmp.Diff(c.codes, x.codes()); d != "" || x.Err != nil {
				t.Errorf("%s %v", d, x.Err)
			}
			if c.verified != (len(x.Subject) == 32) || c.verified && x.Auth != "jwt" {
				t.Errorf("subject %q, %q", x.Subject, x.Auth)
			}
			for _, v := range x.Violations {
				for _, value := range []string{"u1", "evil", "bank", "eyJ"} {
					if strings.Contains(v.Message+v.Target, value) {
						t.Errorf("a value is told: %+v", v)
					}
				}
			}
		})
	}
}

// TestTokensWithoutKeys: where keys cannot be read nothing can be said of a token, which the route's fail mode decides; who needs none passes.
func TestTokensWithoutKeys(t *testing.T) {
	s := newSigner(t)
	r := tokenRig(t, s, "")
	valid := "Authorization: Bearer " + s.token(t, r, "ES256", nil)
	if x := r.do(t, "GET", "/orders/7", valid, "", 200, "", ""); x.Err == nil || !cmp.Equal(x.codes(), []string{"token/not-checked"}) {
		t.Errorf("%v %q", x.Err, x.codes())
	}
	if x := r.do(t, "POST", "/login", valid, "", 200, "", ""); x.Err != nil || !cmp.Equal(x.codes(), []string{"token/not-checked"}) {
		t.Errorf("for everybody: %v %q", x.Err, x.codes())
	}
	r.g.routes["shop"].cfg.Tokens.Mode = Report
	if x := r.do(t, "GET", "/orders/7", valid, "", 200, "", ""); x.Err != nil || !cmp.Equal(x.codes(), []string{"token/not-checked"}) {
		t.Errorf("what is only told of must not refuse on a route that fails closed: %v %q", x.Err, x.codes())
	}
}

// TestTokensAtTheEdge: the same before a real server, with keys that come later.
func TestTokensAtTheEdge(t *testing.T) {
	s := newSigner(t)
	for _, fail := range []string{"open", "closed"} {
		dir := t.TempDir()
		r := newRig(t, strings.ReplaceAll(tokenRoute, "KEYS", dir+"/keys.json"), map[string]string{"orders.yaml": securedShop})
		st := r.serve(t, func(w http.ResponseWriter, _ *http.Request) {}, func(o *stageOptions) { o.route.Fail = fail })
		valid := "Authorization: Bearer " + s.token(t, r, "ES256", nil)
		get := func(header string) int { resp, _ := st.do(t, "GET", "/orders/7", header, ""); return resp.StatusCode }
		want := map[string]int{"open": 200, "closed": 503}[fail]
		if got := get(valid); got != want {
			t.Errorf("fail %s without keys: %d, want %d", fail, got, want)
		}
		writeFile(t, dir+"/keys.json", s.set())
		r.set(r.now.Add(11e9)) // keys are tried again after a while
		valid = "Authorization: Bearer " + s.token(t, r, "ES256", nil)
		if got := get(valid); got != 200 {
			t.Errorf("fail %s: %d", fail, got)
		}
		if got := get(valid + "x"); got != 403 {
			t.Errorf("fail %s: %d", fail, got)
		}
	}
}
