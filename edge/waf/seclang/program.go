// Package seclang reads SecLang, the rule language of ModSecurity, as Coraza understands it: directives become a
// [Program] of rules with their targets, transformations, operator and actions, after includes, default actions, removals
// and updates took effect in their order. It judges nothing; edge/waf executes the program.
//
// Coraza defines what a directive means, quirks included, and reads every text first. What this package does not model is
// an error here that names the directive, and whoever asked has to leave the whole text to Coraza.
//
// Language: https://coraza.io/docs/seclang/ and the ModSecurity reference manual.
package seclang

import (
	"regexp"

	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"
)

// Program is what the directives say. It is immutable once read, and may be shared.
type Program struct {
	// Rules are those of all phases in their order, with the markers between them. A chain hangs on its first rule.
	Rules    []*Rule
	Settings Settings
}

// Settings are the directives that no rule holds.
type Settings struct {
	Engine             types.RuleEngineStatus
	RequestBodyAccess  bool
	ResponseBodyAccess bool
	RequestBodyLimit   int64
	ResponseBodyLimit  int64
	// RequestBodyReject and ResponseBodyReject say that a body over its limit is refused, instead of judged in part.
	RequestBodyReject, ResponseBodyReject bool
	// ResponseTypes are the media types of responses whose bodies are judged.
	ResponseTypes []string
	// RequestJSONDepth and ResponseJSONDepth bound how deep JSON may be nested.
	RequestJSONDepth, ResponseJSONDepth int
	// ArgumentsLimit bounds the values of each collection of arguments.
	ArgumentsLimit int
}

// Phases of a transaction, as rules name them.
const (
	RequestHeaders  = 1
	RequestBody     = 2
	ResponseHeaders = 3
	ResponseBody    = 4
	Logging         = 5
)

// Rule is a SecRule, a SecAction (which has no operator), or a SecMarker (which has a Marker alone).
type Rule struct {
	// ID is 0 for markers and for the rules of a chain but its first.
	ID     int
	Phase  int // 0 for markers and for the rules of a chain but its first
	Marker string

	Targets    []Target
	Operator   *Operator // nil: matches without a look
	Transforms []string  // in lower case, "none" applied
	MultiMatch bool
	Capture    bool

	// Actions are run for every value that matches, in their order.
	Actions []Action
	// Flow is run once where the whole chain matched, in its order, and the disruptive action with it.
	Flow []Flow

	Message, LogData *Macro // nil: none
	Severity         types.RuleSeverity
	Tags             []string
	Rev, Version     string
	Status           int // of a disruptive action; 0: its own
	Log, Audit       bool

	// Chain is the next rule of the chain.
	Chain *Rule

	Place Place

	open bool // the next rule belongs to its chain
}

// Place is where a rule begins.
type Place struct {
	File string // as it was included; "" for the text itself
	Line int    // counted over all lines that were read, as Coraza counts
	Own  int    // counted over the lines of the text itself; of a file, the line that includes it
}

// Target is a variable that a rule looks at.
type Target struct {
	Variable variables.RuleVariable
	Key      string         // "": all of a collection
	KeyRx    *regexp.Regexp // instead of Key
	Count    bool           // how many there are, instead of what they hold
	Except   []Exception
}

// Exception is what a target leaves out: one key, keys by an expression, or with neither the whole of it.
type Exception struct {
	Key   string
	KeyRx *regexp.Regexp
}

// Operator is what is asked of each value.
type Operator struct {
	Name     string // in lower case, without @ and !
	Argument string
	Negated  bool
	// Words are the lines of a file or a data set that the argument names.
	Words []string
}

// Action is a thing that a rule does for each value that matches.
type Action struct {
	Set *SetVar
	Ctl *Ctl
}

// SetVar sets, removes, raises or lowers a value of the collection TX.
type SetVar struct {
	Key    *Macro
	Value  *Macro // nil where Remove
	Remove bool
}

// CtlKind is what a ctl action changes for the rest of the transaction.
type CtlKind int

// The changes that ctl makes. What has no effect on verdicts (audit logs, debug logs, hashes) is left out of programs.
const (
	RemoveByID CtlKind = iota + 1
	RemoveByTag
	RemoveByMessage
	RemoveTargetByID
	RemoveTargetByTag
	RemoveTargetByMessage
	SetEngine
	SetRequestBodyAccess
	SetRequestBodyLimit
	SetRequestBodyProcessor
	ForceRequestBody
	SetResponseBodyAccess
	SetResponseBodyLimit
	SetResponseBodyProcessor
	ForceResponseBody
)

// Ctl is a ctl action. Which fields are set follows from the kind.
type Ctl struct {
	Kind     CtlKind
	From, To int    // ids
	Value    string // tag, message or processor
	Number   int64  // limit
	On       bool
	Engine   types.RuleEngineStatus
	// Variable and Except are what the Target kinds take out of rules.
	Variable variables.RuleVariable
	Except   Exception
}

// FlowKind is how a rule whose chain matched changes what comes next.
type FlowKind int

// The actions that are run once.
const (
	SkipAfter    FlowKind = iota + 1
	Skip                  // the next Number rules
	Deny                  // with the rule's status, else 403
	Drop                  // closes the connection
	Redirect              // to Value, with the rule's status if that is one of a redirect, else 302
	AllowPhase            // no more rules of this phase
	AllowRequest          // no more rules of the request
	AllowAll              // no more rules
)

// Flow is an action that is run once.
type Flow struct {
	Kind   FlowKind
	Value  string
	Number int
}

// Disruptive reports whether the action decides the request.
func (k FlowKind) Disruptive() bool { return k >= Deny }
