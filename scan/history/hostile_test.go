package history_test

import (
	"bytes"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zlib"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/history"
)

// TestNothingRuns holds that no program runs that a repository configures, and that nothing of it is changed.
func TestNothingRuns(t *testing.T) {
	r, want := story(t)
	canary := filepath.Join(t.TempDir(), "canary")
	script := "#!/bin/sh\ntouch " + canary + "\n"
	for _, hook := range []string{"post-index-change", "pre-commit", "post-checkout", "reference-transaction", "fsmonitor"} {
		at := filepath.Join(r.dir, ".git/hooks", hook)
		_ = os.MkdirAll(filepath.Dir(at), 0o700)
		if err := os.WriteFile(at, []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	hook := filepath.Join(r.dir, ".git/hooks/fsmonitor")
	config, _ := os.ReadFile(filepath.Join(r.dir, ".git/config"))
	config = append(config, fmt.Sprintf("[core]\n\tfsmonitor = %s\n\tsshCommand = %s\n\tpager = %s\n\talternateRefsCommand = %s\n[diff \"x\"]\n\ttextconv = %s\n[filter \"x\"]\n\tsmudge = %s\n\tclean = %s\n[include]\n\tpath = /dev/zero\n[uploadpack]\n\tpackObjectsHook = %s\n",
		hook, hook, hook, hook, hook, hook, hook, hook)...)
	r.write(".git/config", string(config))
	r.write(".git/info/attributes", "* filter=x diff=x\n")
	before := listing(t, r.dir)
	if got := collect(t, whole(r.dir)); len(got.seen) != len(want) {
		t.Errorf("%d files, want %d", len(got.seen), len(want))
	}
	collect(t, &history.Staged{Root: r.dir, Config: history.DefaultConfig(), Scan: scan.DefaultConfig()})
	if _, err := os.Stat(canary); err == nil {
		t.Error("a program of the repository ran")
	}
	if after := listing(t, r.dir); !slices.Equal(before, after) {
		t.Error("the repository was changed")
	}
}

func listing(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.Walk(dir, func(name string, info os.FileInfo, err error) error {
		if err == nil {
			out = append(out, fmt.Sprint(name, info.Size(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestOutside holds that no repository elsewhere is read unless it names the folder back, or the user says so.
func TestOutside(t *testing.T) {
	victim := newRepository(t)
	victim.write("private", "private")
	victim.commit("1")
	for name, lure := range map[string]func(dir string){
		".git file": func(dir string) {
			_ = os.WriteFile(filepath.Join(dir, ".git"), []byte("gitdir: "+victim.dir+"/.git\n"), 0o600)
		},
		"commondir": func(dir string) {
			_ = os.MkdirAll(filepath.Join(dir, ".git"), 0o700)
			_ = os.WriteFile(filepath.Join(dir, ".git/HEAD"), []byte("ref: refs/heads/main\n"), 0o600)
			_ = os.WriteFile(filepath.Join(dir, ".git/commondir"), []byte(victim.dir+"/.git\n"), 0o600)
		},
		"linked objects": func(dir string) {
			_ = os.MkdirAll(filepath.Join(dir, ".git/refs/heads"), 0o700)
			_ = os.WriteFile(filepath.Join(dir, ".git/HEAD"), []byte("ref: refs/heads/main\n"), 0o600)
			_ = os.WriteFile(filepath.Join(dir, ".git/refs/heads/main"), []byte(victim.git("rev-parse", "HEAD")+"\n"), 0o600)
			_ = os.Symlink(filepath.Join(victim.dir, ".git/objects"), filepath.Join(dir, ".git/objects"))
		},
		"linked refs and alternates": func(dir string) {
			_ = os.MkdirAll(filepath.Join(dir, ".git/objects/info"), 0o700)
			_ = os.WriteFile(filepath.Join(dir, ".git/HEAD"), []byte("ref: refs/heads/main\n"), 0o600)
			_ = os.Symlink(filepath.Join(victim.dir, ".git/refs"), filepath.Join(dir, ".git/refs"))
			_ = os.WriteFile(filepath.Join(dir, ".git/objects/info/alternates"), []byte(victim.dir+"/.git/objects\n"), 0o600)
		},
	} {
		dir := filepath.Join(t.TempDir(), "lure")
		_ = os.MkdirAll(dir, 0o700)
		lure(dir)
		c := &collector{}
		err := whole(dir).Files(t.Context(), c)
		if len(c.seen) > 0 || err == nil && len(c.skips) == 0 {
			t.Errorf("%s: %v, read %v, said %v", name, err, c.seen, c.skips)
		}
	}
	// A clone that shares objects: named, and read if the user says so.
	r := newRepository(t)
	shared := filepath.Join(filepath.Dir(r.dir), "shared")
	r.in(filepath.Dir(r.dir), "clone", "-q", "--shared", victim.dir, shared)
	c := collect(t, whole(shared))
	if len(c.seen) > 0 || !strings.Contains(fmt.Sprint(c.skips), "outside the repository: not read, unless alternates is set") {
		t.Errorf("%v, %v", c.seen, c.skips)
	}
	h := whole(shared)
	h.Config.Alternates = true
	if got := collect(t, h).paths(); got != "private=private" {
		t.Errorf("with alternates: %q", got)
	}
	if err := whole(t.TempDir()).Files(t.Context(), &collector{}); err == nil || !strings.Contains(err.Error(), "not in a git repository") {
		t.Errorf("%v", err)
	}
}

// TestSubmodule holds that a submodule is a repository of its own, which the one around it does not follow.
func TestSubmodule(t *testing.T) {
	inner := newRepository(t)
	inner.write("inner", "inner")
	inner.commit("1")
	r := newRepository(t)
	r.write("outer", "outer")
	r.commit("1")
	r.git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", inner.dir, "sub")
	r.commit("2")
	c := collect(t, whole(r.dir))
	if got := c.paths(); strings.Contains(got, "inner=") || c.counts[scan.Special] != 1 || len(c.skips) > 0 {
		t.Errorf("%q, %v", got, c.skips)
	}
	if got := collect(t, whole(filepath.Join(r.dir, "sub"))).paths(); got != "inner=inner" {
		t.Errorf("the submodule: %q", got)
	}
}

// TestShallowAndPartial holds that what a clone does not have is counted and not fetched.
func TestShallowAndPartial(t *testing.T) {
	r := newRepository(t)
	r.git("config", "uploadpack.allowFilter", "true")
	r.write("a", "1")
	r.write("b", "b")
	r.commit("1")
	r.write("a", "2")
	r.commit("2")
	parent := filepath.Dir(r.dir)
	r.in(parent, "clone", "-q", "--depth=1", "file://"+r.dir, "shallow")
	c := collect(t, whole(filepath.Join(parent, "shallow")))
	if got := c.paths(); got != "a=2 b=b" || len(c.skips) > 0 {
		t.Errorf("shallow: %q, %v", got, c.skips)
	}
	r.in(parent, "clone", "-q", "--filter=blob:none", "file://"+r.dir, "partial")
	c = collect(t, whole(filepath.Join(parent, "partial")))
	if got := c.paths(); got != "a=2 b=b" || c.counts[scan.Unreadable] != 1 || !strings.Contains(fmt.Sprint(c.skips), "the clone is partial, and nothing is fetched") {
		t.Errorf("partial: %q, %v", got, c.skips)
	}
}

// TestCorrupted holds that damaged objects are named and counted, and the rest is read.
func TestCorrupted(t *testing.T) {
	r := newRepository(t)
	for i := range 20 {
		r.write(fmt.Sprint("f", i), strings.Repeat(fmt.Sprint("text ", i, "\n"), 100))
	}
	r.commit("1")
	loose := r.git("rev-parse", "HEAD:f3")
	at := filepath.Join(r.dir, ".git/objects", loose[:2], loose[2:])
	_ = os.Chmod(at, 0o600)
	for name, damage := range map[string]func(b []byte) []byte{
		"cut":      func(b []byte) []byte { return b[:len(b)/2] },
		"flipped":  func(b []byte) []byte { b[len(b)-2] ^= 1; return b },
		"empty":    func([]byte) []byte { return nil },
		"longer":   func([]byte) []byte { return deflate("blob 3\x00abcdef") },
		"shorter":  func([]byte) []byte { return deflate("blob 9\x00abcdef") },
		"no size":  func([]byte) []byte { return deflate("blob\x00abcdef") },
		"negative": func([]byte) []byte { return deflate("blob -3\x00abcdef") },
		"huge":     func([]byte) []byte { return deflate("blob 9223372036854775807\x00abcdef") },
		"a tree":   func([]byte) []byte { return deflate("tree 6\x00abcdef") },
	} {
		whole1, _ := os.ReadFile(at)
		_ = os.WriteFile(at, damage(slices.Clone(whole1)), 0o600)
		c := collect(t, whole(r.dir))
		if len(c.seen) != 19 || len(c.skips) != 1 || !strings.Contains(c.skips[0], "f3: object "+loose) {
			t.Errorf("%s: %d files, %v", name, len(c.seen), c.skips)
		}
		_ = os.WriteFile(at, whole1, 0o600)
	}
	r.git("repack", "-adfq")
	packs, _ := filepath.Glob(filepath.Join(r.dir, ".git/objects/pack/*.pack"))
	_ = os.Chmod(packs[0], 0o600)
	content, _ := os.ReadFile(packs[0])
	for i := 0; i < len(content)-20; i += 5 { // whatever is damaged, the reading ends and something is said
		damaged := slices.Clone(content)
		damaged[i] ^= 0x55
		_ = os.WriteFile(packs[0], damaged, 0o600)
		c := &collector{}
		if err := whole(r.dir).Files(t.Context(), c); err == nil && len(c.seen) < 20 && len(c.skips) == 0 {
			t.Errorf("byte %d: %d files and nothing said", i, len(c.seen))
		}
	}
	_ = os.WriteFile(packs[0], content[:len(content)/2], 0o600)
	if c := collect(t, whole(r.dir)); len(c.skips) == 0 {
		t.Error("half a pack, and nothing said")
	}
	_ = os.WriteFile(packs[0], content, 0o600)
	index := strings.TrimSuffix(packs[0], ".pack") + ".idx"
	_ = os.Chmod(index, 0o600)
	names, _ := os.ReadFile(index)
	for i := 0; i < len(names); i += 11 {
		damaged := slices.Clone(names)
		damaged[i] ^= 0x55
		_ = os.WriteFile(index, damaged, 0o600)
		_ = whole(r.dir).Files(t.Context(), &collector{})
	}
}

func deflate(text string) []byte {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write([]byte(text))
	_ = z.Close()
	return b.Bytes()
}

// packed is an object for a pack of a test's own. Its name is what the test says, not its hash.
type packed struct {
	name  byte   // 20 of them
	kind  byte   // as in packs
	text  string // or the delta
	base  byte   // name of the base, for deltas
	claim int    // size that the header says, if not 0
}

func name(b byte) []byte { return bytes.Repeat([]byte{b}, 20) }

// writePack makes a repository of one pack, with HEAD at the object c1 c1 ….
func writePack(t *testing.T, objects []packed) string {
	t.Helper()
	slices.SortFunc(objects, func(a, b packed) int { return int(a.name) - int(b.name) })
	pack := append([]byte("PACK\x00\x00\x00\x02"), binary.BigEndian.AppendUint32(nil, uint32(len(objects)))...)
	var offsets []uint32
	for _, o := range objects {
		offsets = append(offsets, uint32(len(pack)))
		size := len(o.text)
		if o.claim != 0 {
			size = o.claim
		}
		head := []byte{o.kind<<4 | byte(size&15)}
		for size >>= 4; size > 0; size >>= 7 {
			head[len(head)-1] |= 0x80
			head = append(head, byte(size&0x7f))
		}
		pack = append(pack, head...)
		if o.kind == 7 {
			pack = append(pack, name(o.base)...)
		}
		pack = append(pack, deflate(o.text)...)
	}
	sum := sha1.Sum(pack)
	pack = append(pack, sum[:]...)
	index := []byte("\xfftOc\x00\x00\x00\x02")
	n := 0
	for b := range 256 {
		for n < len(objects) && int(objects[n].name) <= b {
			n++
		}
		index = binary.BigEndian.AppendUint32(index, uint32(n))
	}
	for _, o := range objects {
		index = append(index, name(o.name)...)
	}
	for range objects {
		index = binary.BigEndian.AppendUint32(index, crc32.ChecksumIEEE(nil))
	}
	for _, o := range offsets {
		index = binary.BigEndian.AppendUint32(index, o)
	}
	index = append(append(index, sum[:]...), sum[:]...)
	dir := t.TempDir()
	for at, content := range map[string]string{"HEAD": hex.EncodeToString(name(0xc1)) + "\n", "refs/heads/x": hex.EncodeToString(name(0xc1)) + "\n",
		"objects/pack/pack-1.pack": string(pack), "objects/pack/pack-1.idx": string(index)} {
		_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, at)), 0o700)
		if err := os.WriteFile(filepath.Join(dir, at), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func commitText(tree byte, parents ...byte) string {
	s := "tree " + hex.EncodeToString(name(tree)) + "\n"
	for _, p := range parents {
		s += "parent " + hex.EncodeToString(name(p)) + "\n"
	}
	return s + "author \x1b[31mEve\x1b[0m <e@example.com> 99999999999999999 +0000\ncommitter Eve <e@example.com> -5 +0000\n\nx"
}

func treeText(entries ...any) string {
	var s string
	for i := 0; i < len(entries); i += 3 {
		s += fmt.Sprintf("%s %s\x00%s", entries[i], entries[i+1], name(byte(entries[i+2].(int))))
	}
	return s
}

func varint(n int) string {
	var b []byte
	for ; n > 0x7f; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return string(append(b, byte(n)))
}

// TestHostilePacks holds that packs whose names are no hashes, so that anything can lead to anything, cost a bounded time.
func TestHostilePacks(t *testing.T) {
	const blob, tree, commit, refDelta = 3, 2, 1, 7
	one := packed{name: 0xc1, kind: commit, text: commitText(0x71)}
	bombs := []packed{one, {name: 1, kind: blob, text: strings.Repeat("a", 1<<16)}}
	var many []any
	for i := 2; i < 100; i++ { // each 64 times what it rests on, up to the limit, and then the same again
		before := min(1<<16<<(6*(i-2)), 1<<25)
		if i > 3 {
			before = 1 << 25
		}
		after := min(before<<6, 1<<25)
		delta := varint(before) + varint(after)
		for n := 0; n < after; n += 1 << 16 {
			delta += "\xb0\x00\x00"[:1] + "\x00\x00"
		}
		bombs = append(bombs, packed{name: byte(i), kind: refDelta, base: byte(i - 1), text: delta})
		many = append(many, "100644", fmt.Sprint("f", i), i)
	}
	bombs = append(bombs, packed{name: 0x71, kind: tree, text: treeText(many...)})
	var wide []any
	for i := range 50 {
		wide = append(wide, "40000", fmt.Sprintf("d%02d", i), 0x72)
	}
	deep := []packed{one, {name: 0x71, kind: tree, text: treeText(wide...)}}
	for i := 0x72; i < 0xb0; i++ { // 50^62 paths
		var next []any
		for k := range 50 {
			next = append(next, "40000", fmt.Sprintf("d%02d", k), i+1)
		}
		deep = append(deep, packed{name: byte(i), kind: tree, text: treeText(next...)})
	}
	deep = append(deep, packed{name: 0xb0, kind: tree, text: treeText("100644", "end", 1)}, packed{name: 1, kind: blob, text: "end"})
	for what, c := range map[string]struct {
		objects []packed
		files   int
		said    string
	}{
		"tree in itself":        {[]packed{one, {name: 0x71, kind: tree, text: treeText("100644", "a", 1, "40000", "self", 0x71)}, {name: 1, kind: blob, text: "a"}}, 1, ""},
		"commit of itself":      {[]packed{{name: 0xc1, kind: commit, text: commitText(0x71, 0xc1)}, {name: 0x71, kind: tree}}, 0, "1 commits are their own ancestors"},
		"commits in a circle":   {[]packed{{name: 0xc1, kind: commit, text: commitText(0x71, 0xc2)}, {name: 0xc2, kind: commit, text: commitText(0x71, 0xc1)}, {name: 0x71, kind: tree}}, 0, "2 commits"},
		"deltas in a circle":    {[]packed{one, {name: 0x71, kind: refDelta, base: 0x72, text: "\x01\x01\x01a"}, {name: 0x72, kind: refDelta, base: 0x71, text: "\x01\x01\x01a"}}, 0, "too many deltas"},
		"delta of itself":       {[]packed{one, {name: 0x71, kind: refDelta, base: 0x71, text: "\x01\x01\x01a"}}, 0, "too many deltas"},
		"delta without base":    {[]packed{one, {name: 0x71, kind: refDelta, base: 0x99, text: "\x01\x01\x01a"}}, 0, "not in the repository"},
		"unknown type":          {[]packed{one, {name: 0x71, kind: 5}}, 0, "type 5"},
		"type 0":                {[]packed{one, {name: 0x71, kind: 0}}, 0, "type 0"},
		"claims to be huge":     {[]packed{one, {name: 0x71, kind: tree, text: "x", claim: 1 << 40}}, 0, "larger than the limit"},
		"claims to be longer":   {[]packed{one, {name: 0x71, kind: tree, text: "x", claim: 1000}}, 0, "corrupted"},
		"tree that is a file":   {[]packed{one, {name: 0x71, kind: blob, text: "x"}}, 0, "not a tree"},
		"file that is a tree":   {[]packed{one, {name: 0x71, kind: tree, text: treeText("100644", "a", 0x71)}}, 0, "not a file"},
		"tree that is cut":      {[]packed{one, {name: 0x71, kind: tree, text: treeText("100644", "a", 1) + "100644 b\x00short"}, {name: 1, kind: blob, text: "a"}}, 1, "corrupted"},
		"hostile names":         {[]packed{one, {name: 0x71, kind: tree, text: treeText("100644", "../../etc/passwd", 1, "100644", "\x1b[2J", 2, "40000", "..", 0x72)}, {name: 1, kind: blob, text: "1"}, {name: 2, kind: blob, text: "2"}, {name: 0x72, kind: tree, text: treeText("100644", ".git", 3)}, {name: 3, kind: blob, text: "3"}}, 3, ""},
		"more paths than atoms": {deep, 1, ""},
		"delta bomb":            {bombs, 0, "max_unpacked"},
		"tag of a tree":         {[]packed{{name: 0xc1, kind: 4, text: "object " + hex.EncodeToString(name(0x71)) + "\ntype tree\n"}, {name: 0x71, kind: tree}}, 0, ""},
	} {
		dir := writePack(t, c.objects)
		h := whole(dir)
		h.Config.MaxUnpacked = 256 * bytesize.MiB
		h.Scan.MaxFileSize = 32 * bytesize.MiB
		got := &collector{discard: what == "delta bomb"}
		if err := h.Files(t.Context(), got); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if len(got.seen) != c.files || !strings.Contains(strings.Join(got.skips, "\n"), c.said) || c.said == "" && len(got.skips) > 0 {
			t.Errorf("%s: %d files, said %v; want %d and %q", what, len(got.seen), got.skips, c.files, c.said)
		}
		for _, s := range got.seen {
			if s.Author != `\x1b[31mEve\x1b[0m, 9999-12-31` {
				t.Errorf("%s: author %q", what, s.Author)
			}
		}
		snapshot := &history.Snapshot{Root: dir, Config: h.Config, Scan: h.Scan}
		snapshot.Config.MaxFiles = 10000
		_ = snapshot.Files(t.Context(), &collector{discard: true})
	}
}
