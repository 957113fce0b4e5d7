//go:build ignore
// The hooks that cannot wait for user space: exec, open, connect. Each has its forms, the best that the kernel allows is attached.
#include "decide.h"

#define EPERM 1
#define SIGKILL 9
#define FMODE_WRITE 2
#define FMODE_EXEC_FLAG 0x20 /* in f_flags of a file that is opened to be executed; open(2) takes it off */
#define AF_UNSPEC 0
#define AF_INET 2
#define AF_INET6 10
#define SOCK_STREAM 1
#define SOCK_DGRAM 2

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct msghdr {
	void *msg_name;
	int msg_namelen;
};
#pragma clang attribute pop

/* caller_args reads the arguments that the caller of execve passes: from its memory, so another of its threads may have changed them since
 * the kernel read them. They are told, never judged. */
__attribute__((noinline)) int caller_args(__u32 index)
{
	struct slot *s = slot_at(index);
	if (!s || !bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
		return 0;
	struct pt_regs *regs = (void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
	__u64 argv = 0, call = 0;
#if defined(__TARGET_ARCH_x86)
	call = BPF_CORE_READ(regs, orig_ax);
	if (call == 59)
		argv = BPF_CORE_READ(regs, si);
	else if (call == 322)
		argv = BPF_CORE_READ(regs, dx);
#elif defined(__TARGET_ARCH_arm64)
	call = BPF_CORE_READ(regs, syscallno);
	if (call == 221)
		bpf_core_read(&argv, 8, &regs->regs[1]);
	else if (call == 281)
		bpf_core_read(&argv, 8, &regs->regs[2]);
#endif
	if (!argv)
		return 0;
	volatile __u16 *args = &s->out.args;
	for (int i = 0; i < 48; i++) {
		__u64 one = 0;
		__u32 at = *args;
		if (at >= ARGS_LEN - 256) {
			s->out.flags |= FLAG_TRUNCATED;
			break;
		}
		if (bpf_probe_read_user(&one, 8, (void *)(argv + 8 * i)) || !one)
			break;
		long n = bpf_probe_read_user_str(&s->text[masked(at, ARGS_LEN - 1)], 256, (void *)one);
		if (n <= 0)
			break;
		if (n == 256)
			s->out.flags |= FLAG_TRUNCATED;
		*args = at + n;
	}
	return 0;
}

/* own_args reads the arguments that the kernel put on the new program's stack. */
static __always_inline void own_args(struct slot *s, struct task_struct *task)
{
	__u64 from = BPF_CORE_READ(task, mm, arg_start), to = BPF_CORE_READ(task, mm, arg_end);
	__u64 n = to - from;
	if (to <= from)
		return;
	if (n > ARGS_LEN) {
		n = ARGS_LEN;
		s->out.flags |= FLAG_TRUNCATED;
	}
	if (!bpf_probe_read_user(s->text, masked(n, 2 * ARGS_LEN - 1), (void *)from))
		s->out.args = n;
}

/* find_script: the kernel opened a script first, and has closed it by now; its name is what the caller passed. */
__attribute__((noinline)) int find_script(__u32 index, __u64 filename)
{
	struct slot *s = slot_at(index);
	if (!s)
		return 0;
	struct table *t = table_of(s->generation);
	if (!t)
		return 0;
	long n = bpf_probe_read_kernel_str(s->walk, TEXT_LEN + 1, (void *)filename);
	if (n > 1 && n <= TEXT_LEN + 1 && s->walk[0] == '/')
		find(s, t, BY_EXE, s->walk, n - 1, n <= TEXT_LEN);
	return 0;
}

static __always_inline bool rules_of_exec(__u32 index, struct slot *s, struct table *t, struct linux_binprm *bprm, const __u32 gate,
					  const bool with_caller)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct file *f = BPF_CORE_READ(bprm, file);

	if (!narrow_to_task(index))
		return false;
	if (asks(s, t, BY_EXE)) {
		clear(&s->found);
		find_file(index, BY_EXE, (__u64)BPF_CORE_READ(f, f_path.mnt), (__u64)BPF_CORE_READ(f, f_path.dentry));
		const char *filename = BPF_CORE_READ(bprm, filename);
		if (gate == GATE_EXEC_KILL && filename != BPF_CORE_READ(bprm, interp))
			find_script(index, (__u64)filename);
		if (!keep(s, t, BY_EXE))
			return false;
	}
	/* of the process above, as rules have it: what a program becomes by exec alone was not started by the program before */
	if (with_caller && !narrow_to_file(index, s, t, BY_PARENT, BPF_CORE_READ(task, real_parent, mm, exe_file)))
		return false;
	return narrow_to_layer(s, t, f);
}

static __always_inline int exec(struct linux_binprm *bprm, const __u32 gate, const bool with_caller)
{
	struct slot *s;
	struct table *t;
	__u32 index;
	bool refused = false;

	switch (start(HOOK_EXEC, &index, &s, &t)) {
	case NOTHING:
		return 0;
	case UNABLE:
		if (gate == GATE_EXEC_KILL)
			bpf_send_signal(SIGKILL);
		return -EPERM;
	}
	if (rules_of_exec(index, s, t, bprm, gate, with_caller)) {
		struct file *f = BPF_CORE_READ(bprm, file);
		refused = decide(s, t);
		describe(index, HOOK_EXEC, gate);
		s->out.refused = refused;
		s->out.flags |= file_flags(f);
		if (refused && gate == GATE_EXEC_KILL) {
			long failed = bpf_send_signal(SIGKILL);
			if (failed) {
				s->out.failed = failed;
				count(COUNT_FAILED);
			}
		}
		if (with_caller)
			caller_args(index);
		else
			own_args(s, (struct task_struct *)bpf_get_current_task());
		describe_file(index, (__u64)f);
		tell(index);
	}
	release(s);
	return refused ? -EPERM : 0;
}

/* verdict_before: what programs before this one decided, in the range that the verifier demands. */
static __always_inline int verdict_before(__u64 given)
{
	__s32 v = given;
	return v == 0 ? 0 : v > -4096 && v < 0 ? v : -EPERM;
}

/* Before anything of the program is there, for a script and for its interpreter: the call fails. */
SEC("lsm/bprm_check_security")
int exec_lsm(__u64 *ctx)
{
	int before = verdict_before(ctx[1]);
	if (before)
		return before;
	return exec((void *)ctx[0], GATE_LSM, true);
}

/* As the old program is about to be given up, from 6.10 on: who called is still to be seen. */
SEC("tp_btf/sched_prepare_exec")
int exec_prepare(__u64 *ctx)
{
	exec((void *)ctx[1], GATE_EXEC_KILL, true);
	return 0;
}

/* As the new program is in place and has not run. */
SEC("tp_btf/sched_process_exec")
int exec_process(__u64 *ctx)
{
	exec((void *)ctx[2], GATE_EXEC_KILL, false);
	return 0;
}

SEC("lsm/file_open")
int open_lsm(__u64 *ctx)
{
	struct file *f = NULL;
	int before = verdict_before(ctx[1]);
	struct slot *s;
	struct table *t;
	__u32 index;
	bool refused = false;

	if (before)
		return before;
	bpf_probe_read_kernel(&f, sizeof(f), &ctx[0]); /* as a number: a pointer that the verifier knows is not taken by functions */
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);
	if (!mm || BPF_CORE_READ(f, f_flags) & FMODE_EXEC_FLAG) /* a thread of the kernel; exec, which has a hook of its own */
		return 0;
	switch (start(HOOK_OPEN, &index, &s, &t)) {
	case NOTHING:
		return 0;
	case UNABLE:
		return -EPERM;
	}
	if (!(BPF_CORE_READ(f, f_mode) & FMODE_WRITE))
		without(&s->live, &t->write);
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	if (narrow_to_task(index) && narrow_to_file(index, s, t, BY_FILE, f) && narrow_to_file(index, s, t, BY_EXE, exe) &&
	    narrow_to_layer(s, t, exe)) {
		refused = decide(s, t);
		describe(index, HOOK_OPEN, GATE_LSM);
		s->out.refused = refused;
		describe_file(index, (__u64)f);
		tell(index);
	}
	release(s);
	return refused ? -EPERM : 0;
}

struct target {
	__u8 address[16];
	__u16 port;
	__u8 family, protocol;
	bool datagram;
};

static __always_inline void set4(struct target *to, __u32 address)
{
	if (!address) /* the kernel takes it for this host */
		address = __builtin_bswap32(0x7f000001);
	__builtin_memset(to->address, 0, 10);
	to->address[10] = to->address[11] = 0xff;
	__builtin_memcpy(to->address + 12, &address, 4);
	to->family = AF_INET;
}

static __always_inline void set6(struct target *to, const __u32 *address)
{
	to->family = AF_INET6;
	__builtin_memcpy(to->address, address, 16);
	if (address[0] | address[1])
		return;
	if (!address[2] && !address[3])
		to->address[15] = 1;
	else if (address[2] == __builtin_bswap32(0xffff)) /* an address of IPv4 in the form of IPv6 */
		set4(to, address[3]);
}

static __always_inline int reach(struct target *to, const __u32 gate)
{
	struct slot *s;
	struct table *t;
	__u32 index;
	bool refused = false;
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	if (!mm)
		return 0;
	switch (start(HOOK_CONNECT, &index, &s, &t)) {
	case NOTHING:
		return 0;
	case UNABLE:
		return -EPERM;
	}
	if (!narrow_to_task(index))
		goto done;
	if (asks(s, t, BY_PORT)) {
		clear(&s->found);
		find_number(s, BY_PORT, to->port);
		if (!keep(s, t, BY_PORT))
			goto done;
	}
	if (asks(s, t, BY_REMOTE)) {
		clear(&s->found);
		s->network.bits = (4 + 16) * 8;
		s->network.generation = s->generation;
		s->network.family = to->family;
		__builtin_memset(s->network.reserved, 0, sizeof(s->network.reserved));
		__builtin_memcpy(s->network.address, to->address, 16);
		add(&s->found, bpf_map_lookup_elem(&networks, &s->network));
		if (!keep(s, t, BY_REMOTE))
			goto done;
	}
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	if (!narrow_to_file(index, s, t, BY_EXE, exe) || !narrow_to_layer(s, t, exe))
		goto done;
	refused = decide(s, t);
	describe(index, HOOK_CONNECT, gate);
	s->out.refused = refused;
	s->out.family = to->family;
	s->out.protocol = to->protocol;
	s->out.datagram = to->datagram;
	s->out.port = to->port;
	__builtin_memcpy(s->out.remote, to->address, 16);
	tell(index);
done:
	release(s);
	return refused ? -EPERM : 0;
}

/* reach_lsm judges an address that the kernel has already copied from the caller. */
static __always_inline int reach_lsm(struct socket *sock, void *address, int len, bool datagram)
{
	struct sock *sk = BPF_CORE_READ(sock, sk);
	struct target to = {.protocol = BPF_CORE_READ(sk, sk_protocol), .datagram = datagram};
	__u16 own = BPF_CORE_READ(sk, __sk_common.skc_family), family = 0, port = 0;
	__u32 words[4] = {};

	if ((own != AF_INET && own != AF_INET6) || len < 8 || bpf_probe_read_kernel(&family, 2, address))
		return 0;
	if (family == AF_UNSPEC && own == AF_INET && datagram) /* sendmsg takes it for an address of IPv4 */
		family = AF_INET;
	bpf_probe_read_kernel(&port, 2, address + 2);
	to.port = __builtin_bswap16(port);
	if (family == AF_INET) {
		bpf_probe_read_kernel(words, 4, address + 4);
		set4(&to, words[0]);
	} else if (family == AF_INET6 && len >= 24) {
		bpf_probe_read_kernel(words, 16, address + 8);
		set6(&to, words);
	} else {
		return 0;
	}
	return reach(&to, GATE_LSM);
}

SEC("lsm/socket_connect")
int connect_lsm(__u64 *ctx)
{
	int before = verdict_before(ctx[3]);
	if (before)
		return before;
	return reach_lsm((void *)ctx[0], (void *)ctx[1], (int)ctx[2], false);
}

/* Datagrams with an address of their own, and what MSG_FASTOPEN connects. */
SEC("lsm/socket_sendmsg")
int send_lsm(__u64 *ctx)
{
	int before = verdict_before(ctx[3]);
	struct msghdr *msg = (void *)ctx[1];
	if (before)
		return before;
	void *name = BPF_CORE_READ(msg, msg_name);
	if (!name)
		return 0;
	return reach_lsm((void *)ctx[0], name, BPF_CORE_READ(msg, msg_namelen), true);
}

static __always_inline int reach_cgroup(struct bpf_sock_addr *ctx, bool six, bool datagram)
{
	struct target to = {.protocol = ctx->protocol, .datagram = datagram};
	to.port = __builtin_bswap16((__u16)ctx->user_port);
	if (six) {
		__u32 words[4] = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]};
		set6(&to, words);
	} else {
		set4(&to, ctx->user_ip4);
	}
	return reach(&to, GATE_CGROUP) ? 0 : 1;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	return reach_cgroup(ctx, false, false);
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	return reach_cgroup(ctx, true, false);
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	return reach_cgroup(ctx, false, true);
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	return reach_cgroup(ctx, true, true);
}
