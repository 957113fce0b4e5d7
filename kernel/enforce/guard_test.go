//go:build linux

package enforce

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// all is a kernel that can do everything.
func all() able {
	return able{caller: true, host: true, gates: map[kernel.Hook]record.Gate{kernel.HookExec: record.GateLSM, kernel.HookOpen: record.GateLSM, kernel.HookConnect: record.GateLSM}}
}

func TestResidue(t *testing.T) {
	weak := able{gates: map[kernel.Hook]record.Gate{kernel.HookExec: record.GateExecKill}, why: map[kernel.Hook]string{kernel.HookOpen: "no way"}}
	for _, c := range []struct {
		name string
		rule kernel.GuardRule
		able able
		want string // part of why; "" for enforced
	}{
		{"plain", kernel.GuardRule{Hook: kernel.HookExec, Exe: exactly("/bin/x")}, all(), ""},
		{"all kinds of paths", kernel.GuardRule{Hook: kernel.HookOpen, File: kernel.Paths{Exact: []string{"/a"}, Prefix: []string{"/b/"}, Name: []string{"c"}}}, all(), ""},
		{"parts of paths", kernel.GuardRule{Hook: kernel.HookOpen, File: kernel.Paths{Part: []string{".ssh"}}}, all(), "the file is named by parts"},
		{"ends of names", kernel.GuardRule{Hook: kernel.HookExec, Exe: kernel.Paths{End: []string{".php"}}}, all(), "the executable is named by parts"},
		{"long", kernel.GuardRule{Hook: kernel.HookExec, Exe: exactly("/" + strings.Repeat("x", MaxText))}, all(), "251 bytes, at most 250"},
		{"as long as may be", kernel.GuardRule{Hook: kernel.HookExec, Exe: exactly("/" + strings.Repeat("x", MaxText-1))}, all(), ""},
		{"relative", kernel.GuardRule{Hook: kernel.HookExec, Exe: exactly("bin/x")}, all(), "no absolute path"},
		{"a name with a slash", kernel.GuardRule{Hook: kernel.HookExec, Exe: kernel.Paths{Name: []string{"a/b"}}}, all(), "no last component"},
		{"zero byte", kernel.GuardRule{Hook: kernel.HookExec, Exe: exactly("/a\x00b")}, all(), "zero byte"},
		{"caller of open", kernel.GuardRule{Hook: kernel.HookOpen, Parent: exactly("/a")}, all(), "known of exec only"},
		{"file of exec", kernel.GuardRule{Hook: kernel.HookExec, File: exactly("/a")}, all(), "known of open only"},
		{"port of open", kernel.GuardRule{Hook: kernel.HookOpen, Ports: []uint16{1}}, all(), "known of connect only"},
		{"caller where it is gone", kernel.GuardRule{Hook: kernel.HookExec, Parent: exactly("/a")}, weak, "its caller is gone"},
		{"open without LSM", kernel.GuardRule{Hook: kernel.HookOpen, File: exactly("/a")}, weak, "no way"},
		{"host unknown", kernel.GuardRule{Hook: kernel.HookExec, Host: true, Exe: exactly("/a")}, weak, "mountinfo"},
		{"no hook", kernel.GuardRule{Hook: 9}, all(), "no such hook"},
		{"no network", kernel.GuardRule{Hook: kernel.HookConnect, Remote: []netip.Prefix{{}}}, all(), "a network that is none"},
	} {
		got := residueOf([]kernel.GuardRule{c.rule}, c.able)
		switch {
		case c.want == "" && len(got) > 0:
			t.Errorf("%s: %s", c.name, got[0].Why)
		case c.want != "" && (len(got) != 1 || !strings.Contains(got[0].Why, c.want)):
			t.Errorf("%s: %v, want %q", c.name, got, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	one := func(i int) kernel.GuardRule {
		return kernel.GuardRule{Rule: strconv.Itoa(i), Hook: kernel.HookExec, Exe: exactly("/x" + strconv.Itoa(i))}
	}
	var rules []kernel.GuardRule
	for i := range MaxRules + 2 {
		rules = append(rules, one(i))
	}
	left := residueOf(rules, all())
	if len(left) != 2 || left[0].Index != MaxRules || left[0].Rule != "512" || !strings.Contains(left[1].String(), "more than 512 pieces") {
		t.Errorf("residue %v", left)
	}
	big := kernel.GuardRule{Rule: "big", Hook: kernel.HookConnect, Remote: make([]netip.Prefix, maxNetworks+1)}
	for i := range big.Remote {
		big.Remote[i] = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	if left := residueOf([]kernel.GuardRule{big, one(0)}, all()); len(left) != 1 || left[0].Index != 0 {
		t.Errorf("residue %v", left)
	}
	err := (&ResidueError{residueOf(append(rules, rules...), all())}).Error()
	if !strings.Contains(err, "and 511 more") {
		t.Error(err)
	}
}

func TestNobodyIsLockedOut(t *testing.T) {
	e, _ := begin(t, Options{})
	for _, r := range []kernel.GuardRule{
		{Rule: "r", Hook: kernel.HookExec, Enforce: true},
		{Rule: "r", Hook: kernel.HookExec, Enforce: true, Host: true},
		{Rule: "r", Hook: kernel.HookExec, Enforce: true, Exe: kernel.Paths{All: true}},
		{Rule: "r", Hook: kernel.HookExec, Enforce: true, Exe: kernel.Paths{Prefix: []string{"/"}}},
		{Rule: "r", Hook: kernel.HookExec, Enforce: true, UIDs: []uint32{0, 5}},
		{Rule: "r", Hook: kernel.HookConnect, Enforce: true},
		{Rule: "r", Hook: kernel.HookConnect, Enforce: true, Remote: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
	} {
		if err := e.Guard(t.Context(), kernel.Guard{Rules: []kernel.GuardRule{r}}); err == nil || !strings.Contains(err.Error(), "kernel.force") {
			t.Errorf("%+v: %v", r, err)
		}
	}
	for _, r := range []kernel.GuardRule{
		{Hook: kernel.HookExec}, {Hook: kernel.HookExec, Enforce: true, UIDs: []uint32{33}}, {Hook: kernel.HookExec, Enforce: true, Cgroups: []uint64{5}},
		{Hook: kernel.HookOpen, Enforce: true, File: exactly("/etc/shadow")}, {Hook: kernel.HookConnect, Enforce: true, Ports: []uint16{25}},
	} {
		if why := lockout(r); why != "" {
			t.Errorf("%+v: %s", r, why)
		}
	}
}

// A change is whole or nothing.
func TestWhatFailsChangesNothing(t *testing.T) {
	e, _ := begin(t, Options{})
	dir := realDir(t)
	bad := victim(t, dir+"/bad")
	rule := kernel.GuardRule{Rule: "r", Hook: kernel.HookExec, Enforce: true, Exe: exactly(bad)}
	guard(t, e, rule)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Guard(cancelled, kernel.Guard{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := e.Guard(t.Context(), kernel.Guard{Rules: []kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{End: []string{"x"}}}}}); err == nil {
		t.Error("residue was taken")
	}
	e.opt.Pins = dir + "/none"
	if err := e.Guard(t.Context(), kernel.Guard{Closed: true, Rules: []kernel.GuardRule{rule}}); !errors.Is(err, errNoPins) {
		t.Error(err)
	}
	refused(t, e, actor(bad, "touch", dir+"/marker"))
	absent(t, dir+"/marker")
	residue := e.Residue([]kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{End: []string{"x"}}}, rule})
	if err := e.GuardExcept(t.Context(), kernel.Guard{Rules: []kernel.GuardRule{{Hook: kernel.HookExec, Exe: kernel.Paths{End: []string{"x"}}}, rule}}, residue); err != nil {
		t.Fatal(err)
	}
	refused(t, e, actor(bad, "touch", dir+"/marker"))
}

// While rules change again and again, what all sets refuse is refused at every moment, and nothing of the old sets stays in the maps.
func TestChangesUnderLoad(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	bad, good := victim(t, dir+"/bad"), victim(t, dir+"/good")
	sets := [][]kernel.GuardRule{
		{{Rule: "a", Hook: kernel.HookExec, Enforce: true, Exe: exactly(bad)}},
		{{Rule: "x", Hook: kernel.HookExec, Enforce: true, Exe: exactly(dir + "/else")}, {Rule: "b", Hook: kernel.HookExec, Enforce: true,
			Exe: kernel.Paths{Prefix: []string{dir + "/ba"}}}},
		{{Rule: "c", Hook: kernel.HookExec, Enforce: true, Exe: kernel.Paths{Name: []string{"bad"}, Prefix: []string{dir + "/none"}}}},
	}
	guard(t, e, sets[0]...)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			refused(t, e, actor(bad, "touch", dir+"/marker"))
		}
	})
	for i := range long(50, 2000) {
		if err := e.Guard(t.Context(), kernel.Guard{Rules: sets[i%len(sets)]}); err != nil {
			t.Error(err)
			break
		}
		if i%20 == 0 {
			ran(t, actor(good, "touch", dir+"/fine"))
		}
	}
	close(stop)
	wg.Wait()
	absent(t, dir+"/marker")
	s.wait(t, enforced)
	guard(t, e)
	for _, m := range []string{"paths", "prefixes", "numbers", "networks"} {
		var key, value []byte
		n := 0
		for it := e.objects.maps[m].Iterate(); it.Next(&key, &value); {
			n++
		}
		if n > 0 {
			t.Errorf("%d entries are left in %s", n, m)
		}
	}
}

func TestFullHouse(t *testing.T) {
	e, s := begin(t, Options{})
	dir := realDir(t)
	var rules []kernel.GuardRule
	for i := range MaxRules {
		rules = append(rules, kernel.GuardRule{Rule: strconv.Itoa(i), Hook: kernel.HookExec, Enforce: true, Exe: exactly(fmt.Sprintf("%s/p%d", dir, i))})
	}
	guard(t, e, rules...)
	for _, i := range []int{0, 1, 63, 64, 255, 256, 447, 448, 511} {
		refused(t, e, actor(victim(t, fmt.Sprintf("%s/p%d", dir, i)), "touch", dir+"/marker"))
		s.wait(t, func(r record.Record) bool { return enforced(r) && r.Nums[0] == uint64(i) })
	}
	absent(t, dir+"/marker")
	ran(t, actor(victim(t, dir+"/p512"), "touch", dir+"/fine"))
	if n := s.count(enforced); n != 9 {
		t.Errorf("%d records of 9 refusals", n)
	}
}

// The kernel takes the longest beginning; the rules of the shorter ones must be with it.
func TestBeginningsNest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var g kernel.Guard
		word := func() string {
			b := []byte("/")
			for range rng.IntN(5) {
				b = append(b, "ab/"[rng.IntN(3)])
			}
			return string(b) + "c"
		}
		for range 1 + rng.IntN(8) {
			g.Rules = append(g.Rules, kernel.GuardRule{Hook: kernel.HookExec, Exe: kernel.Paths{Prefix: []string{word(), word()}}, Remote: []netip.Prefix{
				netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(rng.IntN(2)) << 7, byte(rng.IntN(4)) << 6, 0, 0}), rng.IntN(17))}})
		}
		c := compile(g, nil)
		for k, b := range c.prefixes {
			for i, r := range g.Rules {
				want := strings.HasPrefix(k.text, r.Exe.Prefix[0]) || strings.HasPrefix(k.text, r.Exe.Prefix[1])
				if b.has(i) != want {
					t.Fatalf("%q: rule %d with %q: %v", k.text, i, r.Exe.Prefix, b.has(i))
				}
			}
		}
		for p, b := range c.networks {
			for i, r := range g.Rules {
				want := r.Remote[0].Bits() <= p.Bits() && r.Remote[0].Contains(p.Addr())
				if b.has(i) != want {
					t.Fatalf("%s: rule %d with %s: %v", p, i, r.Remote, b.has(i))
				}
			}
		}
	}
}

// Loading and unloading leaves nothing behind.
func TestNothingLeaks(t *testing.T) {
	dir := realDir(t)
	before := 0
	for i := range long(5, 1000) {
		if i == 1 { // what the libraries keep for the process is there now
			before = descriptors(t)
		}
		e := New(Options{Config: Config{Pins: dir}})
		if err := e.Guard(t.Context(), kernel.Guard{Rules: []kernel.GuardRule{{Hook: kernel.HookExec, Enforce: true, Exe: exactly(dir + "/none")},
			{Hook: kernel.HookConnect, Enforce: true, Cgroups: []uint64{1 << 60}}}}); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if err := e.Guard(t.Context(), kernel.Guard{Rules: []kernel.GuardRule{{Hook: kernel.HookExec}}}); !errors.Is(err, kernel.ErrUnable) {
			t.Fatalf("after it is closed: %v", err)
		}
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d open descriptors, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestFeatures(t *testing.T) {
	e, _ := begin(t, Options{})
	names := map[string]bool{}
	for _, f := range e.Features() {
		if f.Detail == "" || names[f.Name] || (!f.OK && (f.Cost == "" || f.Mend == "")) {
			t.Errorf("feature %+v", f)
		}
		names[f.Name] = true
	}
	gates := e.Gates()
	if len(gates) == 0 || e.Gate(kernel.HookExec) == record.GateNone || e.Gate(kernel.HookConnect) == record.GateNone {
		t.Errorf("gates %v", gates)
	}
	if os.Getenv("TESTUDO_ENFORCE_GUEST") != "" {
		if diff := cmp.Diff([]record.Gate{record.GateLSM}, gates); diff != "" {
			t.Error(diff)
		}
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	if err := (Config{Pins: "bpf"}).Validate(); err == nil || !strings.Contains(err.Error(), "/sys/fs/bpf") {
		t.Error(err)
	}
}

// What comes out of the ring may be cut or forged by whoever writes the map.
func FuzzRecords(f *testing.F) {
	e := New(Options{})
	e.past[0] = compile(kernel.Guard{Rules: []kernel.GuardRule{{Hook: kernel.HookExec, Enforce: true}, {Hook: kernel.HookConnect}}}, nil)
	f.Add(make([]byte, decisionSize))
	f.Add(make([]byte, decisionSize-1))
	whole := make([]byte, decisionSize+100)
	whole[0] = 3
	f.Add(whole)
	f.Fuzz(func(t *testing.T, raw []byte) {
		for b := e.records(nil, raw); len(b) > 0; {
			var r record.Record
			n, err := record.Decode(b, &r)
			if err != nil || r.Kind != record.KindEnforced || r.Nums[0] > 1 {
				t.Fatalf("rule %d, %v", r.Nums[0], err)
			}
			b = b[n:]
		}
	})
}
