package edge

import (
	"context"
	"net/http"
	"net/netip"
	"time"
)

// An Inspector looks into requests and responses for attacks: the web application
// firewall. It says what it found and never decides: its result becomes fields
// of the event, and policy makes the verdict. It is safe for concurrent use.
type Inspector interface {
	// Begin starts the inspection of one exchange. The caller must Close it.
	Begin(ctx context.Context, r Exchange) Inspection
}

// Exchange is what is known of a request when its inspection begins.
type Exchange struct {
	Request  *http.Request // as received; the body is not read by the inspector
	Client   netip.AddrPort
	Server   netip.AddrPort
	ID       string // request id
	Time     time.Time
	Route    string
	Host     string // asked for, in lower case, without port
	Path     string // as received: percent-encoded, without the query
	Paranoia int    // paranoia level of the route, 1 to 4
	Muted    []int  // ids of the firewall's rules that are told of and do not count
	Blocks   bool   // the route refuses, and lets answers be changed; else everything passes, and is told of
}

// An Inspection follows one exchange. Its methods are called in the order they stand in
// here, each at most once, by one goroutine at a time. Results are cumulative.
type Inspection interface {
	// Headers inspects the request line and header fields, and reports whether the
	// request's body would be looked at too, and if so, how many bytes at the most.
	Headers() (result Result, bodyLimit int64)
	// Body inspects the request's body, or its first bytes where truncated.
	Body(body []byte, truncated bool) Result
	// ResponseHeaders inspects the response's head, and reports whether its
	// body would be looked at too, and if so, how many bytes at the most.
	ResponseHeaders(status int, header http.Header) (result Result, bodyLimit int64)
	// ResponseBody inspects the response's body, or its first bytes where truncated.
	ResponseBody(body []byte, truncated bool) Result
	// Close ends the inspection and frees what it holds.
	Close()
}

// Result is what an inspection has found so far. Nothing in it holds a value
// from the request: values may be secrets.
type Result struct {
	Score         int      // inbound anomaly score
	OutboundScore int      // outbound anomaly score
	Rules         []string // ids of the rules that matched
	Messages      []string // their messages, same order
	Targets       []string // the variables that matched, as in ARGS:q, same order
	Categories    []string // attack categories, as in attack-sqli, each once
	Err           error    // why the inspector could not judge; the route's fail mode decides
}
