package people

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

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

// TestScannerToken: it sends scans. It never grows into anything else, whatever becomes of its owner.
func TestScannerToken(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("ann", Admin)
	w.create("bob", Operator)
	w.create("vic", Viewer)
	_, secret, err := w.IssueToken(ctx, "person:bob", TokenSpec{Name: "build", Owner: "bob", Role: Scanner})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.Token(ctx, secret); err != nil || id.Role != Scanner {
		t.Errorf("%+v %v", id, err)
	}
	if _, _, err := w.IssueToken(ctx, "person:vic", TokenSpec{Name: "build", Owner: "vic", Role: Scanner}); !errors.Is(err, ErrRole) {
		t.Error("a viewer owns a token that writes:", err)
	}
	_, machine, err := w.IssueToken(ctx, "uid:0", TokenSpec{Name: "build", Role: Scanner})
	if err != nil {
		t.Fatal(err)
	}
	if id, err := w.Token(ctx, machine); err != nil || id.Role != Scanner {
		t.Errorf("%+v %v", id, err)
	}
	if err := w.SetRole(ctx, "person:ann", "vic", Scanner); !errors.Is(err, ErrRole) {
		t.Error("a person is a scanner:", err)
	}
	if _, _, err := w.Link(ctx, "person:ann", "new", Scanner); !errors.Is(err, ErrRole) {
		t.Error("a person is invited as a scanner:", err)
	}
	w.SetRole(ctx, "person:ann", "bob", Viewer)
	if id, err := w.Token(ctx, secret); !errors.Is(err, ErrDenied) {
		t.Errorf("the token of one who is a viewer now: %+v %v", id, err)
	}
}
