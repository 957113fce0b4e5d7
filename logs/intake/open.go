package intake

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds what a zstd file can make its reader hold.
const maxWindow = 64 << 20

// Decompress returns what r holds without its gzip or zstd compression, by its first bytes; what is not compressed is
// returned as it is. Memory is bounded whatever r says: a file that is larger than all disks once it is unpacked takes
// time, not room.
func Decompress(r io.Reader) (io.ReadCloser, error) {
	b := bufio.NewReaderSize(r, 128<<10)
	first, err := b.Peek(4)
	if err != nil && len(first) < 2 {
		return io.NopCloser(b), nil // shorter than any compressed file
	}
	switch {
	case bytes.HasPrefix(first, []byte{0x1f, 0x8b}): // RFC 1952
		return gzip.NewReader(b)
	case bytes.HasPrefix(first, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return io.NopCloser(b), nil
}
