package console

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Invite makes a one-time link for a person, who is made where not there yet. Admins may.
func (d *Desk) Invite(ctx context.Context, name string, role Role) (Invitation, error) {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return Invitation{}, err
	}
	if d.sources.PeopleDesk == nil {
		return Invitation{}, unavailable("people")
	}
	if err := checkName("name", name); err != nil {
		return Invitation{}, err
	}
	if role == RoleNone || role == RoleScanner { // which is for tokens
		return Invitation{}, &InputError{Field: "role", Reason: "choose viewer, operator or admin"}
	}
	inv, err := d.sources.PeopleDesk.Invite(ctx, name, role, c.Identity)
	if err != nil {
		return Invitation{}, err
	}
	inv.URL = d.link(inv.Secret)
	d.changed(TopicPeople)
	return inv, nil
}

// SetRole changes what a person may do. Admins may.
func (d *Desk) SetRole(ctx context.Context, name string, role Role) error {
	if role == RoleNone || role == RoleScanner {
		return &InputError{Field: "role", Reason: "choose viewer, operator or admin"}
	}
	return d.people(ctx, func(by Identity) error { return d.sources.PeopleDesk.SetRole(ctx, name, role, by) })
}

// RemovePerson takes a person away, with sessions and links. Admins may.
func (d *Desk) RemovePerson(ctx context.Context, name string) error {
	return d.people(ctx, func(by Identity) error { return d.sources.PeopleDesk.Remove(ctx, name, by) })
}

// EndSession signs a session out by its id. Admins may, and everybody their own.
func (d *Desk) EndSession(ctx context.Context, id string) error {
	c := CallerFrom(ctx)
	if d.sources.PeopleDesk != nil && !c.May(RoleAdmin) {
		// A browser that was left signed in elsewhere is its owner's to end.
		own, err := d.Sessions(ctx)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(own, func(s SessionView) bool { return s.ID == id }) {
			if err := d.sources.PeopleDesk.EndSession(ctx, id, c.Identity); err != nil {
				return err
			}
			d.changed(TopicPeople)
			return nil
		}
	}
	return d.people(ctx, func(by Identity) error { return d.sources.PeopleDesk.EndSession(ctx, id, by) })
}

func (d *Desk) people(ctx context.Context, do func(by Identity) error) error {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return err
	}
	if d.sources.PeopleDesk == nil {
		return unavailable("people")
	}
	if err := do(c.Identity); err != nil {
		return err
	}
	d.changed(TopicPeople)
	return nil
}

// Sessions returns the open sessions with the caller's own marked. Admins see all,
// others their own.
func (d *Desk) Sessions(ctx context.Context) ([]SessionView, error) {
	c, err := d.caller(ctx, RoleViewer)
	if err != nil {
		return nil, err
	}
	if d.sources.People == nil {
		return nil, unavailable("people")
	}
	all, err := d.sources.People.Sessions(ctx)
	if err != nil {
		return nil, err
	}
	seen := make([]SessionView, 0, len(all))
	for _, s := range all {
		s.Current = c.Session != "" && s.ID == c.Session
		if c.May(RoleAdmin) || c.Kind == KindPerson && s.Name == c.Name {
			seen = append(seen, s)
		}
	}
	return seen, nil
}

// IssueToken makes a bearer token and returns its secret, which is shown once. Admins may.
func (d *Desk) IssueToken(ctx context.Context, name string, role Role, ttl time.Duration) (Token, string, error) {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return Token{}, "", err
	}
	if d.sources.Tokens == nil {
		return Token{}, "", unavailable("tokens")
	}
	if err := checkName("name", name); err != nil {
		return Token{}, "", err
	}
	if role == RoleNone {
		return Token{}, "", &InputError{Field: "role", Reason: "choose viewer, operator or admin"}
	}
	if ttl <= 0 || ttl > maxTokenTTL {
		return Token{}, "", &InputError{Field: "ttl", Reason: fmt.Sprintf("give the token from 1s to %dh to live", int(maxTokenTTL.Hours()))}
	}
	t, secret, err := d.sources.Tokens.Issue(ctx, name, role, ttl, c.Identity)
	if err == nil {
		d.changed(TopicPeople)
	}
	return t, secret, err
}

// RevokeToken ends a token by its id. Admins may.
func (d *Desk) RevokeToken(ctx context.Context, id string) error {
	c, err := d.caller(ctx, RoleAdmin)
	if err != nil {
		return err
	}
	if d.sources.Tokens == nil {
		return unavailable("tokens")
	}
	if err := d.sources.Tokens.Revoke(ctx, id, c.Identity); err != nil {
		return err
	}
	d.changed(TopicPeople)
	return nil
}

// checkName holds names to what reads the same in a ledger, a terminal and an address.
func checkName(field, s string) error {
	if s == "" || len(s) > 64 {
		return &InputError{Field: field, Reason: "use 1 to 64 letters, digits and any of . _ - @"}
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-', c == '@':
		default:
			return &InputError{Field: field, Reason: "use 1 to 64 letters, digits and any of . _ - @"}
		}
	}
	return nil
}
