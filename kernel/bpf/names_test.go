//go:build linux

package bpf

import (
	"encoding/binary"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// looker returns names that judge by a set, in this process's mount namespace.
func looker(t *testing.T, paths kernel.Paths) *names {
	t.Helper()
	var want atomic.Pointer[wants]
	want.Store(newWants(&kernel.Interest{Reads: paths, Writes: paths, Changes: paths}))
	n := newNames(&want, &nameCounts{})
	t.Cleanup(n.close)
	return n
}

// passed is a record of a call with one name, as the programs send it.
func passed(n *names, call record.Call, at uint64, base, rest string, d named, name string) []byte {
	r := record.Record{Kind: record.KindCall, Call: call, Time: at, PID: 1, MntNS: n.spaces.own, Path: []byte(base + rest), Name: []byte(name), Flags: flagText}
	b := r.Append(nil)
	d.base[0] = uint32(len(base))
	part := order(tagNamed, namedSize)
	native := part[4:]
	putUint32(native, d.base[0])
	putUint32(native[4:], d.base[1])
	for i, v := range []bool{d.follow[0], d.follow[1]} {
		if v {
			native[8+i] = 1
		}
	}
	native[10] = d.set
	if d.asked {
		native[11] = 1
	}
	b = append(b, part...)
	if d.root != "" {
		root := append(order(tagRoot, 0)[:4], d.root...)
		putUint16(root[2:], uint16(len(d.root)))
		b = append(b, root...)
	}
	putUint32(b, uint32(len(b)))
	return b
}

func order(tag, size uint16) []byte {
	b := make([]byte, 4+int(size))
	putUint16(b, tag)
	putUint16(b[2:], size)
	return b
}

func putUint16(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }

func putUint32(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }

func recordsOf(t *testing.T, b []byte) (all []string) {
	t.Helper()
	for len(b) > 0 {
		var r record.Record
		n, err := record.Decode(b, &r)
		if err != nil {
			t.Fatal(err)
		}
		text := string(r.Path)
		if r.Flags&record.FlagUnsure != 0 {
			text += "?"
		}
		all = append(all, text)
		b = b[n:]
	}
	return all
}

func TestSettle(t *testing.T) {
	dir := arena(t)
	must(t, unix.Symlink("watched", in(dir, "there")))
	must(t, unix.Mkdir(in(dir, "other", "watched"), 0o755))
	now := bootNow(t)
	change := named{set: setChange}
	of := func(call record.Call, ago time.Duration, base, rest string, d named, name string) func(*names) []byte {
		return func(n *names) []byte { return passed(n, call, now-uint64(ago), base, rest, d, name) }
	}
	for _, c := range []struct {
		name  string
		calls []func(*names) []byte
		want  []string
	}{
		{"it says so", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/watched/x", change, "")}, []string{"watched/x"}},
		{"elsewhere", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/other/x", change, "")}, nil},
		{"a link", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/there/x", change, "")}, []string{"watched/x"}},
		{"a link that is younger than its use", []func(*names) []byte{of(record.CallUnlink, time.Hour, dir, "/there/x", change, "")}, []string{"there/x?"}},
		{"the link itself", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/there", change, "")}, nil},
		{"up", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/other/../watched/./x", change, "")}, []string{"watched/x"}},
		{"up after a link", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/there/deep/../../other/x", change, "")}, nil},
		{"what is not there any more", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/gone/x", change, "")}, []string{"gone/x?"}},
		{"a folder that was there", []func(*names) []byte{of(record.CallUnlink, time.Second, dir, "/gone/x", change, ""),
			of(record.CallRmdir, 0, dir, "/gone", change, "")}, nil},
		{"a link that was there", []func(*names) []byte{of(record.CallSymlink, 3*time.Second, dir, "/gone", change, dir+"/watched"),
			of(record.CallUnlink, 2*time.Second, dir, "/gone/x", change, "")}, []string{"watched/x"}},
		{"a link that came later", []func(*names) []byte{of(record.CallMkdir, 5*time.Second, dir, "/gone", change, ""),
			of(record.CallUnlink, 3*time.Second, dir, "/gone/x", change, ""), of(record.CallRmdir, 2*time.Second, dir, "/gone", change, ""),
			of(record.CallSymlink, 0, dir, "/gone", change, dir+"/watched")}, nil},
		{"a folder in the place of a link", []func(*names) []byte{of(record.CallUnlink, 3*time.Second, dir, "/other/deep/x", change, ""),
			of(record.CallMkdir, 0, dir, "/other/deep", change, "")}, []string{"other/deep/x?"}},
		{"links in a circle", []func(*names) []byte{of(record.CallSymlink, 3*time.Second, dir, "/one", change, "two"), of(record.CallSymlink, 3*time.Second, dir, "/two", change, "one"),
			of(record.CallUnlink, 0, dir, "/one/x", change, "")}, []string{"one/x?"}},
		{"nobody asked", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/there/x", named{set: 255}, "")}, nil},
		{"asked for whatever the path", []func(*names) []byte{of(record.CallUnlink, 0, dir, "/other/x", named{set: 255, asked: true}, "")}, []string{"other/x"}},
		{"another root", []func(*names) []byte{of(record.CallSymlink, 3*time.Second, dir+"/other", "/l", named{set: setChange, root: dir + "/other"}, "/deep"),
			of(record.CallUnlink, 0, dir+"/other", "/l/../../../watched/x", named{set: setChange, root: dir + "/other"}, "")}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := looker(t, kernel.Paths{Prefix: []string{dir + "/watched/"}})
			var batch []byte
			for _, call := range c.calls {
				batch = append(batch, call(n)...)
			}
			out, count := n.settle(nil, batch, nil)
			got := recordsOf(t, out)
			var want []string
			for _, w := range c.want {
				want = append(want, in(dir)+"/"+w)
			}
			if diff := cmp.Diff(want, got); diff != "" || int(count) < len(want) {
				t.Errorf("-want +got of %d:\n%s", count, diff)
			}
		})
	}
}

// What a name was is remembered of as many links as fit, and where more happened than is remembered, it is not certain.
func TestChangesAreBounded(t *testing.T) {
	c := newChanges()
	link := func(to string) place { return place{kind: placeLink, target: to} }
	for i := range uint64(maxPlaces + 100) {
		c.add(placeKey{1, "/" + strconv.FormatUint(i, 10)}, change{at: i, is: link("x")})
	}
	if len(c.kept) != maxPlaces || len(c.age) != maxPlaces {
		t.Errorf("%d names are kept, %d in order; want %d", len(c.kept), len(c.age), maxPlaces)
	}
	if _, known, _ := c.at(nil, placeKey{1, "/0"}, 5); known {
		t.Error("the oldest is kept")
	}
	if all, _, _ := c.at(nil, placeKey{1, "/" + strconv.Itoa(maxPlaces)}, maxPlaces); !cmp.Equal(all, []place{link("x")}, cmp.AllowUnexported(place{})) {
		t.Errorf("the newest led to %v", all)
	}
	k := placeKey{2, "/swings"}
	for i := range uint64(100) {
		c.add(k, change{at: i * uint64(time.Minute), is: link(strconv.FormatUint(i, 10))})
	}
	c.forget(100 * uint64(time.Minute))
	if n := len(c.kept[k].list); n != maxChanges {
		t.Errorf("%d changes of one name are kept, want %d", n, maxChanges)
	}
	all, _, last := c.at(nil, k, 98*uint64(time.Minute)+1)
	if last || !cmp.Equal(all, []place{link("98")}, cmp.AllowUnexported(place{})) {
		t.Errorf("it led to %v, nothing since: %v", all, last)
	}
	if all, _, _ = c.at(nil, k, uint64(time.Minute)); !slices.Contains(all, place{}) {
		t.Errorf("of a time before what is kept it led to %v, for certain", all)
	}
	recent := placeKey{2, "/swings faster"}
	for i := range uint64(200) {
		c.add(recent, change{at: i * uint64(time.Millisecond), is: link(strconv.FormatUint(i%3, 10))})
	}
	c.forget(0) // the records of most of their uses are still to come
	if all, _, _ := c.at(nil, recent, 5*uint64(time.Millisecond)); len(all) < 3 {
		t.Errorf("it led to %v, though it led to three places at about that time", all)
	}
	for i := range uint64(3 * maxRecent) {
		c.add(recent, change{at: i, is: link("x")})
	}
	if n := len(c.kept[recent].list); n > maxChanges+maxRecent {
		t.Errorf("%d changes of one name", n)
	}
	c.add(placeKey{3, "/made"}, change{at: 7, is: place{kind: placeItself}})
	c.forget(7)
	if len(c.brief) != 0 {
		t.Error("a folder is kept")
	}
}

// A file system that does not answer holds nobody up, and what hangs is bounded.
func TestLooksThatHang(t *testing.T) {
	n := looker(t, kernel.Paths{All: true})
	free := make(chan struct{})
	began := time.Now()
	for range 10 * maxHanging {
		n.spaces.spent = 0 // each in a batch of its own
		if _, ok := within(n.spaces, n.spaces.ownRoot, func(int) bool { <-free; return true }); ok {
			t.Fatal("an answer")
		}
	}
	if h := n.spaces.hanging.Load(); h != maxHanging {
		t.Errorf("%d hang, want %d", h, maxHanging)
	}
	t.Logf("held up for %v", time.Since(began))
	close(free)
	for n.spaces.hanging.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	if got, ok := within(n.spaces, n.spaces.ownRoot, func(int) int { return 7 }); !ok || got != 7 {
		t.Errorf("then %d, %v", got, ok)
	}
}

// The sets of the reader say what kernel.Paths say.
func TestSetsOfTheReader(t *testing.T) {
	p := kernel.Paths{Exact: []string{"/etc/shadow"}, Prefix: []string{"/etc/cron"}, Name: []string{"id_rsa"}, Part: []string{".ssh"}, End: []string{".php"}}
	s := newPathSet(&p)
	for _, path := range []string{"/", "", "/etc/shadow", "/etc/shadow2", "/etc/cron.d/x", "/etc/Cron", "/a/ID_RSA", "/id_rsa/x", "/a/.SSH/x", "/a/.ssh", "/a.ssh/b", "/x.PHP", "/x.php/y", "/x.php5"} {
		if s.has(path) != p.Has(path) {
			t.Errorf("%q: %v, want %v", path, s.has(path), p.Has(path))
		}
	}
	all := newPathSet(&kernel.Paths{All: true})
	if !all.has("/x") {
		t.Error("not all")
	}
}

func bootNow(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	must(t, unix.ClockGettime(unix.CLOCK_BOOTTIME, &now))
	return uint64(now.Nano())
}

// Whatever the parts of a record say, looking at it ends and no record comes of none.
func FuzzSettle(f *testing.F) {
	f.Add("/tmp", "/a/../b", "/x", uint32(3), byte(2))
	f.Add("", "/proc/self/root/../fd/99/x", "", uint32(0), byte(255))
	f.Add("/", "////", "//", uint32(1<<31), byte(1))
	f.Fuzz(func(t *testing.T, base, rest, root string, size uint32, set byte) {
		n := looker(t, kernel.Paths{Prefix: []string{"/etc/"}})
		one := passed(n, record.CallRename, 5, base, rest, named{set: set, root: root, follow: [2]bool{set%2 == 0}}, "x")
		if len(one) > record.MaxSize || len(base)+len(rest) > record.MaxPath || len(root) > record.MaxPath {
			return
		}
		out, count := n.settle(nil, one, nil)
		if got := recordsOf(t, out); uint64(len(got)) != count || count > 1 {
			t.Errorf("%d records, %q", count, got)
		}
	})
}
