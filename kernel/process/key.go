package process

import (
	"fmt"
	"strconv"
	"strings"
)

// Tick is the grain, in nanoseconds, in which /proc tells when a process began: a hundredth of a second on every machine
// that Linux runs on (USER_HZ is part of its interface).
const Tick = 10_000_000

// id names a process within one boot: its process id, and the tick of the boot clock (CLOCK_BOOTTIME) in which it began. The kernel
// rounds down where it makes ticks of nanoseconds, and so is done here with those that eBPF reads from the same place
// (task_struct.start_boottime of the first thread).
type id struct {
	pid  uint32
	tick uint64
}

func idOf(pid uint32, start uint64) id { return id{pid, start / Tick} }

// bootTag is how much of the boot's id is in a key.
const bootTag = 8

// makeKey writes "<boot>-<pid>-<tick>": eight digits of the boot's id, the process id as people know it, and the tick in base 36.
func makeKey(boot string, pid uint32, start uint64) string {
	if start == 0 && pid != 1 && pid != 2 {
		return ""
	}
	return appendKey(boot, pid, start/Tick)
}

func appendKey(boot string, pid uint32, tick uint64) string {
	b := make([]byte, 0, 40)
	b = append(b, boot...)
	b = append(b, '-')
	b = strconv.AppendUint(b, uint64(pid), 10)
	b = append(b, '-')
	return string(strconv.AppendUint(b, tick, 36))
}

// ParseKey reads the key of a process: the tag of the boot that it began in ([BootTag]), its process id, and when it began, in nanoseconds cut to
// a tick.
func ParseKey(key string) (boot string, pid uint32, start uint64, err error) {
	boot, at, err := parseKey(key)
	return boot, at.pid, at.tick * Tick, err
}

// BootTag returns what the keys of processes of a boot begin with, of its id as /proc/sys/kernel/random/boot_id has it.
func BootTag(bootID string) string { return tagOf(bootID) }

// Key returns the key of a process of that boot.
func Key(bootTag string, pid uint32, start uint64) string { return makeKey(bootTag, pid, start) }

// parseKey reads what appendKey wrote.
func parseKey(key string) (boot string, at id, err error) {
	parts := strings.Split(key, "-")
	if len(parts) != 3 {
		return "", id{}, fmt.Errorf("process key %q: want boot-pid-start", key)
	}
	pid, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil {
		return "", id{}, fmt.Errorf("process key %q: %q is no process id", key, parts[1])
	}
	tick, err := strconv.ParseUint(parts[2], 36, 64)
	if err != nil {
		return "", id{}, fmt.Errorf("process key %q: %q is no start in base 36", key, parts[2])
	}
	return parts[0], id{uint32(pid), tick}, nil
}

// tagOf takes of a boot id, as /proc/sys/kernel/random/boot_id has it, what keys carry.
func tagOf(boot string) string {
	tag := make([]byte, 0, bootTag)
	for i := 0; i < len(boot) && len(tag) < bootTag; i++ {
		if c := boot[i]; c >= '0' && c <= '9' || c >= 'a' && c <= 'f' {
			tag = append(tag, c)
		}
	}
	if len(tag) == 0 {
		return "0"
	}
	return string(tag)
}

// sameStart reports whether two starts of one process id are one process's. Both are exact to the nanosecond, or at least one
// came from /proc: then it is exact to a tick, and one more where /proc is read in a time namespace that is
// shifted by a piece of a tick. A process id is not given again within two ticks.
func sameStart(a uint64, coarseA bool, b uint64, coarseB bool) bool {
	if !coarseA && !coarseB {
		return a == b
	}
	x, y := a/Tick, b/Tick
	return x == y || x+1 == y || y+1 == x
}
