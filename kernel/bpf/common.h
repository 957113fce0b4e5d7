//go:build ignore
// What every program does alike: fill the header of a record, append parts, send it, count what could not be sent.
//
//	struct scratch *s = begin(KIND_EXEC, 0);
//	if (!s)
//		return 0;
//	... append_...(s, ...);
//	send(s);
//
// The maps declared here are one for all objects (the loader joins them by name), but for `scratch`: each object has its own, as a
// program may interrupt one of another object on the same processor.
#ifndef TESTUDO_COMMON_H
#define TESTUDO_COMMON_H

#include "kernel.h"
#include "record.h"
#include "serving.h"

#define KINDS 32
#define PATH_DEPTH 96 /* components and mounts of a path */
#define SLACK (32 << 10)
#define NANOSECONDS 0x3fffffff /* the top bits of an inode's are the kernel's marks, since 6.13 */
#define TAG_ENVIRON 0x7f00 /* variables with their values: the reader keeps the names. Always the last part */
#define FLAG_UNCLEAN (1u << 31) /* paths that the reader has to simplify */

struct config {
	__u32 generation; /* which of two sets of filters holds */
	__u32 exclude[4]; /* processes that nothing is told of: testudo itself */
	__u32 read;	  /* FILTER_... of paths that are opened for reading */
	__u32 write;	  /* and of those that are written */
	__u32 change;	  /* and of those that are changed otherwise */
	__u32 threads;	  /* forks and exits of threads, too */
	__u32 quiet;	  /* and of paths that do not matter when who serves a request reads them; 0: what requests touch is told of only where it is asked for */
	__u64 lengths[3]; /* of the parts in each set, as bits; the last bit: 63 and more */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} records SEC(".maps");

/* What the reader wants to be woken for. While it has nothing to do it sleeps until the first record; then it looks every few milliseconds,
 * and is woken in between when much is pending, or by a record that somebody waits for. */
struct reader {
	__u32 idle;    /* zeroed by who wakes it: one wake-up is enough, and each costs an interrupt */
	__u32 urgent;  /* kinds, as bits */
	__u32 pending; /* bytes */
	__u32 woken;   /* where it was in the ring when it was woken last because much is pending, and one */
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct reader);
} reader SEC(".maps");

/* What was sent and what was lost, by kind. */
struct count {
	__u64 sent, lost, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, KINDS);
	__type(key, __u32);
	__type(value, struct count);
} counts SEC(".maps");

/* Sets of paths, docs/decisions/0021-kernel-tracepoints.md. There are two generations of each, so that a new one is complete before it
 * holds. A set may hold more than was asked for, never less. */
enum { SET_READ, SET_WRITE, SET_CHANGE, SET_QUIET };

#define FILTER_ALL 1
#define FILTER_PREFIX 2 /* look in `prefixes` */
#define FILTER_END 4	/* look in `ends_of_names` */
#define FILTER_PART 8	/* look in `parts` */
#define FILTER_COMM 16	/* look in `comms` */

/* Fronts of paths; of a whole path its end is a zero byte. */
struct prefix_key {
	__u32 bits;
	__u32 set;
	char text[252];
};

/* Ends of paths, the last letter first, in lower case; of a whole name its end is a slash. */
struct end_key {
	__u32 bits;
	__u32 set;
	char text[64];
};

struct part_key {
	__u32 set;
	__u32 reserved;
	__u64 hash; /* FNV-1a of the part in lower case */
};

struct comm_key {
	__u32 set;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct prefix_key);
	__type(value, __u8);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct end_key);
	__type(value, __u8);
} ends_of_names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 65536);
	__type(key, struct part_key);
	__type(value, __u8);
} parts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, struct comm_key);
	__type(value, __u8);
} comms SEC(".maps");

/* What a number of a system call means, and whether it is wanted: that of this machine, behind it those of its 32-bit form. */
#define NUMBERS 1024

struct wanted {
	__u16 call;
	__u8 wanted;
	__u8 args;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2 * NUMBERS);
	__type(key, __u32);
	__type(value, struct wanted);
} numbers SEC(".maps");

/* The programs of the calls, by the number that records have for them. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, CALL_END);
	__type(key, __u32);
	__type(value, __u32);
} handlers SEC(".maps");

/* Where a record is put together: one for each processor. Too large for a per-CPU map. */
struct scratch {
	__u32 busy;
	__u32 pos; /* end of what is written of data */
	__u32 path_at, path_len; /* of the path appended last, in data */
	__u32 cut; /* a path was longer than what is looked at */
	__u32 at; /* of walk: in memory, so that the verifier does not follow its every value */
	__u32 reserved[2];
	char walk[2 * PATH_LEN]; /* paths are found from their end */
	struct prefix_key prefix;
	struct end_key end;
	__u64 hash; /* of judge, in memory as `at` */
	__u32 run;
	__u32 found;
	__u64 lengths; /* of parts that walk looks for in `set`; 0: of none */
	__u32 set;
	__u32 part; /* it has found one */
	__u8 data[RECORD_MAX + SLACK];
	/* Nothing: so that objects tell of these types, which a test compares with those of package record. */
	struct part_inode inode_part[0];
	struct part_creds creds_part[0];
	struct part_stdio stdio_part[0];
	struct part_net net_part[0];
	struct part_range range_part[0];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1); /* the loader makes it one for each processor */
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

/* bounded: v & mask, where the compiler must not think that it knows better than the verifier. */
static __always_inline __u64 bounded(__u64 v, const __u64 mask)
{
	asm volatile("%0 &= %1" : "+r"(v) : "i"(mask));
	return v;
}

static __always_inline struct config *configured(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&config, &zero);
}

static __always_inline struct scratch *own_scratch(void)
{
	__u32 cpu = bpf_get_smp_processor_id();
	return bpf_map_lookup_elem(&scratch, &cpu);
}

static __always_inline struct task_struct *current_task(void)
{
	return (struct task_struct *)bpf_get_current_task();
}

static __always_inline bool excluded(__u32 tgid)
{
	struct config *c = configured();
	return c && (tgid == c->exclude[0] || tgid == c->exclude[1] || tgid == c->exclude[2] || tgid == c->exclude[3]);
}

static __always_inline void count_lost(__u32 kind)
{
	__u32 k = kind & (KINDS - 1);
	struct count *c = bpf_map_lookup_elem(&counts, &k);
	if (c)
		c->lost++;
}

static __always_inline __u64 start_of(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	if (bpf_core_field_exists(leader->start_boottime))
		return BPF_CORE_READ(leader, start_boottime);
	return BPF_CORE_READ((struct task_struct___old *)leader, real_start_time);
}

static __always_inline __u32 pid_namespace(struct pid *pid)
{
	unsigned int level = BPF_CORE_READ(pid, level) & 31;
	struct upid up = {};
	/* The size of an element is the kernel's: pointer arithmetic over a relocated struct would use ours. */
	bpf_core_read(&up.ns, sizeof(up.ns), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid) +
						    bpf_core_field_offset(struct upid, ns));
	return BPF_CORE_READ(up.ns, ns.inum);
}

/* number_in_own returns the number of pid in the innermost namespace that it is in. */
static __always_inline __u32 number_in_own(struct pid *pid)
{
	unsigned int level = BPF_CORE_READ(pid, level) & 31;
	int nr = 0;
	bpf_core_read(&nr, sizeof(nr), (void *)pid + bpf_core_field_offset(struct pid, numbers) + level * bpf_core_type_size(struct upid) +
					       bpf_core_field_offset(struct upid, nr));
	return nr;
}

/* is_compat: the task made its call as a program of the machine's 32-bit form. */
static __always_inline bool is_compat(struct task_struct *task)
{
	struct task_struct___with_info *t = (void *)task;
	if (!bpf_core_field_exists(t->thread_info))
		return false;
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(t, thread_info.status) & 2; /* TS_COMPAT */
#else
	return BPF_CORE_READ(t, thread_info.flags) & (1 << 22); /* TIF_32BIT */
#endif
}

/* index_of finds the place of a system call's number in `numbers`; past its end: none. */
static __always_inline __u32 index_of(__u64 nr, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (!compat)
		nr &= ~0x40000000ull; /* the x32 form has the same numbers, and some behind them */
#endif
	if (nr >= NUMBERS)
		return 2 * NUMBERS;
	return compat ? nr + NUMBERS : nr;
}

static __always_inline __u64 number_of(struct pt_regs *regs)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(regs, orig_ax);
#else
	return BPF_CORE_READ(regs, syscallno);
#endif
}

/* argument returns an argument of the system call that ends, from the registers as they were at its beginning. */
static __always_inline __u64 argument(struct pt_regs *regs, const int i, bool compat)
{
#if defined(__TARGET_ARCH_x86)
	if (compat)
		switch (i) {
		case 0: return (__u32)BPF_CORE_READ(regs, bx);
		case 1: return (__u32)BPF_CORE_READ(regs, cx);
		case 2: return (__u32)BPF_CORE_READ(regs, dx);
		case 3: return (__u32)BPF_CORE_READ(regs, si);
		case 4: return (__u32)BPF_CORE_READ(regs, di);
		default: return (__u32)BPF_CORE_READ(regs, bp);
		}
	switch (i) {
	case 0: return BPF_CORE_READ(regs, di);
	case 1: return BPF_CORE_READ(regs, si);
	case 2: return BPF_CORE_READ(regs, dx);
	case 3: return BPF_CORE_READ(regs, r10);
	case 4: return BPF_CORE_READ(regs, r8);
	default: return BPF_CORE_READ(regs, r9);
	}
#else
	__u64 v = 0;
	if (i == 0)
		v = BPF_CORE_READ(regs, orig_x0);
	else
		bpf_core_read(&v, sizeof(v), &regs->regs[i]);
	return compat ? (__u32)v : v;
#endif
}

/* CALL_PROGRAM(name) begins a program that runs when a wanted system call has ended, as a part of the one that sees all calls. It has
 * ARG(i), `ret` and `compat`: the caller is a program of the machine's 32-bit form. */
#define CALL_PROGRAM(name)                                                                                                            \
	static __always_inline int call_##name(struct pt_regs *regs, long ret, bool compat);                                          \
	SEC("tp_btf/sys_exit")                                                                                                        \
	int on_##name(__u64 *ctx)                                                                                                     \
	{                                                                                                                             \
		if (excluded(bpf_get_current_pid_tgid() >> 32))                                                                       \
			return 0;                                                                                                     \
		return call_##name((struct pt_regs *)ctx[0], ctx[1], is_compat(current_task()));                                      \
	}                                                                                                                             \
	static __always_inline int call_##name(struct pt_regs *regs, long ret, bool compat)

#define ARG(i) argument(regs, i, compat)

/* fill writes the header of a record about task. */
static __always_inline void fill(struct record *r, struct task_struct *task, bool current)
{
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	struct nsproxy *proxy = BPF_CORE_READ(task, nsproxy);
	struct cred *cred = (struct cred *)BPF_CORE_READ(task, real_cred);

	r->time = bpf_ktime_get_boot_ns();
	r->start = start_of(task);
	r->cgroup = current ? bpf_get_current_cgroup_id() : BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	r->pid = BPF_CORE_READ(task, tgid);
	r->tid = BPF_CORE_READ(task, pid);
	r->ppid = BPF_CORE_READ(task, real_parent, tgid);
	r->uid = BPF_CORE_READ(cred, euid.val);
	r->gid = BPF_CORE_READ(cred, egid.val);
	r->loginuid = ~0u;
	if (bpf_core_field_exists(task->loginuid))
		r->loginuid = BPF_CORE_READ(task, loginuid.val);
	r->mntns = proxy ? BPF_CORE_READ(proxy, mnt_ns, ns.inum) : 0;
	r->pidns = pid_namespace(BPF_CORE_READ(task, thread_pid));
	if (BPF_CORE_READ(task, flags) & PF_KTHREAD)
		r->flags |= FLAG_KERNEL;
	if (BPF_CORE_READ(signal, tty))
		r->flags |= FLAG_TTY;
	r->reserved = 0;
	BPF_CORE_READ_INTO(&r->comm, task, comm);
	serving_fill(r, task);
}

/* acquire takes the scratch for a record whose header is filled later, once it is known that it is wanted. NULL: there is no room to put it
 * together, which is counted. Every acquire, and every begin, is followed by send or drop. */
static __always_inline struct scratch *acquire(__u16 kind, __u16 call)
{
	struct scratch *s = own_scratch();
	if (!s)
		return NULL;
	if (s->busy) { /* we interrupt a program that is not done with it */
		count_lost(kind);
		return NULL;
	}
	s->busy = 1;
	s->cut = s->path_at = s->path_len = 0;
	s->lengths = 0;
	struct record *r = (void *)s->data;
	r->kind = kind;
	r->call = call;
	r->ret = 0;
	r->flags = 0;
	s->pos = RECORD_HEADER;
	return s;
}

/* begin_for starts a record about task. */
static __always_inline struct scratch *begin_for(__u16 kind, __u16 call, struct task_struct *task, bool current)
{
	struct scratch *s = acquire(kind, call);
	if (s)
		fill((struct record *)s->data, task, current);
	return s;
}

/* begin starts a record about the current task. */
static __always_inline struct scratch *begin(__u16 kind, __u16 call)
{
	return begin_for(kind, call, current_task(), true);
}

static __always_inline struct record *record_of(struct scratch *s)
{
	return (void *)s->data;
}

/* drop gives up a record that was begun. */
static __always_inline void drop(struct scratch *s)
{
	s->busy = 0;
}

/* wake_flags: is the reader to be woken for a record of that kind? */
static __always_inline __u64 wake_flags(__u32 kind)
{
	__u32 zero = 0;
	struct reader *c = bpf_map_lookup_elem(&reader, &zero);
	if (!c)
		return BPF_RB_NO_WAKEUP;
	if (c->idle) {
		c->idle = 0;
		return BPF_RB_FORCE_WAKEUP;
	}
	if (c->urgent >> (kind & (KINDS - 1)) & 1)
		return BPF_RB_FORCE_WAKEUP;
	if (bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) < c->pending)
		return BPF_RB_NO_WAKEUP;
	/* It has been woken, and is on its way as long as it has not read on. */
	__u32 at = bpf_ringbuf_query(&records, BPF_RB_CONS_POS) + 1;
	if (c->woken == at)
		return BPF_RB_NO_WAKEUP;
	c->woken = at;
	return BPF_RB_FORCE_WAKEUP;
}

/* send hands the record to the reader. */
static __always_inline void send(struct scratch *s)
{
	struct record *r = (void *)s->data;
	__u32 kind = r->kind & (KINDS - 1);
	struct count *n = bpf_map_lookup_elem(&counts, &kind);
	__u64 size = s->pos;

	if (size > RECORD_MAX)
		size = RECORD_MAX;
	r->size = size;
	long failed = bpf_ringbuf_output(&records, r, size, wake_flags(kind));
	if (n) {
		if (failed) {
			n->lost++;
		} else {
			n->sent++;
			n->bytes += size;
		}
	}
	s->busy = 0;
}

/* append_fixed makes room for a part of a size that is known when this is compiled, and clears it. */
static __always_inline void *append_fixed(struct scratch *s, __u16 tag, const __u16 len)
{
	__u32 pos = s->pos;
	if (pos > RECORD_MAX - 4096)
		return NULL;
	pos &= RECORD_MAX - 1;
	struct part *p = (void *)&s->data[pos];
	p->tag = tag;
	p->len = len;
	s->pos = pos + sizeof(*p) + len;
	__builtin_memset(p + 1, 0, len);
	return p + 1;
}

/* append_nums: the first n of six numbers. */
static __always_inline void append_nums(struct scratch *s, const __u32 n, const __u64 *nums)
{
	__u64 *at = append_fixed(s, TAG_NUMS, 8 * n);
	if (!at)
		return;
#pragma unroll
	for (int i = 0; i < 6; i++)
		if (i < n)
			at[i] = nums[i];
}

/* append_memory: up to size bytes (at most 16 KB) at a kernel address, or a user's. */
static __always_inline long append_memory(struct scratch *s, __u16 tag, const void *from, __u64 size, bool user)
{
	__u32 pos = s->pos;
	if (size > TEXT_MAX) {
		size = TEXT_MAX;
		record_of(s)->flags |= FLAG_TRUNCATED;
	}
	if (pos > RECORD_MAX - TEXT_MAX - 4)
		return -1;
	pos &= RECORD_MAX - 1;
	struct part *p = (void *)&s->data[pos];
	size &= 2 * TEXT_MAX - 1;
	long failed = user ? bpf_probe_read_user(p + 1, size, from) : bpf_probe_read_kernel(p + 1, size, from);
	if (failed)
		return failed;
	p->tag = tag;
	p->len = size;
	s->pos = pos + sizeof(*p) + size;
	return size;
}

/* append_string: a text that ends with a zero byte, of at most limit bytes with it (a constant, 4096 at most). Returns its length with the
 * zero byte, or a negative error. */
static __always_inline long append_string(struct scratch *s, __u16 tag, const void *from, const __u32 limit, bool user)
{
	__u32 pos = s->pos;
	if (pos > RECORD_MAX - PATH_LEN - 4)
		return -1;
	pos &= RECORD_MAX - 1;
	struct part *p = (void *)&s->data[pos];
	long len = user ? bpf_probe_read_user_str(p + 1, limit, from) : bpf_probe_read_kernel_str(p + 1, limit, from);
	if (len <= 0)
		return len;
	if (len == limit)
		record_of(s)->flags |= FLAG_TRUNCATED;
	p->tag = tag;
	p->len = len;
	s->pos = pos + sizeof(*p) + (len & (2 * PATH_LEN - 1));
	return len;
}

#define FNV_OFFSET 0xcbf29ce484222325ull
#define FNV_PRIME 0x100000001b3ull

static __always_inline __u8 lower(__u8 c)
{
	return c + ((__u8)(c - 'A') < 26) * ('a' - 'A');
}

/* part_in: is the part of a path that walk has just written in a set? A function of its own, which the verifier looks at once. */
__attribute__((noinline)) int part_in(__u32 set, __u32 at, __u32 len)
{
	struct scratch *s = own_scratch();
	struct part_key key = {.set = set, .hash = FNV_OFFSET};

	if (!s)
		return 0;
	if (len >= 63)
		return 1;
	for (__u32 i = 0; i < 63; i++) {
		if (i >= len)
			break;
		key.hash = (key.hash ^ lower(s->walk[(at + i) & (PATH_LEN - 1)])) * FNV_PRIME;
	}
	return bpf_map_lookup_elem(&parts, &key) != NULL;
}

/* link is what a step of walk needs of a dentry, which all releases have in one piece. */
struct link {
	struct dentry *parent;
	__u32 hash;
	__u32 len;
	const unsigned char *name;
};

static __always_inline void read_link(struct link *l, struct dentry *d)
{
	if (bpf_core_field_offset(struct dentry, d_name) == bpf_core_field_offset(struct dentry, d_parent) + offsetof(struct link, hash) &&
	    bpf_core_field_offset(struct qstr, len) == sizeof(__u32) && bpf_core_field_offset(struct qstr, name) == 2 * sizeof(__u32)) {
		bpf_core_read(l, sizeof(*l), &d->d_parent);
		return;
	}
	l->parent = BPF_CORE_READ(d, d_parent);
	l->len = BPF_CORE_READ(d, d_name.len);
	l->name = BPF_CORE_READ(d, d_name.name);
}

/* walk writes the path of a dentry to the end of the first half of scratch.walk and returns how long it is: from the root of the mount
 * namespace, whatever root the process was given by chroot. Negative: there is none. A function of its own, which the verifier looks at
 * once. */
__attribute__((noinline)) int walk(__u64 vfsmount, __u64 dentry)
{
	struct scratch *s = own_scratch();
	struct vfsmount *vfs = (void *)vfsmount;
	struct dentry *d = (void *)dentry;

	if (!s || !vfs || !d)
		return -1;
	struct mount *m = container_of_mount(vfs);
	struct dentry *root = BPF_CORE_READ(vfs, mnt_root);
	volatile __u32 *at = &s->at;

	*at = PATH_LEN;
	for (int i = 0; i < PATH_DEPTH; i++) {
		if (!d)
			goto done;
		if (d == root) {
			struct mount *up = BPF_CORE_READ(m, mnt_parent);
			if (!up || up == m)
				goto done;
			d = BPF_CORE_READ(m, mnt_mountpoint);
			m = up;
			root = BPF_CORE_READ(m, mnt.mnt_root);
			continue;
		}
		struct link l = {};
		read_link(&l, d);
		__u32 len = l.len, end = *at;
		if (len > 255)
			len = 255;
		if (end < len + 1)
			break;
		end -= len;
		bpf_probe_read_kernel(&s->walk[end & (PATH_LEN - 1)], len & 255, l.name);
		if (s->lengths >> (len < 63 ? len : 63) & 1 && part_in(s->set, end, len))
			s->part = 1;
		end--;
		s->walk[end & (PATH_LEN - 1)] = '/';
		*at = end;
		if (d == l.parent) /* a file without a folder: memfd */
			goto done;
		d = l.parent;
	}
	s->cut = 1;
	record_of(s)->flags |= FLAG_TRUNCATED;
done:
	if (*at >= PATH_LEN) {
		*at = PATH_LEN - 1;
		s->walk[PATH_LEN - 1] = '/';
	}
	return PATH_LEN - *at;
}

/* append_walked appends what walk found: len is what it returned. */
static __always_inline long append_walked(struct scratch *s, __u16 tag, long len)
{
	__u32 pos = s->pos;
	if (len <= 0 || len > PATH_LEN || pos > RECORD_MAX - PATH_LEN - 4)
		return -1;
	pos &= RECORD_MAX - 1;
	struct part *p = (void *)&s->data[pos];
	__u32 at = PATH_LEN - len;
	bpf_probe_read_kernel(p + 1, len & (2 * PATH_LEN - 1), &s->walk[at & (PATH_LEN - 1)]);
	p->tag = tag;
	p->len = len;
	s->path_at = pos + sizeof(*p);
	s->path_len = len;
	s->pos = pos + sizeof(*p) + len;
	return len;
}

/* append_path: the path of p, which is in the kernel's memory. */
static __always_inline long append_path(struct scratch *s, __u16 tag, struct path *p)
{
	return append_walked(s, tag, walk((__u64)BPF_CORE_READ(p, mnt), (__u64)BPF_CORE_READ(p, dentry)));
}

static __always_inline __u64 device_of(__u32 dev)
{
	return (__u64)(dev >> 20) << 32 | (dev & 0xfffff);
}

static __always_inline void append_inode(struct scratch *s, struct inode *inode)
{
	struct part_inode *p = append_fixed(s, TAG_INODE, sizeof(*p));
	if (!p)
		return;
	struct inode___hidden *hidden = (void *)inode;
	struct inode___plain *plain = (void *)inode;
	struct super_block *sb = BPF_CORE_READ(inode, i_sb);
	p->device = device_of(BPF_CORE_READ(sb, s_dev));
	p->filesystem = BPF_CORE_READ(sb, s_magic);
	p->number = BPF_CORE_READ(inode, i_ino);
	p->size = BPF_CORE_READ(inode, i_size);
	p->mode = BPF_CORE_READ(inode, i_mode);
	p->uid = BPF_CORE_READ(inode, i_uid.val);
	p->gid = BPF_CORE_READ(inode, i_gid.val);
	p->links = BPF_CORE_READ(inode, i_nlink);
	if (bpf_core_field_exists(inode->i_mtime_sec))
		p->modified = BPF_CORE_READ(inode, i_mtime_sec) * 1000000000LL + BPF_CORE_READ(inode, i_mtime_nsec);
	else if (bpf_core_field_exists(hidden->__i_mtime))
		p->modified = BPF_CORE_READ(hidden, __i_mtime.tv_sec) * 1000000000LL + BPF_CORE_READ(hidden, __i_mtime.tv_nsec);
	else
		p->modified = BPF_CORE_READ(plain, i_mtime.tv_sec) * 1000000000LL + BPF_CORE_READ(plain, i_mtime.tv_nsec);
	if (bpf_core_field_exists(inode->i_ctime_sec))
		p->changed = BPF_CORE_READ(inode, i_ctime_sec) * 1000000000LL + (BPF_CORE_READ(inode, i_ctime_nsec) & NANOSECONDS);
	else if (bpf_core_field_exists(hidden->__i_ctime))
		p->changed = BPF_CORE_READ(hidden, __i_ctime.tv_sec) * 1000000000LL + (BPF_CORE_READ(hidden, __i_ctime.tv_nsec) & NANOSECONDS);
	else
		p->changed = BPF_CORE_READ(plain, i_ctime.tv_sec) * 1000000000LL + BPF_CORE_READ(plain, i_ctime.tv_nsec);
}

static __always_inline void append_creds(struct scratch *s, struct task_struct *task)
{
	struct part_creds *p = append_fixed(s, TAG_CREDS, sizeof(*p));
	if (!p)
		return;
	struct cred *c = (struct cred *)BPF_CORE_READ(task, real_cred);
	struct signal_struct *signal = BPF_CORE_READ(task, signal);
	p->uid = BPF_CORE_READ(c, uid.val);
	p->euid = BPF_CORE_READ(c, euid.val);
	p->suid = BPF_CORE_READ(c, suid.val);
	p->fsuid = BPF_CORE_READ(c, fsuid.val);
	p->gid = BPF_CORE_READ(c, gid.val);
	p->egid = BPF_CORE_READ(c, egid.val);
	p->sgid = BPF_CORE_READ(c, sgid.val);
	p->fsgid = BPF_CORE_READ(c, fsgid.val);
	bpf_core_read(&p->permitted, 8, &c->cap_permitted);
	bpf_core_read(&p->effective, 8, &c->cap_effective);
	bpf_core_read(&p->inheritable, 8, &c->cap_inheritable);
	bpf_core_read(&p->bounding, 8, &c->cap_bset);
	struct pid *session = NULL, *group = NULL;
	bpf_core_read(&group, sizeof(group), &signal->pids[PID_PGRP]);
	bpf_core_read(&session, sizeof(session), &signal->pids[PID_SESSION]);
	p->session = number_in_own(session);
	p->group = number_in_own(group);
	p->vpid = number_in_own(BPF_CORE_READ(task, group_leader, thread_pid));
	p->vtid = number_in_own(BPF_CORE_READ(task, thread_pid));
	struct tty_struct *tty = BPF_CORE_READ(signal, tty);
	if (tty) {
		struct tty_driver *driver = BPF_CORE_READ(tty, driver);
		__u32 major = BPF_CORE_READ(driver, major), minor = BPF_CORE_READ(driver, minor_start) + BPF_CORE_READ(tty, index);
		p->tty = major << 20 | (minor & 0xfffff);
	}
}

/* file_at returns the open file of a descriptor of the task, NULL for none. */
static __always_inline struct file *file_at(struct task_struct *task, __u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	if (!table || fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	struct file **all = BPF_CORE_READ(table, fd);
	struct file *f = NULL;
	bpf_probe_read_kernel(&f, sizeof(f), all + fd);
	return f;
}

#define AF_UNIX 1
#define AF_INET 2
#define AF_INET6 10

static __always_inline void append_stdio(struct scratch *s, struct task_struct *task)
{
	struct part_stdio *p = append_fixed(s, TAG_STDIO, sizeof(*p));
	if (!p)
		return;
#pragma unroll
	for (int i = 0; i < 3; i++) {
		struct file *f = file_at(task, i);
		if (!f)
			continue;
		struct inode *inode = BPF_CORE_READ(f, f_inode);
		p->fd[i].inode = BPF_CORE_READ(inode, i_ino);
		switch (BPF_CORE_READ(inode, i_mode) & S_IFMT) {
		case S_IFREG:
			p->fd[i].type = STREAM_FILE;
			break;
		case S_IFCHR:
		case S_IFBLK:
			p->fd[i].type = STREAM_DEVICE;
			break;
		case S_IFIFO:
			p->fd[i].type = STREAM_PIPE;
			break;
		case S_IFSOCK: {
			struct socket *socket = (struct socket *)BPF_CORE_READ(f, private_data);
			__u16 family = BPF_CORE_READ(socket, sk, __sk_common.skc_family);
			p->fd[i].type = family == AF_INET    ? STREAM_INET
					: family == AF_INET6 ? STREAM_INET6
					: family == AF_UNIX  ? STREAM_UNIX
							     : STREAM_SOCKET;
			record_of(s)->flags |= FLAG_SOCKET;
			break;
		}
		default:
			p->fd[i].type = STREAM_OTHER;
		}
	}
}

/* What the kernel asks of a program that calls its helpers. */
char _license[] SEC("license") = "Dual BSD/GPL";

#endif
