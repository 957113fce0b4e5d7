package habit

import (
	"cmp"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/internal/urlmask"
)

// Habits is what was learned of all endpoints. It is safe for concurrent use.
type Habits struct {
	config Config
	table  *table

	mu        sync.Mutex
	endpoints map[endpointKey]*endpoint
	count     int    // parameters
	serial    uint64 // of the request that is being learned
	stats     Stats

	norms atomic.Pointer[map[endpointKey]*norm]
}

type endpointKey struct{ route, method, template string }

type paramKey struct {
	place Place
	name  string
}

// numSlots is how many slots clients are spread over.
const numSlots = 16

// slotsMask has a bit for each slot.
type slotsMask uint16

func (m slotsMask) count() int { return bits.OnesCount16(uint16(m)) }

// endpoint is what was counted of one endpoint.
type endpoint struct {
	requests [numSlots]uint16
	params   map[paramKey]*param
	alone    [numSlots]uint16 // parameters that clients of one slot alone have sent
	full     bool             // there were more parameters than are kept
}

// drop forgets a parameter.
func (e *endpoint) drop(key paramKey) {
	if p := e.params[key]; p.alone > 0 {
		e.alone[p.alone-1]--
	}
	delete(e.params, key)
}

// param is what was counted of one parameter.
type param struct {
	slots   [numSlots]*slot
	last    time.Time
	mark    uint64 // the request that it was last seen in
	alone   uint8  // one more than the slot that alone has sent it, 0 where several have
	settled *settled
	shifts  []Shift
}

// slot counts what the values of some clients showed.
type slot struct {
	requests uint16 // that had the parameter
	values   uint16
	traits   [traits]uint16
}

// maxCount is when the counts of a slot are halved.
const maxCount = 60_000

// Bounds of one request.
const (
	maxValues = 128  // of path, query and form
	maxBody   = 1024 // values
	maxDepth  = 12
	maxPath   = 200 // bytes of the place in a body
)

// New makes Habits that know nothing. Zero values of the Config mean the defaults.
func New(c Config) *Habits {
	return &Habits{config: c.orDefault(), table: newTable(), endpoints: map[endpointKey]*endpoint{}}
}

// slotOf is where a client's requests are counted. The hash is keyed, but not every bit of it need be good.
func slotOf(client uint64) int { return int(client * 0x9e3779b97f4a7c15 >> 60) }

// Learn takes one request into account. The caller hands in what was answered with success and had nothing against it.
func (h *Habits) Learn(o *Observation) {
	if o.Template == "" || o.Client == 0 || !isMethod(o.Method) {
		return
	}
	key := endpointKey{o.Route, o.Method, o.Template}
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.endpoints[key]
	if e == nil {
		if len(h.endpoints) >= h.config.Parameters {
			h.stats.Full++
			return
		}
		e = &endpoint{params: map[paramKey]*param{}}
		h.endpoints[key] = e
	}
	h.serial++
	h.stats.Learned++
	s := slotOf(o.Client)
	if e.requests[s] >= maxCount {
		e.halve(s)
	}
	e.requests[s]++
	_ = visit(o, func(place Place, name []byte, text string, value any) bool {
		h.learn(e, s, o.Time, paramKey{place, string(name)}, text, value)
		return true
	})
}

// learn counts one value.
func (h *Habits) learn(e *endpoint, s int, now time.Time, key paramKey, text string, value any) {
	p := e.params[key]
	if p == nil {
		if len(e.params) >= h.config.Each || h.count >= h.config.Parameters {
			e.full = true
			h.stats.Full++
			return
		}
		if int(e.alone[s]) >= max(h.config.Each/4, 1) {
			h.stats.Crowded++
			return
		}
		p = &param{alone: uint8(s + 1)}
		e.alone[s]++
		e.params[key] = p
		h.count++
	}
	if now.After(p.last) {
		p.last = now
	}
	c := p.slots[s]
	if c == nil {
		if p.alone > 0 && int(p.alone) != s+1 {
			e.alone[p.alone-1]--
			p.alone = 0
		}
		c = &slot{}
		p.slots[s] = c
	}
	if c.values >= maxCount {
		e.halve(s)
	}
	c.values++
	again := p.mark == h.serial
	if !again {
		p.mark = h.serial
		c.requests++
	}
	v := h.see(text, value)
	if again && key.place != InBody {
		v.set |= 1 << repeated
	}
	for rest := v.set; rest != 0; rest &= rest - 1 {
		c.traits[bits.TrailingZeros64(uint64(rest))]++
	}
	if v.set&plainValue != 0 {
		c.traits[languages+trait(v.language)]++
		c.traits[lengths+trait(step(v.length))]++
	}
}

// plainValue are the forms: a value that is not an object, a list or null has one of them.
const plainValue set = 1<<forms - 1

// see looks at a value: value where it is of a body, text elsewhere.
func (h *Habits) see(text string, value any) seen {
	switch value.(type) {
	case nil:
		return h.table.look(text)
	case nothing:
		return seen{set: 1 << null}
	case map[string]any, []any:
		return seen{set: 1 << structured}
	case bool:
		return seen{set: 1 << isBool, length: 4}
	case float64:
		return seen{set: 1<<isNumber | 1<<digit, length: 8}
	}
	return h.table.look(text)
}

// halve keeps the shares of a slot and makes room for what comes.
func (e *endpoint) halve(s int) {
	e.requests[s] /= 2
	for _, p := range e.params {
		if c := p.slots[s]; c != nil {
			c.requests /= 2
			c.values /= 2
			for i := range c.traits {
				c.traits[i] /= 2
			}
		}
	}
}

// isMethod admits the methods that endpoints have: a stranger names them.
func isMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE":
		return true
	}
	return false
}

// idle is how long a parameter may rest before it makes room for others.
const idle = 30 * 24 * time.Hour

// Refresh makes what was learned until now visible to Unusual, notes what has shifted, and makes room. Once in a minute is often enough.
func (h *Habits) Refresh(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.count >= h.config.Parameters*7/8 || len(h.endpoints) >= h.config.Parameters*7/8 {
		h.evict(now)
	}
	norms := make(map[endpointKey]*norm, len(h.endpoints))
	h.stats.Crammed = 0
	for key, e := range h.endpoints {
		if e.full {
			h.relieve(e)
		}
		if e.full {
			h.stats.Crammed++
		}
		if n := e.norm(h.config.Requests); n != nil {
			norms[key] = n
			e.settle(now, key, n, h.config.Requests)
		}
	}
	h.norms.Store(&norms)
}

// relieve drops an endpoint's parameters that too few clients vouch for. It is full no more where that makes room for what others send.
func (h *Habits) relieve(e *endpoint) {
	for key, p := range e.params {
		if p.filled() < leastOthers {
			e.drop(key)
			h.count--
			h.stats.Evicted++
		}
	}
	e.full = len(e.params) > h.config.Each*3/4 || h.count >= h.config.Parameters
}

// filled is how many slots have sent the parameter.
func (p *param) filled() (n int) {
	for _, c := range p.slots {
		if c != nil {
			n++
		}
	}
	return n
}

// evict drops parameters that too few clients vouch for, then those that were seen the longest ago, until an eighth of the room is free.
func (h *Habits) evict(now time.Time) {
	type candidate struct {
		e    *endpoint
		key  paramKey
		few  bool
		last time.Time
	}
	var all []candidate
	for _, e := range h.endpoints {
		for key, p := range e.params {
			if few := p.filled() < leastVouching; few || now.Sub(p.last) > idle || h.count >= h.config.Parameters {
				all = append(all, candidate{e, key, few, p.last})
			}
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		if a.few != b.few {
			if a.few {
				return -1
			}
			return 1
		}
		return cmp.Or(a.last.Compare(b.last), cmp.Compare(a.key.place, b.key.place), cmp.Compare(a.key.name, b.key.name))
	})
	for _, c := range all {
		if h.count <= h.config.Parameters*3/4 {
			break
		}
		c.e.drop(c.key)
		h.count--
		h.stats.Evicted++
	}
	if len(h.endpoints) >= h.config.Parameters*7/8 {
		for key, e := range h.endpoints {
			if len(e.params) == 0 {
				delete(h.endpoints, key)
			}
		}
	}
}

// Stats says what was counted until now.
func (h *Habits) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Parameters = h.count
	return s
}

// nothing stands for JSON null, for nil stands for what is not of a body.
type nothing struct{}

// visit calls f with each value of a request whose name is one, until it returns false or there were enough; then all is false. The name is valid during the call.
// A body has its own share: what stands before does not hide it.
func visit(o *Observation, f func(place Place, name []byte, text string, value any) bool) (all bool) {
	var room [maxPath]byte
	all = true
	left := maxValues
lists:
	for place, list := range [...][]Value{InPath: o.Path, InQuery: o.Query, InForm: o.Form} {
		for _, v := range list {
			if left == 0 {
				all = false
				break lists
			}
			if len(v.Name) > maxPath || !urlmask.PlainName(v.Name) {
				continue
			}
			left--
			if !f(Place(place), append(room[:0], v.Name...), v.Value, nil) {
				return false
			}
		}
	}
	if o.Body != nil {
		left = maxBody
		all = walk(o.Body, room[:0], 0, &left, f) && all
	}
	return all
}

// walk visits what a JSON value holds, down to a depth, until f returns false or there were enough; then it returns false. Elements of a list stand at one place, "*".
// Of an object what holds nothing else comes first, so that a long list beside it does not hide it.
func walk(v any, at []byte, depth int, left *int, f func(place Place, name []byte, text string, value any) bool) bool {
	if depth > maxDepth {
		return true // nothing is known of what is deeper
	}
	if *left == 0 {
		return false
	}
	if depth > 0 {
		*left--
		text := ""
		switch t := v.(type) {
		case nil:
			v = nothing{}
		case string:
			text = t
		case interface{ String() string }: // json.Number
			text = t.String()
		}
		if !f(InBody, at, text, v) {
			return false
		}
	}
	switch t := v.(type) {
	case map[string]any:
		for _, holds := range [...]bool{false, true} {
			for name, w := range t {
				if holdsOthers(w) != holds || len(at)+1+len(name) > maxPath || !urlmask.PlainName(name) {
					continue
				}
				if !walk(w, append(append(at, '/'), name...), depth+1, left, f) {
					return false
				}
			}
		}
	case []any:
		if len(at)+2 > maxPath {
			return true
		}
		at = append(at, '/', '*')
		for _, w := range t {
			if !walk(w, at, depth+1, left, f) {
				return false
			}
		}
	}
	return true
}

func holdsOthers(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}
