package console

import (
	"net/netip"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// Page is a part of a list. Next asks for the part behind it; "" at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// Link is what a one-time link is good for.
type Link struct {
	Name    string    `json:"name"` // whom it signs in
	Role    Role      `json:"role"`
	Expires time.Time `json:"expires"`
	Setup   bool      `json:"setup"` // the person has no password yet and must choose one
}

// Redemption uses up a one-time link.
type Redemption struct {
	Secret    string
	Password  string // new password; "" keeps the one there is
	Client    netip.Addr
	UserAgent string
}

// Credentials are what a person signs in with.
type Credentials struct {
	Name      string
	Password  string
	Client    netip.Addr
	UserAgent string
}

// Session is a signed-in person.
type Session struct {
	Identity
	ID      string    // names the session, not secret
	Token   string    // secret: what the cookie holds
	Expires time.Time // when it ends at the latest
}

// EventQuery chooses recent events. Zero fields choose all; set ones are joined by and.
type EventQuery struct {
	Plane     signal.Plane
	Class     signal.Class
	Decision  *signal.Decision
	Client    netip.Prefix // of src_endpoint.ip
	Route     string       // edge.route
	Method    string       // http_request.http_method
	Rule      string       // id of a rule that fired
	Text      string       // in path, host, client, user agent, program, user, rule, reason, a record's own attributes; any case
	Condition string       // as in a rule's when
	Since     time.Time
	Until     time.Time
	Cursor    string
	Limit     int
}

// HuntQuery is a search. Limit 0 asks for as many as the source hands out at once.
type HuntQuery struct {
	Condition string
	Since     time.Time
	Until     time.Time
	Limit     int
}

// HuntStats says what a search read.
type HuntStats struct {
	Matched   uint64   `json:"matched"`
	Scanned   uint64   `json:"scanned"`            // events judged
	Files     int      `json:"files"`              // lake files read
	Skipped   int      `json:"skipped"`            // lake files that could be passed over
	Tail      uint64   `json:"tail"`               // of the scanned, not yet in the lake
	Bytes     int64    `json:"bytes"`              // read
	ElapsedMS int64    `json:"elapsed_ms"`         // time it took
	Truncated bool     `json:"truncated"`          // the limit ended it
	Inexact   bool     `json:"inexact"`            // events of the range are missing: see Problems
	Problems  []string `json:"problems,omitempty"` // damaged files, gaps in the record
}

// FindingQuery chooses findings. Zero fields choose all.
type FindingQuery struct {
	State    signal.FindingState
	Severity signal.Severity // at least
	Kind     signal.FindingKind
	Plane    signal.Plane
	Rule     string
	Asset    string
	Text     string // in title, path, rule
	Cursor   string
	Limit    int
}

// ActionQuery chooses actions. Zero fields choose all.
type ActionQuery struct {
	State  signal.ActionState
	Kind   string
	Target string
	Cursor string
	Limit  int
}

// Order is an action that a person or program asks for.
type Order struct {
	Kind   string        // "block"
	Target string        // an address or prefix
	For    time.Duration // 0 asks for the responder's default
	Reason string
	Event  signal.ID  // what led to it; may be zero
	Force  bool       // insist on a protected target, where the preview says that it may be forced
	Asker  netip.Addr // address that the person asks from, set by the Desk: nobody should lock themselves out unwarned
}

// Preview is what an order would do.
type Preview struct {
	Target    string        `json:"target"` // in canonical form
	Radius    signal.Radius `json:"radius"`
	Until     time.Time     `json:"until,omitzero"`
	Refusal   string        `json:"refusal,omitempty"`   // why it would be refused
	Forceable bool          `json:"forceable,omitempty"` // Order.Force would overcome that
	Extends   string        `json:"extends,omitempty"`   // id of the action that it would make last longer
}

// Overview is what is happening now.
type Overview struct {
	Time     time.Time       `json:"time"`
	Rates    []PlaneRate     `json:"rates"`       // events, one series per plane that runs
	Requests Series          `json:"requests"`    // requests that the edge judged
	Blocked  Series          `json:"blocked"`     // of them, those denied; the same steps
	Findings []SeverityCount `json:"findings"`    // open ones, highest severity first
	Actions  []signal.Action `json:"actions"`     // in force, the latest ten
	InForce  int             `json:"in_force"`    // how many there are
	Rules    []Count         `json:"top_rules"`   // that fired
	Clients  []Count         `json:"top_clients"` // of events that a rule fired on
	Routes   []Count         `json:"top_routes"`  // of events that a rule fired on
	Health   Health          `json:"health"`
}

// Series is a count over time.
type Series struct {
	Start  time.Time `json:"start"`        // of the first step
	Step   int       `json:"step_seconds"` // length of a step
	Values []uint64  `json:"values"`       // oldest first; the last step is not over yet
}

// PlaneRate is how many events a plane saw, by minute over the last hour.
type PlaneRate struct {
	Plane  signal.Plane `json:"plane"`
	Now    float64      `json:"now"` // events per second lately
	Series Series       `json:"series"`
}

// SeverityCount is how many findings have a severity.
type SeverityCount struct {
	Severity signal.Severity `json:"severity"`
	Count    int             `json:"count"`
}

// Count is one line of a table of the most frequent.
type Count struct {
	Key   string `json:"key"`             // rule id, address, route
	Title string `json:"title,omitempty"` // for people
	Count uint64 `json:"count"`           // in the last hour
}

// HealthState is how a node is.
type HealthState string

// The states of health.
const (
	HealthOK       HealthState = "ok"
	HealthDegraded HealthState = "degraded" // runs, and lacks something: see Reasons
	HealthStarting HealthState = "starting"
	HealthStopping HealthState = "stopping"
)

// Health is how a node is, and why.
type Health struct {
	State   HealthState `json:"state"`
	Reasons []string    `json:"reasons,omitempty"` // sentences for people
}

// Rule is one rule in force.
type Rule struct {
	ID         string          `json:"id"`
	Title      string          `json:"title"`
	Severity   signal.Severity `json:"severity"`
	Decision   signal.Decision `json:"decision"`
	Classes    []string        `json:"classes"` // event classes it looks at
	When       string          `json:"when"`
	Then       []string        `json:"then"` // verdict and actions, as written
	Why        string          `json:"why,omitempty"`
	Fix        string          `json:"fix,omitempty"`
	References []string        `json:"references,omitempty"`
	Tags       []string        `json:"tags,omitempty"`
	File       string          `json:"file"` // where it stands, "builtin:" before shipped ones
	Line       int             `json:"line,omitempty"`
	Builtin    bool            `json:"builtin"`
	Enabled    bool            `json:"enabled"`
	Dialect    string          `json:"dialect"` // native, sigma, falco, rego
	Fields     []string        `json:"fields"`  // that the condition reads
	Hits       uint64          `json:"hits"`    // since the node started
	LastHit    time.Time       `json:"last_hit,omitzero"`
	Faults     uint64          `json:"faults"` // events that its condition could not be worked out for
	Tests      []RuleTest      `json:"tests"`
	Silent     bool            `json:"silent,omitempty"`  // it fires for correlations alone
	Notes      []RuleNote      `json:"notes,omitempty"`   // what the file says besides
	Windows    *RuleWindows    `json:"windows,omitempty"` // of a rule that counts over time
	Source     string          `json:"source,omitempty"`  // text of its file; left out in lists, as is all that follows
	Waits      *RuleWaits      `json:"waits,omitempty"`   // of a correlation
	Reads      []RuleRead      `json:"reads,omitempty"`   // fields and attributes that the condition reads
	Looked     int             `json:"looked,omitempty"`  // recent events that Reads was looked for in
}

// RuleNote is something that a rule's file says about it, by the file's own key: author, known false positives.
type RuleNote struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// RuleWindows are the figures of a rule's windows over time.
type RuleWindows struct {
	Groups  int    `json:"groups"`  // held now
	Events  int    `json:"events"`  // held now, of all groups
	Evicted uint64 `json:"evicted"` // groups pushed out by others before their time
	Dropped uint64 `json:"dropped"` // events pushed out of groups that had too many
	Late    uint64 `json:"late"`    // events too old to count
	Skipped uint64 `json:"skipped"` // events without the value that names their group or is counted
}

// RuleWaits is what a correlation waits for.
type RuleWaits struct {
	Kind    string       `json:"kind"`            // event_count, value_count, temporal, temporal_ordered, ...
	Of      []WaitedRule `json:"of"`              // rules whose events it takes, in their order where that matters
	GroupBy []string     `json:"group_by"`        // values that an event's group has in common; none: all events are one group
	Values  []string     `json:"values"`          // that are counted or added up
	Within  Duration     `json:"within"`          // span of event time
	Until   string       `json:"until,omitempty"` // when it fires, as in ">= 5"; empty: when all were seen
	Ordered bool         `json:"ordered"`
}

// WaitedRule is a rule that a correlation takes events of.
type WaitedRule struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Hits  uint64 `json:"hits"`
}

// RuleRead is a value that a condition reads.
type RuleRead struct {
	Name string `json:"name"` // of a field, or of a record's own attribute
	Attr bool   `json:"attr"` // an attribute: no field of ours
	Seen int    `json:"seen"` // recent events that have it
}

// RuleTest is the result of one of a rule's own tests.
type RuleTest struct {
	Rule   string `json:"rule"`
	Name   string `json:"name"`
	Want   bool   `json:"want"` // whether it should fire
	Passed bool   `json:"passed"`
	Error  string `json:"error,omitempty"` // why it did not pass
}

// RuleSet is the state of the rules as a whole.
type RuleSet struct {
	Digest   string      `json:"digest"` // of the set in force
	Count    int         `json:"count"`
	Folder   string      `json:"folder,omitempty"` // the user's own rules
	LoadedAt time.Time   `json:"loaded_at"`        // the set in force
	TriedAt  time.Time   `json:"tried_at"`         // the last reload, good or bad
	Errors   []RuleError `json:"errors,omitempty"` // why the last reload changed nothing
}

// RuleError is what is wrong with a rule file, at its place.
type RuleError struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Column  int    `json:"column,omitempty"`
	Rule    string `json:"rule,omitempty"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"` // what to write instead
}

// RuleReport is the result of checking or testing rules.
type RuleReport struct {
	OK     bool        `json:"ok"`
	Rules  []string    `json:"rules"` // ids
	Errors []RuleError `json:"errors,omitempty"`
	Tests  []RuleTest  `json:"tests"`
}

// System is how this node runs.
type System struct {
	Version   Version     `json:"version"`
	Host      string      `json:"host"`
	Started   time.Time   `json:"started"`
	DataDir   string      `json:"data_dir"`
	Health    Health      `json:"health"`
	Listeners []Listener  `json:"listeners"`
	Checks    []Check     `json:"checks"`
	Queues    []Queue     `json:"queues"`
	Stores    []StoreSize `json:"stores"`
	Upstreams []Upstream  `json:"upstreams"`
	Memory    uint64      `json:"memory_bytes"` // resident
	Logs      *Logs       `json:"logs,omitempty"`
}

// Logs is what is read of others' logs.
type Logs struct {
	Sources    []LogSource `json:"sources"`
	Files      []LogFile   `json:"files"`             // that are followed, the first 100 by path
	Open       int         `json:"open"`              // files that are followed
	Unreadable int64       `json:"unreadable"`        // files that cannot be read, now
	Waiting    uint64      `json:"waiting"`           // files that wait for others to be quiet
	Lost       uint64      `json:"lost"`              // files that were gone at the start with a rest that was not read
	Rejects    string      `json:"rejects,omitempty"` // file with samples of records that are no events
	Kept       uint64      `json:"rejects_kept"`      // samples in it since the start
}

// LogSource is one source of records.
type LogSource struct {
	Name     string            `json:"name"`
	Kind     string            `json:"kind"`  // files, syslog, otlp
	Where    string            `json:"where"` // patterns or address
	Events   uint64            `json:"events"`
	Bytes    uint64            `json:"bytes"`              // of their records
	Formats  map[string]uint64 `json:"formats,omitempty"`  // events by format
	Rejected map[string]uint64 `json:"rejected,omitempty"` // records that are no events, by reason
	Refused  map[string]uint64 `json:"refused,omitempty"`  // messages that a listener did not take, by reason
	Forged   uint64            `json:"forged"`             // events that claimed what no record may
	Last     time.Time         `json:"last,omitzero"`      // time of the last event
	Problem  string            `json:"problem,omitempty"`  // why it is not read, or not all of it
	Command  string            `json:"command,omitempty"`  // what would change that
}

// LogFile is a file that is followed.
type LogFile struct {
	Path  string    `json:"path"`
	Taken int64     `json:"taken"`          // bytes whose records are events
	Read  int64     `json:"read"`           // bytes read
	Quiet time.Time `json:"quiet,omitzero"` // since when nothing has come
}

// Version says which build runs.
type Version struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	Built   string `json:"built,omitempty"`
	Go      string `json:"go"`
}

// Listener is an address that the node answers on.
type Listener struct {
	Name string `json:"name"` // console, edge
	URL  string `json:"url"`
	Note string `json:"note,omitempty"` // why it does not, where it does not
	OK   bool   `json:"ok"`
}

// Check is one line of testudo doctor.
type Check struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Detail  string `json:"detail"`            // what was found
	Cost    string `json:"cost,omitempty"`    // what cannot be done without it
	Command string `json:"command,omitempty"` // what would change it
}

// Queue is a bounded queue.
type Queue struct {
	Name     string `json:"name"`
	Length   int    `json:"length"`
	Capacity int    `json:"capacity"`
	Dropped  uint64 `json:"dropped"` // since the node started
}

// StoreSize is what a store holds.
type StoreSize struct {
	Name   string    `json:"name"` // bus, state, lake, ledger
	Detail string    `json:"detail,omitempty"`
	Bytes  int64     `json:"bytes"`
	Items  uint64    `json:"items"`
	Oldest time.Time `json:"oldest,omitzero"`
}

// Upstream is a server behind the edge.
type Upstream struct {
	Route   string    `json:"route"`
	URL     string    `json:"url"`
	Healthy bool      `json:"healthy"`
	Since   time.Time `json:"since,omitzero"` // of that state
	Error   string    `json:"error,omitempty"`
}

// Person is somebody who may sign in.
type Person struct {
	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	Password bool      `json:"password"` // has chosen one
	Sessions int       `json:"sessions"` // open ones
}

// Invitation is a one-time link that was made.
type Invitation struct {
	Name    string    `json:"name"`
	Secret  string    `json:"-"`
	URL     string    `json:"url"` // set by the console from Secret
	Expires time.Time `json:"expires"`
}

// SessionView is a session as others see it.
type SessionView struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Created   time.Time `json:"created"`
	LastSeen  time.Time `json:"last_seen"`
	Expires   time.Time `json:"expires"`
	Client    string    `json:"client"`
	UserAgent string    `json:"user_agent,omitempty"`
	Current   bool      `json:"current"` // set by the console
}

// Token is a bearer token without its secret.
type Token struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Owner     string    `json:"owner,omitempty"` // person whose role bounds it
	Role      Role      `json:"role"`
	Created   time.Time `json:"created"`
	CreatedBy string    `json:"created_by"`
	Expires   time.Time `json:"expires"`
	LastUsed  time.Time `json:"last_used,omitzero"`
}

// LedgerQuery chooses ledger entries.
type LedgerQuery struct {
	Actor   string // whole
	Verb    string // whole, or the part before a dot: "block" chooses "block.apply"
	Subject string // whole
	Cursor  string
	Limit   int
}

// LedgerEntry is an entry that is in the ledger.
type LedgerEntry struct {
	Index   uint64            `json:"index"`
	Time    time.Time         `json:"time"`
	Actor   string            `json:"actor"`
	Verb    string            `json:"verb"`
	Subject string            `json:"subject"`
	Detail  map[string]string `json:"detail,omitempty"`
	Hash    string            `json:"hash"`
}

// LedgerHead is the newest signed head.
type LedgerHead struct {
	Size       uint64    `json:"size"`
	Root       string    `json:"root"`
	Time       time.Time `json:"time,omitzero"`
	Checkpoint string    `json:"checkpoint"` // to keep elsewhere
	PublicKey  string    `json:"public_key"`
}

// LedgerReport is the result of verifying the ledger.
type LedgerReport struct {
	OK       bool     `json:"ok"`
	Entries  uint64   `json:"entries"`
	Root     string   `json:"root"`
	Problems []string `json:"problems,omitempty"`
}

// Entry is what the console writes to the ledger.
type Entry struct {
	Actor   string
	Verb    string // "finding.state"
	Subject string
	Detail  map[string]string
}
