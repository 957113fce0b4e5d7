package intel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sort"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A table is a sequence of rows, sorted by key; keys may come more than once. Rows stand in blocks of about
// blockSize bytes, each compressed by itself with the source's dictionary; after them stands the index: for each
// block the length in the file, the length unpacked, the CRC-32C of what is in the file, and its first key.
//
//	row:   shared, rest, size uvarint; rest bytes of the key after the first shared of the key before; size bytes of value
//	index: packed, unpacked uvarint; CRC-32C of 4 bytes; key with its length before it

const (
	blockSize = 32 << 10
	maxBlock  = 16 << 20 // unpacked: one row alone may be larger than blockSize
	dictID    = 1
)

// ErrDamaged says that a database is not as it was written.
var ErrDamaged = errors.New("the file is damaged")

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s: replace it with testudo db update, or import it again", ErrDamaged, fmt.Sprintf(format, args...))
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// tableInfo says where in its source a table stands.
type tableInfo struct {
	Offset int64  `json:"offset"`
	Index  int64  `json:"index"` // where the index begins
	Length int64  `json:"length"`
	CRC    uint32 `json:"crc"` // of the index
	Rows   int64  `json:"rows"`
}

type tableWriter struct {
	w         io.Writer
	enc       *zstd.Encoder
	crcs      *crc32.Table
	block     []byte
	packed    []byte
	first     []byte
	last      []byte
	index     []byte
	written   int64
	rows      int64
	blockRows int
}

func newTableWriter(w io.Writer, enc *zstd.Encoder) *tableWriter {
	return &tableWriter{w: w, enc: enc, crcs: castagnoli()}
}

// add appends a row; keys must not fall.
func (t *tableWriter) add(key, value []byte) error {
	if t.blockRows > 0 && len(t.block)+len(value) > blockSize {
		if err := t.flush(); err != nil {
			return err
		}
	}
	shared := 0
	if t.blockRows == 0 {
		t.first = append(t.first[:0], key...)
	} else {
		for shared < len(key) && shared < len(t.last) && key[shared] == t.last[shared] {
			shared++
		}
	}
	t.block = binary.AppendUvarint(t.block, uint64(shared))
	t.block = binary.AppendUvarint(t.block, uint64(len(key)-shared))
	t.block = binary.AppendUvarint(t.block, uint64(len(value)))
	t.block = append(t.block, key[shared:]...)
	t.block = append(t.block, value...)
	t.last = append(t.last[:0], key...)
	t.blockRows++
	t.rows++
	return nil
}

func (t *tableWriter) flush() error {
	if t.blockRows == 0 {
		return nil
	}
	if len(t.block) > maxBlock {
		return fmt.Errorf("a row of %d bytes is too large", len(t.block))
	}
	t.packed = t.enc.EncodeAll(t.block, t.packed[:0])
	t.index = binary.AppendUvarint(t.index, uint64(len(t.packed)))
	t.index = binary.AppendUvarint(t.index, uint64(len(t.block)))
	t.index = binary.BigEndian.AppendUint32(t.index, crc32.Checksum(t.packed, t.crcs))
	t.index = binary.AppendUvarint(t.index, uint64(len(t.first)))
	t.index = append(t.index, t.first...)
	t.written += int64(len(t.packed))
	t.block, t.blockRows = t.block[:0], 0
	_, err := t.w.Write(t.packed)
	return err
}

// close writes the index; offset is where in the source the table began.
func (t *tableWriter) close(offset int64) (tableInfo, error) {
	if err := t.flush(); err != nil {
		return tableInfo{}, err
	}
	_, err := t.w.Write(t.index)
	return tableInfo{Offset: offset, Index: offset + t.written, Length: int64(len(t.index)), CRC: crc32.Checksum(t.index, t.crcs), Rows: t.rows}, err
}

// table reads one. It is safe for concurrent use.
type table struct {
	r     io.ReaderAt // of the source
	info  tableInfo
	dec   func() (*zstd.Decoder, error)
	cache *blockCache

	once   sync.Once
	err    error
	blocks []blockInfo
}

type blockInfo struct {
	offset           int64
	packed, unpacked uint32
	crc              uint32
	first            []byte
}

// maxIndex bounds what of an index is read: that of a table of some 100 GB.
const maxIndex = 256 << 20

// load reads the index at the first use.
func (t *table) load() error {
	t.once.Do(func() { t.err = t.readIndex() })
	return t.err
}

func (t *table) readIndex() error {
	i := t.info
	if i.Length < 0 || i.Length > maxIndex || i.Index < i.Offset || i.Offset < 0 {
		return damaged("an index of %d bytes", i.Length)
	}
	raw, err := readFull(t.r, i.Index, i.Length)
	if err != nil {
		return err
	}
	if crc32.Checksum(raw, castagnoli()) != i.CRC {
		return damaged("checksum of an index")
	}
	at := i.Offset
	for rest := raw; len(rest) > 0; {
		var b blockInfo
		packed, n := binary.Uvarint(rest)
		rest = rest[max(n, 0):]
		unpacked, m := binary.Uvarint(rest)
		rest = rest[max(m, 0):]
		if n <= 0 || m <= 0 || len(rest) < 5 || unpacked > maxBlock || packed > maxBlock+1024 || int64(packed) > i.Index-at {
			return damaged("an index")
		}
		b.crc = binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return damaged("an index")
		}
		b.offset, b.packed, b.unpacked, b.first = at, uint32(packed), uint32(unpacked), rest[n:n+int(size)]
		rest = rest[n+int(size):]
		if k := len(t.blocks); k > 0 && bytes.Compare(t.blocks[k-1].first, b.first) > 0 {
			return damaged("the order of an index")
		}
		at += int64(packed)
		t.blocks = append(t.blocks, b)
	}
	if at != i.Index {
		return damaged("an index that does not fit its blocks")
	}
	return nil
}

// block returns an unpacked block, which nobody may change.
func (t *table) block(i int) ([]byte, error) {
	if b := t.cache.get(t, i); b != nil {
		return b, nil
	}
	b := &t.blocks[i]
	packed, err := readFull(t.r, b.offset, int64(b.packed))
	if err != nil {
		return nil, err
	}
	if crc32.Checksum(packed, castagnoli()) != b.crc {
		return nil, damaged("checksum of a block at %d", b.offset)
	}
	dec, err := t.dec()
	if err != nil {
		return nil, err
	}
	out, err := dec.DecodeAll(packed, make([]byte, 0, b.unpacked))
	if err != nil || len(out) != int(b.unpacked) {
		return nil, damaged("a block at %d cannot be unpacked", b.offset)
	}
	t.cache.put(t, i, out)
	return out, nil
}

// scan calls f for the rows from key on, until it returns false. Key and value are valid as long as f runs; the value's memory
// is not used again.
func (t *table) scan(key []byte, f func(key, value []byte) bool) error {
	if err := t.load(); err != nil {
		return err
	}
	// The key may begin before the end of the block in front of the first one that starts at or above it.
	from := max(0, sort.Search(len(t.blocks), func(i int) bool { return bytes.Compare(t.blocks[i].first, key) >= 0 })-1)
	var at []byte
	for i := from; i < len(t.blocks); i++ {
		block, err := t.block(i)
		if err != nil {
			return err
		}
		at = at[:0]
		for rest := block; len(rest) > 0; {
			shared, n := binary.Uvarint(rest)
			rest = rest[max(n, 0):]
			unshared, m := binary.Uvarint(rest)
			rest = rest[max(m, 0):]
			size, k := binary.Uvarint(rest)
			rest = rest[max(k, 0):]
			if n <= 0 || m <= 0 || k <= 0 || shared > uint64(len(at)) || unshared > uint64(len(rest)) || size > uint64(len(rest))-unshared {
				return damaged("a row")
			}
			at = append(at[:shared], rest[:unshared]...)
			value := rest[unshared : unshared+size : unshared+size]
			rest = rest[unshared+size:]
			if bytes.Compare(at, key) >= 0 && !f(at, value) {
				return nil
			}
		}
	}
	return nil
}

// readFull reads so many bytes, without trusting that they are there.
func readFull(r io.ReaderAt, at, size int64) ([]byte, error) {
	if at < 0 || size < 0 {
		return nil, damaged("an offset")
	}
	if s, ok := r.(*io.SectionReader); ok && (at > s.Size() || size > s.Size()-at) {
		return nil, damaged("it ends too early")
	}
	b := make([]byte, size)
	n, err := r.ReadAt(b, at)
	if n == len(b) {
		return b, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = damaged("it ends too early")
	}
	return nil, err
}

// blockCache keeps the blocks that were used last. It is safe for concurrent use.
type blockCache struct {
	mu    sync.Mutex
	limit int
	size  int
	slots map[blockKey][]byte
	order []blockKey // oldest first
}

type blockKey struct {
	t *table
	i int
}

func newBlockCache(limit int) *blockCache {
	return &blockCache{limit: limit, slots: map[blockKey][]byte{}}
}

func (c *blockCache) get(t *table, i int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slots[blockKey{t, i}]
}

func (c *blockCache) put(t *table, i int, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := blockKey{t, i}
	if c.slots[key] != nil || len(b) > c.limit/2 {
		return
	}
	for c.size+len(b) > c.limit {
		oldest := c.order[0]
		c.order = c.order[1:]
		c.size -= len(c.slots[oldest])
		delete(c.slots, oldest)
	}
	c.slots[key], c.order, c.size = b, append(c.order, key), c.size+len(b)
}
