package ledger

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/golden anew, with a new key; then put it into docs/ledger-format.md")

// TestGolden verifies a ledger of the first version, without its private key:
// what was written once must stay verifiable. The format's page shows it.
func TestGolden(t *testing.T) {
	golden := filepath.Join("testdata", "golden")
	if *update {
		dir := filepath.Join(t.TempDir(), "l")
		l := openLog(t, dir, Options{Origin: "testudo/ledger/example", Now: clock()})
		for _, e := range []Entry{
			{Actor: "system", Verb: "node.start", Subject: "node:edge-1"},
			{Actor: "rule:edge.waf-attack", Verb: "block.apply", Subject: "address:203.0.113.9", Detail: map[string]string{"for": "10m", "why": "crs 942100"}},
			{Actor: "person:ann", Verb: "block.undo", Subject: "address:203.0.113.9", Detail: map[string]string{"note": "J\u00fcrgen's office\n\u202e\"\\\xff"}},
		} {
			if _, err := l.Append(t.Context(), e); err != nil {
				t.Fatal(err)
			}
		}
		l.Close()
		if err := os.MkdirAll(golden, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{entriesFile, headsFile, pubFile} {
			if err := os.WriteFile(filepath.Join(golden, name), read(t, dir, name), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := Verify(golden, VerifyOptions{PublicKey: string(read(t, golden, pubFile))})
	if err != nil || r.Head.Size != 3 || r.Heads != 4 {
		t.Fatalf("%+v, %v", r, err)
	}
	if err := checkByDocument(golden); err != nil {
		t.Error(err)
	}
	page := read(t, filepath.Join("..", "..", "docs"), "ledger-format.md")
	line := bytes.Split(read(t, golden, entriesFile), []byte("\n"))[1]
	frame := bytes.Join(bytes.SplitAfter(read(t, golden, headsFile), []byte("\n"))[3*frameLines:], nil)
	for name, want := range map[string][]byte{"entry": line, "head": frame} {
		if !bytes.Contains(page, want) {
			t.Errorf("docs/ledger-format.md does not show this %s:\n%s", name, want)
		}
	}
}

// childFills is the process of TestFullDisk. The kernel refuses what would
// make a file longer than its limit, as a full disk would, after writing what fits.
func childFills(dir string) error {
	signal.Ignore(syscall.SIGXFSZ)
	limit := func(n uint64) error {
		var l syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &l); err != nil {
			return err
		}
		l.Cur = min(n, l.Max)
		return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &l)
	}
	l, err := Open(dir, Options{})
	if err != nil {
		return err
	}
	if err := limit(10_000); err != nil {
		return err
	}
	n, refused := 0, 0
	for refused < 3 {
		if _, err := l.Append(context.Background(), entry(n)); err != nil {
			refused++
			continue
		}
		if n++; n > 1000 {
			return fmt.Errorf("the limit did not bite")
		}
	}
	if got := l.Head().Size; got != uint64(n) {
		return fmt.Errorf("size %d after %d appends", got, n)
	}
	if err := limit(1 << 30); err != nil {
		return err
	}
	if r, err := l.Append(context.Background(), entry(n)); err != nil || r.Index != uint64(n) {
		return fmt.Errorf("with room again: %+v, %w", r, err)
	}
	return l.Close()
}

func TestFullDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	start := time.Now()
	out, err := child("TESTUDO_LEDGER_FULL=" + dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v after %v: %s", err, time.Since(start), out)
	}
	if r, err := Verify(dir, VerifyOptions{}); err != nil || r.Head.Size < 10 {
		t.Fatalf("%+v, %v", r, err)
	}
}
