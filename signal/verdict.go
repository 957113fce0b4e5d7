package signal

import (
	"context"
	"fmt"
	"time"
)

// Decision is what is to be done with what an event stands for, weakest first.
type Decision uint8

// The decisions, in rising order: where rules disagree, the highest wins.
const (
	Allow     Decision = iota // let it pass
	Alert                     // let it pass, and tell people
	Limit                     // slow it down
	Challenge                 // ask for a proof first
	Deny                      // refuse it
)

var decisionNames = [...]string{"allow", "alert", "limit", "challenge", "deny"}

// String returns the lower-case name.
func (d Decision) String() string {
	if int(d) < len(decisionNames) {
		return decisionNames[d]
	}
	return fmt.Sprintf("decision_%d", uint8(d))
}

// ParseDecision reads a lower-case name.
func ParseDecision(name string) (Decision, error) {
	for i, n := range decisionNames {
		if n == name {
			return Decision(i), nil
		}
	}
	return 0, fmt.Errorf("unknown verdict %q: want allow, alert, limit, challenge or deny", name)
}

// MarshalText writes the lower-case name.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads the lower-case name.
func (d *Decision) UnmarshalText(b []byte) error {
	v, err := ParseDecision(string(b))
	if err == nil {
		*d = v
	}
	return err
}

// Disposition returns the OCSF disposition_id and action_id of the decision.
func (d Decision) Disposition() (disposition, action int64) {
	switch d {
	case Alert:
		return 19, 3
	case Limit:
		return 14, 4
	case Challenge:
		return 23, 4
	case Deny:
		return 2, 2
	}
	return 1, 1
}

// Verdict is what policy thinks of an event. The zero Verdict allows.
type Verdict struct {
	Decision Decision
	Hits     []Hit // the rules that fired, strongest decision first, then by id; nil where none did
}

// Hit is one rule that fired on an event. It is shared between verdicts and must
// not be changed, but for Orders, which belong to this verdict.
type Hit struct {
	Rule     string // id
	Title    string
	Severity Severity
	Decision Decision
	Why      string // a sentence for people; values in it are recorded forms
	// Proof holds what made the rule's condition hold: what was asked of which field, and the value for
	// which it held, in recorded form. It is bounded.
	Proof []Evidence
	// Related holds, of a rule over several events, the ids of those behind it, the oldest first, at
	// most MaxFindingEvents; nil for others.
	Related []ID
	Orders  []Order
}

// Order is an action that a rule asks for.
type Order struct {
	Kind   string        // responder: "block"
	Target string        // what to act on, as in an address
	For    time.Duration // how long; 0 asks for the responder's default
}

// Top returns the hit that decided, or nil.
func (v *Verdict) Top() *Hit {
	if len(v.Hits) == 0 {
		return nil
	}
	return &v.Hits[0]
}

// A Sink takes what a plane sees and says what policy thinks of it. Every
// plane calls it: a gate that can wait obeys the verdict, a watcher drops it.
//
// Event judges and queues the event for recording before it returns; it does not promise
// that the event is on disk. It copies what it keeps, so that the
// caller may reuse e, and it may set e's Seq and verdict fields. An error means that the
// event was not judged: the caller's fail mode decides. Event is safe for
// concurrent use with different events.
type Sink interface {
	Event(ctx context.Context, e *Event) (Verdict, error)
}

// A FindingSink takes what a scanner found. Reporting the same weakness twice makes one
// finding, by its fingerprint. It is safe for concurrent use.
type FindingSink interface {
	Finding(ctx context.Context, f *Finding) error
}
