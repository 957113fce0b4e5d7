package window

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"
)

// The bounds of a window's specification.
const (
	MaxSpan      = 31 * 24 * time.Hour
	MaxSlots     = 32      // things that Temporal and Ordered tell apart
	MaxThreshold = 10_000  // that a count or a distinct count is compared with
	MaxEvents    = 20_000  // held of one group: a count that starts over never needs more than twice its threshold
	MaxHeld      = 1 << 18 // events held in all
	maxTests     = 4
	maxSeen      = 64 // parts of a condition over things
)

// Kind is what a window makes of its events.
type Kind uint8

// The kinds, by their names in Sigma's correlation rules.
const (
	Count      Kind = iota + 1 // event_count
	Distinct                   // value_count
	Sum                        // value_sum
	Average                    // value_avg
	Percentile                 // value_percentile
	Temporal                   // temporal
	Ordered                    // temporal_ordered
)

var kindNames = [...]string{"", "event_count", "value_count", "value_sum", "value_avg", "value_percentile", "temporal", "temporal_ordered"}

// Kinds returns the names of all kinds.
func Kinds() []string { return kindNames[1:] }

// String returns the kind's name in Sigma's correlation rules.
func (k Kind) String() string {
	if k > 0 && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind_%d", uint8(k))
}

// MarshalText writes the name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// ParseKind reads a name. Sigma's value_median is Percentile with 50.
func ParseKind(name string) (Kind, error) {
	if i := slices.Index(kindNames[1:], name); i >= 0 {
		return Kind(i + 1), nil
	}
	return 0, fmt.Errorf("unknown kind of correlation %q", name)
}

// HasNumber reports whether the kind adds events up by a number in them.
func (k Kind) HasNumber() bool { return k == Sum || k == Average || k == Percentile }

// HasSlots reports whether the kind tells several things apart.
func (k Kind) HasSlots() bool { return k == Temporal || k == Ordered }

// Op compares a window's number with a constant.
type Op uint8

// The comparisons.
const (
	AtLeast Op = iota + 1 // gte
	Above                 // gt
	AtMost                // lte
	Below                 // lt
	Equal                 // eq
	Unequal               // neq
)

var opNames = [...]string{"", "gte", "gt", "lte", "lt", "eq", "neq"}
var opSigns = [...]string{"", ">=", ">", "<=", "<", "==", "!="}

// ParseOp reads a name as Sigma has it, gte or neq, or a sign, >= or !=.
func ParseOp(name string) (Op, bool) {
	if name == "" {
		return 0, false
	}
	if i := slices.Index(opNames[:], name); i > 0 {
		return Op(i), true
	}
	i := slices.Index(opSigns[:], name)
	return Op(max(i, 0)), i > 0
}

// String returns the sign.
func (o Op) String() string {
	if o > 0 && int(o) < len(opSigns) {
		return opSigns[o]
	}
	return fmt.Sprintf("op_%d", uint8(o))
}

// MarshalText writes the sign.
func (o Op) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// Test compares a window's number with a constant.
type Test struct {
	Op   Op      `json:"op"`
	Than float64 `json:"than"`
}

// String returns the test as people write it: ">= 3".
func (t Test) String() string { return fmt.Sprintf("%v %v", t.Op, t.Than) }

func (t Test) holds(v float64) bool {
	switch t.Op {
	case AtLeast:
		return v >= t.Than
	case Above:
		return v > t.Than
	case AtMost:
		return v <= t.Than
	case Below:
		return v < t.Than
	case Equal:
		return v == t.Than
	case Unequal:
		return v != t.Than
	}
	return false
}

// SeenOp is how a condition over things is put together.
type SeenOp uint8

// The parts of a condition over things.
const (
	SeenThing SeenOp = iota + 1 // the thing Seen.Slot was seen
	SeenAll                     // all of Seen.Of
	SeenAny                     // one of Seen.Of at least
	SeenNot                     // not Seen.Of[0]
)

// Seen is a condition over which things of a window were seen.
type Seen struct {
	Op   SeenOp `json:"op"`
	Slot int    `json:"slot,omitempty"` // of SeenThing: number of the thing, from 0
	Of   []Seen `json:"of,omitempty"`
}

func (s *Seen) holds(mask uint64) bool {
	switch s.Op {
	case SeenThing:
		return mask>>s.Slot&1 != 0
	case SeenAll:
		for i := range s.Of {
			if !s.Of[i].holds(mask) {
				return false
			}
		}
		return true
	case SeenAny:
		for i := range s.Of {
			if s.Of[i].holds(mask) {
				return true
			}
		}
		return false
	case SeenNot:
		return !s.Of[0].holds(mask)
	}
	return false
}

// check counts the parts and says what is wrong with one.
func (s *Seen) check(slots int, parts *int) error {
	if *parts++; *parts > maxSeen {
		return fmt.Errorf("the condition over what was seen has more than %d parts", maxSeen)
	}
	switch s.Op {
	case SeenThing:
		if s.Slot < 0 || s.Slot >= slots || len(s.Of) != 0 {
			return fmt.Errorf("thing %d is not one of %d", s.Slot, slots)
		}
	case SeenAll, SeenAny:
		if len(s.Of) == 0 {
			return fmt.Errorf("a part of the condition over what was seen is empty")
		}
	case SeenNot:
		if len(s.Of) != 1 {
			return fmt.Errorf("not stands before %d parts", len(s.Of))
		}
	default:
		return fmt.Errorf("a part of the condition over what was seen has no kind")
	}
	for i := range s.Of {
		if err := s.Of[i].check(slots, parts); err != nil {
			return err
		}
	}
	return nil
}

// sequence returns the things that an ordered window waits for, in order, and those that must
// not be seen, of a condition that is a conjunction; false for another one.
func (s *Seen) sequence() (want, without uint64, ok bool) {
	switch s.Op {
	case SeenThing:
		return 1 << s.Slot, 0, true
	case SeenNot:
		if s.Of[0].Op == SeenThing {
			return 0, 1 << s.Of[0].Slot, true
		}
	case SeenAll:
		for i := range s.Of {
			w, o, ok := s.Of[i].sequence()
			if !ok {
				return 0, 0, false
			}
			want, without = want|w, without|o
		}
		return want, without, want&without == 0
	}
	return 0, 0, false
}

// Spec says what completes a window. See the package comment.
type Spec struct {
	Kind      Kind
	Within    time.Duration // over 0 and up to MaxSpan
	Tolerance time.Duration // how late an event may be; 0 for DefaultTolerance; never more than Within
	Keys      int           // groups held at once; 0 for DefaultKeys

	// Tests are met together by the window's number; Temporal may have none, which stands for
	// all its things, and Ordered has none.
	Tests   []Test
	Percent float64 // of Percentile: over 0 and up to 100
	Slots   int     // of Temporal and Ordered: things, 1 to MaxSlots
	// Need, of Temporal and Ordered, says which things are needed; then there are no Tests. That of
	// Ordered is a conjunction of things, which are needed in their order, and of things that must
	// not be seen in the window.
	Need *Seen
}

// Validate says what is wrong with the specification.
func (s Spec) Validate() error {
	switch {
	case s.Kind < Count || s.Kind > Ordered:
		return fmt.Errorf("kind %d is none", s.Kind)
	case s.Within <= 0 || s.Within > MaxSpan:
		return fmt.Errorf("span %v is not between 1ns and %v", s.Within, MaxSpan)
	case s.Tolerance < 0:
		return fmt.Errorf("tolerance %v is negative", s.Tolerance)
	case s.Keys < 0 || s.Keys > MaxKeys:
		return fmt.Errorf("%d keys is not between 1 and %d", s.Keys, MaxKeys)
	case len(s.Tests) > maxTests:
		return fmt.Errorf("more than %d tests", maxTests)
	case s.Kind == Percentile && (math.IsNaN(s.Percent) || s.Percent <= 0 || s.Percent > 100):
		return fmt.Errorf("percentile %v is not over 0 and up to 100", s.Percent)
	case !s.Kind.HasSlots() && s.Need != nil:
		return fmt.Errorf("%v tells no things apart", s.Kind)
	case !s.Kind.HasSlots() && len(s.Tests) == 0:
		return fmt.Errorf("%v has no test", s.Kind)
	case s.Kind.HasSlots() && (s.Slots < 1 || s.Slots > MaxSlots):
		return fmt.Errorf("%d things is not between 1 and %d", s.Slots, MaxSlots)
	case s.Need != nil && len(s.Tests) > 0:
		return fmt.Errorf("tests of a number beside a condition over what was seen")
	case s.Kind == Ordered && len(s.Tests) > 0:
		return fmt.Errorf("a sequence has no number to test")
	}
	for _, t := range s.Tests {
		switch {
		case t.Op < AtLeast || t.Op > Unequal:
			return fmt.Errorf("comparison %d is none", t.Op)
		case math.IsNaN(t.Than) || math.IsInf(t.Than, 0):
			return fmt.Errorf("a test against %v", t.Than)
		case (s.Kind == Count || s.Kind == Distinct) && (t.Than < 0 || t.Than > MaxThreshold):
			return fmt.Errorf("a count is tested against %v: want 0 to %d", t.Than, MaxThreshold)
		}
	}
	if s.Need == nil {
		return nil
	}
	parts := 0
	if err := s.Need.check(s.Slots, &parts); err != nil {
		return err
	}
	if s.Need.holds(0) {
		return fmt.Errorf("the condition over what was seen holds where nothing was")
	}
	if s.Kind == Ordered {
		if want, _, ok := s.Need.sequence(); !ok || want == 0 {
			return fmt.Errorf("a sequence needs things joined by and, and things that must not be seen")
		}
	}
	return nil
}

// startsOver reports whether a completed window forgets its events.
func (s *Spec) startsOver() bool {
	if s.Kind == Average || s.Kind == Percentile {
		return false
	}
	for _, t := range s.Tests {
		if t.Op != AtLeast && t.Op != Above {
			return false
		}
	}
	return true
}

// holds reports whether a number meets the tests.
func (s *Spec) holds(v float64) bool {
	for _, t := range s.Tests {
		if !t.holds(v) {
			return false
		}
	}
	return true
}

// sees reports whether the things seen are what Temporal waits for.
func (s *Spec) sees(mask uint64) bool {
	switch {
	case s.Need != nil:
		return s.Need.holds(mask)
	case len(s.Tests) > 0:
		return s.holds(float64(bits.OnesCount64(mask)))
	}
	return bits.OnesCount64(mask) == s.Slots
}
