package linuxabi

import "strconv"

// Bit is a flag and its name.
type Bit struct {
	Bits uint64
	Name string
}

// names appends the names of the bits that are set, joined by "|", and what has no name as a hexadecimal number.
func names(bits []Bit, v uint64, zero string) string {
	if v == 0 {
		return zero
	}
	var b []byte
	for _, f := range bits {
		if v&f.Bits == f.Bits {
			b = append(b, f.Name...)
			b = append(b, '|')
			v &^= f.Bits
		}
	}
	if v != 0 {
		b = append(b, "0x"...)
		b = strconv.AppendUint(b, v, 16)
		b = append(b, '|')
	}
	return string(b[:len(b)-1])
}

// Bits of open(2) that amd64 and arm64 share, and O_DIRECTORY and its like of amd64.
const (
	OWronly    = 0o1
	ORdwr      = 0o2
	OCreat     = 0o100
	OTrunc     = 0o1000
	oLargefile = 0o100000
)

// Machine is what of the interface differs between the architectures.
type Machine struct{ directory, nofollow, direct, largefile uint64 }

// MachineOf returns that of a runtime.GOARCH.
func MachineOf(goarch string) Machine {
	if goarch == "arm64" || goarch == "arm" {
		return Machine{directory: 0o40000, nofollow: 0o100000, direct: 0o200000, largefile: 0o400000}
	}
	return Machine{directory: 0o200000, nofollow: 0o400000, direct: 0o40000, largefile: oLargefile}
}

// OpenFlags returns the names of the flags of open(2): "O_WRONLY", "O_CREAT", the way of access first.
func (m Machine) OpenFlags(v uint64) []string {
	var all []string
	switch v & 3 {
	case OWronly:
		all = append(all, "O_WRONLY")
	case ORdwr:
		all = append(all, "O_RDWR")
	case 0:
		if v&0o10000000 == 0 { // O_PATH reads nothing
			all = append(all, "O_RDONLY")
		}
	}
	tmpfile := 0o20000000 | m.directory
	for _, f := range [...]Bit{
		{OCreat, "O_CREAT"}, {0o200, "O_EXCL"}, {0o400, "O_NOCTTY"}, {OTrunc, "O_TRUNC"}, {0o2000, "O_APPEND"}, {0o4000, "O_NONBLOCK"},
		{0o4010000, "O_SYNC"}, {0o10000, "O_DSYNC"}, {0o20000, "O_ASYNC"}, {tmpfile, "O_TMPFILE"}, {m.directory, "O_DIRECTORY"},
		{m.nofollow, "O_NOFOLLOW"}, {m.direct, "O_DIRECT"}, {m.largefile, "O_LARGEFILE"}, {0o1000000, "O_NOATIME"}, {0o2000000, "O_CLOEXEC"},
		{0o10000000, "O_PATH"},
	} {
		if v&f.Bits == f.Bits {
			all = append(all, f.Name)
			v &^= f.Bits
		}
	}
	return all
}

// Mode returns the names of permission bits: "S_IXOTH|S_ISUID"; "0" for none.
func Mode(v uint64) string {
	return names([]Bit{{0o1, "S_IXOTH"}, {0o2, "S_IWOTH"}, {0o4, "S_IROTH"}, {0o10, "S_IXGRP"}, {0o20, "S_IWGRP"}, {0o40, "S_IRGRP"},
		{0o100, "S_IXUSR"}, {0o200, "S_IWUSR"}, {0o400, "S_IRUSR"}, {0o1000, "S_ISVTX"}, {0o2000, "S_ISGID"}, {0o4000, "S_ISUID"}}, v&0o7777, "0")
}

// CloneFlags returns the names of the flags of clone(2), unshare(2) and setns(2).
func CloneFlags(v uint64) string {
	return names([]Bit{{0x80, "CLONE_NEWTIME"}, {0x100, "CLONE_VM"}, {0x200, "CLONE_FS"}, {0x400, "CLONE_FILES"}, {0x800, "CLONE_SIGHAND"}, {0x1000, "CLONE_PIDFD"},
		{0x2000, "CLONE_PTRACE"}, {0x4000, "CLONE_VFORK"}, {0x8000, "CLONE_PARENT"}, {0x10000, "CLONE_THREAD"}, {0x20000, "CLONE_NEWNS"},
		{0x40000, "CLONE_SYSVSEM"}, {0x80000, "CLONE_SETTLS"}, {0x100000, "CLONE_PARENT_SETTID"}, {0x200000, "CLONE_CHILD_CLEARTID"},
		{0x400000, "CLONE_DETACHED"}, {0x800000, "CLONE_UNTRACED"}, {0x1000000, "CLONE_CHILD_SETTID"}, {0x2000000, "CLONE_NEWCGROUP"},
		{0x4000000, "CLONE_NEWUTS"}, {0x8000000, "CLONE_NEWIPC"}, {0x10000000, "CLONE_NEWUSER"}, {0x20000000, "CLONE_NEWPID"},
		{0x40000000, "CLONE_NEWNET"}, {0x80000000, "CLONE_IO"}}, v&0xffffff80&^0x7f, "0")
}

// MountFlags returns the names of the flags of mount(2).
func MountFlags(v uint64) string {
	return names([]Bit{{1, "RDONLY"}, {2, "NOSUID"}, {4, "NODEV"}, {8, "NOEXEC"}, {16, "SYNCHRONOUS"}, {32, "REMOUNT"}, {64, "MANDLOCK"}, {128, "DIRSYNC"},
		{1024, "NOATIME"}, {2048, "NODIRATIME"}, {4096, "BIND"}, {8192, "MOVE"}, {16384, "REC"}, {32768, "SILENT"}, {1 << 16, "POSIXACL"},
		{1 << 17, "UNBINDABLE"}, {1 << 18, "PRIVATE"}, {1 << 19, "SLAVE"}, {1 << 20, "SHARED"}, {1 << 21, "RELATIME"}, {1 << 22, "KERNMOUNT"},
		{1 << 23, "I_VERSION"}, {1 << 24, "STRICTATIME"}, {1 << 25, "LAZYTIME"}, {1 << 30, "ACTIVE"}, {1 << 31, "NOUSER"}}, v&0xffffffff, "0")
}

// UmountFlags returns the names of the flags of umount2(2).
func UmountFlags(v uint64) string {
	return names([]Bit{{1, "FORCE"}, {2, "DETACH"}, {4, "EXPIRE"}, {8, "NOFOLLOW"}}, v&0xffffffff, "0")
}

// AtFlags returns the names of flags of calls that end in "at".
func AtFlags(v uint64) string {
	return names([]Bit{{0x100, "AT_SYMLINK_NOFOLLOW"}, {0x200, "AT_REMOVEDIR"}, {0x400, "AT_SYMLINK_FOLLOW"}, {0x800, "AT_NO_AUTOMOUNT"}, {0x1000, "AT_EMPTY_PATH"}}, v&0xffffffff, "0")
}

// RenameFlags returns the names of the flags of renameat2(2).
func RenameFlags(v uint64) string {
	return names([]Bit{{1, "RENAME_NOREPLACE"}, {2, "RENAME_EXCHANGE"}, {4, "RENAME_WHITEOUT"}}, v&0xffffffff, "0")
}

// MemfdFlags returns the names of the flags of memfd_create(2).
func MemfdFlags(v uint64) string {
	return names([]Bit{{1, "MFD_CLOEXEC"}, {2, "MFD_ALLOW_SEALING"}, {4, "MFD_HUGETLB"}, {8, "MFD_NOEXEC_SEAL"}, {16, "MFD_EXEC"}}, v&0xffffffff, "0")
}

// ModuleFlags returns the names of the flags of finit_module(2).
func ModuleFlags(v uint64) string {
	return names([]Bit{{1, "MODULE_INIT_IGNORE_MODVERSIONS"}, {2, "MODULE_INIT_IGNORE_VERMAGIC"}, {4, "MODULE_INIT_COMPRESSED_FILE"}}, v&0xffffffff, "0")
}

// Protection returns the names of the bits of mprotect(2).
func Protection(v uint64) string {
	return names([]Bit{{1, "PROT_READ"}, {2, "PROT_WRITE"}, {4, "PROT_EXEC"}, {8, "PROT_SEM"}, {0x1000000, "PROT_GROWSDOWN"}, {0x2000000, "PROT_GROWSUP"}}, v, "PROT_NONE")
}
