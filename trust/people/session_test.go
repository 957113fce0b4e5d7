package people

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/trust/people/peopletest"
)

func TestSessionEnds(t *testing.T) {
	ctx := t.Context()
	t.Run("idle", func(t *testing.T) {
		w := newWorld(t)
		s := w.create("ann", Admin)
		for range 5 {
			w.pass(11 * time.Hour)
			w.mustSession(s)
		}
		w.pass(12 * time.Hour)
		if _, err := w.Session(ctx, s); !errors.Is(err, ErrExpired) {
			t.Error(err)
		}
		if w.store.Len("sessions") != 0 {
			t.Error("it is still stored")
		}
		if _, err := w.Session(ctx, s); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
	})
	t.Run("absolute", func(t *testing.T) {
		w := newWorld(t)
		s := w.create("ann", Admin)
		for w.now.Before(time.Date(2026, 3, 8, 11, 0, 0, 0, time.UTC)) {
			w.mustSession(s)
			w.pass(time.Hour)
		}
		w.mustSession(s)
		w.pass(time.Hour)
		if _, err := w.Session(ctx, s); !errors.Is(err, ErrExpired) {
			t.Error(err)
		}
	})
	t.Run("sign out", func(t *testing.T) {
		w := newWorld(t)
		s := w.create("ann", Admin)
		w.mustSession(s)
		if err := w.SignOut(ctx, s); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Session(ctx, s); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
		if err := errors.Join(w.SignOut(ctx, s), w.SignOut(ctx, "junk")); err != nil {
			t.Error(err)
		}
	})
	t.Run("revoked", func(t *testing.T) {
		w := newWorld(t)
		a, b := w.create("ann", Admin), ""
		_, b, _ = w.SignIn(ctx, "ann", good, home)
		w.mustSession(a)
		w.mustSession(b)
		list, err := w.Sessions(ctx, "ann")
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		id := w.mustSession(a).ID
		if err := w.RevokeSession(ctx, "person:bob", "bob", id); !errors.Is(err, ErrUnknown) {
			t.Error("another person's session:", err)
		}
		if err := w.RevokeSession(ctx, "person:ann", "ann", id); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Session(ctx, a); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
		w.mustSession(b)
		if n, err := w.RevokeSessions(ctx, "person:ann", "ann"); n != 1 || err != nil {
			t.Error(n, err)
		}
		if _, err := w.Session(ctx, b); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
		if got := w.recorded("session.revoke"); got != 2 {
			t.Errorf("%d revocations recorded", got)
		}
	})
	t.Run("too many", func(t *testing.T) {
		w := newWorld(t)
		first := w.create("ann", Admin)
		var last string
		for range 16 {
			w.pass(2 * time.Minute)
			_, last, _ = w.SignIn(ctx, "ann", good, home)
		}
		if _, err := w.Session(ctx, first); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
		w.mustSession(last)
		if n := w.store.Len("sessions"); n != 16 {
			t.Errorf("%d sessions", n)
		}
	})
	t.Run("in another process", func(t *testing.T) {
		w := newWorld(t)
		other := w.another()
		s := w.create("ann", Admin)
		if _, err := other.Session(ctx, s); err != nil {
			t.Fatal(err)
		}
		w.RevokeSessions(ctx, "system", "ann")
		w.pass(5 * time.Second)
		if _, err := other.Session(ctx, s); !errors.Is(err, ErrDenied) {
			t.Error(err)
		}
	})
}

// slowStore holds a Get of sessions until it is let go.
type slowStore struct {
	Store
	entered, leave chan struct{}
}

func (s slowStore) Get(ctx context.Context, c, k string) ([]byte, int64, error) {
	b, v, err := s.Store.Get(ctx, c, k)
	if c == "sessions" && s.entered != nil {
		s.entered <- struct{}{}
		<-s.leave
	}
	return b, v, err
}

// TestRevokedWhileRead revokes a session between its read and the moment the
// read is cached.
func TestRevokedWhileRead(t *testing.T) {
	w := newWorld(t)
	s := w.create("ann", Admin)
	slow := slowStore{w.store, make(chan struct{}), make(chan struct{})}
	w.People.store = slow
	done := make(chan struct{})
	go func() { w.Session(t.Context(), s); close(done) }()
	<-slow.entered
	w.RevokeSessions(t.Context(), "system", "ann")
	slow.leave <- struct{}{}
	<-done
	w.People.store = w.store
	if _, err := w.Session(t.Context(), s); !errors.Is(err, ErrDenied) {
		t.Fatal("the slow read brought it back:", err)
	}
}

func TestTouchDoesNotBringBack(t *testing.T) {
	w := newWorld(t)
	s := w.create("ann", Admin)
	w.mustSession(s)
	w.store.Delete(t.Context(), "sessions", digest(s)) // by another process
	w.opts.CacheFor = time.Hour
	w.pass(2 * time.Minute)
	w.Session(t.Context(), s)
	if w.store.Len("sessions") != 0 {
		t.Fatal("the last use was stored over the revocation")
	}
}

func TestSessionIsCheap(t *testing.T) {
	w := newWorld(t)
	s := w.create("ann", Admin)
	w.mustSession(s)
	before := w.store.Gets()
	for range 1000 {
		w.mustSession(s)
	}
	if n := w.store.Gets() - before; n != 0 {
		t.Errorf("%d reads for 1000 requests", n)
	}
}

// TestVoidWithoutDelete loses every delete: sessions and tokens must be void
// all the same.
func TestVoidWithoutDelete(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("bob", Admin)
	old := w.create("ann", Admin)
	_, token, _ := w.IssueToken(ctx, "system", TokenSpec{Name: "ci", Owner: "ann", Role: Viewer})
	w.store.Fail = func(op, c string) error {
		if op == "delete" && c != "links" {
			return errors.New("lost")
		}
		return nil
	}
	_, s, err := w.SetPassword(ctx, "ann", good, good2, home)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(ctx, old); !errors.Is(err, ErrDenied) {
		t.Error("a session from before the new password:", err)
	}
	w.mustSession(s)
	if err := w.Remove(ctx, "person:bob", "ann"); err != nil {
		t.Fatal(err)
	}
	w.create("ann", Admin)
	_, again, _ := w.SetPassword(ctx, "ann", good, good2, home)
	w.mustSession(again)
	if _, err := w.Session(ctx, s); !errors.Is(err, ErrDenied) {
		t.Error("a session of another ann:", err)
	}
	if _, err := w.Token(ctx, token); !errors.Is(err, ErrDenied) {
		t.Error("a token of another ann:", err)
	}
}

func TestSweepAndRun(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("ann", Admin)
	w.Link(ctx, "system", "bob", Viewer)
	w.IssueToken(ctx, "system", TokenSpec{Name: "ci", Role: Viewer, TTL: time.Hour})
	if n, err := w.Sweep(ctx); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	w.pass(13 * time.Hour)
	if n, err := w.Sweep(ctx); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if list, _ := w.Tokens(ctx, ""); len(list) != 1 {
		t.Error("an expired token should be listed for a while")
	}
	w.pass(31 * 24 * time.Hour)
	runCtx, cancel := context.WithCancel(ctx)
	done := make(chan error)
	go func() { done <- w.Run(runCtx) }()
	for w.store.Len("tokens") != 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCSRF(t *testing.T) {
	a, b := newSecret(), newSecret()
	if CSRF(a) == CSRF(b) || CSRF(a) == a || strings.Contains(CSRF(a), a[:8]) {
		t.Error(CSRF(a))
	}
	for _, c := range []struct {
		secret, token string
		ok            bool
	}{{a, CSRF(a), true}, {b, CSRF(a), false}, {a, "", false}, {"", "", false}, {"", CSRF(""), false}, {a, CSRF(a) + "x", false}} {
		if CheckCSRF(c.secret, c.token) != c.ok {
			t.Errorf("%q %q", c.secret, c.token)
		}
	}
}

func BenchmarkSession(b *testing.B) {
	p := New(peopletest.NewStore(), &peopletest.Recorder{}, Options{Hash: cheap})
	link, _, _ := p.Link(b.Context(), "system", "ann", Admin)
	_, secret, err := p.Redeem(b.Context(), link, good, home)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Session(b.Context(), secret); err != nil {
			b.Fatal(err)
		}
	}
}
