package archive

import (
	"archive/tar"
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/scan"
)

// zstdWindow bounds what one zstd decoder holds; level 19 needs 8 MiB.
const zstdWindow = maxWindow / 2

// stream reads an archive from its beginning to its end. A compressed tar archive is one archive, not two.
func (s *source) stream(r io.Reader, k format, name string) error {
	if k == tarFile {
		return s.tar(r)
	}
	b := bufio.NewReaderSize(r, 64<<10)
	window := s.budget.window
	unpacked, err := s.decompress(b, k)
	if err != nil {
		return err
	}
	defer func() {
		unpacked.Close()
		s.budget.window = window
	}()
	inner := bufio.NewReaderSize(metered{unpacked, s}, 64<<10)
	head, err := inner.Peek(sniffed)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.counted = true
	if recognise(head, strings.TrimSuffix(name, path.Ext(name))) == tarFile {
		return s.tar(inner)
	}
	if err := s.entry(); err != nil {
		return err
	}
	return s.offer(stem(name), inner, -1, time.Time{}, func(err error) error { return err })
}

// stem is the name of what is compressed.
func stem(name string) string {
	switch ext := strings.ToLower(path.Ext(name)); ext {
	case ".gz", ".bz2", ".xz", ".zst", ".z":
		return name[:len(name)-len(ext)]
	case ".tgz", ".txz", ".tbz2", ".tzst":
		return name[:len(name)-len(ext)] + ".tar"
	}
	return name
}

type closer struct {
	io.Reader
	close func()
}

func (c closer) Close() { c.close() }

func nothing() {}

// decompress returns what is behind the compression.
func (s *source) decompress(b *bufio.Reader, k format) (closer, error) {
	switch k {
	case gzipFile:
		z, err := gzip.NewReader(b)
		if err != nil {
			return closer{}, err
		}
		return closer{z, nothing}, nil
	case bzip2File:
		return closer{bzip2.NewReader(b), nothing}, nil
	case xzFile:
		return closer{&xzReader{in: counting{r: b}, window: &s.budget.window}, nothing}, nil
	case zstdFile:
		limit := min(s.budget.window, zstdWindow)
		if limit <= 0 {
			return closer{}, errors.New("too many archives in each other need memory")
		}
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxWindow(uint64(limit)), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err != nil {
			return closer{}, err
		}
		s.budget.window -= limit
		return closer{z, z.Close}, nil
	}
	return closer{}, fmt.Errorf("%v is no stream", k)
}

// tar offers the files of a tar archive: POSIX, GNU, and what came before.
func (s *source) tar(r io.Reader) error {
	t := tar.NewReader(contextReader{r, s})
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && (h == nil || !errors.Is(err, tar.ErrInsecurePath)) {
			return err
		}
		if err := s.entry(); err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg, tar.TypeGNUSparse, 0, '7':
		case tar.TypeDir:
			continue
		default: // links, devices, pipes
			s.v.Count(scan.Special, 1)
			continue
		}
		var in io.Reader = t
		if s.counted && isSparse(h) {
			in = metered{t, s} // zeros that nothing is read for
		}
		if err := s.offer(h.Name, in, h.Size, h.ModTime, func(err error) error { return err }); err != nil {
			return err
		}
	}
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// contextReader ends with the context.
type contextReader struct {
	r io.Reader
	s *source
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.s.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
