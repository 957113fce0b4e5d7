//go:build linux

package bpf

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

func allCalls() map[record.Call]bool {
	all := map[record.Call]bool{}
	for _, c := range record.Calls() {
		all[c] = true
	}
	return all
}

// everything of files, below the folders of tests.
func everything() kernel.Interest {
	p := kernel.Paths{Prefix: []string{os.TempDir()}}
	return kernel.Interest{Calls: allCalls(), Reads: p, Writes: p, Changes: p}
}

func TestFiles(t *testing.T) {
	for _, raw := range []bool{false, true} {
		t.Run(fmt.Sprintf("raw=%v", raw), func(t *testing.T) { testFiles(t, raw) })
	}
}

func testFiles(t *testing.T, raw bool) {
	begin := start
	if raw {
		begin = func(t testing.TB, o Options, want kernel.Interest) (*Loader, *seen) {
			return startOwn(t, o, want, true)
		}
	}
	_, s := begin(t, Options{}, everything())
	pid, dir := helper(t, "files")
	nums := func(i int, v uint64) func(*record.Record) bool {
		return func(r *record.Record) bool { return r.NumLen > i && uint32(r.Nums[i]) == uint32(v) }
	}
	to := func(p string) func(*record.Record) bool {
		return func(r *record.Record) bool { return string(r.Path2) == p }
	}
	named := func(n string) func(*record.Record) bool {
		return func(r *record.Record) bool { return string(r.Name) == n }
	}
	failed := func(e unix.Errno) func(*record.Record) bool {
		return func(r *record.Record) bool { return r.Ret == -int64(e) }
	}
	worked := func(r *record.Record) bool { return r.Ret >= 0 }
	ofFile := func(r *record.Record) bool {
		return r.HasInode && r.Inode.Number != 0 && r.Inode.Mode&unix.S_IFMT == unix.S_IFREG
	}
	for _, c := range []struct {
		name  string
		match func(*record.Record) bool
	}{
		{"create", of(pid, record.CallOpenat, at(in(dir, "a")), worked, ofFile, func(r *record.Record) bool { return r.Nums[2]&unix.O_CREAT != 0 && r.Nums[3] == 0o600 })},
		{"read", of(pid, record.CallOpenat, at(in(dir, "a")), worked, func(r *record.Record) bool { return r.Nums[2]&unix.O_ACCMODE == 0 && r.Inode.Size == 1 })},
		{"rename", of(pid, record.CallRenameat, at(in(dir, "a")), to(in(dir, "b")), worked)},
		{"rename 2", of(pid, record.CallRenameat2, at(in(dir, "b")), to(in(dir, "c")), nums(4, unix.RENAME_NOREPLACE))},
		{"link", of(pid, record.CallLinkat, at(in(dir, "c")), to(in(dir, "hard")))},
		{"symlink", of(pid, record.CallSymlinkat, at(in(dir, "soft")), named("c"))},
		{"mkdir", of(pid, record.CallMkdirat, at(in(dir, "dir")), nums(2, 0o700))},
		{"mkdir in a folder by descriptor", of(pid, record.CallMkdirat, at(in(dir, "dir", "in")), named("in"))},
		{"unlink in a folder by descriptor", of(pid, record.CallUnlinkat, at(in(dir, "dir", "in")), nums(2, unix.AT_REMOVEDIR))},
		{"rmdir by another name", of(pid, record.CallUnlinkat, at(in(dir, "dir")), named("./dir/../dir"))},
		{"chmod", of(pid, record.CallFchmodat, at(in(dir, "c")), nums(2, 0o4755))},
		{"fchmod", of(pid, record.CallFchmod, at(in(dir, "c")), nums(1, 0o600), ofFile)},
		{"fchown", of(pid, record.CallFchown, at(in(dir, "c")), nums(1, 1), nums(2, 1))},
		{"ftruncate", of(pid, record.CallFtruncate, at(in(dir, "c")), nums(1, 3))},
		{"chown", of(pid, record.CallFchownat, at(in(dir, "c")), nums(2, 2))},
		{"lchown", of(pid, record.CallFchownat, at(in(dir, "soft")), nums(4, unix.AT_SYMLINK_NOFOLLOW))},
		{"truncate", of(pid, record.CallTruncate, at(in(dir, "c")), nums(1, 1))},
		{"mknod", of(pid, record.CallMknodat, at(in(dir, "fifo")))},
		{"setxattr", of(pid, record.CallSetxattr, at(in(dir, "c")))},
		{"failed unlink", of(pid, record.CallUnlinkat, at(in(dir, "missing")), failed(unix.ENOENT))},
		{"unlink", of(pid, record.CallUnlinkat, at(in(dir, "c")), worked)},
		{"a name that is no text", of(pid, record.CallOpenat, at(in(dir, "odd\nname\xff")))},
		{"behind a bind mount", of(pid, record.CallOpenat, at(in(dir, "bound", "file")), ofFile)},
		{"openat2", of(pid, record.CallOpenat2, at(in(dir, "bound", "file")), nums(2, unix.O_RDONLY), named("bound/file"))},
		{"failed open", of(pid, record.CallOpenat, at(in(dir, "absent")), failed(unix.ENOENT))},
		{"through a link", of(pid, record.CallOpenat, at(in(dir, "bound", "file")), named("link"))},
	} {
		c.match = orOld(c.match)
		s.wait(t, c.name, c.match)
	}
}

// orOld lets the form of a call that takes no folder stand for the one that does: which of them Go's library uses is its own choice.
func orOld(match func(*record.Record) bool) func(*record.Record) bool {
	newer := map[record.Call]record.Call{record.CallRename: record.CallRenameat, record.CallLink: record.CallLinkat, record.CallSymlink: record.CallSymlinkat,
		record.CallMkdir: record.CallMkdirat, record.CallRmdir: record.CallUnlinkat, record.CallUnlink: record.CallUnlinkat, record.CallChmod: record.CallFchmodat,
		record.CallChown: record.CallFchownat, record.CallLchown: record.CallFchownat, record.CallMknod: record.CallMknodat}
	return func(r *record.Record) bool {
		c := *r
		n, ok := newer[r.Call]
		if !ok {
			return match(r)
		}
		c.Call = n
		switch r.Call {
		case record.CallRmdir:
			c.Nums, c.NumLen = [6]uint64{0, 0, unix.AT_REMOVEDIR}, 3
		case record.CallLchown:
			c.Nums, c.NumLen = [6]uint64{0, 0, r.Nums[1], r.Nums[2], unix.AT_SYMLINK_NOFOLLOW}, 5
		default:
			c.Nums, c.NumLen = [6]uint64{0, r.Nums[0], r.Nums[1], r.Nums[2], r.Nums[3]}, r.NumLen+1
		}
		return match(&c)
	}
}

func TestCalls(t *testing.T) {
	_, s := start(t, Options{}, everything())
	pid, dir := helper(t, "calls")
	named := func(n string) func(*record.Record) bool {
		return func(r *record.Record) bool { return string(r.Name) == n }
	}
	creds := func(r *record.Record) bool { return r.HasCreds && r.Creds.Effective != 0 && r.Creds.VPID != 0 }
	ret := func(e unix.Errno) func(*record.Record) bool {
		return func(r *record.Record) bool { return r.Ret == -int64(e) }
	}
	num := func(i int, v uint64) func(*record.Record) bool {
		return func(r *record.Record) bool { return r.NumLen > i && r.Nums[i] == v }
	}
	for name, match := range map[string]func(*record.Record) bool{
		"setreuid":    of(pid, record.CallSetreuid, creds),
		"setresuid":   of(pid, record.CallSetresuid, creds),
		"setfsuid":    of(pid, record.CallSetfsuid, creds),
		"setresgid":   of(pid, record.CallSetresgid, creds),
		"capset":      of(pid, record.CallCapset, creds, ret(unix.EFAULT)),
		"prctl":       of(pid, record.CallPrctl, num(0, unix.PR_SET_DUMPABLE)),
		"ptrace":      of(pid, record.CallPtrace, num(0, unix.PTRACE_DETACH), num(1, 1), ret(unix.ESRCH)),
		"process_vm":  of(pid, record.CallProcessVMReadv, num(0, uint64(pid))),
		"delete":      of(pid, record.CallDeleteModule, named("testudo_none")),
		"init":        of(pid, record.CallInitModule, named("option=1")),
		"mount":       of(pid, record.CallMount, at(in(dir, "here")), named("tmpfs"), func(r *record.Record) bool { return string(r.Path2) == "testudo" && r.Ret == 0 }),
		"umount":      of(pid, record.CallUmount2, at(in(dir, "here"))),
		"fsopen":      of(pid, record.CallFsopen, named("tmpfs")),
		"fsmount":     of(pid, record.CallFsmount),
		"move_mount":  of(pid, record.CallMoveMount, func(r *record.Record) bool { return string(r.Path2) == in(dir, "here") }),
		"setns":       of(pid, record.CallSetns, creds, num(1, unix.CLONE_NEWUTS)),
		"unshare":     of(pid, record.CallUnshare, creds, num(0, unix.CLONE_NEWUTS)),
		"sethostname": of(pid, record.CallSethostname),
		"bpf":         of(pid, record.CallBPF, num(0, 99)),
		"memfd":       of(pid, record.CallMemfdCreate, named("in memory")),
		"kill":        of(pid, record.CallKill, num(1, 0)),
		"pidfd":       of(pid, record.CallPidfdSendSignal, num(1, uint64(unix.SIGKILL)), func(r *record.Record) bool { return r.Nums[0] > 100 }),
		"keyctl":      of(pid, record.CallKeyctl),
		"add_key":     of(pid, record.CallAddKey, named("testudo")),
		"perf":        of(pid, record.CallPerfEventOpen),
		"io_uring":    of(pid, record.CallIoUringSetup),
		"mprotect":    of(pid, record.CallMprotect, num(2, unix.PROT_EXEC)),
		"failed exec": of(pid, record.CallExecve, at(in(dir, "not", "there")), named("./not/there"), ret(unix.ENOENT)),
		"chroot":      of(pid, record.CallChroot, at(in(dir, "new", "none")), ret(unix.ENOENT)),
		"dup": of(pid, record.CallDup3, func(r *record.Record) bool {
			return r.HasNet && r.HasStdio && r.Stdio[0].Type == record.StreamInet && r.Net.Remote.Addr().IsLoopback()
		}),
		"failed vm ns": of(pid, record.CallUserfaultfd),
	} {
		s.wait(t, name, match)
	}
}

func TestOpenedIsWhatIsTold(t *testing.T) {
	_, s := start(t, Options{}, everything())
	pid, dir := helper(t, "race")
	s.wait(t, "the end", func(r *record.Record) bool { return r.Kind == record.KindExit && r.PID == pid })
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]uint64{}
	for i := range s.all {
		r := &s.all[i]
		if r.PID != pid || r.Call != record.CallOpenat || string(r.Name) != "swing" || r.Ret < 0 {
			continue
		}
		path := string(r.Path)
		if path != in(dir, "one") && path != in(dir, "two") {
			t.Fatalf("opened %q", path)
		}
		if n, ok := seen[path]; ok && n != r.Inode.Number {
			t.Fatalf("%q is inode %d and %d: the path is not that of what was opened", path, n, r.Inode.Number)
		}
		seen[path] = r.Inode.Number
	}
	if len(seen) != 2 || seen[in(dir, "one")] == seen[in(dir, "two")] {
		t.Errorf("opened %v, want two files", seen)
	}
}

func TestFailedCallsAreTold(t *testing.T) {
	_, s := start(t, Options{}, everything())
	pid, dir := helper(t, "deny")
	s.wait(t, "a refused open", of(pid, record.CallOpenat, at(in(dir, "sub", "secret")), func(r *record.Record) bool { return r.Ret == -int64(unix.EACCES) && r.UID == 65534 }))
	if runtime.GOARCH == "amd64" {
		s.wait(t, "a refused creat", of(pid, record.CallCreat, at(in(dir, "sub", "secret")), func(r *record.Record) bool { return r.Ret == -int64(unix.EACCES) && r.UID == 65534 }))
	}
	s.wait(t, "a refused signal", of(pid, record.CallKill, func(r *record.Record) bool { return r.Ret == -int64(unix.EPERM) && r.Nums[0] == 1 }))
}
