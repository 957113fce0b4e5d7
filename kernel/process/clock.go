package process

import (
	"sync/atomic"
	"time"
)

// Clock turns the time since boot into the time of day. Records carry the time since boot, which nobody can set; what was measured
// before the clock of the day was set right is right too once [Clock.Sample] has seen the change. It is safe for concurrent use.
type Clock struct {
	read   func() (boot, wall int64)
	offset atomic.Int64 // nanoseconds from the boot clock to the Unix epoch
}

// jitter is how far two samples may differ without the clock having been set: below it times of one process stay as they were told.
const jitter = int64(5 * time.Millisecond)

// NewClock reads the clocks of this host.
func NewClock() *Clock { return newClock(readClocks) }

func newClock(read func() (boot, wall int64)) *Clock {
	c := &Clock{read: read}
	boot, wall := read()
	c.offset.Store(wall - boot)
	return c
}

// Sample compares the two clocks again. A table does so about once a second of its records.
func (c *Clock) Sample() {
	boot, wall := c.read()
	if d := wall - boot - c.offset.Load(); d > jitter || d < -jitter {
		c.offset.Store(wall - boot)
	}
}

// Wall returns the time of day of a time since boot in nanoseconds.
func (c *Clock) Wall(boot uint64) time.Time { return time.Unix(0, int64(boot)+c.offset.Load()) }

// Boot is the other way around: 0 for times before the boot.
func (c *Clock) Boot(t time.Time) uint64 { return uint64(max(t.UnixNano()-c.offset.Load(), 0)) }

// Now returns the time since boot in nanoseconds.
func (c *Clock) Now() uint64 {
	boot, _ := c.read()
	return uint64(boot)
}
