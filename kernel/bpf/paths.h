//go:build ignore
// Paths of system calls: of open files, of names that a program passed, and whether one is in a set.
#ifndef TESTUDO_PATHS_H
#define TESTUDO_PATHS_H

#include "common.h"

#define HASH_DOT ((FNV_OFFSET ^ '.') * FNV_PRIME)
#define HASH_DOTDOT ((HASH_DOT ^ '.') * FNV_PRIME)
#define HASH_PROC ((((((((FNV_OFFSET ^ 'p') * FNV_PRIME) ^ 'r') * FNV_PRIME) ^ 'o') * FNV_PRIME) ^ 'c') * FNV_PRIME)

#define FLAG_TEXT (1u << 30) /* the paths are what a program passed: the part TAG_NAMED says how, and the reader finds out where they lead */
#define TAG_NAMED 0x7f01
#define TAG_ROOT 0x7f02 /* the root of a process that has another than its mount namespace */

/* What the reader needs to know of paths that a program passed, docs/decisions/0030-names-and-links.md. */
struct named {
	__u32 base[2];  /* how much of a path is the folder that the name was taken from, which the kernel knows */
	__u8 follow[2]; /* a link at the end is followed, too */
	__u8 set;	/* SET_...: the path has to be in, SET_NONE: what is asked for is not the path */
	__u8 asked;	/* whatever the path */
};

_Static_assert(sizeof(struct named) == 12, "names.go reads it");

#define SET_NONE 255

/* text is a path that a program passed. */
struct text {
	__u32 base;
	bool follow;
	bool open; /* it may lead elsewhere than it says */
};

/* What scan has seen. */
#define SEEN_ASKED 1
#define SEEN_DEEP 2 /* the name is of several parts: those before the last may be links */

#define SCAN_BYTES 256 /* of a longer path the parts are not looked at: it is taken to have what is asked for */
#define END_BYTES 48

/* scan looks at the parts of the path that a program passed, which was appended last, and returns SEEN_ASKED where it is wanted: for a part that is asked
 * for, or because its name does not say where it leads. The name begins behind the folder of `base` bytes. A function of its own, which the
 * verifier looks at once. */
__attribute__((noinline)) int scan(__u32 set, __u32 filters, __u32 base)
{
	struct scratch *s = own_scratch();
	if (!s)
		return 0;
	__u32 at = s->path_at, len = s->path_len;
	volatile __u64 *hash = &s->hash;
	volatile __u32 *run = &s->run, *found = &s->found;

	*hash = FNV_OFFSET;
	*run = 0;
	*found = 0;
	for (__u32 i = 1; i <= SCAN_BYTES; i++) {
		__u8 c = i < len ? s->data[(at + i) & (RECORD_MAX - 1)] : '/';
		if (c != '/') {
			*hash = (*hash ^ lower(c)) * FNV_PRIME;
			*run += 1;
			continue;
		}
		if (i > base && i < len)
			*found |= SEEN_DEEP;
		struct part_key key = {.set = set, .hash = *hash};
		if (len > 1 && (!*run || key.hash == HASH_DOT || key.hash == HASH_DOTDOT)) {
			record_of(s)->flags |= FLAG_UNCLEAN;
			*found |= SEEN_ASKED;
		}
		if (key.hash == HASH_PROC) /* may lead anywhere: /proc/self/root */
			*found |= SEEN_ASKED;
		if (filters & FILTER_PART && bpf_map_lookup_elem(&parts, &key))
			*found |= SEEN_ASKED;
		*hash = FNV_OFFSET;
		*run = 0;
		if (i >= len)
			break;
	}
	return *found;
}

/* ends_in: does the last part of the path end in a text that is asked for? */
__attribute__((noinline)) int ends_in(__u32 set)
{
	struct scratch *s = own_scratch();
	if (!s)
		return 0;
	__u32 last = s->path_at + s->path_len - 1;
	for (__u32 i = 0; i < END_BYTES; i++)
		s->end.text[i] = lower(s->data[(last - i) & (RECORD_MAX - 1)]);
	s->end.bits = 8 * (4 + END_BYTES);
	s->end.set = set;
	return bpf_map_lookup_elem(&ends_of_names, &s->end) != NULL;
}

static __always_inline __u32 filters_of(struct config *c, __u32 set)
{
	return set == SET_READ ? c->read : set == SET_WRITE ? c->write : set == SET_CHANGE ? c->change : c->quiet;
}

/* of_request: is what this thread does told of whatever the path, because it serves a request? Where it may be another request it is not. */
static __always_inline bool of_request(struct config *c, struct task_struct *task)
{
	if (!c->quiet)
		return false;
	__u64 token = serving_token(task);
	return token && !(token & SERVING_UNSURE);
}

/* look_for makes walk look for the parts of a set. */
static __always_inline void look_for(struct scratch *s, struct config *c, __u32 set)
{
	s->part = 0;
	s->set = c->generation << 2 | set;
	s->lengths = filters_of(c, set) & FILTER_PART ? c->lengths[set < 3 ? set : 0] : 0;
}

/* comm_in: does everything that a thread of this name opens matter? */
static __always_inline bool comm_in(struct config *c, __u32 set)
{
	if (!(filters_of(c, set) & FILTER_COMM))
		return false;
	struct comm_key key = {.set = c->generation << 2 | set};
	bpf_get_current_comm(&key.comm, sizeof(key.comm));
	return bpf_map_lookup_elem(&comms, &key) != NULL;
}

/* refused: does the error say that what was named is there, and was kept from the caller? */
static __always_inline bool refused(long ret)
{
	return ret == -1 /* EPERM */ || ret == -13 /* EACCES */ || ret == -16 /* EBUSY */ || ret == -21 /* EISDIR */ || ret == -26 /* ETXTBSY */ ||
	       ret == -30 /* EROFS */;
}

/* judge: is the path that was appended last in a set? text: it is what a program passed, not what the kernel found, and what of it the text does not
 * say is noted there; else look_for was called before it was walked. */
static __always_inline bool judge(struct scratch *s, struct config *c, __u32 set, struct text *text)
{
	__u32 filters = filters_of(c, set), len = s->path_len, key = c->generation << 2 | set;
	__u64 at = bounded(s->path_at, RECORD_MAX - 1);
	bool in = filters & FILTER_ALL;

	if (!len || len > PATH_LEN || s->cut || (text && len >= SCAN_BYTES)) {
		if (text)
			record_of(s)->flags |= FLAG_UNCLEAN;
		return filters;
	}
	if (text) {
		int seen = scan(key, filters, text->base);
		in |= seen & SEEN_ASKED;
		text->open = filters && (seen & SEEN_DEEP || (text->follow && len > text->base));
	} else if (s->part && filters & FILTER_PART) {
		in = true;
	}
	if (!in && filters & FILTER_PREFIX) {
		s->data[at + bounded(len, 2 * PATH_LEN - 1)] = 0;
		bpf_probe_read_kernel(&s->prefix.text, sizeof(s->prefix.text), &s->data[at]);
		s->prefix.bits = 8 * (4 + sizeof(s->prefix.text));
		s->prefix.set = key;
		in = bpf_map_lookup_elem(&prefixes, &s->prefix) != NULL;
	}
	if (!in && filters & FILTER_END)
		in = ends_in(key);
	return in && filters;
}

/* append_text: the path that a program passed, from where it is taken: the folder dirfd, or the working directory. As the kernel would
 * take it, but that links in it are not followed and "." and ".." are left to the reader. Returns how long it is; 0 or less: none. */
static __always_inline long append_text(struct scratch *s, __u16 tag, struct task_struct *task, __s32 dirfd, const void *user, struct text *t)
{
	__u32 pos = s->pos;
	struct path *base;
	struct file *dir;
	char first = 0;

	s->path_len = 0;
	if (pos > RECORD_MAX - 2 * PATH_LEN - 8)
		return -1;
	if (!user || bpf_probe_read_user(&first, 1, user))
		return -1;
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	if (first == '/') {
		base = &fs->root;
	} else if (dirfd == AT_FDCWD) {
		base = &fs->pwd;
	} else {
		dir = file_at(task, dirfd);
		if (!dir)
			return -1;
		base = &dir->f_path;
	}
	__u64 len = walk((__u64)BPF_CORE_READ(base, mnt), (__u64)BPF_CORE_READ(base, dentry));
	if (len > PATH_LEN)
		return -1;
	struct part *p = (void *)&s->data[bounded(pos, RECORD_MAX - 1)];
	__u8 *to = (void *)(p + 1);
	if (len == 1)
		len = 0;
	else
		bpf_probe_read_kernel(to, bounded(len, 2 * PATH_LEN - 1), &s->walk[bounded(PATH_LEN - len, PATH_LEN - 1)]);
	t->base = len;
	if (first && first != '/') {
		to[bounded(len, 2 * PATH_LEN - 1)] = '/';
		len++;
	}
	long more = bpf_probe_read_user_str(to + bounded(len, 2 * PATH_LEN - 1), PATH_LEN, user);
	if (more < 1)
		return -1;
	len += more - 1;
	if (!len) {
		to[0] = '/';
		len = 1;
	}
	p->tag = tag;
	p->len = len;
	s->path_at = pos + sizeof(*p);
	s->path_len = len;
	s->pos = pos + sizeof(*p) + len;
	return len;
}

/* append_named has the reader find out where the paths of a record lead, which a program passed. */
static __always_inline void append_named(struct scratch *s, struct task_struct *task, struct text *one, struct text *two, __u8 set, bool asked)
{
	__u32 pos = s->pos;
	if (pos > RECORD_MAX - 4096)
		return;
	struct part *p = (void *)&s->data[bounded(pos, RECORD_MAX - 1)];
	struct named *n = (void *)(p + 1);
	p->tag = TAG_NAMED;
	p->len = sizeof(*n);
	s->pos = pos + sizeof(*p) + sizeof(*n);
	n->base[0] = one->base;
	n->base[1] = two->base;
	n->follow[0] = one->follow;
	n->follow[1] = two->follow;
	n->set = set;
	n->asked = asked;
	record_of(s)->flags |= FLAG_TEXT;
	__u32 at = s->path_at, len = s->path_len;
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	long root = walk((__u64)BPF_CORE_READ(fs, root.mnt), (__u64)BPF_CORE_READ(fs, root.dentry));
	if (root != 1)
		append_walked(s, TAG_ROOT, root);
	s->path_at = at;
	s->path_len = len;
}

/* append_args: the arguments of the call, n of them. */
static __always_inline __u64 *append_args(struct scratch *s, struct pt_regs *regs, bool compat, __u32 n)
{
	__u64 *at = append_fixed(s, TAG_NUMS, 48);
	if (!at)
		return NULL;
	at[0] = ARG(0);
	at[1] = ARG(1);
	at[2] = ARG(2);
	at[3] = ARG(3);
	at[4] = ARG(4);
	at[5] = ARG(5);
	if (n < 6) {
		((struct part *)at - 1)->len = 8 * n;
		s->pos -= 8 * (6 - n);
	}
	return at;
}

/* this_call says which call ends: many share a program. */
static __always_inline struct wanted this_call(struct pt_regs *regs, bool compat)
{
	struct wanted none = {};
	__u32 i = index_of(number_of(regs), compat);
	struct wanted *w = bpf_map_lookup_elem(&numbers, &i);
	return w ? *w : none;
}

/* finish fills the header of a record that was acquired, and sends it. */
static __always_inline void finish(struct scratch *s, long ret, bool compat)
{
	struct record *r = record_of(s);
	fill(r, current_task(), true);
	r->ret = ret;
	if (compat)
		r->flags |= FLAG_IPC32;
	send(s);
}

/* file_flags says of a file what its name does not. */
static __always_inline __u32 file_flags(struct inode *inode)
{
	__u32 flags = 0;
	__u64 magic = BPF_CORE_READ(inode, i_sb, s_magic);

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

#endif
