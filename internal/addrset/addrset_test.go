package addrset

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func at(minutes int) time.Time { return epoch.Add(time.Duration(minutes) * time.Minute) }

func mustAdd(t *testing.T, table *Table, prefix string, until time.Time, id string) {
	t.Helper()
	if err := table.Add(netip.MustParsePrefix(prefix), until, id); err != nil {
		t.Fatal(err)
	}
}

func TestLookup(t *testing.T) {
	table := New(100)
	mustAdd(t, table, "203.0.113.7/32", at(10), "one")
	mustAdd(t, table, "203.0.113.0/24", at(20), "net")
	mustAdd(t, table, "203.0.113.99/24", at(30), "net-again") // host bits are cleared
	mustAdd(t, table, "2001:db8:1:2::/64", at(10), "six")
	mustAdd(t, table, "::ffff:198.51.100.0/120", at(10), "mapped")
	mustAdd(t, table, "10.0.0.0/8", time.Time{}, "ever")
	mustAdd(t, table, "fe80::/10", at(10), "link")
	for _, c := range []struct {
		addr string
		min  int
		want string
	}{
		{"203.0.113.7", 0, "one"},
		{"::ffff:203.0.113.7", 0, "one"},
		{"203.0.113.7", 9, "one"},
		{"203.0.113.7", 10, "net-again"}, // expired at its moment, the wider one still holds
		{"203.0.113.8", 0, "net-again"},
		{"203.0.113.8", 30, ""},
		{"203.0.114.8", 0, ""},
		{"2001:db8:1:2:ffff::1", 0, "six"},
		{"2001:db8:1:3::1", 0, ""},
		{"198.51.100.77", 0, "mapped"},
		{"::ffff:198.51.100.77", 0, "mapped"},
		{"10.255.255.255", 1 << 20, "ever"},
		{"11.0.0.0", 0, ""},
		{"fe80::1%eth0", 0, "link"},
		{"::", 0, ""},
	} {
		got, ok := table.Lookup(netip.MustParseAddr(c.addr), at(c.min))
		if got.ID != c.want || ok != (c.want != "") {
			t.Errorf("%s after %d minutes: %q %v, want %q", c.addr, c.min, got.ID, ok, c.want)
		}
	}
	if _, ok := table.Lookup(netip.Addr{}, epoch); ok {
		t.Error("no address was found")
	}
	entry, _ := table.Get(netip.MustParsePrefix("203.0.113.7/32"), "one")
	want := Entry{Prefix: netip.MustParsePrefix("203.0.113.7/32"), ID: "one", Until: at(10), Hits: 3}
	if diff := cmp.Diff(want, entry, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Error(diff)
	}
	if n := table.Hits(netip.MustParsePrefix("203.0.113.7/32"), "one"); n != 3 {
		t.Errorf("%d hits", n)
	}
	if n := table.Hits(netip.MustParsePrefix("203.0.113.7/32"), "two"); n != 0 {
		t.Errorf("%d hits of nothing", n)
	}
	if e, ok := table.Peek(netip.MustParseAddr("203.0.113.7"), epoch); !ok || e.Hits != 3 {
		t.Errorf("a peek counted: %+v", e)
	}
}

func TestAnIPv6PrefixIsNotForIPv4(t *testing.T) {
	table := New(10)
	mustAdd(t, table, "::/0", time.Time{}, "all six")
	if e, ok := table.Lookup(netip.MustParseAddr("192.0.2.1"), epoch); ok {
		t.Errorf("IPv4 matched %v", e.Prefix)
	}
	if _, ok := table.Lookup(netip.MustParseAddr("2001:db8::1"), epoch); !ok {
		t.Error("IPv6 did not match ::/0")
	}
}

func TestAddAgainMovesTheMomentAndKeepsHits(t *testing.T) {
	table := New(1)
	mustAdd(t, table, "192.0.2.1/32", at(1), "a")
	table.Lookup(netip.MustParseAddr("192.0.2.1"), epoch)
	mustAdd(t, table, "192.0.2.1/32", at(5), "a")
	e, ok := table.Lookup(netip.MustParseAddr("192.0.2.1"), at(4))
	if !ok || e.Hits != 2 || table.Len() != 1 {
		t.Errorf("%+v %v, %d entries", e, ok, table.Len())
	}
	mustAdd(t, table, "192.0.2.1/32", at(2), "a")
	if _, ok := table.Lookup(netip.MustParseAddr("192.0.2.1"), at(4)); ok {
		t.Error("an earlier moment was ignored")
	}
}

func TestFull(t *testing.T) {
	table := New(2)
	mustAdd(t, table, "192.0.2.1/32", at(1), "a")
	mustAdd(t, table, "192.0.2.1/32", at(1), "b")
	var full *FullError
	if err := table.Add(netip.MustParsePrefix("192.0.2.2/32"), at(1), "c"); !errors.As(err, &full) || full.Max != 2 ||
		!strings.Contains(err.Error(), "full with 2 entries") {
		t.Errorf("a third entry: %v", err)
	}
	if _, ok := table.Lookup(netip.MustParseAddr("192.0.2.2"), epoch); ok {
		t.Error("the refused entry is there")
	}
	if !table.Remove(netip.MustParsePrefix("192.0.2.1/32"), "a") {
		t.Error("nothing removed")
	}
	mustAdd(t, table, "192.0.2.2/32", at(1), "c")
	if err := table.Add(netip.Prefix{}, at(1), "d"); err == nil {
		t.Error("an invalid prefix was taken")
	}
}

func TestRemoveLeavesTheOthers(t *testing.T) {
	table := New(10)
	mustAdd(t, table, "192.0.2.0/24", at(1), "a")
	mustAdd(t, table, "192.0.2.0/24", at(1), "b")
	mustAdd(t, table, "192.0.2.1/32", at(1), "c")
	addr := netip.MustParseAddr("192.0.2.1")
	for _, step := range []struct{ prefix, id, then string }{
		{"192.0.2.0/24", "z", "c"},
		{"192.0.2.1/32", "c", "a"},
		{"192.0.2.0/24", "a", "b"},
		{"192.0.2.0/24", "b", ""},
	} {
		if got, want := table.Remove(netip.MustParsePrefix(step.prefix), step.id), step.id != "z"; got != want {
			t.Errorf("remove %s of %s: %v", step.prefix, step.id, got)
		}
		if e, _ := table.Lookup(addr, epoch); e.ID != step.then {
			t.Errorf("after removing %s of %s: %q, want %q", step.prefix, step.id, e.ID, step.then)
		}
	}
	if table.Len() != 0 {
		t.Errorf("%d entries are left", table.Len())
	}
}

// naive is the list that the table must agree with.
type naive []Entry

func (n *naive) add(p netip.Prefix, until time.Time, id string, max int) bool {
	p, _, ok := normal(p)
	if !ok {
		return false
	}
	for i := range *n {
		if e := &(*n)[i]; e.Prefix == p && e.ID == id {
			e.Until = until
			return true
		}
	}
	if len(*n) >= max {
		return false
	}
	*n = append(*n, Entry{Prefix: p, ID: id, Until: until})
	return true
}

func (n *naive) remove(p netip.Prefix, id string) bool {
	p, _, _ = normal(p)
	before := len(*n)
	*n = slices.DeleteFunc(*n, func(e Entry) bool { return e.Prefix == p && e.ID == id })
	return len(*n) < before
}

func (n *naive) sweep(now time.Time) int {
	before := len(*n)
	*n = slices.DeleteFunc(*n, func(e Entry) bool { return !e.Until.IsZero() && !now.Before(e.Until) })
	return before - len(*n)
}

func (n naive) lookup(a netip.Addr, now time.Time) (Entry, bool) {
	a = a.Unmap().WithZone("")
	var best Entry
	found := false
	better := func(e Entry) bool {
		switch {
		case !found:
			return true
		case e.Prefix.Bits() != best.Prefix.Bits():
			return e.Prefix.Bits() > best.Prefix.Bits()
		case e.Until.IsZero() != best.Until.IsZero():
			return e.Until.IsZero()
		case !e.Until.Equal(best.Until):
			return e.Until.After(best.Until)
		}
		return e.ID < best.ID
	}
	for _, e := range n {
		if e.Prefix.Contains(a) && (e.Until.IsZero() || now.Before(e.Until)) && better(e) {
			best, found = e, true
		}
	}
	return best, found
}

// drive feeds the same operations, read from data, to a table and to a naive list.
func drive(t interface{ Fatalf(string, ...any) }, data []byte) {
	const max = 40
	table, list := New(max), naive{}
	take := func() byte {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return b
	}
	// Few bits vary, so that prefixes meet often.
	address := func(kind, x, y byte) netip.Addr {
		switch kind % 3 {
		case 0:
			return netip.AddrFrom4([4]byte{192, 0, x & 3 << 6, y & 0x83})
		case 1:
			return netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff, 12: 192, 14: x & 3 << 6, 15: y & 0x83})
		}
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 7: x & 0x81, 8: y & 0x80, 15: y & 3})
	}
	for len(data) > 0 {
		op, kind, x, y := take(), take(), take(), take()
		a := address(kind, x, y)
		bits := a.BitLen() - int(take())%(a.BitLen()+1)
		p := netip.PrefixFrom(a, bits)
		id := string('a' + rune(op>>6))
		minute := at(int(take() % 8))
		if minute == epoch {
			minute = time.Time{}
		}
		switch op & 7 {
		case 0, 1, 2, 3:
			if got, want := table.Add(p, minute, id) == nil, list.add(p, minute, id, max); got != want {
				t.Fatalf("add %v %q: %v, want %v", p, id, got, want)
			}
		case 4, 5:
			if got, want := table.Remove(p, id), list.remove(p, id); got != want {
				t.Fatalf("remove %v %q: %v, want %v", p, id, got, want)
			}
		case 6:
			if got, want := table.Sweep(at(int(y%8))), list.sweep(at(int(y%8))); got != want {
				t.Fatalf("sweep: %d, want %d", got, want)
			}
		}
		if table.Len() != len(list) {
			t.Fatalf("%d entries, want %d", table.Len(), len(list))
		}
		for m := range 4 {
			got, ok := table.Peek(a, at(2*m))
			want, wantOK := list.lookup(a, at(2*m))
			if ok != wantOK || got != want {
				t.Fatalf("look-up of %v after %d minutes: %+v %v, want %+v %v", a, 2*m, got, ok, want, wantOK)
			}
		}
	}
	key := func(e Entry) string { return fmt.Sprint(e.Prefix, e.ID, e.Until) }
	var got, want []string
	for e := range table.All() {
		got = append(got, key(e))
	}
	for _, e := range list {
		want = append(want, key(e))
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("holds %v, want %v", got, want)
	}
}

func TestAgreesWithANaiveList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { drive(t, rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "operations")) })
}

func FuzzAgreesWithANaiveList(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x02\x00\x03\x40\x00\x01\x02\x08\x05\x04\x00\x01\x02\x00\x03"))
	f.Add([]byte("\x00\x02\x01\x02\x40\x03\x80\x02\x01\x02\x00\x05\x06\x02\x01\x04\x00\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		drive(t, data)
	})
}

func nth(i int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 9}), 32)
}

func TestGrowsAndShrinks(t *testing.T) {
	const n = 50_000
	table := New(n)
	for i := range n {
		if err := table.Add(nth(i), at(1), "x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(table.v4.chains.Load().heads); got < n || got > 2*n {
		t.Errorf("%d chains for %d entries", got, n)
	}
	for i := range n {
		if _, ok := table.Lookup(nth(i).Addr(), epoch); !ok {
			t.Fatalf("%v is lost", nth(i))
		}
	}
	if swept := table.Sweep(at(1)); swept != n {
		t.Errorf("swept %d", swept)
	}
	if got := len(table.v4.chains.Load().heads); got > 2*minBuckets {
		t.Errorf("%d chains for an empty table", got)
	}
	if lengths := *table.v4.lengths.Load(); len(lengths) != 0 {
		t.Errorf("lengths %v of an empty table", lengths)
	}
}

func TestLookupAllocatesNothing(t *testing.T) {
	table := New(100)
	mustAdd(t, table, "192.0.2.1/32", at(1), "a")
	mustAdd(t, table, "2001:db8::/64", at(1), "b")
	hit, six, miss := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("192.0.2.2")
	if n := testing.AllocsPerRun(100, func() {
		table.Lookup(hit, epoch)
		table.Lookup(six, epoch)
		table.Lookup(miss, epoch)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestReadersSeeWhatStaysWhileOthersChange(t *testing.T) {
	table := New(10_000)
	mustAdd(t, table, "192.0.2.0/24", time.Time{}, "stays")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			addr := netip.MustParseAddr("192.0.2.77")
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, ok := table.Lookup(addr, epoch); !ok {
					t.Error("an entry that stays was not found")
					return
				}
			}
		})
	}
	for round := range 3 {
		for i := range 3000 {
			if err := table.Add(nth(i), at(round+1), "x"); err != nil {
				t.Fatal(err)
			}
			if i%3 == 0 {
				table.Remove(nth(i), "x")
			}
		}
		table.Sweep(at(round + 1))
	}
	close(stop)
	wg.Wait()
}

func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		table := New(n + 1)
		for i := range n {
			if err := table.Add(nth(i), at(1), "x"); err != nil {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				if _, ok := table.Lookup(nth(i).Addr(), epoch); !ok {
					b.Fatal("lost")
				}
			}
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			addr := netip.MustParseAddr("203.0.113.9")
			for b.Loop() {
				if _, ok := table.Lookup(addr, epoch); ok {
					b.Fatal("found")
				}
			}
		})
		b.Run(fmt.Sprintf("parallel-miss/%d", n), func(b *testing.B) {
			addr := netip.MustParseAddr("203.0.113.9")
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					table.Lookup(addr, epoch)
				}
			})
		})
	}
}

func BenchmarkAdd(b *testing.B) {
	for _, n := range []int{10, 1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			table := New(n + 1)
			for i := range n {
				if err := table.Add(nth(i), at(1), "x"); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			extra := netip.MustParsePrefix("203.0.113.9/32")
			for b.Loop() {
				if err := table.Add(extra, at(1), "y"); err != nil {
					b.Fatal(err)
				}
				table.Remove(extra, "y")
			}
		})
	}
}
