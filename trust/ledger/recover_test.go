package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
)

// childAppends is the process that TestKill kills: it appends from several
// goroutines and prints each receipt once it has it.
func childAppends(dir string) {
	l, err := Open(dir, Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				r, err := l.Append(context.Background(), Entry{Actor: "system", Verb: "test", Subject: fmt.Sprint(w, "/", i)})
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				mu.Lock()
				fmt.Printf("%d %s\n", r.Index, r.Hash)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// child is this test binary as a process of its own.
func child(env string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), env)
	return cmd
}

func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "l")
	acked := map[uint64]string{}
	var kept []byte // a head kept elsewhere, of some earlier round
	for round := range 20 {
		cmd := child("TESTUDO_LEDGER_CHILD=" + dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		wait := time.Duration(rand.IntN(30)) * time.Millisecond
		var once sync.Once
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			n, hash, _ := strings.Cut(scan.Text(), " ")
			i, err := strconv.ParseUint(n, 10, 64)
			if err != nil {
				t.Fatal(scan.Text())
			}
			acked[i] = hash
			once.Do(func() { time.AfterFunc(wait, func() { cmd.Process.Kill() }) })
		}
		cmd.Wait()

		l, err := Open(dir, Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		size := l.Head().Size
		got := map[uint64]string{}
		for from := uint64(0); from < size; {
			recs, err := l.Entries(t.Context(), from, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range recs {
				got[r.Index] = r.Hash.String()
			}
			from += uint64(len(recs))
		}
		for i, h := range acked {
			if got[i] != h {
				t.Fatalf("round %d: acknowledged entry %d is %q, was %q", round, i, got[i], h)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Verify(dir, VerifyOptions{Against: kept}); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		kept = l.Head().Checkpoint
	}
	if len(acked) == 0 {
		t.Fatal("no append was acknowledged")
	}
}

// TestTornEverywhere cuts the last write of a ledger at every byte, as a kill
// could, and opens what is left.
func TestTornEverywhere(t *testing.T) {
	dir := makeLedger(t, 3)
	entries, heads := read(t, dir, entriesFile), read(t, dir, headsFile)
	lastEntry := bytes.LastIndexByte(entries[:len(entries)-1], '\n') + 1
	lastHead := bytes.LastIndex(heads[:len(heads)-2], []byte("\n\nexample.org")) + 2

	try := func(t *testing.T, e, h []byte, adopted int, cutEntry, cutHead []byte) {
		t.Helper()
		d := copyLedger(t, dir)
		write(t, d, entriesFile, e)
		write(t, d, headsFile, h)
		l, err := Open(d, testOptions())
		if err != nil {
			t.Fatal(err)
		}
		r := l.Recovered()
		if r.Adopted != adopted || !bytes.Equal(r.CutEntry, cutEntry) || !bytes.Equal(r.CutHead, cutHead) {
			t.Fatalf("recovered %+v", r)
		}
		size := uint64(2 + adopted)
		if r.Any() {
			recs, err := l.Entries(t.Context(), size, 1)
			if err != nil || len(recs) != 1 || recs[0].Verb != "ledger.recover" || recs[0].Detail["adopted"] != strconv.Itoa(adopted) {
				t.Fatalf("the recovery is not in the ledger: %+v, %v", recs, err)
			}
			size++
		}
		if l.Head().Size != size {
			t.Fatalf("size %d, want %d", l.Head().Size, size)
		}
		appendN(t, l, 1)
		l.Close()
		if _, err := Verify(d, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for cut := lastEntry; cut < len(entries); cut += require.Stride(4) {
		try(t, entries[:cut], heads[:lastHead], 0, entries[lastEntry:cut], nil)
	}
	for cut := lastHead; cut < len(heads); cut += require.Stride(4) {
		try(t, entries, heads[:cut], 1, nil, heads[lastHead:cut])
	}
	// Blocks that were lost with the power read as zeros.
	zeros := bytes.Clone(entries)
	clear(zeros[lastEntry+10 : lastEntry+50])
	try(t, zeros, heads[:lastHead], 0, zeros[lastEntry:], nil)
	zeros = bytes.Clone(heads)
	clear(zeros[lastHead+30:])
	try(t, entries, zeros, 1, nil, zeros[lastHead:])
}

// TestCreationCutShort cuts the very first head.
func TestCreationCutShort(t *testing.T) {
	dir := makeLedger(t, 0)
	head := read(t, dir, headsFile)
	for cut := 0; cut < len(head); cut += require.Stride(4) {
		d := copyLedger(t, dir)
		write(t, d, headsFile, head[:cut])
		l, err := Open(d, testOptions())
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		l.Close()
		if _, err := Verify(d, VerifyOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOpenHidesNoEdit edits what a crash could have left unsigned: Open must
// not sign it.
func TestOpenHidesNoEdit(t *testing.T) {
	dir := makeLedger(t, 2)
	entries, heads := read(t, dir, entriesFile), read(t, dir, headsFile)
	lastEntry := bytes.LastIndexByte(entries[:len(entries)-1], '\n') + 1
	lastHead := bytes.LastIndex(heads[:len(heads)-2], []byte("\n\nexample.org")) + 2

	refused := func(t *testing.T, what string, e, h []byte) {
		t.Helper()
		d := copyLedger(t, dir)
		write(t, d, entriesFile, e)
		write(t, d, headsFile, h)
		l, err := Open(d, testOptions())
		if err == nil {
			l.Close()
			t.Fatalf("%s: opened, recovered %+v", what, l.Recovered())
		}
		var damage *Damage
		if !errors.As(err, &damage) {
			t.Fatalf("%s: %v", what, err)
		}
		if !bytes.Equal(read(t, d, entriesFile), e) || !bytes.Equal(read(t, d, headsFile), h) {
			t.Fatalf("%s: the evidence was touched", what)
		}
	}
	for i := 0; i < len(entries); i += require.Stride(4) {
		e := bytes.Clone(entries)
		e[i] ^= 1
		refused(t, fmt.Sprintf("signed byte %d", i), e, heads)
		if i < len(entries)-1 && e[i] != 0 {
			// With the last head gone the entry is unsigned, yet sealed.
			refused(t, fmt.Sprintf("unsigned byte %d", i), e, heads[:lastHead])
		}
	}
	for i := lastHead; i < len(heads); i += require.Stride(4) {
		h := bytes.Clone(heads)
		h[i] ^= 1
		refused(t, fmt.Sprintf("last head byte %d", i), entries, h)
	}
	refused(t, "an entry of somebody else's", append(bytes.Clone(entries), entries[lastEntry:]...), heads)
	refused(t, "text after the heads", entries, append(bytes.Clone(heads), "exam"...))
	refused(t, "an incomplete head without an entry", entries[:lastEntry], heads[:lastHead+40])
	refused(t, "no heads", entries, nil)
	refused(t, "entries cut", entries[:lastEntry], heads)
}
