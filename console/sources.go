package console

import (
	"context"
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Sources is everything that pages and the API read and do. A nil source means that this
// node does not have it: its routes answer 503 and say so. All methods are called by
// many goroutines at once. Lists come in the order named, and in pages: a
// query's Cursor is the Next of the page before, opaque to all but the source; its Limit
// is from 1 to MaxLimit.
type Sources struct {
	Auth       Auth
	Sessions   Sessions
	Passwords  PasswordSource
	Overview   OverviewSource
	Events     EventSource
	Live       LiveSource
	Conditions ConditionSource
	Hunt       HuntSource
	Replay     ReplaySource
	Explain    ExplainSource
	Trace      TraceSource
	Files      FileSource
	Host       HostSource
	APIs       APISource
	Budgets    BudgetSource
	Findings   FindingSource
	Packages   PackageSource
	Scans      ScanTaker
	Actions    ActionSource
	Orders     OrderTaker
	Rules      RuleSource
	RuleDesk   RuleDesk
	System     SystemSource
	People     PeopleSource
	PeopleDesk PeopleDesk
	Tokens     TokenSource
	Ledger     LedgerSource
	Recorder   Recorder
	Health     HealthSource
	Changes    ChangeSource // optional
}

// MaxLimit bounds the items of one page of a list.
const MaxLimit = 500

// Auth signs people in. It limits attempts by name and by client, and takes the same
// time whether or not the name exists. Its errors are ErrRefused, LimitedError, or an
// InputError where a new password is too weak. It writes to the ledger by itself.
type Auth interface {
	// Link looks at a one-time link and uses nothing up.
	Link(ctx context.Context, secret string, client netip.Addr) (Link, error)
	// Redeem uses a link up: sets the password where the link asks for one, and signs in.
	Redeem(ctx context.Context, r Redemption) (Session, error)
	// SignIn checks name and password.
	SignIn(ctx context.Context, c Credentials) (Session, error)
}

// Sessions tells who a cookie or a bearer token is. ErrRefused where it is nobody
// (unknown, expired, revoked).
type Sessions interface {
	Session(ctx context.Context, token string, client netip.Addr) (Session, error)
	Token(ctx context.Context, token string, client netip.Addr) (Identity, error)
	SignOut(ctx context.Context, token string) error
}

// PasswordSource changes a person's own password. It limits attempts and writes to the
// ledger by itself.
type PasswordSource interface {
	// ChangePassword ends all sessions of the person and begins the one it returns.
	ChangePassword(ctx context.Context, c Credentials, password string) (Session, error)
}

// OverviewSource makes the snapshot of the first page. It is called once a second
// at most, whatever the number of people who look.
type OverviewSource interface {
	Overview(ctx context.Context) (Overview, error)
}

// EventSource reads recent events, newest first. The events are recorded forms, shared and
// not to be changed.
type EventSource interface {
	Events(ctx context.Context, q EventQuery) (Page[*signal.Event], error)
	Event(ctx context.Context, id signal.ID) (*signal.Event, error)
	// Related returns what belongs to the event: its cause, the response of a
	// request, findings' events; oldest first, without the event itself.
	Related(ctx context.Context, id signal.ID) ([]*signal.Event, error)
}

// LiveSource hands events on as they are recorded.
type LiveSource interface {
	// Watch calls fn with batches until ctx ends, one call at a time. fn never blocks. The
	// events are recorded forms, shared and not to be changed; the slice is fn's for
	// the time of the call. Lost is how many events were lost before the batch since the
	// last call, because the watch was behind.
	Watch(ctx context.Context, fn func(batch []*signal.Event, lost uint64)) error
}

// ConditionSource compiles conditions, for filters of live streams.
type ConditionSource interface {
	// Condition returns the condition as a function that many goroutines may call; an
	// InputError with Field "condition" where it does not compile.
	Condition(text string) (func(*signal.Event) bool, error)
}

// HuntSource searches everything that is kept, the lake and the tail not yet written.
type HuntSource interface {
	// Hunt calls yield with each event that the condition matches, newest first where
	// q.Limit is set, until q.Limit, the end, or an error of yield, which it returns. A
	// condition that does not compile is an InputError with Field "condition". The event
	// is yield's for the time of the call.
	Hunt(ctx context.Context, q HuntQuery, yield func(*signal.Event) error) (HuntStats, error)
}

// FindingSource keeps findings. Lists are ordered by severity, then last seen, highest first.
type FindingSource interface {
	Findings(ctx context.Context, q FindingQuery) (Page[signal.Finding], error)
	Finding(ctx context.Context, id string) (signal.Finding, error)
	SetFindingState(ctx context.Context, id string, state signal.FindingState, by Identity) (signal.Finding, error)
}

// ActionSource reads actions, newest first.
type ActionSource interface {
	Actions(ctx context.Context, q ActionQuery) (Page[signal.Action], error)
	Action(ctx context.Context, id string) (signal.Action, error)
}

// OrderTaker has actions done and undone. It writes to the ledger by itself, with
// by.Actor(). An order that is refused (a protected target) is an action in
// state refused, not an error; an order that makes no sense is an InputError.
type OrderTaker interface {
	// Preview states the blast radius and does nothing.
	Preview(ctx context.Context, o Order) (Preview, error)
	Order(ctx context.Context, o Order, by Identity) (signal.Action, error)
	// Undo lifts an action that is in force. One that has ended is ErrConflict, or is
	// returned as it ended.
	Undo(ctx context.Context, id, reason string, by Identity) (signal.Action, error)
}

// RuleSource reads the rules in force, ordered by id.
type RuleSource interface {
	Rules(ctx context.Context) ([]Rule, error) // without Source and Tests' details
	Rule(ctx context.Context, id string) (Rule, error)
	RuleSet(ctx context.Context) (RuleSet, error)
}

// RuleDesk works on rules.
type RuleDesk interface {
	// Check compiles rule text that is not in force, and runs its tests.
	Check(ctx context.Context, text string) (RuleReport, error)
	// Test runs the tests of the rules in force; of one rule where id is not empty.
	Test(ctx context.Context, id string) (RuleReport, error)
	// Reload reads the rules folder anew. All or nothing: with an error in the
	// report the old set stays.
	Reload(ctx context.Context, by Identity) (RuleSet, error)
}

// SystemSource tells how this node runs.
type SystemSource interface {
	System(ctx context.Context) (System, error)
	// Doctor looks at the machine anew.
	Doctor(ctx context.Context) ([]Check, error)
}

// PeopleSource reads people and their sessions.
type PeopleSource interface {
	People(ctx context.Context) ([]Person, error)
	Sessions(ctx context.Context) ([]SessionView, error)
}

// PeopleDesk changes people. It writes to the ledger by itself, with by.Actor(). It
// does not take the last admin away (ErrConflict).
type PeopleDesk interface {
	// Invite makes a one-time link for a person, who is made where not there yet. The
	// role of a person who exists stays. It returns the link's secret.
	Invite(ctx context.Context, name string, role Role, by Identity) (Invitation, error)
	SetRole(ctx context.Context, name string, role Role, by Identity) error
	// Remove takes the person, their sessions and open links away.
	Remove(ctx context.Context, name string, by Identity) error
	// EndSession signs a session out by its id.
	EndSession(ctx context.Context, id string, by Identity) error
}

// TokenSource keeps bearer tokens. It writes to the ledger by itself.
type TokenSource interface {
	Tokens(ctx context.Context) ([]Token, error)
	// Issue returns the token and its secret, which is shown once.
	Issue(ctx context.Context, name string, role Role, ttl time.Duration, by Identity) (Token, string, error)
	Revoke(ctx context.Context, id string, by Identity) error
}

// LedgerSource reads the ledger, newest entries first.
type LedgerSource interface {
	Entries(ctx context.Context, q LedgerQuery) (Page[LedgerEntry], error)
	Head(ctx context.Context) (LedgerHead, error)
	Verify(ctx context.Context) (LedgerReport, error)
}

// Recorder writes what is done through the console, where the source does
// not do so itself, to the ledger. It returns when the entry is on disk; without it
// the change is not made.
type Recorder interface {
	Record(ctx context.Context, e Entry) error
}

// HealthSource answers /readyz and /livez. It must be quick and never block on a part
// that may hang.
type HealthSource interface {
	Health() Health
}

// ChangeSource tells when a list has changed by other means than the console, so that
// pages that show it refresh.
type ChangeSource interface {
	WatchChanges(ctx context.Context, fn func(Topic)) error
}

// Topic is a list that pages show.
type Topic string

// The topics.
const (
	TopicFindings Topic = "findings"
	TopicActions  Topic = "actions"
	TopicRules    Topic = "rules"
	TopicSystem   Topic = "system"
	TopicPeople   Topic = "people"
)
