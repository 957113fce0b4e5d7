package owner

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

// Tracker watches who reaches what. It is safe for concurrent use; the accesses of one subject should come in their order.
type Tracker struct {
	config Config
	given  *given
	owners *owners
	shards [16]shard
	born   atomic.Int64 // time of the first access
	fields atomic.Int64 // of bodies, that may still be kept

	mu        sync.RWMutex
	endpoints map[place]*endpoint
	resources map[place]*resource

	accesses, evicted, full, cut atomic.Uint64
}

// place names an endpoint; with an empty method, a template.
type place struct{ route, method, template string }

// shard holds a part of the subjects, in the order in which they were seen.
type shard struct {
	mu       sync.Mutex
	subjects map[uint64]*subject
	first    subject // ring: first.next was seen last
}

type subject struct {
	key        uint64
	last       int64
	cut        int64 // when it got an answer with more ids than were read
	next, prev *subject
	windows    []*window
}

// window is what a subject did at one endpoint.
type window struct {
	endpoint *endpoint
	start    int64
	last     int64
	answers  uint32
	bytes    uint64
	records  uint64

	// Of objects that were never given to the subject: a bit for each (see crowd).
	opened  [8]uint64
	refused [8]uint64
	walked  uint32 // opened
	denied  uint32
	points  uint32
	alien   uint32 // of other subjects
	number  int64  // the last id, if it is a number
	row     int    // ids that came in a row
	told    uint32 // which codes, by bit
	active  []Violation
	aside   bool // answers were counted for another one, whose credentials were there too
}

const maxWindows = 16 // of one subject at once

// New makes a Tracker that knows nothing. Zero values of the Config mean the defaults.
func New(c Config) *Tracker {
	c = c.orDefault()
	t := &Tracker{config: c, endpoints: map[place]*endpoint{}, resources: map[place]*resource{}}
	t.given = newGiven(int64(c.Memory)*3/4, int64(c.Remember.Seconds()))
	t.owners = newOwners(int64(c.Memory) / 4)
	t.fields.Store(maxKept)
	for i := range t.shards {
		s := &t.shards[i]
		s.subjects = map[uint64]*subject{}
		s.first.next, s.first.prev = &s.first, &s.first
	}
	return t
}

// Seen takes an access into account and says what is wrong with it. An object walk is told of once in a window: Before
// tells of it as long as it lasts.
func (t *Tracker) Seen(a Access) []Violation {
	now := a.Time.Unix()
	t.accesses.Add(1)
	t.born.CompareAndSwap(0, now)
	t.given.turn(now)
	e := t.endpoint(&a)
	if e == nil {
		t.full.Add(1)
		return nil
	}
	var room [1 + maxAlso]uint64
	everybody, known := t.identities(&a, room[:0])
	who := everybody[0]
	all := e.resource.assignment(&a, who)
	all = append(all, e.resource.answer(&a)...)
	all = append(all, t.authentication(e, &a, who)...)

	var spots [maxObjects]spot
	named := spots[:0]
	for i := range a.Objects {
		if o := &a.Objects[i]; o.Value != "" && len(named) < maxObjects {
			named = append(named, spot{objectKey(kindIn(a.Template, o.Name), o.Value), o})
		}
	}
	for i, one := range everybody {
		s := t.shard(one)
		s.mu.Lock()
		t.expire(s, now)
		sub := t.subject(s, one, now)
		w := t.window(sub, e, now)
		if w.aside = i > 0 && w.answers == 0; i == 0 {
			all = append(all, t.amount(w, &a, who)...)
		}
		if len(named) > 0 {
			all = append(all, t.objects(sub, w, &a, named, everybody, known, now)...)
		}
		s.mu.Unlock()
	}
	if a.Status >= 200 && a.Status < 300 && t.hand(&a, everybody, known, named) {
		t.cut.Add(1)
		for _, one := range everybody {
			s := t.shard(one)
			s.mu.Lock()
			if sub := s.subjects[one]; sub != nil {
				sub.cut = now
			}
			s.mu.Unlock()
		}
	}
	return all
}

// Bounds of one access.
const (
	maxAlso    = 3 // further subjects
	maxObjects = 8 // that it names
)

// spot is an object that a request names.
type spot struct {
	key uint64
	*Object
}

func (t *Tracker) shard(who uint64) *shard { return &t.shards[who>>8%uint64(len(t.shards))] }

// identities are all that a request may be of, the one whom it counts for first, and whether they showed credentials.
func (t *Tracker) identities(a *Access, all []uint64) (everybody []uint64, known bool) {
	add := func(subject uint64) {
		who := mix(subject)
		if subject == 0 || len(all) > maxAlso || slices.Contains(all, who) {
			return
		}
		if a.Unproved { // or who makes credentials up could have all others forgotten
			s := t.shard(who)
			s.mu.Lock()
			old := s.subjects[who] != nil
			s.mu.Unlock()
			if !old {
				return
			}
		}
		all = append(all, who)
	}
	add(a.Subject)
	for _, subject := range a.Also {
		add(subject)
	}
	if len(all) > 0 {
		return all, true
	}
	return append(all, mix(a.Client^0x5bd1e995)), false
}

// Before tells what is known before a request goes on: what its subject was found to do at this endpoint in the current window, and the fields of
// its body that nobody should send. Whoever blocks asks it first; Seen learns of the request all the same.
func (t *Tracker) Before(a Access) []Violation {
	t.mu.RLock()
	e := t.endpoints[place{a.Route, a.Method, a.Template}]
	t.mu.RUnlock()
	if e == nil {
		return nil
	}
	a.Status = 0 // nothing is answered: nothing is learned
	var room [1 + maxAlso]uint64
	everybody, _ := t.identities(&a, room[:0])
	all := e.resource.assignment(&a, everybody[0])
	for _, who := range everybody {
		s := t.shard(who)
		s.mu.Lock()
		if sub := s.subjects[who]; sub != nil {
			for _, w := range sub.windows {
				if w.endpoint == e && a.Time.Unix()-w.start < int64(t.config.Window.Seconds()) {
					all = append(all, w.active...)
				}
			}
		}
		s.mu.Unlock()
	}
	return all
}

// Stats says what was counted until now.
func (t *Tracker) Stats() Stats {
	s := Stats{Accesses: t.accesses.Load(), Evicted: t.evicted.Load(), Full: t.full.Load(), Shortened: t.given.early.Load(), Cut: t.cut.Load()}
	t.mu.RLock()
	s.Endpoints = len(t.endpoints)
	t.mu.RUnlock()
	for i := range t.shards {
		t.shards[i].mu.Lock()
		s.Subjects += len(t.shards[i].subjects)
		t.shards[i].mu.Unlock()
	}
	return s
}

func (t *Tracker) endpoint(a *Access) *endpoint {
	at := place{a.Route, a.Method, a.Template}
	t.mu.RLock()
	e := t.endpoints[at]
	t.mu.RUnlock()
	if e != nil {
		return e
	}
	if a.Template == "" || len(a.Template) > 2048 || !isMethod(a.Method) || a.Status >= 400 {
		return nil // nothing answered yet: a stranger may have made it up
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e = t.endpoints[at]; e != nil {
		return e
	}
	if len(t.endpoints) >= t.config.Endpoints {
		return nil
	}
	r := t.resources[place{a.Route, "", a.Template}]
	if r == nil {
		r = &resource{room: &t.fields}
		t.resources[place{a.Route, "", a.Template}] = r
	}
	e = &endpoint{resource: r}
	t.endpoints[at] = e
	return e
}

// isMethod admits the methods of RFC 9110 and PATCH: servers that answer to any would let a stranger fill the table.
func isMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// subject finds who asks, and makes room for him where that is needed.
func (t *Tracker) subject(s *shard, who uint64, now int64) *subject {
	sub := s.subjects[who]
	if sub == nil {
		if len(s.subjects) >= max(t.config.Subjects/len(t.shards), 1) {
			t.forget(s, s.least())
			t.evicted.Add(1)
		}
		sub = &subject{key: who}
		s.subjects[who] = sub
	} else {
		sub.next.prev, sub.prev.next = sub.prev, sub.next
	}
	sub.last = max(sub.last, now)
	sub.next, sub.prev = s.first.next, &s.first
	sub.next.prev, s.first.next = sub, sub
	return sub
}

// least is who is forgotten for want of room: of those who were seen longest ago the one who did least that matters. Who walked is not forgotten for a
// crowd that he makes up.
func (s *shard) least() *subject {
	sub := s.first.prev
	found, weight := sub, sub.weight()
	for range 16 {
		if sub = sub.prev; sub == &s.first || weight == 0 {
			break
		}
		if w := sub.weight(); w < weight {
			found, weight = sub, w
		}
	}
	return found
}

func (sub *subject) weight() (n uint32) {
	for _, w := range sub.windows {
		if n += w.walked + w.denied; w.told != 0 {
			n += 1 << 16
		}
	}
	return n
}

// expire lets go of two subjects at most whose windows are over: what they did becomes a part of what is usual.
func (t *Tracker) expire(s *shard, now int64) {
	for range 2 {
		oldest := s.first.prev
		if oldest == &s.first || now-oldest.last < 2*int64(t.config.Window.Seconds()) || oldest.cut != 0 && now-oldest.cut < int64(t.config.Remember.Seconds()) {
			return
		}
		t.forget(s, oldest)
	}
}

func (t *Tracker) forget(s *shard, sub *subject) {
	for _, w := range sub.windows {
		w.close()
	}
	sub.next.prev, sub.prev.next = sub.prev, sub.next
	delete(s.subjects, sub.key)
}

// window is that of the subject at the endpoint, begun anew when it is over.
func (t *Tracker) window(sub *subject, e *endpoint, now int64) *window {
	oldest := -1
	for i, w := range sub.windows {
		if w.endpoint != e {
			if oldest < 0 || w.last < sub.windows[oldest].last {
				oldest = i
			}
			continue
		}
		if now-w.start >= int64(t.config.Window.Seconds()) {
			w.close()
			*w = window{endpoint: e, start: now}
		}
		w.last = now
		return w
	}
	w := &window{endpoint: e, start: now, last: now}
	if len(sub.windows) < maxWindows {
		sub.windows = append(sub.windows, w)
	} else {
		sub.windows[oldest].close()
		sub.windows[oldest] = w
	}
	return w
}

// close makes a window a part of what is usual, unless it was found to be unusual.
func (w *window) close() {
	if w.told != 0 {
		return
	}
	e := w.endpoint
	e.mu.Lock()
	defer e.mu.Unlock()
	e.walked.add(uint64(w.walked))
	e.points.add(uint64(w.points))
	e.refused.add(uint64(w.denied))
	if !w.aside {
		e.windowBytes.add(w.bytes)
		e.windowRecords.add(w.records)
	}
}

// hand remembers the ids of an answer, and those of objects that were just opened or made. It reports whether there are more than it looks at.
func (t *Tracker) hand(a *Access, everybody []uint64, known bool, named []spot) (cut bool) {
	t.given.mu.RLock() // once for all ids of an answer
	defer t.given.mu.RUnlock()
	f := finder{left: maxValues, found: func(object uint64) {
		for _, who := range everybody {
			t.given.put(object ^ who)
		}
		if known {
			t.owners.claim(object, everybody[0])
		}
	}}
	for _, o := range named {
		f.found(o.key)
	}
	if a.Location != "" {
		f.link(a.Location)
	}
	if a.Response != nil {
		f.walk(a.Response, kindOf(lastName(a.Template)), 0)
	}
	return f.cut || f.left < 0
}

// mark sets the bit of an object, and says whether it was new.
func mark(set *[8]uint64, object uint64) bool {
	bit := uint64(1) << (object & 63)
	w := &set[object>>6&7]
	fresh := *w&bit == 0
	*w |= bit
	return fresh
}

// distinct counts what the bits stand for, by linear counting.
func distinct(set *[8]uint64) uint32 {
	n := 0
	for _, w := range set {
		n += bits.OnesCount64(w)
	}
	return linear[n]
}
