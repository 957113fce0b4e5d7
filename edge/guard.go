package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/signal"
)

// A Guard holds exchanges to what an API is: its documents, its tokens, who may reach what, what may leave. Like an Inspector it says what it found and
// never decides. It is safe for concurrent use. A panic in it ends the check, not the request: the route's fail mode decides.
type Guard interface {
	// Begin starts to look at one exchange; nil where nothing is to be looked at. The caller must Close the check.
	Begin(ctx context.Context, r Exchange) Check
}

// A Check follows one exchange. Its methods are called in the order they stand in here, each at most once but Pass and Found, by one goroutine at a time.
// It may keep the bodies that it is given until Close, and must not change them.
type Check interface {
	// Request looks at the head, and says how many bytes of the body it wants to see: 0 for none, less where nobody may wait for it, because the
	// server is to answer to its beginning.
	Request() (bodyLimit int64)
	// RequestBody looks at the body, or its first bytes where truncated.
	RequestBody(body []byte, truncated bool)
	// Forward changes the header of the request as it goes to the upstream: what the answer must be like to be looked at.
	Forward(h http.Header)
	// Response looks at the head of the response, as it will be sent, and may change it. It says how many bytes of the body are to be held back
	// until it has seen them, 0 for none, and whether it wants all of the body by Pass.
	Response(status int, h http.Header) (bodyLimit int64, pass bool)
	// ResponseBody looks at the body, or its first bytes where truncated, before the head is sent. Pass is given the same bytes again.
	ResponseBody(body []byte, truncated bool)
	// Pass is given the body as it goes to the client, piece by piece, and at its end nil once with last. It returns what is sent in its place: valid
	// until the next call, in all as many bytes as it was given. With ok false the response is cut off. On a route that does not block what it was given is sent.
	Pass(piece []byte, last bool) (out []byte, ok bool)
	// Found returns what was found so far: all of it, in its order.
	Found() *Found
	// Close ends the check.
	Close(e End)
}

// End is how an exchange ended.
type End struct {
	Status int   // sent to the client, 0 for nothing
	Sent   int64 // bytes of the body
	Whole  bool  // whether the upstream's answer went out to its end
	Clean  bool  // whether firewall and judge had nothing against it
}

// Found is what a Check has found so far. Nothing in it holds a value of the request or the response.
type Found struct {
	Operation  string      // method and template of the path, as in GET /orders/{id}; "" where it is not known
	Document   string      // title of the document that the operation stands in
	Violations []Violation // those of the request first
	Subject    string      // whose credentials: a keyed hash
	Auth       string      // kind of the credentials
	Sensitive  []string    // kinds of sensitive data in the response
	Habits     bool        // whether it is known what requests for the operation are like
	Unusual    []string    // how the request differs from that, in words
	Err        error       // why something could not be checked; the route's fail mode decides
}

// Violation is one way in which an exchange is not what it should be.
type Violation struct {
	Code    string // check and code, as in body/maxLength
	Target  string // parameter, header or JSON pointer
	Message string
	Block   bool // the route blocks by this check
}

// guarded is the check of one exchange in the edge's hands. Its zero value is of a request that nobody checks.
type guarded struct {
	check Check
	found Found
	asked int  // violations that were found in the request
	pass  bool // it wants to see the body of the response
	owed  int  // bytes of it that the check holds back
	told  int  // violations, kinds of data and errors that an event has told of
}

// checkPanic says that a check did not end.
type checkPanic struct{ what string }

func (e *checkPanic) Error() string { return "the check ended by a panic: " + e.what }

// guard calls one method of the check. After a panic it is called no more.
func (x *exchange) guard(call func(c Check)) {
	g := &x.api
	if g.check == nil {
		return
	}
	defer func() {
		problem := recover()
		if problem == nil {
			return
		}
		what := fmt.Sprintf("%T", problem) // another value could hold a part of the request
		if e, ok := problem.(runtime.Error); ok {
			what = e.Error()
		}
		x.ed.metrics.checkPanics.Inc()
		x.ed.log.Error("edge: panic while checking a request", "request_id", x.requestID, "panic", what, "stack", string(debug.Stack()))
		g.check, g.pass, g.found.Err = nil, false, &checkPanic{what}
	}()
	call(g.check)
	if found := g.check.Found(); found != nil {
		g.found = *found
	}
}

// guardRequest begins the check, and returns how much of the body it wants to see.
func (x *exchange) guardRequest(ex Exchange) (want int64) {
	if x.route.api {
		func() {
			defer func() {
				if problem := recover(); problem != nil {
					x.ed.metrics.checkPanics.Inc()
					x.ed.log.Error("edge: panic while beginning to check a request", "request_id", x.requestID, "stack", string(debug.Stack()))
					x.api.found.Err = &checkPanic{fmt.Sprintf("%T", problem)}
				}
			}()
			x.api.check = x.ed.guard.Begin(x.r.Context(), ex)
		}()
	}
	x.guard(func(c Check) { want = c.Request() })
	return want
}

// unguard ends the check.
func (x *exchange) unguard() {
	x.guard(func(c Check) {
		clean := !x.unjudged && x.result.Err == nil && x.result.Score == 0 && x.result.OutboundScore == 0 && x.verdict.Decision == signal.Allow
		c.Close(End{Status: x.status, Sent: x.sent, Whole: x.up != nil && x.failure == "", Clean: clean})
	})
	x.api.check = nil
}

// passPiece lets the check see a piece of the response on its way.
func (x *exchange) passPiece(p []byte, last bool) (out []byte, ok bool) {
	out, ok = p, true
	if x.api.pass {
		x.guard(func(c Check) { out, ok = c.Pass(p, last) })
		if !x.route.block { // it is told, and everything passes
			return p, true
		}
		if x.api.check == nil && (x.route.closed || x.api.owed > 0) { // it panicked, and has what it held back
			return nil, false
		}
		x.api.owed += len(p) - len(out)
	}
	return out, ok
}

// news reports whether something was found since an event told of what was.
func (g *guarded) news() bool { return g.size() != g.told }

func (g *guarded) size() int {
	n := len(g.found.Violations) + len(g.found.Sensitive)
	if g.found.Err != nil {
		n++
	}
	return n
}

// guards reports whether there is a check of this exchange, or was one.
func (g *guarded) guards() bool {
	return g.check != nil || g.found.Err != nil || g.found.Operation != "" || len(g.found.Violations) > 0
}

// describeFound adds what the check found: in the request, or in the response.
func (x *exchange) describeFound(e *signal.Event, response bool) {
	g := &x.api
	if !g.guards() {
		return
	}
	f := &g.found
	set := func(field signal.Field, v string) {
		if v != "" {
			e.SetString(field, v)
		}
	}
	set(signal.FieldAPIOperation, clean(f.Operation, maxValue)) // a client makes up methods
	set(signal.FieldAPIServiceName, clean(f.Document, maxValue))
	set(signal.FieldAPISubject, f.Subject)
	set(signal.FieldAPIAuth, f.Auth)
	list := f.Violations
	if response {
		list = list[min(g.asked, len(list)):]
		g.told = g.size()
		if len(f.Sensitive) > 0 {
			e.SetStrings(signal.FieldAPISensitive, f.Sensitive)
		}
	} else {
		g.asked = len(list)
		g.told = g.size()
		if f.Habits {
			e.SetBool(signal.FieldHabitKnown, true)
		}
		if len(f.Unusual) > 0 {
			list := make([]string, min(len(f.Unusual), maxViolations))
			for i := range list {
				list[i] = clean(f.Unusual[i], maxValue)
			}
			e.SetStrings(signal.FieldHabitUnusual, list)
		}
	}
	if f.Err != nil {
		e.SetString(signal.FieldAPIError, clean(f.Err.Error(), maxValue))
	}
	if len(list) == 0 {
		return
	}
	blocks := func(v Violation) bool { return v.Block }
	if len(list) > maxViolations { // others must not crowd out what it is refused by
		list = slices.Clone(list)
		slices.SortStableFunc(list, func(a, b Violation) int { return before(blocks(b), blocks(a)) })
		list = list[:maxViolations]
	}
	codes, messages, targets := make([]string, len(list)), make([]string, len(list)), make([]string, len(list))
	for i, v := range list {
		codes[i], messages[i], targets[i] = v.Code, clean(v.Message, maxValue), clean(target(v.Target), maxValue)
	}
	e.SetStrings(signal.FieldAPIViolations, codes)
	e.SetStrings(signal.FieldAPIMessages, messages)
	e.SetStrings(signal.FieldAPITargets, targets)
	e.SetBool(signal.FieldAPIBlock, slices.ContainsFunc(list, blocks))
}

// target is where something was found, without names that may be values: clients make them up too.
func target(s string) string {
	for _, kind := range [...]string{"header ", "cookie ", "query "} { // a name that is known
		if strings.HasPrefix(s, kind) && !strings.Contains(s[len(kind):], " ") {
			return s
		}
	}
	parts := strings.Split(s, "/")
	for i, name := range parts {
		if name != "" && name != "*" && !urlmask.PlainName(name) {
			parts[i] = masked
		}
	}
	return strings.Join(parts, "/")
}

// before puts true behind false.
func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// maxViolations bounds what of one message is recorded.
const maxViolations = 32

// sendChecked sends a piece of the response by way of the check.
func (x *exchange) sendChecked(p []byte, last bool, send func([]byte) error) error {
	out, ok := x.passPiece(p, last)
	if !ok {
		return errStopped
	}
	if len(out) == 0 {
		return nil
	}
	return send(out)
}

// part is as much of the beginning of a body as one who looks at it wants.
func part(held []byte, truncated bool, want int64) ([]byte, bool) {
	if int64(len(held)) > want {
		return held[:want], true
	}
	return held, truncated
}

// holdResponse reads the beginning of a response's body. It reports whether that is all of it, and ok as false where the exchange is over.
func (x *exchange) holdResponse(resp *http.Response, limit int64) (held []byte, whole, ok bool) {
	held, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err == nil {
		return held, int64(len(held)) <= limit, true
	}
	if x.r.Context().Err() != nil {
		x.abandon()
	}
	x.status = 0
	x.fail(http.StatusBadGateway, bodyError(err))
	return nil, false, false
}
