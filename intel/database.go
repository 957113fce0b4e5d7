package intel

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A database is one file that never changes:
//
//	header     16 bytes: "testudo-intel 1\n"
//	sections   one for each source, without a gap between
//	directory  JSON: when it was built, and of each section its place, its SHA-256 and its source
//	trailer    64 bytes: the header again, offset and length of the directory (8 bytes each, big endian), its SHA-256
//
// A section with advisories has a dictionary and three tables: records by number, entries of packages by
// name and release, and numbers by id and alias. The others have entries of fixed size, sorted by CVE.
const (
	magic        = "testudo-intel 1\n"
	trailerSize  = len(magic) + 8 + 8 + sha256.Size
	maxDirectory = 8 << 20
	maxSections  = 2000
	maxDict      = 256 << 10
	cacheSize    = 24 << 20
)

// ErrNotFound says that no advisory has the id.
var ErrNotFound = errors.New("no such advisory")

type directory struct {
	Built    time.Time     `json:"built"`
	Sections []sectionInfo `json:"sections"`
}

type sectionInfo struct {
	Source
	Offset  int64     `json:"offset"`
	Dict    int64     `json:"dict,omitempty"` // length; it stands first
	CRC     uint32    `json:"crc"`            // of the dictionary, or of all fixed entries
	Records tableInfo `json:"records,omitzero"`
	Entries tableInfo `json:"entries,omitzero"`
	IDs     tableInfo `json:"ids,omitzero"`
}

// Database is an open database. It is safe for concurrent use, and goes on with the file that it opened when
// that is replaced.
type Database struct {
	f        *os.File
	info     Info
	sections []*section
	families map[string]*section
	lists    lists
}

// section is one source's part of the file.
type section struct {
	info    sectionInfo
	r       *io.SectionReader
	records table // key: number, 4 bytes big endian
	entries table // key: normal name, 0, release
	ids     table // key: id or alias in upper case; value: number

	once sync.Once
	dec  *zstd.Decoder
	err  error
}

// Open opens a database. It reads the directory alone: what a lookup needs is read and checked then, and Verify checks all.
func Open(path string) (*Database, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	d, err := open(f)
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	d.info.Path = path
	return d, nil
}

func open(f *os.File) (*Database, error) {
	stat, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	size := stat.Size()
	var head [len(magic)]byte
	if _, err := f.ReadAt(head[:], 0); err != nil || string(head[:]) != magic {
		if bytes.HasPrefix(head[:], []byte("testudo-intel ")) {
			return nil, errors.New("an advisory database of another version of testudo: run testudo db update")
		}
		return nil, errors.New("not an advisory database")
	}
	if size < int64(len(magic)+trailerSize) {
		return nil, damaged("it ends too early")
	}
	all := io.NewSectionReader(f, 0, size)
	trailer, err := readFull(all, size-int64(trailerSize), int64(trailerSize))
	if err != nil {
		return nil, err
	}
	at := int64(binary.BigEndian.Uint64(trailer[len(magic):]))
	length := int64(binary.BigEndian.Uint64(trailer[len(magic)+8:]))
	if string(trailer[:len(magic)]) != magic || at < int64(len(magic)) || length < 0 || length > maxDirectory || at > size || length != size-int64(trailerSize)-at {
		return nil, damaged("its end is not as it was written")
	}
	raw, err := readFull(all, at, length)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	if !bytes.Equal(sum[:], trailer[len(magic)+16:]) {
		return nil, damaged("digest of the directory")
	}
	var dir directory
	if err := json.Unmarshal(raw, &dir); err != nil || len(dir.Sections) > maxSections {
		return nil, damaged("the directory")
	}
	d := &Database{f: f, families: map[string]*section{}}
	d.info = Info{Size: size, Built: dir.Built, Digest: "sha256:" + hex.EncodeToString(sum[:])}
	if err := d.addSections(dir.Sections, at); err != nil {
		return nil, err
	}
	return d, nil
}

func (d *Database) addSections(list []sectionInfo, end int64) error {
	cache := newBlockCache(cacheSize)
	next := int64(len(magic))
	for i := range list {
		info := list[i]
		if info.Offset != next || info.Size < 0 || info.Size > end-next || info.Dict < 0 || info.Dict > maxDict {
			return damaged("the place of %.40q", info.Name)
		}
		next += info.Size
		s := &section{info: info, r: io.NewSectionReader(d.f, info.Offset, info.Size)}
		s.records = table{r: s.r, info: info.Records, dec: s.decoder, cache: cache}
		s.entries = table{r: s.r, info: info.Entries, dec: s.decoder, cache: cache}
		s.ids = table{r: s.r, info: info.IDs, dec: s.decoder, cache: cache}
		d.info.Sources = append(d.info.Sources, info.Source)
		switch info.Kind {
		case KindOSV:
			if d.families[info.Name] != nil || !validName(info.Name, maxEcosystem) {
				return damaged("the name %.40q", info.Name)
			}
			d.families[info.Name] = s
			d.sections = append(d.sections, s)
			d.info.Advisories += info.Advisories
		case KindExploited:
			d.lists.exploited.section = s
		case KindProbability:
			d.lists.probability.section = s
		}
	}
	if next != end {
		return damaged("bytes that belong to nothing")
	}
	sortSources(d.info.Sources)
	return nil
}

func (s *section) decoder() (*zstd.Decoder, error) {
	s.once.Do(func() {
		var dict []byte
		if dict, s.err = readFull(s.r, 0, s.info.Dict); s.err != nil {
			return
		}
		if crc32.Checksum(dict, castagnoli()) != s.info.CRC {
			s.err = damaged("checksum of a dictionary")
			return
		}
		options := []zstd.DOption{zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecodeAllCapLimit(true)}
		if len(dict) >= 8 {
			options = append(options, zstd.WithDecoderDictRaw(dictID, dict))
		}
		s.dec, s.err = zstd.NewReader(nil, options...)
	})
	return s.dec, s.err
}

// Info says what the database holds.
func (d *Database) Info() Info {
	info := d.info
	info.Sources = slices.Clone(info.Sources)
	return info
}

// Close closes the file. Advisories that were read stay valid.
func (d *Database) Close() error {
	for _, s := range d.sections {
		s.once.Do(func() { s.err = os.ErrClosed })
		if s.dec != nil {
			s.dec.Close()
		}
	}
	return d.f.Close()
}

// Affecting yields the advisories that name a package, withdrawn ones too, each once. Their Affected holds what they say of
// this package in this ecosystem alone. The ecosystem is OSV's with its release, as in "Debian:12": what is said of
// that release is found, and what is said of all. Without a release that of every release is. Names are compared as the ecosystem does.
// Advisories may be kept, and are not to be changed. An error ends the sequence: the database cannot be read or is damaged.
func (d *Database) Affecting(ecosystem, name string) iter.Seq2[*Advisory, error] {
	return func(yield func(*Advisory, error) bool) {
		family, release := Ecosystem(ecosystem)
		s := d.families[family]
		if s == nil || name == "" || len(name) > maxName || strings.IndexByte(ecosystem, 0) >= 0 || strings.IndexByte(name, 0) >= 0 {
			return
		}
		found, err := s.lookUp(NormalName(family, name), release)
		if err != nil {
			yield(nil, err)
			return
		}
		for len(found) > 0 {
			n := 1
			for n < len(found) && found[n].number == found[0].number {
				n++
			}
			a, _, err := s.advisory(found[0].number, false)
			for _, e := range found[:n] {
				if err == nil {
					err = e.decode(family, a)
				}
			}
			if err == nil {
				err = d.lists.join(a)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(a, nil) {
				return
			}
			found = found[n:]
		}
	}
}

// entry is what one advisory says of a package in a release.
type entry struct {
	number  uint32
	release string
	value   []byte
}

func (e *entry) decode(family string, a *Advisory) (err error) {
	ecosystem := family
	if e.release != "" {
		ecosystem += ":" + e.release
	}
	var ok bool
	if a.Affected, ok = decodeAffected(a.Affected, string(e.value), ecosystem); !ok {
		err = damaged("what %.128q says of a package", a.ID)
	}
	return err
}

// lookUp returns the entries of a package, by number. An empty release stands for all.
func (s *section) lookUp(name, release string) ([]entry, error) {
	var found []entry
	var bad error
	prefix := append([]byte(name), 0)
	collect := func(key, value []byte) bool {
		if !bytes.HasPrefix(key, prefix) {
			return false
		}
		e := entry{release: string(key[len(name)+1:])}
		if release != "" && e.release != "" && e.release != release {
			return false
		}
		number, n := binary.Uvarint(value)
		if n <= 0 || number > 1<<32-1 {
			bad = damaged("an entry of %.128q", name)
			return false
		}
		e.number, e.value = uint32(number), value[n:]
		found = append(found, e)
		return true
	}
	err := s.entries.scan(prefix, collect)
	if err == nil && release != "" {
		// The rows without a release stand first, those of other releases are passed over.
		exact := append(slices.Clone(prefix), release...)
		err = s.entries.scan(exact, func(key, value []byte) bool { return bytes.Equal(key, exact) && collect(key, value) })
		if len(found) > 0 {
			slices.SortStableFunc(found, func(a, b entry) int { return strings.Compare(a.release, b.release) })
		}
	}
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	slices.SortStableFunc(found, func(a, b entry) int { return int(int64(a.number) - int64(b.number)) })
	// A release that sorts first was met by the first scan already.
	return slices.CompactFunc(found, func(a, b entry) bool { return a.number == b.number && a.release == b.release }), nil
}

// advisory reads a record, without what it says of packages.
func (s *section) advisory(number uint32, wantPlaces bool) (*Advisory, []place, error) {
	var key [4]byte
	binary.BigEndian.PutUint32(key[:], number)
	var record []byte
	err := s.records.scan(key[:], func(k, value []byte) bool {
		if bytes.Equal(k, key[:]) {
			record = value
		}
		return false
	})
	if err != nil {
		return nil, nil, err
	}
	if record == nil {
		return nil, nil, damaged("advisory %d of %.40q is missing", number, s.info.Name)
	}
	a, places, ok := decodeAdvisory(string(record), wantPlaces)
	if !ok {
		return nil, nil, damaged("advisory %d of %.40q", number, s.info.Name)
	}
	return a, places, nil
}

// Advisory returns the advisory of this id, with all that it says of all packages. Case does not matter. ErrNotFound if there is
// none; Named also finds by alias.
func (d *Database) Advisory(id string) (*Advisory, error) {
	all, err := d.Named(id)
	if err != nil {
		return nil, err
	}
	for _, a := range all {
		if strings.EqualFold(a.ID, id) {
			return a, nil
		}
	}
	return nil, fmt.Errorf("%.128q: %w", id, ErrNotFound)
}

// Named returns the advisories with this id or alias, or that pass it on (upstream), whole, sorted by id; none is no error.
func (d *Database) Named(name string) ([]*Advisory, error) {
	var out []*Advisory
	if !ValidID(name) {
		return nil, nil
	}
	key := []byte(strings.ToUpper(name))
	byID := map[string]*Advisory{}
	for _, s := range d.sections {
		var numbers []uint32
		err := s.ids.scan(key, func(k, value []byte) bool {
			if !bytes.Equal(k, key) {
				return false
			}
			if n, size := binary.Uvarint(value); size > 0 && n < 1<<32 {
				numbers = append(numbers, uint32(n))
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		for _, number := range numbers {
			a, err := s.whole(number)
			if err != nil {
				return nil, err
			}
			if other := byID[a.ID]; other != nil {
				other.Affected = append(other.Affected, a.Affected...)
				continue
			}
			if err := d.lists.join(a); err != nil {
				return nil, err
			}
			byID[a.ID] = a
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *Advisory) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

func (s *section) whole(number uint32) (*Advisory, error) {
	a, places, err := s.advisory(number, true)
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		if strings.IndexByte(p.name, 0) >= 0 || strings.IndexByte(p.release, 0) >= 0 {
			return nil, damaged("a name in %.128q", a.ID)
		}
		key := entryKey(nil, p)
		var value []byte
		err := s.entries.scan(key, func(k, v []byte) bool {
			if !bytes.Equal(k, key) {
				return false
			}
			if n, size := binary.Uvarint(v); size > 0 && n == uint64(number) {
				value = v[size:]
			}
			return value == nil
		})
		if err == nil && value != nil {
			err = (&entry{number, p.release, value}).decode(s.info.Name, a)
		}
		if err != nil {
			return nil, err
		}
	}
	return a, nil
}

func entryKey(b []byte, p place) []byte {
	b = append(append(b, p.name...), 0)
	return append(b, p.release...)
}

// Verify reads the whole file, and reports the first part that is not as it was written.
func (d *Database) Verify(ctx context.Context) error {
	check := func(s *section) error {
		h := sha256.New()
		if _, err := io.Copy(h, &contextReader{ctx, io.NewSectionReader(d.f, s.info.Offset, s.info.Size)}); err != nil {
			return err
		}
		if "sha256:"+hex.EncodeToString(h.Sum(nil)) != s.info.Digest {
			return damaged("digest of %.40q", s.info.Name)
		}
		return nil
	}
	for _, s := range d.sections {
		if err := check(s); err != nil {
			return err
		}
		for _, t := range []*table{&s.records, &s.entries, &s.ids} {
			if err := t.verify(ctx); err != nil {
				return fmt.Errorf("%s: %w", s.info.Name, err)
			}
		}
	}
	for _, s := range []*section{d.lists.exploited.section, d.lists.probability.section} {
		if s == nil {
			continue
		}
		if err := check(s); err != nil {
			return err
		}
	}
	return nil
}

// verify goes through all rows.
func (t *table) verify(ctx context.Context) error {
	var rows int64
	var last []byte
	var bad error
	err := t.scan(nil, func(key, _ []byte) bool {
		if bytes.Compare(last, key) > 0 {
			bad = damaged("the order of rows")
		}
		if rows++; rows%10000 == 0 {
			bad = errors.Join(bad, ctx.Err())
		}
		last = append(last[:0], key...)
		return bad == nil
	})
	if err = errors.Join(err, bad); err == nil && rows != t.info.Rows {
		err = damaged("%d rows instead of %d", rows, t.info.Rows)
	}
	return err
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// IDs yields the ids of an ecosystem's advisories.
func (d *Database) IDs(family string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		s := d.families[family]
		if s == nil {
			return
		}
		var bad error
		stopped := false
		err := s.records.scan(nil, func(_, value []byte) bool {
			a, _, ok := decodeAdvisory(string(value), false)
			if !ok {
				bad = damaged("a record of %.40q", family)
				return false
			}
			stopped = !yield(a.ID, nil)
			return !stopped
		})
		if err = errors.Join(err, bad); err != nil && !stopped {
			yield("", err)
		}
	}
}
