//go:build linux && (amd64 || arm64)

package privilege

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are the system calls that the Go runtime and the sensor use, on all machines. What one machine has besides stands in its own
// file.
var calls = [...]uintptr{
	// The runtime: threads, memory, time, signals.
	unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_CLOCK_GETRES, unix.SYS_GETTIMEOFDAY, unix.SYS_SCHED_YIELD,
	unix.SYS_SCHED_GETAFFINITY, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MREMAP, unix.SYS_BRK,
	unix.SYS_MEMBARRIER, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_SET_TID_ADDRESS, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK,
	unix.SYS_RT_SIGRETURN, unix.SYS_RT_SIGTIMEDWAIT, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL, unix.SYS_TGKILL, unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_GETPPID,
	unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_PRCTL, unix.SYS_GETRANDOM, unix.SYS_TIMER_CREATE, unix.SYS_TIMER_SETTIME, unix.SYS_TIMER_DELETE, unix.SYS_SETITIMER,
	unix.SYS_GETRUSAGE, unix.SYS_PRLIMIT64, unix.SYS_GETRLIMIT, unix.SYS_UNAME, unix.SYS_SYSINFO, unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID,
	unix.SYS_CAPGET,
	// Files: /proc, /sys, executables, package databases.
	unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_CLOSE, unix.SYS_CLOSE_RANGE, unix.SYS_READ, unix.SYS_PREAD64, unix.SYS_READV, unix.SYS_WRITE, unix.SYS_WRITEV, unix.SYS_PWRITE64,
	unix.SYS_LSEEK, unix.SYS_FSTAT, unix.SYS_STATX, unix.SYS_FSTATFS, unix.SYS_STATFS, unix.SYS_GETDENTS64, unix.SYS_READLINKAT, unix.SYS_FACCESSAT, unix.SYS_FACCESSAT2,
	unix.SYS_FCNTL, unix.SYS_FADVISE64, unix.SYS_GETCWD, unix.SYS_DUP, unix.SYS_DUP3, unix.SYS_PIPE2, unix.SYS_IOCTL, unix.SYS_NAME_TO_HANDLE_AT, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_FLISTXATTR, unix.SYS_FGETXATTR, unix.SYS_FLOCK,
	// Which action froze a cgroup stands at its folder; to change the attributes of executables takes a capability that is not kept.
	unix.SYS_GETXATTR, unix.SYS_SETXATTR, unix.SYS_REMOVEXATTR,
	// Pins of eBPF objects, in their own file system: a limit on the size of files keeps it from writing elsewhere.
	unix.SYS_MKDIRAT, unix.SYS_UNLINKAT,
	// Waiting.
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EPOLL_PWAIT2, unix.SYS_PPOLL, unix.SYS_PSELECT6, unix.SYS_EVENTFD2, unix.SYS_TIMERFD_CREATE,
	unix.SYS_TIMERFD_SETTIME, unix.SYS_TIMERFD_GETTIME,
	// Sockets: which families may be made is looked at below.
	unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_SENDTO, unix.SYS_RECVFROM, unix.SYS_SENDMSG, unix.SYS_RECVMSG, unix.SYS_SHUTDOWN, unix.SYS_GETSOCKNAME, unix.SYS_GETPEERNAME,
	unix.SYS_SETSOCKOPT, unix.SYS_GETSOCKOPT,
	// What the sensor is for.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_FANOTIFY_INIT, unix.SYS_FANOTIFY_MARK, unix.SYS_INOTIFY_INIT1, unix.SYS_INOTIFY_ADD_WATCH, unix.SYS_INOTIFY_RM_WATCH,
	unix.SYS_KILL, unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_SEND_SIGNAL, unix.SYS_SETNS, unix.SYS_UNSHARE,
}

// deadly are the calls by which somebody who runs code in the sensor would go on, and which the sensor never makes: they end it.
var deadly = [...]uintptr{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE,
	unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_MOVE_MOUNT, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_REBOOT, unix.SYS_SWAPON,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
}

// Offsets in seccomp_data, seccomp(2).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArg0   = 16 // its low half, on machines of little endian
)

// Filter leaves the process, all its threads, the calls that are listed, for ever. Of sockets only unix and netlink ones can be made, and
// of clone only threads: the sensor reaches no network and starts no program. Calls that nobody listed are refused with EPERM, those newer than
// this program with ENOSYS, so that libraries do without them; deadly ones end the process.
func Filter() error {
	program := assemble()
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	r, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(program)
	switch {
	case errno != 0:
		return fmt.Errorf("seccomp filter: %w", errno)
	case r != 0:
		return fmt.Errorf("seccomp filter: thread %d could not take it", r)
	}
	return nil
}

// newest is a number above all system calls that this program knows of; the kernel gives new ones the next.
const newest = 470

// assemble writes the filter. The list is gone through from its beginning; since Linux 5.11 the kernel does that once for each call
// that is always allowed.
func assemble() []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	jump := func(op uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: yes, Jf: no, K: k}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	allow, kill := answer(unix.SECCOMP_RET_ALLOW), answer(unix.SECCOMP_RET_KILL_PROCESS)
	refuse := func(errno unix.Errno) unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(errno)) }

	p := []unix.SockFilter{
		load(offsetArch),
		jump(unix.BPF_JEQ, machine, 1, 0),
		kill, // a call by the machine's other form, which has other numbers
		load(offsetNumber),
	}
	for _, list := range [][]uintptr{calls[:], machineCalls[:]} {
		for _, c := range list {
			p = append(p, jump(unix.BPF_JEQ, uint32(c), 0, 1), allow)
		}
	}
	for _, c := range deadly {
		p = append(p, jump(unix.BPF_JEQ, uint32(c), 0, 1), kill)
	}
	return append(p,
		jump(unix.BPF_JEQ, unix.SYS_SOCKET, 0, 5),
		load(offsetArg0),
		jump(unix.BPF_JEQ, unix.AF_UNIX, 1, 0),
		jump(unix.BPF_JEQ, unix.AF_NETLINK, 0, 1),
		allow,
		refuse(unix.EAFNOSUPPORT),
		jump(unix.BPF_JEQ, unix.SYS_CLONE, 0, 4),
		load(offsetArg0),
		jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1),
		allow,
		refuse(unix.EPERM),
		jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1),
		refuse(unix.ENOSYS), // its flags are in memory, where a filter cannot look
		jump(unix.BPF_JGE, newest, 0, 1),
		refuse(unix.ENOSYS),
		refuse(unix.EPERM),
	)
}
