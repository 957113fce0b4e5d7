package ledger

import (
	"context"
	"fmt"
	"math"

	"golang.org/x/mod/sumdb/tlog"
)

// MaxEntries is the most that one call of Entries returns.
const MaxEntries = 1000

func (l *Log) snapshot() (state, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return state{}, ErrClosed
	}
	return l.state.clone(), nil
}

// Entries returns at most limit signed entries, in order, from index from on;
// none if from is the size or more. A limit below 1 or above [MaxEntries]
// means MaxEntries. For the newest n, begin at Head().Size - n.
func (l *Log) Entries(ctx context.Context, from uint64, limit int) ([]Record, error) {
	s, err := l.snapshot()
	if err != nil {
		return nil, err
	}
	if limit < 1 || limit > MaxEntries {
		limit = MaxEntries
	}
	if from >= uint64(s.size) {
		return nil, nil
	}
	end := min(from+uint64(limit), uint64(s.size))
	out := make([]Record, 0, end-from)
	for from < end {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		block := int64(from / blockSize)
		lines, err := s.lines(block)
		if err != nil {
			return nil, err
		}
		for i := from % blockSize; i < uint64(len(lines)) && from < end; i++ {
			rec, _, err := parse(lines[i])
			if err == nil && rec.Index != from {
				err = fmt.Errorf("it says that it is entry %d", rec.Index)
			}
			if err != nil {
				return nil, &Damage{File: entriesFile, Line: int(from) + 1, Entries: true, From: from, To: from, What: err.Error()}
			}
			out = append(out, rec)
			from++
		}
		if from < end && from%blockSize != 0 {
			return nil, &Damage{File: entriesFile, Line: int(from) + 1, Entries: true, From: from, To: end - 1, What: "missing"}
		}
	}
	return out, nil
}

// A Proof is an RFC 6962 audit path: the entry is in the tree of Head.
type Proof struct {
	Head   Head
	Index  uint64
	Leaf   Hash
	Hashes []Hash
}

// Check verifies the proof against its own head, whose signature [OpenHead]
// checks.
func (p Proof) Check() error {
	return tlog.CheckRecord(p.Hashes, int64(p.Head.Size), p.Head.Hash, int64(p.Index), p.Leaf)
}

// Inclusion proves that the entry is under the newest head.
func (l *Log) Inclusion(index uint64) (Proof, error) {
	s, err := l.snapshot()
	if err != nil {
		return Proof{}, err
	}
	if index >= uint64(s.size) {
		return Proof{}, fmt.Errorf("ledger: no entry %d, there are %d", index, s.size)
	}
	leaf, err := s.ReadHashes([]int64{tlog.StoredHashIndex(0, int64(index))})
	if err != nil {
		return Proof{}, err
	}
	hashes, err := tlog.ProveRecord(s.size, int64(index), &s)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Head: s.head, Index: index, Leaf: leaf[0], Hashes: hashes}
	if err := p.Check(); err != nil {
		// Only bytes edited under our feet can do this.
		return Proof{}, &Damage{File: entriesFile, What: "the proof does not fit the head: the file was edited while open"}
	}
	return p, nil
}

// A Consistency is an RFC 6962 proof that one tree continues another.
type Consistency struct {
	Old, New Head
	Hashes   []Hash
}

// Check verifies the proof against its own heads, whose signatures [OpenHead]
// checks.
func (c Consistency) Check() error {
	if c.Old.Size == 0 {
		empty, err := tlog.TreeHash(0, nil)
		if err == nil && (c.Old.Hash != empty || len(c.Hashes) > 0) {
			err = fmt.Errorf("ledger: the old head is of no entries and has another hash than that")
		}
		return err
	}
	return tlog.CheckTree(c.Hashes, int64(c.New.Size), c.New.Hash, int64(c.Old.Size), c.Old.Hash)
}

// Consistency proves that the newest head continues an older one. Only the
// old head's size and hash are looked at. If it is of another history the
// error is a [*Damage].
func (l *Log) Consistency(old Head) (Consistency, error) {
	s, err := l.snapshot()
	if err != nil {
		return Consistency{}, err
	}
	c := Consistency{Old: old, New: s.head}
	if old.Size > math.MaxInt64 || int64(old.Size) > s.size {
		return Consistency{}, &Damage{File: "against", What: fmt.Sprintf("the older head is of %d entries, the ledger has %d: it was cut", old.Size, s.size)}
	}
	if old.Size > 0 {
		if c.Hashes, err = tlog.ProveTree(s.size, int64(old.Size), &s); err != nil {
			return Consistency{}, err
		}
	}
	if err := c.Check(); err != nil {
		return Consistency{}, &Damage{File: "against", What: fmt.Sprintf("the first %d entries are not those of the older head: the ledger was written anew", old.Size)}
	}
	return c, nil
}
