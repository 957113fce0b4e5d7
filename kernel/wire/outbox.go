package wire

import (
	"encoding/binary"
	"io"
	"runtime"
	"sync"

	"github.com/testudo-sec/testudo/kernel/record"
)

// Sizes of what waits for the plane, in bytes.
const (
	outboxLimit = 4 << 20
	outboxIdle  = 256 << 10 // what a quiet buffer may keep
)

// kinds bounds the table of what was lost; kinds beyond it count as 0.
const kinds = 64

// outbox takes batches without waiting, and hands them on in the order in which they came. Where there is no room, records
// are dropped and counted by kind; a record of KindLost stands where they would have stood.
type outbox struct {
	limit int
	ran   *ranFiles
	now   func() uint64 // clock of records

	mu      sync.Mutex
	pending []byte
	untold  [kinds]uint64
	missing bool // untold is not all zero
	lost    map[record.Kind]uint64
	wake    chan struct{}
}

func newOutbox(limit int, ran *ranFiles, now func() uint64) *outbox {
	return &outbox{limit: limit, ran: ran, now: now, lost: map[record.Kind]uint64{}, wake: make(chan struct{}, 1)}
}

// add takes a batch of records.
func (o *outbox) add(batch []byte) {
	if n := o.look(batch); n < len(batch) {
		batch = batch[:n] // what is no record is not handed on
	}
	o.mu.Lock()
	if o.missing && len(o.pending)+int(kinds*(record.HeaderSize+64)) <= o.limit {
		o.tell()
	}
	if len(o.pending)+len(batch) <= o.limit && !o.missing {
		o.pending = append(o.pending, batch...)
	} else {
		o.fill(batch)
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
		runtime.Gosched() // who writes goes first, on this very thread: to wake another takes longer than to write
	default:
	}
}

// look walks the batch, notes files that ran, and returns where its last whole record ends.
func (o *outbox) look(batch []byte) int {
	at := 0
	for at < len(batch) {
		n, ok := record.Size(batch[at:])
		if !ok {
			break
		}
		if kindOf(batch[at:]) == record.KindExec {
			o.ran.note(batch[at:])
		}
		at += n
	}
	return at
}

func kindOf(b []byte) record.Kind { return record.Kind(binary.NativeEndian.Uint16(b[4:])) }

// fill takes of the batch what there is room for, and counts the rest. After the first record that is dropped all are, so that
// what was lost is in one place.
func (o *outbox) fill(batch []byte) {
	for len(batch) > 0 {
		n, ok := record.Size(batch)
		if !ok {
			return
		}
		if !o.missing && len(o.pending)+n <= o.limit {
			o.pending = append(o.pending, batch[:n]...)
		} else {
			k := kindOf(batch)
			o.lost[k]++
			if k >= kinds {
				k = 0
			}
			o.untold[k]++
			o.missing = true
		}
		batch = batch[n:]
	}
}

// tell puts a record of what was lost.
func (o *outbox) tell() {
	for k, n := range o.untold {
		if n > 0 {
			r := record.Record{Kind: record.KindLost, Time: o.now(), Nums: [6]uint64{n, uint64(k)}, NumLen: 2}
			o.pending = r.Append(o.pending)
		}
	}
	o.untold, o.missing = [kinds]uint64{}, false
}

// take swaps what waits for an empty buffer. nil where nothing waits.
func (o *outbox) take(spare []byte) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.missing && len(o.pending) == 0 {
		o.tell()
	}
	if len(o.pending) == 0 {
		return nil
	}
	if cap(spare) > outboxIdle && len(o.pending) < outboxIdle {
		spare = nil // a flood is over
	}
	b := o.pending
	o.pending = spare[:0]
	return b
}

// write hands on what waits until done is closed and nothing is left, or the writer fails.
func (o *outbox) write(w io.Writer, done <-chan struct{}) error {
	var spare []byte
	for ended := false; ; {
		b := o.take(spare)
		if b == nil {
			if ended {
				return nil
			}
			select {
			case <-o.wake:
			case <-done:
				ended = true
			}
			continue
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
		spare = b
	}
}

// dropped adds what was lost here to the counts of the sensor.
func (o *outbox) dropped(into map[record.Kind]uint64) map[record.Kind]uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if into == nil {
		into = map[record.Kind]uint64{}
	}
	for k, n := range o.lost {
		into[k] += n
	}
	return into
}

// maxRan is how many files that ran are remembered.
const maxRan = 16384

// ranFiles remembers the inodes of executables that were told of, the oldest of which are forgotten: the plane may
// ask for what reading them tells, and of no other file.
type ranFiles struct {
	mu    sync.Mutex
	known map[fileKey]struct{}
	ring  []fileKey
	next  int
}

type fileKey struct{ device, number uint64 }

func newRanFiles() *ranFiles { return &ranFiles{known: map[fileKey]struct{}{}} }

// note remembers the file of an exec record.
func (f *ranFiles) note(b []byte) {
	var r record.Record
	if _, err := record.Decode(b, &r); err != nil || !r.HasInode {
		return
	}
	k := fileKey{r.Inode.Device, r.Inode.Number}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.known[k]; ok {
		return
	}
	f.known[k] = struct{}{}
	if len(f.ring) < maxRan {
		f.ring = append(f.ring, k)
		return
	}
	delete(f.known, f.ring[f.next])
	f.ring[f.next] = k
	f.next = (f.next + 1) % maxRan
}

func (f *ranFiles) has(i record.Inode) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.known[fileKey{i.Device, i.Number}]
	return ok
}
