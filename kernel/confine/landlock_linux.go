package confine

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
)

// rights of Landlock, by what they are for.
const (
	rightsRead  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	rightsExec  = unix.LANDLOCK_ACCESS_FS_EXECUTE
	rightsWrite = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK | unix.LANDLOCK_ACCESS_FS_MAKE_SYM |
		unix.LANDLOCK_ACCESS_FS_REFER | unix.LANDLOCK_ACCESS_FS_TRUNCATE
	// rightsFile are those that a rule for a file, not a folder, may have.
	rightsFile = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_TRUNCATE
)

// landlockABI returns the version of Landlock that the kernel has, 0 for none.
func landlockABI() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// knownRights returns the rights on files that a version knows.
func knownRights(abi int) uint64 {
	rights := uint64(rightsRead | rightsExec | rightsWrite)
	if abi < 2 {
		rights &^= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi < 3 {
		rights &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	return rights
}

// portRule is struct landlock_net_port_attr.
type portRule struct {
	access uint64
	port   uint64
}

const ruleNetPort = 2

// restrict puts the calling thread, and what it executes, into a Landlock domain with these limits. Even without limits the
// domain keeps it from tracing, and where the kernel can from signalling, processes outside, the supervisor among them.
func (l *Limits) restrict() error {
	abi := landlockABI()
	switch {
	case abi == 0 && (l.files() || l.Connect != nil || l.Bind != nil):
		return fmt.Errorf("landlock: the kernel has none, so that files and ports cannot be bounded: %w", kernel.ErrUnable)
	case abi == 0:
		return nil
	case abi < 4 && (l.Connect != nil || l.Bind != nil):
		return fmt.Errorf("landlock: version %d bounds no ports, version 4 (Linux 6.7) does: %w", abi, kernel.ErrUnable)
	}
	attr := unix.LandlockRulesetAttr{}
	for _, category := range []struct {
		list   []string
		rights uint64
	}{{l.Read, rightsRead}, {l.Write, rightsWrite}, {l.Exec, rightsExec}} {
		if category.list != nil {
			attr.Handled_access_fs |= category.rights
		}
	}
	attr.Handled_access_fs &= knownRights(abi)
	if l.Connect != nil {
		attr.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if l.Bind != nil {
		attr.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
	}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	if abi >= 4 {
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_SIGNAL
		size += unsafe.Sizeof(attr.Scoped)
	}
	everything := attr.Handled_access_fs == 0 && attr.Handled_access_net == 0 && attr.Scoped == 0
	if everything {
		attr.Handled_access_fs = rightsExec // a domain must bound something: "/" is allowed below
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("landlock: a ruleset: %w", errno)
	}
	ruleset := int(fd)
	defer unix.Close(ruleset)
	if everything {
		if err := allowPath(ruleset, "/", rightsExec); err != nil {
			return err
		}
	}
	rights := map[string]uint64{}
	for _, path := range l.Read {
		rights[path] |= rightsRead
	}
	for _, path := range l.Write {
		rights[path] |= rightsWrite
	}
	for _, path := range l.Exec {
		rights[path] |= rightsExec
	}
	for path, r := range rights {
		if err := allowPath(ruleset, path, r&attr.Handled_access_fs); err != nil {
			return err
		}
	}
	for _, ports := range []struct {
		list   []uint16
		access uint64
	}{{l.Connect, unix.LANDLOCK_ACCESS_NET_CONNECT_TCP}, {l.Bind, unix.LANDLOCK_ACCESS_NET_BIND_TCP}} {
		for _, port := range ports.list {
			rule := portRule{ports.access, uint64(port)}
			if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), ruleNetPort, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
				return fmt.Errorf("landlock: port %d: %w", port, errno)
			}
		}
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(ruleset), 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %w", errno)
	}
	return nil
}

// allowPath allows what rights say on a file, or on a folder and all below it. What is not there needs no rule.
func allowPath(ruleset int, path string, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("landlock: %s: %w", path, err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("landlock: %s: %w", path, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= rightsFile
	}
	if rights == 0 {
		return nil
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(ruleset), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("landlock: %s: %w", path, errno)
	}
	return nil
}
