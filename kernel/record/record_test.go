package record

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func full() Record {
	return Record{
		Kind: KindExec, Call: CallExecveat, Flags: FlagUpper | FlagTTY, Time: 5, Start: 4, Cgroup: 77, Token: 9, Ret: -13,
		PID: 100, TID: 101, PPID: 1, UID: 1000, GID: 1001, LoginUID: NoLogin, MntNS: 4026531840, PIDNS: 4026531836, Comm: []byte("sh"),
		Path: []byte("/bin/dash"), Path2: []byte("/b"), Name: []byte("/bin/sh"), Cwd: []byte("/tmp"), Args: []byte("sh\x00-c\x00id\x00"),
		Env: []byte("PATH\x00HOME\x00"), Data: []byte{0, 1, 2}, Nums: [6]uint64{1, 2, 3}, NumLen: 3,
		HasInode: true, Inode: Inode{Device: 8 << 32, Number: 12, Size: 125688, Modified: 1, Changed: 2, Mode: 0o100755, UID: 0, GID: 0, Links: 1, FilesystemID: 0xef53},
		HasCreds: true, Creds: Creds{UID: 1, EUID: 2, SUID: 3, FSUID: 4, GID: 5, EGID: 6, SGID: 7, FSGID: 8, Permitted: 1 << 40, Effective: 3,
			Inheritable: 4, Bounding: 5, Session: 6, Group: 7, VPID: 8, VTID: 9, TTY: 10},
		HasStdio: true, Stdio: [3]Descriptor{{StreamSocket, 5}, {StreamPipe, 6}, {StreamNone, 0}},
		HasNet: true, Net: Net{Local: netip.MustParseAddrPort("127.0.0.1:80"), Remote: netip.MustParseAddrPort("10.0.0.1:4000"), Protocol: 6, Family: familyInet,
			NetNS: 3, FD: -1, Cookie: 8, BytesIn: 9, BytesOut: 10, PacketsIn: 11, PacketsOut: 12, Began: 13},
		HasRange: true, Range: Range{100, 200},
		HasPeer: true, Peer: Net{Local: netip.MustParseAddrPort("10.0.0.9:1000"), Remote: netip.MustParseAddrPort("192.0.2.1:80"), Protocol: 6, Family: 2, NetNS: 9, Began: 12},
	}
}

func TestRoundTrip(t *testing.T) {
	six := full()
	six.Net.Family, six.Net.Local, six.Net.Remote = familyInet6, netip.MustParseAddrPort("[::1]:80"), netip.AddrPort{}
	for _, want := range []Record{full(), six, {Kind: KindExit, Comm: []byte{}}} {
		b := want.Append([]byte("before"))[6:]
		var got Record
		n, err := Decode(append(b, full().bytes()...), &got)
		if err != nil || n != len(b) {
			t.Fatalf("%d of %d bytes, %v", n, len(b), err)
		}
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	}
}

func (r Record) bytes() []byte { return r.Append(nil) }

func TestLongTextsAreCutAndFlagged(t *testing.T) {
	r := full()
	r.Args = make([]byte, 128<<10)
	r.Path = make([]byte, 128<<10)
	for i := range r.Path {
		r.Path[i] = 'a'
	}
	var got Record
	n, err := Decode(r.bytes(), &got)
	if err != nil || n > MaxSize {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if got.Flags&FlagTruncated == 0 || len(got.Args) != MaxText || len(got.Path) != MaxPath {
		t.Errorf("flags %b, %d bytes of arguments, %d of path", got.Flags, len(got.Args), len(got.Path))
	}
}

func TestNamesAreWhole(t *testing.T) {
	if len(callNames) != int(callEnd) || len(kindNames) != int(kindEnd) {
		t.Fatalf("%d names of %d calls, %d names of %d kinds", len(callNames), callEnd, len(kindNames), kindEnd)
	}
	for _, c := range Calls() {
		if back, ok := ParseCall(c.String()); !ok || back != c {
			t.Errorf("%v reads back as %v", c, back)
		}
	}
}

func FuzzDecode(f *testing.F) {
	whole := full().bytes()
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(make([]byte, HeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again Record
		n, err := Decode(b, &r)
		if err != nil {
			return
		}
		if n < HeaderSize || n > len(b) {
			t.Fatalf("a record of %d bytes in %d", n, len(b))
		}
		if _, err := Decode(r.Append(nil), &again); err != nil {
			t.Fatalf("what was written does not read: %v", err)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	whole := full().bytes()
	var r Record
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decode(whole, &r); err != nil {
			b.Fatal(err)
		}
	}
}
