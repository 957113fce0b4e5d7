// Package record is the language in which the sensor of the kernel plane says what it saw: one
// binary form from the eBPF programs, through the ring buffer and the socket pair of the
// privileged child, to the plane, copied nowhere and decoded once. Whoever else sees the kernel (the walk over /proc at the start, the
// process connector, fanotify, seccomp) writes the same form with [Record.Append].
//
// A record is a header of [HeaderSize] bytes in the byte order of the machine, and parts: a tag of two bytes, a length of two
// bytes, and that many bytes. kernel/bpf/record.h is the same in C; a test holds them together. Records may be forged or
// cut: [Decode] checks every length and keeps no more than it was given.
package record
