package inventory

import (
	"maps"
	"slices"
	"strings"
)

// node is a place in the trie of one route: what stands behind the same beginning of a path.
type node struct {
	Name  string           `json:"n,omitempty"`
	Words map[string]*node `json:"w,omitempty"`
	Param *node            `json:"p,omitempty"`
	Ends  []*end           `json:"e,omitempty"` // by method, few

	Count uint64    `json:"c"` // requests that came by with success
	Who   witnesses `json:"f"`
	Last  int64     `json:"z"`

	// Of a Param: which forms its values have, and how many there are.
	Shapes shapeSet `json:"s,omitempty"`
	Values distinct `json:"v,omitzero"`

	// Open says that new words at this place are values of Param.
	Open    bool     `json:"o,omitempty"`
	Next    int      `json:"x,omitempty"` // number of Words at which they are judged again
	Evicted uint64   `json:"ev,omitempty"`
	Loud    []loud   `json:"l,omitempty"` // values of Param that come often: one may be a name
	Refused []uint32 `json:"rf,omitempty"`
	Trial   bool     `json:"t,omitempty"` // a name that was a value of Param until it came too often
	Born    uint64   `json:"b,omitempty"` // Count of Param when the trial began
	Heard   uint32   `json:"h,omitempty"` // how often it had come by then
}

// loud counts one value by the Space-Saving algorithm (Metwally, Agrawal, El Abbadi, 2005).
type loud struct {
	Value string    `json:"v"`
	Count uint32    `json:"c"`
	Error uint32    `json:"e"`
	Who   witnesses `json:"w"`
}

const (
	firstJudgement = 48  // words at one place
	lastJudgement  = 256 // more are never kept
	maxLoud        = 16
	trialAfter     = 64 // requests for one value
	maxRefused     = 32
)

func (n *node) end(method string) *end {
	for _, e := range n.Ends {
		if e.Method == method {
			return e
		}
	}
	return nil
}

// isVersionPlace says that a small number behind this name is a version, as in /rest/api/2/issue.
func isVersionPlace(name string) bool {
	switch name {
	case "api", "rest", "version", "ver", "v":
		return true
	}
	return false
}

// classify says what a segment behind n is.
func (n *node) classify(s string) shape {
	x := shapeOf(s)
	if x == integer && len(s) <= 2 && isVersionPlace(n.Name) {
		return version
	}
	return x
}

// step finds the place of a segment, or makes it where that is allowed. It is nil where there is none.
func (t *tree) step(n *node, s string, o *Observation, allowed bool) *node {
	if w := n.Words[s]; w != nil {
		return w
	}
	x := n.classify(s)
	if !x.isID() && (!n.Open || x == version) {
		if !allowed {
			return nil
		}
		if w := t.addWord(n, s, o); w != nil {
			return w
		}
		if !n.Open {
			return nil
		}
	}
	if n.Param == nil {
		if !allowed || !t.room() {
			return nil
		}
		n.Param = &node{}
		t.nodes++
	}
	if allowed {
		n.Param.Shapes |= 1 << x
		n.Param.Values.add(hash(s))
		if !x.isID() {
			if w := t.listen(n, s, o.witness()); w != nil {
				return w
			}
		}
	}
	return n.Param
}

// addWord makes the place of a new name. It is nil if the name is a value of Param after all, or nothing can be kept.
func (t *tree) addWord(n *node, s string, o *Observation) *node {
	if n.Next == 0 {
		n.Next = firstJudgement
	}
	if len(n.Words) >= n.Next {
		t.judge(n)
		if n.Open || len(n.Words) >= lastJudgement {
			t.full++
			return nil
		}
	}
	if !t.room() {
		return nil
	}
	if n.Words == nil {
		n.Words = map[string]*node{}
	}
	w := &node{Name: t.names.share(s)}
	t.nodes++
	n.Words[w.Name] = w
	return w
}

// listen counts a value of an open place. One that comes far too often may be a name: it gets a place of its own for a while.
func (t *tree) listen(n *node, s string, caller uint64) *node {
	least := 0
	for i := range n.Loud {
		l := &n.Loud[i]
		if l.Value == s {
			l.Count = more(l.Count)
			l.Who.add(caller)
			if c := l.Count - l.Error; c >= trialAfter && uint64(c)*10 >= n.Param.Count && l.Who.several() &&
				!slices.Contains(n.Refused, uint32(hash(s))) && len(n.Words) < lastJudgement && t.room() {
				w := &node{Name: t.names.share(s), Trial: true, Born: n.Param.Count, Heard: l.Count}
				t.nodes++
				if n.Words == nil {
					n.Words = map[string]*node{}
				}
				n.Words[w.Name] = w
				n.Loud = slices.Delete(n.Loud, i, i+1)
				return w
			}
			return nil
		}
		if l.Count < n.Loud[least].Count {
			least = i
		}
	}
	if len(n.Loud) < maxLoud {
		n.Loud = append(n.Loud, loud{Value: strings.Clone(s), Count: 1})
		n.Loud[len(n.Loud)-1].Who.add(caller)
		return nil
	}
	l := &n.Loud[least]
	*l = loud{Value: strings.Clone(s), Count: more(l.Count), Error: l.Count}
	l.Who.add(caller)
	return nil
}

// tried ends a trial: the name behaves as the other values do, or not.
func (t *tree) tried(n, w *node) {
	if w.Count < trialAfter {
		return
	}
	w.Trial = false
	if isOther(n.Param, w, n.Param.Count-min(w.Born, n.Param.Count)) {
		t.takeBack(n.Param, w)
		return
	}
	delete(n.Words, w.Name)
	if len(n.Refused) == maxRefused {
		n.Refused = slices.Delete(n.Refused, 0, 1)
	}
	n.Refused = append(n.Refused, uint32(hash(w.Name)))
	t.merge(n.Param, w)
}

// takeBack gives to a name the methods that were its own before it was known to be one: nobody has used
// them with another value since, and hardly anybody before.
func (t *tree) takeBack(param, w *node) {
	param.Ends = slices.DeleteFunc(param.Ends, func(p *end) bool {
		e := w.end(p.Method)
		if e == nil || p.Last > e.First || p.Good*9 > uint64(w.Heard)*10 {
			return false
		}
		e.merge(p)
		t.ends--
		return true
	})
}

// isOther says that the name w is no value of the parameter beside it, which was given that many other values.
func isOther(param, w *node, others uint64) bool {
	crowd, p := crowdOf([]*node{param}), profileOf(w)
	if crowd.differs(p) || crowd.unlike(p) {
		return true
	}
	return w.Who.several() && !crowd.shares(p) && (p.fields == nil || !crowd.known()) && w.Count*4 >= others
}

// merge adds the place o and all behind it to n.
func (t *tree) merge(n, o *node) {
	n.Count += o.Count
	n.Who.merge(&o.Who)
	n.Last = max(n.Last, o.Last)
	n.Shapes |= o.Shapes
	n.Values.merge(&o.Values)
	n.Evicted += o.Evicted
	for _, e := range o.Ends {
		if mine := n.end(e.Method); mine != nil {
			mine.merge(e)
			t.ends--
		} else {
			n.Ends = append(n.Ends, e)
		}
	}
	t.nodes--
	for _, name := range slices.Sorted(maps.Keys(o.Words)) {
		w := o.Words[name]
		switch mine := n.Words[name]; {
		case mine != nil:
			t.merge(mine, w)
		case n.Open:
			t.absorb(n, w)
		default:
			if n.Words == nil {
				n.Words = map[string]*node{}
			}
			n.Words[name] = w
		}
	}
	switch {
	case o.Param == nil:
	case n.Param == nil:
		n.Param = o.Param
	default:
		t.merge(n.Param, o.Param)
	}
	if o.Open && !n.Open {
		n.Open = true
		for _, name := range slices.Sorted(maps.Keys(n.Words)) {
			w := n.Words[name]
			if n.Param == nil || n.classify(name) == version {
				continue
			}
			if isOther(n.Param, w, n.Param.Count) {
				w.Trial, w.Born = true, 0 // more is known later
				continue
			}
			delete(n.Words, name)
			t.absorb(n, w)
		}
	}
	if n.Next == 0 {
		n.Next = firstJudgement
	}
	if !n.Open && len(n.Words) >= n.Next {
		t.judge(n)
	}
}

// absorb makes the name w a value of n's parameter.
func (t *tree) absorb(n, w *node) {
	if n.Param == nil {
		n.Param = &node{}
		t.nodes++
	}
	n.Param.Shapes |= 1 << shapeOf(w.Name)
	n.Param.Values.add(hash(w.Name))
	t.merge(n.Param, w)
}

// remove counts all that is behind n as gone.
func (t *tree) remove(n *node) {
	t.nodes--
	t.ends -= len(n.Ends)
	for _, w := range n.Words {
		t.remove(w)
	}
	if n.Param != nil {
		t.remove(n.Param)
	}
}

func (n *node) clone() *node {
	if n == nil {
		return nil
	}
	c := *n
	c.Words = make(map[string]*node, len(n.Words))
	for name, w := range n.Words {
		c.Words[name] = w.clone()
	}
	c.Param = n.Param.clone()
	c.Ends = make([]*end, len(n.Ends))
	for i, e := range n.Ends {
		c.Ends[i] = e.clone()
	}
	c.Values = distinct{slices.Clone(n.Values.Few), slices.Clone(n.Values.Many)}
	c.Loud, c.Refused = slices.Clone(n.Loud), slices.Clone(n.Refused)
	return &c
}
