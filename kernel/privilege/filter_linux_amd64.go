package privilege

import "golang.org/x/sys/unix"

const machine = unix.AUDIT_ARCH_X86_64

// machineCalls are those that this machine has besides, mostly of an older form. Numbers of the x32 form are above all that are
// listed, and so refused.
var machineCalls = [...]uintptr{
	unix.SYS_ARCH_PRCTL, unix.SYS_OPEN, unix.SYS_STAT, unix.SYS_LSTAT, unix.SYS_NEWFSTATAT, unix.SYS_READLINK, unix.SYS_ACCESS, unix.SYS_POLL, unix.SYS_SELECT, unix.SYS_EPOLL_WAIT,
	unix.SYS_EPOLL_CREATE, unix.SYS_UNLINK, unix.SYS_RMDIR, unix.SYS_MKDIR, unix.SYS_DUP2, unix.SYS_PIPE, unix.SYS_TIME, unix.SYS_SETRLIMIT, unix.SYS_GETPGRP,
}
