package privilege

import "golang.org/x/sys/unix"

const machine = unix.AUDIT_ARCH_AARCH64

// machineCalls are those that this machine names otherwise.
var machineCalls = [...]uintptr{unix.SYS_FSTATAT, unix.SYS_SETRLIMIT}
