//go:build linux

package bpf

import (
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How long the reader may wait for a file system that does not answer at once. One that is a program's (FUSE) or another machine's may never: what it
// leaves hanging is bounded, and meanwhile what is on such file systems is not looked at.
const (
	lookLimit  = 20 * time.Millisecond
	lookBudget = 50 * time.Millisecond // of all looks into one batch
	maxHanging = 4
	scanEvery  = 250 * time.Millisecond // between looks through /proc for a process of a mount namespace
)

// spaces looks at the files of mount namespaces as they are now. One goroutine uses it.
type spaces struct {
	own     uint32 // mount namespace of this process
	ownRoot int    // its root, -1 where this process has another
	roots   map[uint32]int
	pids    map[uint32]uint32 // a process of each, as far as known
	scanned time.Time
	seen    map[placeKey]look
	plain   map[placeKey]error
	spent   time.Duration
	hanging *atomic.Int32
}

// look is what a name leads to now.
type look struct {
	place
	changed int64 // nanoseconds since the Unix epoch
	proc    bool  // on a procfs
	err     error // it cannot be told
}

func newSpaces() *spaces {
	s := &spaces{ownRoot: -1, roots: map[uint32]int{}, pids: map[uint32]uint32{}, seen: map[placeKey]look{}, plain: map[placeKey]error{}, hanging: new(atomic.Int32)}
	s.own, _ = spaceOf("self")
	if root, err := os.Readlink("/proc/self/root"); err == nil && root == "/" {
		if s.ownRoot, err = unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
			s.ownRoot = -1
		}
	}
	return s
}

// forget ends what was seen, which may be otherwise by now, and lets go of the file systems of others.
func (s *spaces) forget() {
	for _, fd := range s.roots {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	clear(s.roots)
	clear(s.seen)
	clear(s.plain)
	s.spent = 0
}

func (s *spaces) close() {
	s.forget()
	if s.ownRoot >= 0 {
		_ = unix.Close(s.ownRoot)
	}
}

// spaceOf returns the mount namespace of a process.
func spaceOf(pid string) (uint32, error) {
	text, err := os.Readlink("/proc/" + pid + "/ns/mnt")
	if err != nil {
		return 0, err
	}
	var n uint32
	if _, err := fmt.Sscanf(text, "mnt:[%d]", &n); err != nil {
		return 0, fmt.Errorf("the mount namespace %q: %w", text, err)
	}
	return n, nil
}

// rootThrough returns the root of a mount namespace through a process that is in it, -1 where it is not, or has another root.
func rootThrough(space, pid uint32) int {
	name := strconv.FormatUint(uint64(pid), 10)
	if in, err := spaceOf(name); err != nil || in != space {
		return -1
	}
	root := "/proc/" + name + "/root"
	fd, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	text, err := os.Readlink(root)
	if in, again := spaceOf(name); err != nil || text != "/" || again != nil || in != space { // the number may be another process's since
		_ = unix.Close(fd)
		return -1
	}
	return fd
}

// root returns the root of a mount namespace, -1 where no process tells it. pid is one that was in it.
func (s *spaces) root(space, pid uint32) int {
	if space == s.own && s.ownRoot >= 0 {
		return s.ownRoot
	}
	if fd, ok := s.roots[space]; ok {
		return fd
	}
	fd := rootThrough(space, pid)
	if fd >= 0 {
		s.pids[space] = pid
	} else if known, ok := s.pids[space]; ok {
		if fd = rootThrough(space, known); fd < 0 {
			delete(s.pids, space)
		}
	}
	if fd < 0 && time.Since(s.scanned) >= scanEvery {
		s.scan()
		if known, ok := s.pids[space]; ok {
			fd = rootThrough(space, known)
		}
	}
	s.roots[space] = fd
	return fd
}

// scan finds a process of every mount namespace.
func (s *spaces) scan() {
	s.scanned = time.Now()
	clear(s.pids)
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return
	}
	for _, name := range names {
		pid, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			continue
		}
		space, err := spaceOf(name)
		if err != nil {
			continue
		}
		if _, ok := s.pids[space]; ok {
			continue
		}
		if root, err := os.Readlink("/proc/" + name + "/root"); err == nil && root == "/" {
			s.pids[space] = uint32(pid)
		}
	}
}

// within runs a look that may hang, but not for long.
func within[T any](s *spaces, root int, fn func(root int) T) (out T, ok bool) {
	if s.hanging.Load() >= maxHanging || s.spent >= lookBudget {
		return out, false
	}
	own, err := unix.FcntlInt(uintptr(root), unix.F_DUPFD_CLOEXEC, 0) // ours may be closed, and its number another file's, while fn hangs
	if err != nil {
		return out, false
	}
	hanging, done := s.hanging, make(chan T, 1)
	hanging.Add(1)
	began := time.Now()
	go func() {
		defer hanging.Add(-1)
		defer unix.Close(own)
		done <- fn(own)
	}()
	limit := time.NewTimer(lookLimit)
	defer limit.Stop()
	select {
	case out = <-done:
		ok = true
	case <-limit.C:
	}
	s.spent += time.Since(began)
	return out, ok
}

// resolveCached is RESOLVE_CACHED of openat2(2): what would have to be waited for is EAGAIN. Before Linux 5.12 it is EINVAL.
const resolveCached = 0x20

// errHangs says that a file system did not answer, or was not asked as others did not.
const errHangs = unix.EAGAIN

func openIn(root int, path string, flags uint64, resolve uint64) (int, error) {
	for path != "" && path[0] == '/' {
		path = path[1:]
	}
	if path == "" {
		path = "."
	}
	return unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | flags, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | resolve})
}

// isPlain reports whether no part of a path is a link, now: an error says that one is, or what else stands in the way.
func (s *spaces) isPlain(space, pid uint32, path string) error {
	k := placeKey{space, path}
	if err, ok := s.plain[k]; ok {
		return err
	}
	err := error(unix.ESRCH)
	if root := s.root(space, pid); root >= 0 {
		try := func(root int, resolve uint64) error {
			fd, err := openIn(root, path, 0, resolve)
			if err == nil {
				_ = unix.Close(fd)
			}
			return err
		}
		// What nobody else has to be asked for is answered without a wait.
		if err = try(root, resolveCached); err == unix.EAGAIN || err == unix.EINVAL {
			var ok bool
			if err, ok = within(s, root, func(root int) error { return try(root, 0) }); !ok {
				err = errHangs
			}
		}
	}
	s.plain[k] = err
	return err
}

// at returns what the last part of a path leads to now; the parts before are none of them links.
func (s *spaces) at(space, pid uint32, path string) look {
	k := placeKey{space, path}
	if l, ok := s.seen[k]; ok {
		return l
	}
	l := look{err: unix.ESRCH}
	if root := s.root(space, pid); root >= 0 {
		fd, err := openIn(root, path, unix.O_NOFOLLOW, resolveCached)
		again := err == unix.EAGAIN || err == unix.EINVAL
		if !again {
			l, again = examine(fd, err, false)
		}
		if again {
			var ok bool
			l, ok = within(s, root, func(root int) look {
				fd, err := openIn(root, path, unix.O_NOFOLLOW, 0)
				l, _ := examine(fd, err, true)
				return l
			})
			if !ok {
				l = look{err: errHangs}
			}
		}
	}
	s.seen[k] = l
	return l
}

// examine says what an opened name is, and closes it. again: it is a link, whose text may have to be waited for.
func examine(fd int, err error, wait bool) (l look, again bool) {
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return look{place: place{kind: placeNone}}, false
	}
	if err != nil {
		return look{err: err}, false
	}
	defer unix.Close(fd)
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_CTIME, &st); err != nil {
		return look{err: err}, false
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return look{place: place{kind: placeItself}}, false
	}
	if !wait {
		return look{}, true
	}
	var text [unix.PathMax]byte
	n, err := unix.Readlinkat(fd, "", text[:])
	if err != nil || n <= 0 {
		return look{err: unix.EIO}, false
	}
	l = look{place: place{kind: placeLink, target: string(text[:n])}, changed: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec)}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return look{err: err}, false
	}
	l.proc = fs.Type == unix.PROC_SUPER_MAGIC
	return l, false
}
