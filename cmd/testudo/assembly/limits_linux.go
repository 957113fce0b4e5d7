package assembly

import (
	"syscall"

	"github.com/testudo-sec/testudo/internal/bytesize"
)

// openFiles returns how many files the process may have open.
func openFiles() (uint64, bool) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, false
	}
	return l.Cur, true
}

// freeDisk returns what an ordinary user may still write to the file system of a path.
func freeDisk(path string) (bytesize.Size, bool) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return 0, false
	}
	return bytesize.Size(st.Bavail) * bytesize.Size(st.Bsize), true
}
