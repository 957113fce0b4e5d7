//go:build ignore
// The kernel's structures, as far as programs read them. CO-RE finds the fields where the running kernel has them; a name that ends in
// ___word is the same structure as other releases declare it. Sorted by name; docs/decisions/0021-kernel-tracepoints.md lists what is
// read and why.
#ifndef TESTUDO_KERNEL_H
#define TESTUDO_KERNEL_H

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
	int counter;
} atomic_t;

typedef struct {
	__u32 val;
} kuid_t;

typedef struct {
	__u32 val;
} kgid_t;

/* Before 6.3 a pair of 32 bits, since then one of 64: the same 8 bytes. */
typedef struct {
	__u64 val;
} kernel_cap_t;

typedef struct {
	__s64 counter;
} atomic64_t;

typedef struct {
	struct net *net;
} possible_net_t;

struct cgroup {
	struct kernfs_node *kn;
};

struct cred {
	kuid_t uid, suid, euid, fsuid;
	kgid_t gid, sgid, egid, fsgid;
	kernel_cap_t cap_inheritable, cap_permitted, cap_effective, cap_bset;
	struct user_namespace *user_ns;
	struct group_info *group_info;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct qstr {
	union {
		struct {
			__u32 hash;
			__u32 len;
		};
	};
	const unsigned char *name;
};

struct dentry {
	struct dentry *d_parent;
	struct qstr d_name;
	struct inode *d_inode;
	struct super_block *d_sb;
};

struct fdtable {
	unsigned int max_fds;
	struct file **fd;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct file {
	unsigned int f_mode;
	unsigned int f_flags;
	struct inode *f_inode;
	void *private_data;
	struct path f_path;
};

struct files_struct {
	struct fdtable *fdt;
};

struct fs_struct {
	struct path root;
	struct path pwd;
};

struct group_info {
	int ngroups;
	kgid_t gid[0];
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

/* 6.11 and later. */
struct inode {
	__u16 i_mode;
	kuid_t i_uid;
	kgid_t i_gid;
	struct super_block *i_sb;
	unsigned long i_ino;
	unsigned int i_nlink;
	__u32 i_rdev;
	__s64 i_size;
	void *i_private;
	__s64 i_mtime_sec;
	__s64 i_ctime_sec;
	__u32 i_mtime_nsec;
	__u32 i_ctime_nsec;
};

/* 6.7 to 6.10; i_ctime alone in 6.6. */
struct inode___hidden {
	struct timespec64 __i_mtime;
	struct timespec64 __i_ctime;
};

/* Up to 6.5; i_mtime up to 6.6. */
struct inode___plain {
	struct timespec64 i_mtime;
	struct timespec64 i_ctime;
};

struct in6_addr {
	__u8 bytes[16];
};

struct kernfs_node {
	__u64 id;
};

struct linux_binprm {
	struct file *file;
	const char *filename;
	const char *interp;
};

struct mm_struct {
	unsigned long arg_start, arg_end, env_start, env_end;
	struct file *exe_file;
};

struct vfsmount {
	struct dentry *mnt_root;
	struct super_block *mnt_sb;
	int mnt_flags;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct ns_common {
	unsigned int inum;
	__u32 ns_type; /* 6.18 and later */
	const struct proc_ns_operations *ops;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct net {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
	struct pid_namespace *pid_ns_for_children;
	struct net *net_ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct pid {
	unsigned int level;
	struct upid numbers[1];
};

struct pid_namespace {
	struct ns_common ns;
};

struct proc_ns_operations {
	int type;
};

enum { PID_PROCESS, PID_GROUP, PID_PGRP, PID_SESSION };

struct signal_struct {
	atomic_t live;
	int nr_threads;
	int group_exit_code;
	unsigned int flags;
	struct pid *pids[4];
	struct tty_struct *tty;
};

struct sock_common {
	__u32 skc_daddr;
	__u32 skc_rcv_saddr;
	__u16 skc_dport, skc_num;
	__u16 skc_family;
	volatile unsigned char skc_state;
	unsigned long skc_flags;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
	atomic64_t skc_cookie;
};

struct sock {
	struct sock_common __sk_common;
	int sk_err;
	__u16 sk_type;
	__u16 sk_protocol;
};

struct inet_sock {
	struct sock sk;
	__u32 inet_saddr;
	__u16 inet_sport;
};

struct socket {
	short type;
	struct file *file;
	struct sock *sk;
};

struct super_block {
	__u32 s_dev;
	unsigned long s_flags;
	unsigned long s_magic;
};

struct task_struct {
	unsigned int flags;
	int exit_code;
	int pid;
	int tgid;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct pid *thread_pid;
	__u64 start_time;
	__u64 start_boottime;
	const struct cred *real_cred;
	const struct cred *cred;
	char comm[16];
	struct fs_struct *fs;
	struct files_struct *files;
	struct nsproxy *nsproxy;
	struct signal_struct *signal;
	kuid_t loginuid;
	struct mm_struct *mm;
	struct css_set *cgroups;
};

/* Before 5.5. */
struct task_struct___old {
	__u64 real_start_time;
};

struct tcp_sock {
	__u64 bytes_received, bytes_acked, bytes_sent, bytes_retrans;
	__u32 rcv_nxt, copied_seq, write_seq, snd_una, snd_nxt;
	__u32 segs_in, segs_out, total_retrans, srtt_us;
};

struct thread_info {
	unsigned long flags;
	__u32 status;
};

struct task_struct___with_info {
	struct thread_info thread_info;
};

struct tty_driver {
	int major;
	int minor_start;
};

struct tty_struct {
	struct tty_driver *driver;
	int index;
};

struct unix_address {
	int len;
	char name[0]; /* struct sockaddr_un */
};

struct unix_sock {
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};

#if defined(__TARGET_ARCH_x86)
struct pt_regs {
	unsigned long bp, bx, r10, r9, r8, cx, dx, si, di, orig_ax;
};
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs {
	__u64 regs[31];
	__u64 orig_x0;
	__s32 syscallno;
};
#endif

#pragma clang attribute pop

#define container_of_mount(vfs) ((struct mount *)((void *)(vfs)-bpf_core_field_offset(struct mount, mnt)))

#define PF_KTHREAD 0x00200000
#define SIGNAL_GROUP_EXIT 4

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000

#define MAGIC_TMPFS 0x01021994
#define MAGIC_HUGETLBFS 0x958458f6
#define MAGIC_OVERLAY 0x794c7630

#define MAGIC_NSFS 0x6e736673
#define MAGIC_PIDFS 0x50494446

#define MNT_NOSUID 0x01
#define MNT_READONLY 0x40
#define SB_RDONLY 1

#define CAP_DAC_OVERRIDE 1

#define AT_FDCWD -100

#endif
