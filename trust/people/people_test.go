package people

import (
	"context"
	"errors"
	"fmt"
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

// TestRedeemInBetween redeems a link in another process just before this one
// uses it up. With nothing to write about her only the link itself can tell.
func TestRedeemInBetween(t *testing.T) {
	w := newWorld(t)
	w.create("ann", Admin)
	other := w.another()
	link, _, _ := w.Link(t.Context(), "system", "ann", "")
	between := false
	w.store.Fail = func(op, c string) error {
		if op == "delete" && c == "links" && !between {
			between = true
			_, _, err := other.Redeem(t.Context(), link, "", home)
			return err
		}
		return nil
	}
	if _, _, err := w.Redeem(t.Context(), link, "", home); !errors.Is(err, ErrDenied) || !between {
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
