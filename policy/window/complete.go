package window

import (
	"math"
	"math/bits"
	"slices"

	"github.com/testudo-sec/testudo/signal"
)

// span is a window among a group's events: items[first:end].
type span struct {
	first, end int
	number     float64
	chain      []int // of Ordered: its events
}

// completed looks at each window that the event at index at is in, the one that ends first first.
func (w *Window) completed(items []item, at int) (span, bool) {
	if w.spec.Kind == Ordered {
		return w.sequence(items, at)
	}
	until := plus(items[at].time, w.within)
	s := span{first: firstFrom(items, minus(items[at].time, w.within)), end: at}
	sum := 0.0 // of numbers; of other kinds it has no meaning
	if w.spec.Kind == Sum {
		sum = total(items[s.first:at])
	}
	for s.end < len(items) && items[s.end].time <= until {
		// All events of the time at which the window ends.
		for end := items[s.end].time; s.end < len(items) && items[s.end].time == end; s.end++ {
			sum += math.Float64frombits(items[s.end].value)
		}
		for oldest := minus(items[s.end-1].time, w.within); items[s.first].time < oldest; s.first++ {
			sum -= math.Float64frombits(items[s.first].value)
		}
		ok := false
		switch w.spec.Kind {
		case Count, Distinct:
			s.number = float64(s.end - s.first)
			ok = w.spec.holds(s.number)
		case Sum:
			s.number = sum
			ok = w.spec.holds(sum)
		case Temporal:
			mask := things(items[s.first:s.end])
			s.number = float64(bits.OnesCount64(mask))
			ok = w.spec.sees(mask)
		}
		if ok {
			return s, true
		}
	}
	return span{}, false
}

// level looks at the window that ends at the newest event.
func (w *Window) level(items []item) (span, bool) {
	s := span{first: firstFrom(items, minus(items[len(items)-1].time, w.within)), end: len(items)}
	in := items[s.first:]
	switch w.spec.Kind {
	case Count, Distinct:
		s.number = float64(len(in))
	case Sum:
		s.number = total(in)
	case Average:
		s.number = total(in) / float64(len(in))
	case Temporal:
		mask := things(in)
		s.number = float64(bits.OnesCount64(mask))
		return s, w.spec.sees(mask)
	case Percentile:
		for _, t := range w.spec.Tests {
			if !w.rank(in, t) {
				return s, false
			}
		}
		s.number = w.percentile(in)
		return s, true
	}
	return s, w.spec.holds(s.number)
}

func total(items []item) float64 {
	sum := 0.0
	for i := range items {
		sum += math.Float64frombits(items[i].value)
	}
	return sum
}

func things(items []item) uint64 {
	mask := uint64(0)
	for i := range items {
		mask |= items[i].value
	}
	return mask
}

// nearest returns the nearest rank of the percentile among n numbers, from 1.
func (w *Window) nearest(n int) int {
	return min(n, max(1, int(math.Ceil(w.spec.Percent*float64(n)/100))))
}

// rank reports whether the percentile meets a test. It need not be known for that: it is below a constant if
// enough of the numbers are.
func (w *Window) rank(items []item, t Test) bool {
	below, upTo := 0, 0
	for i := range items {
		v := math.Float64frombits(items[i].value)
		if v < t.Than {
			below++
		}
		if v <= t.Than {
			upTo++
		}
	}
	k := w.nearest(len(items))
	switch t.Op {
	case AtLeast:
		return below < k
	case Above:
		return upTo < k
	case AtMost:
		return upTo >= k
	case Below:
		return below >= k
	case Equal:
		return below < k && upTo >= k
	case Unequal:
		return below >= k || upTo < k
	}
	return false
}

func (w *Window) percentile(items []item) float64 {
	values := make([]float64, len(items))
	for i := range items {
		values[i] = math.Float64frombits(items[i].value)
	}
	slices.Sort(values)
	return values[w.nearest(len(values))-1]
}

// sequence looks for the things in their order among the events, ending at the one at index at or
// up to Within behind it. It keeps, for each beginning of the sequence, how late that can have
// started: a later start is never worse.
func (w *Window) sequence(items []item, at int) (span, bool) {
	until := plus(items[at].time, w.within)
	var starts [MaxSlots]int64
	var known uint64 // bit k: starts[k] is set
	last := len(w.order) - 1
	for i := range items {
		it := &items[i]
		if it.time > until {
			break
		}
		// From the end, so that an event stands for one thing of a sequence.
		for k := last; k >= 0; k-- {
			if it.value>>w.order[k]&1 == 0 {
				continue
			}
			switch {
			case k == 0:
				starts[0] = it.time
			case known>>(k-1)&1 != 0:
				starts[k] = starts[k-1]
			default:
				continue
			}
			known |= 1 << k
			if k != last || i < at || starts[k] < minus(it.time, w.within) {
				continue
			}
			s := span{first: firstFrom(items, minus(it.time, w.within)), end: firstAfter(items, it.time), number: float64(len(w.order))}
			if things(items[s.first:s.end])&w.without != 0 {
				continue
			}
			s.chain = w.chain(items, i)
			return s, true
		}
	}
	return span{}, false
}

// chain returns the events of the sequence that ends at index end, each as late as it can be.
func (w *Window) chain(items []item, end int) []int {
	chain := make([]int, len(w.order))
	i := end
	for k := len(w.order) - 1; k >= 0; k-- {
		for items[i].value>>w.order[k]&1 == 0 {
			i--
		}
		chain[k] = i
		i--
	}
	return chain
}

// completion names the events of a window.
func (w *Window) completion(items []item, s span) Completion {
	c := Completion{Number: s.number, First: items[s.first].time, Last: items[s.end-1].time}
	pick := func(i int) *item { return &items[s.first+i] }
	n := s.end - s.first
	if s.chain != nil {
		n = len(s.chain)
		c.First, c.Last = items[s.chain[0]].time, items[s.chain[n-1]].time
		pick = func(i int) *item { return &items[s.chain[i]] }
	}
	begin := max(0, n-MaxIDs)
	each := MaxIDs/(n-begin) - 1 // of what stands behind an event
	for i := begin; i < n; i++ {
		it := pick(i)
		for _, id := range it.behind[max(0, len(it.behind)-each):] {
			c.IDs = appendID(c.IDs, id)
		}
		c.IDs = appendID(c.IDs, it.id)
	}
	return c
}

func appendID(ids []signal.ID, id signal.ID) []signal.ID {
	if id.IsZero() || slices.Contains(ids, id) {
		return ids
	}
	return append(ids, id)
}
