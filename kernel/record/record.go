package record

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Sizes in bytes.
const (
	HeaderSize = 104
	MaxSize    = 64 << 10 // of a whole record
	MaxText    = 16 << 10 // of arguments and environment as carried; what is longer is cut and flagged
	MaxPath    = 4096
)

// Record is one thing that was seen. After [Decode] its byte slices are views into what was decoded.
type Record struct {
	Kind     Kind
	Call     Call
	Flags    Flags
	Time     uint64 // nanoseconds since the boot (CLOCK_BOOTTIME)
	Start    uint64 // when the process began, in the same clock: with PID it names the process
	Cgroup   uint64 // id of the cgroup v2 folder, 1 for the root
	Token    uint64 // the request that the thread serves, as the sensor numbers them; 0 for none
	Ret      int64  // what the call returned: negative is an error number
	PID      uint32 // process, in the first namespace
	TID      uint32 // thread
	PPID     uint32
	UID      uint32 // whom the process acts as
	GID      uint32
	LoginUID uint32 // who signed in; NoLogin for nobody
	MntNS    uint32 // inode numbers of namespaces
	PIDNS    uint32
	Comm     []byte // name of the thread as the kernel has it, without its zeros

	Path   []byte // the file that it is about, as the kernel resolved it
	Path2  []byte // the second file: of rename, link, mount
	Name   []byte // what the caller passed, where that is something else: a link's target, a script's path, the type of a file system
	Cwd    []byte
	Args   []byte    // arguments, each ended by a zero byte
	Env    []byte    // names of environment variables, each ended by a zero byte; values are never carried
	Data   []byte    // bytes of a message
	Nums   [6]uint64 // of a call its arguments, see Call; of other kinds see there
	NumLen int       // how many of Nums are set

	HasInode bool
	Inode    Inode
	HasCreds bool
	Creds    Creds
	HasStdio bool
	Stdio    [3]Descriptor
	HasNet   bool
	Net      Net
	HasPeer  bool
	Peer     Net // the connection of Net as the process at its other end sees it, where that is on this machine
	HasRange bool
	Range    Range
}

// NoLogin is the LoginUID of processes that nobody signed in for.
const NoLogin = ^uint32(0)

// Inode says of a file what its name does not.
type Inode struct {
	Device       uint64 // major<<32 | minor
	Number       uint64
	Size         int64
	Modified     int64 // nanoseconds since the Unix epoch
	Changed      int64 // as Modified, of the inode
	Mode         uint32
	UID, GID     uint32
	Links        uint32
	FilesystemID uint32 // magic number of the file system
}

// Creds are the identities and capabilities of a process.
type Creds struct {
	UID, EUID, SUID, FSUID            uint32
	GID, EGID, SGID, FSGID            uint32
	Permitted, Effective, Inheritable uint64
	Bounding                          uint64
	Session                           uint32 // process id of the session's leader, in the process's namespace
	Group                             uint32 // process group, likewise
	VPID, VTID                        uint32 // process and thread id in the process's own namespace
	TTY                               uint32 // device number of the terminal, 0 for none
}

// Kinds of standard streams.
const (
	StreamNone   uint32 = iota // closed
	StreamFile                 // a regular file
	StreamDevice               // a character or block device
	StreamPipe
	StreamSocket // of another family than those below, or of one that is not known
	StreamOther
	StreamUnix  // a socket to another process of this machine
	StreamInet  // a socket of IPv4
	StreamInet6 // a socket of IPv6
)

// Descriptor is what one of the first three file descriptors is.
type Descriptor struct {
	Type  uint32
	Inode uint64
}

// Net names the two ends of a connection. An end that is not known is the zero AddrPort.
type Net struct {
	Local, Remote netip.AddrPort
	Protocol      uint8  // IANA protocol number
	Family        uint8  // as AF_INET
	NetNS         uint32 // inode number of the namespace
	FD            int32
	Cookie        uint64 // the kernel's number of the socket, unique until the next boot; 0 where it is not known
	BytesIn       uint64
	BytesOut      uint64
	PacketsIn     uint64
	PacketsOut    uint64
	Began         uint64 // of a flow: time of its first record
}

// Range is a piece of one direction of a connection, in bytes from its beginning. Both ends of a
// connection number them alike, also behind an address translation.
type Range struct{ From, To uint64 }

// Overlaps reports whether the ranges share a byte.
func (r Range) Overlaps(o Range) bool { return r.From < o.To && o.From < r.To }

// tags of parts. Numbers are shared with kernel/bpf/record.h.
const (
	tagPath = iota + 1
	tagPath2
	tagName
	tagCwd
	tagArgs
	tagEnv
	tagData
	tagNums
	tagInode
	tagCreds
	tagStdio
	tagNet
	tagRange
	tagPeer
)

// sizes of parts that are not texts.
const (
	inodeSize = 64
	credsSize = 88
	stdioSize = 48
	netSize   = 128
	rangeSize = 16
)

var order = binary.NativeEndian

// Size returns the size of the record that b begins with, and false where b holds none.
func Size(b []byte) (int, bool) {
	if len(b) < HeaderSize {
		return 0, false
	}
	n := int(order.Uint32(b))
	return n, n >= HeaderSize && n <= MaxSize && n <= len(b)
}

// KindOf returns the kind of the record that b begins with, which [Size] has found to be whole.
func KindOf(b []byte) Kind { return Kind(order.Uint16(b[4:])) }

// Decode reads the record that b begins with into r, and returns its size. Parts of an unknown tag are passed over, as those of
// a newer sensor. The error says what is wrong; r is not to be used then. It does not allocate but for errors.
func Decode(b []byte, r *Record) (int, error) {
	n, ok := Size(b)
	if !ok {
		return 0, fmt.Errorf("record: %d bytes hold no whole record", len(b))
	}
	b = b[:n:n]
	*r = Record{
		Kind: Kind(order.Uint16(b[4:])), Call: Call(order.Uint16(b[6:])),
		Time: order.Uint64(b[8:]), Start: order.Uint64(b[16:]), Cgroup: order.Uint64(b[24:]), Token: order.Uint64(b[32:]),
		Ret: int64(order.Uint64(b[40:])),
		PID: order.Uint32(b[48:]), TID: order.Uint32(b[52:]), PPID: order.Uint32(b[56:]), UID: order.Uint32(b[60:]),
		GID: order.Uint32(b[64:]), LoginUID: order.Uint32(b[68:]), MntNS: order.Uint32(b[72:]), PIDNS: order.Uint32(b[76:]),
		Flags: Flags(order.Uint32(b[80:])),
		Comm:  text(b[88:104]),
	}
	if r.Kind == KindNone || r.Kind >= kindEnd || r.Call >= callEnd {
		return 0, fmt.Errorf("record: kind %d and call %d: at least one is unknown", r.Kind, r.Call)
	}
	for rest := b[HeaderSize:]; len(rest) >= 4; {
		tag, size := order.Uint16(rest), int(order.Uint16(rest[2:]))
		if tag == 0 {
			break // padding
		}
		if size > len(rest)-4 {
			return 0, fmt.Errorf("record: %s: part %d has %d bytes, %d are left", r.Kind, tag, size, len(rest)-4)
		}
		if err := r.part(tag, rest[4:4+size:4+size]); err != nil {
			return 0, err
		}
		rest = rest[4+size:]
	}
	return n, nil
}

// text cuts at the first zero byte.
func text(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

func (r *Record) part(tag uint16, b []byte) error {
	short := func(want int) error {
		return fmt.Errorf("record: %s: part %d has %d bytes, want %d", r.Kind, tag, len(b), want)
	}
	switch tag {
	case tagPath:
		r.Path = text(b)
	case tagPath2:
		r.Path2 = text(b)
	case tagName:
		r.Name = text(b)
	case tagCwd:
		r.Cwd = text(b)
	case tagArgs:
		r.Args = b
	case tagEnv:
		r.Env = b
	case tagData:
		r.Data = b
	case tagNums:
		if len(b)%8 != 0 || len(b) > 8*len(r.Nums) {
			return short(8 * len(r.Nums))
		}
		r.NumLen = len(b) / 8
		for i := range r.NumLen {
			r.Nums[i] = order.Uint64(b[8*i:])
		}
	case tagInode:
		if len(b) < inodeSize {
			return short(inodeSize)
		}
		r.HasInode = true
		r.Inode = Inode{Device: order.Uint64(b), Number: order.Uint64(b[8:]), Size: int64(order.Uint64(b[16:])), Modified: int64(order.Uint64(b[24:])),
			Changed: int64(order.Uint64(b[32:])), Mode: order.Uint32(b[40:]), UID: order.Uint32(b[44:]), GID: order.Uint32(b[48:]),
			Links: order.Uint32(b[52:]), FilesystemID: order.Uint32(b[56:])}
	case tagCreds:
		if len(b) < credsSize {
			return short(credsSize)
		}
		r.HasCreds = true
		r.Creds = Creds{UID: order.Uint32(b), EUID: order.Uint32(b[4:]), SUID: order.Uint32(b[8:]), FSUID: order.Uint32(b[12:]),
			GID: order.Uint32(b[16:]), EGID: order.Uint32(b[20:]), SGID: order.Uint32(b[24:]), FSGID: order.Uint32(b[28:]),
			Permitted: order.Uint64(b[32:]), Effective: order.Uint64(b[40:]), Inheritable: order.Uint64(b[48:]), Bounding: order.Uint64(b[56:]),
			Session: order.Uint32(b[64:]), Group: order.Uint32(b[68:]), VPID: order.Uint32(b[72:]), VTID: order.Uint32(b[76:]), TTY: order.Uint32(b[80:])}
	case tagStdio:
		if len(b) < stdioSize {
			return short(stdioSize)
		}
		r.HasStdio = true
		for i := range r.Stdio {
			r.Stdio[i] = Descriptor{Type: order.Uint32(b[16*i:]), Inode: order.Uint64(b[16*i+8:])}
		}
	case tagNet:
		if len(b) < netSize {
			return short(netSize)
		}
		r.HasNet = true
		r.Net = decodeNet(b)
	case tagPeer:
		if len(b) < netSize {
			return short(netSize)
		}
		r.HasPeer = true
		r.Peer = decodeNet(b)
	case tagRange:
		if len(b) < rangeSize {
			return short(rangeSize)
		}
		r.HasRange = true
		r.Range = Range{order.Uint64(b), order.Uint64(b[8:])}
	}
	return nil
}

// families of addresses, as the kernel numbers them.
const (
	familyInet  = 2
	familyInet6 = 10
)

func decodeNet(b []byte) Net {
	n := Net{Family: b[0], Protocol: b[1], FD: int32(order.Uint32(b[4:])), NetNS: order.Uint32(b[8:]), Cookie: order.Uint64(b[16:]),
		BytesIn: order.Uint64(b[24:]), BytesOut: order.Uint64(b[32:]), PacketsIn: order.Uint64(b[40:]), PacketsOut: order.Uint64(b[48:]),
		Began: order.Uint64(b[56:])}
	end := func(address []byte, port uint16, set bool) netip.AddrPort {
		switch {
		case !set:
		case n.Family == familyInet:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(address)), port)
		case n.Family == familyInet6:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(address)).Unmap(), port)
		}
		return netip.AddrPort{}
	}
	n.Local = end(b[64:80], order.Uint16(b[96:]), b[2]&1 != 0)
	n.Remote = end(b[80:96], order.Uint16(b[98:]), b[2]&2 != 0)
	return n
}
