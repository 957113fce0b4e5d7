package sealed

import (
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/signal"
)

// BenchmarkKeep is what a request costs that is sealed and written, BenchmarkGet what it costs to open it again.
func BenchmarkKeep(b *testing.B) {
	box := newBench(b, bytesize.GiB)
	text := []byte(strings.Repeat("x", 1500))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		box.put(entry{signal.NewID(box.clock.now()), time.Hour, text})
	}
	box.close()
}

func BenchmarkGet(b *testing.B) {
	box := newBench(b, bytesize.GiB)
	var ids []signal.ID
	for range 1000 {
		id := signal.NewID(box.clock.now())
		ids = append(ids, id)
		box.put(entry{id, time.Hour, []byte(strings.Repeat("x", 1500))})
	}
	box.close()
	r := box.reader()
	for i := 0; b.Loop(); i++ {
		if _, err := r.Get(ids[i%len(ids)]); err != nil {
			b.Fatal(err)
		}
	}
}
