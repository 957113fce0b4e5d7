package people

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/trust/people/peopletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap keeps the tests fast; TestDefaultParams uses the real cost.
var cheap = Params{Time: 1, MemoryKiB: 64, Threads: 1}

const (
	home  = "198.51.100.7"
	good  = "correct horse battery"
	good2 = "another staple entirely"
)

type world struct {
	*People
	t     *testing.T
	store *peopletest.Store
	rec   *peopletest.Recorder
	mu    sync.Mutex
	now   time.Time
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: peopletest.NewStore(), rec: &peopletest.Recorder{}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.People = w.another()
	return w
}

// another is a second process on the same store.
func (w *world) another() *People {
	return New(w.store, w.rec, Options{Hash: cheap, Now: func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.now
	}})
}

// create makes a person with the password good and returns their session.
func (w *world) create(name string, role Role) string {
	w.t.Helper()
	link, _, err := w.Link(w.t.Context(), "system", name, role)
	if err != nil {
		w.t.Fatal(err)
	}
	_, secret, err := w.Redeem(w.t.Context(), link, good, home)
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

func (w *world) recorded(verb string) (n int) {
	for _, r := range w.rec.Records() {
		if strings.Fields(r)[1] == verb {
			n++
		}
	}
	return n
}

func (w *world) mustSession(secret string) Identity {
	w.t.Helper()
	id, err := w.Session(w.t.Context(), secret)
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func TestMemoryStore(t *testing.T) {
	peopletest.TestStore(t, func(t *testing.T) interface {
		Get(ctx context.Context, collection, key string) ([]byte, int64, error)
		Put(ctx context.Context, collection, key string, value []byte, version int64) (bool, error)
		Delete(ctx context.Context, collection, key string) (bool, error)
		Each(ctx context.Context, collection string, yield func(string, []byte) error) error
	} {
		return peopletest.NewStore()
	})
}

func TestFirstSignIn(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	link, expires, err := w.Link(ctx, "uid:1000", "ann", Admin)
	if err != nil || expires.Sub(w.now) != 10*time.Minute {
		t.Fatal(expires, err)
	}
	if inv, err := w.Invitation(ctx, link); err != nil || inv.Person != "ann" || inv.Role != Admin || !inv.New {
		t.Fatalf("%+v %v", inv, err)
	}
	if people, _ := w.List(ctx); len(people) != 0 {
		t.Fatal("somebody is there before the link was used:", people)
	}
	for _, weak := range []string{"", "short", "aaaaaaaaaaaaaaaa", "password1234", "annannannann", "123456789012", strings.Repeat("ab cdefgh", 300), "valid but \xff not text"} {
		if _, _, err := w.Redeem(ctx, link, weak, home); !errors.Is(err, ErrPassword) {
			t.Fatalf("%.20q: %v", weak, err)
		}
	}
	s, secret, err := w.Redeem(ctx, link, good, home)
	if err != nil || s.Person != "ann" || s.Addr != home || s.Expires.Sub(w.now) != 7*24*time.Hour {
		t.Fatalf("%+v %v", s, err)
	}
	id := w.mustSession(secret)
	if id != (Identity{Kind: KindPerson, Name: "ann", Role: Admin, ID: s.ID}) || id.Actor() != "person:ann" {
		t.Fatalf("%+v", id)
	}
	if _, _, err := w.Redeem(ctx, link, good, home); !errors.Is(err, ErrDenied) {
		t.Fatal("a link was used twice:", err)
	}
	for _, leak := range []string{link, secret, good} {
		if w.store.Contains(leak) || strings.Contains(fmt.Sprint(w.rec.Records()), leak) {
			t.Fatalf("%q is stored or recorded in clear", leak)
		}
	}
	_, again, err := w.SignIn(ctx, " Ann ", good, home)
	if err != nil || again == secret {
		t.Fatal("the second sign-in must have a session of its own:", err)
	}
	for verb, n := range map[string]int{"link.issue": 1, "person.create": 1, "session.create": 2} {
		if got := w.recorded(verb); got != n {
			t.Errorf("%s is recorded %d times, want %d", verb, got, n)
		}
	}
}

func TestLinkEnds(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	first, _, _ := w.Link(ctx, "system", "ann", Admin)
	second, _, _ := w.Link(ctx, "system", "ann", Admin)
	if _, _, err := w.Redeem(ctx, first, good, home); !errors.Is(err, ErrDenied) {
		t.Error("the earlier link still works:", err)
	}
	if inv, err := w.Invitations(ctx); err != nil || len(inv) != 1 {
		t.Error(inv, err)
	}
	w.pass(10 * time.Minute)
	if _, _, err := w.Redeem(ctx, second, good, home); !errors.Is(err, ErrExpired) {
		t.Error("after ten minutes:", err)
	}
	for _, junk := range []string{"", "x", second[:42], second + "A", strings.Repeat("A", 43), second[:42] + "\n"} {
		if _, _, err := w.Redeem(ctx, junk, good, home); !errors.Is(err, ErrDenied) {
			t.Errorf("%q: %v", junk, err)
		}
	}
	if _, _, err := w.Link(ctx, "system", "Ann", Admin); !errors.Is(err, ErrName) {
		t.Error(err)
	}
	if _, _, err := w.Link(ctx, "system", "bob", ""); !errors.Is(err, ErrRole) {
		t.Error(err)
	}
	if _, _, err := w.Link(ctx, "", "bob", Viewer); err == nil {
		t.Error("a change without an actor")
	}
}

func TestLinkForSomebodyWhoExists(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	old := w.create("ann", Admin)
	if _, _, err := w.Link(ctx, "system", "ann", Viewer); !errors.Is(err, ErrRole) {
		t.Error("a link must not change a role:", err)
	}
	link, _, err := w.Link(ctx, "system", "ann", "")
	if err != nil {
		t.Fatal(err)
	}
	if inv, _ := w.Invitation(ctx, link); inv.New {
		t.Error("ann is not new")
	}
	// Without a password everything stays.
	if _, s, err := w.Redeem(ctx, link, "", home); err != nil || w.mustSession(s).Name != "ann" {
		t.Fatal(err)
	}
	w.mustSession(old)
	link, _, _ = w.Link(ctx, "system", "ann", "")
	if _, _, err := w.Redeem(ctx, link, good2, home); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(ctx, old); !errors.Is(err, ErrDenied) {
		t.Error("a session outlived its password:", err)
	}
	if _, _, err := w.SignIn(ctx, "ann", good, home); !errors.Is(err, ErrDenied) {
		t.Error("the old password:", err)
	}
	if _, _, err := w.SignIn(ctx, "ann", good2, home); err != nil {
		t.Error("the new password:", err)
	}
	// A link for somebody who is gone makes nobody.
	w.create("bob", Admin)
	link, _, _ = w.another().Link(ctx, "system", "ann", "")
	if err := w.Remove(ctx, "system", "ann"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Redeem(ctx, link, good, home); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

func TestRedeemOnce(t *testing.T) {
	w := newWorld(t)
	other := w.another()
	link, _, _ := w.Link(t.Context(), "system", "ann", Admin)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 8 {
		p := w.People
		if i%2 == 1 {
			p = other
		}
		wg.Go(func() {
			_, _, err := p.Redeem(t.Context(), link, good, home)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrDenied) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Fatalf("%d of eight redeemed one link", won)
	}
}

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

func TestLimits(t *testing.T) {
	ctx := t.Context()
	wait := func(err error) time.Duration {
		var l ErrLimited
		errors.As(err, &l)
		return l.RetryAfter
	}
	t.Run("one name from one address", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		const evil = "203.0.113.5:4711"
		for i := range 6 {
			if _, _, err := w.SignIn(ctx, "ann", "wrong", evil); !errors.Is(err, ErrDenied) {
				t.Fatal(i, err)
			}
		}
		want := time.Second
		for range 14 {
			_, _, err := w.SignIn(ctx, "ann", good, evil)
			if wait(err) != min(want, maxDelay) {
				t.Fatalf("%v, want to wait %v", err, want)
			}
			w.pass(wait(err))
			if _, _, err := w.SignIn(ctx, "ann", "wrong", evil); !errors.Is(err, ErrDenied) {
				t.Fatal(err)
			}
			want *= 2
		}
		// From anywhere else she gets in, and after the delay from there too.
		if _, _, err := w.SignIn(ctx, "ann", good, home); err != nil {
			t.Error(err)
		}
		w.pass(maxDelay)
		if _, _, err := w.SignIn(ctx, "ann", good, evil); err != nil {
			t.Error(err)
		}
	})
	t.Run("many at once", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		var wg sync.WaitGroup
		var mu sync.Mutex
		looked := 0
		for range 40 {
			wg.Go(func() {
				_, _, err := w.SignIn(ctx, "ann", "wrong", "203.0.113.5")
				if errors.Is(err, ErrDenied) {
					mu.Lock()
					looked++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if looked > freePerPair+1 {
			t.Errorf("%d guesses were looked at", looked)
		}
	})
	t.Run("many names from one address", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		n := 0
		for i := range 100 {
			// Ports and the host part of an IPv6 network do not help.
			_, _, err := w.SignIn(ctx, fmt.Sprintf("user%d", i), "wrong", fmt.Sprintf("[2001:db8::%x]:%d", i+1, i+1))
			if errors.Is(err, ErrDenied) {
				n++
			}
		}
		if n != freePerAddress+1 {
			t.Errorf("%d names were tried", n)
		}
		// An account of one's own does not clear the address.
		w.create("mallory", Viewer)
		w.pass(time.Hour - time.Minute)
		if _, _, err := w.SignIn(ctx, "mallory", good, "2001:db8::5"); err != nil {
			t.Fatal(err)
		}
		w.pass(2 * time.Second)
		n = 0
		for i := range 5 {
			_, _, err := w.SignIn(ctx, fmt.Sprintf("next%d", i), "wrong", "2001:db8::6")
			if errors.Is(err, ErrDenied) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d names were tried after a sign-in", n)
		}
		// Who has signed in from there is not held back by the others.
		if _, _, err := w.SignIn(ctx, "mallory", good, "2001:db8::5"); err != nil {
			t.Error(err)
		}
	})
	t.Run("a link gets in anyway", func(t *testing.T) {
		w := newWorld(t)
		w.create("ann", Admin)
		for i := range 200 {
			w.SignIn(ctx, fmt.Sprintf("user%d", i%7), "wrong", home)
		}
		link, _, _ := w.Link(ctx, "uid:1000", "ann", "")
		if _, _, err := w.Redeem(ctx, link, good2, home); err != nil {
			t.Error(err)
		}
	})
	t.Run("the tables are bounded", func(t *testing.T) {
		l := newLimiter()
		for i := range 3 * maxLimits {
			l.begin(fmt.Sprint(i), fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), time.Unix(0, 0))
		}
		if n := len(l.pairs.items) + len(l.addresses.items) + l.pairs.order.Len(); n != 3*maxLimits {
			t.Errorf("%d entries", n)
		}
	})
}

func TestHashingIsBounded(t *testing.T) {
	h := newHasher(cheap, 1, 3)
	release, err := h.acquire(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	// Strangers queue; the fourth is sent away.
	ctx, cancel := context.WithCancel(t.Context())
	results := make(chan error, 3)
	for range 3 {
		go func() { _, err := h.acquire(ctx, false); results <- err }()
	}
	for h.waiting[0].Load() < 3 {
		time.Sleep(time.Millisecond)
	}
	var limited ErrLimited
	if _, err := h.acquire(t.Context(), false); !errors.As(err, &limited) || limited.RetryAfter <= 0 {
		t.Error("the queue has no end:", err)
	}
	// Somebody known has a slot all the same.
	known, err := h.acquire(t.Context(), true)
	if err != nil {
		t.Fatal("a flood keeps a known address out:", err)
	}
	known()
	cancel()
	for range 3 {
		if err := <-results; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	release()
	if release, err = h.acquire(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	release()
}

func TestBusyIsNoGuess(t *testing.T) {
	w := newWorld(t)
	w.create("ann", Admin)
	ctx, cancel := context.WithCancel(t.Context())
	release, _ := w.hasher.acquire(ctx, false)
	cancel()
	for range 50 {
		if _, _, err := w.SignIn(ctx, "ann", good, "192.0.2.1"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	release()
	if _, _, err := w.SignIn(t.Context(), "ann", good, "192.0.2.1"); err != nil {
		t.Error("attempts that nobody looked at were counted:", err)
	}
}

func TestUnknownCostsTheSame(t *testing.T) {
	w := newWorld(t)
	w.create("ann", Admin)
	_, _, wrong := w.SignIn(t.Context(), "ann", "wrong", home)
	for i, name := range []string{"nobody", "", "../x", strings.Repeat("a", 999), "ANN\x00"} {
		// The dummy must be verified: with the slots taken, an unknown name waits.
		release, _ := w.hasher.acquire(t.Context(), false)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		addr := fmt.Sprintf("192.0.2.%d", i)
		if _, _, err := w.SignIn(ctx, name, "x", addr); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%.20q was answered without hashing: %v", name, err)
		}
		cancel()
		release()
		if _, _, err := w.SignIn(t.Context(), name, "x", addr); err != wrong {
			t.Errorf("%.20q: %v, a wrong password: %v", name, err, wrong)
		}
	}
	p, _, _, err := parsePHC(w.dummy)
	if err != nil || p != cheap {
		t.Error("the dummy costs something else:", p, err)
	}
}

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

func TestSetPassword(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	old := w.create("ann", Admin)
	if _, _, err := w.SetPassword(ctx, "ann", "wrong", good2, home); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	if _, _, err := w.SetPassword(ctx, "ann", good, "short", home); !errors.Is(err, ErrPassword) {
		t.Error(err)
	}
	w.mustSession(old)
	_, s, err := w.SetPassword(ctx, "ann", good, good2, home)
	if err != nil {
		t.Fatal(err)
	}
	w.mustSession(s)
	if _, err := w.Session(ctx, old); !errors.Is(err, ErrDenied) {
		t.Error("the old session:", err)
	}
	if w.recorded("password.set") != 1 {
		t.Error(w.rec.Records())
	}
	// However it was typed.
	if _, _, err := w.SetPassword(ctx, "ann", good2, "cafe\u0301 au lait!", home); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.SignIn(ctx, "ann", "caf\u00e9 au lait!", home); err != nil {
		t.Error("the same characters in another form:", err)
	}
}

func TestLastAdmin(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ann := w.create("ann", Admin)
	w.create("bob", Viewer)
	records := len(w.rec.Records())
	if err := w.SetRole(ctx, "person:ann", "ann", Operator); !errors.Is(err, ErrLastAdmin) {
		t.Error(err)
	}
	if err := w.Remove(ctx, "person:ann", "ann"); !errors.Is(err, ErrLastAdmin) {
		t.Error(err)
	}
	if err := w.SetRole(ctx, "person:ann", "eve", Admin); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := w.SetRole(ctx, "person:ann", "bob", "root"); !errors.Is(err, ErrRole) {
		t.Error(err)
	}
	if n := len(w.rec.Records()); n != records {
		t.Error("what was refused is recorded:", w.rec.Records()[records:])
	}
	if err := w.SetRole(ctx, "person:ann", "bob", Admin); err != nil {
		t.Fatal(err)
	}
	if err := w.SetRole(ctx, "person:bob", "ann", Viewer); err != nil {
		t.Fatal(err)
	}
	if got := w.mustSession(ann).Role; got != Viewer {
		t.Error("the session is still", got)
	}
	if err := w.Remove(ctx, "person:bob", "ann"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(ctx, ann); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	// A new ann is another ann.
	link, _, _ := w.Link(ctx, "person:bob", "ann", Admin)
	if _, _, err := w.Redeem(ctx, link, good, home); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Session(ctx, ann); !errors.Is(err, ErrDenied) {
		t.Error("the session of another ann:", err)
	}
}

// TestLastAdminAcrossProcesses demotes two admins from two processes at once.
func TestLastAdminAcrossProcesses(t *testing.T) {
	for range 20 {
		w := newWorld(t)
		w.create("ann", Admin)
		w.create("bob", Admin)
		other := w.another()
		var wg sync.WaitGroup
		wg.Go(func() { w.SetRole(t.Context(), "system", "ann", Viewer) })
		wg.Go(func() { other.Remove(t.Context(), "system", "bob") })
		wg.Wait()
		r, _, err := w.readRoster(t.Context())
		if err != nil || r.admins() != 1 {
			t.Fatalf("%d admins, %v", r.admins(), err)
		}
	}
}

func TestDemotedLinksAreVoid(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("ann", Admin)
	w.create("bob", Admin)
	link, _, _ := w.Link(ctx, "person:bob", "bob2", Admin)
	if err := w.SetRole(ctx, "person:ann", "bob", Viewer); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Redeem(ctx, link, good, home); !errors.Is(err, ErrDenied) {
		t.Error("a demoted admin made another:", err)
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("ann", Admin)
	w.create("bob", Operator)
	tok, secret, err := w.IssueToken(ctx, "person:bob", TokenSpec{Name: "ci", Owner: "bob", Role: Operator})
	if err != nil || !ValidToken(secret) || tok.Expires.Sub(w.now) != 90*24*time.Hour {
		t.Fatalf("%+v %v", tok, err)
	}
	if w.store.Contains(secret) || strings.Contains(fmt.Sprint(w.rec.Records()), secret) {
		t.Fatal("the token is kept in clear")
	}
	id, err := w.Token(ctx, secret)
	if err != nil || id != (Identity{Kind: KindToken, Name: "ci", Role: Operator, ID: tok.ID}) {
		t.Fatalf("%+v %v", id, err)
	}
	list, err := w.Tokens(ctx, "bob")
	if err != nil || len(list) != 1 || !list[0].Used.Equal(w.now) {
		t.Fatalf("%+v %v", list, err)
	}
	if _, err := w.Session(ctx, secret); !errors.Is(err, ErrDenied) {
		t.Error("a token is no session")
	}
	for name, spec := range map[string]TokenSpec{
		"more than the owner": {Name: "a", Owner: "bob", Role: Admin},
		"unknown owner":       {Name: "a", Owner: "eve", Role: Viewer},
		"no role":             {Name: "a"},
		"name":                {Name: "A b", Role: Viewer},
		"too long":            {Name: "a", Role: Viewer, TTL: 367 * 24 * time.Hour},
		"negative":            {Name: "a", Role: Viewer, TTL: -1},
	} {
		if _, _, err := w.IssueToken(ctx, "person:ann", spec); err == nil {
			t.Error(name)
		}
	}
	// The owner's role binds, from the next request on.
	w.SetRole(ctx, "person:ann", "bob", Viewer)
	if id, _ := w.Token(ctx, secret); id.Role != Viewer {
		t.Error(id)
	}
	if err := w.RevokeToken(ctx, "person:ann", "0123456789abcdef"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := w.RevokeToken(ctx, "person:ann", tok.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Token(ctx, secret); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	_, secret, _ = w.IssueToken(ctx, "person:bob", TokenSpec{Name: "ci", Owner: "bob", Role: Viewer, TTL: time.Hour})
	_, machine, _ := w.IssueToken(ctx, "uid:0", TokenSpec{Name: "backup", Role: Admin, TTL: time.Hour})
	w.pass(time.Hour - time.Second)
	w.Token(ctx, secret)
	if err := w.Remove(ctx, "person:ann", "bob"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Token(ctx, secret); !errors.Is(err, ErrDenied) {
		t.Error("a token outlived its owner:", err)
	}
	if id, err := w.Token(ctx, machine); err != nil || id.Role != Admin {
		t.Error(id, err)
	}
	w.pass(time.Second)
	if _, err := w.Token(ctx, machine); !errors.Is(err, ErrExpired) {
		t.Error(err)
	}
	for i := range 40 {
		_, _, err = w.IssueToken(ctx, "person:ann", TokenSpec{Name: fmt.Sprint("t", i), Owner: "ann", Role: Viewer})
	}
	if list, _ := w.Tokens(ctx, "ann"); !errors.Is(err, ErrFull) || len(list) != 32 {
		t.Error(len(list), err)
	}
}

func TestRecorderRefuses(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	secret := w.create("ann", Admin)
	w.create("bob", Viewer)
	tok, tokSecret, _ := w.IssueToken(ctx, "person:ann", TokenSpec{Name: "ci", Role: Viewer})
	link, _, _ := w.Link(ctx, "person:ann", "carl", Viewer)
	full := errors.New("no space left")
	w.rec.Fail = func(string) error { return full }
	for name, do := range map[string]func() error{
		"link":    func() error { _, _, err := w.Link(ctx, "person:ann", "dora", Admin); return err },
		"redeem":  func() error { _, _, err := w.Redeem(ctx, link, good, home); return err },
		"role":    func() error { return w.SetRole(ctx, "person:ann", "bob", Admin) },
		"remove":  func() error { return w.Remove(ctx, "person:ann", "bob") },
		"issue":   func() error { _, _, err := w.IssueToken(ctx, "a", TokenSpec{Name: "x", Role: Viewer}); return err },
		"token":   func() error { return w.RevokeToken(ctx, "person:ann", tok.ID) },
		"session": func() error { return w.RevokeSession(ctx, "a", "ann", w.mustSession(secret).ID) },
		"all":     func() error { _, err := w.RevokeSessions(ctx, "a", "ann"); return err },
		"password": func() error {
			_, _, err := w.SetPassword(ctx, "ann", good, good2, home)
			return err
		},
	} {
		if err := do(); !errors.Is(err, full) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Nothing happened, and one can still sign in to see what is wrong.
	if _, _, err := w.SignIn(ctx, "ann", good, home); err != nil {
		t.Error(err)
	}
	w.rec.Fail = nil
	w.mustSession(secret)
	if _, err := w.Token(ctx, tokSecret); err != nil {
		t.Error(err)
	}
	people, _ := w.List(ctx)
	if len(people) != 2 || people[1].Role != Viewer {
		t.Errorf("%+v", people)
	}
	if _, _, err := w.Redeem(ctx, link, good, home); err != nil {
		t.Error("the link was used up by a change that did not happen:", err)
	}
}

func TestStoreFails(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	secret := w.create("ann", Admin)
	w.create("bob", Viewer)
	down := errors.New("store is down")
	w.store.Fail = func(op, c string) error {
		if op == "put" && c == "people" {
			return down
		}
		return nil
	}
	if err := w.SetRole(ctx, "system", "bob", Admin); !errors.Is(err, down) {
		t.Error(err)
	}
	if w.recorded("person.role") != 1 || w.recorded("person.role.failed") != 1 {
		t.Error("the record claims what did not happen:", w.rec.Records())
	}
	w.store.Fail = func(string, string) error { return down }
	w.pass(time.Minute)
	if _, err := w.Session(ctx, secret); !errors.Is(err, down) {
		t.Error("a store that is down must not look like a sign-out:", err)
	}
	if _, _, err := w.SignIn(ctx, "ann", good, home); !errors.Is(err, down) {
		t.Error(err)
	}
	w.store.Fail = nil
	w.store.Put(ctx, "people", "roster", []byte("{"), -1)
	w.pass(time.Minute)
	if _, err := w.Session(ctx, secret); err == nil || errors.Is(err, ErrDenied) {
		t.Error("a damaged roster:", err)
	}
	if _, _, err := w.Link(ctx, "system", "eve", Admin); err == nil {
		t.Error("a damaged roster was written over")
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

func TestRoles(t *testing.T) {
	all := []Role{Viewer, Operator, Admin}
	for i, r := range all {
		for j, least := range all {
			if r.AtLeast(least) != (i >= j) {
				t.Error(r, least)
			}
		}
		if r.AtLeast("") || Role("").AtLeast(r) || Role("root").AtLeast(r) || r.AtLeast("root") {
			t.Error(r)
		}
	}
	if _, err := ParseRole("Admin"); !errors.Is(err, ErrRole) {
		t.Error(err)
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

func TestCanonicalAddress(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "192.0.2.1:99": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1",
		"2001:db8::1": "2001:db8::/64", "[2001:db8::2]:443": "2001:db8::/64", "fe80::1%eth0": "fe80::/64",
		"": "local", "@": "local", "evil header": "local",
	} {
		if got := canonical(addr); got != want {
			t.Errorf("%q: %q, want %q", addr, got, want)
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
