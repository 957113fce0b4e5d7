package assembly

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/trust/people"
)

// accounts fits trust/people to the console.
type accounts struct{ m *Machine }

// peopleError gives an error of trust/people the console's meaning.
func peopleError(err error) error {
	var limited people.ErrLimited
	switch {
	case err == nil:
		return nil
	case errors.As(err, &limited):
		return &console.LimitedError{RetryAfter: limited.RetryAfter}
	case errors.Is(err, people.ErrDenied), errors.Is(err, people.ErrExpired):
		return fmt.Errorf("%w: %w", console.ErrRefused, err)
	case errors.Is(err, people.ErrUnknown):
		return fmt.Errorf("%w: %w", console.ErrNotFound, err)
	case errors.Is(err, people.ErrLastAdmin), errors.Is(err, people.ErrFull):
		return fmt.Errorf("%w: %w", console.ErrConflict, err)
	case errors.Is(err, people.ErrPassword):
		return &console.InputError{Field: "password", Reason: err.Error()}
	case errors.Is(err, people.ErrName):
		return &console.InputError{Field: "name", Reason: err.Error()}
	case errors.Is(err, people.ErrRole):
		return &console.InputError{Field: "role", Reason: err.Error()}
	}
	return err
}

func consoleRole(r people.Role) console.Role {
	role, _ := console.ParseRole(string(r))
	return role
}

func peopleRole(r console.Role) people.Role { return people.Role(r.String()) }

func (s accounts) session(one people.Session, secret string, role console.Role) console.Session {
	return console.Session{Identity: console.Identity{Name: one.Person, Role: role, Kind: console.KindPerson},
		ID: one.ID, Token: secret, Expires: one.Expires}
}

// signedIn completes a new session with the role of its person.
func (s accounts) signedIn(ctx context.Context, one people.Session, secret string, err error) (console.Session, error) {
	if err != nil {
		return console.Session{}, peopleError(err)
	}
	who, err := s.m.people.Session(ctx, secret)
	if err != nil {
		return console.Session{}, peopleError(err)
	}
	return s.session(one, secret, consoleRole(who.Role)), nil
}

func (s accounts) Link(ctx context.Context, secret string, _ netip.Addr) (console.Link, error) {
	inv, err := s.m.people.Invitation(ctx, secret)
	if err != nil {
		return console.Link{}, peopleError(err)
	}
	return console.Link{Name: inv.Person, Role: consoleRole(inv.Role), Expires: inv.Expires, Setup: inv.New}, nil
}

func (s accounts) Redeem(ctx context.Context, r console.Redemption) (console.Session, error) {
	one, secret, err := s.m.people.Redeem(ctx, r.Secret, r.Password, r.Client.String())
	return s.signedIn(ctx, one, secret, err)
}

func (s accounts) SignIn(ctx context.Context, c console.Credentials) (console.Session, error) {
	one, secret, err := s.m.people.SignIn(ctx, c.Name, c.Password, c.Client.String())
	return s.signedIn(ctx, one, secret, err)
}

// ChangePassword ends all sessions of the person and begins the one it returns.
func (s accounts) ChangePassword(ctx context.Context, c console.Credentials, password string) (console.Session, error) {
	one, secret, err := s.m.people.SetPassword(ctx, c.Name, c.Password, password, c.Client.String())
	return s.signedIn(ctx, one, secret, err)
}

func (s accounts) Session(ctx context.Context, token string, _ netip.Addr) (console.Session, error) {
	who, err := s.m.people.Session(ctx, token)
	if err != nil {
		return console.Session{}, peopleError(err)
	}
	return console.Session{Identity: console.Identity{Name: who.Name, Role: consoleRole(who.Role), Kind: console.KindPerson},
		ID: who.ID, Token: token}, nil
}

func (s accounts) Token(ctx context.Context, token string, _ netip.Addr) (console.Identity, error) {
	who, err := s.m.people.Token(ctx, token)
	if err != nil {
		return console.Identity{}, peopleError(err)
	}
	return console.Identity{Name: who.Name, Role: consoleRole(who.Role), Kind: console.KindToken}, nil
}

func (s accounts) SignOut(ctx context.Context, token string) error {
	return peopleError(s.m.people.SignOut(ctx, token))
}

func (s accounts) People(ctx context.Context) ([]console.Person, error) {
	list, err := s.m.people.List(ctx)
	if err != nil {
		return nil, err
	}
	sessions, err := s.m.people.Sessions(ctx, "")
	if err != nil {
		return nil, err
	}
	all := make([]console.Person, len(list))
	for i, p := range list {
		all[i] = console.Person{Name: p.Name, Role: consoleRole(p.Role), Created: p.Created, Password: !p.PasswordSet.IsZero()}
		for _, one := range sessions {
			if one.Person == p.Name {
				all[i].Sessions++
				if one.Seen.After(all[i].LastSeen) {
					all[i].LastSeen = one.Seen
				}
			}
		}
	}
	return all, nil
}

func (s accounts) Sessions(ctx context.Context) ([]console.SessionView, error) {
	list, err := s.m.people.Sessions(ctx, "")
	if err != nil {
		return nil, err
	}
	all := make([]console.SessionView, len(list))
	for i, one := range list {
		all[i] = console.SessionView{ID: one.ID, Name: one.Person, Created: one.Created, LastSeen: one.Seen, Expires: one.Expires,
			Client: one.Addr}
	}
	return all, nil
}

// desk changes people and tokens.
type peopleDesk struct{ m *Machine }

func (d peopleDesk) Invite(ctx context.Context, name string, role console.Role, by console.Identity) (console.Invitation, error) {
	list, err := d.m.people.List(ctx)
	if err != nil {
		return console.Invitation{}, err
	}
	want := peopleRole(role)
	if slices.ContainsFunc(list, func(p people.Person) bool { return p.Name == name }) {
		want = "" // somebody who is there keeps their role
	}
	secret, expires, err := d.m.people.Link(ctx, by.Actor(), name, want)
	if err != nil {
		return console.Invitation{}, peopleError(err)
	}
	return console.Invitation{Name: name, Secret: secret, Expires: expires}, nil
}

func (d peopleDesk) SetRole(ctx context.Context, name string, role console.Role, by console.Identity) error {
	return peopleError(d.m.people.SetRole(ctx, by.Actor(), name, peopleRole(role)))
}

func (d peopleDesk) Remove(ctx context.Context, name string, by console.Identity) error {
	return peopleError(d.m.people.Remove(ctx, by.Actor(), name))
}

func (d peopleDesk) EndSession(ctx context.Context, id string, by console.Identity) error {
	list, err := d.m.people.Sessions(ctx, "")
	if err != nil {
		return err
	}
	for _, one := range list {
		if one.ID == id {
			return peopleError(d.m.people.RevokeSession(ctx, by.Actor(), one.Person, id))
		}
	}
	return fmt.Errorf("session %s: %w", id, console.ErrNotFound)
}

// tokens keeps bearer tokens.
type tokens struct{ m *Machine }

func consoleToken(t people.Token) console.Token {
	return console.Token{ID: t.ID, Name: t.Name, Role: consoleRole(t.Role), Created: t.Created, CreatedBy: t.By, Expires: t.Expires,
		LastUsed: t.Used}
}

func (s tokens) Tokens(ctx context.Context) ([]console.Token, error) {
	list, err := s.m.people.Tokens(ctx, "")
	if err != nil {
		return nil, err
	}
	all := make([]console.Token, len(list))
	for i, t := range list {
		all[i] = consoleToken(t)
	}
	return all, nil
}

func (s tokens) Issue(ctx context.Context, name string, role console.Role, ttl time.Duration, by console.Identity) (console.Token, string, error) {
	spec := people.TokenSpec{Name: name, Role: peopleRole(role), TTL: ttl}
	if by.Kind == console.KindPerson {
		spec.Owner = by.Name // it goes when they go
	}
	t, secret, err := s.m.people.IssueToken(ctx, by.Actor(), spec)
	if err != nil {
		return console.Token{}, "", peopleError(err)
	}
	return consoleToken(t), secret, nil
}

func (s tokens) Revoke(ctx context.Context, id string, by console.Identity) error {
	return peopleError(s.m.people.RevokeToken(ctx, by.Actor(), id))
}
