package policy

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/testudo-sec/testudo/signal"
)

// threadClock is the clock of the CPU time of the calling thread (clock_gettime(2)): exact, where getrusage counts ticks.
const threadClock = 3

// threadTime returns the CPU time of the calling thread in nanoseconds.
func threadTime() int64 {
	var t syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadClock, uintptr(unsafe.Pointer(&t)), 0); errno != 0 {
		panic(errno) // Linux knows the clock
	}
	return t.Nano()
}

// perEvent returns the CPU time of a call for each of the events, in nanoseconds: that of the quickest of some passes over all of them,
// since programs on the same cores push what is needed out of the caches, and that costs CPU too.
func perEvent(events []*signal.Event, passes int, judge func(*signal.Event)) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, e := range events {
		judge(e)
	}
	least := int64(math.MaxInt64)
	for range passes {
		began := threadTime()
		for _, e := range events {
			judge(e)
		}
		least = min(least, threadTime()-began)
	}
	return float64(least) / float64(len(events))
}

// allocations returns how many allocations a call makes, the least of a few: the runtime makes some of its own.
func allocations(call func()) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	least := uint64(1 << 63)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		call()
		runtime.ReadMemStats(&after)
		least = min(least, after.Mallocs-before.Mallocs)
	}
	return float64(least)
}

// highWater returns the most memory that a process had resident so far, 0 where it has ended. What wait4 says of a child counts its
// parent's memory too, before the child's program began.
func highWater(pid int) int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}
