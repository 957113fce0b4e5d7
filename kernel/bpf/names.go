//go:build linux

package bpf

import (
	"encoding/binary"
	"path"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Private between programs and reader (paths.h).
const (
	flagText  = 1 << 30
	tagNamed  = 0x7f01
	tagRoot   = 0x7f02
	namedSize = 12
)

// Bounds of what is looked at with a batch.
const (
	maxAhead = 8192 // changes behind it
	maxAgain = 64   // names that are not certain, a second time
	maxWaits = 4    // of waitFor, for the same
	waitFor  = time.Millisecond
)

// named is struct named of paths.h.
type named struct {
	base   [2]uint32 // how much of a path is the folder that the name was taken from
	follow [2]bool   // a link at the end, too
	set    uint8
	asked  bool
	root   string // of the process, "" for that of its mount namespace
}

// names judges the records of names that programs passed: the programs in the kernel see the text, which through a link, a folder of procfs, "..", or a
// root of the process's own says nothing of where it led. docs/decisions/0030-names-and-links.md. One goroutine uses it.
type names struct {
	want    *atomic.Pointer[wants]
	spaces  *spaces
	changes changes
	counts  *nameCounts
	noted   int    // changes that are in the account already, of those that the next batch begins with
	peeked  uint64 // where in the ring those end
	behind  *ring
	again   int   // how often it was looked for what has changed since
	waited  int   // how often it was waited for that
	blind   bool  // not all that has changed since is in the account
	offset  int64 // of the wall's clock to the time since the boot
}

// nameCounts are of names that were looked at.
type nameCounts struct {
	seen, kept, unsure atomic.Uint64
}

func newNames(want *atomic.Pointer[wants], counts *nameCounts) *names {
	return &names{want: want, spaces: newSpaces(), changes: newChanges(), counts: counts}
}

func (n *names) close() { n.spaces.close() }

func isText(b []byte) bool {
	return binary.NativeEndian.Uint32(b[offFlags:])&flagText != 0
}

// settle appends to out those records of a batch that are to be handed on, and returns how many. behind are the records that wait behind the batch.
func (n *names) settle(out, batch []byte, behind *ring) ([]byte, uint64) {
	n.offset, n.blind, n.again, n.waited, n.behind = wallClock(0), false, 0, 0, behind
	var r record.Record
	var last uint64
	// What changed since matters to what happened before: all that is known is noted first.
	each(batch, func(one []byte) {
		last = binary.NativeEndian.Uint64(one[offTime:])
		n.noteOnce(one)
	})
	// Then what is there now is looked at, and then noted what has changed meanwhile: so nothing is taken for what was there that came after.
	each(batch, func(one []byte) {
		if isText(one) {
			n.look(one)
		}
	})
	n.noteBehind()
	var count uint64
	each(batch, func(one []byte) {
		if isText(one) {
			if _, err := record.Decode(one, &r); err != nil || !n.judge(&r, namedOf(one)) {
				return
			}
			out = r.Append(out)
		} else {
			out = append(out, one...)
		}
		count++
	})
	n.spaces.forget()
	n.changes.forget(last)
	return out, count
}

// each calls fn with the records of a batch.
func each(batch []byte, fn func(one []byte)) {
	for {
		size, ok := record.Size(batch)
		if !ok {
			return
		}
		fn(batch[:size])
		batch = batch[size:]
	}
}

// noteOnce keeps account of what a record says has changed, unless it was noted when it was behind another batch.
func (n *names) noteOnce(one []byte) {
	if !isText(one) || !leads(record.Call(binary.NativeEndian.Uint16(one[offCall:]))) {
		return
	}
	if n.noted > 0 {
		n.noted--
		return
	}
	n.noteOf(one)
}

func (n *names) noteOf(one []byte) {
	var r record.Record
	if _, err := record.Decode(one, &r); err == nil && r.Ret == 0 {
		n.note(&r, namedOf(one))
	}
}

// noteBehind notes what has changed as far as the records that wait say so. Where there are too many of them, what is there now says nothing of what
// was there.
func (n *names) noteBehind() {
	if n.behind == nil {
		return
	}
	n.peeked = n.behind.peek(n.peeked, func(one []byte) bool {
		if len(one) < record.HeaderSize || !isText(one) || !leads(record.Call(binary.NativeEndian.Uint16(one[offCall:]))) {
			return true
		}
		if n.noted >= maxAhead {
			n.blind = true
			return false
		}
		n.noted++
		n.noteOf(one)
		return true
	})
}

// wait gives calls the time to end whose change is made: a few milliseconds for a batch, and none while much waits behind it.
func (n *names) wait() bool {
	if n.behind == nil || n.waited >= maxWaits || n.behind.pending() > n.behind.mask/4 {
		return false
	}
	n.waited++
	time.Sleep(waitFor)
	return true
}

// look has the names of a record looked at, for later.
func (n *names) look(one []byte) {
	var r record.Record
	if _, err := record.Decode(one, &r); err != nil {
		return
	}
	d := namedOf(one)
	if !d.asked && int(d.set) >= len(wants{}) {
		return
	}
	n.follow(&r, &d, 0, r.Path)
	if len(r.Path2) > 0 && r.Call != record.CallMount {
		n.follow(&r, &d, 1, r.Path2)
	}
}

// leads reports whether a call makes, moves or removes what names lead through.
func leads(c record.Call) bool {
	switch c {
	case record.CallSymlink, record.CallSymlinkat, record.CallRename, record.CallRenameat, record.CallRenameat2, record.CallLink, record.CallLinkat,
		record.CallMkdir, record.CallMkdirat, record.CallRmdir, record.CallUnlinkat:
		return true
	}
	return false
}

// namedOf returns how the names in a record were passed.
func namedOf(b []byte) named {
	var d named
	native := binary.NativeEndian
	for p := record.HeaderSize; p+4 <= len(b); {
		tag, size := native.Uint16(b[p:]), int(native.Uint16(b[p+2:]))
		if p += 4; p+size > len(b) {
			break
		}
		switch v := b[p : p+size]; {
		case tag == tagNamed && size == namedSize:
			d.base = [2]uint32{native.Uint32(v), native.Uint32(v[4:])}
			d.follow = [2]bool{v[8] != 0, v[9] != 0}
			d.set, d.asked = v[10], v[11] != 0
		case tag == tagRoot && size > 1:
			d.root = string(v)
		}
		p += size
	}
	return d
}

// follow returns where one of the names in a record led.
func (n *names) follow(r *record.Record, d *named, i int, text []byte) walk {
	w := walk{n: n, space: r.MntNS, pid: r.PID, root: d.root, at: r.Time, clock: n.offset + int64(r.Time)}
	base := min(int(d.base[i]), len(text))
	one := name{base: string(text[:base]), rest: string(text[base:]), follow: d.follow[i]}
	if len(text) == 0 || text[0] != '/' || r.Flags&record.FlagTruncated != 0 {
		w.unsure = true
		return w
	}
	w.name(one)
	return w
}

// judge says whether a record is to be handed on, and puts where its names led in the place of what was passed.
func (n *names) judge(r *record.Record, d named) bool {
	r.Flags &^= flagText | flagUnclean
	want := n.want.Load()
	if !d.asked && (want == nil || int(d.set) >= len(want)) {
		return false
	}
	n.counts.seen.Add(1)
	var set *pathSet
	if want != nil && int(d.set) < len(want) {
		set = &want[d.set]
	}
	pass, unsure := d.asked, false
	one := func(i int, text []byte) []byte {
		w := n.follow(r, &d, i, text)
		if w.unsure && n.again < maxAgain { // perhaps for a call that had not ended
			n.again++
			n.noteBehind()
			w = n.follow(r, &d, i, text)
			for w.unsure && n.wait() {
				n.noteBehind()
				w = n.follow(r, &d, i, text)
			}
		}
		end, clear := path.Clean(string(text)), len(w.ends) == 1 && !w.unsure
		if clear {
			end = w.ends[0]
		}
		if set != nil {
			in := set.has(end)
			for _, e := range w.ends {
				if !in && set.has(e) {
					end, in = e, true
				}
			}
			pass = pass || in || !clear
		}
		unsure = unsure || !clear
		return []byte(end)
	}
	if len(r.Path) > 0 {
		r.Path = one(0, r.Path)
	} else {
		pass = true
	}
	if len(r.Path2) > 0 && r.Call != record.CallMount { // what is mounted need not be a file
		r.Path2 = one(1, r.Path2)
	}
	if !pass {
		return false
	}
	n.counts.kept.Add(1)
	if unsure {
		n.counts.unsure.Add(1)
		r.Flags |= record.FlagUnsure
	}
	return true
}

// places returns the names that a call was about, as far as they are known: each may be one of several.
func (n *names) places(r *record.Record, d *named, i int, text []byte) []placeKey {
	follow := d.follow[i]
	d.follow[i] = false
	w := n.follow(r, d, i, text)
	d.follow[i] = follow
	if len(w.ends) == 0 {
		w.ends = append(w.ends, path.Clean(string(text)))
	}
	all := make([]placeKey, len(w.ends))
	for i, e := range w.ends {
		all[i] = placeKey{r.MntNS, e}
	}
	return all
}

// note keeps account of what a call changed.
func (n *names) note(r *record.Record, d named) {
	if len(r.Path) == 0 {
		return
	}
	add := func(all []placeKey, is, was place) {
		for _, k := range all {
			n.changes.add(k, change{at: r.Time, is: is, was: was})
		}
	}
	itself, none := place{kind: placeItself}, place{kind: placeNone}
	switch r.Call {
	case record.CallSymlink, record.CallSymlinkat:
		add(n.places(r, &d, 0, r.Path), place{kind: placeLink, target: strings.Clone(string(r.Name))}, place{})
	case record.CallMkdir, record.CallMkdirat:
		add(n.places(r, &d, 0, r.Path), itself, place{})
	case record.CallRmdir:
		add(n.places(r, &d, 0, r.Path), none, itself)
	case record.CallUnlinkat:
		if r.NumLen > 2 && r.Nums[2]&unix.AT_REMOVEDIR != 0 {
			add(n.places(r, &d, 0, r.Path), none, itself)
		}
	case record.CallLink, record.CallLinkat:
		if len(r.Path2) == 0 || d.follow[0] {
			return
		}
		from, to := n.places(r, &d, 0, r.Path), n.places(r, &d, 1, r.Path2)
		if p := n.moved(r, from, to); p.kind == placeLink {
			add(to, p, place{})
		}
	default:
		if len(r.Path2) == 0 {
			return
		}
		from, to := n.places(r, &d, 0, r.Path), n.places(r, &d, 1, r.Path2)
		before, _ := n.changes.latest(to[0])
		back := none
		if r.Call == record.CallRenameat2 && r.NumLen > 4 && r.Nums[4]&unix.RENAME_EXCHANGE != 0 {
			back = n.moved(r, to, from)
			before = back
		}
		p := n.moved(r, from, to)
		add(to, p, before)
		add(from, back, p)
	}
}

// moved returns what has got another name: what the account says of the old one, else what the new one leads to by now.
func (n *names) moved(r *record.Record, from, to []placeKey) place {
	if p, ok := n.changes.latest(from[0]); ok && p.kind != placeNone {
		return p
	}
	l := n.spaces.at(r.MntNS, r.PID, to[0].path)
	if l.err != nil || l.kind == placeNone {
		return place{}
	}
	return l.place
}
