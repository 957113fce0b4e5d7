//go:build ignore
// The binary form of records: kernel/record in C. A test holds the two together.
#ifndef TESTUDO_RECORD_H
#define TESTUDO_RECORD_H

#define RECORD_HEADER 104
#define RECORD_MAX (64 << 10)
#define TEXT_MAX (16 << 10)
#define PATH_LEN 4096

struct record {
	__u32 size;
	__u16 kind;
	__u16 call;
	__u64 time;
	__u64 start;
	__u64 cgroup;
	__u64 token;
	__s64 ret;
	__u32 pid;
	__u32 tid;
	__u32 ppid;
	__u32 uid;
	__u32 gid;
	__u32 loginuid;
	__u32 mntns;
	__u32 pidns;
	__u32 flags;
	__u32 reserved;
	char comm[16];
};

enum kind {
	KIND_NONE, KIND_EXEC, KIND_FORK, KIND_EXIT, KIND_CALL, KIND_CONNECT, KIND_ACCEPT, KIND_BIND, KIND_LISTEN, KIND_FLOW,
	KIND_DNS, KIND_SERVE, KIND_SEND, KIND_LOST, KIND_ENFORCED, KIND_CHANGE,
};

enum flag {
	FLAG_SEEDED = 1 << 0, FLAG_TRUNCATED = 1 << 1, FLAG_THREAD = 1 << 2, FLAG_KERNEL = 1 << 3, FLAG_UPPER = 1 << 4,
	FLAG_MEMORY = 1 << 5, FLAG_DELETED = 1 << 6, FLAG_SETUID = 1 << 7, FLAG_SETGID = 1 << 8, FLAG_IPC32 = 1 << 9,
	FLAG_AMBIGUOUS = 1 << 10, FLAG_INBOUND = 1 << 11, FLAG_SOCKET = 1 << 12, FLAG_WRITABLE = 1 << 13, FLAG_TTY = 1 << 14,
	FLAG_UNSURE = 1 << 15,
};

enum tag {
	TAG_PATH = 1, TAG_PATH2, TAG_NAME, TAG_CWD, TAG_ARGS, TAG_ENV, TAG_DATA, TAG_NUMS, TAG_INODE, TAG_CREDS, TAG_STDIO,
	TAG_NET, TAG_RANGE, TAG_PEER,
};

enum gate { GATE_NONE, GATE_LSM, GATE_CGROUP, GATE_FANOTIFY, GATE_SECCOMP, GATE_EXEC_KILL, GATE_KILL };

struct part {
	__u16 tag;
	__u16 len;
};

struct part_inode {
	__u64 device; /* major << 32 | minor */
	__u64 number;
	__s64 size;
	__s64 modified;
	__s64 changed;
	__u32 mode;
	__u32 uid;
	__u32 gid;
	__u32 links;
	__u32 filesystem;
	__u32 reserved;
};

struct part_creds {
	__u32 uid, euid, suid, fsuid;
	__u32 gid, egid, sgid, fsgid;
	__u64 permitted, effective, inheritable, bounding;
	__u32 session, group, vpid, vtid, tty, reserved;
};

struct part_stdio {
	struct {
		__u32 type;
		__u32 reserved;
		__u64 inode;
	} fd[3];
};

enum stream { STREAM_NONE, STREAM_FILE, STREAM_DEVICE, STREAM_PIPE, STREAM_SOCKET, STREAM_OTHER, STREAM_UNIX, STREAM_INET, STREAM_INET6 };

struct part_net {
	__u8 family;
	__u8 protocol;
	__u8 set; /* 1: local is known, 2: remote is known */
	__u8 reserved;
	__s32 fd;
	__u32 netns;
	__u32 reserved2;
	__u64 cookie;
	__u64 bytes_in, bytes_out, packets_in, packets_out;
	__u64 began;
	__u8 local[16];
	__u8 remote[16];
	__u16 local_port; /* in the byte order of the machine */
	__u16 remote_port;
	__u8 reserved3[28];
};

struct part_range {
	__u64 from, to;
};

#define CALLS(X) \
	X(execve) X(execveat) X(open) X(openat) X(openat2) X(creat) X(rename) X(renameat) X(renameat2) X(unlink) X(unlinkat) \
	X(rmdir) X(mkdir) X(mkdirat) X(link) X(linkat) X(symlink) X(symlinkat) X(chmod) X(fchmod) X(fchmodat) X(fchmodat2) \
	X(chown) X(fchown) X(lchown) X(fchownat) X(truncate) X(ftruncate) X(mknod) X(mknodat) X(setxattr) X(connect) X(accept) \
	X(accept4) X(bind) X(listen) X(socket) X(sendto) X(sendmsg) X(sendmmsg) X(recvfrom) X(recvmsg) X(dup) X(dup2) X(dup3) \
	X(setuid) X(setgid) X(setreuid) X(setregid) X(setresuid) X(setresgid) X(setfsuid) X(setfsgid) X(capset) X(prctl) \
	X(ptrace) X(process_vm_readv) X(process_vm_writev) X(init_module) X(finit_module) X(delete_module) X(mount) \
	X(umount2) X(move_mount) X(open_tree) X(fsopen) X(fsmount) X(pivot_root) X(chroot) X(setns) X(unshare) X(clone) \
	X(clone3) X(fork) X(vfork) X(bpf) X(memfd_create) X(userfaultfd) X(kill) X(tkill) X(tgkill) X(pidfd_send_signal) \
	X(keyctl) X(add_key) X(request_key) X(perf_event_open) X(kexec_load) X(kexec_file_load) X(sethostname) X(reboot) \
	X(swapon) X(swapoff) X(mprotect) X(io_uring_setup) X(quotactl) X(syslog) X(exit) X(exit_group)

enum call {
	CALL_NONE,
#define X(name) CALL_##name,
	CALLS(X)
#undef X
	CALL_END,
};

#endif
