//go:build unix

package goruntime

import (
	"io/fs"
	"syscall"
)

// identity is one content of one file.
type identity struct {
	device, inode  uint64
	size, modified int64
}

func identityOf(info fs.FileInfo) (identity, bool) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, false
	}
	return identity{uint64(s.Dev), uint64(s.Ino), info.Size(), info.ModTime().UnixNano()}, true
}
