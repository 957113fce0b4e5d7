package privilege

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func allThreads(call uintptr, hdr *unix.CapUserHeader, data *[2]unix.CapUserData) (r1, r2 uintptr, errno syscall.Errno) {
	return syscall.AllThreadsSyscall(call, uintptr(unsafe.Pointer(hdr)), uintptr(unsafe.Pointer(&data[0])), 0)
}
