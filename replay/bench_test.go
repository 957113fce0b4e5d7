package replay_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/lake"
	"github.com/testudo-sec/testudo/store/storetest"
)

// requests returns a lake with n requests to an edge over two hours.
func requests(b *testing.B, n int) *store.History {
	b.Helper()
	l, err := lake.Open(b.TempDir(), lake.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	start := time.Date(2026, 11, 20, 10, 0, 0, 0, time.UTC)
	var e signal.Event
	for hour := range 2 {
		p := store.Partition{Class: signal.ClassHTTPActivity, Hour: store.HourOf(start.UnixNano()) + int64(hour)}
		part, err := l.Create(p)
		if err != nil {
			b.Fatal(err)
		}
		for i := range n / 2 {
			storetest.HTTPEvent(&e, p.Start().Add(time.Duration(i)*time.Hour/time.Duration(n)), uint64(hour*n/2+i+1))
			e.SetString(signal.FieldHTTPRequestURLPath, fmt.Sprintf("/shop/item/%d", i*7919%5000))
			e.SetInt(signal.FieldHTTPResponseCode, []int64{200, 200, 200, 200, 304, 404, 200, 403, 200, 500}[i%10])
			if err := part.Append(&e); err != nil {
				b.Fatal(err)
			}
		}
		if err := part.Commit(uint64(hour+1), uint64(hour+1)); err != nil {
			b.Fatal(err)
		}
	}
	return store.ReadOnly(emptyLog{}, l)
}

// BenchmarkHunt searches by a selective condition on two columns. ns/event is what an event costs.
func BenchmarkHunt(b *testing.B) {
	const n = 400_000
	h := requests(b, n)
	x := match.And{match.Text(match.Operand{Field: signal.FieldHTTPRequestURLPath}, match.OpPrefix, false, "/shop/item/490"),
		match.Int(match.Operand{Field: signal.FieldHTTPResponseCode}, match.IntIs(403))}
	c := match.NewCondition(x)
	for name, c := range map[string]replay.Condition{"columns": c, "events": plain{c}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				stats, err := replay.Hunt(b.Context(), h, c, replay.Query{Limit: replay.MaxLimit}, func(*signal.Event) bool { return true })
				if err != nil || stats.Events != n || stats.Returned == 0 || stats.More {
					b.Fatal(stats, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/event")
		})
	}
}
