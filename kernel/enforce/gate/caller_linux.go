package gate

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/process"
	"github.com/testudo-sec/testudo/kernel/record"
)

// deleted is what the kernel writes behind the path of a file that has no name any more.
const deleted = " (deleted)"

// fileOf reads what was opened. The path is "" where the kernel cannot tell it: one that is longer than 4095 bytes.
func fileOf(fd int32, r *record.Record) {
	var st unix.Stat_t
	if unix.Fstat(int(fd), &st) == nil {
		var fs unix.Statfs_t
		_ = unix.Fstatfs(int(fd), &fs)
		r.HasInode = true
		r.Inode = record.Inode{Device: uint64(unix.Major(st.Dev))<<32 | uint64(unix.Minor(st.Dev)), Number: st.Ino, Size: st.Size,
			Modified: st.Mtim.Nano(), Changed: st.Ctim.Nano(), Mode: st.Mode, UID: st.Uid, GID: st.Gid, Links: uint32(st.Nlink),
			FilesystemID: uint32(fs.Type)}
	}
	buf := make([]byte, record.MaxPath+len(deleted))
	n, err := unix.Readlink("/proc/self/fd/"+strconv.Itoa(int(fd)), buf)
	if err != nil || n == len(buf) {
		return
	}
	r.Path = buf[:n]
	if r.HasInode && st.Nlink == 0 { // a file may be called so
		r.Path = bytes.TrimSuffix(r.Path, []byte(deleted))
		r.Flags |= record.FlagDeleted
		if r.Inode.FilesystemID == unix.TMPFS_MAGIC {
			r.Flags |= record.FlagMemory
		}
	}
	if st.Mode&unix.S_ISUID != 0 {
		r.Flags |= record.FlagSetuid
	}
	if st.Mode&unix.S_ISGID != 0 && st.Mode&unix.S_IXGRP != 0 {
		r.Flags |= record.FlagSetgid
	}
}

// forkNoExec is the flag of processes that were forked and have run no program since (PF_FORKNOEXEC).
const forkNoExec = 0x40

// caller is what is known of who opens, beyond the record.
type caller struct{ flags uint64 }

// callerOf reads who opens. Its process waits in the call and can only be ended meanwhile: where pidfd says that it was not, its
// pid was not given away either. cgroup2 is where that is mounted.
func callerOf(pid, pidfd int32, cgroup2 string, r *record.Record) (c caller, ok bool) {
	dir := "/proc/" + strconv.Itoa(int(pid))
	b, err := os.ReadFile(dir + "/stat")
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if err != nil || open < 0 || end < open {
		return c, false
	}
	fields := strings.Fields(string(b[end+1:]))
	if len(fields) < 20 {
		return c, false
	}
	number := func(text string) uint64 { n, _ := strconv.ParseUint(text, 10, 64); return n }
	r.PID, r.TID, r.PPID = uint32(pid), uint32(pid), uint32(number(fields[1]))
	c.flags = number(fields[6])
	r.Start = number(fields[19]) * process.Tick
	r.Flags |= record.FlagSeeded // exact to a tick alone
	r.Comm = bytes.Clone(b[open+1 : end])
	if status, err := os.ReadFile(dir + "/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			switch f := strings.Fields(line); {
			case len(f) < 3:
			case f[0] == "Uid:":
				r.UID = uint32(number(f[2])) // effective
			case f[0] == "Gid:":
				r.GID = uint32(number(f[2]))
			}
		}
	}
	r.LoginUID = record.NoLogin
	if b, err := os.ReadFile(dir + "/loginuid"); err == nil {
		r.LoginUID = uint32(number(string(bytes.TrimSpace(b))))
	}
	r.MntNS, r.PIDNS = namespace(dir+"/ns/mnt"), namespace(dir+"/ns/pid")
	r.Cgroup = cgroupOf(dir, pidfd, cgroup2)
	return c, pidfd < 0 || unix.PidfdSendSignal(int(pidfd), 0, nil, 0) == nil
}

// namespace returns the number in a link such as mnt:[4026531841].
func namespace(link string) uint32 {
	to, err := os.Readlink(link)
	if err != nil {
		return 0
	}
	_, n, _ := strings.Cut(strings.TrimSuffix(to, "]"), ":[")
	id, _ := strconv.ParseUint(n, 10, 32)
	return uint32(id)
}

// cgroupOf returns the id of the cgroup of version 2, as the kernel says it of a pidfd since Linux 6.13.
func cgroupOf(dir string, pidfd int32, cgroup2 string) uint64 {
	if pidfd >= 0 {
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_CGROUPID}
		if unix.IoctlPidfdInfo(int(pidfd), &info) == nil && info.Mask&unix.PIDFD_INFO_CGROUPID != 0 {
			return info.Cgroupid
		}
	}
	b, err := os.ReadFile(dir + "/cgroup")
	if err != nil || cgroup2 == "" {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::"); ok {
			var st unix.Stat_t
			if unix.Stat(filepath.Join(cgroup2, path), &st) == nil {
				return st.Ino
			}
		}
	}
	return 0
}

// mountOfCgroup2 returns where the hierarchy of version 2 is, "" for nowhere.
func mountOfCgroup2() string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		before, after, _ := strings.Cut(line, " - ")
		if at := strings.Fields(before); len(at) > 4 && at[3] == "/" && strings.HasPrefix(after, "cgroup2 ") {
			return at[4]
		}
	}
	return ""
}

func boottime() uint64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t)
	return uint64(t.Nano())
}
