package linuxabi

import (
	"slices"
	"testing"
)

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		Errno(0): "SUCCESS", Errno(7) + "!": "SUCCESS!", Errno(-1): "EPERM", Errno(-13): "EACCES", Errno(-115): "EINPROGRESS", Errno(-133): "EHWPOISON", Errno(-4095): "-4095",
		Errno(-1 << 63): "-9223372036854775808", Mode(0o4755): "S_IXOTH|S_IROTH|S_IXGRP|S_IRGRP|S_IXUSR|S_IWUSR|S_IRUSR|S_ISUID", Mode(0): "0",
		CloneFlags(0x10020000): "CLONE_NEWNS|CLONE_NEWUSER", MountFlags(4096 | 16384): "BIND|REC", UmountFlags(2): "DETACH", AtFlags(0x200): "AT_REMOVEDIR",
		Signal(9): "SIGKILL", Signal(15): "SIGTERM", Signal(64): "64", Ptrace(16): "PTRACE_ATTACH", Ptrace(0x4206): "PTRACE_SEIZE", Ptrace(999): "999",
		BPFCommand(5): "BPF_PROG_LOAD", BPFCommand(99): "99", Domain(17): "AF_PACKET", Domain(2): "AF_INET", Domain(10): "AF_INET6", Domain(44): "AF_XDP",
		SocketType(3 | 0o2000000): "SOCK_RAW", KeyctlCommand(11): "KEYCTL_READ", PrctlOption(15): "PR_SET_NAME", Protection(6): "PROT_WRITE|PROT_EXEC",
		Capabilities(1<<21 | 1<<5): "CAP_KILL CAP_SYS_ADMIN", Capabilities(1 << 40): "CAP_CHECKPOINT_RESTORE", Capabilities(1 << 60): "CAP_60",
		Terminal(136<<20 | 3): "pts/3", Terminal(4<<20 | 1): "tty1", Terminal(4<<20 | 64): "ttyS0", Terminal(5<<20 | 1): "console", Protocol(6): "tcp", Protocol(132): "raw",
		MemfdFlags(1): "MFD_CLOEXEC", ModuleFlags(4): "MODULE_INIT_COMPRESSED_FILE", RenameFlags(2): "RENAME_EXCHANGE",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if Terminal(0) != "" || Capabilities(0) != "" {
		t.Error("nothing has a name")
	}
}

func TestOpenFlags(t *testing.T) {
	for _, c := range []struct {
		arch  string
		flags uint64
		want  []string
	}{
		{"amd64", 0, []string{"O_RDONLY"}},
		{"amd64", 0o1101, []string{"O_WRONLY", "O_CREAT", "O_TRUNC"}},
		{"amd64", 0o2200000, []string{"O_RDONLY", "O_DIRECTORY", "O_CLOEXEC"}},
		{"arm64", 0o2040000, []string{"O_RDONLY", "O_DIRECTORY", "O_CLOEXEC"}},
		{"amd64", 0o20200002, []string{"O_RDWR", "O_TMPFILE"}},
		{"amd64", 0o10000000, []string{"O_PATH"}},
		{"amd64", 0o4010002, []string{"O_RDWR", "O_SYNC"}},
	} {
		if got := MachineOf(c.arch).OpenFlags(c.flags); !slices.Equal(got, c.want) {
			t.Errorf("%s %o: %q, want %q", c.arch, c.flags, got, c.want)
		}
	}
	if !PtraceInjects(16) || PtraceInjects(0) || PtraceInjects(1) {
		t.Error("ATTACH takes hold of a process, TRACEME and PEEKTEXT do not")
	}
}
