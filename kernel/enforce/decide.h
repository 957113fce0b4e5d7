//go:build ignore
// A decision from its beginning to its end: which generation holds, a place to work, who is spared, what is told.
#ifndef TESTUDO_DECIDE_H
#define TESTUDO_DECIDE_H

#include "match.h"

enum { COUNT_FIRED, COUNT_REFUSED, COUNT_SPARED, COUNT_UNTOLD, COUNT_UNABLE, COUNT_FAILED, COUNTS };

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, COUNTS);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} decisions SEC(".maps");

/* Processes that nothing is refused to: pid, and when it began in hundredths of a second, so that the pid's next owner is not spared. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u64);
} spared SEC(".maps");

static __always_inline void count(__u32 what)
{
	__u64 *n = bpf_map_lookup_elem(&counts, &what);
	if (n)
		__sync_fetch_and_add(n, 1);
}

static __always_inline __u64 began(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	return BPF_CORE_READ(leader, start_boottime);
}

static __always_inline bool is_spared(struct task_struct *task)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	if (pid == 1)
		return true;
	__u64 *start = bpf_map_lookup_elem(&spared, &pid);
	return start && began(task) / 10000000 == *start;
}

/* start takes a slot with the rules of the hook. UNABLE: none was free, and the answer is *refuse. */
enum { NOTHING, READY, UNABLE };

static __always_inline int start(const __u32 hook, __u32 *index, struct slot **slot, struct table **table)
{
	__u32 zero = 0, cpu = bpf_get_smp_processor_id();
	struct state *st = bpf_map_lookup_elem(&current, &zero);
	if (!st)
		return NOTHING;
	__u32 generation = *(volatile __u32 *)&st->active & 1;
	struct table *t = table_of(generation);
	if (!t || !some(&t->hook[hook]))
		return NOTHING;
	for (int i = 0; i < SLOTS; i++) {
		__u32 at = cpu * SLOTS + i;
		struct slot *s = slot_at(at);
		if (!s)
			break;
		if (__sync_val_compare_and_swap(&s->taken, 0, 1))
			continue;
		s->generation = generation;
		__builtin_memcpy(&s->live, &t->hook[hook], sizeof(s->live));
		*index = at;
		*slot = s;
		*table = t;
		return READY;
	}
	count(COUNT_UNABLE);
	return t->closed && both(&t->hook[hook], &t->enforce) ? UNABLE : NOTHING;
}

static __always_inline void release(struct slot *s)
{
	__sync_val_compare_and_swap(&s->taken, 1, 0);
}

/* describe fills what a decision says of the process. */
__attribute__((noinline)) int describe(__u32 index, __u32 hook, __u32 gate)
{
	struct slot *s = slot_at(index);
	if (!s)
		return 0;
	struct table *t = table_of(s->generation);
	if (!t)
		return 0;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct decision *o = &s->out;
	struct nsproxy *proxy = BPF_CORE_READ(task, nsproxy);
	struct pid *pid = BPF_CORE_READ(task, thread_pid);
	unsigned int level = BPF_CORE_READ(pid, level) & 31;
	struct pid_namespace *ns = NULL;

	__builtin_memset(o, 0, sizeof(struct decision));
	__builtin_memcpy(&o->fired, &s->live, sizeof(o->fired));
	o->revision = t->revision;
	o->hook = hook;
	o->gate = gate;
	o->time = bpf_ktime_get_boot_ns();
	o->start = began(task);
	o->cgroup = bpf_get_current_cgroup_id();
	o->pid = BPF_CORE_READ(task, tgid);
	o->tid = BPF_CORE_READ(task, pid);
	o->ppid = BPF_CORE_READ(task, real_parent, tgid);
	o->uid = BPF_CORE_READ(task, real_cred, euid.val);
	o->gid = BPF_CORE_READ(task, real_cred, egid.val);
	o->loginuid = ~0u;
	if (bpf_core_field_exists(task->loginuid))
		o->loginuid = BPF_CORE_READ(task, loginuid.val);
	o->mntns = proxy ? BPF_CORE_READ(proxy, mnt_ns, ns.inum) : 0;
	bpf_core_read(&ns, sizeof(ns), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid) +
					       bpf_core_field_offset(struct upid, ns));
	o->pidns = ns ? BPF_CORE_READ(ns, ns.inum) : 0;
	BPF_CORE_READ_INTO(&o->comm, task, comm);
	return 0;
}

/* describe_file: the path that the decision is about, behind the arguments, and its inode. */
__attribute__((noinline)) int describe_file(__u32 index, __u64 file)
{
	struct slot *s = slot_at(index);
	struct file *f = (void *)file;
	if (!s || !f)
		return 0;
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	struct part_inode *p = &s->out.inode;
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	__u32 dev = BPF_CORE_READ(sb, s_dev);
	p->device = (__u64)(dev >> 20) << 32 | (dev & 0xfffff);
	p->filesystem = BPF_CORE_READ(sb, s_magic);
	p->number = BPF_CORE_READ(inode, i_ino);
	p->size = BPF_CORE_READ(inode, i_size);
	p->mode = BPF_CORE_READ(inode, i_mode);
	p->uid = BPF_CORE_READ(inode, i_uid.val);
	p->gid = BPF_CORE_READ(inode, i_gid.val);
	p->links = BPF_CORE_READ(inode, i_nlink);

	walk(index, (__u64)BPF_CORE_READ(f, f_path.mnt), (__u64)BPF_CORE_READ(f, f_path.dentry));
	__u32 len = s->len, args = s->out.args;
	if (args > ARGS_LEN)
		return 0;
	if (len >= WALK_LEN)
		len = WALK_LEN - 1;
	bpf_probe_read_kernel(&s->text[masked(args, 2 * ARGS_LEN - 1)], masked(len, WALK_LEN - 1), &s->walk[masked(s->at, WALK_LEN - 1)]);
	s->out.path = len;
	if (s->cut || s->deep)
		s->out.flags |= FLAG_TRUNCATED;
	return 0;
}

/* decide: is it refused? Who is spared is told of all the same. */
static __always_inline bool decide(struct slot *s, struct table *t)
{
	count(COUNT_FIRED);
	if (!both(&s->live, &t->enforce))
		return false;
	if (is_spared((struct task_struct *)bpf_get_current_task())) {
		count(COUNT_SPARED);
		return false;
	}
	count(COUNT_REFUSED);
	return true;
}

/* tell hands the decision on. Where that cannot be, it holds all the same. */
__attribute__((noinline)) int tell(__u32 index)
{
	struct slot *s = slot_at(index);
	if (!s)
		return 0;
	__u32 args = s->out.args, path = s->out.path;
	if (args > ARGS_LEN || path > WALK_LEN)
		return 0;
	if (bpf_ringbuf_output(&decisions, &s->out, sizeof(struct decision) + masked(args, 2 * ARGS_LEN - 1) + masked(path, WALK_LEN - 1), 0))
		count(COUNT_UNTOLD);
	return 0;
}

/* file_flags: is the executable on the upper layer of an overlay, or in memory only? */
static __always_inline __u32 file_flags(struct file *f)
{
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	__u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);
	__u32 flags = 0;

	if (BPF_CORE_READ(inode, i_nlink) == 0) {
		flags |= FLAG_DELETED;
		if (magic == MAGIC_TMPFS || magic == MAGIC_HUGETLBFS)
			flags |= FLAG_MEMORY;
	}
	if (magic == MAGIC_OVERLAY) {
		/* struct ovl_inode has the upper dentry right behind the inode, in every release since 4.8; its type may be that of a module,
		 * where CO-RE does not look. */
		struct dentry *upper = NULL;
		bpf_probe_read_kernel(&upper, sizeof(upper), (void *)inode + bpf_core_type_size(struct inode));
		if (upper)
			flags |= FLAG_UPPER;
	}
	return flags;
}

/* narrow_to_exe: the executable of who acts, and what kind of file it is. */
static __always_inline bool narrow_to_layer(struct slot *s, struct table *t, struct file *exe)
{
	if (!both(&s->live, &t->upper) && !both(&s->live, &t->memory))
		return true;
	__u32 flags = exe ? file_flags(exe) : 0;
	if (!(flags & FLAG_UPPER))
		without(&s->live, &t->upper);
	if (!(flags & FLAG_MEMORY))
		without(&s->live, &t->memory);
	return some(&s->live);
}

char _license[] SEC("license") = "Dual BSD/GPL";

#endif
