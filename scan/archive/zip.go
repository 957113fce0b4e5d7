package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"compress/bzip2"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/scan"
)

// Section numbers are those of APPNOTE.TXT 6.3.10.

var errZip = errors.New("not a whole zip archive")

// directory is where the list of entries is.
type directory struct {
	from, size int64
	shift      int64 // of all offsets: what stands before the archive
}

// findDirectory reads the end record (4.3.16), and its larger form (4.3.14).
func findDirectory(r io.ReaderAt, size int64) (d directory, err error) {
	const record, longest = 22, 22 + 0xffff
	tail := make([]byte, min(size, longest))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return d, err
	}
	at := -1
	for i := len(tail) - record; i >= 0; i-- {
		if tail[i] == 'P' && string(tail[i:i+4]) == "PK\x05\x06" && int(binary.LittleEndian.Uint16(tail[i+20:])) <= len(tail)-i-record {
			at = i
			break
		}
	}
	if at < 0 {
		return d, fmt.Errorf("%w: it has no directory", errZip)
	}
	end := size - int64(len(tail)) + int64(at)
	d.size, d.from = int64(binary.LittleEndian.Uint32(tail[at+12:])), int64(binary.LittleEndian.Uint32(tail[at+16:]))
	if at >= 20 && string(tail[at-20:at-16]) == "PK\x06\x07" {
		var large [56]byte
		where := int64(binary.LittleEndian.Uint64(tail[at-12:]))
		if where < 0 || where > end {
			return d, fmt.Errorf("%w: its directory is elsewhere", errZip)
		}
		if _, err := r.ReadAt(large[:], where); err == nil && string(large[:4]) == "PK\x06\x06" {
			d.size, d.from = int64(binary.LittleEndian.Uint64(large[40:])), int64(binary.LittleEndian.Uint64(large[48:]))
			end = where
		}
	}
	if d.size < 0 || d.from < 0 || d.size > end {
		return d, fmt.Errorf("%w: its directory is larger than the file", errZip)
	}
	if real := end - d.size; real != d.from && real > d.from {
		d.shift = real - d.from
	}
	if d.from+d.shift+d.size > size || d.from+d.shift < 0 {
		return d, fmt.Errorf("%w: its directory is outside the file", errZip)
	}
	return d, nil
}

// zipEntry is a line of the directory (4.3.12).
type zipEntry struct {
	name             string
	flags, method    uint16
	packed, unpacked int64
	at               int64
	modified         time.Time
	mode             uint32 // of Unix; 0 if not said
}

// readEntry reads the directory's next line.
func readEntry(b *bufio.Reader) (e zipEntry, err error) {
	var h [46]byte
	if _, err := io.ReadFull(b, h[:]); err != nil {
		return e, err
	}
	if string(h[:4]) != "PK\x01\x02" {
		return e, fmt.Errorf("%w: its directory is damaged", errZip)
	}
	le := binary.LittleEndian
	e.flags, e.method = le.Uint16(h[8:]), le.Uint16(h[10:])
	e.packed, e.unpacked, e.at = int64(le.Uint32(h[20:])), int64(le.Uint32(h[24:])), int64(le.Uint32(h[42:]))
	if h[5] == 3 {
		e.mode = le.Uint32(h[38:]) >> 16
	}
	date, clock := le.Uint16(h[14:]), le.Uint16(h[12:])
	e.modified = time.Date(int(date>>9)+1980, time.Month(date>>5&15), int(date&31), int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC)
	rest := make([]byte, int(le.Uint16(h[28:]))+int(le.Uint16(h[30:])))
	if _, err := io.ReadFull(b, rest); err != nil {
		return e, err
	}
	if _, err := b.Discard(int(le.Uint16(h[32:]))); err != nil {
		return e, err
	}
	e.name = string(rest[:le.Uint16(h[28:])])
	for extra := rest[le.Uint16(h[28:]):]; len(extra) >= 4; {
		id, n := le.Uint16(extra), int(le.Uint16(extra[2:]))
		if extra = extra[4:]; n > len(extra) {
			break
		}
		if field := extra[:n]; id == 1 { // 4.5.3: those that did not fit, in this order
			for _, v := range []*int64{&e.unpacked, &e.packed, &e.at} {
				if *v == 0xffffffff && len(field) >= 8 {
					*v = int64(le.Uint64(field))
					field = field[8:]
				}
			}
		}
		extra = extra[n:]
	}
	if e.packed < 0 || e.unpacked < 0 || e.at < 0 {
		return e, fmt.Errorf("%w: a size is negative", errZip)
	}
	return e, nil
}

// zip offers the files of a zip archive, in the order of its directory, of which one line is held at a time.
func (s *source) zip(r io.ReaderAt, size int64) error {
	d, err := findDirectory(r, size)
	if err != nil {
		return err
	}
	lines := bufio.NewReaderSize(io.NewSectionReader(r, d.from+d.shift, d.size), 16<<10)
	total := int64(0)
	for {
		e, err := readEntry(lines)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.entry(); err != nil {
			return err
		}
		switch {
		case strings.HasSuffix(e.name, "/"):
			continue
		case e.mode&0xf000 != 0 && e.mode&0xf000 != 0x8000: // a link, a device
			s.v.Count(scan.Special, 1)
			continue
		}
		// Entries that share bytes are how a small archive unpacks to petabytes.
		if total += e.packed; total > size {
			return fmt.Errorf("%w: its entries overlap", errZip)
		}
		if err := s.zipFile(r, size, d.shift, &e); err != nil {
			return err
		}
	}
}

// zipFile offers one entry. One that cannot be read is said; the error is about the archive.
func (s *source) zipFile(r io.ReaderAt, size, shift int64, e *zipEntry) error {
	skip := func(reason string) error {
		s.v.Skip(scan.Unreadable, s.label(e.name), reason)
		return nil
	}
	if e.flags&1 != 0 {
		return skip("encrypted")
	}
	var h [30]byte
	if _, err := r.ReadAt(h[:], min(e.at+shift, size)); err != nil || !bytes.HasPrefix(h[:], []byte("PK\x03\x04")) {
		return skip("is not where the archive says")
	}
	from := e.at + shift + 30 + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if from+e.packed > size {
		return skip("reaches beyond the archive")
	}
	in := bufio.NewReaderSize(io.NewSectionReader(r, from, e.packed), int(min(max(e.packed, 16), 32<<10)))
	var unpacked io.Reader
	switch e.method {
	case 0:
		unpacked = in
	case 8:
		z := s.flate(in)
		unpacked = z
	case 12:
		unpacked = bzip2.NewReader(in)
	case 93:
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return skip(err.Error())
		}
		defer z.Close()
		unpacked = z
	default:
		return skip(fmt.Sprintf("compressed by method %d, which is not known", e.method))
	}
	return s.offer(e.name, unpacked, e.unpacked, e.modified, func(err error) error {
		s.v.Skip(scan.Unreadable, s.path+"!/"+e.name[:min(len(e.name), maxName)], err.Error())
		return nil
	})
}

// flate returns the decoder of this archive, for other bytes: making one costs more than most entries.
func (s *source) flate(in io.Reader) io.Reader {
	if s.inflater == nil {
		s.inflater = flate.NewReader(in)
		return s.inflater
	}
	if err := s.inflater.(flate.Resetter).Reset(in, nil); err != nil {
		s.inflater = flate.NewReader(in)
	}
	return s.inflater
}
