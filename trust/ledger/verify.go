package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// VerifyOptions says what to hold a ledger against.
type VerifyOptions struct {
	// PublicKey is the ledger's public key as key.pub has it, from a place
	// that whoever can write the ledger cannot. If empty the directory's own
	// key.pub is believed, and Report.KeyFromDir is set.
	PublicKey string
	// Against is a checkpoint of this ledger that was kept elsewhere, if there is one.
	Against []byte
	// Live allows what a write under way leaves after the last head: for the
	// ledger of a process that is running.
	Live bool
}

// A Report is what Verify found in order.
type Report struct {
	Origin    string
	PublicKey string
	// KeyFromDir warns that the key came from the ledger's own directory.
	KeyFromDir bool
	// Head is the newest head, Heads their number.
	Head  Head
	Heads uint64
	// First and Last are the times of the first and the newest signed entry.
	First, Last time.Time
	// Against is the head kept elsewhere that the ledger continues, if one was given.
	Against *Head
	// Unsigned counts the bytes after the last head; only with Live.
	Unsigned int64
}

// Verify checks every byte of the ledger in dir. It only reads, needs no
// private key and no lock. An edited ledger gives a [*Damage] that names the
// file and the line or entries; the report then holds what was in order up to
// there.
func Verify(dir string, opts VerifyOptions) (Report, error) {
	var r Report
	public := opts.PublicKey
	if public == "" {
		b, err := readSmall(filepath.Join(dir, pubFile))
		if err != nil {
			return r, fmt.Errorf("ledger: no public key: %w", err)
		}
		public, r.KeyFromDir = string(b), true
	}
	public = strings.TrimSpace(public)
	v, err := note.NewVerifier(public)
	if err != nil || !strings.HasPrefix(public, fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash())) {
		return r, &Damage{File: pubFile, What: "not a public key in the note format"}
	}
	r.Origin, r.PublicKey = v.Name(), public

	var against *Head
	if len(opts.Against) > 0 {
		h, err := OpenHead(opts.Against, public)
		if err != nil {
			return r, err
		}
		against = &h
	}

	// Heads first: entries that come while this reads are then only too many.
	heads, err := open(dir, headsFile)
	if err != nil {
		return r, err
	}
	defer heads.Close()
	headsSize, err := size(heads)
	if err != nil {
		return r, err
	}
	entries, err := open(dir, entriesFile)
	if err != nil {
		return r, err
	}
	defer entries.Close()

	w := newWalk(entries, io.NewSectionReader(heads, 0, headsSize), v.Name(), v)
	r.Against = against
	check := func(s *state) error {
		if against == nil || uint64(s.size) != against.Size {
			return nil
		}
		root, err := s.root()
		if err == nil && root != against.Hash {
			err = &Damage{File: "against", What: fmt.Sprintf("the first %d entries are not those of the head kept elsewhere: the ledger was written anew", against.Size)}
		}
		return err
	}
	w.each = func(s *state, index int64, line []byte) error {
		if err := check(s); err != nil {
			return err
		}
		rec, _, err := parse(line)
		if err != nil {
			return err
		}
		if rec.Index != uint64(index) {
			return fmt.Errorf("it says that it is entry %d", rec.Index)
		}
		if index == 0 {
			r.First = rec.Time
		}
		r.Last = rec.Time
		return nil
	}
	err = w.run()
	r.Head, r.Heads = w.state.head, w.heads
	r.Head.Checkpoint = bytes.Clone(r.Head.Checkpoint)
	if err != nil {
		return r, err
	}
	if w.heads == 0 {
		return r, &Damage{File: headsFile, What: "there is no signed head"}
	}
	if err := check(&w.state); err != nil {
		return r, err
	}
	if against != nil && against.Size > uint64(w.size) {
		return r, &Damage{File: "against", What: fmt.Sprintf("the head kept elsewhere is of %d entries, the ledger has %d: it was cut", against.Size, w.size)}
	}
	return r, w.rest(&r, opts.Live)
}

// rest judges what stands after the last head.
func (w *walk) rest(r *Report, live bool) error {
	n, err := io.Copy(io.Discard, w.lines)
	if err != nil {
		return fmt.Errorf("ledger: reading entries: %w", err)
	}
	r.Unsigned = n + int64(len(w.tornHead))
	const hint = "; a running testudo is writing there, or one was killed and the next start mends it, or somebody added them"
	switch {
	case live:
		return nil
	case len(w.tornHead) > 0:
		return &Damage{File: headsFile, Line: w.frames.line, What: "an incomplete head" + hint}
	case n > 0:
		return &Damage{File: entriesFile, Line: int(w.size) + 1, Entries: true, From: uint64(w.size), To: uint64(w.size),
			What: fmt.Sprintf("%d bytes that no head signs%s", n, hint)}
	}
	r.Unsigned = 0
	return nil
}

func open(dir, name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|noFollow, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &Damage{File: name, What: "the file is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("ledger: %w", err)
	}
	return f, nil
}
