package goruntime

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	openPath     = 0x200000 // O_PATH: names a file and asks its file system for nothing
	maxMountinfo = 16 << 20
)

// servedByProgram reports whether a file of /proc/PID is on a file system that a program serves (FUSE), which may never answer. Nothing is asked of that
// file system: statfs(2) and stat(2) would be. A mount that cannot be found counts as one.
func servedByProgram(name string) bool {
	fd, err := syscall.Open(name, openPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false // neither can it be read
	}
	defer func() { _ = syscall.Close(fd) }()
	info, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(fd))
	if err != nil {
		return true
	}
	_, rest, ok := strings.Cut(string(info), "mnt_id:\t")
	mount, _, _ := strings.Cut(rest, "\n")
	of := "/proc/self"
	if dir := filepath.Dir(name); filepath.Dir(dir) == "/proc" { // the mounts of that process
		of = dir
	}
	mounts, err := os.Open(of + "/mountinfo")
	if err != nil || !ok {
		return true
	}
	defer mounts.Close()
	kind, found := filesystemOf(io.LimitReader(mounts, maxMountinfo), mount)
	return !found || kind == "fuse" || kind == "fuseblk" || strings.HasPrefix(kind, "fuse.")
}
