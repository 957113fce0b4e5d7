//go:build ignore
// Files: opened, and changed by name or by descriptor.
#include "paths.h"

#define O_ACCMODE 3
#define O_CREAT 0100
#define O_EXCL 0200
#define O_TRUNC 01000
#if defined(__TARGET_ARCH_x86)
#define O_NOFOLLOW 0400000
#else
#define O_NOFOLLOW 0100000
#endif
#define O_PATH 010000000

#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define AT_SYMLINK_FOLLOW 0x400

/* Of struct wanted. */
#define WANTED_IN_SET 1
#define WANTED_ALWAYS 2
#define WANTED_TRACKED 3 /* by the reader alone, which keeps account of what names lead through */

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
	bool wanted = comm_in(c, set);
	struct text t = {.follow = !(how.flags & O_NOFOLLOW) && (how.flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL)}, none = {}, *text = NULL;
	struct scratch *s = acquire(KIND_CALL, w.call);
	if (!s)
		return 0;
	struct file *f = ret < 0 ? NULL : file_at(task, ret);
	if (f) {
		look_for(s, c, set);
		append_path(s, TAG_PATH, &f->f_path);
	} else { /* it failed, or another thread has closed it */
		text = &t;
		append_text(s, TAG_PATH, task, dirfd, name, text);
	}
	if (!wanted && !judge(s, c, set, text)) {
		bool unsure = t.open && (ret >= 0 || refused(ret));
		wanted = of_request(c, task) && (set != SET_READ || !judge(s, c, SET_QUIET, text));
		if (!wanted && !unsure) {
			drop(s);
			return 0;
		}
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
	if (text && (ret >= 0 || refused(ret)))
		append_named(s, task, text, &none, set, wanted);
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
	struct text one = {}, two = {};
	bool tracked = !ret; /* it may make, move or take away what other names lead through */

	if (!c)
		return 0;
	switch (w.call) {
	case CALL_rename:
	case CALL_link:
		name2 = 1;
		break;
	case CALL_linkat:
		one.follow = ARG(4) & AT_SYMLINK_FOLLOW;
		/* fallthrough */
	case CALL_renameat:
	case CALL_renameat2:
		dirfd = ARG(0), dirfd2 = ARG(2);
		name = 1, name2 = 3;
		break;
	case CALL_mkdir:
	case CALL_rmdir:
		break;
	case CALL_mkdirat:
		dirfd = ARG(0);
		name = 1;
		break;
	case CALL_unlinkat:
		dirfd = ARG(0);
		name = 1;
		tracked &= (ARG(2) & AT_REMOVEDIR) != 0;
		break;
	case CALL_fchmodat:
		one.follow = true;
		/* fallthrough */
	case CALL_mknodat:
		dirfd = ARG(0);
		name = 1;
		tracked = false;
		break;
	case CALL_fchmodat2:
		dirfd = ARG(0);
		name = 1;
		one.follow = !(ARG(3) & AT_SYMLINK_NOFOLLOW);
		tracked = false;
		break;
	case CALL_fchownat:
		dirfd = ARG(0);
		name = 1;
		one.follow = !(ARG(4) & AT_SYMLINK_NOFOLLOW);
		tracked = false;
		break;
	case CALL_chmod:
	case CALL_chown:
	case CALL_truncate:
	case CALL_setxattr:
		one.follow = true;
		/* fallthrough */
	case CALL_unlink:
	case CALL_lchown:
	case CALL_mknod:
		tracked = false;
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
	bool in = false, told = w.wanted == WANTED_ALWAYS || (w.wanted == WANTED_IN_SET && of_request(c, task));
	append_text(s, TAG_PATH, task, dirfd, user, &one);
	in = judge(s, c, SET_CHANGE, &one);
	if (name2 >= 0) {
		append_text(s, TAG_PATH2, task, dirfd2, (void *)(name2 == 1 ? ARG(1) : ARG(3)), &two);
		if (judge(s, c, SET_CHANGE, &two))
			in = true;
	}
	if (w.wanted == WANTED_TRACKED)
		in = false;
	else if ((one.open || two.open) && (!ret || refused(ret)))
		in = true;
	if (!told && !in && !tracked) {
		drop(s);
		return 0;
	}
	append_string(s, TAG_NAME, given == 0 ? (void *)ARG(0) : user, PATH_LEN, true);
	append_args(s, regs, compat, w.args);
	if (!ret || refused(ret))
		append_named(s, task, &one, &two, w.wanted == WANTED_TRACKED ? SET_NONE : SET_CHANGE, told);
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
	if (!judge(s, c, SET_CHANGE, NULL) && w.wanted != WANTED_ALWAYS && !of_request(c, current_task())) {
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
