package archive_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/archive"
	"github.com/testudo-sec/testudo/signal"
)

// reader is a scanner that remembers the files it saw.
type reader struct {
	mu   sync.Mutex
	seen []string
	peak uint64
}

func (*reader) Name() string { return "reader" }
func (r *reader) Scan(_ context.Context, f *scan.File, _ scan.Report) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	data := string(f.Data[:min(len(f.Data), 20)])
	if f.Binary {
		data = "binary"
	}
	if len(r.seen)%64 == 0 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		r.peak = max(r.peak, m.HeapAlloc)
	}
	r.seen = append(r.seen, f.Path+"="+data)
	return nil
}

// open scans one file as a user would, and returns what was in it.
func open(t *testing.T, name string, data []byte, set func(c *archive.Config)) ([]string, scan.Stats) {
	t.Helper()
	c := archive.DefaultConfig()
	if set != nil {
		set(&c)
	}
	o, err := archive.New(c)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
		t.Fatal(err)
	}
	r := &reader{}
	stats, err := scan.Run(t.Context(), scan.Options{Root: dir, Scanners: []scan.Scanner{r}, Openers: []scan.Opener{o}, Config: scan.DefaultConfig()}, func(signal.Finding) {})
	if err != nil {
		t.Fatal(err)
	}
	inner := slices.DeleteFunc(r.seen, func(s string) bool { return strings.HasPrefix(s, name+"=") })
	slices.Sort(inner)
	return inner, stats
}

type file struct{ name, text string }

func zipped(files ...file) []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		e, err := w.Create(f.name)
		if err != nil {
			panic(err)
		}
		_, _ = e.Write([]byte(f.text))
	}
	_ = w.Close()
	return b.Bytes()
}

func tarred(format tar.Format, files ...file) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Size: int64(len(f.text)), Mode: 0o600, Format: format, ModTime: time.Unix(1, 0)}); err != nil {
			panic(err)
		}
		_, _ = w.Write([]byte(f.text))
	}
	_ = w.Close()
	return b.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func xzed(data []byte) []byte {
	var b bytes.Buffer
	w, _ := xz.NewWriter(&b)
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func zstded(data []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func bzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	path := require.Program(t, "bzip2", "bzip2")
	c := exec.Command(path, "-c")
	c.Stdin = bytes.NewReader(data)
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFormats(t *testing.T) {
	plain := tarred(tar.FormatUSTAR, file{"a", "A"}, file{"d/b", "B"})
	long := strings.Repeat("long/", 60) + "name"
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"x.zip", zipped(file{"a", "A"}, file{"d/", ""}, file{"d/b", "B"}), "x.zip!/a=A x.zip!/d/b=B"},
		{"no-extension", zipped(file{"a", "A"}), "no-extension!/a=A"},
		{"x.jar", append([]byte("#!/bin/sh\nexec java -jar $0\n"), zipped(file{"a", "A"})...), "x.jar!/a=A"},
		{"x.tar", plain, "x.tar!/a=A x.tar!/d/b=B"},
		{"pax.tar", tarred(tar.FormatPAX, file{long, "A"}), "pax.tar!/" + long + "=A"},
		{"gnu.tar", tarred(tar.FormatGNU, file{long, "A"}), "gnu.tar!/" + long + "=A"},
		{"x.tar.gz", gzipped(plain), "x.tar.gz!/a=A x.tar.gz!/d/b=B"},
		{"x.tgz", gzipped(plain), "x.tgz!/a=A x.tgz!/d/b=B"},
		{"x.tar.xz", xzed(plain), "x.tar.xz!/a=A x.tar.xz!/d/b=B"},
		{"x.tar.zst", zstded(plain), "x.tar.zst!/a=A x.tar.zst!/d/b=B"},
		{"x.tar.bz2", bzipped(t, plain), "x.tar.bz2!/a=A x.tar.bz2!/d/b=B"},
		{"log.txt.gz", gzipped([]byte("line")), "log.txt.gz!/log.txt=line"},
		{"log.xz", xzed([]byte("line")), "log.xz!/log=line"},
		{"two.xz", append(xzed([]byte("one")), append([]byte("\x00\x00\x00\x00"), xzed([]byte("two"))...)...), "two.xz!/two=onetwo"},
		{"two.gz", append(gzipped([]byte("one")), gzipped([]byte("two"))...), "two.gz!/two=onetwo"},
		{"log.zst", zstded([]byte("line")), "log.zst!/log=line"},
		{"log.bz2", bzipped(t, []byte("line")), "log.bz2!/log=line"},
		{"odd", gzipped([]byte("line")), "odd!/odd=line"},
		{"nested.zip", zipped(file{"in.tar", string(plain)}, file{"in.gz", string(gzipped([]byte("line")))}),
			"nested.zip!/in.gz!/in=line nested.zip!/in.gz=binary nested.zip!/in.tar!/a=A nested.zip!/in.tar!/d/b=B nested.zip!/in.tar=binary"},
		{"empty.zip", zipped(), ""},
		{"text", []byte("PK is not an archive, nor is 7z"), ""},
		{"short", []byte("PK"), ""},
		{"ustar", []byte(strings.Repeat("x", 257) + "ustar" + strings.Repeat("x", 300)), ""},
	} {
		got, stats := open(t, c.name, c.data, nil)
		if strings.Join(got, " ") != c.want || len(stats.Skipped) > 0 {
			t.Errorf("%s: %q, skipped %v\nwant %q", c.name, got, stats.Skipped, c.want)
		}
		if opened := c.want != "" || c.name == "empty.zip"; (stats.Opened > 0) != opened {
			t.Errorf("%s: %d opened", c.name, stats.Opened)
		}
	}
}

// TestPrograms holds that what the usual programs write is read.
func TestPrograms(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"a": "A", "d/b": strings.Repeat("B", 100000), "sparse": ""} {
		_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, "in", name)), 0o700)
		if err := os.WriteFile(filepath.Join(dir, "in", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f, _ := os.OpenFile(filepath.Join(dir, "in/sparse"), os.O_WRONLY, 0)
	_, _ = f.WriteAt([]byte("end"), 1<<20)
	_ = f.Close()
	_ = os.Symlink("/etc/passwd", filepath.Join(dir, "in/link"))
	_ = os.Link(filepath.Join(dir, "in/a"), filepath.Join(dir, "in/hard"))
	for name, args := range map[string][]string{
		"gnu.tar":    {"tar", "-C", "in", "--sort=name", "--format=gnu", "-S", "-cf", "gnu.tar", "."},
		"pax.tar":    {"tar", "-C", "in", "--sort=name", "--format=pax", "-S", "-cf", "pax.tar", "."},
		"v7.tar":     {"tar", "-C", "in", "--sort=name", "--format=v7", "-cf", "v7.tar", "."},
		"ustar.txz":  {"tar", "-C", "in", "--sort=name", "--format=ustar", "-cJf", "ustar.txz", "."},
		"threads.xz": {"sh", "-c", "tar -C in --sort=name -cf - . | xz -T2 --block-size=65536 --check=sha256 > threads.xz"},
		"x.zip":      {"sh", "-c", "cd in && zip -qry ../x.zip ."},
		"stream.zip": {"sh", "-c", "cd in && zip -qr - a d hard sparse | cat > ../stream.zip"},
	} {
		for _, p := range []string{args[0], "xz", "zip"} {
			require.Program(t, p, p)
		}
		c := exec.Command(args[0], args[1:]...)
		c.Dir = dir
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		got, stats := open(t, name, data, nil)
		want := fmt.Sprintf("[%[1]s!/a=A %[1]s!/d/b=BBBBBBBBBBBBBBBBBBBB %[1]s!/sparse=binary]", name)
		special := uint64(2)
		if strings.HasSuffix(name, ".zip") {
			want, special = fmt.Sprintf("[%[1]s!/a=A %[1]s!/d/b=BBBBBBBBBBBBBBBBBBBB %[1]s!/hard=A %[1]s!/sparse=binary]", name), 1
		}
		if name == "stream.zip" {
			special = 0 // that program cannot write links to a pipe
		}
		if fmt.Sprint(got) != want || len(stats.Skipped) > 0 || stats.Special != special {
			t.Errorf("%s: %v, special %d, skipped %v", name, got, stats.Special, stats.Skipped)
		}
	}
}

// TestHostile holds that what an archive claims is bounded, said, and only ever a label.
func TestHostile(t *testing.T) {
	var special bytes.Buffer
	w := tar.NewWriter(&special)
	for _, h := range []tar.Header{{Name: "link", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "hard", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"},
		{Name: "dev", Typeflag: tar.TypeBlock, Devmajor: 8}, {Name: "pipe", Typeflag: tar.TypeFifo}, {Name: "link/x", Typeflag: tar.TypeReg, Size: 1}} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
	}
	_, _ = w.Write([]byte("x"))
	_ = w.Close()
	encrypted := zipped(file{"a", "A"})
	encrypted[6] |= 1
	encrypted[bytes.Index(encrypted, []byte("PK\x01\x02"))+8] |= 1
	method := zipped(file{"a", "A"}, file{"b", "B"})
	method[bytes.Index(method, []byte("PK\x01\x02"))+10] = 99
	size := zipped(file{"a", "AAAA"})
	size[bytes.Index(size, []byte("PK\x01\x02"))+24] = 9
	overlap := zipped(file{"a", strings.Repeat("0123456789abcdefghijklmnopq", 40)}, file{"b", strings.Repeat("0123456789abcdefghijklmnopq", 40)}, file{"c", "1"})
	for at := 0; ; { // each entry says that its bytes are nearly the whole archive
		i := bytes.Index(overlap[at:], []byte("PK\x01\x02"))
		if i < 0 {
			break
		}
		at += i + 46
		overlap[at-46+20], overlap[at-46+21] = byte(len(overlap)-60), byte((len(overlap)-60)>>8)
		copy(overlap[at-46+42:], []byte{0, 0, 0, 0})
	}
	whole := gzipped(tarred(tar.FormatUSTAR, file{"a", "A"}, file{"b", strings.Repeat("random 8f3a9c ", 3000)}))
	deep := zipped(file{"end", "end"})
	for range 10 {
		deep = zipped(file{"in.zip", string(deep)})
	}
	same := tarred(tar.FormatUSTAR, file{"a", "1"}, file{"a", "2"}, file{"A", "3"}, file{"./a", "4"})
	for name, c := range map[string]struct {
		data []byte
		set  func(*archive.Config)
		want string // what is in it
		said string
	}{
		"names.zip": {zipped(file{"../../etc/passwd", "1"}, file{"/etc/passwd", "2"}, file{"a\x00b", "3"}, file{"\x1b[2J", "4"}, file{`..\..\x`, "5"}), nil,
			`names.zip!/../../etc/passwd=1 names.zip!/..\..\x=5 names.zip!//etc/passwd=2 names.zip!/\x1b[2J=4 names.zip!/a\x00b=3`, ""},
		"same.tar":      {same, nil, "same.tar!/A=3 same.tar!/a#2=2 same.tar!/a#3=4 same.tar!/a=1", ""},
		"special.tar":   {special.Bytes(), nil, "special.tar!/link/x=x", ""},
		"encrypted.zip": {encrypted, nil, "", "encrypted.zip!/a: encrypted"},
		"method.zip":    {method, nil, "method.zip!/b=B", "method 99"},
		"size.zip":      {size, nil, "size.zip!/a=AAAA", "has not the size that the archive says (9 bytes)"},
		"overlap.zip":   {overlap, nil, "*", "its entries overlap"},
		"cut.tgz":       {whole[:len(whole)*2/3], nil, "*", "unexpected EOF: the rest is not read"},
		"cut.zip":       {zipped(file{"a", "A"})[:40], nil, "", "it has no directory"},
		"x.7z":          {[]byte("7z\xbc\xaf\x27\x1c and more"), nil, "", "a 7z archive, which is not opened"},
		"x.rar":         {[]byte("Rar!\x1a\x07\x01\x00"), nil, "", "a RAR archive, which is not opened"},
		"deep.zip":      {deep, nil, "*", "an archive in 4 others: not opened (max_depth)"},
		"many.zip":      {zipped(file{"a", "1"}, file{"b", "2"}, file{"c", "3"}), func(c *archive.Config) { c.MaxEntries = 2 }, "many.zip!/a=1 many.zip!/b=2", "max_entries is reached"},
		"large.zip":     {zipped(file{"a", strings.Repeat("x", 2000)}, file{"b", "2"}), func(c *archive.Config) { c.MaxEntrySize = 1000 }, "large.zip!/b=2", "large.zip!/a: larger than"},
		"large.gz":      {gzipped(bytes.Repeat([]byte("x"), 2000)), func(c *archive.Config) { c.MaxEntrySize = 1000 }, "", "large.gz!/large: larger than"},
		"layer.zip":     {zipped(file{"layer.tar.gz", string(gzipped(tarred(tar.FormatUSTAR, file{"a", "1"}, file{"b", strings.Repeat("x", 2000)})))}), func(c *archive.Config) { c.MaxEntrySize = 100 }, "layer.zip!/layer.tar.gz!/a=1", "layer.tar.gz!/b: larger than"},
		"broken.gz":     {[]byte("\x1f\x8b\x08\x00garbage garbage"), nil, "", "the rest is not read"},
		"broken.xz":     {[]byte("\xfd7zXZ\x00garbage garbage"), nil, "", "not a whole xz file"},
		"broken.bz2":    {[]byte("BZh91AY&SYgarbage garbage"), nil, "*", "the rest is not read"},
		"broken.zst":    {[]byte("\x28\xb5\x2f\xfdgarbage garbage"), nil, "", "the rest is not read"},
		"memory.xz":     {patchedDictionary(xzed([]byte("line")), 40), nil, "", "MiB of memory"},
	} {
		got, stats := open(t, name, c.data, c.set)
		said := fmt.Sprint(stats.Skipped)
		for _, s := range stats.Skipped {
			said += "\n" + s.Path + ": " + s.Reason
		}
		if c.want != "*" && strings.Join(got, " ") != c.want || !strings.Contains(said, c.said) || (c.said == "") != (len(stats.Skipped) == 0) {
			t.Errorf("%s: %.500q, said %.500s\nwant %q and %q", name, got, said, c.want, c.said)
		}
	}
}

// patchedDictionary makes an xz file ask for another amount of memory.
func patchedDictionary(data []byte, code byte) []byte {
	i := bytes.Index(data, []byte{0x21, 0x01})
	data[i+2] = code
	return data
}

// TestBombs holds that archives which unpack to very much end at the limits, in bounded memory.
func TestBombs(t *testing.T) {
	zeros := bytes.Repeat([]byte{0}, 4<<20)
	small := string(gzipped(zeros))
	var quine []byte // not itself, but what it comes to: archives without end
	for quine = zipped(file{"0", "end"}); len(quine) < 100000; {
		quine = zipped(file{"a.zip", string(quine)}, file{"b.zip", string(quine)}, file{"c.zip", string(quine)}, file{"d.zip", string(quine)})
	}
	var many []file
	for i := range 20 {
		many = append(many, file{fmt.Sprint(i), string(zeros)})
	}
	flat := zipped(many...)
	var layers []file
	for i := range 16 {
		layers = append(layers, file{fmt.Sprint(i, ".gz"), small})
	}
	forty := zipped(layers...)
	var outer []file
	for i := range 16 {
		outer = append(outer, file{fmt.Sprint(i, ".zip"), string(forty)})
	}
	var huge bytes.Buffer // one entry of 10 GB, never whole in the test either
	w := tar.NewWriter(&huge)
	_ = w.WriteHeader(&tar.Header{Name: "huge", Size: 10 << 30, Mode: 0o600})
	_, _ = w.Write(bytes.Repeat([]byte("beginning"), 100))
	limits := func(c *archive.Config) { c.MaxUnpacked = 30 * bytesize.MiB }
	var blocks bytes.Buffer // xz blocks of nothing, each of which asks for 64 MiB
	one := patchedDictionary(xzed([]byte("x")), 28)
	for range 2000 {
		blocks.Write(one)
	}
	for name, c := range map[string]struct {
		data []byte
		set  func(*archive.Config)
		said string
	}{
		"flat.zip":   {flat, limits, "max_"},
		"ratio.zip":  {flat, func(c *archive.Config) { c.MaxRatio = 20 }, "max_ratio is reached"},
		"42.zip":     {zipped(outer...), limits, "max_"},
		"nest.gz":    {gzipped([]byte(gzipped([]byte(gzipped(bytes.Repeat(zeros, 4)))))), limits, "larger than"},
		"quine.zip":  {quine, func(c *archive.Config) { c.MaxDepth = 20; c.MaxEntries = 1000 }, "not opened (max_depth)"},
		"huge.tar":   {huge.Bytes(), nil, "huge larger than"},
		"blocks.xz":  {blocks.Bytes(), nil, "hold nothing and need memory"},
		"sparse.tgz": {gzipped(sparse(t, 2000, 4<<20)), limits, "max_"},
	} {
		runtime.GC()
		var before runtime.MemStats
		runtime.ReadMemStats(&before)
		config := archive.DefaultConfig()
		if c.set != nil {
			c.set(&config)
		}
		o, err := archive.New(config)
		if err != nil {
			t.Fatal(err)
		}
		r := &reader{}
		v := &visitor{}
		f := &scan.File{Path: name, Data: c.data}
		stats, err := scan.Run(t.Context(), scan.Options{Source: v.of(f), Scanners: []scan.Scanner{r}, Openers: []scan.Opener{o}, Config: scan.DefaultConfig()}, func(signal.Finding) {})
		if err != nil {
			t.Fatal(err)
		}
		said := fmt.Sprint(stats.Skipped)
		if !strings.Contains(said, c.said) || stats.Bytes > 100<<20 || stats.Files > 3001 {
			t.Errorf("%s: %d bytes read, said %.500s; want %q", name, stats.Bytes, said, c.said)
		}
		if name == "quine.zip" && stats.TooLarge != 1 {
			t.Errorf("%s: the limit of entries is not said", name)
		}
		if r.peak > before.HeapAlloc && r.peak-before.HeapAlloc > 200<<20 {
			t.Errorf("%s: %d MiB of memory", name, (r.peak-before.HeapAlloc)>>20)
		}
	}
}

// sparse makes a tar archive of n files that are size bytes of nothing, in GNU's old form.
func sparse(t *testing.T, n int, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		h := make([]byte, 512)
		copy(h, fmt.Sprint("sparse", i))
		copy(h[100:], "0000600\x000000000\x000000000\x0000000000000\x0000000000000\x00")
		h[156] = 'S'
		copy(h[257:], "ustar  \x00")
		copy(h[386:], fmt.Sprintf("%011o\x00%011o\x00", size, 0))
		copy(h[483:], fmt.Sprintf("%011o\x00", size))
		copy(h[148:], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h)
	}
	b.Write(make([]byte, 1024))
	return b.Bytes()
}

// visitor gives one file as a source.
type visitor struct{ f *scan.File }

func (v *visitor) of(f *scan.File) scan.Source { v.f = f; return v }
func (v *visitor) Files(ctx context.Context, to scan.Visitor) error {
	to.File(ctx, v.f)
	return nil
}

// TestLargeArchive holds that an archive that is too large to be held is opened where it is.
func TestLargeArchive(t *testing.T) {
	c := scan.DefaultConfig()
	c.MaxFileSize = 1000
	dir := t.TempDir()
	random := make([]byte, 3000)
	for i := range random {
		random[i] = byte(i * i >> 3)
	}
	for name, data := range map[string][]byte{"x.zip": zipped(file{"r", string(random)}, file{"a", "A"}), "x.tar": tarred(tar.FormatUSTAR, file{"r", string(random)}, file{"a", "A"}), "text.zip": bytes.Repeat([]byte("x"), 2000)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o, err := archive.New(archive.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{}
	if _, err := scan.Run(t.Context(), scan.Options{Root: dir, Scanners: []scan.Scanner{r}, Openers: []scan.Opener{o}, Config: c}, nil); err != nil {
		t.Fatal(err)
	}
	slices.Sort(r.seen)
	if len(r.seen) != 4 || r.seen[0] != "x.tar!/a=A" || r.seen[2] != "x.zip!/a=A" {
		t.Errorf("%q", r.seen)
	}
}

// TestHistory holds that what is in an archive of a commit says so.
func TestHistory(t *testing.T) {
	o, err := archive.New(archive.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	f := &scan.File{Path: "x.zip", Data: zipped(file{"in.zip", string(zipped(file{"a", "A"}))}), Commit: "c", Order: 7, Current: true, Layer: "l", Only: scan.ScannersOnly}
	s := o.Open(f)
	if s == nil {
		t.Fatal("not opened")
	}
	n := 0
	check := func(f *scan.File, depth int) {
		n++
		if f.Commit != "c" || f.Order != 7 || !f.Current || f.Layer != "l" || f.Only != scan.ScannersOnly || f.Depth != depth || f.Info.Size() != int64(len(f.Data)) {
			t.Errorf("%+v", f)
		}
	}
	if err := s.Files(t.Context(), fileFunc(func(ctx context.Context, f *scan.File) {
		check(f, 1)
		_ = o.Open(f).Files(ctx, fileFunc(func(_ context.Context, f *scan.File) { check(f, 2) }))
	})); err != nil || n != 2 {
		t.Errorf("%d files, %v", n, err)
	}
	if _, err := archive.New(archive.Config{}); err == nil {
		t.Error("a configuration without limits is accepted")
	}
}

type fileFunc func(ctx context.Context, f *scan.File)

func (fileFunc) Found(int, bool)                            {}
func (fileFunc) Wants(string, fs.FileInfo) bool             { return false }
func (g fileFunc) File(ctx context.Context, f *scan.File)   { g(ctx, f) }
func (fileFunc) Skip(why scan.Skipped, path, reason string) {}
func (fileFunc) Count(scan.Skipped, uint64)                 {}

// FuzzOpen holds that no bytes make opening panic, or give more than the limits allow.
func FuzzOpen(f *testing.F) {
	for _, seed := range [][]byte{zipped(file{"a", "A"}), tarred(tar.FormatPAX, file{"a", "A"}), gzipped([]byte("x")), xzed([]byte("x")), zstded([]byte("x")), []byte("BZh91AY&SY")} {
		f.Add(seed)
	}
	c := archive.DefaultConfig()
	c.MaxUnpacked, c.MaxEntries = bytesize.MiB, 100
	o, err := archive.New(c)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var open func(f *scan.File)
		files, total := 0, 0
		open = func(file *scan.File) {
			if s := o.Open(file); s != nil {
				_ = s.Files(t.Context(), fileFunc(func(_ context.Context, f *scan.File) {
					files++
					total += len(f.Data)
					open(f)
				}))
			}
		}
		open(&scan.File{Path: "x", Data: data})
		if files > 100 || total > 2<<20 {
			t.Errorf("%d files of %d bytes", files, total)
		}
	})
}
