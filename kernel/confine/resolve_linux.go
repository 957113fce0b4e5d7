package confine

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many links the kernel follows in one name.
const maxLinks = 40

// resolve returns the path that a name stands for, as the kernel would find it for the thread: from its own root, folder and descriptors,
// and with the links of /proc that mean whoever follows them. The last link is followed where follow is set. Of what is not there, the path where it
// would be. An error number says that it cannot be told, which is not that there is nothing.
func (m memory) resolve(dir int, name string, follow bool) (full string, there bool, errno unix.Errno) {
	if name == "" && dir == unix.AT_FDCWD {
		return "", false, 0
	}
	w := walker{tid: m.tid, root: -1, at: -1}
	defer w.close()
	if errno := w.start(dir, name); errno != 0 {
		return "", false, errno
	}
	full, there, err := w.walk(name, follow)
	if err != nil {
		return "", false, numberOf(err)
	}
	return full, there, 0
}

// numberOf returns the number of an error of the kernel; others are EPERM.
func numberOf(err error) unix.Errno {
	if errno := unix.Errno(0); errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return unix.EPERM
}

// walker looks a name up part by part: only so does it meet every link, and no name is too long for it.
type walker struct {
	tid      int
	root, at int // descriptors: the root of the process, and where the walk is
	links    int
}

func (w *walker) close() {
	for _, fd := range []int{w.root, w.at} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

const handle = unix.O_PATH | unix.O_CLOEXEC

// start opens where the name begins.
func (w *walker) start(dir int, name string) (errno unix.Errno) {
	of := func(what string) (int, error) { return unix.Open(fmt.Sprintf("/proc/%d/%s", w.tid, what), handle, 0) }
	var err error
	if w.root, err = of("root"); err != nil {
		return unix.EPERM
	}
	switch {
	case strings.HasPrefix(name, "/"):
		w.at, err = unix.FcntlInt(uintptr(w.root), unix.F_DUPFD_CLOEXEC, 0)
	case dir == unix.AT_FDCWD:
		w.at, err = of("cwd")
	default:
		w.at, err = of("fd/" + strconv.Itoa(dir))
	}
	switch {
	case errors.Is(err, unix.ENOENT) && dir != unix.AT_FDCWD:
		return unix.EBADF
	case err != nil:
		return unix.EPERM
	}
	return 0
}

// to goes to what fd is.
func (w *walker) to(fd int) {
	_ = unix.Close(w.at)
	w.at = fd
}

func (w *walker) walk(name string, follow bool) (full string, there bool, err error) {
	if w.plain(name, follow) {
		full, err = w.path()
		return full, true, err
	}
	follow = follow || strings.HasSuffix(name, "/")
	rest := strings.Split(name, "/")
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		last := strings.Trim(strings.Join(rest, ""), "/") == ""
		switch part {
		case "", ".":
			continue
		case "..":
			if err := w.up(); err != nil {
				return "", false, err
			}
			continue
		}
		if self, err := w.self(part); err != nil {
			return "", false, err
		} else if self != nil {
			rest = append(self, rest...)
			continue
		}
		fd, err := unix.Openat(w.at, part, handle|unix.O_NOFOLLOW, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			full, err := w.path()
			return path.Join(append([]string{full, part}, rest...)...), false, err
		}
		if err != nil {
			return "", false, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			_ = unix.Close(fd)
			return "", false, err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			w.to(fd)
			continue
		}
		if last && !follow {
			_ = unix.Close(fd)
			full, err := w.path()
			return path.Join(full, part), true, err
		}
		more, err := w.link(fd, part)
		if err != nil {
			return "", false, err
		}
		rest = append(more, rest...)
	}
	full, err = w.path()
	return full, true, err
}

// plain goes to where the name leads if no link is on the way.
func (w *walker) plain(name string, follow bool) bool {
	how := unix.OpenHow{Flags: handle, Resolve: unix.RESOLVE_NO_SYMLINKS}
	from := w.at
	if strings.HasPrefix(name, "/") {
		from, how.Resolve = w.root, how.Resolve|unix.RESOLVE_IN_ROOT
	} else {
		how.Resolve |= unix.RESOLVE_BENEATH
	}
	if !follow {
		how.Flags |= unix.O_NOFOLLOW
	}
	if name == "" { // the descriptor itself
		return true
	}
	fd, err := unix.Openat2(from, name, &how)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT == unix.S_IFLNK { // its own path cannot be read: that would be what it leads to
		_ = unix.Close(fd)
		return false
	}
	w.to(fd)
	return true
}

// up goes to the folder above, which of the root is the root.
func (w *walker) up() error {
	var at, root unix.Stat_t
	if err := errors.Join(unix.Fstat(w.at, &at), unix.Fstat(w.root, &root)); err != nil {
		return err
	}
	if at.Dev == root.Dev && at.Ino == root.Ino {
		return nil
	}
	fd, err := unix.Openat(w.at, "..", handle|unix.O_DIRECTORY, 0)
	if err == nil {
		w.to(fd)
	}
	return err
}

// procRoot is the number of the folder that a file system of processes begins with.
const procRoot = 1

// self returns the folder that a part of a name means for the thread, where it is one of /proc that means something else for us; nil
// for all others.
func (w *walker) self(part string) ([]string, error) {
	if part != "self" && part != "thread-self" {
		return nil, nil
	}
	var fs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(w.at, &fs), unix.Fstat(w.at, &st)); err != nil {
		return nil, err
	}
	if fs.Type != unix.PROC_SUPER_MAGIC || st.Ino != procRoot {
		return nil, nil
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.tid))
	if err != nil {
		return nil, err
	}
	processes, threads := numbersOf(string(status), "NStgid"), numbersOf(string(status), "NSpid")
	began, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/stat", w.tid, w.tid))
	if err != nil || len(processes) == 0 || len(processes) != len(threads) {
		return nil, unix.EPERM
	}
	// It has a number in each pid namespace around it. Which one this /proc is of, the beginning of the process tells.
	for i := range processes {
		task := []string{processes[i], "task", threads[i]}
		there, err := w.read(strings.Join(task, "/") + "/stat")
		if err != nil || beginning(there) != beginning(began) {
			continue
		}
		if part == "self" {
			task = task[:1]
		}
		return task, nil
	}
	return nil, unix.EPERM
}

func (w *walker) read(name string) ([]byte, error) {
	fd, err := unix.Openat(w.at, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	b := make([]byte, 4096)
	n, err := unix.Read(fd, b)
	return b[:max(n, 0)], err
}

// beginning returns name and start of a thread as its stat has them (proc(5)).
func beginning(stat []byte) string {
	text := string(stat)
	at := strings.LastIndexByte(text, ')')
	fields := strings.Fields(text[at+1:])
	if at < 0 || len(fields) < 20 {
		return ""
	}
	return text[strings.IndexByte(text, '('):at] + " " + fields[19]
}

func numbersOf(status, name string) []string {
	_, rest, _ := strings.Cut(status, "\n"+name+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.Fields(line)
}

// link goes where a link leads, whose descriptor it closes, or returns the parts of its text.
func (w *walker) link(fd int, name string) (more []string, err error) {
	defer unix.Close(fd)
	if w.links++; w.links > maxLinks {
		return nil, unix.ELOOP
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(w.at, &fs); err != nil {
		return nil, err
	}
	if fs.Type == unix.PROC_SUPER_MAGIC && w.magic(name) {
		fd, err := unix.Openat(w.at, name, handle, 0)
		if err == nil {
			w.to(fd)
		}
		return nil, err
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(w.at, name, b)
	if err != nil {
		return nil, err
	}
	text := string(b[:n])
	if strings.HasPrefix(text, "/") {
		root, err := unix.FcntlInt(uintptr(w.root), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		w.to(root)
	}
	return strings.Split(text, "/"), nil
}

// magic reports whether a link of /proc leads to an object of the kernel, whatever its text says.
func (w *walker) magic(name string) bool {
	fd, err := unix.Openat2(w.at, name, &unix.OpenHow{Flags: handle, Resolve: unix.RESOLVE_NO_MAGICLINKS})
	if err == nil {
		_ = unix.Close(fd)
		return false
	}
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.6
		var st unix.Stat_t
		return unix.Fstat(w.at, &st) == nil && st.Ino != procRoot
	}
	return errors.Is(err, unix.ELOOP)
}

// path returns where the walk is, as seen from the root of the process.
func (w *walker) path() (string, error) {
	full, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(w.at))
	if err != nil {
		return "", err
	}
	var st unix.Stat_t
	if unix.Fstat(w.at, &st) == nil && st.Nlink == 0 { // a file may be called so
		full = strings.TrimSuffix(full, " (deleted)")
	}
	root, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(w.root))
	if err != nil {
		return "", err
	}
	if below, ok := strings.CutPrefix(full, root); root != "/" && ok && (below == "" || below[0] == '/') {
		full = "/" + strings.TrimPrefix(below, "/")
	}
	return full, nil
}
