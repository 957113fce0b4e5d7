// Package confine watches and bounds one program without privileges and without eBPF: by seccomp notification, which lets a
// supervisor look at a system call before it happens and refuse it, and by Landlock, which bounds what files and ports the
// program can reach whatever the supervisor thinks. It is a [kernel.Sensor] of that one program and what it starts.
//
// The program is started by a stage: a process of this binary that restricts itself ([Stage]) and then executes the program.
// What the filter hands to the supervisor waits for the answer. When the supervisor dies those calls fail with
// ENOSYS: it fails closed, and cannot do otherwise.
//
// What a supervisor reads of a call's memory (a path, an address) another thread of the program may change before the kernel
// reads it: seccomp_unotify(2) says so. A program that wants to evade can win that race for single calls; what Landlock
// bounds it cannot. io_uring, which goes around seccomp, is refused.
package confine
