package image

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// TestCacheTrustsNoOne holds that what was changed, swapped, cut or put into the folder by somebody else counts as missing.
func TestCacheTrustsNoOne(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, bytesize.MiB)
	name := func(key ...string) string { return filepath.Join(dir, fileOf(key)) }
	fill := func() {
		c.put([]byte("one"), "a", "b")
		c.put([]byte("two"), "ab", "")
	}
	fill()
	if string(c.get("a", "b")) != "one" || string(c.get("ab", "")) != "two" || c.get("a", "c") != nil {
		t.Fatal("a record is not what was put")
	}
	for what, harm := range map[string]func(){
		"a changed byte": func() { flip(t, name("a", "b"), -1) },
		"a changed mark": func() { flip(t, name("a", "b"), 0) },
		"cut":            func() { os.Truncate(name("a", "b"), 40) },
		"empty":          func() { os.Truncate(name("a", "b"), 0) },
		"another record": func() { data, _ := os.ReadFile(name("ab", "")); write(t, name("a", "b"), data) },
		"a link":         func() { os.Remove(name("a", "b")); os.Symlink(name("ab", ""), name("a", "b")) },
		"a pipe":         func() { os.Remove(name("a", "b")); mkfifo(t, name("a", "b")) },
		"a folder":       func() { os.Remove(name("a", "b")); os.Mkdir(name("a", "b"), 0o700) },
	} {
		harm()
		if got := c.get("a", "b"); got != nil {
			t.Errorf("%s: %q", what, got)
		}
		os.Remove(name("a", "b"))
		fill()
	}
	other := openCache(t, t.TempDir(), bytesize.MiB) // another key
	data, _ := os.ReadFile(name("a", "b"))
	if err := other.root.WriteFile(fileOf([]string{"a", "b"}), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if other.get("a", "b") != nil {
		t.Error("a record of another folder was taken")
	}
	again := openCache(t, dir, bytesize.MiB)
	if string(again.get("a", "b")) != "one" {
		t.Error("a record does not outlive the process")
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCache(dir, bytesize.MiB); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others may enter: %v", err)
	}
	var none *Cache
	none.put(nil, "x")
	if none.get("x") != nil {
		t.Error("no cache has a record")
	}
}

func flip(t *testing.T, name string, at int) {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[(at+len(data))%len(data)] ^= 1
	write(t, name, data)
}

// TestCacheIsBounded holds that the longest unused records go first, and what killed processes left behind.
func TestCacheIsBounded(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, dir, 10*1100)
	noise := func(n int) []byte {
		var b []byte
		for k := range 32 {
			b = append(b, fileOf([]string{fmt.Sprint(n, k)})[:32]...)
		}
		return b
	}
	left := filepath.Join(dir, "new-LEFT")
	write(t, left, nil)
	old := time.Now().Add(-3 * time.Hour)
	if err := os.Chtimes(left, old, old); err != nil {
		t.Fatal(err)
	}
	for n := range 40 {
		c.put(noise(n), fmt.Sprint(n))
		at := time.Now().Add(time.Duration(n-100) * time.Minute)
		os.Chtimes(filepath.Join(dir, fileOf([]string{fmt.Sprint(n)})), at, at)
		if n > 0 && !bytes.Equal(c.get("0"), noise(0)) { // used again and again
			t.Fatalf("the one in use went at %d", n)
		}
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) < 5 || len(entries) > 20 {
		t.Errorf("%d files", len(entries))
	}
	if _, err := os.Lstat(left); err == nil {
		t.Error("what a killed process left is still there")
	}
	if c.get("1") != nil || c.get("39") == nil {
		t.Error("not the longest unused went")
	}
}

// TestCacheTogether holds that several may open and use a folder at once.
func TestCacheTogether(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			c, err := OpenCache(dir, bytesize.MiB)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			for k := range 20 {
				c.put(fmt.Append(nil, k), "x", fmt.Sprint(k))
				if got := c.get("x", fmt.Sprint(k)); string(got) != fmt.Sprint(k) {
					t.Errorf("%d: %q", n, got)
				}
			}
		})
	}
	all.Wait()
}

func sampleContent() *content {
	return &content{
		index: &index{unpacked: 5, keep: map[string][]byte{"etc/os-release": []byte("ID=x")}, entries: []entry{
			{path: "a", kind: folder, mode: os.ModeDir | 0o755}, {path: "a/b", size: 7, mode: 0o4755}, {path: "a/link", link: "../\xff", kind: symlink}, {path: "b", kind: whiteout}}},
		found:  results{"a/\xffb": {Findings: []scan.Judged{{By: "secret", Confidence: scan.High, Finding: signal.Finding{ID: "x", Rule: "r"}}}, Skips: []scan.LeftOut{{Why: scan.TooLarge, Count: 2}}}},
		counts: scan.Counts{Files: 3},
	}
}

// FuzzRecord holds that decoding gives back what was encoded, and that anything else does no harm.
func FuzzRecord(f *testing.F) {
	good, err := sampleContent().encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)/2])
	f.Add([]byte{})
	f.Add([]byte{0, 255, 255, 255, 255, 255, 255, 255, 255, 1})
	compare := cmp.AllowUnexported(content{}, index{}, entry{})
	back, err := decodeContent(good)
	if err != nil {
		f.Fatal(err)
	}
	if diff := cmp.Diff(sampleContent(), back, compare); diff != "" {
		f.Fatal(diff)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := decodeContent(data)
		if err != nil {
			return
		}
		again, err := c.encode()
		if err != nil {
			return
		}
		if d, err := decodeContent(again); err != nil || cmp.Diff(c, d, compare, cmpopts.EquateEmpty()) != "" {
			t.Errorf("%v %s", err, cmp.Diff(c, d, compare, cmpopts.EquateEmpty()))
		}
	})
}
