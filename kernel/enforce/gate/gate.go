// Package gate asks before a file is opened or run, and refuses where the judge says so: fanotify permission events
// (fanotify(7), FAN_CLASS_CONTENT). It is the gate for rules that need the whole judge and not only what a hook in the kernel can
// hold: the caller waits until the answer is there.
//
// What is judged is what the kernel opened: its path is read from the descriptor that comes with the event, not from what the
// caller passed, so that a rename or a changed link between check and use changes nothing.
//
// What this gate cannot do:
//
//   - It lives as long as its descriptor. When testudo dies the kernel lets everything through, whatever the guard says: to stay
//     closed takes a gate that the kernel holds by itself (kernel/enforce).
//   - It does not know the arguments of what is about to run, nor whether a file is opened for writing.
//   - A program that another one loads by itself (the dynamic linker called by name, an interpreter's script) is opened, not run.
//     Files that are in memory only have no file system to mark.
//
// The process that holds the gate must not start programs from a marked file system: Go's runtime stands still between fork and exec
// when it wants to collect garbage just then, and could not answer.
//
// A scope holds for the file systems at its path and below, also those that are mounted later, as containers' are: what runs there in the
// first moment, before the change of the mounts was noticed, is not asked about.
//
// Whole file systems are marked, not mounts: a process that makes a mount namespace of its own has other mounts of the same. And
// nothing is ever marked to be ignored, though that would be cheaper: the kernel forgets such a mark when a file is written, but not
// when it is renamed or linked to where it matters.
package gate

import (
	"fmt"
	"time"
)

// Config bounds how long and how many callers wait.
type Config struct {
	// Deadline is how long an open or exec waits for its verdict. Where there is none by then, the guard says whether it is let through.
	Deadline time.Duration `yaml:"deadline"`
	// Waiting bounds the opens and execs that are asked about at once. What comes on top waits for its turn, as long as Deadline in all; where nobody answers, or thousands
	// wait, it is decided without asking, and counted.
	Waiting int `yaml:"waiting"`
}

// DefaultConfig returns the configuration that is used where nothing is set.
func DefaultConfig() Config { return Config{Deadline: time.Second, Waiting: 512} }

// Validate names the first setting that makes no sense.
func (c *Config) Validate() error {
	if c.Deadline < time.Millisecond || c.Deadline > 10*time.Second {
		return fmt.Errorf("deadline: %v: want 1ms to 10s", c.Deadline)
	}
	if c.Waiting < 1 || c.Waiting > 16_384 {
		return fmt.Errorf("waiting: %d: want 1 to 16384", c.Waiting)
	}
	return nil
}

// Counts says what became of the events, since the start.
type Counts struct {
	Seen    uint64 // events that came
	Own     uint64 // let through at once: of testudo itself
	Passed  uint64 // let through at once: no rule asks about such a file
	Allowed uint64 // by the judge
	Denied  uint64 // by the judge
	Late    uint64 // decided by the guard: no answer in time
	Full    uint64 // decided by the guard: too many waited, or it waited too long for its turn
	Unknown uint64 // decided by the guard: the kernel could not tell the path
	Lost    uint64 // let through by the kernel: its queue was full
	Unread  uint64 // refused by the kernel: it could not hand them over, for want of descriptors
	Gone    uint64 // whoever asked had ended before it was asked about
}
