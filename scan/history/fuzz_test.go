package history

import (
	"bytes"
	"testing"
)

// FuzzDelta holds that a delta makes exactly what it says, of nothing but its base and itself.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("base text"), []byte("\x90\x04\x03new"), 7)
	f.Add([]byte("base"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff"), 1<<20)
	f.Add([]byte(""), []byte("\x80"), 0x10000)
	f.Fuzz(func(t *testing.T, base, delta []byte, size int) {
		if size < 0 || size > 1<<20 {
			return
		}
		out, ok := applyDelta(nil, base, delta, size)
		if ok && len(out) != size {
			t.Errorf("%d bytes, want %d", len(out), size)
		}
		again, same := applyDelta(make([]byte, 0, size), base, delta, size)
		if same != ok || ok && !bytes.Equal(out, again) {
			t.Error("the buffer makes a difference")
		}
	})
}

func FuzzPackIndex(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0}, 1024+40), []byte{1, 2})
	f.Add(append([]byte("\xfftOc\x00\x00\x00\x02"), bytes.Repeat([]byte{0}, 1024+40)...), []byte{0xff})
	one := append([]byte("\xfftOc\x00\x00\x00\x02"), bytes.Repeat([]byte{0, 0, 0, 1}, 256)...)
	f.Add(append(one, bytes.Repeat([]byte{0}, 28+40)...), []byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, index, name []byte) {
		p := &pack{hash: 20, size: 1 << 20}
		if p.parseIndex(index) != nil || len(name) == 0 || len(name) > 20 {
			return
		}
		for i := range min(p.count, 100) {
			if full := p.nameAt(i); len(full) != 20 {
				t.Errorf("a name of %d bytes", len(full))
			}
			if p.offsetAt(i) < 0 {
				t.Errorf("offset %d", p.offsetAt(i))
			}
		}
		if i, ok := p.find(name); ok && !bytes.HasPrefix(p.nameAt(i), name) {
			t.Errorf("found %x for %x", p.nameAt(i), name)
		}
	})
}

func FuzzObjectHeader(f *testing.F) {
	f.Add([]byte{0xbf, 0x81, 0x01})
	f.Add(bytes.Repeat([]byte{0xff}, 20))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, size, n := objectHeader(b); n > len(b) || size < 0 {
			t.Errorf("size %d of %d bytes", size, n)
		}
		if back, n := baseOffset(b); n > len(b) || back < 0 {
			t.Errorf("back %d of %d bytes", back, n)
		}
		if size, n := deltaSize(b); n > len(b) || size < 0 {
			t.Errorf("size %d of %d bytes", size, n)
		}
		if _, size, rest, ok := looseHeader(b); ok && (size < 0 || len(rest) >= len(b)) {
			t.Errorf("loose: size %d, %d bytes follow", size, len(rest))
		}
	})
}

func FuzzCommit(f *testing.F) {
	f.Add([]byte("tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nparent 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a> 1 +0000\ncommitter B <b> 2 +0000\n\nx"))
	f.Add([]byte("tree \nauthor <>> 99999999999999999999"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, ok := parseCommit(b, 20); ok && (c.when < 0 || c.date < 0 || len(c.author) > 200) {
			t.Errorf("%+v", c)
		}
		parseSettings(b)
	})
}

// FuzzTree holds that a tree's entries are the tree, and nothing is read beyond it.
func FuzzTree(f *testing.F) {
	f.Add([]byte("100644 a\x00aaaaaaaaaaaaaaaaaaaa40000 b\x00bbbbbbbbbbbbbbbbbbbb"))
	f.Add([]byte(" \x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var whole []byte
		rest := b
		for {
			e, next, ok := nextEntry(rest, 20)
			if !ok {
				break
			}
			if len(e.object) != 20 || len(e.name) == 0 || compareNames(&e, &e) != 0 {
				t.Errorf("%+v", e)
			}
			_, _ = e.isTree(), e.isFile()
			whole, rest = append(whole, e.raw...), next
		}
		if !bytes.HasPrefix(b, whole) {
			t.Error("the entries are not the tree")
		}
	})
}

func FuzzIndexFile(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00aaaaaaaaaaaaaaaaaaaa"), false)
	f.Add(append([]byte("DIRC\x00\x00\x00\x04\x00\x00\xff\xff"), bytes.Repeat([]byte{0x40}, 300)...), false)
	f.Fuzz(func(t *testing.T, b []byte, long bool) {
		hash, n := 20, 0
		if long {
			hash = 32
		}
		_ = parseIndexFile(b, hash, func(staged) { n++ })
		if n*40 > len(b) {
			t.Errorf("%d entries of %d bytes", n, len(b))
		}
	})
}
