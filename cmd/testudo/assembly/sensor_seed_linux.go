package assembly

import (
	"context"
	"sync"

	proctable "github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// seed tells of what runs already, in batches.
func seed(ctx context.Context, emit func(batch []byte)) error {
	const enough = 64 << 10
	var batch []byte
	err := proctable.Seed(ctx, "/", func(r *record.Record) {
		if batch = r.Append(batch); len(batch) > enough {
			emit(batch)
			batch = batch[:0]
		}
	})
	if len(batch) > 0 {
		emit(batch)
	}
	return err
}

// ancestry reads who asks, and what that one came from, one at a time.
func ancestry() func(batch []byte, pid uint32) []byte {
	var mu sync.Mutex
	reader := proctable.NewReader("/")
	return func(batch []byte, pid uint32) []byte {
		mu.Lock()
		defer mu.Unlock()
		return reader.Ancestry(batch, pid, proctable.MaxLineage)
	}
}
