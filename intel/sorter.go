package intel

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// sorter sorts more rows than fit in memory: what is over the limit goes to files, compressed. Rows with the same key keep
// their order.
type sorter struct {
	dir   string
	limit int
	arena []byte
	rows  []sorterRow
	runs  []*os.File
}

type sorterRow struct{ at, key, value uint32 }

const sorterLimit = 16 << 20

func newSorter(dir string) *sorter { return &sorter{dir: dir, limit: sorterLimit} }

func (s *sorter) add(key, value []byte) error {
	if len(s.arena)+len(key)+len(value)+12*len(s.rows) > s.limit && len(s.rows) > 0 {
		if err := s.spill(); err != nil {
			return err
		}
	}
	s.rows = append(s.rows, sorterRow{uint32(len(s.arena)), uint32(len(key)), uint32(len(value))})
	s.arena = append(append(s.arena, key...), value...)
	return nil
}

func (s *sorter) row(r sorterRow) (key, value []byte) {
	return s.arena[r.at : r.at+r.key], s.arena[r.at+r.key : r.at+r.key+r.value]
}

func (s *sorter) sort() {
	slices.SortStableFunc(s.rows, func(a, b sorterRow) int {
		return bytes.Compare(s.arena[a.at:a.at+a.key], s.arena[b.at:b.at+b.key])
	})
}

func (s *sorter) spill() (err error) {
	s.sort()
	f, err := os.CreateTemp(s.dir, tempPrefix+"sort-*")
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(256<<10))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(z, 64<<10)
	for _, r := range s.rows {
		key, value := s.row(r)
		if err := writeRow(w, key, value); err != nil {
			return err
		}
	}
	s.arena, s.rows = s.arena[:0], s.rows[:0]
	return errors.Join(w.Flush(), z.Close())
}

func writeRow(w *bufio.Writer, key, value []byte) error {
	var head [2 * binary.MaxVarintLen64]byte
	b := binary.AppendUvarint(head[:0], uint64(len(key)))
	b = binary.AppendUvarint(b, uint64(len(value)))
	_, _ = w.Write(b)
	_, _ = w.Write(key)
	_, err := w.Write(value)
	return err
}

// each calls f for all rows in order; they are valid as long as f runs.
func (s *sorter) each(f func(key, value []byte) error) error {
	s.sort()
	if len(s.runs) == 0 {
		for _, r := range s.rows {
			if err := f(s.row(r)); err != nil {
				return err
			}
		}
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	s.arena, s.rows = nil, nil
	var h runHeap
	for i, f := range s.runs {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
		defer z.Close()
		r := &run{number: i, r: bufio.NewReaderSize(z, 64<<10)}
		if more, err := r.next(); err != nil {
			return err
		} else if more {
			h = append(h, r)
		}
	}
	heap.Init(&h)
	for len(h) > 0 {
		r := h[0]
		if err := f(r.key, r.value); err != nil {
			return err
		}
		if more, err := r.next(); err != nil {
			return err
		} else if more {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
	}
	return nil
}

// close removes the files.
func (s *sorter) close() {
	for _, f := range s.runs {
		_ = f.Close()
		_ = os.Remove(f.Name())
	}
	s.runs, s.arena, s.rows = nil, nil, nil
}

// run reads one sorted file.
type run struct {
	number     int
	r          *bufio.Reader
	key, value []byte
}

func (r *run) next() (more bool, err error) {
	key, err := binary.ReadUvarint(r.r)
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	value, err := binary.ReadUvarint(r.r)
	if err != nil {
		return false, err
	}
	if key > maxRecord || value > 2*maxRecord {
		return false, fmt.Errorf("a sorted file holds a row of %d bytes", value)
	}
	r.key, r.value = slices.Grow(r.key[:0], int(key))[:key], slices.Grow(r.value[:0], int(value))[:value]
	if _, err = io.ReadFull(r.r, r.key); err == nil {
		_, err = io.ReadFull(r.r, r.value)
	}
	return err == nil, err
}

type runHeap []*run

func (h runHeap) Len() int { return len(h) }
func (h runHeap) Less(i, j int) bool {
	c := bytes.Compare(h[i].key, h[j].key)
	return c < 0 || c == 0 && h[i].number < h[j].number
}
func (h runHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *runHeap) Push(x any)   { *h = append(*h, x.(*run)) }
func (h *runHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}
