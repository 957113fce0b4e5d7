package follow

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Stream is one file from a position on, as long as it is that file. Read waits for more; it
// returns io.EOF when no more will come: the file was rotated away and has been quiet, or it was
// truncated, or somebody else has taken its place. It belongs to one goroutine.
type Stream struct {
	ctx  context.Context
	t    *tail
	base int64 // offset in the file of the first byte that was delivered

	fresh     bool // nothing was delivered yet
	truncated bool // ended because the file begins anew
	grown     bool // the file's beginning was looked at since it last grew
}

// Path returns where the file was found.
func (s *Stream) Path() string { return s.t.path }

// Lines returns how many lines of the file lie before the stream.
func (s *Stream) Lines() int64 { return s.t.startLines }

// Commit says that the first n bytes of the stream, in which there are so many lines, need not be read
// again.
func (s *Stream) Commit(n, lines int64) {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	s.t.committed, s.t.lines = s.base+n, s.t.startLines+lines
}

// errQuiet is what a stream returns once when nothing more has come for a while.
type errQuiet struct{}

func (errQuiet) Error() string { return "nothing more for now" }

// Quiet tells readers that the stream goes on: what waits for a next line need not wait longer.
func (errQuiet) Quiet() bool { return true }

// ErrQuiet is returned by Read, once each time, when the file has had nothing more for the time of
// Config.Quiet. The stream goes on: a reader hands over what it holds back and reads again.
var ErrQuiet error = errQuiet{}

// Read reads what comes next. It returns ctx's error when ctx ends.
func (s *Stream) Read(p []byte) (int, error) {
	t := s.t
	for {
		if err := s.ctx.Err(); err != nil {
			return 0, err
		}
		if !s.grown {
			if same, err := t.same(); err != nil {
				return 0, err
			} else if !same {
				s.truncated = true
				return 0, io.EOF
			}
			s.grown = true
		}
		n, err := t.f.ReadAt(p, t.at.Load())
		if n > 0 {
			t.at.Add(int64(n))
			t.quietSince.Store(time.Now().UnixNano())
			t.bytes.Add(uint64(n))
			if s.fresh {
				// A file that was truncated under a writer that did not open it for appending begins
				// with a hole of zeros.
				rest := bytes.TrimLeft(p[:n], "\x00")
				s.base += int64(n - len(rest))
				if n = copy(p, rest); n == 0 {
					continue
				}
				s.fresh = false
			}
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		quiet := time.Since(time.Unix(0, t.quietSince.Load()))
		if quiet >= t.cfg.Quiet {
			if t.moved.Load() || t.release.Load() {
				return 0, io.EOF
			}
			if !t.told {
				t.told = true
				return 0, ErrQuiet
			}
		}
		if err := s.wait(quiet); err != nil {
			return 0, err
		}
		info, err := t.f.Stat()
		if err != nil {
			return 0, err
		}
		switch size := info.Size(); {
		case size < t.at.Load():
			s.truncated = true
			return 0, io.EOF
		case size > t.at.Load():
			s.grown, t.told = false, false
		}
	}
}

// wait sleeps until the file is to be looked at again.
func (s *Stream) wait(quiet time.Duration) error {
	every := s.t.cfg.Poll
	if quiet > 10*time.Second {
		every = max(every, s.t.cfg.Rescan)
	}
	timer := time.NewTimer(every)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.t.wake:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// tail is a file that is being read.
type tail struct {
	cfg      *Config
	path     string
	id       identity
	f        *os.File
	consumer Consumer
	wake     chan struct{} // has room for one
	done     chan struct{} // closed when the file is not read any more
	moved    atomic.Bool   // its path is another file's, or nobody's: it ends when it is quiet
	release  atomic.Bool   // it is to make room when it is quiet
	remnant  bool          // it was rotated away before it was opened

	at         atomic.Int64 // offset of what is read next
	quietSince atomic.Int64 // Unix nanoseconds
	bytes      *atomic.Uint64

	// Of the goroutine that reads.
	startLines int64
	told       bool // that it is quiet

	mu        sync.Mutex
	committed int64
	lines     int64
	first     []byte // the file's first bytes, at most headSize
	headLen   int    // the length that headWas was made of
	headWas   head
}

// same reports whether the file still begins as it did.
func (t *tail) same() (bool, error) {
	now, err := firstBytes(t.f, make([]byte, headSize))
	if err != nil {
		return false, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !bytes.HasPrefix(now, t.first) {
		return false, nil
	}
	t.first = now
	return true, nil
}

// begin starts the file anew after it was truncated.
func (t *tail) begin() {
	t.at.Store(0)
	t.startLines = 0
	t.mu.Lock()
	defer t.mu.Unlock()
	t.committed, t.lines, t.first, t.headLen, t.headWas = 0, 0, nil, 0, head{}
}

// resume goes back to what was committed.
func (t *tail) resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at.Store(t.committed)
	t.startLines = t.lines
}

// position returns how far the file was read.
func (t *tail) position(now time.Time) position {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.first); n != t.headLen {
		t.headLen, t.headWas = n, headOf(t.first)
	}
	return position{Path: t.path, identity: t.id, Offset: t.committed, Lines: t.lines, head: t.headWas, Seen: now}
}

func (t *tail) nudge() {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
