package assembly

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/kernel/chain"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// passages fits the causal chain to the edge.
type passages struct{ *chain.Table }

func (p passages) Forwarded(f edge.Forwarded) {
	p.Table.Forwarded(chain.Forward{UID: f.UID, Event: f.Event, Trace: f.Trace, Span: f.Span, Fresh: f.Fresh, Local: f.Local, Remote: f.Remote,
		Conn: f.Conn, From: f.From, Shared: f.Shared})
}

// traces says what requests caused.
type traces struct{ m *Machine }

func (s traces) Trace(ctx context.Context, request string) (console.Trace, error) {
	var hops []chain.Hop
	if s.m.chain != nil {
		hops = s.m.chain.Hops(request)
	}
	return Trace(ctx, s.m.storage.Store.History, request, hops)
}

// maxTraced bounds the events of one trace.
const maxTraced = 2000

// Trace says for a history what [console.TraceSource] says. hops are the services that are known to have read the request.
func Trace(ctx context.Context, history *store.History, request string, hops []chain.Hop) (console.Trace, error) {
	if !requestID(request) {
		return console.Trace{}, &console.InputError{Field: "id", Reason: "is no id of a request: letters, digits and -_.=/+ as in X-Request-Id"}
	}
	var all []*signal.Event
	stats, err := Hunt(ctx, history, console.HuntQuery{Condition: `http_request.uid == "` + request + `"`, Limit: maxTraced}, func(e *signal.Event) error {
		all = append(all, e.Recorded()) // a copy, and without what may not leave this process
		return nil
	})
	if err != nil {
		return console.Trace{}, err
	}
	if len(all) == 0 && len(hops) == 0 {
		return console.Trace{}, fmt.Errorf("request %s: %w", request, console.ErrNotFound)
	}
	slices.SortStableFunc(all, func(a, b *signal.Event) int {
		return cmp.Or(cmp.Compare(a.Time, b.Time), cmp.Compare(a.ID.String(), b.ID.String()))
	})
	t := console.Trace{Request: request, More: stats.Truncated}
	t.Lines = newTracer(all, hops).lines()
	return t, nil
}

// requestID reports whether s may be the id of a request; what may is safe between quotes in a condition.
func requestID(s string) bool {
	if len(s) < 8 || len(s) > 128 {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_.=/+", r))
	}) < 0
}

// traced is a process, or a service, of a trace.
type traced struct {
	line     console.TraceLine
	parent   string // key of the process that started it
	ppid     uint32
	children []*traced
	placed   bool
}

// tracer puts the events of one request into a tree.
type tracer struct {
	top      []console.TraceLine // of the edge
	order    []*traced
	process  map[string]*traced // by process.uid
	services map[uint32]*traced // by process id
	roots    []*traced
	became   map[signal.ID]string // what became of a kill, by the event that it was ordered for
}

func newTracer(all []*signal.Event, hops []chain.Hop) *tracer {
	t := &tracer{process: map[string]*traced{}, services: map[uint32]*traced{}, became: map[signal.ID]string{}}
	for _, e := range all {
		if outcome := e.Str(signal.FieldKernelOutcome); e.Class == signal.ClassBaseEvent && outcome != "" && e.Plane == signal.PlaneKernel {
			t.became[e.Parent] = outcome
		}
	}
	var before *traced
	byToken := map[uint64]*traced{}
	for _, h := range hops {
		detail := "read from " + h.Client.String() + " at " + h.Server.String()
		if h.Goroutine != 0 {
			detail += fmt.Sprintf(", goroutine %d", h.Goroutine)
		} else {
			detail += fmt.Sprintf(", thread %d", h.TID)
		}
		n := &traced{line: console.TraceLine{Kind: "service", Text: h.Comm, Detail: detail, PID: int(h.PID), Joined: h.How.String(), Unsure: h.Ambiguous}}
		if known := t.services[h.PID]; known != nil {
			byToken[h.Token] = known // another piece of what it does for the request
			continue
		}
		t.services[h.PID], byToken[h.Token] = n, n
		if p := byToken[h.Parent]; p != nil {
			before = p
			before.children = append(before.children, n)
			continue
		}
		t.roots = append(t.roots, n)
	}
	for _, e := range all {
		t.add(e)
	}
	for _, n := range t.order {
		t.place(n)
	}
	return t
}

func (t *tracer) add(e *signal.Event) {
	if e.Class == signal.ClassBaseEvent {
		return // of what became of a kill: it is said where that was ordered
	}
	line := console.TraceLine{At: time.Unix(0, e.Time), Event: e.ID, Decision: console.DecisionOf(e), Rules: e.Strings(signal.FieldVerdictRules),
		Outcome: cmp.Or(t.became[e.ID], e.Str(signal.FieldKernelOutcome))}
	if e.Class == signal.ClassHTTPActivity {
		t.http(e, line)
		return
	}
	if e.Class == signal.ClassProcessActivity && e.Activity == signal.ActivityProcessLaunch {
		t.launched(e, line)
		return
	}
	if e.Class == signal.ClassProcessActivity && e.Activity == signal.ActivityProcessTerminate {
		return
	}
	if line.Kind, line.Text = describe(e); line.Kind == "event" && len(line.Rules) == 0 {
		return // a call that nobody asks about
	}
	pid, ppid := e.Int(signal.FieldActorProcessPID), e.Int(signal.FieldActorProcessParentProcessPID)
	owner := t.known(e.Str(signal.FieldActorProcessUID), uint32(pid), cmp.Or(e.Str(signal.FieldActorProcessFilePath), e.Str(signal.FieldActorProcessName)),
		e.Str(signal.FieldActorProcessParentProcessUID), uint32(ppid))
	owner.children = append(owner.children, &traced{line: line})
}

// known returns a process that is only named: nothing tells when it began, and it is shown by what another event says of it.
func (t *tracer) known(uid string, pid uint32, name, parent string, ppid uint32) *traced {
	if n := t.process[uid]; n != nil {
		return n
	}
	if n := t.services[pid]; n != nil {
		return n
	}
	n := &traced{line: console.TraceLine{Kind: "process", Text: name, PID: int(pid)}, parent: parent, ppid: ppid}
	t.process[uid] = n
	t.order = append(t.order, n)
	return n
}

func (t *tracer) http(e *signal.Event, line console.TraceLine) {
	line.Kind = "request"
	path := e.Str(signal.FieldHTTPRequestURLPath)
	if q := e.Str(signal.FieldHTTPRequestURLQueryString); q != "" {
		path += "?" + q
	}
	line.Text = e.Str(signal.FieldHTTPRequestHTTPMethod) + " " + e.Str(signal.FieldHTTPRequestURLHostname) + path
	if ip := e.IP(signal.FieldSrcEndpointIP); ip.IsValid() {
		line.Detail = "from " + ip.String()
	}
	if code := e.Int(signal.FieldHTTPResponseCode); code != 0 {
		line.Kind, line.Text, line.Detail = "response", fmt.Sprint(code), ""
	}
	t.top = append(t.top, line)
}

func (t *tracer) launched(e *signal.Event, line console.TraceLine) {
	pid := e.Int(signal.FieldProcessPID)
	ppid := e.Int(signal.FieldProcessParentProcessPID)
	line.Kind, line.PID = "process", int(pid)
	line.Text, line.Detail = e.Str(signal.FieldProcessCmdLine), e.Str(signal.FieldProcessFilePath)
	if line.Text == "" { // a gate that asks before the program runs has no arguments
		line.Text, line.Detail = line.Detail, ""
	}
	uid := e.Str(signal.FieldProcessUID)
	if n := t.process[uid]; n != nil { // it runs another program
		n.children = append(n.children, &traced{line: line})
		return
	}
	n := &traced{line: line, parent: e.Str(signal.FieldProcessParentProcessUID), ppid: uint32(ppid)}
	if t.services[n.ppid] == nil && t.process[n.parent] == nil && n.parent != "" {
		t.known(n.parent, n.ppid, cmp.Or(e.Str(signal.FieldProcessParentProcessFilePath), e.Str(signal.FieldProcessParentProcessName)), "", 0)
	}
	t.process[uid] = n
	t.order = append(t.order, n)
}

// place hangs a process below the one that started it.
func (t *tracer) place(n *traced) {
	owner := t.process[n.parent]
	if owner == nil {
		owner = t.services[n.ppid]
	}
	if owner == nil || owner == n {
		t.roots = append(t.roots, n)
		return
	}
	owner.children = append(owner.children, n)
}

// describe says what an event that is about something besides a process tells.
func describe(e *signal.Event) (kind, text string) {
	path := e.Str(signal.FieldFilePath)
	did := strings.ToLower(e.Class.Activity(e.Activity))
	if e.Int(signal.FieldStatusID) == 2 {
		did = "fails to " + did // with the error behind
		defer func() { text += " (" + e.Str(signal.FieldStatusCode) + ")" }()
	}
	switch e.Class {
	case signal.ClassFileActivity:
		if to := e.Str(signal.FieldFileResultPath); to != "" {
			path += " to " + to
		}
		if flags := e.Strings(signal.FieldOpenFlags); did == "open" && slices.ContainsFunc(flags, func(f string) bool { return f == "O_WRONLY" || f == "O_RDWR" }) {
			did = "open for writing"
		}
		return "file", did + " " + path
	case signal.ClassNetworkActivity:
		ip, port := e.IP(signal.FieldDstEndpointIP), e.Int(signal.FieldDstEndpointPort)
		switch end := net.JoinHostPort(ip.String(), strconv.FormatInt(port, 10)); {
		case !ip.IsValid():
			return "socket", did + " " + cmp.Or(path, "a socket of this host")
		case e.Class.Activity(e.Activity) == "Traffic":
			return "network", fmt.Sprintf("%s: %d bytes sent, %d received", end, e.Int(signal.FieldTrafficBytesOut), e.Int(signal.FieldTrafficBytesIn))
		default:
			return "network", did + " " + end
		}
	case signal.ClassDNSActivity:
		return "dns", did + " " + e.Str(signal.FieldQueryHostname)
	}
	if call, ok := e.Unmapped("evt.type"); ok {
		did = call
	}
	return "event", did
}

// maxTraceDepth bounds the tree that is drawn.
const maxTraceDepth = 64

func (t *tracer) lines() []console.TraceLine {
	out := append([]console.TraceLine{}, t.top...)
	var draw func(n *traced, depth int)
	draw = func(n *traced, depth int) {
		if n.placed || depth > maxTraceDepth {
			return
		}
		n.placed = true
		n.line.Depth = depth
		out = append(out, n.line)
		for _, c := range folded(n.children) {
			draw(c, depth+1)
		}
	}
	for _, n := range t.roots {
		draw(n, 1)
	}
	return out
}

// maxTouched is how many files, or connections, of one process are shown. What a rule fired on is shown whatever their number.
const maxTouched = 12

// folded makes one line of what a process did several times, and of all that is more than anybody reads.
func folded(all []*traced) []*traced {
	type thing struct{ kind, text string }
	times, more := map[thing]int{}, map[string]int{}
	shown := map[string]int{}
	out := make([]*traced, 0, len(all))
	for _, n := range all {
		k := thing{n.line.Kind, n.line.Text}
		if n.line.Kind == "process" || n.line.Kind == "service" || len(n.line.Rules) > 0 {
			out = append(out, n)
			continue
		}
		if times[k]++; times[k] > 1 {
			continue
		}
		if shown[k.kind]++; shown[k.kind] > maxTouched {
			more[k.kind]++
			continue
		}
		out = append(out, n)
	}
	for _, n := range out {
		if c := times[thing{n.line.Kind, n.line.Text}]; c > 1 && len(n.line.Rules) == 0 {
			n.line.Detail = strings.TrimPrefix(n.line.Detail+fmt.Sprintf("; %d times", c), "; ")
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(more)) {
		out = append(out, &traced{line: console.TraceLine{Kind: kind, Text: fmt.Sprintf("… and %d more, which testudo hunt finds", more[kind])}})
	}
	return out
}
