package chain

import (
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// Forward is what the edge says of a request that it passes on.
type Forward struct {
	UID   string    // http_request.uid
	Event signal.ID // of the request's event
	Trace string    // trace id, 32 hexadecimal digits
	Span  string    // that the edge gave the request: 16 hexadecimal digits
	Fresh bool      // the trace began at the edge: nobody else can have known its id

	Local, Remote netip.AddrPort // of the connection, as the edge sees it
	Conn          uint64         // names the connection: another one between the same ports has another
	From          uint64         // the number of the request's first byte in the connection
	// Shared says that other requests use the connection at the same time (HTTP/2): from here on its bytes are nobody's.
	Shared bool
}

// How a token was joined to what is before it.
type How uint8

// The ways, the surest first.
const (
	None         How = iota
	BySocket         // who read the bytes that were written
	ByTranslated     // the same, of a connection whose ends call it by other addresses
	ByHeader         // an identifier of the edge, which nobody else knew, in the first bytes
)

// String returns the word that traces show.
func (h How) String() string {
	return [...]string{"none", "socket", "translated socket", "header"}[h&3]
}

// Hop is one service that a request went through.
type Hop struct {
	Token     uint64
	Parent    uint64 // token of the hop before, 0: the edge
	How       How
	PID, TID  uint32
	Goroutine uint64 // 0 where the program is not told apart by goroutines
	Start     uint64 // of the process, nanoseconds since the boot
	Cgroup    uint64
	Comm      string
	Client    netip.AddrPort // of the connection, as the service sees it
	Server    netip.AddrPort
	At        uint64 // when it was read, nanoseconds since the boot
	Ambiguous bool
}

// Bounds of what a table remembers. What is older is forgotten, and counted.
const (
	maxRequests = 16384
	maxTokens   = 65536
	maxConns    = 16384
	maxSpans    = 16 // of a connection
	maxWaiting  = 16 // tokens of a connection whose writer was not told of yet
	maxHops     = 64 // of a request
	maxDepth    = 32 // services that one request goes through in turn
)

// linger is how long after its end a request is still found by its identifiers: records come in batches.
const linger = 2 * time.Second

// Deps is what a table may use.
type Deps struct {
	NetNS uint32           // inode number of the edge's network namespace, 0 for that of this process
	Now   func() time.Time // nil: time.Now
}

// Stats count what a table did.
type Stats struct {
	Served       uint64 // tokens seen
	Joined       uint64 // of which a request is known
	ByTranslated uint64 // of these
	ByHeader     uint64 // likewise
	Ambiguous    uint64 // likewise
	Forgotten    uint64 // requests, tokens and connections that had to give way
}

// direction is one direction of a connection, as its writer calls it. Addresses mean something within a network namespace only: two containers
// may have the same.
type direction struct {
	from, to netip.AddrPort
	netns    uint32
}

func directionOf(from, to netip.AddrPort, netns uint32) direction {
	return direction{netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), netns}
}

// request is one that the edge passed on.
type request struct {
	Forward
	ended time.Time // zero while it is under way
	hops  []Hop
}

// span is a piece of a connection that was written for one request, or by the owner of one token.
type span struct {
	from, to uint64 // to is maxOffset for the edge, which says where the next request begins
	req      *request
	parent   *token
	unsure   bool
}

const maxOffset = ^uint64(0)

// conn is what is known of what was written to a connection.
type conn struct {
	id      uint64 // the writer's, of the connection
	peer    uint64 // the reader's, from the first that was joined: a later connection between the same ports is another
	edge    bool   // all of it is written by the edge
	spans   []span
	waiting []*token // have read bytes that nobody is known to have written
}

// token is what a thread does from reading a request until the next.
type token struct {
	Hop
	began    uint64 // of the connection, as its reader sees it
	writer   uint64 // the same as its writer does, 0 where the sensor does not know
	where    direction
	how      How // it is joined, where it is by where
	piece    record.Range
	req      *request // it was written by the edge for
	parent   *token   // it was written by the owner of
	children []*token // that were joined before this one was
	unsure   bool
	listed   bool // among the hops of its request
}

// Table is the join. It is safe for concurrent use, and implements [kernel.Chain].
type Table struct {
	deps Deps

	mu       sync.Mutex
	requests recent[string, *request] // by UID
	spans    recent[string, *request] // by trace and span; a nil value stands for several
	traces   recent[string, *request]
	tokens   recent[uint64, *token]
	conns    recent[direction, *conn]
	stats    Stats
}

var _ kernel.Chain = (*Table)(nil)

// New returns an empty table.
func New(d Deps) *Table {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.NetNS == 0 {
		d.NetNS = ownNetwork()
	}
	t := &Table{deps: d}
	t.requests = newRecent[string, *request](maxRequests, &t.stats.Forgotten)
	t.spans = newRecent[string, *request](maxRequests, nil)
	t.traces = newRecent[string, *request](maxRequests, nil)
	t.tokens = newRecent[uint64, *token](maxTokens, &t.stats.Forgotten)
	t.conns = newRecent[direction, *conn](maxConns, &t.stats.Forgotten)
	return t
}

// Forwarded is to be called before the first byte of the request is written to the connection.
func (t *Table) Forwarded(f Forward) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, known := t.requests.get(f.UID)
	switch {
	case known && r != nil && r.Event == f.Event: // another attempt
		r.ended = time.Time{}
	case known && r != nil && !t.over(r): // two at once have the same identifier: it names neither
		t.requests.put(f.UID, nil)
		r = &request{Forward: f}
	default:
		r = &request{Forward: f}
		t.requests.put(f.UID, r)
	}
	t.identify(&t.spans, f.Trace+f.Span, r)
	if f.Fresh {
		t.identify(&t.traces, f.Trace, r)
	}
	d := directionOf(f.Local, f.Remote, t.deps.NetNS)
	c := t.conn(d)
	if !c.edge || c.id != f.Conn {
		*c = conn{edge: true, id: f.Conn, waiting: c.waiting}
	}
	c.add(span{from: f.From, to: maxOffset, req: r, unsure: f.Shared})
	if n := len(c.spans); f.Shared && n > 1 {
		c.spans[n-2].unsure = true // from here on its bytes may be anybody's
	}
}

func (t *Table) identify(by *recent[string, *request], id string, r *request) {
	if id == "" {
		return
	}
	if other, ok := by.get(id); ok && other != r && (other == nil || !t.over(other)) {
		r = nil
	}
	by.put(id, r)
}

// over reports whether a request is not to be found by its identifiers any more.
func (t *Table) over(r *request) bool {
	return !r.ended.IsZero() && t.deps.Now().Sub(r.ended) > linger
}

// Ended says that the edge has the whole answer to a request, or gave it up.
func (t *Table) Ended(uid string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.requests.get(uid); ok && r != nil {
		r.ended = t.deps.Now()
	}
}

// conn returns what is known of a direction.
func (t *Table) conn(d direction) *conn {
	c, ok := t.conns.get(d)
	if !ok {
		c = &conn{}
		t.conns.put(d, c)
	}
	return c
}

func (c *conn) add(s span) {
	if len(c.spans) == maxSpans {
		copy(c.spans, c.spans[1:])
		c.spans = c.spans[:maxSpans-1]
	}
	c.spans = append(c.spans, s)
}

// find returns who wrote the bytes of a range: false where nobody is known to have.
func (c *conn) find(r record.Range) (found span, ok bool) {
	for i, s := range c.spans {
		to := s.to
		if to == maxOffset && i+1 < len(c.spans) {
			to = c.spans[i+1].from
		}
		if !r.Overlaps(record.Range{From: s.from, To: to}) {
			continue
		}
		if ok && (found.req != s.req || found.parent != s.parent) {
			found.unsure = true
			continue
		}
		unsure := found.unsure || s.unsure
		found, ok = s, true
		found.unsure = unsure
	}
	return found, ok
}

// Apply takes what the sensor tells of requests; other records mean nothing to it.
func (t *Table) Apply(r *record.Record) {
	if r.Kind != record.KindServe && r.Kind != record.KindSend || r.Token == 0 || !r.HasNet || !r.HasRange {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	k, known := t.tokens.get(r.Token)
	switch {
	case r.Kind == record.KindServe:
		t.served(r, k, known)
	case known:
		t.sent(r, k)
	}
}

// served takes what was read of a request. The lock is held.
func (t *Table) served(r *record.Record, k *token, known bool) {
	if !known {
		t.stats.Served++
		k = &token{Hop: Hop{Token: r.Token, PID: r.PID, TID: r.TID, Start: r.Start, Cgroup: r.Cgroup, Comm: string(r.Comm), At: r.Time,
			Client: r.Net.Remote, Server: r.Net.Local}, began: r.Net.Began, piece: r.Range}
		k.where, k.how, k.writer = written(r)
		if r.NumLen > 0 {
			k.Goroutine = r.Nums[0]
		}
		t.tokens.put(r.Token, k)
	} else {
		k.TID = r.TID // another thread goes on with it
		if r.NumLen > 0 {
			k.Goroutine = r.Nums[0]
		}
		k.piece.To = max(k.piece.To, r.Range.To)
	}
	if r.Flags&record.FlagAmbiguous != 0 {
		k.Ambiguous = true
	}
	if k.How == BySocket || k.How == ByTranslated || t.join(k) {
		return
	}
	if k.How == None {
		t.byHeader(k, r.Data)
	}
	c := t.conn(k.where)
	if len(c.waiting) == maxWaiting {
		c.waiting = append(c.waiting[:0], c.waiting[1:]...)
	}
	c.waiting = append(c.waiting, k)
}

// written returns how the writer of what was read calls the connection. Where the sensor does not know, it is a connection within one network namespace,
// or nobody's: another one may have the same addresses.
func written(r *record.Record) (d direction, how How, writer uint64) {
	here := directionOf(r.Net.Remote, r.Net.Local, r.Net.NetNS)
	if !r.HasPeer {
		return here, BySocket, 0
	}
	d, how = directionOf(r.Peer.Local, r.Peer.Remote, r.Peer.NetNS), BySocket
	if d.from != here.from || d.to != here.to {
		how = ByTranslated
	}
	return d, how, r.Peer.Began
}

// join finds out who wrote what a token's owner has read.
func (t *Table) join(k *token) bool {
	c, ok := t.conns.get(k.where)
	if !ok || c.peer != 0 && c.peer != k.began || !c.edge && k.writer != 0 && c.id != k.writer {
		return false
	}
	s, ok := c.find(k.piece)
	if !ok || s.parent == k {
		return false
	}
	c.peer = k.began
	t.settle(k, s.req, s.parent, k.how, s.unsure)
	return true
}

// settle notes who wrote what a token's owner has read.
func (t *Table) settle(k *token, r *request, parent *token, how How, unsure bool) {
	k.req, k.parent, k.How, k.unsure = r, parent, how, unsure
	if parent != nil {
		k.Parent = parent.Token
	}
	t.list(k, 0)
}

// root follows a token to the request of the edge that it stands for: nil where that is not known.
func (t *Table) root(k *token) (r *request, unsure bool) {
	for range maxDepth {
		unsure = unsure || k.unsure || k.Ambiguous && k.parent == nil && k.req == nil
		if k.req != nil || k.parent == nil {
			return k.req, unsure
		}
		k = k.parent
	}
	return nil, true
}

// list notes a hop with its request, and those that were waiting for that.
func (t *Table) list(k *token, depth int) {
	r, unsure := t.root(k)
	if r == nil {
		if p := k.parent; p != nil && len(p.children) < maxHops {
			p.children = append(p.children, k)
		}
		return
	}
	hop := k.Hop
	hop.Ambiguous = hop.Ambiguous || unsure
	switch {
	case k.listed:
		for i := range r.hops {
			if r.hops[i].Token == k.Token {
				r.hops[i] = hop
			}
		}
	default:
		k.listed = true
		t.stats.Joined++
		switch k.How {
		case ByHeader:
			t.stats.ByHeader++
		case ByTranslated:
			t.stats.ByTranslated++
		}
		if hop.Ambiguous {
			t.stats.Ambiguous++
		}
		if len(r.hops) < maxHops {
			r.hops = append(r.hops, hop)
		}
	}
	children := k.children
	k.children = nil
	for _, child := range children {
		if depth < maxDepth && child.parent == k {
			t.list(child, depth+1)
		}
	}
}

// sent takes what was written for a request. The lock is held.
func (t *Table) sent(r *record.Record, k *token) {
	c := t.conn(directionOf(r.Net.Local, r.Net.Remote, r.Net.NetNS))
	if c.edge || c.id != r.Net.Began {
		*c = conn{id: r.Net.Began, waiting: c.waiting}
	}
	c.add(span{from: r.Range.From, to: r.Range.To, parent: k, unsure: r.Flags&record.FlagAmbiguous != 0})
	t.wake(c)
}

// wake joins those who waited for the writer of a connection.
func (t *Table) wake(c *conn) {
	still := c.waiting[:0]
	for _, k := range c.waiting {
		if !t.join(k) {
			still = append(still, k)
		}
	}
	clear(c.waiting[len(still):])
	c.waiting = still
}

// Request returns the request that a token stands for.
func (t *Table) Request(number uint64) (kernel.Request, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k, ok := t.tokens.get(number)
	if !ok {
		return kernel.Request{}, false
	}
	r, unsure := t.root(k)
	if r == nil {
		return kernel.Request{}, false
	}
	return kernel.Request{UID: r.UID, Event: r.Event, Trace: r.Trace, Ambiguous: unsure}, true
}

// Hops returns the services that a request went through, in the order in which they were seen to; nil for a request that is not known (any more).
func (t *Table) Hops(uid string) []Hop {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r, ok := t.requests.get(uid); ok && r != nil {
		return append([]Hop(nil), r.hops...)
	}
	return nil
}

// Stats returns the counters.
func (t *Table) Stats() Stats {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stats
}

// ownNetwork returns the inode number of the network namespace of this process, 0 where there is no such thing.
func ownNetwork() uint32 {
	name, err := os.Readlink("/proc/self/ns/net") // net:[4026531833]
	if err != nil {
		return 0
	}
	number, _ := strings.CutPrefix(name, "net:[")
	n, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}
