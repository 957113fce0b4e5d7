package lake_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/lake"
	"github.com/testudo-sec/testudo/store/storetest"
)

// BenchmarkAppend is the archiver's work: records of the bus become rows of a file.
func BenchmarkAppend(b *testing.B) {
	l, err := lake.Open(b.TempDir(), lake.DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	begin := time.Unix(1793000000, 0)
	batches := make([][]byte, 8)
	var e signal.Event
	for i := range batches {
		for j := range 2000 {
			n := i*2000 + j
			storetest.HTTPEvent(&e, begin.Add(time.Duration(n)*10*time.Microsecond), uint64(n+1))
			batches[i] = e.AppendFrame(batches[i])
		}
	}
	p, err := l.Create(store.PartitionOf(&e))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	frames := signal.ReadFrames(batches[0])
	for b.Loop() {
		for !frames.Next(&e) {
			i++
			frames = signal.ReadFrames(batches[i%len(batches)])
		}
		if err := p.Append(&e); err != nil {
			b.Fatal(err)
		}
	}
	if err := p.Commit(1, 1); err != nil {
		b.Fatal(err)
	}
	stats := l.Stats()
	b.ReportMetric(float64(stats.Bytes)/float64(stats.Rows), "B/row")
}
