package habit

import "math/bits"

// What it takes for something to be normal.
const (
	leastVouching = 2   // slots of others that must vouch for it
	leastOthers   = 3   // slots of others that there must be for anything to be unusual
	share         = 200 // one value in so many of a slot
)

// norm is what is normal at one endpoint: what Unusual compares with.
type norm struct {
	filled slotsMask // slots with requests enough to speak
	params map[paramKey]int
	of     []paramNorm
	full   bool // there are parameters that are not known
}

// paramNorm is what is normal of one parameter.
type paramNorm struct {
	key    paramKey
	filled slotsMask // slots that know it
	always slotsMask // slots in which all requests had it
	known  bool      // enough values to say something of them
	traits [lengths]slotsMask
	top    [numSlots]uint8 // step of length that but one in 200 values is within

	sure     set // traits that are normal whoever asks
	sureStep int // step of length that is normal whoever asks
}

// leastSpeaking is how many requests a slot must have seen for it to say what is never there.
const leastSpeaking = 4

// norm returns what is normal at the endpoint, nil where too little is known.
func (e *endpoint) norm(requests int) *norm {
	n := &norm{params: make(map[paramKey]int, len(e.params)), of: make([]paramNorm, 0, len(e.params)), full: e.full}
	total := 0
	for s, c := range e.requests {
		total += int(c)
		if c >= leastSpeaking {
			n.filled |= 1 << s
		}
	}
	if total < requests || n.filled.count() < leastOthers {
		return nil
	}
	for key, p := range e.params {
		n.params[key] = len(n.of)
		n.of = append(n.of, p.norm(key, e, requests))
	}
	return n
}

func (p *param) norm(key paramKey, e *endpoint, requests int) paramNorm {
	n := paramNorm{key: key}
	total := 0
	for s, c := range p.slots {
		if c == nil || c.values == 0 {
			continue
		}
		bit := slotsMask(1) << s
		n.filled |= bit
		total += int(c.values)
		if all := int(e.requests[s]); all >= leastSpeaking && int(c.requests)*share >= all*(share-1) {
			n.always |= bit
		}
		for t := range lengths {
			if k := int(c.traits[t]); k > 0 && k*share >= int(c.values) {
				n.traits[t] |= bit
			}
		}
		above := 0
		for l := numLengths - 1; l >= 0; l-- {
			if above += int(c.traits[int(lengths)+l]); above > 0 && above*share >= int(c.values) {
				n.top[s] = uint8(l)
				break
			}
		}
	}
	n.known = total >= requests && n.filled.count() >= leastOthers
	n.sure, n.sureStep = ^set(0), numLengths
	for own := range numSlots {
		n.sure &= n.without(1 << own)
		n.sureStep = min(n.sureStep, n.longest(1<<own))
	}
	return n
}

// without are the traits that others than those of one slot vouch for.
func (n *paramNorm) without(own slotsMask) (usual set) {
	for t := range languages {
		if (n.traits[t] &^ own).count() >= leastVouching {
			usual |= 1 << t
		}
	}
	return usual
}

// longest is the step of length that others than those of one slot vouch for: the second greatest of theirs.
func (n *paramNorm) longest(own slotsMask) int {
	first, second := 0, 0
	for rest := n.filled &^ own; rest != 0; rest &= rest - 1 {
		switch l := int(n.top[bits.TrailingZeros16(uint16(rest))]); {
		case l > first:
			first, second = l, first
		case l > second:
			second = l
		}
	}
	return second
}
