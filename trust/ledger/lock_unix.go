//go:build unix

package ledger

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lock takes the directory for this process until unlock; the kernel gives it
// back when the process dies.
func lock(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("ledger: %s: %w", path, ErrLocked)
		}
		return nil, fmt.Errorf("ledger: locking %s: %w", path, err)
	}
	return f.Close, nil
}

const noFollow = syscall.O_NOFOLLOW

// owned refuses a directory of somebody else.
func owned(path string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	if ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("ledger: %s belongs to uid %d, not to the uid %d that runs this", path, st.Uid, os.Geteuid())
	}
	return nil
}
