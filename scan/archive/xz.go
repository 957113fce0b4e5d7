package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xzReader reads the .xz format (the specification's version 1.2.1), of which each block says how much memory it
// needs: that is checked before it is had, which the library for whole files does not do. Checksums are passed over.
type xzReader struct {
	in     counting
	window *int64 // what may be had; blocks have it one after the other
	most   int64  // what was had
	had    int64  // in all, one block after the other
	made   int64  // bytes unpacked
	block  io.Reader
	begin  int64 // of the block
	check  int   // bytes of the checksum
	inside bool  // of a stream
}

// counting counts what is read.
type counting struct {
	r *bufio.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counting) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

var errXZ = errors.New("not a whole xz file")

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for {
		if x.block != nil {
			n, err := x.block.Read(p)
			x.made += int64(n)
			if !errors.Is(err, io.EOF) {
				return n, err
			}
			x.block = nil
			if err := x.skip((4-(x.in.n-x.begin)%4)%4 + int64(x.check)); err != nil {
				return n, err
			}
			if n > 0 {
				return n, nil
			}
		}
		err := x.next()
		if err != nil {
			return 0, err
		}
	}
}

func (x *xzReader) skip(n int64) error {
	if _, err := io.CopyN(io.Discard, &x.in, n); err != nil {
		return fmt.Errorf("%w: %w", errXZ, io.ErrUnexpectedEOF)
	}
	return nil
}

// next comes to the next block. io.EOF says that there is none.
func (x *xzReader) next() error {
	if !x.inside {
		return x.header()
	}
	x.begin = x.in.n
	size, err := x.in.ReadByte()
	if err != nil {
		return fmt.Errorf("%w: %w", errXZ, io.ErrUnexpectedEOF)
	}
	if size == 0 {
		return x.index()
	}
	h := make([]byte, (int(size)+1)*4-1)
	if _, err := io.ReadFull(&x.in, h); err != nil {
		return fmt.Errorf("%w: %w", errXZ, io.ErrUnexpectedEOF)
	}
	flags, rest := h[0], h[1:len(h)-4]
	unpacked := uint64(1) << 62
	if flags&0x40 != 0 {
		if _, rest, err = vli(rest); err != nil {
			return err
		}
	}
	if flags&0x80 != 0 {
		if unpacked, rest, err = vli(rest); err != nil {
			return err
		}
	}
	filter, rest, err := vli(rest)
	if err != nil {
		return err
	}
	if flags&0x3f != 0 || filter != 0x21 || len(rest) < 2 || rest[0] != 1 {
		return fmt.Errorf("%w: it is filtered in a way that is not known", errXZ)
	}
	dict, err := lzma.DecodeDictCap(rest[1] & 0x3f)
	if err != nil {
		return fmt.Errorf("%w: %w", errXZ, err)
	}
	if unpacked < uint64(dict) { // nothing reaches further back than to the block's beginning
		dict = max(int64(unpacked), lzma.MinDictCap)
	}
	if dict > *x.window+x.most {
		return fmt.Errorf("it needs %d MiB of memory", dict>>20)
	}
	if dict > x.most {
		*x.window -= dict - x.most
		x.most = dict
	}
	if x.had += dict; x.had > maxWindow+2*x.made {
		return fmt.Errorf("%w: its blocks hold nothing and need memory", errXZ)
	}
	x.block, err = lzma.Reader2Config{DictCap: int(max(dict, lzma.MinDictCap))}.NewReader2(&x.in)
	return err
}

// header reads the beginning of a stream, and the zeros before it.
func (x *xzReader) header() error {
	var h [12]byte
	for {
		if n, err := io.ReadFull(&x.in, h[:4]); n == 0 && errors.Is(err, io.EOF) && x.in.n > 0 {
			return io.EOF
		} else if err != nil {
			return fmt.Errorf("%w: %w", errXZ, io.ErrUnexpectedEOF)
		}
		if x.in.n == 4 || h[0]|h[1]|h[2]|h[3] != 0 {
			break
		}
	}
	if _, err := io.ReadFull(&x.in, h[4:]); err != nil {
		return fmt.Errorf("%w: %w", errXZ, io.ErrUnexpectedEOF)
	}
	if string(h[:6]) != "\xfd7zXZ\x00" || h[6] != 0 || h[7] > 15 {
		return fmt.Errorf("%w: its header is damaged", errXZ)
	}
	x.check = [16]int{0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64}[h[7]]
	x.inside = true
	return nil
}

// index passes over what stands behind the blocks.
func (x *xzReader) index() error {
	n, err := x.vli()
	if err != nil {
		return err
	}
	for range 2 * n {
		if _, err := x.vli(); err != nil {
			return err
		}
	}
	x.inside = false
	return x.skip((4-(x.in.n-x.begin)%4)%4 + 4 + 12)
}

func (x *xzReader) vli() (n uint64, err error) {
	for shift := 0; shift < 63; shift += 7 {
		b, err := x.in.ReadByte()
		if err != nil {
			return 0, fmt.Errorf("%w: %w", errXZ, io.ErrUnexpectedEOF)
		}
		n |= uint64(b&0x7f) << shift
		if b&0x80 == 0 {
			return min(n, 1<<62), nil
		}
	}
	return 0, fmt.Errorf("%w: a number is too long", errXZ)
}

func vli(b []byte) (n uint64, rest []byte, err error) {
	for i := 0; i < len(b) && i < 9; i++ {
		n |= uint64(b[i]&0x7f) << (7 * i)
		if b[i]&0x80 == 0 {
			return n, b[i+1:], nil
		}
	}
	return 0, nil, fmt.Errorf("%w: a number is cut short", errXZ)
}
