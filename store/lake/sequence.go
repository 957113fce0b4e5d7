package lake

import (
	"container/heap"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// maxOpenGroups bounds the row groups that are read side by side to put their events into order.
// Those of one hour are as many as there are classes; more overlap only where events come late.
const maxOpenGroups = 256

// span is a row group and the numbers of its events.
type span struct {
	file        *file
	group       int
	least, most int64
}

// sequenced scans files in the order of the events' numbers: it merges their row groups, each of which is
// read when its turn comes.
func (s *scan) sequenced(files []*file) error {
	spans, err := s.spans(files)
	if err != nil {
		return err
	}
	slices.SortStableFunc(spans, func(a, b span) int { return int(min(1, max(-1, a.least-b.least))) })
	var open lanes
	defer func() {
		for _, l := range open {
			l.close()
		}
	}()
	for len(spans) > 0 || len(open) > 0 {
		for len(spans) > 0 && (len(open) == 0 || spans[0].least <= open[0].seq) {
			if len(open) == maxOpenGroups {
				return store.ErrTooMuchAtOnce
			}
			l, err := s.lane(spans[0])
			if s.q.Progress != nil {
				s.q.Progress(len(spans))
			}
			spans = spans[1:]
			if err != nil {
				return err
			}
			if l != nil {
				heap.Push(&open, l)
			}
		}
		if len(open) == 0 {
			continue
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
		top := open[0]
		s.inYield = true
		more := s.yield(&top.event)
		s.inYield = false
		if !more {
			return nil
		}
		ok, err := s.advance(top)
		switch {
		case err != nil:
			return err
		case ok:
			heap.Fix(&open, 0)
		default:
			heap.Pop(&open)
			top.close()
		}
	}
	return nil
}

// guard runs what reads a file. What goes wrong with the file itself is told in the statistics.
func (s *scan) guard(f *file, read func() error) (ok bool) {
	err := func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				if s.inYield {
					panic(p)
				}
				err = fmt.Errorf("damaged: %v", p)
			}
		}()
		return read()
	}()
	if err != nil && s.ctx.Err() == nil {
		s.lake.markDamaged(f, err)
		if !slices.Contains(s.stats.Damaged, f.path) {
			s.stats.Damaged = append(s.stats.Damaged, f.path)
		}
	}
	return err == nil
}

// spans returns the row groups that the query's range allows.
func (s *scan) spans(files []*file) ([]span, error) {
	var all []span
	for _, f := range files {
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		if s.skips(f) {
			continue
		}
		s.guard(f, func() error {
			r, err := openReader(s.lake.layout, filepath.Join(s.lake.dir, f.path), f.part)
			if err != nil {
				return err
			}
			defer r.close()
			s.stats.Files++
			for i, group := range r.pq.RowGroups() {
				if r.excludes(group, s.q) {
					s.stats.Skipped++
					continue
				}
				sp := span{file: f, group: i, most: math.MaxInt64}
				if leaf := r.at[r.layout.at.sequence].leaf; leaf >= 0 {
					c := group.ColumnChunks()[leaf].(*parquet.FileColumnChunk)
					if least, most, ok := c.Bounds(); ok && c.NullCount() == 0 {
						sp.least, sp.most = least.Int64(), most.Int64()
					}
				}
				all = append(all, sp)
			}
			return nil
		})
	}
	return all, nil
}

// lane reads the chosen events of a row group in the order of their numbers. They stand in the file nearly in
// that order: what comes too early waits.
type lane struct {
	file   *file
	reader *reader
	rows   *rows
	chosen []int32 // rows
	seqs   []int64 // of the chosen rows
	least  []int64 // least number of a chosen row and those behind it
	open   rowset  // rows that Where decides
	at     int     // in chosen
	early  earlies
	event  signal.Event
	seq    int64
	union  columns
}

func (l *lane) close() {
	if l.rows != nil {
		l.rows.close()
	}
	if l.reader != nil {
		l.reader.close()
	}
}

// lane opens a row group at the first of its chosen events, nil where it has none.
func (s *scan) lane(sp span) (*lane, error) {
	l := &lane{file: sp.file}
	ok := s.guard(sp.file, func() error { return s.fillLane(l, sp) })
	if ok && len(l.chosen) > 0 {
		if more, err := s.advance(l); err != nil {
			l.close()
			return nil, err
		} else if more {
			return l, nil
		}
	}
	l.close()
	return nil, s.ctx.Err()
}

func (s *scan) fillLane(l *lane, sp span) (err error) {
	if l.reader, err = openReader(s.lake.layout, filepath.Join(s.lake.dir, sp.file.path), sp.file.part); err != nil {
		return err
	}
	group := l.reader.pq.RowGroups()[sp.group]
	v, err := l.reader.vectors(sp.group, group, &s.inYield)
	if err != nil {
		return err
	}
	defer v.close()
	in, err := v.inRange(s.q)
	if err != nil || in.empty() {
		return err
	}
	if err := s.masks(v, in); err != nil {
		return err
	}
	yes := v.take()
	if l.open = in; s.q.Filter != nil {
		if l.open, yes, err = s.sift(v, in); err != nil {
			return err
		}
	} else {
		s.stats.Events += int64(v.rows)
		if s.q.Where == nil {
			l.open, yes = yes, in
		}
	}
	seqs, err := v.sequence()
	if err != nil {
		return err
	}
	yes.union(l.open)
	yes.each(func(row int) bool {
		l.chosen, l.seqs = append(l.chosen, int32(row)), append(l.seqs, seqs[row])
		return true
	})
	l.least = slices.Clone(l.seqs)
	for i := len(l.least) - 2; i >= 0; i-- {
		l.least[i] = min(l.least[i], l.least[i+1])
	}
	l.union = columns{all: s.want.all || s.where.all, unmapped: s.want.unmapped || s.where.unmapped,
		fields: slices.Concat(s.want.fields, s.where.fields, []signal.Field{signal.FieldMetadataSequence})}
	l.rows = l.reader.rows(group, &l.union)
	return nil
}

// advance moves a lane to its next event, and reports whether there is one.
func (s *scan) advance(l *lane) (more bool, err error) {
	ok := s.guard(l.file, func() (err error) {
		more, err = s.step(l)
		return err
	})
	if err := s.ctx.Err(); err != nil {
		return false, err
	}
	return more && ok, nil
}

func (s *scan) step(l *lane) (bool, error) {
	for steps := 0; ; steps++ {
		if steps&1023 == 1023 && s.ctx.Err() != nil {
			return false, nil
		}
		rest := int64(math.MaxInt64)
		if l.at < len(l.chosen) {
			rest = l.least[l.at]
		}
		if len(l.early) > 0 && l.early[0].seq <= rest {
			first := heap.Pop(&l.early).(early)
			frames := signal.ReadFrames(first.frame)
			if l.seq = first.seq; !frames.Next(&l.event) {
				return false, frames.Err()
			}
			return true, nil
		}
		if l.at == len(l.chosen) {
			return false, nil
		}
		row, seq := int(l.chosen[l.at]), l.seqs[l.at]
		l.at++
		if err := l.rows.to(int64(row), &l.event); err != nil {
			return false, err
		}
		if s.q.Where != nil && l.open.has(row) {
			s.inYield = true
			ok := s.q.Where(&l.event)
			s.inYield = false
			if !ok {
				continue
			}
		}
		s.stats.Matched++
		if l.at == len(l.chosen) || seq <= l.least[l.at] {
			if len(l.early) == 0 || seq <= l.early[0].seq {
				l.seq = seq
				return true, nil
			}
		}
		heap.Push(&l.early, early{seq, l.event.AppendFrame(nil)})
	}
}

// sequence returns the numbers of all rows, 0 for those without.
func (v *vectors) sequence() ([]int64, error) {
	out := make([]int64, v.rows)
	at := v.reader.layout.at.sequence
	if v.allNull(at) {
		return out, nil
	}
	c := v.column(at)
	defer c.close()
	for c.row < v.rows {
		p, err := v.nextOf(c)
		if err != nil {
			return nil, err
		}
		n := 0
		for i := range p.rows {
			if p.def == nil || p.def[i] == 1 {
				value := p.value(c, n)
				out[p.first+i] = value.Int64()
				n++
			}
		}
	}
	return out, nil
}

// early is an event that stands before others with lesser numbers.
type early struct {
	seq   int64
	frame []byte
}

// earlies has the least number on top.
type earlies []early

func (h earlies) Len() int           { return len(h) }
func (h earlies) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h earlies) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *earlies) Push(x any)        { *h = append(*h, x.(early)) }
func (h *earlies) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = early{}
	*h = old[:len(old)-1]
	return last
}

// lanes has the least number on top.
type lanes []*lane

func (h lanes) Len() int           { return len(h) }
func (h lanes) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h lanes) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *lanes) Push(x any)        { *h = append(*h, x.(*lane)) }
func (h *lanes) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
