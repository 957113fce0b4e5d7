// Package spine measures what everything else stands on: the way of an event from the sink to the
// lake, and what a running testudo costs before it does anything.
package spine

import (
	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return []bar.Bar{sinkRate(), crashLost(), idleRSS(), binarySize(), startTime()}
}

// Roles lists the processes that they start.
func Roles() []proc.Role {
	return []proc.Role{
		{Name: "sink", Run: fillSink},
		{Name: "crash", Run: recordUntilKilled},
		{Name: "count", Run: countEvents},
	}
}
