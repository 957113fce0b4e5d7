//go:build ignore
// System calls about credentials, other processes, namespaces, mounts, modules and the kernel itself.
#include "paths.h"
#include "socket.h"

#define PROT_EXEC 4
#define PR_SET_VMA 0x53564d41
#define CLONE_THREAD 0x00010000

static __always_inline __u32 own_number(struct task_struct *task)
{
	return number_in_own(BPF_CORE_READ(task, group_leader, thread_pid));
}

/* namespace_type returns the kind of the namespace that an open file is, 0 for none. */
static __always_inline __u32 namespace_type(struct file *f)
{
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	if (BPF_CORE_READ(inode, i_sb, s_magic) != MAGIC_NSFS)
		return 0;
	struct ns_common *ns = BPF_CORE_READ(inode, i_private);
	if (bpf_core_field_exists(ns->ns_type))
		return BPF_CORE_READ(ns, ns_type);
	return BPF_CORE_READ(ns, ops, type);
}

/* pid_of_pidfd returns the process id, in the first namespace, that a descriptor stands for. */
static __always_inline __u32 pid_of_pidfd(struct file *f)
{
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	struct pid *pid = BPF_CORE_READ(inode, i_sb, s_magic) == MAGIC_PIDFS ? BPF_CORE_READ(inode, i_private) : BPF_CORE_READ(f, private_data);
	int nr = 0;
	bpf_core_read(&nr, sizeof(nr), (void *)pid + bpf_core_field_offset(struct pid, numbers) + bpf_core_field_offset(struct upid, nr));
	return nr;
}

/* Calls of which nothing but numbers is told. */
CALL_PROGRAM(plain)
{
	struct task_struct *task = current_task();
	struct wanted w = this_call(regs, compat);
	__u64 first = ARG(0), second = ARG(1), third = ARG(2);
	bool creds = false;

	switch (w.call) {
	case CALL_setuid:
	case CALL_setgid:
	case CALL_setreuid:
	case CALL_setregid:
	case CALL_setresuid:
	case CALL_setresgid:
	case CALL_setfsuid:
	case CALL_setfsgid:
	case CALL_capset:
	case CALL_unshare:
		creds = true;
		break;
	case CALL_setns: {
		struct file *f = file_at(task, first);
		creds = true;
		if (f && !(__u32)second)
			second = namespace_type(f);
		break;
	}
	case CALL_prctl:
		if ((__u32)first == PR_SET_VMA) /* allocators name their memory */
			return 0;
		break;
	case CALL_mprotect:
		if (!(third & PROT_EXEC))
			return 0;
		break;
	case CALL_tkill:
	case CALL_tgkill: /* Go's runtime interrupts its own threads all the time */
		if ((__u32)first == own_number(task) || (w.call == CALL_tkill && (__u32)first == number_in_own(BPF_CORE_READ(task, thread_pid))))
			return 0;
		break;
	case CALL_pidfd_send_signal: {
		struct file *f = file_at(task, first);
		if (f)
			first = pid_of_pidfd(f);
		break;
	}
	case CALL_clone3:
		bpf_probe_read_user(&first, sizeof(first), (void *)first);
		/* fallthrough */
	case CALL_clone:
		if (first & CLONE_THREAD)
			return 0;
		break;
	}
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	if (creds)
		append_creds(s, task);
	__u64 *nums = append_args(s, regs, compat, w.args);
	if (nums) {
		nums[0] = first;
		if (w.args > 1)
			nums[1] = second;
	}
	finish(s, ret, compat);
	return 0;
}

/* Calls that name a file or two, or something else. */
CALL_PROGRAM(naming)
{
	struct task_struct *task = current_task();
	struct wanted w = this_call(regs, compat);
	const void *path = NULL, *path2 = NULL, *raw = NULL, *name = NULL;
	__s32 dirfd = AT_FDCWD, dirfd2 = AT_FDCWD, fd = -1;

	switch (w.call) {
	case CALL_execve: /* one that failed: else a record of its own tells */
		path = name = (void *)ARG(0);
		break;
	case CALL_execveat:
		dirfd = ARG(0);
		path = name = (void *)ARG(1);
		break;
	case CALL_mount:
		path = (void *)ARG(1);
		raw = (void *)ARG(0);
		name = (void *)ARG(2);
		break;
	case CALL_umount2:
	case CALL_chroot:
	case CALL_swapon:
	case CALL_swapoff:
		path = name = (void *)ARG(0);
		break;
	case CALL_pivot_root:
		path = (void *)ARG(0);
		path2 = (void *)ARG(1);
		break;
	case CALL_move_mount:
		dirfd = ARG(0);
		path = (void *)ARG(1);
		dirfd2 = ARG(2);
		path2 = (void *)ARG(3);
		break;
	case CALL_open_tree:
		dirfd = ARG(0);
		path = name = (void *)ARG(1);
		break;
	case CALL_quotactl:
		path = name = (void *)ARG(1);
		break;
	case CALL_finit_module:
		fd = ARG(0);
		name = (void *)ARG(1);
		break;
	case CALL_init_module:
		name = (void *)ARG(2);
		break;
	case CALL_kexec_file_load:
		fd = ARG(0);
		break;
	case CALL_add_key:
	case CALL_request_key:
		name = (void *)ARG(1);
		break;
	default: /* delete_module, fsopen, memfd_create, sethostname */
		name = (void *)ARG(0);
	}
	if ((w.call == CALL_execve || w.call == CALL_execveat) && ret >= 0)
		return 0;
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	struct text one = {.follow = true}, two = {.follow = true};
	if (path) {
		append_text(s, TAG_PATH, task, dirfd, path, &one);
		record_of(s)->flags |= FLAG_UNCLEAN;
	}
	if (path2)
		append_text(s, TAG_PATH2, task, dirfd2, path2, &two);
	if (raw)
		append_string(s, TAG_PATH2, raw, PATH_LEN, true);
	if (fd >= 0) {
		struct file *f = file_at(task, fd);
		if (f) {
			struct inode *inode = BPF_CORE_READ(f, f_inode);
			append_path(s, TAG_PATH, &f->f_path);
			append_inode(s, inode);
			record_of(s)->flags |= file_flags(inode);
		}
	}
	if (name)
		append_string(s, TAG_NAME, name, PATH_LEN, true);
	append_args(s, regs, compat, w.args);
	if (path && (ret >= 0 || refused(ret)))
		append_named(s, task, &one, &two, SET_NONE, true);
	finish(s, ret, compat);
	return 0;
}

/* dup, dup2, dup3: a socket that becomes standard input, output or error. */
CALL_PROGRAM(dup)
{
	struct task_struct *task = current_task();

	if (ret < 0 || ret > 2)
		return 0;
	struct sock *sk = socket_of(task, ret);
	if (!sk)
		return 0;
	struct wanted w = this_call(regs, compat);
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	append_net(s, sk, ret);
	append_stdio(s, task);
	append_args(s, regs, compat, w.args);
	finish(s, ret, compat);
	return 0;
}
