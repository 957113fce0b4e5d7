package rxset

import (
	"sync"
	"sync/atomic"
)

// longText is from where on a text is taken for one that is new, as nobody sends the same long one twice.
const longText = 512

// Tiers are the same patterns twice: in few large automata, which answer at a few reads of a table for each byte where they know the text's like, and in many small ones
// for texts that are new. Of these a large automaton would need a state for nearly each byte, and it is computing states that costs. A text begins with the large
// ones, and is left to the small ones as soon as it asks for more than a few new states: so the large ones learn what comes again and again, and nothing else.
type Tiers struct {
	large, small *Set
	handed       atomic.Int64 // texts that were left to the small ones
}

// NewTiers compiles patterns. An expression that is wrong is an error. Both share the memory of the options.
func NewTiers(patterns []Pattern, o Options) (*Tiers, error) {
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	o.Memory /= 2
	t := &Tiers{}
	var wg sync.WaitGroup
	var err error
	wg.Go(func() {
		few := o
		few.Small = true
		t.small, err = New(patterns, few)
	})
	large, err2 := New(patterns, o)
	wg.Wait()
	t.large = large
	if err2 != nil {
		return nil, err2
	}
	return t, err
}

// TierScratch is what a goroutine needs to match.
type TierScratch struct{ large, small *Scratch }

// NewScratch returns a scratch for these patterns.
func (t *Tiers) NewScratch() *TierScratch {
	return &TierScratch{t.large.NewScratch(), t.small.NewScratch()}
}

// MatchWanted is [Set.MatchWanted].
func (t *Tiers) MatchWanted(text string, wanted Bits, m *TierScratch) Bits {
	if len(text) <= longText && t.large.try(text, wanted, m.large) {
		return m.large.result
	}
	t.handed.Add(1)
	return t.small.MatchWanted(text, wanted, m.small)
}

// Stats returns what both hold and what happened to them. How the patterns are spread is told of the large automata.
func (t *Tiers) Stats() Stats {
	s, small := t.large.Stats(), t.small.Stats()
	s.States += small.States
	s.Bytes += small.Bytes
	s.Programs += small.Programs
	s.Built += small.Built
	s.Visits += small.Visits
	s.Flushes += small.Flushes
	s.Fallbacks, s.Plain, s.Handed = small.Fallbacks, small.Plain, t.handed.Load()
	return s
}
