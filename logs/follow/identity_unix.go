//go:build unix

package follow

import (
	"io/fs"
	"os"
	"syscall"
)

// identify returns what tells a file from others while it exists. The number may be given to
// another file once it is gone.
func identify(info fs.FileInfo) (identity, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{Dev: uint64(st.Dev), Ino: st.Ino}, true //nolint:unconvert // int32 on some systems
}

// openFile opens without waiting, should a pipe have taken the file's place.
func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
