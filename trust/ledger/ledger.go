// Package ledger keeps a tamper-evident record of what testudo did and of what
// people changed in it.
//
// A ledger is a directory of plain files: entries, one JSON line each, and the
// signed heads of the Merkle tree (RFC 6962) over those lines, in the
// checkpoint format of C2SP (https://c2sp.org/tlog-checkpoint). The format is
// described in docs/ledger-format.md so that it can be verified without this
// package.
//
// What is promised:
//
//   - An entry for which [Log.Append] returned is on disk and under a signed head.
//   - [Verify] needs no private key and finds every changed, added or removed
//     byte below the last signed head.
//   - Against a head that was kept elsewhere, [Verify] also finds that the
//     newest entries were cut off with their heads, and that the whole was
//     written anew, with the same key or another.
//
// What is not promised: whoever can write the directory and read its key can
// write a different history. Only a head kept elsewhere (print it with
// [Log.Head], mail it, commit it) shows that. The ledger does not say whether
// an entry is true, only that it has not changed since.
package ledger

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash of a leaf, a node or a tree (RFC 6962, section 2.1).
// It prints as standard base64.
type Hash = tlog.Hash

// The files of a ledger's directory.
const (
	entriesFile = "entries"
	headsFile   = "heads"
	keyFile     = "key"
	pubFile     = "key.pub"
	lockFile    = "lock"
)

var (
	// ErrClosed is returned by every method after Close.
	ErrClosed = errors.New("the ledger is closed")
	// ErrLocked is returned by Open while another process, or another Log of
	// this process, has the directory.
	ErrLocked = errors.New("another process has this ledger open")
	// ErrBusy is returned by Append when more than [MaxWaiting] appends wait.
	ErrBusy = errors.New("too many entries are waiting for the ledger's disk")
	// ErrEntry is wrapped by Append's errors about an entry that can never be
	// recorded: no actor, a malformed verb, too many details.
	ErrEntry = errors.New("not a ledger entry")
)

// MaxWaiting is how many appends may wait for the disk at once.
const MaxWaiting = 8192

// Options configures a Log. The zero value is good.
type Options struct {
	// Origin names the ledger in its heads, such as
	// "example.org/testudo/ledger". It is used when the ledger is created and
	// ignored later. Letters, digits and "./-_" only, at most 100 bytes; by
	// default "testudo/ledger/" and 16 random hexadecimal digits.
	Origin string
	// Now gives the time of entries that carry none; time.Now by default.
	Now func() time.Time
	// Logger hears of recoveries and of write errors; silent by default.
	Logger *slog.Logger
	// Metrics takes the ledger's metrics, if not nil.
	Metrics prometheus.Registerer

	// wrap lets a test put a faulty disk under the ledger.
	wrap func(name string, f file) file
}

// A Log is an open ledger. Its methods may be called by many goroutines at
// once. It starts no goroutine: concurrent Appends commit for each other.
type Log struct {
	opts     Options
	dir      string
	signer   note.Signer
	verifier note.Verifier
	public   string
	sealKey  []byte
	entries  file
	heads    file
	unlock   func() error
	recovery Recovery
	metrics  *metrics

	commitSem chan struct{} // held by the one who writes
	dirty     bool          // guarded by commitSem: the files may be longer than state says

	mu     sync.Mutex
	queue  []*pending
	closed bool
	state  state // what is durable and signed
}

// A Head is a signed statement of the ledger's size and contents.
type Head struct {
	// Size is the number of entries.
	Size uint64
	// Hash is the root of the Merkle tree over them.
	Hash Hash
	// Number counts the ledger's heads, from 0.
	Number uint64
	// Checkpoint is the signed note that says so, to be kept elsewhere.
	Checkpoint []byte
}

// A Receipt says where an entry stands.
type Receipt struct {
	Index uint64
	// Hash is the entry's leaf hash.
	Hash Hash
}

// Recovery tells what Open had to mend after a stop without Close. Both are
// also recorded in the ledger, as an entry with the verb "ledger.recover".
type Recovery struct {
	// Adopted counts whole entries that were written, with this ledger's seal,
	// but not yet signed. They are kept.
	Adopted int
	// CutEntry holds the bytes of the one incomplete entry that was cut off.
	CutEntry []byte
	// CutHead holds the bytes of the one incomplete head that was cut off.
	CutHead []byte
}

// Any reports whether something was mended.
func (r Recovery) Any() bool {
	return r.Adopted > 0 || len(r.CutEntry) > 0 || len(r.CutHead) > 0
}

// Damage is the error of a ledger whose files do not agree with its heads.
type Damage struct {
	// File is "entries", "heads", "key.pub" or, for a head kept elsewhere, "against".
	File string
	// Line is the line of File, from 1; 0 where no line is meant.
	Line int
	// From and To give the entries among which the damage is, both inclusive,
	// when Entries is set.
	From, To uint64
	Entries  bool
	// What says what is wrong.
	What string
}

func (d *Damage) Error() string {
	where := d.File
	if d.Line > 0 {
		where = fmt.Sprintf("%s line %d", where, d.Line)
	}
	switch {
	case d.Entries && d.From == d.To:
		where = fmt.Sprintf("%s, entry %d", where, d.From)
	case d.Entries:
		where = fmt.Sprintf("%s, entries %d to %d", where, d.From, d.To)
	}
	return "ledger: " + where + ": " + d.What
}

// file is what the log needs of an *os.File.
type file interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

var _ file = (*os.File)(nil)

// Head returns the newest signed head.
func (l *Log) Head() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.state.head
	h.Checkpoint = append([]byte(nil), h.Checkpoint...)
	return h
}

// PublicKey returns the key that verifies the heads, in the note format
// (name+hash+base64), as in the file key.pub.
func (l *Log) PublicKey() string { return l.public }

// Recovered tells what Open had to mend.
func (l *Log) Recovered() Recovery { return l.recovery }

// Dir returns the ledger's directory.
func (l *Log) Dir() string { return l.dir }

// Close waits for the commit under way and closes the files. Appends that have
// not begun get ErrClosed. Closing twice is no error.
func (l *Log) Close() error {
	l.commitSem <- struct{}{}
	defer func() { <-l.commitSem }()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	waiting := l.queue
	l.queue = nil
	l.mu.Unlock()
	for _, p := range waiting {
		p.done <- outcome{err: ErrClosed}
	}
	var errs []error
	if l.dirty {
		errs = append(errs, l.repair())
	}
	errs = append(errs, l.entries.Close(), l.heads.Close(), l.unlock())
	l.metrics.unregister()
	return errors.Join(errs...)
}
