package intel

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// tempPrefix begins the names of files that a killed process may leave.
const tempPrefix = ".testudo-intel-"

// Writer makes a database beside the one that is in use, which Commit replaces. Sources may be written at the same time.
type Writer struct {
	path string
	mu   sync.Mutex
	f    *os.File
	out  *bufio.Writer
	at   int64
	dir  directory
	done bool
}

// Create begins a database that is to be at path. Its folder must exist; work is where temporary files go, the same folder if empty.
func Create(path, work string) (*Writer, error) {
	f, err := os.CreateTemp(cmp.Or(work, filepath.Dir(path)), tempPrefix+"new-*")
	if err != nil {
		return nil, err
	}
	w := &Writer{path: path, f: f, out: bufio.NewWriterSize(f, 256<<10)}
	w.at = int64(len(magic))
	_, err = w.out.WriteString(magic)
	return w, err
}

// sectionWriter writes a section's bytes and digests them.
type sectionWriter struct {
	w *Writer
	h hash.Hash
	n int64
}

func (s *sectionWriter) Write(p []byte) (int, error) {
	s.h.Write(p)
	s.n += int64(len(p))
	return s.w.out.Write(p)
}

// section has f write a section, of which only one is written at a time.
func (w *Writer) section(info sectionInfo, f func(s *sectionWriter, info *sectionInfo) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return errors.New("the database is written already")
	}
	for _, other := range w.dir.Sections {
		if other.Kind == info.Kind && other.Name == info.Name {
			return fmt.Errorf("%s is there already", info.Name)
		}
	}
	s := &sectionWriter{w: w, h: sha256.New()}
	info.Offset = w.at
	if err := f(s, &info); err != nil {
		w.done = true // what was written of it is in the way
		return err
	}
	info.Size, info.Digest = s.n, "sha256:"+hex.EncodeToString(s.h.Sum(nil))
	w.at += s.n
	w.dir.Sections = append(w.dir.Sections, info)
	return nil
}

// Copy takes a source from another database as it is there, and checks it meanwhile; change may alter what does not
// come from the content, as when it was checked.
func (w *Writer) Copy(from *Database, kind Kind, name string, change func(*Source)) error {
	s := from.find(kind, name)
	if s == nil {
		return fmt.Errorf("%s is not in %s", name, from.info.Path)
	}
	info := s.info
	// Read once before anything is written: a damaged source must not spoil the new database.
	if err := from.digest(s); err != nil {
		return err
	}
	if change != nil {
		change(&info.Source)
	}
	info.Advisories, info.Withdrawn, info.Malicious, info.Packages = s.info.Advisories, s.info.Withdrawn, s.info.Malicious, s.info.Packages
	return w.section(info, func(out *sectionWriter, _ *sectionInfo) error {
		_, err := io.Copy(out, io.NewSectionReader(from.f, s.info.Offset, s.info.Size))
		return err
	})
}

func (d *Database) find(kind Kind, name string) *section {
	switch kind {
	case KindExploited:
		return d.lists.exploited.section
	case KindProbability:
		return d.lists.probability.section
	}
	return d.families[name]
}

func (d *Database) digest(s *section) error {
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(d.f, s.info.Offset, s.info.Size)); err != nil {
		return err
	}
	if "sha256:"+hex.EncodeToString(h.Sum(nil)) != s.info.Digest {
		return damaged("digest of %.40q", s.info.Name)
	}
	return nil
}

// Exploited writes the list of exploited vulnerabilities, and returns how many of them are no CVE and left out.
func (w *Writer) Exploited(source Source, entries []Exploited) (left int, err error) {
	var raw []byte
	for _, e := range entries {
		cve, ok := packCVE(e.CVE)
		if !ok {
			left++
			continue
		}
		flags := uint32(0)
		if e.Ransomware {
			flags = flagRansomware
		}
		for _, v := range []uint32{cve, days(e.Added), days(e.Due), flags} {
			raw = binary.BigEndian.AppendUint32(raw, v)
		}
	}
	source.Kind = KindExploited
	return left, w.list(source, raw, exploitedSize)
}

// Probabilities writes EPSS's list, and returns how many of them are no CVE and left out. Their date is source.Newest.
func (w *Writer) Probabilities(source Source, entries []Probability) (left int, err error) {
	raw := make([]byte, 0, len(entries)*probabilitySize)
	for _, e := range entries {
		cve, ok := packCVE(e.CVE)
		if !ok {
			left++
			continue
		}
		for _, v := range []uint32{cve, billionths(e.Score), billionths(e.Percentile)} {
			raw = binary.BigEndian.AppendUint32(raw, v)
		}
	}
	source.Kind = KindProbability
	return left, w.list(source, raw, probabilitySize)
}

func (w *Writer) list(source Source, raw []byte, size int) error {
	var rows [][]byte
	for row := range slices.Chunk(raw, size) {
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b []byte) int { return bytes.Compare(a[:4], b[:4]) })
	rows = slices.CompactFunc(rows, func(a, b []byte) bool { return bytes.Equal(a[:4], b[:4]) })
	if len(rows)*size > maxList {
		return fmt.Errorf("%s has %d entries: too many", source.Name, len(rows))
	}
	source.Advisories = int64(len(rows))
	sum := crc32.New(castagnoli())
	return w.section(sectionInfo{Source: source}, func(s *sectionWriter, info *sectionInfo) error {
		for _, row := range rows {
			sum.Write(row)
			if _, err := s.Write(row); err != nil {
				return err
			}
		}
		info.CRC = sum.Sum32()
		return nil
	})
}

// Commit puts the database in its place, as a whole: whoever has the old one open goes on with it.
func (w *Writer) Commit(built time.Time) (err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return errors.New("the database cannot be finished")
	}
	w.done = true
	w.dir.Built = built.UTC()
	raw, err := json.Marshal(&w.dir)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(raw)
	_, _ = w.out.Write(raw)
	_, _ = w.out.WriteString(magic)
	var place [16]byte
	binary.BigEndian.PutUint64(place[:], uint64(w.at))
	binary.BigEndian.PutUint64(place[8:], uint64(len(raw)))
	_, _ = w.out.Write(place[:])
	_, err = w.out.Write(sum[:])
	err = errors.Join(err, w.out.Flush())
	if err == nil {
		err = putInPlace(w.f, w.path)
	}
	return err
}

// putInPlace makes a temporary file the one at path, or removes it: on a full disk it would be in the way.
func putInPlace(f *os.File, path string) (err error) {
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // gone already after the renaming
		}
	}()
	// Advisories are public; who may read the folder may read them.
	err = errors.Join(f.Chmod(0o644), f.Sync())
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, os.ErrInvalid) {
		return err
	}
	return nil
}

// Abort removes what was written; after Commit it does nothing.
func (w *Writer) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
	if w.f.Close() == nil { // Commit has closed it
		_ = os.Remove(w.f.Name())
	}
}

func folderOf(f *os.File) string { return filepath.Dir(f.Name()) }
