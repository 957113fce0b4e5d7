package fim

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/kernel"
)

// file is a regular file of a test.
func file(path, content string, mode uint32) kernel.File {
	return kernel.File{Path: kernel.FilePath(path), Exists: true, Mode: typeFile | mode, Size: int64(len(content)), SHA256: Digest([]byte(content))}
}

func sample() *Baseline {
	return &Baseline{Host: "a host", Taken: time.Date(2026, 11, 22, 17, 0, 0, 0, time.UTC), Roots: []string{"/etc", "/opt/a b"}, Files: []kernel.File{
		{Path: "/etc", Exists: true, Mode: typeFolder | 0o755},
		file("/etc/a", "x", 0o644),
		file("/etc/a/b", "y", 0o600), // a folder's content stands behind it, before what has its name in front
		file("/etc/a-b", "z", 0o4755),
		{Path: "/etc/evil\n\t\x1b[2J%41 \xff", Exists: true, Mode: typeLink | 0o777, Target: "../-"},
		{Path: "/etc/l", Exists: true, Mode: typeLink | 0o777, Target: "-"},
		{Path: "/etc/m", Exists: true, Mode: typeFile, Size: -1, Modified: -5, UID: 1<<32 - 1, Unread: "permission denied", Package: "p 1", Altered: true},
	}}
}

// A baseline reads back as what it was, names of any bytes included, and is the same text every time.
func TestBaselineText(t *testing.T) {
	b := sample()
	text := b.Text()
	if !bytes.Equal(text, sample().Text()) {
		t.Error("two texts of the same files differ")
	}
	for i, c := range text {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f {
			t.Fatalf("byte %d is %#x", i, c)
		}
	}
	got, err := ParseBaseline(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b, got); d != "" {
		t.Error(d)
	}
}

func TestParseBaselineRefuses(t *testing.T) {
	whole := string(sample().Text())
	for name, c := range map[string]struct{ text, want string }{
		"empty":        {"", "line 1"},
		"another file": {"root:x:0:0\n", "no"},
		"cut":          {whole[:len(whole)-80], "columns"},
		"a line less":  {strings.Join(strings.SplitAfter(whole, "\n")[:9], ""), "ends early"},
		"more":         {whole + "/z\t0\t0\t0\t0\t0\t-\t-\t-\t-\t-\n", "more than the 7 files"},
		"order":        {strings.Replace(whole, "/etc/l\t", "/etc/zz\t", 1), "out of order"},
		"twice":        {strings.Replace(whole, "/etc/l\t", "/etc/m\t", 1), "out of order"},
		"count":        {strings.Replace(whole, "files 7", "files 99999999", 1), "up to"},
		"escape":       {strings.Replace(whole, "%0A", "%0a", 1), "capitals"},
		"zero byte":    {strings.Replace(whole, "%0A", "%00", 1), "zero byte"},
	} {
		if _, err := ParseBaseline([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q in it", name, err, c.want)
		}
	}
}

func FuzzParseBaseline(f *testing.F) {
	f.Add(sample().Text())
	f.Add([]byte(baselineHead + "\nhost a\ntaken 2026-11-22T17:00:00Z\nroots /etc\nfull false\nfiles 0\n" + baselineColumns + "\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		b, err := ParseBaseline(text)
		if err != nil {
			return
		}
		again, err := ParseBaseline(b.Text())
		if err != nil {
			t.Fatalf("what was read is written as what cannot be read: %v", err)
		}
		if d := cmp.Diff(b, again); d != "" {
			t.Fatal(d)
		}
	})
}

func FuzzFilePath(f *testing.F) {
	for _, s := range []string{"", "/etc/passwd", "/a b", "/%", "\xff\xfe", "\u202egnp", "/ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) {
			return
		}
		text := kernel.FilePath(s).String()
		if strings.ContainsAny(text, "\n\t\x1b \u202e") {
			t.Fatalf("%q is not for a terminal", text)
		}
		var back kernel.FilePath
		if err := back.UnmarshalText([]byte(text)); err != nil || string(back) != s {
			t.Fatalf("%q became %q: %v", s, back, err)
		}
	})
}

func TestDiff(t *testing.T) {
	link := func(target string) kernel.File {
		return kernel.File{Path: "/l", Exists: true, Mode: typeLink | 0o777, Target: kernel.FilePath(target)}
	}
	with := func(f kernel.File, change func(*kernel.File)) kernel.File { change(&f); return f }
	was := file("/f", "x", 0o644)
	for name, c := range map[string]struct {
		before, after kernel.File
		want          string
	}{
		"same":                 {was, was, ""},
		"touched":              {was, with(was, func(f *kernel.File) { f.Modified = 9; f.Changed = 9; f.Inode = 4 }), ""},
		"content":              {was, with(file("/f", "y", 0o644), func(f *kernel.File) {}), "content"},
		"setuid":               {was, file("/f", "x", 0o4644), "mode"},
		"content and mode":     {was, file("/f", "y", 0o755), "content, mode"},
		"user":                 {was, with(was, func(f *kernel.File) { f.UID = 1 }), "owner"},
		"group":                {was, with(was, func(f *kernel.File) { f.GID = 1 }), "owner"},
		"became a link":        {was, with(link("/x"), func(f *kernel.File) { f.Path = "/f" }), "type"},
		"target":               {link("/a"), link("/b"), "target"},
		"owner of a link":      {link("/a"), with(link("/a"), func(f *kernel.File) { f.UID = 7 }), ""},
		"unread, other size":   {with(was, func(f *kernel.File) { f.SHA256 = "" }), with(was, func(f *kernel.File) { f.SHA256 = ""; f.Size = 9 }), "content"},
		"unread, as it was":    {with(was, func(f *kernel.File) { f.SHA256 = "" }), with(was, func(f *kernel.File) { f.SHA256 = "" }), ""},
		"no digest any more":   {was, with(was, func(f *kernel.File) { f.SHA256 = ""; f.Modified = 5 }), "content"},
		"altered in its books": {was, with(was, func(f *kernel.File) { f.Altered = true }), ""},
	} {
		got := Diff([]kernel.File{c.before}, []kernel.File{c.after})
		text := ""
		if len(got) == 1 {
			text = got[0].String()
		}
		if len(got) > 1 || text != c.want {
			t.Errorf("%s: %q, want %q", name, text, c.want)
		}
	}
	before := []kernel.File{file("/a", "", 0), file("/a/b", "", 0), file("/a-b", "", 0)}
	after := []kernel.File{file("/a", "", 0), file("/a-b", "", 0), file("/c", "", 0)}
	var got []string
	for _, c := range Diff(before, after) {
		got = append(got, c.Path.String()+" "+c.String())
	}
	if d := cmp.Diff([]string{"/a/b removed", "/c created"}, got); d != "" {
		t.Error(d)
	}
}

// ledgerOf is a ledger in memory.
type ledgerOf struct {
	entries []map[string]string
	subject []string
	fail    error
}

func (l *ledgerOf) Record(_ context.Context, actor, verb, subject string, detail map[string]string) error {
	if l.fail != nil {
		return l.fail
	}
	if verb != Verb {
		return errors.New("another verb")
	}
	d := map[string]string{"actor": actor}
	for k, v := range detail {
		d[k] = v
	}
	l.entries, l.subject = append(l.entries, d), append(l.subject, subject)
	return nil
}

func (l *ledgerOf) Newest(context.Context, string) (string, bool, error) {
	if len(l.subject) == 0 {
		return "", false, l.fail
	}
	return l.subject[len(l.subject)-1], true, l.fail
}

// A baseline that is not the one in the ledger is refused, whoever made it and however.
func TestLoadRefusesWhatWasNotSigned(t *testing.T) {
	ctx := t.Context()
	name := filepath.Join(t.TempDir(), "b")
	book := &ledgerOf{}
	if _, _, err := load(ctx, name, book); !errors.Is(err, ErrNone) {
		t.Fatalf("%v, want ErrNone", err)
	}
	old := sample()
	if _, err := keep(ctx, old, name, book, "uid:0", nil); err != nil {
		t.Fatal(err)
	}
	oldText := old.Text()
	next := sample()
	next.Put(file("/etc/n", "new", 0o644))
	digest, err := keep(ctx, next, name, book, "uid:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, d, err := load(ctx, name, book); err != nil || d != digest || len(got.Files) != 8 {
		t.Fatalf("%v %v", d, err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, want a file for its owner alone", info.Mode())
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for what, text := range map[string][]byte{
		"one byte":       bytes.Replace(next.Text(), []byte("100644"), []byte("104755"), 1),
		"one before it":  oldText,
		"empty":          {},
		"a line at last": append(next.Text(), '\n'),
	} {
		write(text)
		if _, _, err := load(ctx, name, book); err == nil || !strings.Contains(err.Error(), "was edited") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(ctx, name, book); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("gone: %v", err)
	}
	write(next.Text())
	if _, _, err := load(ctx, name, &ledgerOf{}); err == nil || !strings.Contains(err.Error(), "in no entry of the ledger") {
		t.Errorf("without a ledger: %v", err)
	}
}

// Between the ledger and the file's name testudo may be killed; and what cannot be signed is no baseline.
func TestKeepIsWholeOrNot(t *testing.T) {
	ctx := t.Context()
	name := filepath.Join(t.TempDir(), "b")
	book := &ledgerOf{}
	if _, err := keep(ctx, sample(), name, book, "uid:0", nil); err != nil {
		t.Fatal(err)
	}
	next := sample()
	next.Put(file("/etc/n", "new", 0o644))
	book.fail = errors.New("disk full")
	if _, err := keep(ctx, next, name, book, "uid:0", nil); err == nil || !strings.Contains(err.Error(), "could not be signed") {
		t.Fatalf("%v", err)
	}
	book.fail = nil
	if got, _, err := load(ctx, name, book); err != nil || len(got.Files) != 7 {
		t.Fatalf("after a failed one: %v", err)
	}
	// Killed after the entry was signed: the file waits beside.
	book.subject = append(book.subject, Digest(next.Text()))
	if got, _, err := load(ctx, name, book); err != nil || len(got.Files) != 8 {
		t.Fatalf("after a kill: %v", err)
	}
	if _, err := os.Stat(name + nextSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the next one is still there: %v", err)
	}
}

func TestConfig(t *testing.T) {
	d := Default()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/etc": true, "/etc/passwd": true, "/etcetera": false, "/etc/mtab": false, "/etc/x/.passwd.swp": false, "/etc/x.swp": false, "/etc/../root/x": false, "etc/x": false,
		"/etc/a~": false, "/etc/a~/b": false, "/usr/bin/ls": true, "/usr/lib/x": false, "/": false, "": false, "/etc/": false, "/etc//x": false,
	} {
		if got := d.Covers(path); got != want {
			t.Errorf("Covers(%q) = %v", path, got)
		}
	}
	for want, change := range map[string]func(*Config){
		"cannot be watched": func(c *Config) { c.Paths = []string{"/"} },
		"/proc/sys":         func(c *Config) { c.Paths = []string{"/proc/sys"} },
		"absolute":          func(c *Config) { c.Paths = []string{"/etc/"} },
		"without . or ..":   func(c *Config) { c.Paths = []string{"/etc/../root"} },
		"at least one":      func(c *Config) { c.Paths = nil },
		"no pattern":        func(c *Config) { c.Exclude = []string{"["} },
		"max_files":         func(c *Config) { c.MaxFiles = 0 },
		"max_size":          func(c *Config) { c.MaxSize = 1 },
		"rescan":            func(c *Config) { c.Rescan = time.Second },
		"settle":            func(c *Config) { c.Settle = 0 },
		"pending":           func(c *Config) { c.Pending = 1 },
	} {
		c := Default()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}
