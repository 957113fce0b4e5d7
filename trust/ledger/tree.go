package ledger

import (
	"fmt"
	"io"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// The tree keeps in memory only the hashes from blockLevel upwards, and those
// of the block being filled: about one byte an entry. The lower ones of older
// blocks are computed from the entries file when a proof asks for them.
const (
	blockLevel = 6
	blockSize  = 1 << blockLevel
)

// state is the ledger's shape after some number of entries. Its slices only
// grow, so that a shallow copy stays good while the original goes on; two
// copies must not both be added to and then both be used.
type state struct {
	size    int64
	low     [blockLevel][]Hash // level by level, of the block being filled
	high    [][]Hash           // high[l][n] is the n'th hash of level l+blockLevel
	offsets []int64            // where each block begins in the entries file
	bytes   int64              // length of the entries file
	last    Hash               // leaf hash of the newest entry, zero before the first

	head      Head
	headBytes int64 // length of the heads file
	heads     uint64

	entries io.ReaderAt // for the older blocks; nil while only adding
}

func (s *state) clone() state {
	c := *s
	c.high = slices.Clone(s.high)
	return c
}

// add takes the next entry's leaf hash and the length of its line with the
// newline.
func (s *state) add(leaf Hash, length int) error {
	if s.size%blockSize == 0 {
		s.offsets = append(s.offsets, s.bytes)
	}
	hashes, err := tlog.StoredHashesForRecordHash(s.size, leaf, s)
	if err != nil {
		return err
	}
	for level, h := range hashes {
		if level < blockLevel {
			s.low[level] = append(s.low[level], h)
			continue
		}
		if level-blockLevel == len(s.high) {
			s.high = append(s.high, nil)
		}
		s.high[level-blockLevel] = append(s.high[level-blockLevel], h)
	}
	s.size++
	s.bytes += int64(length)
	s.last = leaf
	if s.size%blockSize == 0 {
		// Not [:0]: copies still read the old arrays.
		s.low = [blockLevel][]Hash{}
	}
	return nil
}

func (s *state) root() (Hash, error) { return tlog.TreeHash(s.size, s) }

// ReadHashes implements tlog.HashReader.
func (s *state) ReadHashes(indexes []int64) ([]Hash, error) {
	out := make([]Hash, len(indexes))
	var loaded map[int64]*[blockLevel][]Hash
	for i, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		if level >= blockLevel {
			out[i] = s.high[level-blockLevel][n]
			continue
		}
		block := n >> (blockLevel - level)
		n -= block << (blockLevel - level)
		if block == s.size/blockSize {
			out[i] = s.low[level][n]
			continue
		}
		low := loaded[block]
		if low == nil {
			var err error
			if low, err = s.load(block); err != nil {
				return nil, err
			}
			if loaded == nil {
				loaded = map[int64]*[blockLevel][]Hash{}
			}
			loaded[block] = low
		}
		out[i] = low[level][n]
	}
	return out, nil
}

// load computes the lower hashes of a full block from the entries file.
func (s *state) load(block int64) (*[blockLevel][]Hash, error) {
	lines, err := s.lines(block)
	if err != nil {
		return nil, err
	}
	if len(lines) != blockSize {
		return nil, &Damage{File: entriesFile, Line: int(block*blockSize) + 1, Entries: true,
			From: uint64(block * blockSize), To: uint64(block*blockSize + blockSize - 1),
			What: fmt.Sprintf("%d lines where %d were written", len(lines), blockSize)}
	}
	var low [blockLevel][]Hash
	for _, l := range lines {
		low[0] = append(low[0], leafHash(l))
	}
	for level := 1; level < blockLevel; level++ {
		for i := 0; i < len(low[level-1]); i += 2 {
			low[level] = append(low[level], tlog.NodeHash(low[level-1][i], low[level-1][i+1]))
		}
	}
	return &low, nil
}

// lines reads the lines of a block, full or not, without their newlines.
func (s *state) lines(block int64) ([][]byte, error) {
	end := s.bytes
	if int(block)+1 < len(s.offsets) {
		end = s.offsets[block+1]
	}
	buf := make([]byte, end-s.offsets[block])
	if _, err := s.entries.ReadAt(buf, s.offsets[block]); err != nil {
		return nil, fmt.Errorf("ledger: reading entries from %d: %w", block*blockSize, err)
	}
	var lines [][]byte
	for len(buf) > 0 {
		l, rest, ok := cutLine(buf)
		if !ok {
			return nil, &Damage{File: entriesFile, What: fmt.Sprintf("no newline at byte %d", end)}
		}
		lines = append(lines, l)
		buf = rest
	}
	return lines, nil
}

func leafHash(line []byte) Hash { return tlog.RecordHash(line) }
