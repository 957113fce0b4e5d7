//go:build ignore
// Which request a thread serves: kernel/chain knows.
#ifndef TESTUDO_SERVING_H
#define TESTUDO_SERVING_H

/* serving_token returns the number of the request that the task serves, 0 for none. */
static __always_inline __u64 serving_token(struct task_struct *task)
{
	return 0;
}

#endif
