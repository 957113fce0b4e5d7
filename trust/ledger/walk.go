package ledger

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
)

// A walk goes through both files together: each head, then the entries up to
// it, whose tree must have the head's hash. Open and Verify share it.
type walk struct {
	state
	frames  *frameReader
	lines   *bufio.Reader
	origin  string
	checker note.Verifier // nil: signatures are not checked
	// each, if set, sees every entry's line, under a head or not yet known to be.
	each func(s *state, index int64, line []byte) error

	tornHead []byte
	// Heads that end a file are remembered for the caller.
	lastFrame     []byte
	lastFrameLine int
}

func newWalk(entries, heads io.Reader, origin string, checker note.Verifier) *walk {
	return &walk{
		frames:  newFrameReader(heads),
		lines:   bufio.NewReaderSize(entries, 256<<10),
		origin:  origin,
		checker: checker,
	}
}

// run checks everything up to the last head. What stands in the entries after
// it is left in w.lines.
func (w *walk) run() error {
	for {
		frame, err := w.frames.read()
		if err == errTorn {
			w.tornHead = frame
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.head(frame); err != nil {
			return err
		}
	}
}

func (w *walk) head(frame []byte) error {
	bad := func(format string, args ...any) error {
		return &Damage{File: headsFile, Line: w.frames.line, What: fmt.Sprintf(format, args...)}
	}
	h, err := openFrame(frame, w.origin, w.checker)
	if err != nil {
		return bad("%v", err)
	}
	from := w.size
	switch {
	case h.Number != w.heads:
		return bad("head %d stands where head %d belongs", h.Number, w.heads)
	case w.heads == 0 && h.Size != 0:
		return bad("the first head is of %d entries, not of none", h.Size)
	case w.heads > 0 && h.Size <= uint64(w.size):
		return bad("size %d after size %d", h.Size, w.size)
	}
	for uint64(w.size) < h.Size {
		line, err := readLine(w.lines, MaxLine)
		if err == nil && w.each != nil {
			err = w.each(&w.state, w.size, line[:len(line)-1])
		}
		var damage *Damage
		switch {
		case err == nil:
		case errors.As(err, &damage):
			return err
		case err == io.EOF || err == errTorn:
			return &Damage{File: entriesFile, Line: int(w.size) + 1, Entries: true, From: uint64(w.size), To: h.Size - 1,
				What: fmt.Sprintf("missing: heads line %d signs %d entries", w.frames.line, h.Size)}
		default:
			return &Damage{File: entriesFile, Line: int(w.size) + 1, Entries: true, From: uint64(w.size), To: uint64(w.size), What: err.Error()}
		}
		if err := w.add(leafHash(line[:len(line)-1]), len(line)); err != nil {
			return err
		}
	}
	root, err := w.root()
	if err != nil {
		return err
	}
	if root != h.Hash {
		d := &Damage{File: entriesFile, Line: int(from) + 1, Entries: true, From: uint64(from), To: uint64(w.size) - 1,
			What: fmt.Sprintf("changed since heads line %d was signed", w.frames.line)}
		if w.checker == nil || w.size == from {
			// Without the signature it may as well be the head that was edited.
			return bad("its hash is not that of the first %d entries: one of the two was changed", w.size)
		}
		return d
	}
	w.state.head = h
	w.heads++
	w.headBytes = w.frames.at
	w.lastFrame, w.lastFrameLine = frame, w.frames.line
	return nil
}
