package lake

import (
	"cmp"
	"slices"
	"strings"

	"github.com/parquet-go/parquet-go"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// decide works a filter out for the rows of in: yes are those for which it is True, no those for
// which it is False. The sets are the caller's, to be given back.
func (v *vectors) decide(f *store.Filter, in rowset) (yes, no rowset, err error) {
	switch f.Op {
	case store.FilterTest:
		return v.test(f, in)
	case store.FilterAnd:
		no, yes, err = v.join(f, in, false)
		return yes, no, err
	case store.FilterOr:
		return v.join(f, in, true)
	case store.FilterNot:
		no, yes, err = v.decide(f.Parts[0], in)
		return yes, no, err
	}
	return v.take(), v.take(), nil
}

// join works out parts of which one decides: of an or one that is True, of an and one that is False. It
// returns the rows for which one part decides and those for which all parts say the opposite. Each
// part looks only at what those before it, which are cheaper, have left.
func (v *vectors) join(f *store.Filter, in rowset, or bool) (one, all rowset, err error) {
	one, all = v.take(), v.take()
	left := v.take()
	defer v.give(left)
	copy(left, in)
	copy(all, in)
	for _, part := range v.cheapestFirst(f.Parts) {
		yes, no, err := v.decide(part, left)
		if !or {
			yes, no = no, yes
		}
		one.union(yes)
		all.intersect(no)
		left.subtract(yes)
		v.give(yes, no)
		if err != nil {
			return one, all, err
		}
		if left.empty() {
			clear(all)
			break
		}
	}
	return one, all, nil
}

// cheapestFirst orders parts by how much there is to read for them.
func (v *vectors) cheapestFirst(parts []*store.Filter) []*store.Filter {
	type costed struct {
		part *store.Filter
		cost int64
	}
	all := make([]costed, len(parts))
	for i, p := range parts {
		all[i] = costed{p, v.cost(p)}
	}
	slices.SortStableFunc(all, func(a, b costed) int { return cmp.Compare(a.cost, b.cost) })
	out := make([]*store.Filter, len(parts))
	for i := range all {
		out[i] = all[i].part
	}
	return out
}

// cost estimates what a filter's answer takes. A value that is not in a dictionary is asked about
// anew, which costs many times the look at a place in one.
func (v *vectors) cost(f *store.Filter) int64 {
	switch f.Op {
	case store.FilterOpen:
		return 0
	case store.FilterTest:
		if f.Other != 0 {
			one, other := *f, *f
			one.Other, other.Field, other.Other = 0, f.Other, 0
			return v.cost(&one) + v.cost(&other)
		}
		at := v.reader.layout.at.value
		if f.Field != 0 {
			at = v.reader.layout.byField[f.Field]
		}
		if a := v.asked[f]; a != nil && a.all != store.Open || v.allNull(at) {
			return 0
		}
		m := v.metadata(at)
		if m.DictionaryPageOffset == 0 {
			return m.TotalUncompressedSize + 64*m.NumValues
		}
		return m.TotalUncompressedSize + m.NumValues
	}
	var sum int64
	for _, p := range f.Parts {
		sum += v.cost(p)
	}
	return sum
}

// uniform returns what the dictionaries say a filter answers for every row, Open where they do not
// say. It reads no values.
func (v *vectors) uniform(f *store.Filter) (store.Truth, error) {
	switch f.Op {
	case store.FilterTest:
		if f.Field.Kind() == signal.KindTime || f.Other != 0 {
			return store.Open, nil
		}
		a, err := v.answers(f)
		return a.all, err
	case store.FilterNot:
		t, err := v.uniform(f.Parts[0])
		switch t {
		case store.True:
			t = store.False
		case store.False:
			t = store.True
		}
		return t, err
	case store.FilterAnd, store.FilterOr:
		decides, result := store.False, store.True
		if f.Op == store.FilterOr {
			decides, result = store.True, store.False
		}
		for _, p := range f.Parts {
			t, err := v.uniform(p)
			if err != nil {
				return store.Open, err
			}
			if t == decides {
				return t, nil
			}
			if t == store.Open {
				result = store.Open
			}
		}
		return result, nil
	}
	return store.Open, nil
}

// ruledOut reports whether the footer's statistics say that no row can be True or open.
func (v *vectors) ruledOut(f *store.Filter) bool {
	switch f.Op {
	case store.FilterAnd:
		return slices.ContainsFunc(f.Parts, v.ruledOut)
	case store.FilterOr:
		return !slices.ContainsFunc(f.Parts, func(p *store.Filter) bool { return !v.ruledOut(p) })
	case store.FilterTest:
		return (f.Ints != nil || f.Texts != nil) && v.outside(f)
	}
	return false
}

// outside reports whether the values of a test's column lie outside of its bounds.
func (v *vectors) outside(f *store.Filter) bool {
	at := v.reader.layout.byField[f.Field]
	c := v.chunk(at)
	if c == nil || v.allNull(at) {
		return true
	}
	if !v.allNull(v.reader.layout.at.frame) {
		return false // values of framed rows are not in the column
	}
	least, greatest, ok := c.Bounds()
	if !ok {
		return false
	}
	switch v.reader.layout.columns[at].shape.kind() {
	case parquet.Int64:
		return f.Ints != nil && !slices.ContainsFunc(f.Ints, func(b store.IntBounds) bool {
			return b.Max >= least.Int64() && b.Min <= greatest.Int64()
		})
	case parquet.ByteArray:
		low, high := asString(&least), asString(&greatest)
		// The bounds may be cut: then the greatest value begins with the bound.
		return f.Texts != nil && !slices.ContainsFunc(f.Texts, func(b store.TextBounds) bool {
			return (b.Max >= low || strings.HasPrefix(low, b.Max)) && (b.Min <= high || strings.HasPrefix(b.Min, high))
		})
	}
	return false
}

// masks counts in which of the rows the query's fields were masked.
func (s *scan) masks(v *vectors, in rowset) error {
	for _, f := range s.q.Masks {
		rows, err := v.masked(f)
		if err != nil {
			return err
		}
		if rows != nil {
			rows.intersect(in)
			s.stats.Masked.Add(store.MaskedField{Class: v.reader.part.Class, Field: f}, int64(rows.count()))
			v.give(rows)
		}
	}
	return nil
}

// filtered scans one row group by the query's filter; in holds the rows of its times.
func (s *scan) filtered(v *vectors, in rowset) (more bool, err error) {
	open, yes, err := s.sift(v, in)
	if err != nil || s.ctx.Err() != nil {
		return true, err
	}
	if err := s.ask(v, open, yes); err != nil || s.ctx.Err() != nil {
		return true, err
	}
	s.stats.Matched += int64(yes.count())
	if s.q.Newest && yes.count() > s.q.Limit {
		if err := v.newest(yes, s.q.Limit); err != nil {
			return true, err
		}
	}
	return s.read(v, yes)
}

// sift returns the rows that the query's filter leaves open, and those that it chooses. The memory of in
// is among theirs.
func (s *scan) sift(v *vectors, in rowset) (open, yes rowset, err error) {
	yes = v.take()
	if v.ruledOut(s.q.Filter) {
		s.stats.Skipped++
		return v.take(), yes, nil
	}
	s.stats.Events += int64(v.rows)
	framed, err := v.framed()
	if err != nil {
		return in, yes, err
	}
	t, err := v.uniform(s.q.Filter)
	if err != nil {
		return in, yes, err
	}
	no := v.take()
	if t == store.Open {
		v.give(yes, no)
		if yes, no, err = v.decide(s.q.Filter, in); err != nil {
			return in, yes, err
		}
	} else {
		v.put(t, in, yes, no)
	}
	yes.subtract(framed)
	no.subtract(framed)
	open = in
	open.subtract(no)
	open.subtract(yes)
	v.give(no, framed)
	return open, yes, nil
}

// ask adds to yes the open rows that the query's Where chooses.
func (s *scan) ask(v *vectors, open, yes rowset) (err error) {
	if open.empty() {
		return nil
	}
	rows := v.reader.rows(v.group, &s.where)
	defer rows.close()
	asked := 0
	open.each(func(row int) bool {
		if asked++; asked&1023 == 0 && s.ctx.Err() != nil {
			return false
		}
		if err = rows.to(int64(row), &s.event); err != nil {
			return false
		}
		s.inYield = true
		if s.q.Where(&s.event) {
			yes.add(row)
		}
		s.inYield = false
		return true
	})
	return err
}

// read hands the rows to the consumer.
func (s *scan) read(v *vectors, chosen rowset) (more bool, err error) {
	more = true
	if chosen.empty() {
		return true, nil
	}
	rows := v.reader.rows(v.group, &s.want)
	defer rows.close()
	done := 0
	chosen.each(func(row int) bool {
		if done++; done&1023 == 0 && s.ctx.Err() != nil {
			more = false
			return false
		}
		if err = rows.to(int64(row), &s.event); err != nil {
			return false
		}
		more = s.hand()
		return more
	})
	return more, err
}

// inRange returns the rows of the query's times.
func (v *vectors) inRange(q *store.Query) (rowset, error) {
	in := v.take()
	from, to := q.Range()
	fromMicro, _ := micros(from)
	toMicro, _ := micros(to - 1)
	if first, last, ok := v.chunk(v.reader.layout.at.time).Bounds(); ok && first.Int64() > fromMicro && last.Int64() < toMicro {
		in.fill(v.rows)
		return in, nil
	}
	times, err := v.times()
	for row, t := range times {
		if t >= from && t < to {
			in.add(row)
		}
	}
	return in, err
}

// newest leaves the newest rows of a set.
func (v *vectors) newest(rows rowset, limit int) error {
	times, err := v.times()
	if err != nil {
		return err
	}
	all := make([]choice, 0, rows.count())
	rows.each(func(row int) bool {
		all = append(all, choice{int64(row), times[row]})
		return true
	})
	slices.SortFunc(all, func(a, b choice) int { return cmp.Compare(b.time, a.time) })
	clear(rows)
	for _, c := range all[:limit] {
		rows.add(int(c.row))
	}
	return nil
}
