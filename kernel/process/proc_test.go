package process

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/testudo-sec/testudo/kernel/record"
)

// rest of a stat line behind the name.
const statRest = " S 10 12 13 34816 12 4194304 105 0 0 0 0 0 0 0 20 0 1 0 2425821 2998272 391 18446744073709551615 94 94 14 0 0"

func TestParseStat(t *testing.T) {
	for _, name := range []string{"bash", "a) S 1 1 1 (b", "x\n1 (y) R 0", "()", "", " ", ")"} {
		s, err := parseStat([]byte("77 (" + name + ")" + statRest + "\n"))
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		if s.pid != 77 || string(s.comm) != name || s.ppid != 10 || s.group != 12 || s.session != 13 || s.start != 2425821 || s.state != 'S' || s.tty != 136<<20 {
			t.Errorf("%q: %+v", name, s)
		}
	}
	if s, err := parseStat([]byte("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0\n")); err != nil || s.flags&kernelThread == 0 || s.start != 0 {
		t.Errorf("%+v %v", s, err)
	}
	for _, bad := range []string{"", "77", "77 (a", "(a)" + statRest, "x (a)" + statRest, "77 (a) S 1 2", "0 (a)" + statRest, "77 (a)" + strings.Replace(statRest, "2425821", "x", 1)} {
		if s, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q gave %+v", bad, s)
		}
	}
}

func TestParseStatus(t *testing.T) {
	s := parseStatus([]byte("Name:\ta\\nUid:\t7\nUid:\t1000\t0\t1000\t5\nGid:\t1\t2\t3\t4\nNSpid:\t77\t5\t1\nNSsid:\t70\t1\nCapPrm:\t000001fffeffffff\nCapEff:\tzz\n"))
	want := status{uid: [4]uint32{1000, 0, 1000, 5}, gid: [4]uint32{1, 2, 3, 4}, permitted: 0x1fffeffffff, pids: []uint32{77, 5, 1}, sessions: []uint32{70, 1}}
	if diff := cmp.Diff(want, s, cmp.AllowUnexported(status{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseCgroups(t *testing.T) {
	got := ParseCgroups([]byte("9:name=systemd:/a:b\n1:cpu,cpuacct:/x\n0::/system.slice/x.scope (deleted)\nnonsense\n-1::/\n5:cpu:relative\n"))
	want := []CgroupLine{{9, "name=systemd", "/a:b"}, {1, "cpu,cpuacct", "/x"}, {0, "", "/system.slice/x.scope"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestParseMounts(t *testing.T) {
	got := ParseMounts([]byte("36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 propagate_from:2 - ext3 /dev/root rw,errors=continue\n" +
		"40 36 0:50 / /merged rw - overlay overlay rw,lowerdir=/l1:/l2,upperdir=/up\\054x\\134,y,workdir=/w\nbad line\n1 2 3 4 5 6 - \n"))
	want := []MountLine{
		{ID: 36, Parent: 35, Major: 98, Root: "/mnt1", Point: "/mnt 2", Options: "rw,noatime", Type: "ext3", Source: "/dev/root", SuperOptions: "rw,errors=continue"},
		{ID: 40, Parent: 36, Minor: 50, Root: "/", Point: "/merged", Options: "rw", Type: "overlay", Source: "overlay",
			SuperOptions: `rw,lowerdir=/l1:/l2,upperdir=/up,x\,y,workdir=/w`},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if dir, ok := got[1].Option("workdir"); !ok || dir != "/w" {
		t.Errorf("%q", dir)
	}
	m := MountLine{SuperOptions: `rw,upperdir=/a\,b,workdir=/w`}
	if dir, ok := m.Option("upperdir"); !ok || dir != "/a,b" {
		t.Errorf("%q", dir)
	}
	if _, ok := m.Option("lowerdir"); ok {
		t.Error("an option that is not there")
	}
}

func TestOnlyNamesOfVariables(t *testing.T) {
	got := appendNames(nil, []byte("PATH=/bin\x00TOKEN=hunter2\x00noname\x00=x\x00EMPTY=\x00CUT=hun"), 1000)
	if string(got) != "PATH\x00TOKEN\x00EMPTY\x00CUT\x00" {
		t.Errorf("%q", got)
	}
	if got := appendNames(nil, []byte("PATH=/bin\x00TOKEN=hunter2\x00"), 8); string(got) != "PATH\x00" {
		t.Errorf("%q", got)
	}
}

func TestTimeOffsets(t *testing.T) {
	for text, want := range map[string]int64{
		"monotonic           0         0\nboottime            0         0\n": 0,
		"monotonic  1 2\nboottime  100 5\n":                                  100_000_000_005,
		"boottime  -2 500000000\n":                                           -1_500_000_000,
		"7 1 0\n":                                                            1_000_000_000,
		"boottime 99999999999999 0\n":                                        0, "boottime x y\n": 0, "": 0,
	} {
		if got := parseTimeOffsets([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func TestKeys(t *testing.T) {
	key := makeKey(tagOf(bootID), 1234, 987_654_321_012)
	boot, at, err := parseKey(key)
	if err != nil || boot != "3f2a91c4" || at.pid != 1234 || at.tick != 98765 {
		t.Errorf("%s: %s %+v %v", key, boot, at, err)
	}
	for _, bad := range []string{"", "a-b", "a-b-c-d", "3f2a91c4-x-1", "3f2a91c4-1-!", "3f2a91c4-99999999999-1"} {
		if _, _, err := parseKey(bad); err == nil {
			t.Errorf("%q is a key", bad)
		}
		if _, ok := newTable(t, nil).Get(bad); ok {
			t.Errorf("%q is there", bad)
		}
	}
}

func TestTheClockIsSet(t *testing.T) {
	boot, wall := int64(0), int64(1000)
	c := newClock(func() (int64, int64) { return boot, wall })
	boot, wall = boot+1e9, wall+1e9+1000 // drift
	c.Sample()
	if c.Wall(5).UnixNano() != 1005 {
		t.Error("a time changes with every sample")
	}
	wall += 3600e9 // set right by an hour
	c.Sample()
	if got := c.Wall(5).UnixNano(); got != 3600e9+1000+1005 {
		t.Errorf("%d", got)
	}
	if c.Boot(c.Wall(77)) != 77 {
		t.Error("there and back")
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("77 (a) b" + ")" + statRest))
	f.Add([]byte("77 (\n" + ")" + statRest))
	f.Add([]byte("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseStat(b)
		if err == nil && (s.pid == 0 || !bytes.Contains(b, s.comm)) {
			t.Errorf("%+v", s)
		}
		// Whatever a process is called, the line is read right.
		if bytes.IndexByte(b, 0) >= 0 {
			return
		}
		line := append(append([]byte("77 ("), b...), ")"+statRest...)
		if s, err := parseStat(line); err != nil || !bytes.Equal(s.comm, b) || s.ppid != 10 || s.start != 2425821 {
			t.Errorf("%q: %+v, %v", b, s, err)
		}
	})
}

func FuzzParseProc(f *testing.F) {
	f.Add([]byte("Uid:\t1 2 3 4\n0::/a\n36 35 98:0 /m /mnt\\0402 rw - ext3 /dev/root rw\nA=b\x00"))
	f.Add([]byte("40 36 0:50 / /m\\ rw - overlay overlay rw,upperdir=/up\\,x\\"))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseStatus(b)
		for _, l := range ParseCgroups(b) {
			if l.Hierarchy < 0 || !strings.HasPrefix(l.Path, "/") {
				t.Errorf("%+v", l)
			}
		}
		for _, m := range ParseMounts(b) {
			if !strings.HasPrefix(m.Point, "/") {
				t.Errorf("%+v", m)
			}
			if v, ok := m.Option("upperdir"); ok && len(v) > len(m.SuperOptions) {
				t.Errorf("%q of %q", v, m.SuperOptions)
			}
		}
		if n := appendNames(nil, b, 100); len(n) > 100 || bytes.Contains(n, []byte("=")) {
			t.Errorf("%q", n)
		}
		parseTimeOffsets(b)
		_, _, _ = parseKey(string(b))
	})
}

// FuzzApply holds the table together whatever records say.
func FuzzApply(f *testing.F) {
	f.Add([]byte{2, 1, 0, 1, 1, 2, 1, 2, 3, 2, 2, 2})
	f.Add([]byte{4, 1, 2, 5, 4, 2, 1, 5, 65, 1, 2, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		table := newTable(t, func(c *Config) { c.Live, c.Exited = 10, 4 })
		for at := second; len(b) >= 4; b = b[4:] {
			r := exec(uint32(b[1]%16), uint32(b[2]%16), uint64(b[3]%8)*second, at, "/x", "x")
			r.Kind = record.Kind(b[0] % 8)
			if b[0]&64 != 0 {
				r.Flags |= record.FlagSeeded
			}
			if b[0]&128 != 0 {
				r.Flags |= record.FlagThread
			}
			at += second
			p := table.Apply(r)
			if p == nil {
				if r.PID != 0 && r.Kind != record.KindNone {
					t.Fatalf("no process of %s", r.Kind)
				}
				continue
			}
			if p.PID != r.PID || len(p.Lineage.Ancestors) > MaxLineage || len(p.Lineage.Paths) != len(p.Lineage.Ancestors) {
				t.Fatalf("%+v", p)
			}
		}
		s := table.Stats()
		var texts int64
		for _, p := range append(table.Live(), table.Ended(100)...) {
			texts += p.size()
		}
		if s.Live > 10 || s.Exited > 4 || s.Texts != texts {
			t.Fatalf("%+v, %d bytes of texts", s, texts)
		}
		if roots, left := table.Forest(100); left != 0 || len(roots) > s.Live+s.Exited {
			t.Fatalf("%d roots, %d left", len(roots), left)
		}
	})
}
