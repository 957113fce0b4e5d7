//go:build ignore
// Files: opened, and changed by name or by descriptor.
#include "paths.h"

#define O_ACCMODE 3
#define O_CREAT 0100
#define O_TRUNC 01000
#define O_PATH 010000000

struct open_how {
	__u64 flags;
	__u64 mode;
};

/* open, openat, openat2, creat: the file that the kernel opened, whatever the name says by now. */
CALL_PROGRAM(open)
{
	struct config *c = configured();
	struct task_struct *task = current_task();
	struct wanted w = this_call(regs, compat);
	struct open_how how = {};
	__s32 dirfd = AT_FDCWD;
	const void *name;

	if (!c)
		return 0;
	switch (w.call) {
	case CALL_open:
		name = (void *)ARG(0);
		how.flags = ARG(1);
		break;
	case CALL_creat:
		name = (void *)ARG(0);
		how.flags = O_CREAT | O_TRUNC | 1;
		break;
	case CALL_openat2:
		dirfd = ARG(0);
		name = (void *)ARG(1);
		bpf_probe_read_user(&how, sizeof(how), (void *)ARG(2));
		break;
	default:
		dirfd = ARG(0);
		name = (void *)ARG(1);
		how.flags = ARG(2);
	}
	__u32 set = SET_READ;
	if (!(how.flags & O_PATH) && how.flags & (O_ACCMODE | O_CREAT | O_TRUNC))
		set = SET_WRITE;
	if (!filters_of(c, set) && !c->quiet)
		return 0;
	bool wanted = comm_in(c, set), text = ret < 0;
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	if (ret < 0) {
		append_text(s, TAG_PATH, task, dirfd, name);
	} else {
		struct file *f = file_at(task, ret);
		if (!f) /* another thread has closed it */
			append_text(s, TAG_PATH, task, dirfd, name);
		text = !f;
		if (f) {
			look_for(s, c, set);
			append_path(s, TAG_PATH, &f->f_path);
		}
	}
	if (!wanted && !judge(s, c, set, text) && (!of_request(c, task) || (set == SET_READ && judge(s, c, SET_QUIET, text)))) {
		drop(s);
		return 0;
	}
	if (ret >= 0) {
		struct file *f = file_at(task, ret);
		struct inode *inode = BPF_CORE_READ(f, f_inode);
		if (inode) {
			append_inode(s, inode);
			record_of(s)->flags |= file_flags(inode);
		}
	}
	append_string(s, TAG_NAME, name, PATH_LEN, true);
	__u64 *nums = append_args(s, regs, compat, w.args);
	if (nums && w.call == CALL_openat2) {
		nums[2] = how.flags;
		nums[3] = how.mode;
	}
	finish(s, ret, compat);
	return 0;
}

/* Calls that name one file, or two. */
CALL_PROGRAM(name)
{
	struct config *c = configured();
	struct task_struct *task = current_task();
	struct wanted w = this_call(regs, compat);
	__s32 dirfd = AT_FDCWD, dirfd2 = AT_FDCWD;
	int name = 0, name2 = -1, given = -1;
	bool wanted;

	if (!c)
		return 0;
	switch (w.call) {
	case CALL_rename:
	case CALL_link:
		name2 = 1;
		break;
	case CALL_renameat:
	case CALL_renameat2:
	case CALL_linkat:
		dirfd = ARG(0), dirfd2 = ARG(2);
		name = 1, name2 = 3;
		break;
	case CALL_unlinkat:
	case CALL_mkdirat:
	case CALL_mknodat:
	case CALL_fchmodat:
	case CALL_fchmodat2:
	case CALL_fchownat:
		dirfd = ARG(0);
		name = 1;
		break;
	case CALL_symlink:
		name = 1, given = 0;
		break;
	case CALL_symlinkat:
		dirfd = ARG(1);
		name = 2, given = 0;
		break;
	}
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	const void *user = (void *)(name == 0 ? ARG(0) : name == 1 ? ARG(1) : ARG(2));
	wanted = w.wanted > 1;
	append_text(s, TAG_PATH, task, dirfd, user);
	if (judge(s, c, SET_CHANGE, true))
		wanted = true;
	if (name2 >= 0) {
		append_text(s, TAG_PATH2, task, dirfd2, (void *)(name2 == 1 ? ARG(1) : ARG(3)));
		if (judge(s, c, SET_CHANGE, true))
			wanted = true;
	}
	if (!wanted && !of_request(c, task)) {
		drop(s);
		return 0;
	}
	append_string(s, TAG_NAME, given == 0 ? (void *)ARG(0) : user, PATH_LEN, true);
	append_args(s, regs, compat, w.args);
	finish(s, ret, compat);
	return 0;
}

/* Calls on an open file. */
CALL_PROGRAM(descriptor)
{
	struct config *c = configured();
	struct wanted w = this_call(regs, compat);
	struct file *f = file_at(current_task(), ARG(0));

	if (!c || !f)
		return 0;
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	look_for(s, c, SET_CHANGE);
	append_path(s, TAG_PATH, &f->f_path);
	if (!judge(s, c, SET_CHANGE, false) && w.wanted < 2 && !of_request(c, current_task())) {
		drop(s);
		return 0;
	}
	struct inode *inode = BPF_CORE_READ(f, f_inode);
	if (inode) {
		append_inode(s, inode);
		record_of(s)->flags |= file_flags(inode);
	}
	append_args(s, regs, compat, w.args);
	finish(s, ret, compat);
	return 0;
}
