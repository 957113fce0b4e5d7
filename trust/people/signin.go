package people

import (
	"context"
	"errors"
)

// SignIn checks a password and begins a session; the secret is what the
// cookie carries. addr is the client's real address; behind an undeclared
// proxy everybody would share its limits.
//
// Errors: [ErrDenied] whatever was wrong, [ErrLimited], or the store's.
func (p *People) SignIn(ctx context.Context, name, password, addr string) (Session, string, error) {
	name = typed(name)
	who, known, err := p.prove(ctx, name, password, addr)
	if err != nil {
		return Session{}, "", err
	}
	if known.stale {
		p.rehash(ctx, name, who, password)
	}
	return p.begin(ctx, name, who, addr, "password")
}

type proof struct{ stale bool }

// prove checks a person's password within the limits.
func (p *People) prove(ctx context.Context, name, password, addr string) (person, proof, error) {
	if CheckName(name) != nil {
		name = "" // all malformed names are one, so that they fill no table
	}
	try, wait := p.limits.begin(name, addr, p.opts.Now())
	if wait > 0 {
		p.metrics.attempt("limited")
		return person{}, proof{}, ErrLimited{RetryAfter: wait}
	}
	r, err := p.people(ctx)
	if err != nil {
		try.cancel()
		return person{}, proof{}, err
	}
	who, found := r.People[name]
	phc := who.Password
	if !found {
		phc = p.dummy
	}
	if len(password) > 4*MaxPasswordBytes {
		password, found = "", false
	}
	ok, stale, err := p.hasher.verify(ctx, phc, password, try.known)
	if err != nil {
		try.cancel()
		var limited ErrLimited
		if errors.As(err, &limited) {
			p.metrics.attempt("busy")
		}
		return person{}, proof{}, err
	}
	if !ok || !found {
		p.metrics.attempt("denied")
		return person{}, proof{}, ErrDenied
	}
	try.succeed()
	p.metrics.attempt("accepted")
	return who, proof{stale: stale}, nil
}

// rehash stores the password at today's cost. It is no change that anybody
// asked for, and no harm if it fails: the next sign-in tries again.
func (p *People) rehash(ctx context.Context, name string, was person, password string) {
	phc, err := p.hasher.hash(ctx, password, true)
	if err == nil {
		p.changes.Lock()
		defer p.changes.Unlock()
		err = p.update(ctx, "", "", "", nil, func(r *roster) error {
			who, ok := r.People[name]
			if !ok || who.UID != was.UID || who.Password != was.Password {
				return nil
			}
			who.Password = phc
			r.People[name] = who
			return nil
		})
	}
	if err != nil {
		p.opts.Logger.Warn("a password could not be stored at today's cost", "person", name, "error", err)
	}
}

// SetPassword changes a person's own password, given the current one. All
// their sessions end, and the one returned begins. Who has forgotten the
// current one gets a link ([People.Link]).
//
// Errors: [ErrDenied], [ErrPassword], [ErrLimited].
func (p *People) SetPassword(ctx context.Context, name, current, password, addr string) (Session, string, error) {
	if err := CheckPassword(name, password); err != nil {
		return Session{}, "", err
	}
	was, _, err := p.prove(ctx, name, current, addr)
	if err != nil {
		return Session{}, "", err
	}
	phc, err := p.hasher.hash(ctx, password, true)
	if err != nil {
		return Session{}, "", err
	}
	p.changes.Lock()
	defer p.changes.Unlock()
	now := p.opts.Now().UTC()
	var who person
	err = p.update(ctx, subject(name), "password.set", subject(name), map[string]string{"address": addr, "how": "password"}, func(r *roster) error {
		var ok bool
		who, ok = r.People[name]
		if !ok || who.UID != was.UID || who.Epoch != was.Epoch {
			return ErrDenied
		}
		who.setPassword(phc, now)
		r.People[name] = who
		return nil
	})
	if err != nil {
		return Session{}, "", err
	}
	p.dropSessions(ctx, func(s session) bool { return s.UID == who.UID })
	return p.begin(ctx, name, who, addr, "password")
}
