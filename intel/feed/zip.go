package feed

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"path"
	"strings"

	"github.com/klauspost/compress/flate"
)

// An export's zip file has hundreds of thousands of entries. This reader goes through the central directory as it stands in
// the file (APPNOTE 6.3.10, 4.3), where archive/zip holds it in memory whole, however long a hostile one is.

// Bounds of a zip file.
const (
	maxZipEntries = 3_000_000
	maxZipName    = 1024
	// maxZipRatio is how many times its own size a zip file may unpack to, beyond the first bytes.
	maxZipRatio = 250
	freeUnpack  = 256 << 20
)

var errZip = errors.New("not a whole zip file")

// zipEntry is a file in a zip file.
type zipEntry struct {
	name             string
	method           uint16
	crc              uint32
	packed, unpacked uint64
	header           uint64
}

// zipFile walks over a zip file's entries.
type zipFile struct {
	r       io.ReaderAt
	size    int64
	dir     *bufio.Reader
	entries int64 // as the end record says
	seen    int64
	budget  int64
	shift   int64 // what stands before the zip file
	end     int64 // where the directory ends
}

func openZip(r io.ReaderAt, size int64) (*zipFile, error) {
	tail := make([]byte, min(size, 22+math.MaxUint16))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	at := bytes.LastIndex(tail, []byte("PK\x05\x06"))
	if at < 0 || len(tail)-at < 22 {
		return nil, errZip
	}
	end := tail[at:]
	z := &zipFile{r: r, size: size, budget: freeUnpack + maxZipRatio*min(size, math.MaxInt64/(2*maxZipRatio))}
	z.entries = int64(binary.LittleEndian.Uint16(end[10:]))
	length, offset := int64(binary.LittleEndian.Uint32(end[12:])), int64(binary.LittleEndian.Uint32(end[16:]))
	z.end = size - int64(len(tail)) + int64(at)
	if offset == math.MaxUint32 || z.entries == math.MaxUint16 || length == math.MaxUint32 {
		if err := z.end64(&length, &offset); err != nil {
			return nil, err
		}
	}
	if length < 0 || offset < 0 || z.entries < 0 || length > z.end || offset > z.end-length {
		return nil, errZip
	}
	z.shift = z.end - length - offset
	if z.entries > maxZipEntries {
		return nil, fmt.Errorf("a zip file with %d entries: more than %d are not read", z.entries, maxZipEntries)
	}
	z.dir = bufio.NewReaderSize(io.NewSectionReader(r, z.end-length, length), 64<<10)
	return z, nil
}

// end64 reads the Zip64 end record, where there is one.
func (z *zipFile) end64(length, offset *int64) error {
	var locator [20]byte
	if z.end < 20 {
		return nil
	}
	if _, err := z.r.ReadAt(locator[:], z.end-20); err != nil || !bytes.HasPrefix(locator[:], []byte("PK\x06\x07")) {
		return nil
	}
	at := int64(binary.LittleEndian.Uint64(locator[8:]))
	var record [56]byte
	if at < 0 || at > z.end-20-56 {
		return errZip
	}
	if _, err := z.r.ReadAt(record[:], at); err != nil || !bytes.HasPrefix(record[:], []byte("PK\x06\x06")) {
		return errZip
	}
	z.entries = int64(binary.LittleEndian.Uint64(record[32:]))
	*length, *offset = int64(binary.LittleEndian.Uint64(record[40:])), int64(binary.LittleEndian.Uint64(record[48:]))
	z.end = at
	return nil
}

// next returns the next entry, io.EOF after the last.
func (z *zipFile) next() (*zipEntry, error) {
	var head [46]byte
	if _, err := io.ReadFull(z.dir, head[:]); errors.Is(err, io.EOF) {
		if z.seen&math.MaxUint16 != z.entries&math.MaxUint16 {
			return nil, fmt.Errorf("%w: it holds %d of %d entries", errZip, z.seen, z.entries)
		}
		return nil, io.EOF
	} else if err != nil || !bytes.HasPrefix(head[:], []byte("PK\x01\x02")) {
		return nil, errZip
	}
	if z.seen++; z.seen > maxZipEntries {
		return nil, fmt.Errorf("a zip file with more than %d entries is not read", maxZipEntries)
	}
	le := binary.LittleEndian
	e := &zipEntry{method: le.Uint16(head[10:]), crc: le.Uint32(head[16:]), packed: uint64(le.Uint32(head[20:])), unpacked: uint64(le.Uint32(head[24:])), header: uint64(le.Uint32(head[42:]))}
	name, extra, comment := int(le.Uint16(head[28:])), int(le.Uint16(head[30:])), int(le.Uint16(head[32:]))
	text := make([]byte, name+extra)
	if _, err := io.ReadFull(z.dir, text); err != nil {
		return nil, errZip
	}
	if _, err := z.dir.Discard(comment); err != nil {
		return nil, errZip
	}
	e.name = string(text[:name])
	e.wide(text[name:])
	return e, nil
}

// wide reads the sizes that need 8 bytes from the extra field (4.5.3).
func (e *zipEntry) wide(extra []byte) {
	for len(extra) >= 4 {
		kind, size := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if extra = extra[4:]; size > len(extra) {
			return
		}
		field := extra[:size]
		extra = extra[size:]
		if kind != 1 {
			continue
		}
		for _, v := range []*uint64{&e.unpacked, &e.packed, &e.header} {
			if *v == math.MaxUint32 && len(field) >= 8 {
				*v, field = binary.LittleEndian.Uint64(field), field[8:]
			}
		}
	}
}

// plain reports whether the entry is a file that an export would hold: not a folder, with a name that stays inside.
func (e *zipEntry) plain() bool {
	return e.name != "" && len(e.name) <= maxZipName && !strings.HasSuffix(e.name, "/") && !strings.ContainsAny(e.name, "\\\x00") &&
		!path.IsAbs(e.name) && path.Clean(e.name) == e.name && !strings.HasPrefix(e.name, "..")
}

// read unpacks an entry of at most limit bytes into memory, and checks it.
func (z *zipFile) read(e *zipEntry, limit int) ([]byte, error) {
	if e.unpacked > uint64(limit) {
		return nil, fmt.Errorf("it has %d bytes: more than %d are not read", e.unpacked, limit)
	}
	if e.packed > uint64(z.size) || e.header > uint64(z.size) {
		return nil, errZip
	}
	z.budget -= int64(e.unpacked) + 512
	if z.budget < 0 {
		return nil, errBomb
	}
	var head [30]byte
	at := int64(e.header) + z.shift
	if _, err := z.r.ReadAt(head[:], at); err != nil || !bytes.HasPrefix(head[:], []byte("PK\x03\x04")) {
		return nil, errZip
	}
	at += 30 + int64(binary.LittleEndian.Uint16(head[26:])) + int64(binary.LittleEndian.Uint16(head[28:]))
	var r io.Reader = bufio.NewReader(io.NewSectionReader(z.r, at, int64(e.packed)))
	switch e.method {
	case 0:
	case 8:
		inflater := flate.NewReader(r)
		defer inflater.Close()
		r = inflater
	default:
		return nil, fmt.Errorf("it is packed by method %d, which is not known", e.method)
	}
	out := make([]byte, e.unpacked)
	if _, err := io.ReadFull(r, out); err != nil {
		return nil, fmt.Errorf("it cannot be unpacked: %w", err)
	}
	var more [1]byte
	if n, _ := r.Read(more[:]); n > 0 {
		return nil, errors.New("it is larger than the zip file says")
	}
	if crc32.ChecksumIEEE(out) != e.crc {
		return nil, errors.New("its checksum is wrong")
	}
	return out, nil
}

// errBomb ends the reading of a zip file.
var errBomb = fmt.Errorf("a zip file that unpacks to more than %d times its size is not read", maxZipRatio)
