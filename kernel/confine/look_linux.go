package confine

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// look makes records of a call that waits, each of which must be let through. It returns an error number where the call cannot be
// looked at and so must not happen, and no record for calls that need no answer.
func (p *Program) look(n *notification) ([]*record.Record, unix.Errno) {
	if call, _ := callOf(int(n.nr)); call == record.CallSendmmsg {
		return p.messages(n)
	}
	r, errno := p.one(n)
	if r == nil {
		return nil, errno
	}
	return []*record.Record{r}, 0
}

// one makes the record of a call that is about one thing.
func (p *Program) one(n *notification) (*record.Record, unix.Errno) {
	call, ok := callOf(int(n.nr))
	if !ok {
		return nil, 0
	}
	r := &record.Record{Kind: record.KindCall, Call: call, TID: n.pid, Time: now()}
	if !describe(r) {
		return nil, unix.EPERM
	}
	r.NumLen = copy(r.Nums[:], n.args[:])
	mem := memory{int(n.pid)}
	switch call {
	case record.CallExecve:
		return mem.program(r, unix.AT_FDCWD, n.args[0], n.args[1], 0)
	case record.CallExecveat:
		return mem.program(r, int(int32(n.args[0])), n.args[1], n.args[2], int(n.args[4]))
	case record.CallOpen:
		return mem.file(r, unix.AT_FDCWD, n.args[0], followed(n.args[1]))
	case record.CallCreat, record.CallChmod:
		return mem.file(r, unix.AT_FDCWD, n.args[0], true)
	case record.CallUnlink:
		return mem.file(r, unix.AT_FDCWD, n.args[0], false)
	case record.CallOpenat:
		return mem.file(r, int(int32(n.args[0])), n.args[1], followed(n.args[2]))
	case record.CallFchmodat: // without flags: those are fchmodat2's
		return mem.file(r, int(int32(n.args[0])), n.args[1], true)
	case record.CallFchmodat2:
		return mem.file(r, int(int32(n.args[0])), n.args[1], n.args[3]&unix.AT_SYMLINK_NOFOLLOW == 0)
	case record.CallUnlinkat:
		return mem.file(r, int(int32(n.args[0])), n.args[1], false)
	case record.CallOpenat2:
		how, err := mem.bytes(n.args[2], 16)
		if err != nil || len(how) < 16 {
			return nil, unix.EPERM
		}
		r.Nums[2], r.Nums[3] = binary.NativeEndian.Uint64(how), binary.NativeEndian.Uint64(how[8:])
		r.NumLen = 4
		return mem.file(r, int(int32(n.args[0])), n.args[1], followed(r.Nums[2]))
	case record.CallRename, record.CallLink:
		return mem.two(r, unix.AT_FDCWD, n.args[0], unix.AT_FDCWD, n.args[1], false)
	case record.CallRenameat, record.CallRenameat2:
		return mem.two(r, int(int32(n.args[0])), n.args[1], int(int32(n.args[2])), n.args[3], false)
	case record.CallLinkat:
		return mem.two(r, int(int32(n.args[0])), n.args[1], int(int32(n.args[2])), n.args[3], n.args[4]&unix.AT_SYMLINK_FOLLOW != 0)
	case record.CallSymlink, record.CallSymlinkat:
		target, err := mem.text(n.args[0])
		if err != nil {
			return nil, unix.EPERM
		}
		r.Name = []byte(target)
		if call == record.CallSymlink {
			return mem.file(r, unix.AT_FDCWD, n.args[1], false)
		}
		return mem.file(r, int(int32(n.args[1])), n.args[2], false)
	case record.CallMemfdCreate:
		name, err := mem.text(n.args[0])
		if err != nil {
			return nil, unix.EPERM
		}
		r.Name = []byte(name)
	case record.CallMount:
		return mem.file(r, unix.AT_FDCWD, n.args[1], true)
	case record.CallConnect, record.CallBind:
		r.Kind = record.KindConnect
		if call == record.CallBind {
			r.Kind = record.KindBind
		}
		return mem.address(r, int(int32(n.args[0])), n.args[1], n.args[2])
	case record.CallSendto:
		if n.args[4] == 0 {
			return nil, 0 // to where the socket is connected to, which was looked at
		}
		r.Kind = record.KindConnect
		return mem.address(r, int(int32(n.args[0])), n.args[4], n.args[5])
	case record.CallSendmsg:
		return mem.message(r, int(int32(n.args[0])), n.args[1])
	case record.CallListen:
		r.Kind = record.KindListen
	}
	return r, 0
}

// followed reports whether open with these flags goes where the last link leads.
func followed(flags uint64) bool {
	return flags&unix.O_NOFOLLOW == 0 && flags&(unix.O_CREAT|unix.O_EXCL) != unix.O_CREAT|unix.O_EXCL
}

// callOf returns the call of a number of this machine.
func callOf(nr int) (record.Call, bool) {
	for _, c := range watched() {
		if n, ok := record.Number(c); ok && n == nr {
			return c, true
		}
	}
	return record.CallNone, false
}

func now() uint64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return uint64(ts.Nano())
}

// describe fills in who calls, from /proc. It reports whether the caller is still there.
func describe(r *record.Record) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", r.TID))
	if err != nil {
		return false
	}
	field := func(name string) uint32 {
		_, rest, _ := bytes.Cut(status, []byte("\n"+name+":\t"))
		word, _, _ := bytes.Cut(rest, []byte("\n"))
		if words := bytes.Fields(word); len(words) > 1 {
			word = words[1] // of the four identities, the effective one
		}
		n, _ := strconv.ParseUint(string(bytes.TrimSpace(word)), 10, 32)
		return uint32(n)
	}
	r.PID, r.PPID, r.UID, r.GID = field("Tgid"), field("PPid"), field("Uid"), field("Gid")
	comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", r.TID))
	r.Comm = bytes.TrimSuffix(comm, []byte("\n"))
	r.LoginUID = record.NoLogin
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/loginuid", r.PID)); err == nil {
		if n, err := strconv.ParseUint(string(text), 10, 32); err == nil {
			r.LoginUID = uint32(n)
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.PID))
	if err != nil {
		return false
	}
	// The name in brackets may hold anything: what follows its last bracket is numbers.
	if words := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:]); len(words) > 19 {
		ticks, _ := strconv.ParseUint(string(words[19]), 10, 64)
		r.Start = ticks * (1e9 / 100) // USER_HZ is 100 on every machine that Go runs on
	}
	return true
}

// memory is that of a thread that waits.
type memory struct{ tid int }

// bytes reads n bytes at an address.
func (m memory) bytes(at uint64, n int) ([]byte, error) {
	b := make([]byte, n)
	got, err := unix.ProcessVMReadv(m.tid, []unix.Iovec{iovec(b)}, []unix.RemoteIovec{{Base: uintptr(at), Len: n}}, 0)
	if err != nil {
		return nil, err
	}
	return b[:got], nil
}

func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

const page = 4096

// text reads a text that a zero ends, at most as long as a path may be.
func (m memory) text(at uint64) (string, error) {
	var all []byte
	for len(all) < record.MaxPath {
		b, err := m.bytes(at, page-int(at%page)) // a read that goes over a page's end may fail as a whole
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(b, 0); i >= 0 {
			return string(append(all, b[:i]...)), nil
		}
		if len(b) == 0 {
			break
		}
		all, at = append(all, b...), at+uint64(len(b))
	}
	return "", unix.ENAMETOOLONG
}

// file says what file a name stands for. The last link is followed where follow is set, as the call does.
func (m memory) file(r *record.Record, dir int, name uint64, follow bool) (*record.Record, unix.Errno) {
	text, err := m.text(name)
	if err != nil {
		return nil, 0 // the kernel will not be able to read it either
	}
	path, _, errno := m.resolve(dir, text, follow)
	if errno != 0 {
		return nil, errno
	}
	r.Path = []byte(path)
	return r, 0
}

func (m memory) two(r *record.Record, dir int, name uint64, dir2 int, name2 uint64, follow bool) (*record.Record, unix.Errno) {
	if of, errno := m.file(r, dir, name, follow); of == nil {
		return nil, errno
	}
	second := &record.Record{}
	if of, errno := m.file(second, dir2, name2, false); of == nil {
		return nil, errno
	}
	r.Path2 = second.Path
	return r, 0
}

// program describes a program that is about to run.
func (m memory) program(r *record.Record, dir int, name, argv uint64, flags int) (*record.Record, unix.Errno) {
	r.Kind = record.KindExec
	text, err := m.text(name)
	if err != nil {
		return nil, 0
	}
	if text == "" && flags&unix.AT_EMPTY_PATH == 0 {
		return nil, 0 // it will fail
	}
	path, there, errno := m.resolve(dir, text, flags&unix.AT_SYMLINK_NOFOLLOW == 0)
	switch {
	case errno != 0:
		return nil, errno
	case !there:
		return nil, 0 // it will fail, as a shell's tries along its path do
	}
	r.Path, r.Name = []byte(path), []byte(text)
	if strings.HasPrefix(path, "/memfd:") {
		r.Flags |= record.FlagMemory
	}
	for argv != 0 && len(r.Args) < record.MaxText {
		pointer, err := m.bytes(argv, 8)
		if err != nil || len(pointer) < 8 {
			break
		}
		at := binary.NativeEndian.Uint64(pointer)
		if at == 0 {
			break
		}
		arg, err := m.text(at)
		if err != nil {
			r.Flags |= record.FlagTruncated
			break
		}
		r.Args, argv = append(append(r.Args, arg...), 0), argv+8
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", m.tid)); err == nil {
		r.Cwd = []byte(cwd)
	}
	// The name that the kernel will give it.
	last := filepath.Base(text)
	r.Comm = []byte(last[:min(len(last), 15)])
	return r, 0
}

// address describes a connection that is about to be made, or an address that is about to be taken.
func (m memory) address(r *record.Record, fd int, at, size uint64) (*record.Record, unix.Errno) {
	if size < 2 || size > 128 {
		return nil, 0 // the kernel refuses it
	}
	b, err := m.bytes(at, int(size))
	if err != nil {
		return nil, 0
	}
	var end netip.AddrPort
	port := func() uint16 { return binary.BigEndian.Uint16(b[2:]) }
	family := binary.NativeEndian.Uint16(b)
	switch {
	case family == unix.AF_INET && len(b) >= 8:
		end = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port())
	case family == unix.AF_INET6 && len(b) >= 24:
		end = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:24])).Unmap(), port())
	case family == unix.AF_UNIX:
		path, _, _ := bytes.Cut(b[2:], []byte{0})
		r.Name = path
	default:
		return nil, 0
	}
	r.HasNet = true
	r.Net = record.Net{Family: uint8(family), FD: int32(fd)}
	if r.Kind == record.KindBind {
		r.Net.Local = end
	} else {
		r.Net.Remote = end
	}
	r.Net.Protocol = m.protocol(fd)
	return r, 0
}

// Sizes of struct msghdr and struct mmsghdr.
const (
	sizeOfMessage = 56
	sizeOfEach    = sizeOfMessage + 8
	maxMessages   = 1024 // of one sendmmsg: more the kernel does not take
	maxReceivers  = 64   // of one sendmmsg
)

// message describes a datagram that names its receiver; others go to where the socket is connected to, which was looked at.
func (m memory) message(r *record.Record, fd int, at uint64) (*record.Record, unix.Errno) {
	b, err := m.bytes(at, sizeOfMessage)
	if err != nil || len(b) < sizeOfMessage {
		return nil, 0 // the kernel cannot read it either
	}
	name, size := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint32(b[8:])
	if name == 0 || size == 0 {
		return nil, 0
	}
	r.Kind = record.KindConnect
	return m.address(r, fd, name, uint64(min(size, 128)))
}

// messages makes a record for each receiver of a sendmmsg.
func (p *Program) messages(n *notification) (all []*record.Record, errno unix.Errno) {
	for i := range min(uint64(uint32(n.args[2])), maxMessages) {
		single := *n
		single.args[1] = n.args[1] + i*sizeOfEach
		number, ok := record.Number(record.CallSendmsg)
		if !ok {
			return nil, unix.EPERM
		}
		single.nr = int32(number)
		r, errno := p.one(&single)
		if errno != 0 {
			return nil, errno
		}
		if r == nil || slices.ContainsFunc(all, func(o *record.Record) bool { return o.Net.Remote == r.Net.Remote && bytes.Equal(o.Name, r.Name) }) {
			continue
		}
		if len(all) == maxReceivers {
			return nil, unix.EPERM
		}
		r.Call = record.CallSendmmsg
		all = append(all, r)
	}
	return all, 0
}

// protocol returns the protocol of a socket, 0 where it cannot be told.
func (m memory) protocol(fd int) uint8 {
	pidfd, err := unix.PidfdOpen(m.tid, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(pidfd)
	ours, err := unix.PidfdGetfd(pidfd, fd, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(ours)
	protocol, err := unix.GetsockoptInt(ours, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return 0
	}
	return uint8(protocol)
}
