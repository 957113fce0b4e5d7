//go:build ignore
// Which request a thread serves. chain.c finds it out; whoever tells of something that a thread did asks here. docs/chain.md says what
// is promised.
#ifndef TESTUDO_SERVING_H
#define TESTUDO_SERVING_H

#define SERVING_UNSURE (1ull << 63) /* of a token: it is one of several that it could be */

enum serving_mode {
	SERVING_UNKNOWN, /* nobody has looked at the executable yet: no claim is made */
	SERVING_THREAD,	 /* a thread works at one request until it waits for the next */
	SERVING_GO,	 /* a goroutine does, on whatever thread */
};

/* A process that serves, or was started by one that does. Kept exact, not evicted: an entry goes when its process has gone. */
struct serving_process {
	__u64 start; /* of the process: a pid may be used again; 0: found in /proc, which does not say it exactly */
	__u64 token; /* inherited from who started it */
	__u32 mode;
	__s32 tls;  /* of Go: where g is, from the thread pointer */
	__u32 goid; /* where the number of a goroutine is in g */
	__u32 asked; /* user space was asked to look */
	__u32 served; /* it has read a request */
	__u16 port;   /* that it took connections at last */
	__u8 forked;  /* it is a copy of who started it, and has not run a program: maybe a worker, who serves others too */
	__u8 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 32768);
	__type(key, __u32);
	__type(value, struct serving_process);
} serving_pids SEC(".maps");

/* A thread, or a goroutine: their numbers are never used again while the process lives. */
struct serving_key {
	__u32 pid;
	__u32 mode;
	__u64 id;
};

struct serving_thread {
	__u64 token;
	__u64 sock; /* that the request came by */
	__s32 open; /* requests that it has read and nobody has answered */
	__u8 loop;     /* it is an event loop: it works at many requests in turn, and at what nobody asked for */
	__u8 waited;   /* of a loop: it has waited since it read */
	__u8 answered; /* it has begun to answer: what it does next may be for anybody */
	__u8 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 32768);
	__type(key, struct serving_key);
	__type(value, struct serving_thread);
} serving_threads SEC(".maps");

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct thread_struct {
	unsigned long fsbase;
};

struct task_struct___tls {
	struct thread_struct thread;
};
#pragma clang attribute pop

static __always_inline __u64 serving_start(struct task_struct *task)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	if (bpf_core_field_exists(leader->start_boottime))
		return BPF_CORE_READ(leader, start_boottime);
	return BPF_CORE_READ((struct task_struct___old *)leader, real_start_time);
}

/* serving_goroutine returns the number of the goroutine that runs, 0 where it is the runtime itself. */
static __always_inline __u64 serving_goroutine(struct task_struct *current, struct serving_process *p)
{
	__u64 g = 0, id = 0;
#if defined(__TARGET_ARCH_x86)
	__u64 base = BPF_CORE_READ((struct task_struct___tls *)current, thread.fsbase);
	if (bpf_probe_read_user(&g, sizeof(g), (void *)(base + (__s64)p->tls)))
		return 0;
#else
	/* The register of g is as it was when the call was made. */
	struct pt_regs *regs = (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
	g = BPF_CORE_READ(regs, regs[28]);
#endif
	if (bpf_probe_read_user(&id, sizeof(id), (void *)(g + p->goid)))
		return 0;
	return id;
}

/* serving_self fills the key of who runs; false: nobody that could serve. */
static __always_inline bool serving_self(struct task_struct *current, struct serving_process *p, struct serving_key *key)
{
	__u64 id = bpf_get_current_pid_tgid();
	key->pid = id >> 32;
	key->mode = p->mode;
	key->id = (__u32)id;
	if (p->mode == SERVING_GO)
		key->id = serving_goroutine(current, p);
	return p->mode != SERVING_UNKNOWN && key->id;
}

static __always_inline __u64 serving_of(struct serving_thread *t)
{
	if (t->waited || t->answered)
		return 0;
	/* A loop may do something else before it comes to what it has read, and nobody outside can tell. */
	return t->loop || t->open > 1 ? t->token | SERVING_UNSURE : t->token;
}

/* serving_token returns the number of the request that the task serves, 0 for none, with SERVING_UNSURE where it may be another. Of a task
 * that does not run it is that of the process. */
static __always_inline __u64 serving_token(struct task_struct *task)
{
	struct task_struct *current = (struct task_struct *)bpf_get_current_task();
	__u32 pid = task == current ? bpf_get_current_pid_tgid() >> 32 : BPF_CORE_READ(task, tgid);
	struct serving_process *p = bpf_map_lookup_elem(&serving_pids, &pid);

	if (!p || (p->start && p->start != serving_start(task)))
		return 0;
	if (task == current) {
		struct serving_key key = {};
		if (serving_self(current, p, &key)) {
			struct serving_thread *t = bpf_map_lookup_elem(&serving_threads, &key);
			if (t && t->token)
				return serving_of(t);
		}
	}
	return p->token && p->forked ? p->token | SERVING_UNSURE : p->token;
}

/* serving_runs returns what serving_token did, of a task that runs, or would run, a program: what a server starts for a request is of this
 * request, while a copy of the server may be there for more. */
static __always_inline __u64 serving_runs(struct task_struct *task, __u64 token)
{
	__u32 pid = BPF_CORE_READ(task, tgid);
	struct serving_process *p;

	if (!(token & SERVING_UNSURE) || !(p = bpf_map_lookup_elem(&serving_pids, &pid)))
		return token;
	return p->forked && (token & ~SERVING_UNSURE) == p->token ? p->token : token;
}

/* serving_fill says it of a record about task. */
static __always_inline void serving_fill(struct record *r, struct task_struct *task)
{
	__u64 token = serving_token(task);
	if (r->kind == KIND_EXEC || r->call == CALL_execve || r->call == CALL_execveat)
		token = serving_runs(task, token);
	r->token = token & ~SERVING_UNSURE;
	if (token & SERVING_UNSURE)
		r->flags |= FLAG_AMBIGUOUS;
}

#endif
