// Package people knows who uses the console: people, who sign in with a
// password, and machines, which carry tokens.
//
// A person begins with a one-time link ([People.Link]), sets a password while
// redeeming it, and from then on has sessions. Passwords are hashed with
// argon2id (RFC 9106); of links, sessions and tokens only SHA-256 is stored:
// they hold 256 random bits each, so a slow hash would add nothing.
//
// What is promised:
//
//   - A change is recorded before it happens. If the [Recorder] refuses it does
//     not happen; if the change then fails, a second record with ".failed"
//     appended to the verb says so. Signing in and out are recorded too, but
//     go on when the recorder fails (with a line in the log): whoever comes to
//     mend a full disk must get in.
//   - A revoked session or token is refused at once in this process, and in
//     others on the same store within Options.CacheFor.
//   - Somebody without an account learns nothing about who has one: an unknown
//     name costs the same time and gets the same answer as a wrong password.
//   - Nobody is locked out for good. Wrong passwords delay the next attempt of
//     that name from that address, and of that address; other addresses are
//     not delayed. A flood from very many addresses can fill the few slots for
//     hashing; an address from which that person has signed in before has a
//     slot of its own, and a one-time link made on the machine itself signs in
//     without any.
//
// What is not promised: who may do what. The caller checks the actor's role
// ([Role.AtLeast]) before it calls. This package holds only what must hold
// whoever asks: the last admin stays, and a token never has more than its owner.
package people

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// A Store keeps documents by collection and key. This package uses the
// collections "people", "links", "sessions" and "tokens"; keys are at most 64
// characters of [a-z0-9].
type Store interface {
	// Get returns version 0 where there is none.
	Get(ctx context.Context, collection, key string) (value []byte, version int64, err error)
	// Put stores value if the stored version equals version (0: must not exist;
	// -1: whatever); ok is false where it did not.
	Put(ctx context.Context, collection, key string, value []byte, version int64) (ok bool, err error)
	// Delete reports whether there was something; of two callers at once only
	// one may be told so.
	Delete(ctx context.Context, collection, key string) (existed bool, err error)
	// Each goes through a collection in any order. yield does not call the store.
	Each(ctx context.Context, collection string, yield func(key string, value []byte) error) error
}

// A Recorder keeps the record of changes; the node binds it to the ledger.
// Record returns only when the record is durable. No secret is passed to it.
type Recorder interface {
	Record(ctx context.Context, actor, verb, subject string, detail map[string]string) error
}

var (
	// ErrDenied is the one answer to whatever does not prove who somebody is:
	// unknown name, wrong password, unknown or revoked link, session or token.
	ErrDenied = errors.New("not recognised")
	// ErrExpired is returned for a link, session or token that was good once.
	ErrExpired = errors.New("expired")
	// ErrLastAdmin is returned where no admin would be left.
	ErrLastAdmin = errors.New("this is the last admin; make somebody else an admin first")
	// ErrUnknown is returned to an actor who names a person, session or token
	// that does not exist.
	ErrUnknown = errors.New("no such person, session or token")
	// ErrName is wrapped by errors about malformed names.
	ErrName = errors.New("not a name")
	// ErrPassword is wrapped by errors that say what is wrong with a new password.
	ErrPassword = errors.New("choose another password")
	// ErrRole is wrapped by errors about roles that do not exist or do not fit.
	ErrRole = errors.New("not a role that fits")
	// ErrFull is wrapped where a limit of Options is reached.
	ErrFull = errors.New("limit reached")
)

// ErrLimited says that there were too many attempts, or too many at once.
type ErrLimited struct {
	// RetryAfter is when the next attempt will be looked at; more than zero.
	RetryAfter time.Duration
}

func (e ErrLimited) Error() string {
	return fmt.Sprintf("too many attempts; try again in %s", e.RetryAfter.Round(time.Second))
}

// A Role says what somebody may do. Viewer, Operator and Admin each include the one before.
type Role string

const (
	Viewer   Role = "viewer"   // sees everything
	Operator Role = "operator" // and acts: blocks, undoes, acknowledges
	Admin    Role = "admin"    // and changes settings, people and tokens
	// Scanner sends scans and nothing else: it reads nothing. It is for tokens, never for people; Operator and Admin include it.
	Scanner Role = "scanner"
)

func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Operator:
		return 2
	case Admin:
		return 3
	}
	return 0
}

// AtLeast reports whether r includes least. A role that does not exist
// includes nothing and is included in nothing.
func (r Role) AtLeast(least Role) bool {
	if least == Scanner {
		return r == Scanner || r.rank() >= Operator.rank()
	}
	return least.rank() > 0 && r.rank() >= least.rank()
}

// forToken reports whether a token can have the role.
func (r Role) forToken() bool { return r == Scanner || r.rank() > 0 }

// ParseRole reads the role of a person: "viewer", "operator" or "admin".
func ParseRole(s string) (Role, error) {
	if r := Role(s); r.rank() > 0 {
		return r, nil
	}
	return "", fmt.Errorf("%w: %.40q; there are viewer, operator and admin", ErrRole, s)
}

// A Kind tells people from machines.
type Kind string

const (
	KindPerson Kind = "person"
	KindToken  Kind = "token"
)

// An Identity is somebody who has proved who they are.
type Identity struct {
	Kind Kind
	// Name is the person's or the token's name.
	Name string
	// Role is what they may do now.
	Role Role
	// ID is the id of the session or token, as Sessions and Tokens list it.
	ID string
}

// Actor names the identity in records: "person:ann", "token:ci".
func (i Identity) Actor() string { return string(i.Kind) + ":" + i.Name }

// Options configures People. Zero fields take the default named beside them.
type Options struct {
	Now     func() time.Time      // time.Now
	Logger  *slog.Logger          // silent
	Metrics prometheus.Registerer // none
	Hash    Params                // DefaultParams

	LinkTTL         time.Duration // how long a one-time link is good: 10m
	SessionIdle     time.Duration // a session ends after so long unused: 12h
	SessionAbsolute time.Duration // and after so long in any case: 168h
	CacheFor        time.Duration // how long what was read is believed: 5s

	MaxPeople         int // 500
	MaxSessions       int // a person's; the least recently used gives way: 16
	MaxTokens         int // of one owner: 32
	MaxHashing        int // passwords hashed at once, plus one for known addresses: 1
	MaxHashingWaiting int // and waiting for that: 16
}

func (o *Options) defaults() {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Hash == (Params{}) {
		o.Hash = DefaultParams
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.LinkTTL, 10 * time.Minute}, {&o.SessionIdle, 12 * time.Hour}, {&o.SessionAbsolute, 7 * 24 * time.Hour}, {&o.CacheFor, 5 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *int
		value int
	}{{&o.MaxPeople, 500}, {&o.MaxSessions, 16}, {&o.MaxTokens, 32}, {&o.MaxHashing, 1}, {&o.MaxHashingWaiting, 16}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
}

// The collections in the store.
const (
	peopleCollection   = "people"
	linksCollection    = "links"
	sessionsCollection = "sessions"
	tokensCollection   = "tokens"
)

// People is the register of people and tokens. Its methods may be called by
// many goroutines at once. It starts no goroutine; see [People.Run].
type People struct {
	store    Store
	recorder Recorder
	opts     Options
	hasher   *hasher
	dummy    string // verified in place of an unknown person's password
	limits   *limiter
	metrics  metrics

	changes  sync.Mutex // one change of people, links or tokens at a time
	roster   rosterCache
	sessions cache[session]
	tokens   cache[token]
}

// New returns the register kept in store. It reads nothing yet.
func New(store Store, recorder Recorder, opts Options) *People {
	opts.defaults()
	p := &People{
		store: store, recorder: recorder, opts: opts,
		hasher: newHasher(opts.Hash, opts.MaxHashing, opts.MaxHashingWaiting),
		dummy:  dummyHash(opts.Hash),
		limits: newLimiter(),
	}
	p.sessions.init(maxCached)
	p.tokens.init(maxCached)
	p.metrics.register(opts.Metrics)
	return p
}

const maxCached = 4096

// record writes down a change that is about to happen.
func (p *People) record(ctx context.Context, actor, verb, subject string, detail map[string]string) error {
	if actor == "" {
		return errors.New("people: a change needs an actor")
	}
	if err := p.recorder.Record(ctx, actor, verb, subject, detail); err != nil {
		return fmt.Errorf("people: %s of %s is not done, because it could not be recorded: %w", verb, subject, err)
	}
	return nil
}

// note writes down what is not to be stopped by a broken record.
func (p *People) note(ctx context.Context, actor, verb, subject string, detail map[string]string) {
	if err := p.recorder.Record(ctx, actor, verb, subject, detail); err != nil {
		p.opts.Logger.Error("not recorded", "verb", verb, "subject", subject, "actor", actor, "error", err)
	}
}

// change records and then does. Once it is recorded, a caller who goes away
// does not stop it half way.
func (p *People) change(ctx context.Context, actor, verb, subject string, detail map[string]string, do func(context.Context) error) error {
	if err := p.record(ctx, actor, verb, subject, detail); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	err := do(ctx)
	if err != nil {
		p.note(ctx, actor, verb+".failed", subject, detail)
	}
	return err
}

// finishTime is how long a recorded change may take in the store.
const finishTime = 15 * time.Second
