//go:build ignore
// The one program that runs when any system call ends. Of a call that nobody wants it costs a look into an array; the others are handed
// on to their own program. Arguments are still in the registers when a call ends, and what they point to is in memory then, as
// the kernel has just read it: so nothing runs when a call begins.
#include "common.h"

static __always_inline int dispatch(__u64 *ctx, __u64 nr, bool compat)
{
	__u32 i = index_of(nr, compat);
	struct wanted *w = bpf_map_lookup_elem(&numbers, &i);
	if (w && w->wanted)
		bpf_tail_call(ctx, &handlers, w->call);
	return 0;
}

SEC("tp_btf/sys_exit")
int on_sys_exit(__u64 *ctx)
{
	struct pt_regs *regs = (struct pt_regs *)ctx[0];
	struct task_struct___with_info *task = (void *)bpf_get_current_task_btf();
	/* Read without a helper: this is the path that costs. */
#if defined(__TARGET_ARCH_x86)
	return dispatch(ctx, regs->orig_ax, task->thread_info.status & 2);
#else
	return dispatch(ctx, regs->syscallno, task->thread_info.flags & (1 << 22));
#endif
}

SEC("raw_tp/sys_exit")
int on_sys_exit_raw(__u64 *ctx)
{
	return dispatch(ctx, number_of((struct pt_regs *)ctx[0]), is_compat(current_task()));
}
