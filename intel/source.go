package intel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// SourceWriter takes the advisories of one ecosystem. It is not safe for concurrent use; different ones are.
type SourceWriter struct {
	w      *Writer
	source Source
	heads  *sorter // key: the first package's name, 0, id; value: number as it came, record
	rows   *sorter // key: name, 0, release, 0, id; value: number as it came, entries
	ids    *sorter // key: id or alias; value: number as it came
	known  map[string]uint32
	taken  []taken // by number as it came
	sample sampler
	b, k   []byte
}

type taken struct {
	id        string
	modified  time.Time
	number    uint32 // in the file
	dead      bool   // a newer one with the same id came
	withdrawn bool
	malicious bool
}

// Source begins a source of advisories, for the ecosystem's family that is its name. Close it or drop it with Drop.
func (w *Writer) Source(s Source) (*SourceWriter, error) {
	if s.Kind != KindOSV || !validName(s.Name, maxEcosystem) || strings.Contains(s.Name, ":") {
		return nil, fmt.Errorf("%.128q is no family of ecosystems", s.Name)
	}
	work := folderOf(w.f)
	return &SourceWriter{w: w, source: s, heads: newSorter(work), rows: newSorter(work), ids: newSorter(work), known: map[string]uint32{}}, nil
}

// Len is how many advisories were taken.
func (s *SourceWriter) Len() int { return len(s.known) }

// Add takes what an advisory says of the source's ecosystem. Of two with the same id the one that was modified last stays. A *Refused error says that
// the advisory cannot be held; the source goes on without it.
func (s *SourceWriter) Add(a *Advisory) error {
	if !ValidID(a.ID) {
		return refused(a.ID, "its id is not valid")
	}
	if len(a.Affected) > maxAffected {
		return refused(a.ID, "it names %d packages", len(a.Affected))
	}
	if old, seen := s.known[a.ID]; seen && !a.Modified.After(s.taken[old].modified) {
		return nil
	}
	places, groups, err := s.group(a)
	if err != nil {
		return err
	}
	c := bounded(a)
	record := appendAdvisory(nil, &c, places)
	if len(record) > maxRecord {
		return refused(a.ID, "it takes %d bytes", len(record))
	}
	encoded := make([][]byte, len(groups))
	for i := range groups {
		if encoded[i] = appendAffected(nil, groups[i]); len(encoded[i]) > maxRecord {
			return refused(a.ID, "what it says of %.128q takes %d bytes", places[i].name, len(encoded[i]))
		}
	}
	number, err := s.head(&c, places, record)
	for i := range places {
		if err == nil {
			err = s.row(number, entryKey(s.k[:0], places[i]), encoded[i])
		}
	}
	return err
}

// group brings together what is said of the same package in the same release, in the order in which it is said.
func (s *SourceWriter) group(a *Advisory) (places []place, groups [][]Affected, err error) {
	index := map[place]int{}
	for i := range a.Affected {
		e := &a.Affected[i]
		family, release := Ecosystem(e.Ecosystem)
		if family != s.source.Name {
			continue
		}
		p := place{NormalName(family, e.Name), release}
		if !validName(p.name, maxName) || p.release != "" && !validName(p.release, maxEcosystem) {
			return nil, nil, refused(a.ID, "it names a package %.128q of %.128q", e.Name, e.Ecosystem)
		}
		at, seen := index[p]
		if !seen {
			at = len(places)
			index[p] = at
			places, groups = append(places, p), append(groups, nil)
		}
		groups[at] = append(groups[at], *e)
	}
	return places, groups, nil
}

// bounded is the advisory with what is too much of it left out.
func bounded(a *Advisory) Advisory {
	c := *a
	invalid := func(id string) bool { return !ValidID(id) }
	c.Aliases = slices.DeleteFunc(slices.Clone(cut(a.Aliases, maxAliases)), invalid)
	c.Upstream = slices.DeleteFunc(slices.Clone(cut(a.Upstream, maxAliases)), invalid)
	c.References = cut(a.References, maxReferences)
	c.Severity, c.CWE = cut(a.Severity, 20), cut(a.CWE, 100)
	c.Summary, c.Details = cutText(a.Summary, maxSummary), cutText(a.Details, maxDetails)
	return c
}

func cut[T any](list []T, n int) []T { return list[:min(len(list), n)] }

func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}

func (s *SourceWriter) head(a *Advisory, places []place, record []byte) (uint32, error) {
	if len(s.taken) >= 1<<31 {
		return 0, errors.New("too many advisories")
	}
	number := uint32(len(s.taken))
	if old, seen := s.known[a.ID]; seen {
		s.taken[old].dead = true
	}
	s.known[a.ID] = number
	s.taken = append(s.taken, taken{id: a.ID, modified: a.Modified, withdrawn: !a.Withdrawn.IsZero(), malicious: a.Malicious})
	s.k = s.k[:0]
	if len(places) > 0 {
		s.k = append(s.k, places[0].name...)
	}
	s.k = append(append(s.k, 0), a.ID...)
	s.b = append(binary.AppendUvarint(s.b[:0], uint64(number)), record...)
	s.sample.add(record)
	if err := s.heads.add(s.k, s.b); err != nil {
		return 0, err
	}
	value := binary.AppendUvarint(nil, uint64(number))
	if err := s.ids.add([]byte(strings.ToUpper(a.ID)), value); err != nil {
		return 0, err
	}
	for _, list := range [][]string{a.Aliases, a.Upstream} {
		for _, id := range list {
			if err := s.ids.add([]byte(strings.ToUpper(id)), value); err != nil {
				return 0, err
			}
		}
	}
	return number, nil
}

func (s *SourceWriter) row(number uint32, key, value []byte) error {
	s.k = append(append(key, 0), s.taken[number].id...)
	s.b = append(binary.AppendUvarint(s.b[:0], uint64(number)), value...)
	s.sample.add(value)
	return s.rows.add(s.k, s.b)
}

// Keep takes those of the same source in another database that want says, without unpacking what they say of packages. What was
// added before with the same id must not be wanted.
func (s *SourceWriter) Keep(from *Database, want func(id string) bool) error {
	old := from.families[s.source.Name]
	if old == nil {
		return nil
	}
	numbers := map[uint32]uint32{}
	var bad error
	err := old.records.scan(nil, func(key, value []byte) bool {
		if len(key) != 4 {
			bad = damaged("a record's number")
			return false
		}
		a, places, ok := decodeAdvisory(string(value), true)
		if !ok || !ValidID(a.ID) {
			bad = damaged("a record of %.40q", s.source.Name)
			return false
		}
		if want(a.ID) {
			var number uint32
			number, bad = s.head(a, places, value)
			numbers[binary.BigEndian.Uint32(key)] = number
		}
		return bad == nil
	})
	if err = errors.Join(err, bad); err != nil {
		return err
	}
	err = old.entries.scan(nil, func(key, value []byte) bool {
		n, size := binary.Uvarint(value)
		if size <= 0 || n >= 1<<32 {
			bad = damaged("an entry of %.40q", s.source.Name)
			return false
		}
		if number, kept := numbers[uint32(n)]; kept {
			bad = s.row(number, append(s.k[:0], key...), value[size:])
		}
		return bad == nil
	})
	return errors.Join(err, bad)
}

// Drop forgets the source.
func (s *SourceWriter) Drop() {
	s.heads.close()
	s.rows.close()
	s.ids.close()
}

// Close writes the source; change may add to it what was learned meanwhile.
func (s *SourceWriter) Close(change func(*Source)) error {
	defer s.Drop()
	src := &s.source
	for _, t := range s.taken {
		switch {
		case t.dead:
			continue
		case t.withdrawn:
			src.Withdrawn++
		case t.malicious:
			src.Malicious++
		}
		src.Advisories++
		if t.modified.After(src.Newest) {
			src.Newest = t.modified
		}
	}
	if change != nil {
		change(src)
	}
	dict := s.sample.dictionary()
	options := []zstd.EOption{zstd.WithEncoderCRC(false), zstd.WithEncoderConcurrency(1), zstd.WithSingleSegment(true), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithLowerEncoderMem(true)}
	if len(dict) >= 8 {
		options = append(options, zstd.WithEncoderDictRaw(dictID, dict))
	}
	enc, err := zstd.NewWriter(nil, options...)
	if err != nil {
		return err
	}
	defer enc.Close()
	return s.w.section(sectionInfo{Source: *src}, func(out *sectionWriter, info *sectionInfo) error {
		info.Dict, info.CRC = int64(len(dict)), crc32.Checksum(dict, castagnoli())
		if _, err := out.Write(dict); err != nil {
			return err
		}
		if info.Records, err = s.writeHeads(newTableWriter(out, enc), out.n); err != nil {
			return err
		}
		if info.Entries, err = s.writeRows(newTableWriter(out, enc), out, &info.Packages); err != nil {
			return err
		}
		info.IDs, err = s.writeIDs(newTableWriter(out, enc), out.n)
		return err
	})
}

func (s *SourceWriter) writeHeads(t *tableWriter, offset int64) (tableInfo, error) {
	next := uint32(0)
	err := s.heads.each(func(_, value []byte) error {
		n, size := binary.Uvarint(value)
		if s.taken[n].dead {
			return nil
		}
		s.taken[n].number = next
		var key [4]byte
		binary.BigEndian.PutUint32(key[:], next)
		next++
		return t.add(key[:], value[size:])
	})
	if err != nil {
		return tableInfo{}, err
	}
	return t.close(offset)
}

func (s *SourceWriter) writeRows(t *tableWriter, out *sectionWriter, packages *int64) (tableInfo, error) {
	offset := out.n
	var name []byte
	err := s.rows.each(func(key, value []byte) error {
		n, size := binary.Uvarint(value)
		if s.taken[n].dead {
			return nil
		}
		key = key[:bytes.LastIndexByte(key, 0)]
		if first := key[:bytes.IndexByte(key, 0)+1]; !bytes.Equal(first, name) {
			name = append(name[:0], first...)
			*packages++
		}
		s.b = append(binary.AppendUvarint(s.b[:0], uint64(s.taken[n].number)), value[size:]...)
		return t.add(key, s.b)
	})
	if err != nil {
		return tableInfo{}, err
	}
	return t.close(offset)
}

func (s *SourceWriter) writeIDs(t *tableWriter, offset int64) (tableInfo, error) {
	err := s.ids.each(func(key, value []byte) error {
		n, _ := binary.Uvarint(value)
		if s.taken[n].dead {
			return nil
		}
		return t.add(key, binary.AppendUvarint(s.b[:0], uint64(s.taken[n].number)))
	})
	if err != nil {
		return tableInfo{}, err
	}
	return t.close(offset)
}

// sampler keeps pieces of records, evenly spread over all that came, for the dictionary.
type sampler struct {
	seen, stride int
	pieces       [][]byte
}

const (
	samplePieces = 256
	samplePiece  = 256
)

func (s *sampler) add(record []byte) {
	if s.stride == 0 {
		s.stride = 1
	}
	if s.seen++; s.seen%s.stride != 0 {
		return
	}
	s.pieces = append(s.pieces, bytes.Clone(record[:min(len(record), samplePiece)]))
	if len(s.pieces) == 2*samplePieces {
		for i := range samplePieces {
			s.pieces[i] = s.pieces[2*i+1]
		}
		s.pieces, s.stride = s.pieces[:samplePieces], 2*s.stride
	}
}

func (s *sampler) dictionary() []byte {
	if len(s.pieces) < 32 {
		return nil // so few have nothing to gain
	}
	return bytes.Join(s.pieces[:min(len(s.pieces), samplePieces)], nil)
}

// Refused says why an advisory cannot be held.
type Refused struct{ ID, Why string }

func (r *Refused) Error() string { return fmt.Sprintf("%.128q: %s", r.ID, r.Why) }

func refused(id, format string, args ...any) error {
	return &Refused{id, fmt.Sprintf(format, args...)}
}

// Sweep removes what a killed process left in a folder for temporary files. Nobody else may be writing there.
func Sweep(work string) {
	left, _ := filepath.Glob(filepath.Join(work, tempPrefix+"*"))
	for _, name := range left {
		_ = os.Remove(name)
	}
}
