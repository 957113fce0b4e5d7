package people

import (
	"errors"
	"testing"
	"time"
)

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

// TestLastAdminAcrossProcesses removes one admin between the read and the
// write that demotes the other.
func TestLastAdminAcrossProcesses(t *testing.T) {
	w := newWorld(t)
	w.create("ann", Admin)
	w.create("bob", Admin)
	other := w.another()
	between := false
	w.store.Fail = func(op, c string) error {
		if op == "put" && c == "people" && !between {
			between = true
			return other.Remove(t.Context(), "system", "bob")
		}
		return nil
	}
	if err := w.SetRole(t.Context(), "system", "ann", Viewer); !errors.Is(err, ErrLastAdmin) {
		t.Error(err)
	}
	r, _, err := w.readRoster(t.Context())
	if err != nil || !between || len(r.People) != 1 || r.admins() != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if w.recorded("person.role.failed") != 1 {
		t.Error(w.rec.Records())
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
	for r, want := range map[Role]bool{Viewer: false, Operator: true, Admin: true, Scanner: true, "": false, "root": false} {
		if r.AtLeast(Scanner) != want || Scanner.AtLeast(r) != (r == Scanner) {
			t.Error(r)
		}
	}
	if _, err := ParseRole("scanner"); !errors.Is(err, ErrRole) {
		t.Error("a person is a scanner:", err)
	}
	if _, err := ParseRole("Admin"); !errors.Is(err, ErrRole) {
		t.Error(err)
	}
}

// TestLinkThatOutlivesItsMaker demotes an admin while the store keeps the links that they made:
// such a link is no good.
func TestLinkThatOutlivesItsMaker(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("ann", Admin)
	w.create("bob", Admin)
	secret, _, err := w.Link(ctx, "person:bob", "eve", Admin)
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string][]byte{}
	if err := w.store.Each(ctx, linksCollection, func(key string, value []byte) error {
		kept[key] = value
		return nil
	}); err != nil || len(kept) != 1 {
		t.Fatalf("%d links, %v", len(kept), err)
	}
	if err := w.SetRole(ctx, "person:ann", "bob", Viewer); err != nil {
		t.Fatal(err)
	}
	for key, value := range kept {
		if ok, err := w.store.Put(ctx, linksCollection, key, value, 0); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if _, err := w.Invitation(ctx, secret); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
	if _, _, err := w.Redeem(ctx, secret, good, home); !errors.Is(err, ErrDenied) {
		t.Error(err)
	}
}

func TestDamagedTokenRole(t *testing.T) {
	r := &roster{People: map[string]person{"ann": {UID: "1", Role: Admin}}}
	if role, ok := (token{Owner: "ann", OwnerUID: "1", Role: "adm"}).role(r); ok {
		t.Errorf("a token with a damaged role may do what %s may", role)
	}
}
