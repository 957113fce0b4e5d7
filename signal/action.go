package signal

import "time"

// ActionState is where an action stands.
type ActionState string

// The states of an action.
const (
	ActionActive  ActionState = "active"  // in force
	ActionExpired ActionState = "expired" // its time limit passed
	ActionUndone  ActionState = "undone"  // lifted before its time
	ActionRefused ActionState = "refused" // asked for, and not done: see Reason
	ActionFailed  ActionState = "failed"  // tried, and it did not work: see Error
	ActionDone    ActionState = "done"    // done at once, and not to be undone: a process that was killed
)

// Action is something that was done about an event or a finding, with its
// blast radius stated before, a time limit and an undo.
type Action struct {
	ID       string      `json:"id"`
	Kind     string      `json:"kind"`   // responder: block
	Target   string      `json:"target"` // what it acts on: an address or prefix
	Actor    string      `json:"actor"`  // who asked: "rule:ID", "person:NAME", "uid:N"
	Reason   string      `json:"reason"`
	Radius   Radius      `json:"radius"`
	Event    ID          `json:"event,omitzero"` // the event that led to it
	State    ActionState `json:"state"`
	Start    time.Time   `json:"start"`
	Until    time.Time   `json:"until"`
	End      time.Time   `json:"end,omitzero"` // when it ended
	UndoneBy string      `json:"undone_by,omitempty"`
	Error    string      `json:"error,omitempty"`
	Hits     uint64      `json:"hits"` // what it stopped, as last counted
}

// Radius is what an action touches, stated before it is done.
type Radius struct {
	Summary   string   `json:"summary"`             // a sentence for people
	Addresses string   `json:"addresses,omitempty"` // how many addresses, as a number or a power of two
	Requests  uint64   `json:"requests"`            // requests from the target lately
	Good      uint64   `json:"good"`                // of them, how many were allowed
	Window    string   `json:"window,omitempty"`    // what lately means, as in "10m"
	Warnings  []string `json:"warnings,omitempty"`
}
