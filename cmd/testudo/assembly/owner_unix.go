//go:build unix

package assembly

import (
	"os"
	"syscall"
)

// ownerOf returns the uid that a file belongs to.
func ownerOf(info os.FileInfo) (int, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int(st.Uid), true
}
