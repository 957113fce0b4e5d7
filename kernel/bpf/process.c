//go:build ignore
// Processes: they start a program, fork, and end.
#include "paths.h"

/* writable: may somebody with these credentials write the file? Mount and file system are asked too, ACLs are not. */
static __always_inline bool writable(struct file *f, struct inode *inode, struct cred *c)
{
	if (BPF_CORE_READ(f, f_path.mnt, mnt_flags) & MNT_READONLY || BPF_CORE_READ(inode, i_sb, s_flags) & SB_RDONLY)
		return false;
	__u64 effective = 0;
	bpf_core_read(&effective, 8, &c->cap_effective);
	if (effective & (1ull << CAP_DAC_OVERRIDE))
		return true;
	__u32 mode = BPF_CORE_READ(inode, i_mode), group = BPF_CORE_READ(inode, i_gid.val);
	if (BPF_CORE_READ(inode, i_uid.val) == BPF_CORE_READ(c, fsuid.val))
		return mode & 0200;
	bool member = group == BPF_CORE_READ(c, fsgid.val);
	struct group_info *groups = BPF_CORE_READ(c, group_info);
	int n = BPF_CORE_READ(groups, ngroups);
	for (int i = 0; i < 32 && i < n && !member; i++) {
		kgid_t one = {};
		bpf_core_read(&one, sizeof(one), &groups->gid[i]);
		member = one.val == group;
	}
	return mode & (member ? 0020 : 0002);
}

/* flags_of says of an executable what its name does not. */
static __always_inline __u32 flags_of(struct file *f, struct inode *inode, struct cred *c)
{
	__u32 flags = file_flags(inode), mode = BPF_CORE_READ(inode, i_mode);

	if (!(BPF_CORE_READ(f, f_path.mnt, mnt_flags) & MNT_NOSUID)) {
		if (mode & 04000)
			flags |= FLAG_SETUID;
		if ((mode & 02010) == 02010)
			flags |= FLAG_SETGID;
	}
	if (writable(f, inode, c))
		flags |= FLAG_WRITABLE;
	return flags;
}

SEC("tp_btf/sched_process_exec")
int on_exec(__u64 *ctx)
{
	struct task_struct *task = current_task();
	struct linux_binprm *bprm = (void *)ctx[2];

	if (excluded(bpf_get_current_pid_tgid() >> 32))
		return 0;
	struct scratch *s = begin(KIND_EXEC, CALL_execve);
	if (!s)
		return 0;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	struct inode *inode = BPF_CORE_READ(exe, f_inode);
	record_of(s)->flags |= flags_of(exe, inode, (struct cred *)BPF_CORE_READ(task, real_cred));
	append_inode(s, inode);
	append_creds(s, task);
	append_stdio(s, task);
	append_path(s, TAG_PATH, &exe->f_path);
	append_string(s, TAG_NAME, BPF_CORE_READ(bprm, filename), PATH_LEN, false);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	append_path(s, TAG_CWD, &fs->pwd);

	__u64 from = BPF_CORE_READ(mm, arg_start), to = BPF_CORE_READ(mm, arg_end);
	if (to > from)
		append_memory(s, TAG_ARGS, (void *)from, to - from, true);
	from = BPF_CORE_READ(mm, env_start), to = BPF_CORE_READ(mm, env_end);
	if (to > from)
		append_memory(s, TAG_ENVIRON, (void *)from, to - from, true);
	send(s);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int on_fork(__u64 *ctx)
{
	struct task_struct *parent = (void *)ctx[0], *child = (void *)ctx[1];
	struct config *c = configured();
	bool thread = BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid);

	if (!c || (thread && !c->threads) || excluded(bpf_get_current_pid_tgid() >> 32))
		return 0;
	struct scratch *s = begin_for(KIND_FORK, CALL_NONE, child, false);
	if (!s)
		return 0;
	struct record *r = record_of(s);
	if (thread)
		r->flags |= FLAG_THREAD;
	serving_fill(r, parent);
	/* Who called: with CLONE_PARENT it is not the parent. */
	__u64 nums[6] = {BPF_CORE_READ(parent, tgid), start_of(parent)};
	append_nums(s, 2, nums);
	send(s);
	return 0;
}

struct end {
	__u64 start;
	__u32 pid;
	__u32 reserved;
};

/* Processes of several threads that have ended: two threads that end at once may both find themselves the last. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct end);
	__type(value, __u8);
} ends SEC(".maps");

SEC("tp_btf/sched_process_exit")
int on_exit(__u64 *ctx)
{
	struct task_struct *task = current_task();
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct config *c = configured();
	bool last = BPF_CORE_READ(signal, live.counter) == 0;

	if (last && BPF_CORE_READ(signal, nr_threads) > 1) {
		struct end key = {.start = start_of(task), .pid = BPF_CORE_READ(task, tgid)};
		__u8 one = 1;
		if (bpf_map_update_elem(&ends, &key, &one, BPF_NOEXIST) == -17 /* EEXIST */)
			last = false;
	}
	if (!c || (!last && !c->threads) || excluded(bpf_get_current_pid_tgid() >> 32))
		return 0;
	struct scratch *s = begin(KIND_EXIT, CALL_NONE);
	if (!s)
		return 0;
	struct record *r = record_of(s);
	if (!last) {
		r->flags |= FLAG_THREAD;
		r->ret = BPF_CORE_READ(task, exit_code);
	} else if (BPF_CORE_READ(signal, flags) & SIGNAL_GROUP_EXIT) {
		r->ret = BPF_CORE_READ(signal, group_exit_code);
	} else {
		r->ret = BPF_CORE_READ(leader, exit_code);
	}
	__u64 nums[6] = {r->time - r->start};
	append_nums(s, 1, nums);
	send(s);
	return 0;
}
