package token_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/edge/api/token"
)

// keyServer answers with a key set that tests change.
type keyServer struct {
	*httptest.Server
	asked   atomic.Int64
	mu      sync.Mutex
	handler http.HandlerFunc
}

func (s *keyServer) answer(h http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = h
}

func (s *keyServer) set(b []byte) {
	s.answer(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) })
}

func remote(t *testing.T, change func(*token.Config)) (bench, *keyServer) {
	t.Helper()
	s := &keyServer{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.asked.Add(1)
		s.mu.Lock()
		h := s.handler
		s.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(s.Close)
	s.set(keySet(t, "rsa"))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return verifier(t, func(c *token.Config) {
		c.Issuers[0].Keys, c.Issuers[0].CA, c.Issuers[0].Private = s.URL, ca, true
		if change != nil {
			change(c)
		}
	}), s
}

func TestRotation(t *testing.T) {
	v, s := remote(t, nil)
	old := bearer(sign(t, "rsa", "RS256", nil, good(v.clock)))
	next := bearer(sign(t, "p256", "ES256", nil, good(v.clock)))
	check := func(what string, h http.Header, asked int64, want ...string) {
		t.Helper()
		r := v.Verify(t.Context(), h, nil)
		if diff := cmp.Diff(want, codes(r)); diff != "" || s.asked.Load() != asked {
			t.Errorf("%s: asked %d times, want %d; %s", what, s.asked.Load(), asked, diff)
		}
	}
	check("the first request reads the keys", old, 1)
	check("the second does not", old, 1)
	s.set(keySet(t, "p256"))
	check("an unknown key so soon after", next, 1, token.CodeUnknownKey)
	v.clock.add(10 * time.Second)
	check("the key is read when it is needed", next, 2)
	check("what the old key verified is not remembered", old, 2, token.CodeUnknownKey)
	for range 50 { // a flood of names that nobody has
		check("a flood", bearer(sign(t, "p256", "ES256", map[string]any{"kid": "x"}, good(v.clock))), 2, token.CodeUnknownKey)
	}
}

func TestRotationWithoutNames(t *testing.T) {
	v, s := remote(t, nil)
	unnamed := func(b []byte) []byte {
		var set struct{ Keys []map[string]any }
		if err := json.Unmarshal(b, &set); err != nil {
			t.Fatal(err)
		}
		for _, k := range set.Keys {
			delete(k, "kid")
		}
		return []byte(marshal(t, map[string]any{"keys": set.Keys}))
	}
	s.set(unnamed(keySet(t, "rsa")))
	noKid := map[string]any{"kid": nil}
	if r := v.Verify(t.Context(), bearer(sign(t, "rsa", "RS256", noKid, good(v.clock))), nil); !r.Verified {
		t.Fatalf("%+v", r)
	}
	s.set(unnamed(keySet(t, "other")))
	v.clock.add(10 * time.Second)
	if r := v.Verify(t.Context(), bearer(sign(t, "other", "RS256", noKid, good(v.clock))), nil); !r.Verified {
		t.Errorf("the new key without a name: %+v", r)
	}
}

func TestStaleWhileError(t *testing.T) {
	v, s := remote(t, func(c *token.Config) { c.Stale = time.Hour })
	claims := good(v.clock)
	claims["exp"] = v.clock.now().Add(48 * time.Hour).Unix()
	text := bearer(sign(t, "rsa", "RS256", nil, claims))
	if r := v.Verify(t.Context(), text, nil); !r.Verified {
		t.Fatalf("%+v", r)
	}
	s.answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	v.clock.add(time.Hour)
	if r := v.Verify(t.Context(), text, nil); !r.Verified {
		t.Errorf("an hour without an answer: %+v", r)
	}
	v.clock.add(time.Second)
	r := v.Verify(t.Context(), text, nil)
	if r.Err == nil || r.Verified || !cmp.Equal(codes(r), []string{token.CodeNotChecked}) {
		t.Errorf("keys older than stale: %+v", r)
	}
}

// One fetch serves all who wait for it, and does not end with the request that began it.
func TestOneFetch(t *testing.T) {
	v, s := remote(t, nil)
	arrived, release := make(chan struct{}), make(chan struct{})
	keys := keySet(t, "rsa")
	s.answer(func(w http.ResponseWriter, _ *http.Request) {
		close(arrived) // panics if there are two
		<-release
		_, _ = w.Write(keys)
	})
	text := bearer(sign(t, "rsa", "RS256", nil, good(v.clock)))
	first, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	var right atomic.Int64
	ask := func(ctx context.Context) {
		if v.Verify(ctx, text, nil).Verified {
			right.Add(1)
		}
	}
	all.Go(func() { ask(first) })
	<-arrived
	leave()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if r := v.Verify(gone, text, nil); r.Err == nil {
		t.Errorf("a request that is over waits: %+v", r)
	}
	for range 20 {
		all.Go(func() { ask(t.Context()) })
	}
	close(release)
	all.Wait()
	if n := right.Load(); n != 21 || s.asked.Load() != 1 {
		t.Errorf("%d of 21 verified with %d fetches, want one fetch", n, s.asked.Load())
	}
}

func TestFetchRefuses(t *testing.T) {
	big := make([]byte, 2<<20)
	for i := range big {
		big[i] = ' '
	}
	many := `{"keys":[` + strings.Repeat(`{"kty":"oct","k":"AAAA"},`, 100) + `{"kty":"oct","k":"AAAA"}]}`
	rows := map[string]http.HandlerFunc{
		"answered 302": func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) },
		"larger than":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(big) },
		"no JSON":      func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) },
		"has no keys":  func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[]}`)) },
		"has 101 keys": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(many)) },
		"a shared secret": func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`))
		},
		"is broken":         func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys":[{"kty":"XYZ"}]}`)) },
		"not for signature": func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, encKey(t)) },
	}
	for want, h := range rows {
		v, s := remote(t, nil)
		s.answer(h)
		r := v.Verify(t.Context(), bearer(sign(t, "rsa", "RS256", nil, good(v.clock))), nil)
		if r.Err == nil || !strings.Contains(r.Err.Error(), want) || r.Verified {
			t.Errorf("%s: %+v", want, r)
		}
	}
}

func encKey(t *testing.T) string {
	return strings.Replace(string(keySet(t, "rsa")), `"kid"`, `"use":"enc","kid"`, 1)
}

func TestPrivateAddress(t *testing.T) {
	v, s := remote(t, func(c *token.Config) { c.Issuers[0].Private = false })
	r := v.Verify(t.Context(), bearer(sign(t, "rsa", "RS256", nil, good(v.clock))), nil)
	if !errors.Is(r.Err, token.ErrPrivate) || s.asked.Load() != 0 {
		t.Errorf("asked %d times: %+v", s.asked.Load(), r)
	}
}

func TestRun(t *testing.T) {
	v := verifier(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- v.Run(ctx) }()
	if r := v.Verify(t.Context(), bearer(sign(t, "rsa", "RS256", nil, good(v.clock))), nil); !r.Verified {
		t.Errorf("%+v", r)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A set's keys that are of no use here do not spoil the others; private parts are not kept.
func TestMixedSet(t *testing.T) {
	v := verifier(t, nil)
	set := `{"keys":[{"kty":"oct","k":"AAAA","kid":"rsa"},{"kty":"new"},5,` + string(keySet(t, "rsa"))[len(`{"keys":[`):]
	if err := os.WriteFile(v.file, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := v.Verify(t.Context(), bearer(sign(t, "rsa", "RS256", nil, good(v.clock))), nil); !r.Verified {
		t.Errorf("%+v", r)
	}
}

// A key that names its algorithm is used with no other, though the issuer may have it.
func TestKeyOfOneAlgorithm(t *testing.T) {
	v := verifier(t, nil)
	set := strings.Replace(string(keySet(t, "rsa")), `"kid"`, `"alg":"RS256","kid"`, 1)
	if err := os.WriteFile(v.file, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	for alg, want := range map[string][]string{"RS256": nil, "PS256": {token.CodeSignature}} {
		r := v.Verify(t.Context(), bearer(sign(t, "rsa", alg, nil, good(v.clock))), nil)
		if diff := cmp.Diff(want, codes(r)); diff != "" {
			t.Errorf("%s: %s", alg, diff)
		}
	}
}
