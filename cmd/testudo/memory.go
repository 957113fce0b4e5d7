package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// scanMemory is what a scan's heap keeps to, garbage included, as long as what is in use needs less.
const scanMemory = 100 << 20

// keepSmall has the garbage collector run seldom while a command's heap is small, which spares a short one nearly all of
// it, and as often as a heap of scanMemory asks for. Where more is in use, as for the packages of a large tree, the heap may be an eighth
// larger than that, so that collecting does not become the work. GOGC and GOMEMLIMIT, where they are set, stand.
func keepSmall() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(400)
	debug.SetMemoryLimit(scanMemory)
	afterCollection(func() {
		live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(live)
		if live[0].Value.Kind() == metrics.KindUint64 {
			debug.SetMemoryLimit(max(scanMemory, int64(live[0].Value.Uint64()/8*9)))
		}
	})
}

// afterCollection calls do after every collection of garbage.
func afterCollection(do func()) {
	// Not so small that it shares its memory with what lives on.
	runtime.AddCleanup(new([64]byte), func(do func()) {
		do()
		afterCollection(do)
	}, do)
}
