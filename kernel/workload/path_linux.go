package workload

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/process"
)

// fileIDKernfs is FILEID_KERNFS: a handle that is the id of a cgroup's folder.
const fileIDKernfs = 0xfe

// nonblocking keeps an open of what was made a pipe meanwhile from waiting for its other end.
const nonblocking = unix.O_NONBLOCK

// pathOf returns the path of a cgroup below the root of cgroup v2: that of the process if it is still there, else by its id.
func (r *Resolver) pathOf(cgroup uint64, lines []process.CgroupLine) (string, bool) {
	if r.cgroups == "" {
		return "", false
	}
	for _, l := range lines {
		var st unix.Stat_t
		if l.Hierarchy == 0 && unix.Stat(filepath.Join(r.cgroups, l.Path), &st) == nil && st.Ino == cgroup {
			return l.Path, true
		}
	}
	dir, err := unix.Open(r.cgroups, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(dir)
	fd, err := unix.OpenByHandleAt(dir, unix.NewFileHandle(fileIDKernfs, binary.NativeEndian.AppendUint64(nil, cgroup)), unix.O_PATH|unix.O_CLOEXEC)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	path, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
	if err != nil {
		return "", false
	}
	rel, ok := strings.CutPrefix(path, r.cgroups)
	return rel, ok && strings.HasPrefix(rel, "/")
}
