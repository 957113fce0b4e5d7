//go:build linux

package bpf

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/btf"

	"github.com/testudo-sec/testudo/kernel/record"
)

// The structures of the programs and those of this package and package record are the same. The objects carry the types of
// what they were compiled from.
func TestLayout(t *testing.T) {
	sizes := map[string]uint32{"record": record.HeaderSize, "part": 4, "part_inode": 64, "part_creds": 88, "part_stdio": 48, "part_net": 128, "part_range": 16,
		"config": uint32(unsafe.Sizeof(config{})), "reader": uint32(unsafe.Sizeof(wakeups{})), "count": uint32(unsafe.Sizeof(count{})),
		"wanted": uint32(unsafe.Sizeof(number{})), "prefix_key": uint32(unsafe.Sizeof(prefixKey{})), "end_key": uint32(unsafe.Sizeof(endKey{})),
		"part_key": uint32(unsafe.Sizeof(partKey{})), "comm_key": uint32(unsafe.Sizeof(commKey{}))}
	offsets := map[string]map[string]uint32{
		"record": {"size": 0, "kind": offKind, "call": 6, "time": 8, "start": 16, "cgroup": 24, "token": 32, "ret": 40, "pid": 48, "tid": 52, "ppid": 56, "uid": 60,
			"gid": 64, "loginuid": 68, "mntns": 72, "pidns": 76, "flags": offFlags, "comm": 88},
		"part_inode": {"device": 0, "number": 8, "size": 16, "modified": 24, "changed": 32, "mode": 40, "uid": 44, "gid": 48, "links": 52, "filesystem": 56},
		"part_creds": {"uid": 0, "euid": 4, "suid": 8, "fsuid": 12, "gid": 16, "egid": 20, "sgid": 24, "fsgid": 28, "permitted": 32, "effective": 40,
			"inheritable": 48, "bounding": 56, "session": 64, "group": 68, "vpid": 72, "vtid": 76, "tty": 80},
		"part_net": {"family": 0, "protocol": 1, "set": 2, "fd": 4, "netns": 8, "cookie": 16, "bytes_in": 24, "bytes_out": 32, "packets_in": 40,
			"packets_out": 48, "began": 56, "local": 64, "remote": 80, "local_port": 96, "remote_port": 98},
		"config": {"generation": uint32(unsafe.Offsetof(config{}.Generation)), "exclude": uint32(unsafe.Offsetof(config{}.Exclude)),
			"read": uint32(unsafe.Offsetof(config{}.Read)), "write": uint32(unsafe.Offsetof(config{}.Write)), "change": uint32(unsafe.Offsetof(config{}.Change)),
			"threads": uint32(unsafe.Offsetof(config{}.Threads)), "lengths": uint32(unsafe.Offsetof(config{}.Lengths))},
	}
	seen := map[string]bool{}
	for _, o := range objects() {
		spec, err := o.spec()
		if err != nil {
			t.Fatal(err)
		}
		for name, size := range sizes {
			var s *btf.Struct
			if spec.Types.TypeByName(name, &s) != nil {
				continue
			}
			seen[name] = true
			if s.Size != size {
				t.Errorf("%s: struct %s has %d bytes, want %d", o.name, name, s.Size, size)
			}
			for _, m := range s.Members {
				if want, ok := offsets[name][m.Name]; ok && m.Offset.Bytes() != want {
					t.Errorf("%s: %s.%s is at %d, want %d", o.name, name, m.Name, m.Offset.Bytes(), want)
				}
			}
		}
	}
	for name := range sizes {
		if !seen[name] {
			t.Errorf("no object has a struct %s", name)
		}
	}
}

// The numbers of kinds, calls, flags and gates in record.h are those of package record.
func TestNumbersOfHeader(t *testing.T) {
	b, err := os.ReadFile("record.h")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	kinds := regexp.MustCompile(`\bKIND_(\w+)`).FindAllStringSubmatch(text, -1)
	for i, k := range kinds {
		if got := record.Kind(i).String(); got != strings.ToLower(k[1]) {
			t.Errorf("kind %d is %s in C and %s in Go", i, strings.ToLower(k[1]), got)
		}
	}
	calls := regexp.MustCompile(`\bX\((\w+)\)`).FindAllStringSubmatch(text[strings.Index(text, "#define CALLS(X)"):strings.Index(text, "enum call")], -1)
	if len(calls) != len(record.Calls()) {
		t.Errorf("%d calls in C, %d in Go", len(calls), len(record.Calls()))
	}
	for i, c := range calls {
		if got := record.Call(i + 1).String(); got != c[1] {
			t.Errorf("call %d is %s in C and %s in Go", i+1, c[1], got)
		}
	}
	flags := map[string]record.Flags{"SEEDED": record.FlagSeeded, "TRUNCATED": record.FlagTruncated, "THREAD": record.FlagThread, "KERNEL": record.FlagKernel,
		"UPPER": record.FlagUpper, "MEMORY": record.FlagMemory, "DELETED": record.FlagDeleted, "SETUID": record.FlagSetuid, "SETGID": record.FlagSetgid,
		"IPC32": record.FlagIPC32, "AMBIGUOUS": record.FlagAmbiguous, "INBOUND": record.FlagInbound, "SOCKET": record.FlagSocket,
		"WRITABLE": record.FlagWritable, "TTY": record.FlagTTY, "UNSURE": record.FlagUnsure}
	found := regexp.MustCompile(`FLAG_(\w+) = 1 << (\d+)`).FindAllStringSubmatch(text, -1)
	if len(found) != len(flags) {
		t.Errorf("%d flags in C, %d in Go", len(found), len(flags))
	}
	for _, f := range found {
		shift := 0
		for _, c := range f[2] {
			shift = 10*shift + int(c-'0')
		}
		if flags[f[1]] != 1<<shift {
			t.Errorf("flag %s is 1<<%d in C and %b in Go", f[1], shift, flags[f[1]])
		}
	}
}

// Every call that has a program has its number of arguments.
func TestArgumentsOfCalls(t *testing.T) {
	none := map[record.Call]bool{record.CallFork: true, record.CallVfork: true}
	for _, c := range record.Calls() {
		if n := arguments(c); (n == 0) != none[c] || n > 6 {
			t.Errorf("%s has %d arguments", c, n)
		}
	}
}
