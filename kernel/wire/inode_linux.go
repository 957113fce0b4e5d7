package wire

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// inodeOf returns the device, as records have it, and the number of a file.
func inodeOf(path string) (fileKey, bool) {
	info, err := os.Stat(path)
	if err != nil {
		return fileKey{}, false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileKey{}, false
	}
	return fileKey{uint64(unix.Major(st.Dev))<<32 | uint64(unix.Minor(st.Dev)), st.Ino}, true
}

// peerOf returns the process at the other end of a unix socket, 0 where that is not known.
func peerOf(c syscall.Conn) int {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}

// bootTime returns the clock of records.
func bootTime() uint64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return uint64(ts.Nano())
}
