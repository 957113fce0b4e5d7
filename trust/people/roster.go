package people

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// The roster is one document, so that "an admin is left" can be held by one
// compare-and-swap, whatever other processes do.
const rosterKey = "roster"

type roster struct {
	People map[string]person `json:"people"`
}

// person is a value: a roster that others read is never written to.
type person struct {
	// UID tells two people apart who had the same name one after the other.
	UID      string `json:"uid"`
	Role     Role   `json:"role"`
	Password string `json:"password"` // PHC string
	// Epoch is raised with each new password; older sessions end.
	Epoch       int64     `json:"epoch"`
	Created     time.Time `json:"created"`
	PasswordSet time.Time `json:"password_set"`
}

func (r *roster) admins() (n int) {
	for _, p := range r.People {
		if p.Role == Admin {
			n++
		}
	}
	return n
}

// rosterCache holds the roster as last read or written.
type rosterCache struct {
	mu     sync.Mutex
	value  *roster
	read   time.Time
	writes uint64
}

// people returns the roster, at most CacheFor old. It is not to be changed.
func (p *People) people(ctx context.Context) (*roster, error) {
	now := p.opts.Now()
	p.roster.mu.Lock()
	r, read, writes := p.roster.value, p.roster.read, p.roster.writes
	p.roster.mu.Unlock()
	if r != nil && now.Sub(read) < p.opts.CacheFor && !now.Before(read) {
		return r, nil
	}
	r, _, err := p.readRoster(ctx)
	if err != nil {
		return nil, err
	}
	p.roster.mu.Lock()
	if p.roster.writes == writes {
		p.roster.value, p.roster.read = r, now
	}
	p.roster.mu.Unlock()
	return r, nil
}

func (p *People) readRoster(ctx context.Context) (*roster, int64, error) {
	b, version, err := p.store.Get(ctx, peopleCollection, rosterKey)
	if err != nil {
		return nil, 0, fmt.Errorf("people: %w", err)
	}
	r := &roster{People: map[string]person{}}
	if version == 0 {
		return r, 0, nil
	}
	if err := json.Unmarshal(b, r); err != nil || r.People == nil {
		return nil, 0, errors.New("people: the stored list of people is damaged")
	}
	return r, version, nil
}

var errConflict = errors.New("people: another process keeps changing the list of people; try again")

// update changes the roster. edit may run several times, on fresh copies; its
// error stops the change. With a verb the change is recorded before the write.
// The caller holds p.changes.
func (p *People) update(ctx context.Context, actor, verb, subject string, detail map[string]string, edit func(*roster) error) error {
	attempt := func(ctx context.Context, write bool) (bool, error) {
		r, version, err := p.readRoster(ctx)
		if err != nil {
			return false, err
		}
		if err := edit(r); err != nil || !write {
			return false, err
		}
		b, err := json.Marshal(r)
		if err != nil {
			return false, fmt.Errorf("people: %w", err)
		}
		ok, err := p.store.Put(ctx, peopleCollection, rosterKey, b, version)
		if err != nil {
			return false, fmt.Errorf("people: %w", err)
		}
		if ok {
			p.roster.mu.Lock()
			p.roster.value, p.roster.read = r, p.opts.Now()
			p.roster.writes++
			p.roster.mu.Unlock()
		}
		return ok, nil
	}
	write := func(ctx context.Context) error {
		for range 8 {
			if ok, err := attempt(ctx, true); ok || err != nil {
				return err
			}
		}
		return errConflict
	}
	if verb == "" {
		return write(ctx)
	}
	// What cannot be done is not recorded as done.
	if _, err := attempt(ctx, false); err != nil {
		return err
	}
	return p.change(ctx, actor, verb, subject, detail, write)
}

// A Person is somebody who can sign in.
type Person struct {
	Name        string
	Role        Role
	Created     time.Time
	PasswordSet time.Time
}

// List returns everybody, by name.
func (p *People) List(ctx context.Context) ([]Person, error) {
	r, err := p.people(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Person, 0, len(r.People))
	for _, name := range slices.Sorted(maps.Keys(r.People)) {
		who := r.People[name]
		out = append(out, Person{Name: name, Role: who.Role, Created: who.Created, PasswordSet: who.PasswordSet})
	}
	return out, nil
}

// SetRole gives a person another role, at once in all their sessions and
// tokens. Links that they made are void.
//
// Errors: [ErrUnknown], [ErrRole], [ErrLastAdmin].
func (p *People) SetRole(ctx context.Context, actor, name string, role Role) error {
	if _, err := ParseRole(string(role)); err != nil {
		return err
	}
	p.changes.Lock()
	defer p.changes.Unlock()
	r, _, err := p.readRoster(ctx)
	if err != nil {
		return err
	}
	before := r.People[name].Role
	if before == role {
		return nil
	}
	err = p.update(ctx, actor, "person.role", subject(name), map[string]string{"from": string(before), "to": string(role)}, func(r *roster) error {
		who, ok := r.People[name]
		if !ok {
			return fmt.Errorf("%w: %.40q", ErrUnknown, name)
		}
		who.Role = role
		r.People[name] = who
		if r.admins() == 0 {
			return ErrLastAdmin
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.dropLinks(ctx, func(l link) bool { return l.By == subject(name) })
	return nil
}

// Remove removes a person with their sessions and tokens, and the links that
// they made.
//
// Errors: [ErrUnknown], [ErrLastAdmin].
func (p *People) Remove(ctx context.Context, actor, name string) error {
	p.changes.Lock()
	defer p.changes.Unlock()
	err := p.update(ctx, actor, "person.remove", subject(name), nil, func(r *roster) error {
		if _, ok := r.People[name]; !ok {
			return fmt.Errorf("%w: %.40q", ErrUnknown, name)
		}
		delete(r.People, name)
		if r.admins() == 0 {
			return ErrLastAdmin
		}
		return nil
	})
	if err != nil {
		return err
	}
	// They are void already, because nobody of their UID is left; this only
	// clears them away.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	p.dropLinks(ctx, func(l link) bool { return l.By == subject(name) || l.Person == name })
	p.dropSessions(ctx, func(s session) bool { return s.Person == name })
	p.dropTokens(ctx, func(t token) bool { return t.Owner == name })
	return nil
}

func subject(name string) string {
	if CheckName(name) != nil {
		// Typed by somebody; the recorder escapes, this only bounds.
		return "person:" + strings.ToValidUTF8(name[:min(len(name), MaxName)], "?")
	}
	return string(KindPerson) + ":" + name
}
