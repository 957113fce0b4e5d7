package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// link is what is stored of a one-time link, under the digest of its token.
type link struct {
	Person string `json:"person"`
	// UID is set if the person existed when the link was made.
	UID     string    `json:"uid,omitempty"`
	Role    Role      `json:"role"`
	By      string    `json:"by"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
}

// maxLinks bounds the links that are good at once.
const maxLinks = 200

// Link makes a one-time link for a person. For somebody new it says which role
// they will have; the person comes to be when the link is redeemed. For
// somebody who exists it is a way back in (role may be empty or their own).
// An earlier link for the same person is void from then on.
//
// The token is shown once and stored nowhere. Errors: [ErrName], [ErrRole],
// [ErrFull].
func (p *People) Link(ctx context.Context, actor, name string, role Role) (secret string, expires time.Time, err error) {
	if err := CheckName(name); err != nil {
		return "", time.Time{}, err
	}
	p.changes.Lock()
	defer p.changes.Unlock()
	r, _, err := p.readRoster(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	who, exists := r.People[name]
	switch {
	case exists && role != "" && role != who.Role:
		return "", time.Time{}, fmt.Errorf("%w: %s is %s; change that first", ErrRole, name, who.Role)
	case exists:
		role = who.Role
	case len(r.People) >= p.opts.MaxPeople:
		return "", time.Time{}, fmt.Errorf("%w: there are %d people", ErrFull, len(r.People))
	}
	if role, err = ParseRole(string(role)); err != nil {
		return "", time.Time{}, err
	}
	now := p.opts.Now()
	live := 0
	if err := p.eachLink(ctx, func(_ string, l link) {
		if l.Person != name && now.Before(l.Expires) {
			live++
		}
	}); err != nil {
		return "", time.Time{}, err
	}
	if live >= maxLinks {
		return "", time.Time{}, fmt.Errorf("%w: %d links are open; they end within %s", ErrFull, live, p.opts.LinkTTL)
	}

	secret = newSecret()
	l := link{Person: name, UID: who.UID, Role: role, By: actor, Created: now, Expires: now.Add(p.opts.LinkTTL)}
	err = p.change(ctx, actor, "link.issue", subject(name), map[string]string{"role": string(role), "expires": l.Expires.UTC().Format(time.RFC3339)}, func(ctx context.Context) error {
		if err := p.dropLinks(ctx, func(l link) bool { return l.Person == name || !now.Before(l.Expires) }); err != nil {
			return err
		}
		return p.put(ctx, linksCollection, digest(secret), l, 0)
	})
	if err != nil {
		return "", time.Time{}, err
	}
	return secret, l.Expires, nil
}

// An Invitation is what a one-time link says.
type Invitation struct {
	Person string
	Role   Role
	// New says that a password has to be set; else it may be kept.
	New     bool
	Expires time.Time
}

// Invitation looks at a link without using it up, for the page that asks for
// the password. Errors: [ErrDenied], [ErrExpired].
func (p *People) Invitation(ctx context.Context, secret string) (Invitation, error) {
	l, _, err := p.link(ctx, secret)
	if err != nil {
		return Invitation{}, err
	}
	return Invitation{Person: l.Person, Role: l.Role, New: l.UID == "", Expires: l.Expires}, nil
}

// Invitations returns the links that are open, the next to end first.
func (p *People) Invitations(ctx context.Context) ([]Invitation, error) {
	var out []Invitation
	now := p.opts.Now()
	err := p.eachLink(ctx, func(_ string, l link) {
		if now.Before(l.Expires) {
			out = append(out, Invitation{Person: l.Person, Role: l.Role, New: l.UID == "", Expires: l.Expires})
		}
	})
	slices.SortFunc(out, func(a, b Invitation) int { return a.Expires.Compare(b.Expires) })
	return out, err
}

func (p *People) link(ctx context.Context, secret string) (link, string, error) {
	if !validSecret(secret) {
		return link{}, "", ErrDenied
	}
	key := digest(secret)
	b, version, err := p.store.Get(ctx, linksCollection, key)
	if err != nil {
		return link{}, "", fmt.Errorf("people: %w", err)
	}
	var l link
	if version == 0 || json.Unmarshal(b, &l) != nil {
		return link{}, "", ErrDenied
	}
	if !p.opts.Now().Before(l.Expires) {
		return link{}, "", fmt.Errorf("this link: %w", ErrExpired)
	}
	// Links of somebody who lost the role are withdrawn with it; one that could not be is no good.
	if by, ok := strings.CutPrefix(l.By, string(KindPerson)+":"); ok {
		r, _, err := p.readRoster(ctx)
		if err != nil {
			return link{}, "", err
		}
		if r.People[by].Role != Admin {
			return link{}, "", ErrDenied
		}
	}
	return l, key, nil
}

// Redeem uses a link up, sets the password and signs in. For somebody who
// exists the password may be empty: then theirs stays as it is. A new password
// ends all their other sessions.
//
// Of several who redeem a link at once one succeeds. A password that
// [CheckPassword] refuses does not use the link up. Errors: [ErrDenied],
// [ErrExpired], [ErrPassword], and [ErrLimited] if too many hash at once.
func (p *People) Redeem(ctx context.Context, secret, password, addr string) (Session, string, error) {
	// No attempt limit: 256 bits are not guessed, and this is the way in for
	// somebody whose address an attacker shares.
	l, key, err := p.link(ctx, secret)
	if err != nil {
		p.metrics.attempt("denied")
		return Session{}, "", err
	}
	phc := ""
	if password != "" || l.UID == "" {
		if err := CheckPassword(l.Person, password); err != nil {
			return Session{}, "", err
		}
		if phc, err = p.hasher.hash(ctx, password, true); err != nil {
			return Session{}, "", err
		}
	}

	p.changes.Lock()
	defer p.changes.Unlock()
	existed, err := p.store.Delete(ctx, linksCollection, key)
	if err != nil {
		return Session{}, "", fmt.Errorf("people: %w", err)
	}
	if !existed {
		return Session{}, "", ErrDenied
	}
	who, err := p.settle(ctx, l, phc, addr)
	if err != nil {
		// The link was good and nothing came of it: give it back.
		if !errors.Is(err, ErrDenied) {
			back, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
			defer cancel()
			if err := p.put(back, linksCollection, key, l, 0); err != nil {
				p.opts.Logger.Warn("a one-time link was lost; make another", "person", l.Person, "error", err)
			}
		}
		return Session{}, "", err
	}
	p.metrics.attempt("accepted")
	p.limits.remember(l.Person, addr)
	return p.begin(ctx, l.Person, who, addr, "link")
}

// settle does to the roster what a link promises.
func (p *People) settle(ctx context.Context, l link, phc, addr string) (person, error) {
	var who person
	check := func(r *roster) error {
		var exists bool
		who, exists = r.People[l.Person]
		switch {
		case exists != (l.UID != ""), exists && who.UID != l.UID:
			// Removed, or made by another link, since.
			return ErrDenied
		case !exists && len(r.People) >= p.opts.MaxPeople:
			return fmt.Errorf("%w: there are %d people", ErrFull, len(r.People))
		}
		return nil
	}
	if phc == "" {
		r, _, err := p.readRoster(ctx)
		if err != nil {
			return person{}, err
		}
		return who, check(r)
	}
	verb, detail := "password.set", map[string]string{"address": addr, "how": "link"}
	uid := newUID()
	if l.UID == "" {
		verb = "person.create"
		detail["role"], detail["invited_by"] = string(l.Role), l.By
	}
	now := p.opts.Now().UTC()
	err := p.update(ctx, subject(l.Person), verb, subject(l.Person), detail, func(r *roster) error {
		if err := check(r); err != nil {
			return err
		}
		if l.UID == "" {
			who = person{UID: uid, Role: l.Role, Created: now}
		}
		who.setPassword(phc, now)
		r.People[l.Person] = who
		return nil
	})
	if err == nil && l.UID != "" {
		p.dropSessions(ctx, func(s session) bool { return s.UID == who.UID })
	}
	return who, err
}

func (w *person) setPassword(phc string, now time.Time) {
	w.Password, w.PasswordSet = phc, now
	w.Epoch++
}
