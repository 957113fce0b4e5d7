package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/scan"
)

// maxMembers bounds the members of an archive that holds images. Each layer is one or a few.
const maxMembers = 100_000

// maxWindow bounds what unpacking one zstd stream needs.
const maxWindow = 64 << 20

// archive is a tar file of an image: what docker save, podman save and tools that write OCI layouts make.
type archive struct {
	file    *os.File
	members map[string]member
}

type member struct {
	offset, size int64
	link         string // another member that has the content
}

// openArchive reads the names in the file; what they hold is read where it lies. A compressed one is unpacked to a
// file without a name first, at most limit bytes.
func openArchive(f *os.File, limit int64) (*archive, error) {
	packed, err := isPacked(f)
	if err != nil {
		return nil, err
	}
	if packed {
		defer f.Close()
		r, closeReader, err := unpack(f)
		if err != nil {
			return nil, err
		}
		defer closeReader()
		plain, err := unnamedFile("")
		if err != nil {
			return nil, err
		}
		n, err := io.Copy(plain, io.LimitReader(r, limit+1))
		if err == nil && n > limit {
			err = errTooMuch(limit)
		}
		if err != nil {
			plain.Close()
			return nil, fmt.Errorf("unpack: %w", err)
		}
		f = plain
	}
	a := &archive{file: f, members: map[string]member{}}
	if err := a.list(); err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func isPacked(f *os.File) (bool, error) {
	var head [4]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	return isGzip(head[:n]) || isZstd(head[:n]), nil
}

func (a *archive) list() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	section := io.NewSectionReader(a.file, 0, info.Size())
	t := tar.NewReader(section)
	for n := 0; ; n++ {
		h, err := t.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && n == 0:
			return errors.New("not an image: no tar archive")
		case err != nil:
			return fmt.Errorf("the archive is damaged after %d members: %w", n, err)
		case n >= maxMembers:
			return fmt.Errorf("more than %d members: not an archive of an image", maxMembers)
		case len(h.Name) > maxName || len(h.Linkname) > maxName:
			continue
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := section.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.members[name] = member{offset: at, size: h.Size}
		case tar.TypeSymlink:
			a.members[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean(h.Linkname)}
		}
	}
}

func (a *archive) Close() error { return a.file.Close() }

func (a *archive) open(_ context.Context, d *descriptor) (*blob, error) {
	name := d.name
	if name == "" {
		_, sum, err := newHash(d.Digest)
		if err != nil {
			return nil, err
		}
		algorithm, _, _ := strings.Cut(d.Digest, ":")
		name = path.Join("blobs", algorithm, sum)
	}
	m, ok := a.members[path.Clean(name)]
	for hops := 0; ok && m.link != ""; hops++ {
		if hops == 10 {
			return nil, fmt.Errorf("%s: links that lead in a circle", d)
		}
		m, ok = a.members[m.link]
	}
	if !ok {
		return nil, missing(d, fs.ErrNotExist)
	}
	section := io.NewSectionReader(a.file, m.offset, m.size)
	return &blob{Reader: section, at: section, size: m.size}, nil
}

func isGzip(head []byte) bool { return bytes.HasPrefix(head, []byte{0x1f, 0x8b}) }
func isZstd(head []byte) bool { return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) }

// unpack returns what the stream holds, unpacked if it is gzip or zstd, by its first bytes: media types lie.
func unpack(r io.Reader) (io.Reader, func(), error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, err := buffered.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case isGzip(head):
		z, err := gzip.NewReader(buffered)
		if err != nil {
			return nil, nil, err
		}
		return z, func() { z.Close() }, nil
	case isZstd(head):
		z, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return buffered, func() {}, nil
}

// openLocal opens what lies on this machine: an archive or a folder with a layout.
func openLocal(name string, limit int64) (blobs, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", scan.Printable(name), inner(err))
	}
	if info.IsDir() {
		root, err := os.OpenRoot(name)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", scan.Printable(name), inner(err))
		}
		return &layoutFolder{root: root}, nil
	}
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", scan.Printable(name), inner(err))
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("image %s: neither a file nor a folder", scan.Printable(name))
	}
	a, err := openArchive(f, limit)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("image %s: %w", scan.Printable(name), err)
	}
	return a, nil
}

// inner returns an error without the path that the caller names.
func inner(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
