package ledger

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

func damaged(t *testing.T, dir string, opts VerifyOptions) *Damage {
	t.Helper()
	_, err := Verify(dir, opts)
	var d *Damage
	if !errors.As(err, &d) {
		t.Fatalf("not found: %v", err)
	}
	return d
}

func TestEveryByte(t *testing.T) {
	dir := makeLedger(t, 3)
	d := copyLedger(t, dir)
	for _, name := range []string{entriesFile, headsFile} {
		good := read(t, dir, name)
		for i := 0; i < len(good); i += require.Stride(4) {
			for _, flip := range []byte{1, 0x20, 0x80} {
				if flip != 1 && i%5 != 0 {
					continue // every byte once, every fifth in three ways
				}
				bad := bytes.Clone(good)
				bad[i] ^= flip
				write(t, d, name, bad)
				got := damaged(t, d, VerifyOptions{})
				// Every entry has its own head here, so the place is exact.
				line := bytes.Count(good[:i], []byte("\n")) + 1
				switch {
				case name == entriesFile && (got.File != entriesFile || !got.Entries || got.From != uint64(line-1)):
					t.Fatalf("entries byte %d^%#x is in entry %d, reported: %v", i, flip, line-1, got)
				case name == headsFile && (got.File != headsFile || got.Line > line || got.Line < line-(frameLines-1)):
					t.Fatalf("heads byte %d^%#x is in line %d, reported: %v", i, flip, line, got)
				}
				if err := checkByDocument(d); err == nil {
					t.Fatalf("the independent verifier takes %s with byte %d^%#x", name, i, flip)
				}
				// A newline more or less in the damaged place as well.
				for _, b := range [][]byte{append(bytes.Clone(good[:i]), good[i+1:]...), append(append(bytes.Clone(good[:i]), '\n'), good[i:]...)} {
					if flip == 0x80 {
						write(t, d, name, b)
						damaged(t, d, VerifyOptions{})
					}
				}
			}
		}
		write(t, d, name, good)
		if _, err := Verify(d, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTruncation(t *testing.T) {
	dir := makeLedger(t, 5)
	pub := string(read(t, dir, pubFile))
	r, err := Verify(dir, VerifyOptions{PublicKey: pub})
	if err != nil || r.KeyFromDir || r.Heads != 6 || r.Head.Size != 5 || r.Last.Sub(r.First).Seconds() != 6 {
		t.Fatalf("%+v, %v", r, err)
	}
	kept := r.Head.Checkpoint
	entries, heads := read(t, dir, entriesFile), read(t, dir, headsFile)
	frames := bytes.SplitAfter(heads, []byte("\n\n"))

	t.Run("entries", func(t *testing.T) {
		d := copyLedger(t, dir)
		for cut := 0; cut < len(entries); cut += require.Stride(4) {
			write(t, d, entriesFile, entries[:cut])
			if got := damaged(t, d, VerifyOptions{}); got.File != entriesFile {
				t.Fatal(got)
			}
		}
	})
	t.Run("heads", func(t *testing.T) {
		d := copyLedger(t, dir)
		for cut := 0; cut < len(heads); cut += require.Stride(4) {
			write(t, d, headsFile, heads[:cut])
			damaged(t, d, VerifyOptions{})
		}
	})
	t.Run("a head from the middle", func(t *testing.T) {
		d := copyLedger(t, dir)
		write(t, d, headsFile, bytes.Join(append(append([][]byte{}, frames[:4]...), frames[6:]...), nil))
		if got := damaged(t, d, VerifyOptions{}); got.File != headsFile || got.Line != 15 {
			t.Fatal(got)
		}
	})
	t.Run("both", func(t *testing.T) {
		d := copyLedger(t, dir)
		write(t, d, entriesFile, bytes.Join(bytes.SplitAfter(entries, []byte("\n"))[:3], nil))
		write(t, d, headsFile, bytes.Join(frames[:8], nil))
		if r, err := Verify(d, VerifyOptions{}); err != nil || r.Head.Size != 3 {
			t.Fatal(r, err)
		}
		if got := damaged(t, d, VerifyOptions{Against: kept}); got.File != "against" {
			t.Fatal(got)
		}
	})
	t.Run("a file", func(t *testing.T) {
		for _, name := range []string{entriesFile, headsFile} {
			d := copyLedger(t, dir)
			os.Remove(filepath.Join(d, name))
			if got := damaged(t, d, VerifyOptions{}); got.File != name {
				t.Fatal(got)
			}
		}
	})
}

func TestAgainst(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	l := openLog(t, dir, testOptions())
	var kept [][]byte
	for range 70 {
		kept = append(kept, l.Head().Checkpoint)
		appendN(t, l, 1)
	}
	pub := l.PublicKey()
	l.Close()
	for i, k := range kept {
		r, err := Verify(dir, VerifyOptions{PublicKey: pub, Against: k})
		if err != nil || r.Against == nil || r.Against.Size != uint64(i) {
			t.Fatalf("against head %d: %+v, %v", i, r.Against, err)
		}
	}
	// As it survives a mail: without its last newline, with spaces.
	if _, err := Verify(dir, VerifyOptions{Against: append(bytes.TrimSpace(kept[9]), " \r\n\n"...)}); err != nil {
		t.Error(err)
	}

	// The same key, another history.
	anew := copyLedger(t, dir)
	write(t, anew, entriesFile, nil)
	write(t, anew, headsFile, nil)
	opts := testOptions()
	l = openLog(t, anew, opts)
	for i := range 80 {
		e := entry(i)
		e.Actor = "person:mallory"
		if _, err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	if _, err := Verify(anew, VerifyOptions{PublicKey: pub}); err != nil {
		t.Fatal("by itself it is in order:", err)
	}
	for i, k := range kept[1:] {
		if got := damaged(t, anew, VerifyOptions{PublicKey: pub, Against: k}); !strings.Contains(got.What, "written anew") {
			t.Fatalf("against head %d: %v", i+1, got)
		}
	}

	// Another key, of the same name.
	other := makeLedger(t, 80)
	if got := damaged(t, other, VerifyOptions{PublicKey: pub}); got.File != headsFile || got.Line != 1 {
		t.Error(got)
	}
	if got := damaged(t, other, VerifyOptions{Against: kept[5]}); got.File != "against" || !strings.Contains(got.What, "another key") {
		t.Error(got)
	}
	for _, junk := range []string{"x", "example.org/ledger\n5\n", string(kept[3][:100]), strings.Replace(string(kept[3]), "\n3\n", "\n4\n", 1)} {
		damaged(t, dir, VerifyOptions{Against: []byte(junk)})
	}
}

func TestUnsigned(t *testing.T) {
	dir := makeLedger(t, 2)
	entries := read(t, dir, entriesFile)
	for _, tail := range []string{"x", "{}\n", "\n", "\x00"} {
		write(t, dir, entriesFile, append(bytes.Clone(entries), tail...))
		if got := damaged(t, dir, VerifyOptions{}); got.From != 2 || got.File != entriesFile {
			t.Errorf("%q: %v", tail, got)
		}
		if r, err := Verify(dir, VerifyOptions{Live: true}); err != nil || r.Unsigned != int64(len(tail)) {
			t.Errorf("%q live: %+v, %v", tail, r, err)
		}
	}
}

// TestVerifyLive verifies while entries are being appended.
func TestVerifyLive(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	l := openLog(t, dir, testOptions())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			if _, err := l.Append(t.Context(), entry(i)); err != nil {
				t.Error(err)
			}
		}
	}()
	for {
		select {
		case <-done:
			return
		default:
		}
		if _, err := Verify(dir, VerifyOptions{Live: true}); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	dir := makeLedger(f, 3)
	for l := range bytes.Lines(read(f, dir, entriesFile)) {
		f.Add(bytes.TrimSuffix(l, []byte("\n")))
	}
	f.Add([]byte(`{"index":0,"time":"2026-01-01T00:00:00.000000000Z","actor":"a","verb":"v","subject":"\u202e","seal":"AAAAAAAAAAAAAAAAAAAAAA"}`))
	f.Add([]byte(`{"index":0,"index":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, mark, err := parse(b)
		if err != nil {
			return
		}
		rest, err := encode(rec.Entry)
		if err != nil {
			t.Fatal(err)
		}
		if got := appendSeal(body(rec.Index, rest), mark); !bytes.Equal(got, b) {
			t.Fatalf("%q is read, but written as %q", b, got)
		}
		if bytes.ContainsAny(b, "\n\x00\x1b") {
			t.Fatalf("a control character in %q", b)
		}
	})
}

func FuzzEncode(f *testing.F) {
	f.Add("person:ann", "a\nb\xff\u202e", strings.Repeat("日\"\\", 900))
	f.Fuzz(func(t *testing.T, actor, subject, value string) {
		e := Entry{Actor: "x" + actor, Verb: "v", Subject: subject, Detail: map[string]string{"k": value}}
		e.Time = clock()()
		rest, err := encode(e)
		if err != nil {
			t.Fatal(err)
		}
		l := appendSeal(body(3, rest), seal(nil, Hash{}, nil))
		if len(l) > MaxLine {
			t.Fatalf("%d bytes", len(l))
		}
		if _, _, err := parse(l); err != nil {
			t.Fatalf("%q: %v", l, err)
		}
	})
}

// FuzzFiles puts anything in place of the two files: Verify and Open must not
// crash, and Verify must take nothing but the real ones.
func FuzzFiles(f *testing.F) {
	dir := makeLedger(f, 3)
	entries, heads := read(f, dir, entriesFile), read(f, dir, headsFile)
	pub := string(read(f, dir, pubFile))
	f.Add(entries, heads)
	f.Add(entries[:len(entries)-5], heads[:len(heads)-9])
	f.Add([]byte("{}\n"), []byte("a\n1\nx\nhead 0\n\n— a x\n\n"))
	f.Fuzz(func(t *testing.T, e, h []byte) {
		d := copyLedger(t, dir)
		write(t, d, entriesFile, e)
		write(t, d, headsFile, h)
		_, err := Verify(d, VerifyOptions{PublicKey: pub})
		genuine := bytes.HasPrefix(entries, e) && bytes.HasPrefix(heads, h)
		if err == nil && !genuine {
			t.Fatalf("taken: %q %q", e, h)
		}
		if l, err := Open(d, testOptions()); err == nil {
			l.Close()
			if _, err := Verify(d, VerifyOptions{}); err != nil {
				t.Fatalf("opened but not in order: %v", err)
			}
		}
	})
}
