package process

import (
	"os"

	"golang.org/x/sys/unix"
)

// readClocks takes the time of day between two readings of the boot clock, so that being interrupted shows no more than half.
// In a time namespace the boot clock is shifted; records are not.
func readClocks() (boot, wall int64) {
	var a, w, b unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &a) != nil || unix.ClockGettime(unix.CLOCK_REALTIME, &w) != nil || unix.ClockGettime(unix.CLOCK_BOOTTIME, &b) != nil {
		return 0, 0
	}
	return (a.Nano()+b.Nano())/2 - timeShift(), w.Nano()
}

// timeShift returns by how much the boot clock of this time namespace is ahead of the host's, in nanoseconds.
func timeShift() int64 {
	b, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return 0 // a kernel without time namespaces
	}
	return parseTimeOffsets(b)
}
