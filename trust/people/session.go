package people

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// session is what is stored of a session, under the digest of its secret.
type session struct {
	Person  string    `json:"person"`
	UID     string    `json:"uid"`
	Epoch   int64     `json:"epoch"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
	Expires time.Time `json:"expires"`
	Addr    string    `json:"addr"`
}

// A Session is what a list shows of one.
type Session struct {
	ID      string
	Person  string
	Created time.Time
	// Seen is when it was last used, to about a minute.
	Seen time.Time
	// Expires is when it ends in any case.
	Expires time.Time
	// Addr is where it began.
	Addr string
}

func (s session) public(key string) Session {
	return Session{ID: publicID(key), Person: s.Person, Created: s.Created, Seen: s.Seen, Expires: s.Expires, Addr: s.Addr}
}

func (p *People) over(s session, now time.Time) bool {
	return !now.Before(s.Expires) || now.Sub(s.Seen) >= p.opts.SessionIdle
}

// belongs reports whether the session is of a person who is there, since their
// last new password.
func (s session) belongs(r *roster) (person, bool) {
	who, ok := r.People[s.Person]
	return who, ok && who.UID == s.UID && who.Epoch == s.Epoch
}

// touchEvery is how exactly the last use is stored: a write for every request
// would cost more than the requests.
const touchEvery = time.Minute

const maxAddr = 64

// begin starts a session for somebody who has proved who they are.
func (p *People) begin(ctx context.Context, name string, who person, addr, how string) (Session, string, error) {
	now := p.opts.Now().UTC()
	addr = addr[:min(len(addr), maxAddr)]
	s := session{Person: name, UID: who.UID, Epoch: who.Epoch, Created: now, Seen: now, Expires: now.Add(p.opts.SessionAbsolute), Addr: addr}
	p.makeRoom(ctx, name, who.UID, now)
	secret := newSecret()
	key := digest(secret)
	p.note(ctx, subject(name), "session.create", subject(name), map[string]string{"session": publicID(key), "address": addr, "how": how})
	if err := p.put(ctx, sessionsCollection, key, s, 0); err != nil {
		return Session{}, "", err
	}
	return s.public(key), secret, nil
}

// makeRoom ends a person's least recently used sessions beyond the limit, and
// whatever has expired meanwhile.
func (p *People) makeRoom(ctx context.Context, name, uid string, now time.Time) {
	type aged struct {
		key  string
		seen time.Time
	}
	var mine []aged
	drop := map[string]bool{}
	err := p.eachSession(ctx, func(key string, s session) {
		switch {
		case p.over(s, now):
			drop[key] = true
		case s.UID == uid:
			mine = append(mine, aged{key, s.Seen})
		}
	})
	if err != nil {
		p.opts.Logger.Warn("sessions could not be counted", "error", err)
		return
	}
	slices.SortFunc(mine, func(a, b aged) int { return a.seen.Compare(b.seen) })
	for len(mine) >= p.opts.MaxSessions {
		drop[mine[0].key] = true
		p.note(ctx, "system", "session.revoke", subject(name), map[string]string{"session": publicID(mine[0].key), "why": "too many sessions"})
		mine = mine[1:]
	}
	for key := range drop {
		p.endSession(ctx, key)
	}
}

// Session says whose session a secret is, and takes note of its use. It is
// cheap enough for every request.
//
// Errors: [ErrDenied], [ErrExpired], or the store's.
func (p *People) Session(ctx context.Context, secret string) (Identity, error) {
	if !validSecret(secret) {
		return Identity{}, ErrDenied
	}
	key, now := digest(secret), p.opts.Now().UTC()
	c, err := fetch(ctx, p, &p.sessions, sessionsCollection, key, now)
	if err != nil {
		return Identity{}, err
	}
	s := c.value
	if p.over(s, now) {
		p.endSession(ctx, key)
		return Identity{}, fmt.Errorf("this session: %w", ErrExpired)
	}
	r, err := p.people(ctx)
	if err != nil {
		return Identity{}, err
	}
	who, ok := s.belongs(r)
	if !ok {
		p.sessions.forget(key)
		return Identity{}, ErrDenied
	}
	if now.Sub(s.Seen) >= touchEvery {
		s.Seen = now
		touch(ctx, p, &p.sessions, sessionsCollection, key, c, s)
	}
	return Identity{Kind: KindPerson, Name: s.Person, Role: who.Role, ID: publicID(key)}, nil
}

// SignOut ends a session. A secret that is nobody's is no error.
func (p *People) SignOut(ctx context.Context, secret string) error {
	if !validSecret(secret) {
		return nil
	}
	key := digest(secret)
	b, version, err := p.store.Get(ctx, sessionsCollection, key)
	p.sessions.drop(key)
	if err != nil {
		return fmt.Errorf("people: %w", err)
	}
	var s session
	if version == 0 || json.Unmarshal(b, &s) != nil {
		return nil
	}
	p.note(ctx, subject(s.Person), "session.end", subject(s.Person), map[string]string{"session": publicID(key)})
	return p.endSession(ctx, key)
}

func (p *People) endSession(ctx context.Context, key string) error {
	_, err := p.store.Delete(ctx, sessionsCollection, key)
	p.sessions.drop(key)
	if err != nil {
		return fmt.Errorf("people: %w", err)
	}
	return nil
}

// Sessions returns a person's live sessions, or everybody's if name is empty,
// the most recently used first.
func (p *People) Sessions(ctx context.Context, name string) ([]Session, error) {
	r, err := p.people(ctx)
	if err != nil {
		return nil, err
	}
	var out []Session
	now := p.opts.Now()
	err = p.eachSession(ctx, func(key string, s session) {
		if _, ok := s.belongs(r); ok && !p.over(s, now) && (name == "" || s.Person == name) {
			out = append(out, s.public(key))
		}
	})
	slices.SortFunc(out, func(a, b Session) int { return b.Seen.Compare(a.Seen) })
	return out, err
}

// RevokeSession ends one session of a person, by the id that Sessions gives.
// Errors: [ErrUnknown].
func (p *People) RevokeSession(ctx context.Context, actor, name, id string) error {
	keys, err := p.sessionKeys(ctx, func(key string, s session) bool { return s.Person == name && publicID(key) == id })
	if err != nil {
		return err
	}
	if len(keys) == 0 {
		return fmt.Errorf("%w: session %.20q of %.40q", ErrUnknown, id, name)
	}
	return p.change(ctx, actor, "session.revoke", subject(name), map[string]string{"session": id}, func(ctx context.Context) error {
		return p.endSession(ctx, keys[0])
	})
}

// RevokeSessions ends all sessions of a person and says how many there were.
func (p *People) RevokeSessions(ctx context.Context, actor, name string) (int, error) {
	keys, err := p.sessionKeys(ctx, func(_ string, s session) bool { return s.Person == name })
	if err != nil || len(keys) == 0 {
		return 0, err
	}
	err = p.change(ctx, actor, "session.revoke", subject(name), map[string]string{"sessions": strconv.Itoa(len(keys))}, func(ctx context.Context) error {
		return p.dropSessions(ctx, func(s session) bool { return s.Person == name })
	})
	return len(keys), err
}

func (p *People) sessionKeys(ctx context.Context, match func(string, session) bool) ([]string, error) {
	var keys []string
	err := p.eachSession(ctx, func(key string, s session) {
		if match(key, s) {
			keys = append(keys, key)
		}
	})
	return keys, err
}
