package record

import "golang.org/x/sys/unix"

// Number returns the number of a system call on this machine, and false where it has none of that name.
func Number(c Call) (int, bool) {
	switch c {
	case CallExecve:
		return unix.SYS_EXECVE, true
	case CallExecveat:
		return unix.SYS_EXECVEAT, true
	case CallOpen:
		return unix.SYS_OPEN, true
	case CallOpenat:
		return unix.SYS_OPENAT, true
	case CallOpenat2:
		return unix.SYS_OPENAT2, true
	case CallCreat:
		return unix.SYS_CREAT, true
	case CallRename:
		return unix.SYS_RENAME, true
	case CallRenameat:
		return unix.SYS_RENAMEAT, true
	case CallRenameat2:
		return unix.SYS_RENAMEAT2, true
	case CallUnlink:
		return unix.SYS_UNLINK, true
	case CallUnlinkat:
		return unix.SYS_UNLINKAT, true
	case CallRmdir:
		return unix.SYS_RMDIR, true
	case CallMkdir:
		return unix.SYS_MKDIR, true
	case CallMkdirat:
		return unix.SYS_MKDIRAT, true
	case CallLink:
		return unix.SYS_LINK, true
	case CallLinkat:
		return unix.SYS_LINKAT, true
	case CallSymlink:
		return unix.SYS_SYMLINK, true
	case CallSymlinkat:
		return unix.SYS_SYMLINKAT, true
	case CallChmod:
		return unix.SYS_CHMOD, true
	case CallFchmod:
		return unix.SYS_FCHMOD, true
	case CallFchmodat:
		return unix.SYS_FCHMODAT, true
	case CallFchmodat2:
		return unix.SYS_FCHMODAT2, true
	case CallChown:
		return unix.SYS_CHOWN, true
	case CallFchown:
		return unix.SYS_FCHOWN, true
	case CallLchown:
		return unix.SYS_LCHOWN, true
	case CallFchownat:
		return unix.SYS_FCHOWNAT, true
	case CallTruncate:
		return unix.SYS_TRUNCATE, true
	case CallFtruncate:
		return unix.SYS_FTRUNCATE, true
	case CallMknod:
		return unix.SYS_MKNOD, true
	case CallMknodat:
		return unix.SYS_MKNODAT, true
	case CallSetxattr:
		return unix.SYS_SETXATTR, true
	case CallConnect:
		return unix.SYS_CONNECT, true
	case CallAccept:
		return unix.SYS_ACCEPT, true
	case CallAccept4:
		return unix.SYS_ACCEPT4, true
	case CallBind:
		return unix.SYS_BIND, true
	case CallListen:
		return unix.SYS_LISTEN, true
	case CallSocket:
		return unix.SYS_SOCKET, true
	case CallSendto:
		return unix.SYS_SENDTO, true
	case CallSendmsg:
		return unix.SYS_SENDMSG, true
	case CallSendmmsg:
		return unix.SYS_SENDMMSG, true
	case CallRecvfrom:
		return unix.SYS_RECVFROM, true
	case CallRecvmsg:
		return unix.SYS_RECVMSG, true
	case CallDup:
		return unix.SYS_DUP, true
	case CallDup2:
		return unix.SYS_DUP2, true
	case CallDup3:
		return unix.SYS_DUP3, true
	case CallSetuid:
		return unix.SYS_SETUID, true
	case CallSetgid:
		return unix.SYS_SETGID, true
	case CallSetreuid:
		return unix.SYS_SETREUID, true
	case CallSetregid:
		return unix.SYS_SETREGID, true
	case CallSetresuid:
		return unix.SYS_SETRESUID, true
	case CallSetresgid:
		return unix.SYS_SETRESGID, true
	case CallSetfsuid:
		return unix.SYS_SETFSUID, true
	case CallSetfsgid:
		return unix.SYS_SETFSGID, true
	case CallCapset:
		return unix.SYS_CAPSET, true
	case CallPrctl:
		return unix.SYS_PRCTL, true
	case CallPtrace:
		return unix.SYS_PTRACE, true
	case CallProcessVMReadv:
		return unix.SYS_PROCESS_VM_READV, true
	case CallProcessVMWritev:
		return unix.SYS_PROCESS_VM_WRITEV, true
	case CallInitModule:
		return unix.SYS_INIT_MODULE, true
	case CallFinitModule:
		return unix.SYS_FINIT_MODULE, true
	case CallDeleteModule:
		return unix.SYS_DELETE_MODULE, true
	case CallMount:
		return unix.SYS_MOUNT, true
	case CallUmount2:
		return unix.SYS_UMOUNT2, true
	case CallMoveMount:
		return unix.SYS_MOVE_MOUNT, true
	case CallOpenTree:
		return unix.SYS_OPEN_TREE, true
	case CallFsopen:
		return unix.SYS_FSOPEN, true
	case CallFsmount:
		return unix.SYS_FSMOUNT, true
	case CallPivotRoot:
		return unix.SYS_PIVOT_ROOT, true
	case CallChroot:
		return unix.SYS_CHROOT, true
	case CallSetns:
		return unix.SYS_SETNS, true
	case CallUnshare:
		return unix.SYS_UNSHARE, true
	case CallClone:
		return unix.SYS_CLONE, true
	case CallClone3:
		return unix.SYS_CLONE3, true
	case CallFork:
		return unix.SYS_FORK, true
	case CallVfork:
		return unix.SYS_VFORK, true
	case CallBPF:
		return unix.SYS_BPF, true
	case CallMemfdCreate:
		return unix.SYS_MEMFD_CREATE, true
	case CallUserfaultfd:
		return unix.SYS_USERFAULTFD, true
	case CallKill:
		return unix.SYS_KILL, true
	case CallTkill:
		return unix.SYS_TKILL, true
	case CallTgkill:
		return unix.SYS_TGKILL, true
	case CallPidfdSendSignal:
		return unix.SYS_PIDFD_SEND_SIGNAL, true
	case CallKeyctl:
		return unix.SYS_KEYCTL, true
	case CallAddKey:
		return unix.SYS_ADD_KEY, true
	case CallRequestKey:
		return unix.SYS_REQUEST_KEY, true
	case CallPerfEventOpen:
		return unix.SYS_PERF_EVENT_OPEN, true
	case CallKexecLoad:
		return unix.SYS_KEXEC_LOAD, true
	case CallKexecFileLoad:
		return unix.SYS_KEXEC_FILE_LOAD, true
	case CallSethostname:
		return unix.SYS_SETHOSTNAME, true
	case CallReboot:
		return unix.SYS_REBOOT, true
	case CallSwapon:
		return unix.SYS_SWAPON, true
	case CallSwapoff:
		return unix.SYS_SWAPOFF, true
	case CallMprotect:
		return unix.SYS_MPROTECT, true
	case CallIoUringSetup:
		return unix.SYS_IO_URING_SETUP, true
	case CallQuotactl:
		return unix.SYS_QUOTACTL, true
	case CallSyslog:
		return unix.SYS_SYSLOG, true
	case CallExit:
		return unix.SYS_EXIT, true
	case CallExitGroup:
		return unix.SYS_EXIT_GROUP, true
	}
	return 0, false
}
