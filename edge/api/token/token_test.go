package token_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/lestrrat-go/jwx/v3/jwk"

	"github.com/testudo-sec/testudo/edge/api/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const issuer = "https://id.example"

var secret = []byte("a secret of tests, long enough")

// keyring makes each key once, when it is asked for: RSA costs.
var keyring = sync.OnceValue(func() map[string]func() crypto.Signer {
	must := func(s crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return s
	}
	ec := func(curve elliptic.Curve) func() crypto.Signer {
		return sync.OnceValue(func() crypto.Signer { return must(ecdsa.GenerateKey(curve, rand.Reader)) })
	}
	modulus := func() func() crypto.Signer {
		return sync.OnceValue(func() crypto.Signer { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	}
	return map[string]func() crypto.Signer{
		"rsa": modulus(), "other": modulus(),
		"p256": ec(elliptic.P256()), "p384": ec(elliptic.P384()), "p521": ec(elliptic.P521()), "forger": ec(elliptic.P256()),
		"ed": sync.OnceValue(func() crypto.Signer {
			_, k, err := ed25519.GenerateKey(rand.Reader)
			return must(k, err)
		}),
	}
})

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// sign makes a token by the standard library alone, so that the judge is not what is judged.
func sign(t testing.TB, name, alg string, header, claims map[string]any) string {
	t.Helper()
	h := map[string]any{"alg": alg, "kid": name, "typ": "JWT"}
	maps.Copy(h, header)
	maps.DeleteFunc(h, func(_ string, v any) bool { return v == nil })
	return signText(t, name, alg, marshal(t, h), marshal(t, claims))
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func signText(t testing.TB, name, alg, header, claims string) string {
	t.Helper()
	input := b64([]byte(header)) + "." + b64([]byte(claims))
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[max(0, len(alg)-3):]]
	var sig []byte
	var err error
	switch k := keyring()[name]().(type) {
	case ed25519.PrivateKey:
		sig = ed25519.Sign(k, []byte(input))
	default:
		h := hash.New()
		h.Write([]byte(input))
		sum := h.Sum(nil)
		switch k := k.(type) {
		case *rsa.PrivateKey:
			if alg[:2] == "PS" {
				sig, err = rsa.SignPSS(rand.Reader, k, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			} else {
				sig, err = rsa.SignPKCS1v15(rand.Reader, k, hash, sum)
			}
		case *ecdsa.PrivateKey:
			r, s, e := ecdsa.Sign(rand.Reader, k, sum)
			if e != nil {
				t.Fatal(e)
			}
			n := (k.Curve.Params().BitSize + 7) / 8
			sig = append(r.FillBytes(make([]byte, n)), s.FillBytes(make([]byte, n))...)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return input + "." + b64(sig)
}

func keySet(t testing.TB, names ...string) []byte {
	t.Helper()
	set := jwk.NewSet()
	for _, name := range names {
		k, err := jwk.Import(keyring()[name]().Public())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.Set("kid", name); err != nil {
			t.Fatal(err)
		}
		if err := set.AddKey(k); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// clock is set by tests.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

func newClock() *clock { return &clock{at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

type bench struct {
	*token.Verifier
	clock *clock
	file  string
}

// verifier returns one whose issuer has the keys of the names; of all kinds without any.
func verifier(t testing.TB, change func(*token.Config), names ...string) bench {
	t.Helper()
	if len(names) == 0 {
		names = []string{"rsa", "p256", "p384", "p521", "ed"}
	}
	file := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(file, keySet(t, names...), 0o600); err != nil {
		t.Fatal(err)
	}
	c := token.Default()
	c.Issuers = []token.Issuer{{
		Name: issuer, Keys: file, Audiences: []string{"shop"},
		Algorithms: []string{"RS256", "PS256", "PS512", "ES256", "ES384", "ES512", "EdDSA"},
	}}
	if change != nil {
		change(&c)
	}
	clock := newClock()
	v, err := token.New(c, token.Options{Secret: secret, Now: clock.now, Remember: 100})
	if err != nil {
		t.Fatal(err)
	}
	return bench{v, clock, file}
}

func good(c *clock) map[string]any {
	now := c.now()
	return map[string]any{
		"iss": issuer, "sub": "alice", "aud": "shop", "scope": "orders:read orders:write",
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}
}

func with(claims map[string]any, name string, v any) map[string]any {
	claims = maps.Clone(claims)
	if claims[name] = v; v == nil {
		delete(claims, name)
	}
	return claims
}

func bearer(text string) http.Header { return http.Header{"Authorization": {"Bearer " + text}} }

func codes(r token.Result) []string {
	var all []string
	for _, v := range r.Violations {
		all = append(all, v.Code)
	}
	return all
}

func TestAlgorithms(t *testing.T) {
	v := verifier(t, nil)
	for _, c := range []struct{ key, alg string }{
		{"rsa", "RS256"}, {"rsa", "PS256"}, {"rsa", "PS512"}, {"p256", "ES256"}, {"p384", "ES384"}, {"p521", "ES512"}, {"ed", "EdDSA"},
	} {
		r := v.Verify(t.Context(), bearer(sign(t, c.key, c.alg, nil, good(v.clock))), []string{"orders:read"})
		if !r.Verified || r.Auth != token.AuthToken || len(r.Subject) != 32 || len(r.Violations) != 0 || r.Err != nil {
			t.Errorf("%s with %s: %+v", c.alg, c.key, r)
		}
	}
}

// Each row is one thing that is wrong with a token that is right otherwise.
func TestRefused(t *testing.T) {
	v := verifier(t, func(c *token.Config) { c.Types = []string{"JWT"}; c.Scopes = []string{"orders:read"} })
	ok := good(v.clock)
	now := v.clock.now()
	head := func(name string, value any) map[string]any { return map[string]any{name: value} }
	der := func() string {
		text := sign(t, "p256", "ES256", nil, ok)
		input, _, _ := cutLast(text)
		sum := sha256.Sum256([]byte(input))
		sig, err := ecdsa.SignASN1(rand.Reader, keyring()["p256"]().(*ecdsa.PrivateKey), sum[:])
		if err != nil {
			t.Fatal(err)
		}
		return input + "." + b64(sig)
	}
	hmacked := func(alg string) string { // RS/HS confusion: the public key as a secret
		b, err := x509.MarshalPKIXPublicKey(keyring()["rsa"]().Public())
		if err != nil {
			t.Fatal(err)
		}
		input := b64([]byte(`{"alg":"`+alg+`","kid":"rsa","typ":"JWT"}`)) + "." + b64([]byte(marshal(t, ok)))
		h := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: b}))
		h.Write([]byte(input))
		return input + "." + b64(h.Sum(nil))
	}
	embedded := func() string { // signed by a key that the token brings along
		k, err := jwk.Import(keyring()["forger"]().Public())
		if err != nil {
			t.Fatal(err)
		}
		return sign(t, "forger", "ES256", map[string]any{"jwk": k, "kid": "p256", "jku": "https://evil.example/keys"}, ok)
	}
	rs := sign(t, "rsa", "RS256", nil, ok)
	input, mac, _ := cutLast(rs)
	rows := []struct{ name, text, code string }{
		{"none", b64([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + b64([]byte(marshal(t, ok))) + ".", token.CodeAlgorithm},
		{"None with a signature", b64([]byte(`{"alg":"nOnE","kid":"rsa","typ":"JWT"}`)) + "." + b64([]byte(marshal(t, ok))) + "." + mac, token.CodeAlgorithm},
		{"HS256 with the public key", hmacked("HS256"), token.CodeAlgorithm},
		{"HMAC said to be RS256", hmacked("RS256"), token.CodeSignature},
		{"RS384 is not the issuer's", sign(t, "rsa", "RS384", nil, ok), token.CodeAlgorithm},
		{"no alg", sign(t, "rsa", "RS256", head("alg", nil), ok), token.CodeAlgorithm},
		{"alg is a number", sign(t, "rsa", "RS256", head("alg", 5), ok), token.CodeMalformed},
		{"ES256 with a key of RSA", sign(t, "p256", "ES256", head("kid", "rsa"), ok), token.CodeSignature},
		{"signature of ES256 in DER", der(), token.CodeSignature},
		{"signature of another key", sign(t, "other", "RS256", head("kid", "rsa"), ok), token.CodeSignature},
		{"a key in the token", embedded(), token.CodeSignature},
		{"zeros for R and S", zeros(t, ok), token.CodeSignature},
		{"unknown key", sign(t, "other", "RS256", nil, ok), token.CodeUnknownKey},
		{"claims changed", strings.Split(input, ".")[0] + "." + b64([]byte(marshal(t, with(ok, "sub", "root")))) + "." + mac, token.CodeSignature},
		{"no signature", input + ".", token.CodeSignature},
		{"crit", sign(t, "rsa", "RS256", head("crit", []string{"exp"}), ok), token.CodeCritical},
		{"b64", sign(t, "rsa", "RS256", head("b64", false), ok), token.CodeCritical},
		{"nested", sign(t, "rsa", "RS256", head("cty", "JWT"), ok), token.CodeNested},
		{"five parts", "a.b.c.d.e", token.CodeEncrypted},
		{"enc", sign(t, "rsa", "RS256", head("enc", "A128GCM"), ok), token.CodeEncrypted},
		{"typ", sign(t, "rsa", "RS256", head("typ", "logout+jwt"), ok), token.CodeType},
		{"two parts", input, token.CodeMalformed},
		{"padding", input + "." + mac + "==", token.CodeMalformed},
		{"another form of the same base64", strings.Split(input, ".")[0] + "." + strings.Split(input, ".")[1] + "!" + "." + mac, token.CodeMalformed},
		// 256 bytes leave four bits of the last letter, A, Q, g or w, without a meaning.
		{"bits without a meaning", rs[:len(rs)-1] + string(rs[len(rs)-1]+1), token.CodeMalformed},
		{"a key twice", signText(t, "rsa", "RS256", `{"alg":"RS256","kid":"rsa","typ":"JWT","kid":"p256"}`, marshal(t, ok)), token.CodeMalformed},
		{"a claim twice", signText(t, "rsa", "RS256", `{"alg":"RS256","kid":"rsa","typ":"JWT"}`, `{"sub":"a",`+marshal(t, ok)[1:]), token.CodeMalformed},
		{"claims are a list", signText(t, "rsa", "RS256", `{"alg":"RS256","kid":"rsa","typ":"JWT"}`, `[]`), token.CodeMalformed},
		{"two tokens in one", rs + ", Bearer " + rs, token.CodeMalformed},
		{"nested deeply", b64([]byte(strings.Repeat("[", 5000))) + ".e30.AA", token.CodeMalformed},
		{"too large", rs + strings.Repeat("A", 20000), token.CodeTooLarge},
		{"unknown issuer", sign(t, "rsa", "RS256", nil, with(ok, "iss", issuer+"/")), token.CodeIssuer},
		{"no issuer", sign(t, "rsa", "RS256", nil, with(ok, "iss", nil)), token.CodeIssuer},
		{"expired", sign(t, "rsa", "RS256", nil, with(ok, "exp", now.Add(-time.Minute).Unix())), token.CodeExpired},
		{"valid for ever", sign(t, "rsa", "RS256", nil, with(ok, "exp", nil)), token.CodeMissing},
		{"exp is text", sign(t, "rsa", "RS256", nil, with(ok, "exp", "9999999999")), token.CodeMalformed},
		{"exp beyond all", sign(t, "rsa", "RS256", nil, with(ok, "exp", 1e300)), token.CodeMalformed},
		{"not yet", sign(t, "rsa", "RS256", nil, with(ok, "nbf", now.Add(61*time.Second).Unix())), token.CodeNotYet},
		{"made in the future", sign(t, "rsa", "RS256", nil, with(ok, "iat", now.Add(time.Hour).Unix())), token.CodeNotYet},
		{"for others", sign(t, "rsa", "RS256", nil, with(ok, "aud", []string{"bank", "shop2"})), token.CodeAudience},
		{"for nobody", sign(t, "rsa", "RS256", nil, with(ok, "aud", nil)), token.CodeAudience},
		{"aud is an object", sign(t, "rsa", "RS256", nil, with(ok, "aud", map[string]any{"shop": 1})), token.CodeAudience},
		{"no sub", sign(t, "rsa", "RS256", nil, with(ok, "sub", "")), token.CodeMissing},
		{"sub is a number", sign(t, "rsa", "RS256", nil, with(ok, "sub", 7)), token.CodeMalformed},
		{"no scope", sign(t, "rsa", "RS256", nil, with(ok, "scope", "orders")), token.CodeScope},
	}
	for _, row := range rows {
		for range 2 { // the second time it may come from memory
			r := v.Verify(t.Context(), bearer(row.text), nil)
			if diff := cmp.Diff([]string{row.code}, codes(r)); diff != "" {
				t.Errorf("%s: %s", row.name, diff)
			}
			if row.code != token.CodeScope && (r.Verified || r.Subject != "") {
				t.Errorf("%s: it is taken for verified: %+v", row.name, r)
			}
			for _, viol := range r.Violations {
				for _, value := range []string{"alice", "bank", "logout", "nOnE"} {
					if strings.Contains(viol.Message+viol.Where, value) {
						t.Errorf("%s: the message tells a value of the token: %v", row.name, viol)
					}
				}
			}
		}
	}
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndex(s, ".")
	return s[:i], s[i+1:], true
}

// zeros is the signature that CVE-2022-21449 was about.
func zeros(t *testing.T, claims map[string]any) string {
	before, _, _ := cutLast(sign(t, "p256", "ES256", nil, claims))
	return before + "." + b64(make([]byte, 64))
}

func TestLeewayAndForgetting(t *testing.T) {
	v := verifier(t, nil)
	text := sign(t, "rsa", "RS256", nil, with(good(v.clock), "nbf", v.clock.now().Add(50*time.Second).Unix()))
	if r := v.Verify(t.Context(), bearer(text), nil); !r.Verified {
		t.Fatalf("within the leeway: %+v", r)
	}
	v.clock.add(time.Hour + 59*time.Second)
	if r := v.Verify(t.Context(), bearer(text), nil); !r.Verified {
		t.Errorf("a second before the leeway's end: %+v", r)
	}
	v.clock.add(time.Second)
	if r := v.Verify(t.Context(), bearer(text), nil); !cmp.Equal(codes(r), []string{token.CodeExpired}) || r.Verified {
		t.Errorf("what is remembered outlives its token: %+v", r)
	}
}

func TestSubject(t *testing.T) {
	v := verifier(t, func(c *token.Config) {
		second := c.Issuers[0]
		second.Name += "a"
		c.Issuers = append(c.Issuers, second)
	})
	subject := func(iss, sub, key, alg string) string {
		r := v.Verify(t.Context(), bearer(sign(t, key, alg, nil, with(with(good(v.clock), "sub", sub), "iss", iss))), nil)
		if r.Subject == "" {
			t.Fatalf("no subject: %+v", r)
		}
		return r.Subject
	}
	one := subject(issuer, "alice", "rsa", "RS256")
	if other := subject(issuer, "alice", "p256", "ES256"); one != other {
		t.Error("the same person has two subjects")
	}
	if other := subject(issuer, "bob", "rsa", "RS256"); one == other {
		t.Error("two people have one subject")
	}
	if other := subject(issuer+"a", "lice", "rsa", "RS256"); one == other {
		t.Error("people of two issuers have one subject")
	}
}

func TestWhere(t *testing.T) {
	v := verifier(t, func(c *token.Config) { c.Cookie = "session" })
	text := sign(t, "p256", "ES256", nil, good(v.clock))
	forged := text[:len(text)-4] + "AAAA"
	rows := []struct {
		name, auth string
		h          http.Header
		codes      []string
	}{
		{"nothing", token.AuthNone, http.Header{}, []string{token.CodeMissing}},
		{"basic", token.AuthOther, http.Header{"Authorization": {"Basic YTpi"}}, []string{token.CodeMissing}},
		{"scheme in capitals", token.AuthToken, http.Header{"Authorization": {"BEARER  " + text}}, nil},
		{"bearer of nothing", token.AuthOther, http.Header{"Authorization": {"Bearer "}}, []string{token.CodeMissing}},
		{"header twice", token.AuthOther, http.Header{"Authorization": {"Bearer " + text, "Bearer " + text}}, []string{token.CodeRepeated}},
		{"cookie", token.AuthToken, http.Header{"Cookie": {"a=b; session=" + text}}, nil},
		{"cookie in quotes", token.AuthToken, http.Header{"Cookie": {`session="` + text + `"`}}, nil},
		{"cookie of another name", token.AuthNone, http.Header{"Cookie": {"Session=" + text}}, []string{token.CodeMissing}},
		{"cookie twice", token.AuthToken, http.Header{"Cookie": {"session=" + text + "; session=" + forged}}, []string{token.CodeRepeated}},
		{"an empty cookie before", token.AuthToken, http.Header{"Cookie": {"session=", "session=" + text}}, []string{token.CodeRepeated}},
		{"header and cookie", token.AuthToken, http.Header{"Authorization": {"Bearer " + text}, "Cookie": {"session=" + forged}}, []string{token.CodeRepeated}},
		{"forged", token.AuthToken, http.Header{"Cookie": {"session=" + forged}}, []string{token.CodeSignature}},
	}
	for _, row := range rows {
		r := v.Verify(t.Context(), row.h, nil)
		if diff := cmp.Diff(row.codes, codes(r)); diff != "" || r.Auth != row.auth {
			t.Errorf("%s: auth %s, want %s; %s", row.name, r.Auth, row.auth, diff)
		}
	}
}

func TestOptional(t *testing.T) {
	v := verifier(t, func(c *token.Config) { c.Optional = true })
	if r := v.Verify(t.Context(), http.Header{}, nil); len(r.Violations) != 0 || r.Verified {
		t.Errorf("without a token: %+v", r)
	}
	for _, blank := range []string{" ", "\t", " \t "} {
		if r := v.Verify(t.Context(), http.Header{"Authorization": {"Bearer" + blank + "x.y.z"}}, nil); len(r.Violations) == 0 || r.Auth != token.AuthToken {
			t.Errorf("a broken token behind %q is taken: %+v", blank, r)
		}
	}
}

func TestScopesOfOperations(t *testing.T) {
	v := verifier(t, nil)
	for _, claim := range []string{"scope", "scp"} {
		claims := with(with(good(v.clock), "scope", nil), claim, []string{"orders:read", "a b"})
		text := sign(t, "ed", "EdDSA", nil, claims)
		for scope, want := range map[string][]string{"orders:read": nil, "b": nil, "orders:write": {token.CodeScope}, "orders": {token.CodeScope}} {
			for range 2 {
				r := v.Verify(t.Context(), bearer(text), []string{scope})
				if diff := cmp.Diff(want, codes(r)); diff != "" || !r.Verified {
					t.Errorf("%s %s: verified %t, %s", claim, scope, r.Verified, diff)
				}
			}
		}
	}
}

func TestConfig(t *testing.T) {
	rows := map[string]func(*token.Config){
		"algorithms is empty": func(c *token.Config) { c.Issuers[0].Algorithms = nil },
		`has "HS256"`:         func(c *token.Config) { c.Issuers[0].Algorithms = []string{"HS256"} },
		`has "none"`:          func(c *token.Config) { c.Issuers[0].Algorithms = []string{"RS256", "none"} },
		"audiences is empty":  func(c *token.Config) { c.Issuers[0].Audiences = nil },
		"no https address":    func(c *token.Config) { c.Issuers[0].Keys = "http://id.example/keys" },
		"without a password":  func(c *token.Config) { c.Issuers[0].Keys = "https://a:b@id.example/keys" },
		"each once":           func(c *token.Config) { c.Issuers = append(c.Issuers, c.Issuers[0]) },
		"want at most 16":     func(c *token.Config) { c.Issuers = make([]token.Issuer, 17) },
		"leeway is 1h":        func(c *token.Config) { c.Leeway = time.Hour },
		"stale is":            func(c *token.Config) { c.Stale = time.Second },
		"name of a header":    func(c *token.Config) { c.Header = "a b" },
		"name of a cookie":    func(c *token.Config) { c.Cookie = "a;b" },
	}
	for want, change := range rows {
		c := token.Default()
		c.Issuers = []token.Issuer{{Name: issuer, Keys: "keys.json", Audiences: []string{"shop"}, Algorithms: []string{"RS256"}}}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
	if _, err := token.New(token.Default(), token.Options{Secret: secret}); err == nil {
		t.Error("New takes what Validate refuses")
	}
}

func BenchmarkVerify(b *testing.B) {
	v := verifier(b, nil)
	for _, c := range []struct{ key, alg string }{{"rsa", "RS256"}, {"p256", "ES256"}, {"ed", "EdDSA"}} {
		known := bearer(sign(b, c.key, c.alg, nil, good(v.clock)))
		b.Run(c.alg+"/known", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := v.Verify(context.Background(), known, nil); !r.Verified {
					b.Fatal(r)
				}
			}
		})
		var fresh []http.Header
		for i := range 300 { // more than are remembered
			fresh = append(fresh, bearer(sign(b, c.key, c.alg, nil, with(good(v.clock), "jti", fmt.Sprint(i)))))
		}
		b.Run(c.alg+"/new", func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if r := v.Verify(context.Background(), fresh[i%len(fresh)], nil); !r.Verified {
					b.Fatal(r)
				}
			}
		})
	}
}

func FuzzVerify(f *testing.F) {
	v := verifier(f, func(c *token.Config) { c.Cookie = "session" }, "p256", "ed") // RSA's are slow to make, and each worker makes its own
	valid := map[string]bool{}
	for _, c := range []struct{ key, alg string }{{"p256", "ES256"}, {"ed", "EdDSA"}} {
		text := sign(f, c.key, c.alg, nil, good(v.clock))
		valid[text] = true
		f.Add(text)
	}
	f.Add("a.b.c")
	f.Add("e30.e30.")
	f.Add(b64([]byte(`{"alg":"none"}`)) + "." + b64([]byte(`{"iss":"https://id.example"}`)) + ".")
	f.Fuzz(func(t *testing.T, text string) {
		for _, h := range []http.Header{bearer(text), {"Cookie": {"session=" + text}}} {
			r := v.Verify(t.Context(), h, nil)
			inner := strings.Trim(strings.Trim(text, " \t"), `"`)
			if cut, _, _ := strings.Cut(inner, ";"); r.Verified && !valid[inner] && !valid[strings.Trim(cut, " \t\"")] {
				t.Errorf("%q is verified, and nobody signed it", text)
			}
			if !r.Verified && (r.Subject != "" || len(r.Violations) == 0) {
				t.Errorf("%q: neither verified nor anything wrong: %+v", text, r)
			}
		}
	})
}
