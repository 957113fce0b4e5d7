package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// The state of an engine in bytes, numbers as unsigned varints, texts with their length before them:
//
//	version   1 byte, engineStateVersion
//	seq       the number of the last event that all windows fold
//	digest    of the set that judged it
//	rules     their number, and each rule that has windows:
//	  id      text
//	  judging text: the digest by which its state survives
//	  seq     the number of the last event that this rule's windows fold
//	  windows their number, and each as text: those of its actions that count, and that of its correlation
const engineStateVersion = 2

var errEngineState = errors.New("the state of the windows is damaged")

// stateful is a counter or window of a rule.
type stateful interface {
	AppendState([]byte) []byte
	LoadState([]byte) error
}

// folds returns the windows of a rule in the order in which a state holds them.
func (st *ruleState) folds() []stateful {
	var all []stateful
	for _, w := range st.windows {
		if w != nil {
			all = append(all, w)
		}
	}
	if st.window != nil {
		all = append(all, st.window)
	}
	return all
}

// AppendState appends what the windows hold, which are values of events in their recorded form, and returns it with the
// number of an event that all of them fold. They are written one after the other, so that events wait for one at a
// time; a later one may fold more events, and the state says up to which.
func (j *Engine) AppendState(to []byte) (state []byte, seq uint64) { return j.appendState(to, nil) }

// appendState calls between, where it is not nil, behind each rule, when events are judged again.
func (j *Engine) appendState(to []byte, between func()) (state []byte, seq uint64) {
	begin := len(to)
	for {
		j.order.RLock()
		b := j.current.Load()
		seq = j.seq.Load()
		j.order.RUnlock()
		rules := b.stateful()
		to = binary.AppendUvarint(append(to[:begin], engineStateVersion), seq)
		to = appendPart(to, b.set.digest)
		to = binary.AppendUvarint(to, uint64(len(rules)))
		whole := true
		for _, at := range rules {
			if to, whole = j.appendRule(to, b, at); !whole {
				break // another set took over meanwhile
			}
			if between != nil {
				between()
			}
		}
		if whole {
			return to, seq
		}
	}
}

// stateful returns the rules that have windows. A correlation stands behind those that feed it: an event between the
// two is folded by the one that feeds when it is resumed, or by both, and never by the one that is fed alone.
func (b *bound) stateful() []int {
	var rules []int
	for i, st := range b.state {
		if st.counts && st.window == nil {
			rules = append(rules, i)
		}
	}
	for i := range b.set.links.all {
		rules = append(rules, b.set.links.all[i].rule)
	}
	return rules
}

// appendRule appends what the windows of one rule hold, while no event touches them.
func (j *Engine) appendRule(to []byte, b *bound, at int) ([]byte, bool) {
	j.order.RLock()
	defer j.order.RUnlock()
	if j.current.Load() != b {
		return to, false
	}
	st := b.state[at]
	to = appendPart(appendPart(to, b.set.rules[at].ID), st.judging)
	folds := st.folds()
	to = binary.AppendUvarint(binary.AppendUvarint(to, j.seq.Load()), uint64(len(folds)))
	for _, w := range folds {
		to = appendSized(to, w.AppendState)
	}
	return to, true
}

// appendSized appends what appendTo does, with its length before it, in the five bytes of a varint that
// need not be the shortest.
func appendSized(to []byte, appendTo func([]byte) []byte) []byte {
	const width = 5
	at := len(to)
	to = appendTo(append(to, make([]byte, width)...))
	n := uint64(len(to) - at - width)
	for i := range width {
		to[at+i] = byte(n>>(7*i)) | 0x80
	}
	to[at+width-1] &^= 0x80
	return to
}

// Restored says what an engine took over of a run before.
type Restored struct {
	Seq  uint64   // events up to this number are folded
	Last uint64   // no event behind this number is
	Set  string   // digest of the set that judged the last of them
	Kept int      // rules whose windows go on
	Anew []string // rules whose windows begin anew: they judge otherwise than before, or their state was of no use
}

// Restore gives an engine that has not judged yet what [Engine.AppendState] appended in a run before. The windows of a
// rule go on where it judges the same. On an error nothing is taken over.
func (j *Engine) Restore(state []byte) (Restored, error) {
	j.order.Lock()
	defer j.order.Unlock()
	if j.seq.Load() != 0 {
		return Restored{}, errors.New("the engine has judged already")
	}
	b := bind(j.current.Load().set, nil)
	r := partReader{b: state}
	if version := r.take(1); r.err == nil && version[0] != engineStateVersion {
		return Restored{}, fmt.Errorf("the state of the windows has version %d, not %d: another version of testudo wrote it", version[0], engineStateVersion)
	}
	out := Restored{Seq: r.uvarint(), Set: r.text()}
	out.Last = out.Seq
	for range r.count() {
		id, judging, upTo := r.text(), r.text(), r.uvarint()
		states := make([][]byte, 0, 4)
		for range r.count() {
			states = append(states, r.part())
		}
		if r.err != nil {
			return Restored{}, r.err
		}
		out.Last = max(out.Last, upTo)
		at, ok := b.set.find(id)
		if !ok || b.state[at].restored {
			continue // the rule is gone
		}
		st := b.state[at]
		folds := st.folds()
		good := st.judging == judging && len(folds) == len(states)
		for i := range folds {
			good = good && folds[i].LoadState(states[i]) == nil
		}
		if st.restored = good; good {
			out.Kept++
			st.upTo = upTo
		}
	}
	if r.err == nil && len(r.b) > 0 {
		r.err = errEngineState
	}
	if r.err != nil {
		return Restored{}, r.err
	}
	fresh := bind(b.set, nil)
	for i, st := range b.state {
		if len(st.folds()) > 0 && !st.restored {
			out.Anew = append(out.Anew, b.set.rules[i].ID)
			b.state[i] = fresh.state[i] // one of several windows may have been loaded
		}
	}
	j.current.Store(b)
	j.seq.Store(out.Seq)
	return out, nil
}

// Resume folds an event that was judged and recorded after the state that was restored, and numbers go on behind
// its number. Events are resumed in the order of their numbers, before the engine judges. It returns the
// hits that the event's record names, with the orders that came with them; whoever calls knows what has become
// of them. Which rules fired is taken from the record, so that what was masked in it does not matter.
//
// Windows of rules that began anew do not fold events that another set judged, and none folds again what its state
// folds: a correlation makes no hit of that.
func (j *Engine) Resume(e *signal.Event) []signal.Hit {
	j.order.Lock()
	defer j.order.Unlock()
	if e.Seq <= j.seq.Load() {
		return nil
	}
	j.seq.Store(e.Seq)
	b := j.current.Load()
	same := e.Str(signal.FieldPolicyUID) == b.set.digest
	wants := func(rule int) bool {
		st := b.state[rule]
		return (same || st.restored) && e.Seq > st.upTo
	}
	recorded := e.Strings(signal.FieldVerdictRules)
	var fired []firing
	for _, id := range slices.Concat(recorded, e.Strings(signal.FieldVerdictFeeding)) {
		if at, ok := b.set.find(id); ok && b.set.rules[at].Correlation == nil {
			fired = append(fired, firing{rule: at})
		}
	}
	fired = b.fold(e, fired, wants)
	var hits []signal.Hit
	for _, f := range fired {
		r := b.set.rules[f.rule]
		if r.Silent {
			continue
		}
		orders := b.orders(f.rule, e, wants)
		if slices.Contains(recorded, r.ID) {
			h := b.hit(&settled{firing: f}, e)
			h.Orders = orders
			hits = append(hits, h)
		}
	}
	return hits
}

// Continue has numbers go on behind seq, where that is greater than what was numbered so far.
func (j *Engine) Continue(seq uint64) {
	j.order.Lock()
	defer j.order.Unlock()
	j.seq.Store(max(j.seq.Load(), seq))
}

// partReader reads a state; after the first fault it reads zeros.
type partReader struct {
	b   []byte
	err error
}

func (r *partReader) fail() {
	r.b, r.err = nil, errEngineState
}

func (r *partReader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

func (r *partReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things of which each takes a byte at least.
func (r *partReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *partReader) part() []byte { return r.take(r.uvarint()) }
func (r *partReader) text() string { return string(r.part()) }
