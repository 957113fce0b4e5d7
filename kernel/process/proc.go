package process

import (
	"bytes"
	"strconv"
)

// parseTimeOffsets reads /proc/PID/timens_offsets: the shift of the boot clock in nanoseconds.
func parseTimeOffsets(b []byte) int64 {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) != 3 || string(f[0]) != "boottime" && string(f[0]) != "7" {
			continue
		}
		seconds, err1 := strconv.ParseInt(string(f[1]), 10, 64)
		nanos, err2 := strconv.ParseInt(string(f[2]), 10, 64)
		if err1 == nil && err2 == nil && seconds < 1<<33 && seconds > -(1<<33) {
			return seconds*1e9 + nanos
		}
	}
	return 0
}
