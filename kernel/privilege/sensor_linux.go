package privilege

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// MemoryLimit is what the sensor's heap keeps below, in bytes, as long as that is possible.
const MemoryLimit = 96 << 20

// Descriptors on which a sensor finds its link.
const controlSocket, recordsSocket = 3, 4

// BeSensor makes this process a sensor, which the keeper started: it gives up the system calls that the filter does not list. It
// returns the two files of the link. pins is where the file system of eBPF objects is mounted before, as after it nothing can be; "" where
// nothing is to outlive the sensor.
func BeSensor(pins string) (control, records *os.File, err error) {
	ignoreSignals()
	rename("testudo-sensor")
	if err := protect(); err != nil {
		return nil, nil, err
	}
	for fd, name := range map[int]string{controlSocket: "control", recordsSocket: "records"} {
		if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil || kind != unix.SOCK_STREAM {
			return nil, nil, fmt.Errorf("descriptor %d is not the %s socket: this command is started by testudo up alone", fd, name)
		}
		unix.CloseOnExec(fd)
	}
	for what, value := range map[int]uint64{
		unix.RLIMIT_CORE:  0, // memory holds what processes were called with
		unix.RLIMIT_FSIZE: 0, // not a byte goes into a file on a disk; cgroup and proc files are none
	} {
		limit := unix.Rlimit{Cur: value, Max: value}
		if err := unix.Setrlimit(what, &limit); err != nil {
			return nil, nil, fmt.Errorf("limit %d: %w", what, err)
		}
	}
	files := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files); err == nil && files.Cur < files.Max {
		files.Cur = files.Max
		_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &files) // as many as there may be
	}
	if pins != "" {
		if err := mountPins(pins); err != nil {
			return nil, nil, err
		}
	}
	debug.SetMemoryLimit(MemoryLimit)
	debug.SetGCPercent(50)
	runtime.GOMAXPROCS(min(runtime.NumCPU(), 2))
	if err := Filter(); err != nil {
		return nil, nil, err
	}
	return os.NewFile(controlSocket, "control"), os.NewFile(recordsSocket, "records"), nil
}

// mountPins mounts the file system of eBPF objects where it is not.
func mountPins(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700"); err != nil {
		return fmt.Errorf("rules cannot be kept in force when testudo ends (kernel.fail is closed): mount -t bpf bpf %s: %w", dir, err)
	}
	return nil
}
