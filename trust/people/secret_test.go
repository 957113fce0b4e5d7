package people

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/trust/people/peopletest"
)

func TestRehash(t *testing.T) {
	w := newWorld(t)
	s := w.create("ann", Admin)
	w.People.hasher.params = Params{Time: 2, MemoryKiB: 128, Threads: 1}
	if _, _, err := w.SignIn(t.Context(), "ann", good, home); err != nil {
		t.Fatal(err)
	}
	r, _, _ := w.readRoster(t.Context())
	p, _, _, err := parsePHC(r.People["ann"].Password)
	if err != nil || p != w.People.hasher.params {
		t.Fatal(p, err)
	}
	w.mustSession(s) // it is no new password
	if _, _, err := w.SignIn(t.Context(), "ann", good, home); err != nil {
		t.Fatal(err)
	}
}

// TestDefaultParams signs in at the real cost, and holds a vector of the
// reference implementation's command line.
func TestDefaultParams(t *testing.T) {
	store, rec := peopletest.NewStore(), &peopletest.Recorder{}
	p := New(store, rec, Options{})
	link, _, _ := p.Link(t.Context(), "system", "ann", Admin)
	if _, _, err := p.Redeem(t.Context(), link, good, home); err != nil {
		t.Fatal(err)
	}
	if !store.Contains("$argon2id$v=19$m=65536,t=3,p=4$") {
		t.Error("not the cost of RFC 9106, section 4")
	}
	if _, _, err := p.SignIn(t.Context(), "ann", good, home); err != nil {
		t.Error(err)
	}
	if _, _, err := p.SignIn(t.Context(), "ann", good+" ", home); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

func TestPHC(t *testing.T) {
	ok := formatPHC(cheap, make([]byte, saltBytes), make([]byte, hashBytes))
	if p, salt, hash, err := parsePHC(ok); err != nil || p != cheap || len(salt) != saltBytes || len(hash) != hashBytes {
		t.Fatal(p, err)
	}
	for _, bad := range []string{
		"", "$", strings.Replace(ok, "argon2id", "argon2i", 1), strings.Replace(ok, "v=19", "v=16", 1),
		strings.Replace(ok, "m=64", "m=999999999", 1), strings.Replace(ok, "m=64", "m=064", 1), strings.Replace(ok, "m=64", "m=1", 1),
		strings.Replace(ok, "t=1", "t=0", 1), strings.Replace(ok, "t=1", "t=99", 1), strings.Replace(ok, "p=1", "p=0", 1), strings.Replace(ok, "p=1", "p=300", 1),
		ok + "A", ok + "\n", ok[:len(ok)-1], ok[:len(ok)-1] + "B", strings.Repeat("$", 300),
	} {
		if _, _, _, err := parsePHC(bad); err == nil {
			t.Errorf("%.80q", bad)
		}
	}
}

func FuzzPHC(f *testing.F) {
	f.Add(formatPHC(DefaultParams, make([]byte, saltBytes), make([]byte, hashBytes)))
	f.Add("$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAA")
	f.Fuzz(func(t *testing.T, s string) {
		p, salt, hash, err := parsePHC(s)
		if err != nil {
			return
		}
		if !p.valid() || formatPHC(p, salt, hash) != s {
			t.Fatalf("%q", s)
		}
	})
}

func TestToken(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		s := newToken()
		if !ValidToken(s) || len(s) != 53 || seen[s] {
			t.Fatal(s)
		}
		seen[s] = true
		i := len(TokenPrefix) + len(seen)%(tokenLen-len(TokenPrefix))
		for _, c := range "0aZ-\n" {
			if bad := s[:i] + string(c) + s[i+1:]; bad != s && ValidToken(bad) {
				t.Fatalf("%q is one digit off %q", bad, s)
			}
		}
	}
}

func FuzzToken(f *testing.F) {
	f.Add(newToken())
	f.Add("tst_" + strings.Repeat("0", 49))
	f.Add("")
	p := New(peopletest.NewStore(), &peopletest.Recorder{}, Options{Hash: cheap})
	f.Fuzz(func(t *testing.T, s string) {
		if ValidToken(s) && (len(s) != tokenLen || checksum(s[:tokenLen-tokenSum]) != s[tokenLen-tokenSum:]) {
			t.Fatalf("%q", s)
		}
		for _, ask := range []func() error{
			func() error { _, err := p.Token(t.Context(), s); return err },
			func() error { _, err := p.Session(t.Context(), s); return err },
			func() error { _, err := p.Invitation(t.Context(), s); return err },
		} {
			if err := ask(); !errors.Is(err, ErrDenied) {
				t.Fatalf("%q: %v", s, err)
			}
		}
	})
}

func TestNames(t *testing.T) {
	for _, ok := range []string{"a", "ann", "ann.lee", "ci-2", "a_b", strings.Repeat("a", MaxName)} {
		if err := CheckName(ok); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "A", "1a", ".a", "a.", "a-", "a b", "a/b", "a:b", "ä", "аnn", "a\n", "a\x00", strings.Repeat("a", MaxName+1)} {
		if err := CheckName(bad); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzName(f *testing.F) {
	f.Add("ann")
	f.Add("a\u202eb")
	f.Fuzz(func(t *testing.T, s string) {
		if CheckName(s) != nil {
			return
		}
		if s != typed(s) || len(s) > MaxName || strings.ContainsFunc(s, func(r rune) bool {
			return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789._-", r)
		}) {
			t.Fatalf("%q", s)
		}
	})
}

func BenchmarkSignIn(b *testing.B) {
	p := New(peopletest.NewStore(), &peopletest.Recorder{}, Options{})
	link, _, _ := p.Link(b.Context(), "system", "ann", Admin)
	p.Redeem(b.Context(), link, good, home)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := p.SignIn(b.Context(), "ann", good, home); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNothingIsShown(t *testing.T) {
	// Formatting an error or an identity must not print a secret.
	w := newWorld(t)
	link, _, _ := w.Link(t.Context(), "system", "ann", Admin)
	s, secret, _ := w.Redeem(t.Context(), link, good, home)
	text := fmt.Sprintf("%+v %+v", s, w.mustSession(secret))
	_, _, err := w.SignIn(t.Context(), "ann", "hunter2 hunter2", home)
	text += fmt.Sprint(err)
	if i := slices.IndexFunc([]string{secret, link, good, "hunter2"}, func(s string) bool { return strings.Contains(text, s) }); i >= 0 {
		t.Error(text)
	}
}
