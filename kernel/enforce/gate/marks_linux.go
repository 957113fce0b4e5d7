package gate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

const maxScopes = 4096

// marks is one fanotify group: a guard's scopes. A new guard gets a group of its own, so that it holds as a whole or not at all.
type marks struct {
	fan    *os.File
	pidfds bool
	exec   []kernel.Paths // that are asked about
	open   []kernel.Paths
	places []place
	marked map[target]bool // by what follows the mounts alone
}

// place is where a scope is: a path, and what is asked on the file systems at it and below.
type place struct {
	path string
	mask uint64
}

// target is a file system, by its device as in mountinfo, and what is asked on it.
type target struct {
	device string
	mask   uint64
}

// notFiles are file systems on which a gate would stand in its own way: what it reads to answer is there.
func notFiles(kind int64) bool {
	return slices.Contains([]int64{unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEBUGFS_MAGIC,
		unix.TRACEFS_MAGIC, unix.BPF_FS_MAGIC, unix.NSFS_MAGIC, unix.PIPEFS_MAGIC, unix.SOCKFS_MAGIC, unix.SECURITYFS_MAGIC, unix.DEVPTS_SUPER_MAGIC}, kind)
}

// newGroup asks the kernel for one; without pidfds before Linux 5.15.
func newGroup() (fd int, pidfds bool, err error) {
	// Without a bound on its queue: at a full one the kernel lets through. Each event holds a thread up, so that threads bound it. Opening what
	// turns out to be a pipe must not hold us up.
	const flags = unix.FAN_CLASS_CONTENT | unix.FAN_CLOEXEC | unix.FAN_NONBLOCK | unix.FAN_UNLIMITED_QUEUE
	const files = unix.O_RDONLY | unix.O_LARGEFILE | unix.O_CLOEXEC | unix.O_NONBLOCK
	if fd, err = unix.FanotifyInit(flags|unix.FAN_REPORT_PIDFD, files); errors.Is(err, unix.EINVAL) {
		fd, err = unix.FanotifyInit(flags, files)
		return fd, false, err
	}
	return fd, true, err
}

// mark makes a group of scopes. Nothing of it stays where there is an error. From here on callers wait, until it is read.
func mark(scopes []kernel.AskScope) (m *marks, err error) {
	if len(scopes) > maxScopes {
		return nil, fmt.Errorf("gate: %d scopes, at most %d", len(scopes), maxScopes)
	}
	fd, pidfds, err := newGroup()
	if err != nil {
		return nil, fmt.Errorf("gate: fanotify: %w: %w", err, kernel.ErrUnable)
	}
	m = &marks{fan: os.NewFile(uintptr(fd), "fanotify"), pidfds: pidfds, marked: map[target]bool{}}
	for i := range scopes {
		s := &scopes[i]
		var mask uint64
		switch s.Hook {
		case kernel.HookExec:
			mask, m.exec = unix.FAN_OPEN_EXEC_PERM, append(m.exec, s.Files)
		case kernel.HookOpen:
			mask, m.open = unix.FAN_OPEN_PERM, append(m.open, s.Files)
		default:
			err = fmt.Errorf("gate: hook %d waits for nobody: want exec or open", s.Hook)
		}
		if err == nil {
			if rootOfProcess.MatchString(s.Mount) {
				err = markRoot(fd, s.Mount, mask)
			} else if err = markOne(fd, s.Mount, mask); err == nil {
				m.places = append(m.places, place{s.Mount, mask})
			}
		}
		if err != nil {
			_ = m.fan.Close()
			return nil, err
		}
	}
	m.cover()
	return m, nil
}

// cover marks the file systems that are mounted below the places: those of containers come and go. What cannot be marked is no file
// system of the machine's own.
func (m *marks) cover() {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		// The server of a FUSE file system would wait for itself.
		if len(f) < 5 || len(kind) == 0 || strings.HasPrefix(kind[0], "fuse") {
			continue
		}
		at := unescape(f[4])
		for _, p := range m.places {
			below := p.path == "/" || strings.HasPrefix(at, strings.TrimSuffix(p.path, "/")+"/")
			if t := (target{f[2], p.mask}); below && !m.marked[t] && len(m.marked) < maxScopes {
				m.control(func(fd int) error {
					err := markOne(fd, at, p.mask)
					m.marked[t] = err == nil
					return err
				})
			}
		}
	}
}

// unescape reads a path of mountinfo, in which spaces and the like are octal numbers (proc(5)).
func unescape(path string) string {
	for _, c := range [...][2]string{{`\040`, " "}, {`\011`, "\t"}, {`\012`, "\n"}, {`\134`, `\`}} {
		path = strings.ReplaceAll(path, c[0], c[1])
	}
	return path
}

// follow covers what is mounted until quit is closed.
func (m *marks) follow(quit <-chan struct{}) {
	// Not with package os: Go's own poller would take the changes for itself.
	f, err := unix.Open("/proc/self/mountinfo", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(f)
	fds := []unix.PollFd{{Fd: int32(f), Events: unix.POLLPRI}} // each change of a mount since it was opened, proc(5)
	m.cover()
	for {
		select {
		case <-quit:
			return
		default:
		}
		if n, _ := unix.Poll(fds, 100); n > 0 {
			m.cover()
		}
	}
}

// rootOfProcess is a place as containers have it: where a process of it has its root.
var rootOfProcess = regexp.MustCompile(`^/proc/[0-9]+/root$`)

// markRoot marks the file system that a process has its root on. Whose process has ended meanwhile is no error: containers come and go, and
// all others are asked about. Nor is a root that a user made himself, in a user namespace: who serves such a file system, as he can by FUSE,
// would hold up whoever reads of what is opened there, and so everybody.
func markRoot(fd int, path string, mask uint64) error {
	process, err := unix.Open(strings.TrimSuffix(path, "/root"), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil //nolint:nilerr // it has ended
	}
	defer unix.Close(process)
	root, err := unix.Openat(process, "root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	defer unix.Close(root)
	// Asked after its root was opened: nobody comes back from a user namespace.
	var its, ours unix.Stat_t
	if unix.Fstatat(process, "ns/user", &its, 0) != nil || unix.Stat("/proc/self/ns/user", &ours) != nil || its.Ino != ours.Ino {
		return nil
	}
	if err := markOne(fd, "/proc/self/fd/"+strconv.Itoa(root), mask); errors.Is(err, kernel.ErrUnable) {
		return err
	}
	return nil
}

func markOne(fd int, path string, mask uint64) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("gate: %q is no absolute path on a file system", path)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return fmt.Errorf("gate: %s: %w", path, err)
	}
	if fs.Type == unix.FUSE_SUPER_MAGIC {
		return fmt.Errorf("gate: %s is served by a process (FUSE), which would wait for itself", path)
	}
	if notFiles(int64(fs.Type)) {
		return fmt.Errorf("gate: %s holds no files, but what the kernel says of itself", path)
	}
	err := unix.FanotifyMark(fd, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, mask, unix.AT_FDCWD, path)
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("gate: %s: the kernel has no permission events for whole file systems: %w", path, kernel.ErrUnable)
	}
	if err != nil {
		return fmt.Errorf("gate: %s: fanotify: %w", path, err)
	}
	return nil
}

// matters reports whether a rule asks about the file.
func (m *marks) matters(exec bool, path string) bool {
	scopes := m.open
	if exec {
		scopes = m.exec
	}
	for i := range scopes {
		if scopes[i].Has(path) {
			return true
		}
	}
	return false
}

// answer tells the kernel, which then forgets the event.
func (m *marks) answer(fd int32, deny bool) error {
	var b [8]byte
	binary.NativeEndian.PutUint32(b[:], uint32(fd))
	binary.NativeEndian.PutUint32(b[4:], unix.FAN_ALLOW)
	if deny {
		binary.NativeEndian.PutUint32(b[4:], unix.FAN_DENY)
	}
	_, err := m.fan.Write(b[:])
	return err
}

// grace is how long a caller may take from looking at the marks to standing in the queue.
const grace = 10 * time.Millisecond

// lift takes the marks away and tells the reader, who answers what still stands in the queue before it closes the group: to close
// lets through what has no answer.
func (m *marks) lift() {
	m.control(func(fd int) error {
		return unix.FanotifyMark(fd, unix.FAN_MARK_FLUSH|unix.FAN_MARK_FILESYSTEM, 0, unix.AT_FDCWD, "/")
	})
	time.Sleep(grace)
	_ = m.fan.SetReadDeadline(time.Now())
}

// rest reads what is in the queue without waiting; 0 for nothing.
func (m *marks) rest(buf []byte) (n int) {
	m.control(func(fd int) (err error) { n, err = unix.Read(fd, buf); return err })
	return max(n, 0)
}

func (m *marks) control(f func(fd int) error) {
	if conn, err := m.fan.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) { _ = f(int(fd)) })
	}
}
