package lake

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// TestSequenced reads events back in the order of their numbers that were recorded by several goroutines: of
// several classes and hours, nearly in order, in several files and row groups.
func TestSequenced(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	r := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	const n = 6000
	order := make([]int, n)
	for i := range order {
		order[i] = i + 1
	}
	for i := range order { // an event may be recorded up to thirty too early
		j := min(n-1, i+r.IntN(30))
		order[i], order[j] = order[j], order[i]
	}
	parts := map[store.Partition]store.Part{}
	batch := uint64(0)
	commit := func() {
		batch++
		for p, part := range parts {
			if err := part.Commit(batch, batch); err != nil {
				t.Fatal(err)
			}
			delete(parts, p)
		}
	}
	for i, seq := range order {
		e := new(signal.Event)
		e.Class = []signal.Class{signal.ClassHTTPActivity, signal.ClassAPIActivity, signal.ClassProcessActivity}[r.IntN(3)]
		e.Time = start.Add(time.Duration(seq)*time.Second - time.Duration(r.IntN(3))*time.Hour).UnixNano() // some come late
		e.Seq = uint64(seq)
		e.ID = signal.NewID(time.Unix(0, e.Time))
		e.SetString(signal.FieldMessage, []string{"odd", "even"}[1-seq%2])
		p := store.PartitionOf(e)
		if parts[p] == nil {
			part, err := l.Create(p)
			if err != nil {
				t.Fatal(err)
			}
			parts[p] = part
		}
		if err := parts[p].Append(e); err != nil {
			t.Fatal(err)
		}
		if i%1500 == 1499 {
			commit()
		}
	}
	commit()

	scan := func(q store.Query) ([]uint64, store.ScanStats) {
		t.Helper()
		view := l.View()
		defer view.Release()
		var stats store.ScanStats
		var got []uint64
		if err := view.Scan(t.Context(), &q, &stats, func(e *signal.Event) bool {
			got = append(got, e.Seq)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		return got, stats
	}
	var all, even []uint64
	for i := uint64(1); i <= n; i++ {
		all = append(all, i)
		if i%2 == 0 {
			even = append(even, i)
		}
	}
	isEven := func(e *signal.Event) bool { return e.Str(signal.FieldMessage) == "even" }
	filter := &store.Filter{Op: store.FilterTest, Field: signal.FieldMessage, Test: func(e *signal.Event) store.Truth {
		if isEven(e) {
			return store.True
		}
		return store.False
	}}
	both := &store.Filter{Op: store.FilterAnd, Parts: []*store.Filter{filter, {Op: store.FilterOpen}}}
	where := []signal.Field{signal.FieldMessage}
	for _, c := range []struct {
		name string
		q    store.Query
		want []uint64
	}{
		{"everything", store.Query{}, all},
		{"few columns", store.Query{Columns: []signal.Field{}}, all},
		{"where", store.Query{Where: isEven, WhereColumns: where}, even},
		{"filter", store.Query{Filter: filter, Where: isEven, WhereColumns: where, Columns: []signal.Field{}}, even},
		{"filter that leaves all open", store.Query{Filter: &store.Filter{}, Where: isEven, WhereColumns: where}, even},
		{"filter that leaves some open", store.Query{Filter: both, Where: isEven, WhereColumns: where}, even},
	} {
		c.q.Sequenced = true
		if got, stats := scan(c.q); !slices.Equal(got, c.want) || stats.Matched != int64(len(c.want)) {
			t.Errorf("%s: %d events of %d in order %t, stats %+v", c.name, len(got), len(c.want), slices.IsSorted(got), stats)
		}
	}

	files, err := filepath.Glob(filepath.Join(dir, "class=*", "hour=*", "*.parquet"))
	if err != nil || len(files) < 10 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(files[3])
	if err != nil {
		t.Fatal(err)
	}
	for i := 8; i < len(text)/2; i++ { // the pages, not the footer
		text[i] ^= 0x5a
	}
	if err := os.WriteFile(files[3], text, 0o600); err != nil {
		t.Fatal(err)
	}
	got, stats := scan(store.Query{Sequenced: true})
	if len(stats.Damaged) != 1 || !slices.IsSorted(got) || len(got) < n*3/4 || len(got) == n {
		t.Errorf("beside a damaged file: %d events, in order %t, stats %+v", len(got), slices.IsSorted(got), stats)
	}
}
