package intel_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/testudo-sec/testudo/intel"
)

func TestBundle(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	build(t, path, map[string][]*intel.Advisory{"npm": sample(rand.New(rand.NewPCG(3, 3)), "npm", 10)})
	d := open(t, path)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := d.Export(ctx, &b, private, built); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "other")
	if _, err := intel.ImportBundle(ctx, bytes.NewReader(b.Bytes()), to, public, false); err != nil {
		t.Fatal(err)
	}
	got := open(t, to).Info()
	if want := d.Info(); got.Digest != want.Digest {
		t.Errorf("digest %s, want %s", got.Digest, want.Digest)
	}
	before, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	// A byte anywhere: all of the head, and a spread of the rest.
	for at := 0; at < b.Len(); at++ {
		if at > 600 && at%37 != 0 && at < b.Len()-100 {
			continue
		}
		bad := bytes.Clone(b.Bytes())
		bad[at] ^= 1
		if _, err := intel.ImportBundle(ctx, bytes.NewReader(bad), to, public, false); err == nil {
			t.Fatalf("a bundle whose byte %d was changed was taken", at)
		}
	}
	for _, bad := range [][]byte{nil, b.Bytes()[:b.Len()-1], append(bytes.Clone(b.Bytes()), 0)} {
		if _, err := intel.ImportBundle(ctx, bytes.NewReader(bad), to, public, false); err == nil {
			t.Errorf("a bundle of %d bytes was taken", len(bad))
		}
	}
	other, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := intel.ImportBundle(ctx, bytes.NewReader(b.Bytes()), to, other, false); !errors.Is(err, intel.ErrKey) {
		t.Errorf("another key: %v", err)
	}
	if after, err := os.ReadFile(to); err != nil || !bytes.Equal(before, after) {
		t.Error("the database was changed", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".testudo*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDamage changes single bytes: what is read then is an error or right, and Verify finds each of them.
func TestDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	build(t, path, map[string][]*intel.Advisory{"npm": sample(rand.New(rand.NewPCG(4, 4)), "npm", 60)})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(whole); at += 1 + at%23 {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		if exercise(t, bad) {
			t.Fatalf("a change of byte %d of %d was not found", at, len(whole))
		}
	}
	for n := 0; n < len(whole); n += 101 {
		if exercise(t, whole[:n]) {
			t.Fatalf("that %d of %d bytes are left was not found", n, len(whole))
		}
	}
	if !exercise(t, whole) {
		t.Fatal("the whole file is damaged")
	}
}

// exercise calls all that reads the file, and reports whether it opens and verifies.
func exercise(t testing.TB, content []byte) bool {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := intel.Open(path)
	if err != nil {
		return false
	}
	defer d.Close()
	for _, name := range []string{"pkg-0", "pkg-7", "pkg-19", "x"} {
		for _, release := range []string{"", ":12"} {
			for range d.Affecting("npm"+release, name) {
			}
		}
	}
	_, _ = d.Named("CVE-2024-0003")
	for range d.IDs("npm") {
	}
	return d.Verify(context.Background()) == nil
}

func FuzzOpen(f *testing.F) {
	path := filepath.Join(f.TempDir(), "db")
	build(f, path, map[string][]*intel.Advisory{"npm": sample(rand.New(rand.NewPCG(5, 5)), "npm", 40)})
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Fuzz(func(t *testing.T, content []byte) { exercise(t, content) })
}
