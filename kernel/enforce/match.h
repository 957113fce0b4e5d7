//go:build ignore
// Which rules hold. A rule is a bit. Each kind of predicate is looked up once and yields the rules that it satisfies; a rule that does not
// constrain a kind is in that kind's `any`. What is left after all kinds fires: a handful of look-ups, however many rules there are.
#ifndef TESTUDO_MATCH_H
#define TESTUDO_MATCH_H

#include "../bpf/kernel.h"
#include "../bpf/record.h"

#define WORDS 8 /* of 64 rules each */
#define TEXT_LEN 250 /* the longest path that a rule can name */
#define WALK_LEN 4096
#define FRONT 256
#define PATH_DEPTH 96 /* components and mounts of a path */
#define ARGS_LEN 2048
#define SLOTS 4 /* for each processor: programs that preempt each other */
#define LEVELS 12 /* of nested cgroups */

enum hook { HOOK_EXEC = 1, HOOK_OPEN, HOOK_CONNECT, HOOKS };

enum predicate { BY_EXE, BY_PARENT, BY_FILE, BY_CGROUP, BY_UID, BY_REMOTE, BY_PORT, KINDS };
#define PATH_KINDS 3
#define AS_NAME 0x80 /* of a kind of path: the last component */

struct bits {
	__u64 word[WORDS];
};

/* All that is not in a hash: one of two generations. */
struct table {
	struct bits hook[HOOKS];
	struct bits any[KINDS];
	struct bits prefixed[PATH_KINDS]; /* rules that name beginnings of paths */
	struct bits enforce, write, upper, memory, host;
	__u64 revision;
	__u32 names, prefixes; /* kinds of paths that have any, as bits */
	__u32 closed;
	__u32 reserved;
};

struct state {
	__u32 active; /* generation */
	__u32 root; /* device of the host's root file system */
};

struct path_key {
	__u8 generation;
	__u8 kind;
	char text[TEXT_LEN];
};

struct prefix_key {
	__u32 bits;
	__u8 generation;
	__u8 kind;
	char text[TEXT_LEN];
};

struct number_key {
	__u64 number;
	__u32 kind;
	__u32 generation;
};

struct network_key {
	__u32 bits;
	__u8 generation;
	__u8 family;
	__u8 reserved[2];
	__u8 address[16]; /* of IPv4 as ::ffff:a.b.c.d */
};

/* What is told of a decision; kernel/enforce makes records of it. */
struct decision {
	struct bits fired;
	__u64 revision;
	__u64 time, start, cgroup;
	__u32 pid, tid, ppid, uid, gid, loginuid, mntns, pidns, flags;
	__u32 refused; /* 0 where it was only to be told, or was let through for safety */
	__s32 failed; /* why a kill did not work, negative */
	__u16 args, path; /* lengths of what stands behind, in this order */
	__u8 hook, gate, datagram, reserved;
	__u8 family, protocol;
	__u16 port;
	__u8 remote[16];
	char comm[16];
	struct part_inode inode;
};

struct slot {
	__u32 taken;
	__u32 generation;
	__u32 at, len; /* the path in walk */
	__u32 cut; /* its end is not there: it is longer than walk */
	__u32 deep; /* its beginning is not there */
	struct bits live, found;
	struct path_key path;
	struct prefix_key prefix;
	struct network_key network;
	struct number_key number;
	struct decision out;
	char text[WALK_LEN + ARGS_LEN + 1024]; /* arguments and path, sent behind out */
	char walk[WALK_LEN + FRONT];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SLOTS); /* the loader makes it as many for each processor */
	__type(key, __u32);
	__type(value, struct slot);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct state);
} current SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct table);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct path_key);
	__type(value, struct bits);
} paths SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_key);
	__type(value, struct bits);
} prefixes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 2 * 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct number_key);
	__type(value, struct bits);
} numbers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 2 * 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct network_key);
	__type(value, struct bits);
} networks SEC(".maps");

/* masked bounds x, which is not above mask anyway, where the verifiers of older kernels do not see it. */
static __always_inline __u64 masked(__u64 x, const __u64 mask)
{
	asm volatile("%0 &= %1" : "+r"(x) : "i"(mask));
	return x;
}

static __always_inline struct slot *slot_at(__u32 index)
{
	return bpf_map_lookup_elem(&slots, &index);
}

static __always_inline struct table *table_of(__u32 generation)
{
	generation &= 1;
	return bpf_map_lookup_elem(&tables, &generation);
}

static __always_inline bool some(const struct bits *b)
{
	__u64 all = 0;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		all |= b->word[i];
	return all;
}

static __always_inline bool both(const struct bits *a, const struct bits *b)
{
	__u64 all = 0;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		all |= a->word[i] & b->word[i];
	return all;
}

static __always_inline void clear(struct bits *b)
{
	__builtin_memset(b, 0, sizeof(*b));
}

static __always_inline void add(struct bits *b, const struct bits *more)
{
	if (!more)
		return;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		b->word[i] |= more->word[i];
}

static __always_inline void without(struct bits *b, const struct bits *gone)
{
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		b->word[i] &= ~gone->word[i];
}

/* asks: is there a rule left that constrains the kind? */
static __always_inline bool asks(const struct slot *s, const struct table *t, const int kind)
{
	__u64 all = 0;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		all |= s->live.word[i] & ~t->any[kind].word[i];
	return all;
}

/* keep leaves the rules that found satisfies, and those that do not care. Is one left? */
static __always_inline bool keep(struct slot *s, const struct table *t, const int kind)
{
	__u64 all = 0;
#pragma unroll
	for (int i = 0; i < WORDS; i++)
		all |= s->live.word[i] &= s->found.word[i] | t->any[kind].word[i];
	return all;
}

static __always_inline void find_number(struct slot *s, __u32 kind, __u64 number)
{
	s->number.number = number;
	s->number.kind = kind;
	s->number.generation = s->generation;
	add(&s->found, bpf_map_lookup_elem(&numbers, &s->number));
}

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct user_namespace___level {
	int level;
};

struct pid_namespace___owned {
	struct user_namespace___level *user_ns;
};

struct mnt_namespace___owned {
	struct user_namespace___level *user_ns;
};
#pragma clang attribute pop

/* on_host: not in a container. A container has processes, or a root file system, of its own, in namespaces that the host's root made. What a user
 * makes by a user namespace of his own is on the host all the same: else everybody could leave it. */
static __always_inline bool on_host(struct task_struct *task)
{
	__u32 zero = 0;
	struct state *st = bpf_map_lookup_elem(&current, &zero);
	struct pid_namespace___owned *pids = (void *)BPF_CORE_READ(task, nsproxy, pid_ns_for_children);
	struct mnt_namespace___owned *mounts = (void *)BPF_CORE_READ(task, nsproxy, mnt_ns);

	if (!st)
		return true;
	if (BPF_CORE_READ(task, thread_pid, level) > 0 && BPF_CORE_READ(pids, user_ns, level) == 0)
		return false;
	return BPF_CORE_READ(task, fs, root.mnt, mnt_sb, s_dev) == st->root || BPF_CORE_READ(mounts, user_ns, level) > 0;
}

/* narrow_to_task: cgroups and users. A cgroup stands for those below it too: who may make cgroups of his own does not get out by one. */
__attribute__((noinline)) int narrow_to_task(__u32 index)
{
	struct slot *s = slot_at(index);
	if (!s)
		return 0;
	struct table *t = table_of(s->generation);
	if (!t)
		return 0;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();

	if (asks(s, t, BY_CGROUP)) {
		__u64 own = bpf_get_current_cgroup_id(), last = 0;
		clear(&s->found);
		if (both(&s->live, &t->host) && on_host(task))
			add(&s->found, &t->host);
		for (int level = 0; level < LEVELS; level++) {
			__u64 id = bpf_get_current_ancestor_cgroup_id(level);
			if (!id)
				break;
			find_number(s, BY_CGROUP, id);
			last = id;
		}
		if (last != own)
			find_number(s, BY_CGROUP, own);
		if (!keep(s, t, BY_CGROUP))
			return 0;
	}
	if (asks(s, t, BY_UID)) {
		clear(&s->found);
		find_number(s, BY_UID, BPF_CORE_READ(task, real_cred, euid.val));
		if (!keep(s, t, BY_UID))
			return 0;
	}
	return some(&s->live);
}

/* walk writes the path of a dentry to the end of slot.walk: from the root of the mount namespace, whatever root the process was given by
 * chroot, and as the sensor tells it. What is longer than walk loses its end, never its beginning. */
__attribute__((noinline)) int walk(__u32 index, __u64 vfsmount, __u64 dentry)
{
	struct slot *s = slot_at(index);
	struct vfsmount *vfs = (void *)vfsmount;
	struct dentry *d = (void *)dentry;

	if (!s)
		return 0;
	s->cut = s->deep = s->len = 0;
	s->at = WALK_LEN;
	if (!vfs || !d)
		return 0;
	struct mount *m = container_of_mount(vfs);
	struct dentry *root = BPF_CORE_READ(vfs, mnt_root);
	volatile __u32 *at = &s->at;

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
		const unsigned char *name = BPF_CORE_READ(d, d_name.name);
		__u32 len = BPF_CORE_READ(d, d_name.len), end = *at;
		if (len > 255)
			len = 255;
		if (end < len + 1) {
			bpf_probe_read_kernel(&s->walk[WALK_LEN - FRONT], FRONT, &s->walk[masked(end, WALK_LEN - 1)]);
			end = WALK_LEN - FRONT;
			s->cut = 1;
		}
		end -= len;
		bpf_probe_read_kernel(&s->walk[masked(end, WALK_LEN - 1)], masked(len, 255), name);
		end--;
		s->walk[masked(end, WALK_LEN - 1)] = '/';
		*at = end;
		struct dentry *parent = BPF_CORE_READ(d, d_parent);
		if (d == parent) /* a file without a folder: memfd */
			goto done;
		d = parent;
	}
	s->deep = 1;
done:
	if (*at >= WALK_LEN) {
		*at = WALK_LEN - 1;
		s->walk[WALK_LEN - 1] = '/';
	}
	s->len = WALK_LEN - *at;
	return 0;
}

/* find adds the rules that a text of len bytes satisfies as a path of the kind. whole: it is all of the path. */
static __always_inline void find(struct slot *s, struct table *t, const __u32 kind, const void *from, __u32 len, bool whole)
{
	__u32 n = len;
	if (n > TEXT_LEN)
		n = TEXT_LEN;
	if (whole && len <= TEXT_LEN) {
		__builtin_memset(&s->path, 0, sizeof(s->path));
		s->path.generation = s->generation;
		s->path.kind = kind;
		bpf_probe_read_kernel(s->path.text, masked(n, 255), from);
		add(&s->found, bpf_map_lookup_elem(&paths, &s->path));
	}
	if (t->prefixes & (1 << kind)) {
		s->prefix.bits = (2 + n) * 8;
		s->prefix.generation = s->generation;
		s->prefix.kind = kind;
		bpf_probe_read_kernel(s->prefix.text, masked(n, 255), from);
		add(&s->found, bpf_map_lookup_elem(&prefixes, &s->prefix));
	}
}

static __always_inline void find_name(struct slot *s, const __u32 kind, const void *from, __u32 len)
{
	if (len > TEXT_LEN)
		return;
	__builtin_memset(&s->path, 0, sizeof(s->path));
	s->path.generation = s->generation;
	s->path.kind = kind | AS_NAME;
	bpf_probe_read_kernel(s->path.text, masked(len, 255), from);
	add(&s->found, bpf_map_lookup_elem(&paths, &s->path));
}

/* find_file adds the rules that a file satisfies as a path of the kind. */
__attribute__((noinline)) int find_file(__u32 index, __u32 kind, __u64 vfsmount, __u64 dentry)
{
	walk(index, vfsmount, dentry);
	struct slot *s = slot_at(index);
	if (!s)
		return 0;
	struct table *t = table_of(s->generation);
	if (!t || !s->len || kind >= PATH_KINDS)
		return 0;
	find(s, t, kind, &s->walk[masked(s->at, WALK_LEN - 1)], s->len, !s->cut && !s->deep);
	if (s->deep && t->closed)
		add(&s->found, &t->prefixed[kind]);
	if (t->names & (1 << kind)) {
		struct dentry *d = (void *)dentry;
		find_name(s, kind, BPF_CORE_READ(d, d_name.name), BPF_CORE_READ(d, d_name.len));
	}
	return 0;
}

/* narrow_to_file: the rules that stay are those that the file satisfies, or that do not constrain the kind. */
static __always_inline bool narrow_to_file(__u32 index, struct slot *s, struct table *t, const __u32 kind, struct file *f)
{
	if (!asks(s, t, kind))
		return true;
	clear(&s->found);
	if (f)
		find_file(index, kind, (__u64)BPF_CORE_READ(f, f_path.mnt), (__u64)BPF_CORE_READ(f, f_path.dentry));
	return keep(s, t, kind);
}

#endif
