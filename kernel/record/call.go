package record

import "fmt"

// Call is a system call that the sensor knows, under a number that does not depend on the machine.
//
// Nums of a record of KindCall are the arguments of the call in their order, as many as the call has, pointers and descriptors too; Ret is
// what it returned. In the place of a pointer to a struct stands what is in it:
//
//   - openat2: Nums[2] is how.flags, Nums[3] how.mode
//   - clone3: Nums[0] is args.flags
//   - kill, tkill, tgkill, ptrace, process_vm_readv, process_vm_writev, pidfd_send_signal: Path is the executable of the process that it is
//     done to, where it was found; pidfd_send_signal: Nums[0] is its process id in the place of the descriptor
//   - setns: Nums[1] is the kind of the namespace (CLONE_NEW...) where the caller passed 0
//
// Path is the file that it is about, of rename and link the one there was, Path2 the new one: where the names that the caller passed led, through links and
// all else, but for FlagUnsure. Of calls that failed because nothing was there it is what was passed. Name is what the caller passed: the target of a
// symbolic link (whose own path is Path), the type of a mounted file system, the name of a memfd, the parameters of a module, the old path as given.
// Net is set where a descriptor that it is about is a socket (dup, sendto, recvfrom, ...).
type Call uint16

// The calls. Numbers are shared with kernel/bpf/record.h and only ever added to.
const (
	CallNone Call = iota
	CallExecve
	CallExecveat
	CallOpen
	CallOpenat
	CallOpenat2
	CallCreat
	CallRename
	CallRenameat
	CallRenameat2
	CallUnlink
	CallUnlinkat
	CallRmdir
	CallMkdir
	CallMkdirat
	CallLink
	CallLinkat
	CallSymlink
	CallSymlinkat
	CallChmod
	CallFchmod
	CallFchmodat
	CallFchmodat2
	CallChown
	CallFchown
	CallLchown
	CallFchownat
	CallTruncate
	CallFtruncate
	CallMknod
	CallMknodat
	CallSetxattr
	CallConnect
	CallAccept
	CallAccept4
	CallBind
	CallListen
	CallSocket
	CallSendto
	CallSendmsg
	CallSendmmsg
	CallRecvfrom
	CallRecvmsg
	CallDup
	CallDup2
	CallDup3
	CallSetuid
	CallSetgid
	CallSetreuid
	CallSetregid
	CallSetresuid
	CallSetresgid
	CallSetfsuid
	CallSetfsgid
	CallCapset
	CallPrctl
	CallPtrace
	CallProcessVMReadv
	CallProcessVMWritev
	CallInitModule
	CallFinitModule
	CallDeleteModule
	CallMount
	CallUmount2
	CallMoveMount
	CallOpenTree
	CallFsopen
	CallFsmount
	CallPivotRoot
	CallChroot
	CallSetns
	CallUnshare
	CallClone
	CallClone3
	CallFork
	CallVfork
	CallBPF
	CallMemfdCreate
	CallUserfaultfd
	CallKill
	CallTkill
	CallTgkill
	CallPidfdSendSignal
	CallKeyctl
	CallAddKey
	CallRequestKey
	CallPerfEventOpen
	CallKexecLoad
	CallKexecFileLoad
	CallSethostname
	CallReboot
	CallSwapon
	CallSwapoff
	CallMprotect
	CallIoUringSetup
	CallQuotactl
	CallSyslog
	CallExit
	CallExitGroup
	callEnd
)

var callNames = [...]string{"", "execve", "execveat", "open", "openat", "openat2", "creat", "rename", "renameat", "renameat2", "unlink", "unlinkat",
	"rmdir", "mkdir", "mkdirat", "link", "linkat", "symlink", "symlinkat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown",
	"fchownat", "truncate", "ftruncate", "mknod", "mknodat", "setxattr", "connect", "accept", "accept4", "bind", "listen", "socket", "sendto",
	"sendmsg", "sendmmsg", "recvfrom", "recvmsg", "dup", "dup2", "dup3", "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid",
	"setfsuid", "setfsgid", "capset", "prctl", "ptrace", "process_vm_readv", "process_vm_writev", "init_module", "finit_module", "delete_module",
	"mount", "umount2", "move_mount", "open_tree", "fsopen", "fsmount", "pivot_root", "chroot", "setns", "unshare", "clone", "clone3", "fork",
	"vfork", "bpf", "memfd_create", "userfaultfd", "kill", "tkill", "tgkill", "pidfd_send_signal", "keyctl", "add_key", "request_key",
	"perf_event_open", "kexec_load", "kexec_file_load", "sethostname", "reboot", "swapon", "swapoff", "mprotect", "io_uring_setup", "quotactl",
	"syslog", "exit", "exit_group"}

// String returns the name of the system call, "" for none.
func (c Call) String() string {
	if int(c) < len(callNames) {
		return callNames[c]
	}
	return fmt.Sprintf("call_%d", uint16(c))
}

// Calls returns every call that the sensor knows, in the order of their numbers.
func Calls() []Call {
	all := make([]Call, 0, callEnd-1)
	for c := CallNone + 1; c < callEnd; c++ {
		all = append(all, c)
	}
	return all
}

// ParseCall returns the call of that name.
func ParseCall(name string) (Call, bool) {
	for i, n := range callNames {
		if n == name && i > 0 {
			return Call(i), true
		}
	}
	return CallNone, false
}
