package lake

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// view is the lake at one moment. It fits store.View.
type view struct {
	lake    *Lake
	folders map[store.Partition][]*file
	gaps    []storedGap
}

// View returns the files as they are now; they stay readable until its Release.
func (l *Lake) View() store.View {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := &view{lake: l, folders: make(map[store.Partition][]*file, len(l.folders)), gaps: l.gaps[:len(l.gaps):len(l.gaps)]}
	for p, files := range l.folders {
		v.folders[p] = slices.Clone(files)
		for _, f := range files {
			f.views++
		}
	}
	return v
}

func (v *view) Held(p store.Partition) uint64 { return held(v.folders[p]) }

func (v *view) Release() {
	v.lake.mu.Lock()
	defer v.lake.mu.Unlock()
	for _, files := range v.folders {
		for _, f := range files {
			if f.views--; f.views == 0 && f.gone {
				v.lake.unlink(f)
			}
		}
	}
	v.folders = nil
}

// Scan visits the view's events; see store.View.
func (v *view) Scan(ctx context.Context, q *store.Query, stats *store.ScanStats, yield func(*signal.Event) bool) error {
	from, to := q.Range()
	for _, g := range v.gaps {
		if g.LastTime >= from && g.FirstTime < to {
			stats.Gaps = append(stats.Gaps, g.Gap)
		}
	}
	s := &scan{lake: v.lake, q: q, stats: stats, yield: yield, ctx: ctx}
	s.want = columns{all: q.Columns == nil, fields: q.Columns, unmapped: q.Unmapped}
	s.where = columns{all: q.WhereColumns == nil && q.Where != nil, fields: q.WhereColumns, unmapped: q.WhereUnmapped, uid: !q.ID.IsZero()}
	files := v.order(q)
	if q.Sequenced {
		return s.sequenced(files)
	}
	for i, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if q.Progress != nil {
			q.Progress(len(files) - i)
		}
		if s.skips(f) {
			continue
		}
		more, err := s.file(f)
		if s.consumer != nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			v.lake.markDamaged(f, err)
			stats.Damaged = append(stats.Damaged, f.path)
			continue
		}
		if !more {
			return nil
		}
	}
	return nil
}

// skips reports whether a file is passed over unread, and says so in the statistics.
func (s *scan) skips(f *file) bool {
	from, to := s.q.Range()
	if f.last <= s.q.Behind && s.q.Behind > 0 || f.part.Hour < store.HourOf(from) || f.part.Hour > store.HourOf(to-1) {
		s.stats.Skipped++
		return true
	}
	if s.lake.isDamaged(f) {
		s.stats.Damaged = append(s.stats.Damaged, f.path)
		return true
	}
	return false
}

// order returns the files that the query's classes and times allow, the oldest hour first,
// or the newest where the query asks for it.
func (v *view) order(q *store.Query) []*file {
	from, to := q.Range()
	var files []*file
	for p, fs := range v.folders {
		if q.Wants(p.Class) && p.Hour >= store.HourOf(from) && p.Hour <= store.HourOf(to-1) {
			files = append(files, fs...)
		}
	}
	slices.SortFunc(files, func(a, b *file) int {
		c := cmp.Or(cmp.Compare(a.part.Hour, b.part.Hour), cmp.Compare(a.first, b.first), cmp.Compare(a.part.Class, b.part.Class))
		if q.Newest {
			return -c
		}
		return c
	})
	return files
}

// scan is the state of one Scan.
type scan struct {
	ctx         context.Context
	lake        *Lake
	q           *store.Query
	stats       *store.ScanStats
	want, where columns
	yield       func(*signal.Event) bool
	event       signal.Event
	inYield     bool // the consumer's code runs: a panic is its own
	consumer    error
	chosen      []choice
}

// choice is a row that the query's Where chose.
type choice struct{ row, time int64 }

// file scans one file and reports whether to go on. A panic of the Parquet library on a damaged file is
// an error.
func (s *scan) file(f *file) (more bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			if s.inYield {
				panic(p)
			}
			more, err = true, fmt.Errorf("damaged: %v", p)
		}
	}()
	r, err := openReader(s.lake.layout, filepath.Join(s.lake.dir, f.path), f.part)
	if err != nil {
		return true, err
	}
	defer r.close()
	s.stats.Files++
	groups := r.pq.RowGroups()
	for i := range groups {
		at := i
		if s.q.Newest {
			at = len(groups) - 1 - i
		}
		if more, err := s.group(r, at, groups[at]); err != nil || !more {
			return more, err
		}
	}
	return true, nil
}

// excludes reports whether the row group's statistics rule out every row.
func (r *reader) excludes(group parquet.RowGroup, q *store.Query) bool {
	chunks := group.ColumnChunks()
	bounds := func(column int) (parquet.Value, parquet.Value, bool) {
		return chunks[r.at[column].leaf].(*parquet.FileColumnChunk).Bounds()
	}
	from, to := q.Range()
	if first, last, ok := bounds(r.layout.byField[signal.FieldTime]); ok {
		fromMicro, _ := micros(from)
		toMicro, _ := micros(to - 1)
		if last.Int64() < fromMicro || first.Int64() > toMicro {
			return true
		}
	}
	if !q.ID.IsZero() {
		id := q.ID.String()
		if first, last, ok := bounds(r.layout.byField[signal.FieldMetadataUID]); ok {
			return asString(&first) > id || asString(&last) < id && len(last.ByteArray()) == len(id)
		}
	}
	return false
}

// group scans one row group: the columns of Where first where that saves reading the others.
func (s *scan) group(r *reader, at int, group parquet.RowGroup) (more bool, err error) {
	q := s.q
	if r.excludes(group, q) {
		s.stats.Skipped++
		return true, nil
	}
	if columnar := q.Filter != nil && q.ID.IsZero(); columnar || len(q.Masks) > 0 {
		v, err := r.vectors(at, group, &s.inYield)
		if err != nil {
			return true, err
		}
		defer v.close()
		in, err := v.inRange(q)
		if err != nil || in.empty() {
			return true, err
		}
		if err := s.masks(v, in); err != nil {
			return true, err
		}
		if columnar {
			return s.filtered(v, in)
		}
	}
	if !q.Newest && q.ID.IsZero() && (q.Where == nil || s.where.covers(&s.want)) {
		want := &s.want
		if q.Where != nil {
			want = &s.where
		}
		rows := r.rows(group, want)
		defer rows.close()
		for row := int64(0); row < group.NumRows(); row++ {
			if row&1023 == 0 && s.ctx.Err() != nil {
				return false, nil
			}
			if err := rows.next(&s.event); err != nil {
				return true, err
			}
			if ok := s.accepts(); ok && !s.hand() {
				return false, nil
			}
		}
		return true, nil
	}
	if err := s.choose(r, group); err != nil || len(s.chosen) == 0 || s.ctx.Err() != nil {
		return true, err
	}
	rows := r.rows(group, &s.want)
	defer rows.close()
	for _, c := range s.chosen {
		if err := rows.seek(c.row); err != nil {
			return true, err
		}
		if err := rows.next(&s.event); err != nil {
			return true, err
		}
		if !s.hand() {
			return false, nil
		}
	}
	return true, nil
}

// choose collects the rows that the query wants; with Newest only the Limit newest.
func (s *scan) choose(r *reader, group parquet.RowGroup) error {
	s.chosen = s.chosen[:0]
	rows := r.rows(group, &s.where)
	defer rows.close()
	for row := int64(0); row < group.NumRows(); row++ {
		if row&1023 == 0 && s.ctx.Err() != nil {
			return nil
		}
		if err := rows.next(&s.event); err != nil {
			return err
		}
		if s.accepts() {
			s.chosen = append(s.chosen, choice{row, s.event.Time})
		}
	}
	if s.q.Newest && len(s.chosen) > s.q.Limit {
		slices.SortFunc(s.chosen, func(a, b choice) int { return cmp.Compare(b.time, a.time) })
		s.chosen = s.chosen[:s.q.Limit]
		slices.SortFunc(s.chosen, func(a, b choice) int { return cmp.Compare(a.row, b.row) })
	}
	return nil
}

// accepts reports whether the query chooses the event.
func (s *scan) accepts() bool {
	s.stats.Events++
	q, e := s.q, &s.event
	if from, to := q.Range(); e.Time < from || e.Time >= to {
		return false
	}
	if !q.ID.IsZero() && e.ID != q.ID {
		return false
	}
	if q.Where != nil {
		s.inYield = true
		ok := q.Where(e)
		s.inYield = false
		if !ok {
			return false
		}
	}
	s.stats.Matched++
	return true
}

// hand gives the event to the consumer and reports whether it wants more.
func (s *scan) hand() bool {
	s.inYield = true
	more := s.yield(&s.event)
	s.inYield = false
	return more
}

// copyTo puts all events of the file into the stage, some at a time, and calls write for each lot.
func (r *reader) copyTo(st *stage, write func() error) error {
	for _, group := range r.pq.RowGroups() {
		if err := r.copyGroup(st, group, write); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) copyGroup(st *stage, group parquet.RowGroup, write func() error) error {
	rows := r.rows(group, &columns{all: true})
	defer rows.close()
	var e signal.Event
	for left := group.NumRows(); left > 0; {
		for ; left > 0 && !st.full(); left-- {
			if err := rows.next(&e); err != nil {
				return err
			}
			st.add(&e)
		}
		if err := write(); err != nil {
			return err
		}
		st.reset()
	}
	return nil
}
