package image

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync/atomic"

	"github.com/testudo-sec/testudo/scan"
)

const (
	// maxName bounds paths, as Linux does. A tar file allows a megabyte for each.
	maxName = 4096
	// maxNames bounds all names of an image together.
	maxNames = 128 << 20
	// keepFile and keepList bound one small file that is held beside the names, keepLayer those of a layer and keepImage those of all layers. Of files that
	// the parts judge themselves less is held: few ask for another of them.
	keepFile   = 256 << 10
	keepList   = 4 << 20
	keepLayer  = 24 << 20
	keepImage  = 64 << 20
	keepWanted = 16 << 20
)

// allowance is what is left of the limits, for all layers together.
type allowance struct {
	entries, names, unpacked, keep, wanted atomic.Int64
	config                                 Config
}

func newAllowance(c Config) *allowance {
	a := &allowance{config: c}
	a.entries.Store(int64(c.MaxEntries))
	a.names.Store(maxNames)
	a.unpacked.Store(int64(c.MaxUnpacked))
	a.keep.Store(keepImage)
	a.wanted.Store(keepWanted)
	return a
}

// metered counts what is unpacked.
type metered struct {
	r    io.Reader
	left *atomic.Int64 // may be nil
	n    int64
	hash hash.Hash // may be nil
	ctx  context.Context
	max  int64
}

func (m *metered) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.n += int64(n)
	if m.hash != nil {
		m.hash.Write(p[:n])
	}
	if m.left != nil && m.left.Add(-int64(n)) < 0 {
		return n, fmt.Errorf("the layers unpack to more than the limit (max_unpacked) of %d bytes", m.max)
	}
	return n, err
}

// stream is a layer being read.
type stream struct {
	blob    *blob
	section *io.SectionReader // of layers that are not packed and can be read anywhere
	tar     *tar.Reader
	plain   *metered
	packed  *metered
	unpack  func()
	diffID  string
	digest  string
}

// openLayer begins to read a layer. With a meter its size counts and finish compares its digests.
func openLayer(ctx context.Context, from blobs, l *Layer, a *allowance) (*stream, error) {
	if strings.Contains(l.blob.MediaType, "+encrypted") {
		return nil, errors.New("the layer is encrypted: decrypt the image first")
	}
	b, err := from.open(ctx, &l.blob)
	if err != nil {
		return nil, err
	}
	if a == nil && b.at != nil {
		if s := seekable(ctx, b); s != nil {
			return s, nil
		}
	}
	s := &stream{blob: b, diffID: l.DiffID, digest: l.blob.Digest}
	s.packed = &metered{r: b, ctx: ctx}
	if a != nil && s.digest != "" {
		if s.packed.hash, _, err = newHash(s.digest); err != nil {
			b.Close()
			return nil, err
		}
	}
	r, stop, err := unpack(s.packed)
	if err != nil {
		b.Close()
		return nil, err
	}
	s.unpack = stop
	s.plain = &metered{r: r, ctx: ctx}
	if a != nil {
		s.plain.left, s.plain.max = &a.unpacked, int64(a.config.MaxUnpacked)
		s.plain.hash = sha256.New()
	}
	s.tar = tar.NewReader(s.plain)
	return s, nil
}

// seekable returns a stream that leaps over what nobody reads, for layers that are not packed.
func seekable(ctx context.Context, b *blob) *stream {
	var head [4]byte
	if n, _ := b.at.ReadAt(head[:], 0); isGzip(head[:n]) || isZstd(head[:n]) {
		return nil
	}
	section := io.NewSectionReader(b.at, 0, b.size)
	return &stream{blob: b, section: section, tar: tar.NewReader(section), unpack: func() {}}
}

// place returns where the content of the current entry begins, and whether it can be read there.
func (s *stream) place(h *tar.Header) (io.ReaderAt, bool) {
	if s.section == nil || h.Typeflag != tar.TypeReg || isSparse(h) {
		return nil, false
	}
	at, err := s.section.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, false
	}
	return io.NewSectionReader(s.blob.at, at, h.Size), true
}

func isSparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// finish reads what is left and compares the digests.
func (s *stream) finish() error {
	if _, err := io.Copy(io.Discard, s.plain); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, s.packed); err != nil {
		return err
	}
	if s.packed.hash != nil {
		if _, sum, _ := newHash(s.digest); sumOf(s.packed.hash) != sum {
			return fmt.Errorf("layer %s: %w", scan.Printable(s.digest), errDigest)
		}
	}
	if s.diffID != "sha256:"+sumOf(s.plain.hash) {
		return fmt.Errorf("layer %s: %w", scan.Printable(s.diffID), errDigest)
	}
	return nil
}

func (s *stream) Close() {
	s.unpack()
	s.blob.Close()
}

// cleanName makes the path in the image of a name in a layer, "" if there is none.
func cleanName(raw string) string {
	if len(raw) > maxName || raw == "" || strings.ContainsRune(raw, 0) {
		return ""
	}
	clean := path.Clean(strings.TrimLeft(raw, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return ""
	}
	return clean
}

// entryOf translates a header, and tells what hides layers below (image specification, layer.md, "Whiteouts"). Why says what makes it no
// entry at all, and is empty for what builders leave behind for themselves.
func entryOf(h *tar.Header) (e entry, ok bool, why string) {
	p := cleanName(h.Name)
	if p == "" {
		return e, false, "its name leads out of the image or is longer than 4096 bytes"
	}
	dir, last := path.Split(p)
	switch {
	case last == ".wh..wh..opq":
		return entry{path: path.Clean(dir + "."), kind: opaque}, true, ""
	case strings.HasPrefix(last, ".wh..wh."):
		return e, false, ""
	case strings.HasPrefix(last, ".wh."):
		of := last[len(".wh."):]
		if of == "" || of == "." || of == ".." {
			return e, false, "a whiteout of nothing"
		}
		return entry{path: dir + of, kind: whiteout}, true, ""
	}
	e = entry{path: p, size: h.Size, mode: h.FileInfo().Mode()}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		e.kind = regular
		e.mode &^= fs.ModeType
	case tar.TypeDir:
		e.kind, e.size = folder, 0
		e.mode = e.mode&^fs.ModeType | fs.ModeDir
	case tar.TypeSymlink:
		if len(h.Linkname) > maxName {
			return e, false, "a link longer than 4096 bytes"
		}
		e.kind, e.link, e.size = symlink, h.Linkname, 0
		e.mode = e.mode&^fs.ModeType | fs.ModeSymlink
	case tar.TypeLink:
		if e.link = cleanName(h.Linkname); e.link == "" {
			return e, false, "a link that leads out of the image"
		}
		e.kind, e.size = hardlink, 0
		e.mode &^= fs.ModeType
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		e.kind, e.size = device, 0
	default:
		return e, false, ""
	}
	if e.size < 0 {
		return e, false, "a negative size"
	}
	return e, true, ""
}

// readIndex reads a layer once: it lists the names, keeps small files and compares the digests. What it returns with an error is what
// was read so far.
func readIndex(ctx context.Context, from blobs, l *Layer, a *allowance, wants func(string, fs.FileInfo) bool, skip func(path, why string)) (*index, error) {
	x := &index{keep: map[string][]byte{}, wanted: map[string][]byte{}}
	s, err := openLayer(ctx, from, l, a)
	if err != nil {
		return x, err
	}
	defer s.Close()
	defer x.sort()
	left := int64(keepLayer)
	for {
		h, err := s.tar.Next()
		if errors.Is(err, io.EOF) {
			x.unpacked = s.plain.n
			return x, s.finish()
		}
		if err != nil {
			return x, fmt.Errorf("after %d entries: %w", len(x.entries), err)
		}
		if a.entries.Add(-1) < 0 {
			return x, fmt.Errorf("the layers hold more than the limit (max_entries) of %d entries", a.config.MaxEntries)
		}
		e, ok, why := entryOf(h)
		if !ok {
			if why != "" {
				skip(cut(h.Name, 200), why)
			}
			continue
		}
		if a.names.Add(-int64(len(e.path)+len(e.link))) < 0 {
			return x, fmt.Errorf("the names in the layers are longer than %d bytes together", maxNames)
		}
		x.entries = append(x.entries, e)
		supports, most := supporting(e.path)
		if e.kind != regular || e.size > most {
			continue
		}
		if supports && (left < e.size || a.keep.Add(-e.size) < 0) || !supports && (!wants(e.path, e.info()) || a.wanted.Add(-e.size) < 0) {
			continue
		}
		if supports {
			left -= e.size
		}
		data, err := io.ReadAll(io.LimitReader(s.tar, e.size))
		if err != nil {
			return x, fmt.Errorf("%s: %w", scan.Printable(e.path), err)
		}
		if supports {
			x.keep[e.path] = data
		} else {
			x.wanted[e.path] = data
		}
	}
}

// supporting tells the files that extractors are known to ask for beside the one that they judge, and how large a file may be to be kept.
func supporting(p string) (yes bool, most int64) {
	base := path.Base(p)
	switch {
	case p == "lib/apk/db/installed", p == "usr/lib/apk/db/installed":
		return true, keepList
	case strings.HasPrefix(p, "etc/") && (strings.HasSuffix(base, "-release") || strings.HasSuffix(base, "_version")) && strings.Count(p, "/") == 1,
		p == "usr/lib/os-release",
		strings.HasPrefix(p, "var/lib/dpkg/info/") && strings.HasSuffix(p, ".list"),
		strings.HasPrefix(p, "usr/share/doc/") && base == "copyright":
		return true, keepFile
	}
	return false, keepFile
}
