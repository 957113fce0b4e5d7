package inventory

import (
	"sync"
	"sync/atomic"
)

// Inventory is what was learned of all routes. It is safe for concurrent use.
type Inventory struct {
	config Config
	ends   atomic.Int64 // of all trees

	mu    sync.RWMutex
	trees map[string]*tree

	learned, unknown, odd, full, busy, evicted atomic.Uint64

	views atomic.Pointer[map[string]*place]
}

// tree is what was learned of one route.
type tree struct {
	inv  *Inventory
	busy atomic.Bool // a copy is being made: who learns does not wait

	mu      sync.Mutex
	root    *node
	names   *names
	nodes   int
	ends    int
	counted int // of ends, in inv.ends
	full    uint64
	evicted uint64
	asked   uint64 // for room while there was none
}

const maxRoutes = 1024

// New makes an Inventory that knows nothing. Zero values of the Config mean the defaults.
func New(c Config) *Inventory {
	return &Inventory{config: c.orDefault(), trees: map[string]*tree{}}
}

func (v *Inventory) tree(route string) *tree {
	v.mu.RLock()
	t := v.trees[route]
	v.mu.RUnlock()
	if t != nil {
		return t
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if t = v.trees[route]; t == nil && len(v.trees) < maxRoutes {
		t = v.newTree()
		v.trees[route] = t
	}
	return t
}

func (v *Inventory) newTree() *tree {
	return &tree{inv: v, root: &node{}, names: &names{all: map[string]string{}}}
}

// Learn takes one request with its answer into account. It does not wait for copies that are being made
// for a snapshot or a list: what is seen meanwhile is counted as Busy.
func (v *Inventory) Learn(o *Observation) {
	if isOdd(o.Path) || !isMethod(o.Method) {
		v.odd.Add(1)
		return
	}
	t := v.tree(o.Route)
	if t == nil {
		v.full.Add(1)
		return
	}
	if t.busy.Load() {
		v.busy.Add(1)
		return
	}
	t.mu.Lock()
	known := t.learn(o)
	t.clean()
	if d := t.ends - t.counted; d != 0 {
		v.ends.Add(int64(d))
		t.counted = t.ends
	}
	full, evicted := t.full, t.evicted
	t.full, t.evicted = 0, 0
	t.mu.Unlock()
	if full > 0 {
		v.full.Add(1)
	}
	if evicted > 0 {
		v.evicted.Add(evicted)
	}
	if known {
		v.learned.Add(1)
	} else {
		v.unknown.Add(1)
	}
}

func (t *tree) learn(o *Observation) bool {
	allowed := succeeded(o.Status)
	now := o.Time.Unix()
	var trail [65]*node
	n, deep := t.root, 0
	trail[0] = n
	for segment, rest := cutSegment(o.Path); segment != ""; segment, rest = cutSegment(rest) {
		if deep++; deep > t.inv.config.Depth {
			t.full++
			return false
		}
		if n = t.step(n, decoded(segment), o, allowed); n == nil {
			return false
		}
		trail[deep] = n
	}
	e := n.end(o.Method)
	if e == nil {
		// An OPTIONS is asked by browsers before they dare, and says nothing of an endpoint.
		if !allowed || o.Method == "OPTIONS" || !t.room() {
			return false
		}
		e = &end{Method: t.names.intern(o.Method)}
		n.Ends = append(n.Ends, e)
		t.ends++
	}
	r := reader{names: t.names, caller: o.witness(), now: now, full: &t.full}
	t.evicted += e.learn(o, &r, t.inv.config.Fields)
	if !allowed {
		return true
	}
	for i := deep; i >= 0; i-- {
		n := trail[i]
		n.Count++
		n.Last = max(n.Last, now)
		n.Who.add(o.witness())
		if n.Trial && i > 0 {
			t.tried(trail[i-1], n)
		}
	}
	return true
}

// room says that one more place or endpoint may be kept. While the table is full, what nobody asks for is looked for now and then.
func (t *tree) room() bool {
	most := t.inv.config.Endpoints
	if int(t.inv.ends.Load())+t.ends-t.counted < most && t.nodes < 4*most {
		return true
	}
	t.asked++
	t.full++
	return false
}

// clean makes room after t.asked was raised: not within learn, which walks over what would go.
func (t *tree) clean() {
	if t.asked%1024 != 1 {
		return
	}
	t.asked++
	before := t.ends
	for _, age := range []int64{3600, 300} {
		if t.root.sweep(t, t.root.Last-age); t.ends < before {
			return
		}
	}
}

// sweep drops what is not confirmed and was not asked for since. It reports whether nothing is left.
func (n *node) sweep(t *tree, since int64) bool {
	kept := n.Ends[:0]
	for _, e := range n.Ends {
		if e.confirmed() || e.Last > since {
			kept = append(kept, e)
			continue
		}
		t.ends--
		t.evicted++
	}
	clear(n.Ends[len(kept):])
	n.Ends = kept
	for name, w := range n.Words {
		if w.sweep(t, since) {
			delete(n.Words, name)
			t.nodes--
		}
	}
	if n.Param != nil && n.Param.sweep(t, since) {
		n.Param, n.Open = nil, false
		t.nodes--
	}
	return len(n.Ends) == 0 && len(n.Words) == 0 && n.Param == nil
}

// Stats says what was counted until now.
func (v *Inventory) Stats() Stats {
	return Stats{Endpoints: int(v.ends.Load()), Learned: v.learned.Load(), Unknown: v.unknown.Load(), Odd: v.odd.Load(),
		Full: v.full.Load(), Busy: v.busy.Load(), Evicted: v.evicted.Load()}
}

// copies returns a copy of every route's trie.
func (v *Inventory) copies() map[string]*node {
	v.mu.RLock()
	trees := make(map[string]*tree, len(v.trees))
	for route, t := range v.trees {
		trees[route] = t
	}
	v.mu.RUnlock()
	all := make(map[string]*node, len(trees))
	for route, t := range trees {
		t.busy.Store(true)
		t.mu.Lock()
		all[route] = t.root.clone()
		t.mu.Unlock()
		t.busy.Store(false)
	}
	return all
}
