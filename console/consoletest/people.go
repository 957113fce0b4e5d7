package consoletest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

type openSession struct {
	id, name  string
	created   time.Time
	client    string
	userAgent string
}

func (w *World) fillPeople() {
	for _, p := range []struct {
		name string
		role console.Role
	}{{AdminName, console.RoleAdmin}, {OperatorName, console.RoleOperator}, {ViewerName, console.RoleViewer}} {
		w.People = append(w.People, console.Person{Name: p.name, Role: p.role, Created: w.Start.Add(-24 * time.Hour), Password: true})
		id := w.next("tok")
		w.Tokens = append(w.Tokens, console.Token{ID: id, Name: p.role.String() + "-ci", Role: p.role, Created: w.Start.Add(-time.Hour), CreatedBy: "person:ann", Expires: w.Start.Add(720 * time.Hour)})
		w.tokens["tst_"+p.role.String()] = id
	}
	id := w.next("tok")
	w.Tokens = append(w.Tokens, console.Token{ID: id, Name: "scanner-ci", Role: console.RoleScanner, Created: w.Start.Add(-time.Hour), CreatedBy: "person:ann", Expires: w.Start.Add(720 * time.Hour)})
	w.tokens[ScannerToken] = id
	w.links[LinkSecret] = console.Link{Name: "max", Role: console.RoleAdmin, Expires: w.Start.Add(10 * time.Minute), Setup: true}
}

// Session opens a session for a person without a password, and returns its cookie's value.
func (w *World) Session(name string) string {
	w.Lock.Lock()
	defer w.Lock.Unlock()
	return w.open(name, "127.0.0.1", "test").Token
}

// open begins a session. The caller holds Lock.
func (w *World) open(name, client, ua string) console.Session {
	secret, id := w.next("secret-of-"+name), w.next("ses")
	w.sessions[secret] = &openSession{id: id, name: name, created: w.Now(), client: client, userAgent: ua}
	return console.Session{Identity: console.Identity{Name: name, Role: w.roleOf(name), Kind: console.KindPerson}, ID: id, Token: secret, Expires: w.Now().Add(12 * time.Hour)}
}

func (w *World) roleOf(name string) console.Role {
	for _, p := range w.People {
		if p.Name == name {
			return p.Role
		}
	}
	return console.RoleNone
}

type people struct{ w *World }

func (p people) Link(_ context.Context, secret string, _ netip.Addr) (console.Link, error) {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	l, ok := p.w.links[secret]
	if !ok {
		return console.Link{}, console.ErrRefused
	}
	return l, nil
}

func (p people) Redeem(_ context.Context, r console.Redemption) (console.Session, error) {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	l, ok := p.w.links[r.Secret]
	if !ok {
		return console.Session{}, console.ErrRefused
	}
	if l.Setup && len(r.Password) < 12 || r.Password != "" && len(r.Password) < 12 {
		return console.Session{}, &console.InputError{Field: "password", Reason: "choose another password: use at least 12 characters"}
	}
	delete(p.w.links, r.Secret)
	if p.w.roleOf(l.Name) == console.RoleNone {
		p.w.People = append(p.w.People, console.Person{Name: l.Name, Role: l.Role, Created: p.w.Now(), Password: true})
	}
	if r.Password != "" {
		p.w.passwords[l.Name] = r.Password
	}
	p.w.write(p.w.Now().Sub(p.w.Start), "person:"+l.Name, "person.redeem", l.Name, nil)
	return p.w.open(l.Name, r.Client.String(), r.UserAgent), nil
}

func (p people) SignIn(_ context.Context, c console.Credentials) (console.Session, error) {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	if p.w.wrong[c.Name] >= 5 {
		return console.Session{}, &console.LimitedError{RetryAfter: 30 * time.Second}
	}
	if want, ok := p.w.passwords[c.Name]; !ok || want != c.Password {
		p.w.wrong[c.Name]++
		return console.Session{}, console.ErrRefused
	}
	p.w.write(p.w.Now().Sub(p.w.Start), "person:"+c.Name, "session.begin", c.Name, nil)
	return p.w.open(c.Name, c.Client.String(), c.UserAgent), nil
}

func (p people) ChangePassword(ctx context.Context, c console.Credentials, password string) (console.Session, error) {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	if p.w.passwords[c.Name] != c.Password {
		return console.Session{}, console.ErrRefused
	}
	if len(password) < 12 {
		return console.Session{}, &console.InputError{Field: "password", Reason: "choose another password: use at least 12 characters"}
	}
	p.w.passwords[c.Name] = password
	for secret, s := range p.w.sessions {
		if s.name == c.Name {
			delete(p.w.sessions, secret)
		}
	}
	p.w.write(p.w.Now().Sub(p.w.Start), "person:"+c.Name, "person.password", c.Name, nil)
	return p.w.open(c.Name, c.Client.String(), c.UserAgent), nil
}

func (p people) Session(_ context.Context, token string, _ netip.Addr) (console.Session, error) {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	s, ok := p.w.sessions[token]
	if !ok || p.w.roleOf(s.name) == console.RoleNone {
		return console.Session{}, console.ErrRefused
	}
	return console.Session{Identity: console.Identity{Name: s.name, Role: p.w.roleOf(s.name), Kind: console.KindPerson}, ID: s.id, Token: token, Expires: s.created.Add(12 * time.Hour)}, nil
}

func (p people) Token(_ context.Context, token string, _ netip.Addr) (console.Identity, error) {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	for _, t := range p.w.Tokens {
		if id, ok := p.w.tokens[token]; ok && t.ID == id {
			return console.Identity{Name: t.Name, Role: t.Role, Kind: console.KindToken}, nil
		}
	}
	return console.Identity{}, console.ErrRefused
}

func (p people) SignOut(_ context.Context, token string) error {
	p.w.Lock.Lock()
	defer p.w.Lock.Unlock()
	if s, ok := p.w.sessions[token]; ok {
		p.w.write(p.w.Now().Sub(p.w.Start), "person:"+s.name, "session.end", s.name, nil)
	}
	delete(p.w.sessions, token)
	return nil
}

type roster struct{ w *World }

func (r roster) People(context.Context) ([]console.Person, error) {
	r.w.Lock.Lock()
	defer r.w.Lock.Unlock()
	all := slices.Clone(r.w.People)
	for i := range all {
		for _, s := range r.w.sessions {
			if s.name == all[i].Name {
				all[i].Sessions++
				all[i].LastSeen = r.w.Now()
			}
		}
	}
	return all, r.w.fail()
}

func (r roster) Sessions(context.Context) ([]console.SessionView, error) {
	r.w.Lock.Lock()
	defer r.w.Lock.Unlock()
	var all []console.SessionView
	for _, s := range r.w.sessions {
		all = append(all, console.SessionView{ID: s.id, Name: s.name, Created: s.created, LastSeen: r.w.Now(), Expires: s.created.Add(12 * time.Hour), Client: s.client, UserAgent: s.userAgent})
	}
	slices.SortFunc(all, func(a, b console.SessionView) int { return strings.Compare(a.ID, b.ID) })
	return all, r.w.fail()
}

func (r roster) Invite(_ context.Context, name string, role console.Role, by console.Identity) (console.Invitation, error) {
	r.w.Lock.Lock()
	defer r.w.Lock.Unlock()
	if err := r.w.fail(); err != nil {
		return console.Invitation{}, err
	}
	secret := r.w.next("link")
	have := r.w.roleOf(name)
	if have != console.RoleNone {
		role = have
	}
	l := console.Link{Name: name, Role: role, Expires: r.w.Now().Add(10 * time.Minute), Setup: have == console.RoleNone}
	r.w.links[secret] = l
	r.w.write(r.w.Now().Sub(r.w.Start), by.Actor(), "person.invite", name, map[string]string{"role": role.String()})
	return console.Invitation{Name: name, Secret: secret, Expires: l.Expires}, nil
}

func (r roster) SetRole(_ context.Context, name string, role console.Role, by console.Identity) error {
	r.w.Lock.Lock()
	defer r.w.Lock.Unlock()
	if role != console.RoleAdmin && r.w.lastAdmin(name) {
		return fmt.Errorf("%w: %s is the last admin; make somebody else an admin first", console.ErrConflict, name)
	}
	for i := range r.w.People {
		if r.w.People[i].Name == name {
			r.w.People[i].Role = role
			r.w.write(r.w.Now().Sub(r.w.Start), by.Actor(), "person.role", name, map[string]string{"to": role.String()})
			return r.w.fail()
		}
	}
	return fmt.Errorf("person %s: %w", name, console.ErrNotFound)
}

func (r roster) Remove(_ context.Context, name string, by console.Identity) error {
	r.w.Lock.Lock()
	defer r.w.Lock.Unlock()
	if r.w.lastAdmin(name) {
		return fmt.Errorf("%w: %s is the last admin; make somebody else an admin first", console.ErrConflict, name)
	}
	for i, p := range r.w.People {
		if p.Name == name {
			r.w.People = slices.Delete(r.w.People, i, i+1)
			for secret, s := range r.w.sessions {
				if s.name == name {
					delete(r.w.sessions, secret)
				}
			}
			r.w.write(r.w.Now().Sub(r.w.Start), by.Actor(), "person.remove", name, nil)
			return r.w.fail()
		}
	}
	return fmt.Errorf("person %s: %w", name, console.ErrNotFound)
}

func (w *World) lastAdmin(name string) bool {
	for _, p := range w.People {
		if p.Role == console.RoleAdmin && p.Name != name {
			return false
		}
	}
	return w.roleOf(name) == console.RoleAdmin
}

func (r roster) EndSession(_ context.Context, id string, by console.Identity) error {
	r.w.Lock.Lock()
	defer r.w.Lock.Unlock()
	for secret, s := range r.w.sessions {
		if s.id == id {
			delete(r.w.sessions, secret)
			r.w.write(r.w.Now().Sub(r.w.Start), by.Actor(), "session.revoke", s.name, nil)
			return r.w.fail()
		}
	}
	return fmt.Errorf("session %s: %w", id, console.ErrNotFound)
}

type tokens struct{ w *World }

func (t tokens) Tokens(context.Context) ([]console.Token, error) {
	t.w.Lock.Lock()
	defer t.w.Lock.Unlock()
	return slices.Clone(t.w.Tokens), t.w.fail()
}

func (t tokens) Issue(_ context.Context, name string, role console.Role, ttl time.Duration, by console.Identity) (console.Token, string, error) {
	t.w.Lock.Lock()
	defer t.w.Lock.Unlock()
	id := t.w.next("tok")
	tok := console.Token{ID: id, Name: name, Role: role, Created: t.w.Now(), CreatedBy: by.Actor(), Expires: t.w.Now().Add(ttl)}
	t.w.Tokens = append(t.w.Tokens, tok)
	t.w.tokens["tst_"+id] = id
	t.w.write(t.w.Now().Sub(t.w.Start), by.Actor(), "token.issue", name, map[string]string{"role": role.String()})
	return tok, "tst_" + id, t.w.fail()
}

func (t tokens) Revoke(_ context.Context, id string, by console.Identity) error {
	t.w.Lock.Lock()
	defer t.w.Lock.Unlock()
	for i, tok := range t.w.Tokens {
		if tok.ID == id {
			t.w.Tokens = slices.Delete(t.w.Tokens, i, i+1)
			t.w.write(t.w.Now().Sub(t.w.Start), by.Actor(), "token.revoke", tok.Name, nil)
			return t.w.fail()
		}
	}
	return fmt.Errorf("token %s: %w", id, console.ErrNotFound)
}

type chain struct{ w *World }

// write adds a ledger entry. The caller holds Lock, or nobody else has the world yet.
func (w *World) write(after time.Duration, actor, verb, subject string, detail map[string]string) {
	i := uint64(len(w.Ledger))
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %s %s %s", i, actor, verb, subject))
	w.Ledger = append(w.Ledger, console.LedgerEntry{Index: i, Time: w.Start.Add(after), Actor: actor, Verb: verb, Subject: subject, Detail: detail, Hash: hex.EncodeToString(sum[:])})
}

func (c chain) Record(_ context.Context, e console.Entry) error {
	c.w.Lock.Lock()
	defer c.w.Lock.Unlock()
	if err := c.w.fail(); err != nil {
		return err
	}
	c.w.write(c.w.Now().Sub(c.w.Start), e.Actor, e.Verb, e.Subject, e.Detail)
	return nil
}

func (c chain) Entries(_ context.Context, q console.LedgerQuery) (console.Page[console.LedgerEntry], error) {
	c.w.Lock.Lock()
	defer c.w.Lock.Unlock()
	if err := c.w.fail(); err != nil {
		return console.Page[console.LedgerEntry]{}, err
	}
	var hits []console.LedgerEntry
	for _, e := range slices.Backward(c.w.Ledger) {
		if (q.Actor == "" || e.Actor == q.Actor) && (q.Subject == "" || e.Subject == q.Subject) &&
			(q.Verb == "" || e.Verb == q.Verb || strings.HasPrefix(e.Verb, q.Verb+".")) {
			hits = append(hits, e)
		}
	}
	return page(hits, q.Cursor, q.Limit)
}

func (c chain) Head(context.Context) (console.LedgerHead, error) {
	c.w.Lock.Lock()
	defer c.w.Lock.Unlock()
	n := uint64(len(c.w.Ledger))
	return console.LedgerHead{Size: n, Root: c.w.Ledger[n-1].Hash, Time: c.w.Now(), Checkpoint: fmt.Sprintf("demo\n%d\n%s\n", n, c.w.Ledger[n-1].Hash), PublicKey: "demo+1234abcd+key"}, c.w.fail()
}

func (c chain) Verify(context.Context) (console.LedgerReport, error) {
	c.w.Lock.Lock()
	defer c.w.Lock.Unlock()
	n := len(c.w.Ledger)
	return console.LedgerReport{OK: true, Entries: uint64(n), Root: c.w.Ledger[n-1].Hash}, c.w.fail()
}
