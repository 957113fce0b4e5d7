package intake

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd file can make its reader hold.
const maxWindow = 64 << 20

// foreign are the beginnings of files that hold logs and are no text, and what to do about each.
var foreign = [...]struct{ begins, advice string }{
	{"\xfd7zXZ\x00", "compressed by xz, which is not read here: unpack it (xz -dk FILE)"},
	{"\x04\x22\x4d\x18", "compressed by lz4, which is not read here: unpack it (lz4 -dk FILE)"},
	{"PK\x03\x04", "a zip archive: unpack it first"},
	{"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"},
	{"ElfFile\x00", "a Windows event log in its binary form: convert it to JSON first (evtx_dump -o jsonl FILE, or Get-WinEvent with ConvertTo-Json)"},
	{"LPKSHHRH", "a journal of systemd in its binary form: journalctl --file FILE -o json | testudo logs -"},
	{"PAR1", "Parquet, which is no log: testudo hunt searches testudo's own"},
	{"SQLite format 3\x00", "an SQLite database, which is no log"},
	{"\x7fELF", "a program, which is no log"},
}

// Decompress returns what r holds without its gzip, zstd or bzip2 compression, by its first bytes, and UTF-16 that says so by its byte
// order mark, as PowerShell writes it, in UTF-8; anything else is returned as it is. Of what is known to be no text, and cannot be read, the
// error says what to do. Memory is bounded whatever r says: a file that is larger than all disks once it is unpacked takes
// time, not room.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	first, err := b.Peek(4)
	if err != nil && len(first) < 2 {
		return io.NopCloser(b), nil // shorter than any compressed file
	}
	switch {
	case bytes.HasPrefix(first, []byte{0x1f, 0x8b}): // RFC 1952
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, err
		}
		return text{inUTF8(z), z.Close}, nil
	case bytes.HasPrefix(first, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return text{inUTF8(z), z.IOReadCloser().Close}, nil
	case bytes.HasPrefix(first, []byte("BZh")):
		return text{inUTF8(bzip2.NewReader(b)), func() error { return nil }}, nil
	}
	for _, f := range foreign {
		if len(first) < 4 || f.begins[:4] != string(first) {
			continue // a log may begin with fewer bytes than all of these: it is not waited for more
		}
		if head, _ := b.Peek(len(f.begins)); string(head) == f.begins {
			return nil, errors.New(f.advice)
		}
	}
	return io.NopCloser(inUTF8(b)), nil
}

type text struct {
	io.Reader
	close func() error
}

func (t text) Close() error { return t.close() }

// inUTF8 returns r's text in UTF-8 where it begins with the byte order mark of UTF-16.
func inUTF8(r io.Reader) io.Reader {
	b, ok := r.(*bufio.Reader)
	if !ok {
		b = bufio.NewReaderSize(r, 64<<10)
	}
	switch mark, _ := b.Peek(2); string(mark) {
	case "\xff\xfe":
		_, _ = b.Discard(2)
		return &utf16Reader{r: b, order: binary.LittleEndian}
	case "\xfe\xff":
		_, _ = b.Discard(2)
		return &utf16Reader{r: b, order: binary.BigEndian}
	}
	return b
}

// utf16Reader turns UTF-16 into UTF-8. Halves of pairs that stand alone, and an odd byte at the end, become U+FFFD.
type utf16Reader struct {
	r     *bufio.Reader
	order binary.ByteOrder
	out   []byte // not delivered yet, in buf
	buf   []byte
}

func (u *utf16Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(u.out) == 0 {
		if _, err := u.r.Peek(1); err != nil {
			return 0, err
		}
		in, err := u.r.Peek(min(max(u.r.Buffered(), 4), 32<<10)) // a pair is four bytes
		whole := len(in) &^ 1
		u.buf = u.buf[:0]
		at := 0
		for at < whole {
			c := rune(u.order.Uint16(in[at:]))
			if utf16.IsSurrogate(c) {
				if at+4 > whole && err == nil {
					break // its other half comes with the next bytes
				}
				if at+4 <= whole {
					if pair := utf16.DecodeRune(c, rune(u.order.Uint16(in[at+2:]))); pair != utf8.RuneError {
						u.buf = utf8.AppendRune(u.buf, pair)
						at += 4
						continue
					}
				}
				c = utf8.RuneError
			}
			u.buf = utf8.AppendRune(u.buf, c)
			at += 2
		}
		if at == 0 && len(in) == 1 && err != nil {
			u.buf = utf8.AppendRune(u.buf, utf8.RuneError)
			at = 1
		}
		_, _ = u.r.Discard(at)
		u.out = u.buf
	}
	n := copy(p, u.out)
	u.out = u.out[n:]
	return n, nil
}
