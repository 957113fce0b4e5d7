package console

import (
	"context"
	"fmt"
	"net/netip"
)

// Role is what an identity may do. Viewer, operator and admin rise: each may do what the ones below may. A scanner stands beside
// them: it may send scans and nothing else, not even read.
type Role uint8

// The roles. The zero Role may do nothing.
const (
	RoleNone     Role = iota
	RoleViewer        // reads
	RoleOperator      // acts: blocks, undoes, sets findings
	RoleAdmin         // people, tokens, rules
	RoleScanner       // a token's: sends scans, which operators and admins may too
)

var roleNames = [...]string{"none", "viewer", "operator", "admin", "scanner"}

// String returns the lower-case name.
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "none"
}

// ParseRole reads the name of a role that a person or token may have.
func ParseRole(name string) (Role, error) {
	for i, n := range roleNames[1:] {
		if n == name {
			return Role(i + 1), nil
		}
	}
	return RoleNone, fmt.Errorf("unknown role %q: want viewer, operator or admin, or scanner for a token", name)
}

// MarshalText writes the lower-case name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a role by its name.
func (r *Role) UnmarshalText(b []byte) error {
	v, err := ParseRole(string(b))
	if err == nil {
		*r = v
	}
	return err
}

// LocalAdmin is the person that "testudo console link" signs in.
const LocalAdmin = "admin"

// Kind is how an identity came to be known.
type Kind string

// The kinds of identities.
const (
	KindPerson Kind = "person" // signed in with a password or link
	KindToken  Kind = "token"  // a program with a bearer token
	KindLocal  Kind = "local"  // a process of this machine, over the Unix socket
)

// Identity is who asks.
type Identity struct {
	Name string `json:"name"` // the person's or token's name; "uid:N" for KindLocal
	Role Role   `json:"role"`
	Kind Kind   `json:"kind"`
}

// Actor returns the form that actions and the ledger name: "person:ann",
// "token:ci", "uid:1000"; "" for nobody.
func (i Identity) Actor() string {
	switch i.Kind {
	case KindPerson, KindToken:
		return string(i.Kind) + ":" + i.Name
	case KindLocal:
		return i.Name
	}
	return ""
}

// May reports whether the identity has the role or one that includes it.
func (i Identity) May(r Role) bool {
	switch {
	case r == RoleNone || i.Role > RoleScanner:
		return false
	case r == RoleScanner:
		return i.Role >= RoleOperator
	case i.Role == RoleScanner:
		return false
	}
	return i.Role >= r
}

// Caller is what the server knows about who sent the request it is answering.
type Caller struct {
	Identity
	Session string     // id of the session, as SessionView.ID; "" without one
	Client  netip.Addr // address that connected; the zero Addr on the Unix socket
	CSRF    string     // what a form of this session carries as CSRFField; "" without a session
}

type callerKey struct{}

// WithCaller returns a context that carries who asks. The server does so for every
// request; tests and the node may.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerFrom returns who asks; the zero Caller where nobody is signed in.
func CallerFrom(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}
