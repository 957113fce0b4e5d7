package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Bounds of what is read of one process.
const (
	maxStatus  = 16 << 10
	maxEnviron = 128 << 10
	maxMounts  = 4 << 20
)

// Seed tells of every process that runs, threads of the kernel too, as an exec with [record.FlagSeeded], parents before children. Root is
// where the host's /proc and /sys are: "/". The record is emit's until it returns. A process that ends meanwhile is left out. Without
// the privilege to look at other users' processes less is told of them. The error says that there is no /proc to read.
func Seed(ctx context.Context, root string, emit func(*record.Record)) error {
	w := &walker{root: root, shift: timeShift(), buf: make([]byte, maxEnviron), overlays: map[uint32][]MountLine{}}
	proc := filepath.Join(root, "proc")
	w.cgroups = CgroupMount(root)
	all, err := w.list(proc)
	if err != nil {
		return err
	}
	for _, s := range all {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r, ok := w.read(proc, s.pid); ok {
			emit(r)
		}
	}
	return nil
}

// walker reads processes one after the other.
type walker struct {
	root     string
	cgroups  string // where cgroup v2 is mounted, "" for nowhere
	shift    int64
	buf      []byte
	overlays map[uint32][]MountLine // by mount namespace
	rec      record.Record
	args     []byte
	env      []byte
}

// list returns the processes, parents before children, else the first to begin first.
func (w *walker) list(proc string) ([]stat, error) {
	dir, err := os.Open(proc)
	if err != nil {
		return nil, fmt.Errorf("processes: %w: mount proc there", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil && len(names) == 0 {
		return nil, fmt.Errorf("processes: %w", err)
	}
	at := map[uint32]stat{}
	var all []stat
	for _, name := range names {
		if pid, err := strconv.ParseUint(name, 10, 32); err != nil || pid == 0 {
			continue
		}
		b, err := os.ReadFile(filepath.Join(proc, name, "stat"))
		if err != nil {
			continue
		}
		if s, err := parseStat(b); err == nil {
			at[s.pid] = s
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b stat) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.pid, b.pid)) })
	done := make(map[uint32]bool, len(all))
	sorted := make([]stat, 0, len(all))
	var chain []stat
	for _, s := range all {
		chain = chain[:0]
		for ok := true; ok && !done[s.pid]; s, ok = at[s.ppid] {
			done[s.pid] = true
			chain = append(chain, s)
		}
		slices.Reverse(chain)
		sorted = append(sorted, chain...)
	}
	return sorted, nil
}

// read makes the record of one process. All files are read below one descriptor of its folder, so that they are of one
// process though its id may be given again.
func (w *walker) read(proc string, pid uint32) (*record.Record, bool) {
	folder, err := unix.Open(filepath.Join(proc, strconv.FormatUint(uint64(pid), 10)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, false
	}
	defer unix.Close(folder)
	d := folderOf{folder}
	boot, _ := readClocks()
	s, err := parseStat(d.read("stat", w.buf[:maxStatus]))
	if err != nil || s.pid != pid {
		return nil, false
	}
	comm := slices.Clone(s.comm[:min(len(s.comm), 15)])
	st := parseStatus(d.read("status", w.buf[:maxStatus]))
	w.rec = record.Record{Kind: record.KindExec, Flags: record.FlagSeeded, Time: uint64(max(boot, 0)), Start: uint64(max(int64(s.start)*Tick-w.shift, 0)),
		PID: pid, TID: pid, PPID: s.ppid, UID: st.uid[1], GID: st.gid[1], LoginUID: record.NoLogin, Comm: comm,
		MntNS: d.namespace("ns/mnt"), PIDNS: d.namespace("ns/pid"), HasCreds: true,
		Creds: record.Creds{UID: st.uid[0], EUID: st.uid[1], SUID: st.uid[2], FSUID: st.uid[3], GID: st.gid[0], EGID: st.gid[1], SGID: st.gid[2], FSGID: st.gid[3],
			Permitted: st.permitted, Effective: st.effective, Inheritable: st.inheritable, Bounding: st.bounds,
			Session: own(st.sessions, s.session), Group: own(st.groups, s.group), VPID: own(st.pids, pid), VTID: own(st.pids, pid), TTY: s.tty}}
	r := &w.rec
	if s.tty != 0 {
		r.Flags |= record.FlagTTY
	}
	if n, err := strconv.ParseUint(strings.TrimSpace(string(d.read("loginuid", w.buf[:64]))), 10, 32); err == nil {
		r.LoginUID = uint32(n)
	}
	r.Cgroup = w.cgroup(d.read("cgroup", w.buf[:maxStatus]))
	if s.flags&kernelThread != 0 {
		r.Flags |= record.FlagKernel
		return r, true
	}
	w.executable(r, d)
	if link, ok := d.link("cwd"); ok {
		st, _, _ := d.stat("cwd")
		r.Cwd = []byte(d.named(link, st))
	}
	w.args = append(w.args[:0], d.read("cmdline", w.buf[:record.MaxText])...)
	if r.Args = w.args; len(r.Args) == record.MaxText {
		r.Flags |= record.FlagTruncated
	}
	w.env = appendNames(w.env[:0], d.read("environ", w.buf), record.MaxText)
	r.Env = w.env
	clear(w.buf) // values are of no concern
	for i := range r.Stdio {
		if r.Stdio[i] = d.stream("fd/" + strconv.Itoa(i)); r.Stdio[i].Type == record.StreamSocket {
			r.Flags |= record.FlagSocket
		}
	}
	r.HasStdio = d.opens("fd")
	return r, true
}

// own is the number in the innermost namespace.
func own(all []uint32, outer uint32) uint32 {
	if len(all) == 0 {
		return outer
	}
	return all[len(all)-1]
}

// file systems whose files are in memory.
const (
	magicTmpfs   = 0x01021994
	magicOverlay = 0x794c7630
	magicHuge    = 0x958458f6
)

// executable tells what /proc/PID/exe leads to: the file itself, whatever its name is now.
func (w *walker) executable(r *record.Record, d folderOf) {
	link, ok := d.link("exe")
	if !ok {
		return
	}
	st, fs, ok := d.stat("exe")
	if !ok {
		r.Path = []byte(strings.TrimSuffix(link, deleted))
		return
	}
	path := d.named(link, st)
	r.Path = []byte(path)
	r.HasInode = true
	r.Inode = record.Inode{Device: uint64(st.Dev_major)<<32 | uint64(st.Dev_minor), Number: st.Ino, Size: int64(st.Size),
		Modified: st.Mtime.Sec*1e9 + int64(st.Mtime.Nsec), Changed: st.Ctime.Sec*1e9 + int64(st.Ctime.Nsec), Mode: uint32(st.Mode), UID: st.Uid, GID: st.Gid,
		Links: st.Nlink, FilesystemID: fs}
	if st.Nlink == 0 {
		r.Flags |= record.FlagDeleted
		if fs == magicTmpfs || fs == magicHuge {
			r.Flags |= record.FlagMemory
		}
	}
	if st.Mode&unix.S_ISUID != 0 {
		r.Flags |= record.FlagSetuid
	}
	if st.Mode&(unix.S_ISGID|0o010) == unix.S_ISGID|0o010 {
		r.Flags |= record.FlagSetgid
	}
	if writable(r, st) {
		r.Flags |= record.FlagWritable
	}
	if fs == magicOverlay && w.upper(r.MntNS, d, path) {
		r.Flags |= record.FlagUpper
	}
}

// writable reports whether the process may write the file by its owner, group and mode, or because it may write all.
func writable(r *record.Record, st unix.Statx_t) bool {
	const overrides = 1 << unix.CAP_DAC_OVERRIDE
	mode := st.Mode & 0o002
	switch {
	case r.Creds.Effective&overrides != 0:
		return true
	case st.Uid == r.Creds.FSUID:
		mode = st.Mode & 0o200
	case st.Gid == r.Creds.FSGID:
		mode = st.Mode & 0o020
	}
	return mode != 0
}

// upper reports whether a path of the process is on the upper layer of an overlay: something changed since the image was mounted. The
// folder of that layer is a path of who mounted it, mostly of the host.
func (w *walker) upper(namespace uint32, d folderOf, path string) bool {
	mounts, ok := w.overlays[namespace]
	if !ok {
		for _, m := range ParseMounts(d.read("mountinfo", make([]byte, maxMounts))) {
			if m.Type == "overlay" {
				mounts = append(mounts, m)
			}
		}
		w.overlays[namespace] = mounts
	}
	var best MountLine
	for _, m := range mounts {
		if below(path, m.Point) && len(m.Point) >= len(best.Point) {
			best = m
		}
	}
	dir, ok := best.Option("upperdir")
	if !ok || !filepath.IsAbs(dir) {
		return false
	}
	_, err := os.Lstat(filepath.Join(w.root, dir, best.Root, strings.TrimPrefix(path, best.Point)))
	return err == nil
}

// below reports whether path is dir or below it.
func below(path, dir string) bool {
	return dir == "/" || path == dir || strings.HasPrefix(path, dir) && path[len(dir)] == '/'
}

// cgroup returns the id of the cgroup v2 folder, 0 where it is not known.
func (w *walker) cgroup(b []byte) uint64 {
	for _, line := range ParseCgroups(b) {
		if line.Hierarchy != 0 || w.cgroups == "" || strings.HasPrefix(line.Path, "/..") {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join(w.cgroups, line.Path), &st) == nil {
			return st.Ino
		}
	}
	return 0
}

// CgroupMount returns where cgroup v2 is mounted, "" for nowhere. Root is as for [Seed].
func CgroupMount(root string) string {
	for _, dir := range []string{"sys/fs/cgroup", "sys/fs/cgroup/unified"} {
		var fs unix.Statfs_t
		path := filepath.Join(root, dir)
		if unix.Statfs(path, &fs) == nil && uint32(fs.Type) == unix.CGROUP2_SUPER_MAGIC {
			return path
		}
	}
	b, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return ""
	}
	for _, m := range ParseMounts(b) {
		if m.Type == "cgroup2" && m.Root == "/" {
			return filepath.Join(root, m.Point)
		}
	}
	return ""
}

// folderOf is an open /proc/PID.
type folderOf struct{ fd int }

// read fills buf with what is at the beginning of the file; nothing where it cannot be read.
func (d folderOf) read(name string, buf []byte) []byte {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	n := 0
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m <= 0 {
			break
		}
		n += m
	}
	return buf[:n]
}

func (d folderOf) link(name string) (string, bool) {
	var b [record.MaxPath + 64]byte
	n, err := unix.Readlinkat(d.fd, name, b[:])
	return string(b[:max(n, 0)]), err == nil && n > 0
}

// opens reports whether we may look into the folder.
func (d folderOf) opens(name string) bool {
	fd, err := unix.Openat(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	_ = unix.Close(fd)
	return true
}

// namespace returns the inode number of "mnt:[4026531840]".
func (d folderOf) namespace(name string) uint32 {
	link, _ := d.link(name)
	n, _ := strconv.ParseUint(between(link, '[', ']'), 10, 32)
	return uint32(n)
}

func between(s string, open, shut byte) string {
	i, j := strings.IndexByte(s, open), strings.LastIndexByte(s, shut)
	if i < 0 || j < i {
		return ""
	}
	return s[i+1 : j]
}

// stat looks at what a link leads to, without asking a server of files for what it knows: it may not answer.
func (d folderOf) stat(name string) (st unix.Statx_t, fs uint32, ok bool) {
	fd, err := unix.Openat(d.fd, name, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return st, 0, false
	}
	defer unix.Close(fd)
	err = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_BASIC_STATS, &st)
	var of unix.Statfs_t
	if unix.Fstatfs(fd, &of) == nil {
		fs = uint32(of.Type)
	}
	return st, fs, err == nil
}

// deleted is what the kernel puts behind names that are no more. A file may really be called so.
const deleted = " (deleted)"

// named returns the path that a file has, or had.
func (d folderOf) named(link string, st unix.Statx_t) string {
	if !strings.HasSuffix(link, deleted) {
		return link
	}
	if st.Nlink > 0 {
		if there, _, ok := d.stat("root" + link); ok && there.Ino == st.Ino && there.Dev_major == st.Dev_major && there.Dev_minor == st.Dev_minor {
			return link
		}
	}
	return strings.TrimSuffix(link, deleted)
}

// stream says what a descriptor is.
func (d folderOf) stream(name string) record.Descriptor {
	link, ok := d.link(name)
	if !ok {
		return record.Descriptor{}
	}
	number, _ := strconv.ParseUint(between(link, '[', ']'), 10, 64)
	switch {
	case strings.HasPrefix(link, "socket:["):
		return record.Descriptor{Type: record.StreamSocket, Inode: number}
	case strings.HasPrefix(link, "pipe:["):
		return record.Descriptor{Type: record.StreamPipe, Inode: number}
	case !strings.HasPrefix(link, "/"):
		return record.Descriptor{Type: record.StreamOther, Inode: number}
	}
	st, _, ok := d.stat(name)
	if !ok {
		return record.Descriptor{Type: record.StreamOther}
	}
	kind := record.StreamOther
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		kind = record.StreamFile
	case unix.S_IFCHR, unix.S_IFBLK:
		kind = record.StreamDevice
	case unix.S_IFIFO:
		kind = record.StreamPipe
	case unix.S_IFSOCK:
		kind = record.StreamSocket
	}
	return record.Descriptor{Type: kind, Inode: st.Ino}
}

// Alive returns what [Table.Sweep] asks: whether a process is there by /proc. Where others' processes are hidden from us it says yes.
func Alive(root string) func(pid uint32, start uint64) bool {
	proc, shift := filepath.Join(root, "proc"), timeShift()
	if _, err := os.ReadFile(filepath.Join(proc, "1/stat")); err != nil {
		return func(uint32, uint64) bool { return true }
	}
	return func(pid uint32, start uint64) bool {
		b, err := os.ReadFile(filepath.Join(proc, strconv.FormatUint(uint64(pid), 10), "stat"))
		if err != nil {
			return !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH)
		}
		s, err := parseStat(b)
		return err != nil || start == 0 || s.state != 'Z' && sameStart(start, true, uint64(max(int64(s.start)*Tick-shift, 0)), true)
	}
}

// BootID returns the kernel's name of this boot.
func BootID(root string) (string, error) {
	b, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("which boot this is: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}
