package confine

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// offsets in struct seccomp_data.
const (
	atNumber = 0
	atArch   = 4
	atArgs   = 16
)

// x32 is set in the numbers of system calls of the x32 form, which go around a filter by number.
const x32 = 0x40000000

const auditArchAMD64, auditArchARM64 = 0xc000003e, 0xc00000b7

// Opens says which opens of files the supervisor looks at.
type Opens string

// The choices: each open that is looked at costs some microseconds.
const (
	OpensNone   Opens = "none"
	OpensWrites Opens = "writes" // for writing, or creating
	OpensAll    Opens = "all"
)

// writeFlags are the flags of open that make it one for writing.
const writeFlags = unix.O_WRONLY | unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC

// filter returns the program that hands the calls to the supervisor, refuses what goes around it, and lets all else pass.
func filter(calls []record.Call, opens Opens) ([]unix.SockFilter, error) {
	arch := map[string]uint32{"amd64": auditArchAMD64, "arm64": auditArchARM64}[runtime.GOARCH]
	if arch == 0 {
		return nil, fmt.Errorf("seccomp: no filter for %s", runtime.GOARCH)
	}
	const (
		load = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jeq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		jge  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
		jset = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		ret  = unix.BPF_RET | unix.BPF_K
	)
	refuse := uint32(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS))
	var p []unix.SockFilter
	add := func(code uint16, k uint32, yes, no uint8) {
		p = append(p, unix.SockFilter{Code: code, Jt: yes, Jf: no, K: k})
	}
	add(load, atArch, 0, 0)
	add(jeq, arch, 1, 0)
	add(ret, refuse, 0, 0) // a program of another machine's form: its numbers mean something else
	add(load, atNumber, 0, 0)
	add(jge, x32, 0, 1)
	add(ret, refuse, 0, 0)
	add(jeq, unix.SYS_IO_URING_SETUP, 0, 1)
	add(ret, refuse, 0, 0)
	for _, c := range calls {
		n, ok := record.Number(c)
		if !ok {
			continue
		}
		flags := map[record.Call]uint32{record.CallOpen: 1, record.CallOpenat: 2}[c]
		switch {
		case opens == OpensNone && (flags > 0 || c == record.CallOpenat2 || c == record.CallCreat):
		case opens == OpensWrites && flags > 0:
			low := atArgs + 8*flags
			if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
				low += 4
			}
			add(jeq, uint32(n), 0, 4)
			add(load, low, 0, 0)
			add(jset, writeFlags, 0, 1)
			add(ret, unix.SECCOMP_RET_USER_NOTIF, 0, 0)
			add(ret, unix.SECCOMP_RET_ALLOW, 0, 0)
		default:
			add(jeq, uint32(n), 0, 1)
			add(ret, unix.SECCOMP_RET_USER_NOTIF, 0, 0)
		}
	}
	add(ret, unix.SECCOMP_RET_ALLOW, 0, 0)
	return p, nil
}

// install puts the filter on the calling thread and returns the supervisor's end. The thread must have given up new
// privileges.
func install(p []unix.SockFilter) (int, error) {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	// A signal that comes while the supervisor looks must not make the call anew: a program that gets many would never get past it.
	// Linux 5.19 knows the flag for that; before, the supervisor may be asked again.
	for _, flags := range []uintptr{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER} {
		fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&prog)))
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EINVAL {
			return -1, fmt.Errorf("seccomp: %w", errno)
		}
	}
	return -1, fmt.Errorf("seccomp: a program that a supervisor answers for needs Linux 5.0: %w", kernel.ErrUnable)
}

// watched are the calls that are handed to the supervisor.
func watched() []record.Call {
	return slices.Clone([]record.Call{record.CallExecve, record.CallExecveat, record.CallOpen, record.CallOpenat, record.CallOpenat2, record.CallCreat,
		record.CallConnect, record.CallSendto, record.CallSendmsg, record.CallSendmmsg, record.CallBind, record.CallListen, record.CallPtrace, record.CallProcessVMWritev, record.CallMemfdCreate,
		record.CallUnlink, record.CallUnlinkat, record.CallRename, record.CallRenameat, record.CallRenameat2, record.CallChmod, record.CallFchmodat, record.CallFchmodat2,
		record.CallSymlink, record.CallSymlinkat, record.CallLink, record.CallLinkat, record.CallMount, record.CallUnshare, record.CallSetns,
		record.CallSetuid, record.CallBPF, record.CallKeyctl, record.CallUserfaultfd, record.CallClone, record.CallClone3, record.CallFork, record.CallVfork})
}

// makesTasks reports whether a call makes processes or threads. It is no matter of rules: how many there are is bounded.
func makesTasks(c record.Call) bool {
	return c == record.CallClone || c == record.CallClone3 || c == record.CallFork || c == record.CallVfork
}
