package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/testudo-sec/testudo/scan"
)

// descriptor names a blob (OCI image specification, descriptor.md).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Annotations map[string]string `json:"annotations"`
	Platform    *platform         `json:"platform"`

	name     string // in an archive whose manifest has no digests
	manifest bool   // registries keep manifests apart from blobs
}

func (d *descriptor) String() string {
	if d.Digest == "" {
		return scan.Printable(d.name)
	}
	return scan.Printable(d.Digest)
}

// blobs gives what an image consists of, as it is stored. It is safe for concurrent use.
type blobs interface {
	open(ctx context.Context, d *descriptor) (*blob, error)
	Close() error
}

// A blob is read once, from its beginning.
type blob struct {
	io.Reader
	at    io.ReaderAt // the same bytes; nil where they can only be read once
	size  int64       // -1 if not known
	close func() error
}

func (b *blob) Close() error {
	if b.close == nil {
		return nil
	}
	return b.close()
}

// newHash returns the hash of a digest, and its hex form. Digests become file names, so nothing else passes.
func newHash(digest string) (hash.Hash, string, error) {
	algorithm, sum, _ := strings.Cut(digest, ":")
	raw, err := hex.DecodeString(sum)
	lower := err == nil && strings.ToLower(sum) == sum
	switch {
	case algorithm == "sha256" && lower && len(raw) == sha256.Size:
		return sha256.New(), sum, nil
	case algorithm == "sha512" && lower && len(raw) == sha512.Size:
		return sha512.New(), sum, nil
	}
	return nil, "", fmt.Errorf("%q is no digest: want sha256: or sha512: and hexadecimal digits", scan.Printable(cut(digest, 100)))
}

func sumOf(h hash.Hash) string { return hex.EncodeToString(h.Sum(nil)) }

// errDigest says that content is not what its digest promises.
var errDigest = errors.New("the content is not what its digest says: it was changed or damaged")

// readBlob reads a small blob whole and checks its digest.
func readBlob(ctx context.Context, from blobs, d *descriptor, limit int64) ([]byte, error) {
	var h hash.Hash
	var sum string
	if d.Digest != "" {
		var err error
		if h, sum, err = newHash(d.Digest); err != nil {
			return nil, err
		}
	}
	b, err := from.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	if max(b.size, d.Size) > limit {
		return nil, fmt.Errorf("%s: %d bytes, the limit (max_manifest) is %d", d, max(b.size, d.Size), limit)
	}
	data, err := io.ReadAll(io.LimitReader(b, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s: more than the limit (max_manifest) of %d bytes", d, limit)
	}
	if h != nil {
		h.Write(data)
		if sumOf(h) != sum {
			return nil, fmt.Errorf("%s: %w", d, errDigest)
		}
	}
	return data, nil
}

// layoutFolder is an OCI image layout in a folder (image-layout.md).
type layoutFolder struct{ root *os.Root }

func (l *layoutFolder) Close() error { return l.root.Close() }

func (l *layoutFolder) open(_ context.Context, d *descriptor) (*blob, error) {
	name := d.name
	if name == "" {
		_, sum, err := newHash(d.Digest)
		if err != nil {
			return nil, err
		}
		algorithm, _, _ := strings.Cut(d.Digest, ":")
		name = path.Join("blobs", algorithm, sum)
	}
	// Opened without blocking: a pipe would wait for a writer.
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, missing(d, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", d, err)
	}
	return &blob{Reader: f, at: f, size: info.Size(), close: f.Close}, nil
}

// missingError says that a blob is not there.
type missingError string

func (e missingError) Error() string        { return string(e) }
func (e missingError) Is(target error) bool { return target == fs.ErrNotExist }

func missing(d *descriptor, err error) error {
	switch {
	case len(d.URLs) > 0 && errors.Is(err, fs.ErrNotExist):
		return missingError(d.String() + ": a foreign layer that the image does not hold; addresses in manifests are never fetched")
	case errors.Is(err, fs.ErrNotExist):
		return missingError(d.String() + ": the image does not hold it")
	}
	return fmt.Errorf("%s: %w", d, inner(err))
}

// spool holds bytes that must be read more than once or at any place: small ones in memory, large ones in a file that has
// no name any more when it is written, so that nothing is left behind whatever happens.
type spool struct {
	file *os.File
	data []byte
	size int64
}

// memorySpool is how much of one stream is held in memory.
const memorySpool = 8 << 20

// newSpool reads the stream to its end, at most limit bytes.
func newSpool(r io.Reader, dir string, limit int64) (*spool, error) {
	s := &spool{}
	var head bytes.Buffer
	n, err := io.CopyN(&head, r, memorySpool+1)
	switch {
	case errors.Is(err, io.EOF):
		s.data, s.size = head.Bytes(), n
		if n > limit {
			return nil, errTooMuch(limit)
		}
		return s, nil
	case err != nil:
		return nil, err
	}
	if s.file, err = unnamedFile(dir); err != nil {
		return nil, err
	}
	_, err = s.file.Write(head.Bytes())
	if err == nil {
		n, err = io.Copy(s.file, io.LimitReader(r, limit-int64(head.Len())+1))
		s.size = int64(head.Len()) + n
	}
	if err == nil && s.size > limit {
		err = errTooMuch(limit)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func errTooMuch(limit int64) error { return fmt.Errorf("more than the limit of %d bytes", limit) }

// unnamedFile makes a file that only this process can reach.
func unnamedFile(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, "testudo-image-*") // mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// readerAt returns the bytes.
func (s *spool) readerAt() io.ReaderAt {
	if s.file != nil {
		return s.file
	}
	return bytes.NewReader(s.data)
}

func (s *spool) blob() *blob {
	at := s.readerAt()
	return &blob{Reader: io.NewSectionReader(at, 0, s.size), at: at, size: s.size}
}

func (s *spool) Close() error {
	s.data = nil
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
