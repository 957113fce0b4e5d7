package people

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// token is what is stored of an API token, under its digest.
type token struct {
	Name     string    `json:"name"`
	Owner    string    `json:"owner,omitempty"`
	OwnerUID string    `json:"owner_uid,omitempty"`
	Role     Role      `json:"role"`
	By       string    `json:"by"`
	Created  time.Time `json:"created"`
	Expires  time.Time `json:"expires"`
	Used     time.Time `json:"used"`
}

// A TokenSpec says what token to issue.
type TokenSpec struct {
	// Name says what it is for; names as people have them.
	Name string
	// Owner is the person whose token it is: it never has more than their role
	// and goes when they go. Empty for a token of the machine itself.
	Owner string
	Role  Role
	// TTL is how long it is good, at most MaxTokenTTL; 90 days if zero.
	TTL time.Duration
}

// MaxTokenTTL is the longest that a token can be good.
const MaxTokenTTL = 366 * 24 * time.Hour

const defaultTokenTTL = 90 * 24 * time.Hour

// A Token is what a list shows of one.
type Token struct {
	ID    string
	Name  string
	Owner string
	// Role is what it may do now, after its owner's role.
	Role    Role
	By      string
	Created time.Time
	Expires time.Time
	// Used is when it was last used, to about a minute; zero if never.
	Used time.Time
}

// role is what the token may do, and whether it may do anything: its owner
// must be there.
func (t token) role(r *roster) (Role, bool) {
	if t.Owner == "" {
		return t.Role, t.Role.forToken()
	}
	who, ok := r.People[t.Owner]
	if !ok || who.UID != t.OwnerUID {
		return "", false
	}
	if !t.Role.forToken() {
		return "", false // damaged in the store: it must not grow into its owner's role
	}
	if who.Role.AtLeast(t.Role) {
		return t.Role, true
	}
	if t.Role == Scanner {
		return "", false // what its owner may do instead is to read, which it never could
	}
	return who.Role, true
}

// IssueToken makes an API token. The secret is shown once.
//
// Errors: [ErrName], [ErrRole], [ErrUnknown] for the owner, [ErrFull].
func (p *People) IssueToken(ctx context.Context, actor string, spec TokenSpec) (Token, string, error) {
	if err := CheckName(spec.Name); err != nil {
		return Token{}, "", err
	}
	if !spec.Role.forToken() {
		return Token{}, "", fmt.Errorf("%w: %.40q; there are viewer, operator, admin and scanner", ErrRole, spec.Role)
	}
	if spec.TTL == 0 {
		spec.TTL = defaultTokenTTL
	}
	if spec.TTL < 0 || spec.TTL > MaxTokenTTL {
		return Token{}, "", fmt.Errorf("a token is good for at most %d days, not %s", MaxTokenTTL/(24*time.Hour), spec.TTL)
	}
	p.changes.Lock()
	defer p.changes.Unlock()
	r, _, err := p.readRoster(ctx)
	if err != nil {
		return Token{}, "", err
	}
	now := p.opts.Now().UTC()
	t := token{Name: spec.Name, Owner: spec.Owner, Role: spec.Role, By: actor, Created: now, Expires: now.Add(spec.TTL)}
	if spec.Owner != "" {
		who, ok := r.People[spec.Owner]
		if !ok {
			return Token{}, "", fmt.Errorf("%w: %.40q", ErrUnknown, spec.Owner)
		}
		if !who.Role.AtLeast(spec.Role) {
			return Token{}, "", fmt.Errorf("%w: %s is %s and cannot own a token with the role %s", ErrRole, spec.Owner, who.Role, spec.Role)
		}
		t.OwnerUID = who.UID
	}
	n := 0
	if err := p.eachToken(ctx, func(_ string, other token) {
		if other.Owner == t.Owner && now.Before(other.Expires) {
			n++
		}
	}); err != nil {
		return Token{}, "", err
	}
	if n >= p.opts.MaxTokens {
		return Token{}, "", fmt.Errorf("%w: there are %d tokens; revoke one that is no longer used", ErrFull, n)
	}
	secret := newToken()
	key := digest(secret)
	err = p.change(ctx, actor, "token.issue", "token:"+t.Name, map[string]string{
		"id": publicID(key), "role": string(t.Role), "owner": t.Owner, "expires": t.Expires.Format(time.RFC3339),
	}, func(ctx context.Context) error { return p.put(ctx, tokensCollection, key, t, 0) })
	if err != nil {
		return Token{}, "", err
	}
	return t.public(key, t.Role), secret, nil
}

func (t token) public(key string, role Role) Token {
	return Token{ID: publicID(key), Name: t.Name, Owner: t.Owner, Role: role, By: t.By, Created: t.Created, Expires: t.Expires, Used: t.Used}
}

// Token says which token a secret is. It is cheap enough for every request.
//
// Errors: [ErrDenied], [ErrExpired], or the store's.
func (p *People) Token(ctx context.Context, secret string) (Identity, error) {
	if !ValidToken(secret) {
		return Identity{}, ErrDenied
	}
	key, now := digest(secret), p.opts.Now().UTC()
	c, err := fetch(ctx, p, &p.tokens, tokensCollection, key, now)
	if err != nil {
		return Identity{}, err
	}
	t := c.value
	if !now.Before(t.Expires) {
		return Identity{}, fmt.Errorf("this token: %w", ErrExpired)
	}
	r, err := p.people(ctx)
	if err != nil {
		return Identity{}, err
	}
	role, ok := t.role(r)
	if !ok {
		return Identity{}, ErrDenied
	}
	if now.Sub(t.Used) >= touchEvery {
		t.Used = now
		touch(ctx, p, &p.tokens, tokensCollection, key, c, t)
	}
	return Identity{Kind: KindToken, Name: t.Name, Role: role, ID: publicID(key)}, nil
}

// Tokens returns an owner's tokens, or everybody's if owner is empty, by name;
// also those that have expired within the last month.
func (p *People) Tokens(ctx context.Context, owner string) ([]Token, error) {
	r, err := p.people(ctx)
	if err != nil {
		return nil, err
	}
	var out []Token
	err = p.eachToken(ctx, func(key string, t token) {
		if role, ok := t.role(r); ok && (owner == "" || t.Owner == owner) {
			out = append(out, t.public(key, role))
		}
	})
	slices.SortFunc(out, func(a, b Token) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Created.Compare(b.Created)
	})
	return out, err
}

// RevokeToken ends a token, by the id that Tokens gives. Errors: [ErrUnknown].
func (p *People) RevokeToken(ctx context.Context, actor, id string) error {
	p.changes.Lock()
	defer p.changes.Unlock()
	key, name := "", ""
	if err := p.eachToken(ctx, func(k string, t token) {
		if publicID(k) == id {
			key, name = k, t.Name
		}
	}); err != nil {
		return err
	}
	if key == "" {
		return fmt.Errorf("%w: token %.20q", ErrUnknown, id)
	}
	return p.change(ctx, actor, "token.revoke", "token:"+name, map[string]string{"id": id}, func(ctx context.Context) error {
		_, err := p.store.Delete(ctx, tokensCollection, key)
		p.tokens.drop(key)
		if err != nil {
			return fmt.Errorf("people: %w", err)
		}
		return nil
	})
}
