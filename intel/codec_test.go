package intel

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"io"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzRecords holds that whatever is decoded takes no more than it has, and that decoding is the reverse of encoding.
func FuzzRecords(f *testing.F) {
	f.Add(appendAdvisory(nil, &Advisory{ID: "A-1", Aliases: []string{"CVE-2024-1"}, Severity: []Severity{{"a", "b"}}, References: []Reference{{"WEB", "x"}}}, []place{{"n", "12"}}))
	f.Add(appendAffected(nil, []Affected{{Name: "n", Ranges: []Range{{Type: "SEMVER", Events: []Event{{Introduced: "0"}, {Fixed: "1"}}}, {Type: "x"}}, Versions: []string{"1"}, Imports: []Import{{Path: "p", Symbols: []string{"F"}}}}}))
	f.Fuzz(func(t *testing.T, record []byte) {
		if a, places, ok := decodeAdvisory(string(record), true); ok {
			again := appendAdvisory(nil, a, places)
			b, more, ok := decodeAdvisory(string(again), true)
			if !ok || b.ID != a.ID || !slices.Equal(places, more) || len(a.References) != len(b.References) {
				t.Fatalf("%+v became %+v", a, b)
			}
		}
		if list, ok := decodeAffected(nil, string(record), "x"); ok {
			again := appendAffected(nil, list)
			more, ok := decodeAffected(nil, string(again), "x")
			if !ok || len(more) != len(list) {
				t.Fatalf("%+v became %+v", list, more)
			}
		}
	})
}

// FuzzTable reads blocks and indexes whose checksums are right and whose content is anything.
func FuzzTable(f *testing.F) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	var good bytes.Buffer
	w := newTableWriter(&good, enc)
	for _, k := range []string{"a", "ab", "b"} {
		if err := w.add([]byte(k), []byte("value")); err != nil {
			f.Fatal(err)
		}
	}
	block := bytes.Clone(w.block)
	f.Add(block, uint32(len(block)), []byte("a"))
	f.Fuzz(func(t *testing.T, block []byte, unpacked uint32, first []byte) {
		packed := enc.EncodeAll(block, nil)
		index := binary.AppendUvarint(nil, uint64(len(packed)))
		index = binary.AppendUvarint(index, uint64(unpacked))
		index = binary.BigEndian.AppendUint32(index, crc32.Checksum(packed, castagnoli()))
		index = binary.AppendUvarint(index, uint64(len(first)))
		index = append(index, first...)
		file := append(packed, index...)
		dec, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxBlock), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		tb := &table{r: io.NewSectionReader(bytes.NewReader(file), 0, int64(len(file))), cache: newBlockCache(1 << 20), dec: func() (*zstd.Decoder, error) { return dec, nil },
			info: tableInfo{Index: int64(len(packed)), Length: int64(len(index)), CRC: crc32.Checksum(index, castagnoli())}}
		_ = tb.scan([]byte("a"), func(key, value []byte) bool { return len(key)+len(value) >= 0 })
	})
}

func TestCVE(t *testing.T) {
	for _, id := range []string{"CVE-1999-0001", "CVE-2026-1234567", "CVE-2024-12345"} {
		packed, ok := packCVE(id)
		if !ok || unpackCVE(packed) != id {
			t.Errorf("%s became %s", id, unpackCVE(packed))
		}
	}
	for _, id := range []string{"", "CVE-2024-", "GHSA-2024-1234", "CVE-1980-0001", "CVE-2024-99999999", "CVE-20x4-1234", "CVE-2024--123"} {
		if _, ok := packCVE(id); ok {
			t.Errorf("%q is taken for a CVE", id)
		}
	}
}

func TestNormalName(t *testing.T) {
	for _, c := range []struct{ ecosystem, name, want string }{
		{"PyPI", "Zope.Interface__x", "zope-interface-x"}, {"NuGet", "Newtonsoft.Json", "newtonsoft.json"}, {"Packagist", "A/B", "a/b"},
		{"npm", "JSONStream", "JSONStream"}, {"Debian:12", "libX11", "libX11"}, {"GitHub Actions", "Actions/Checkout", "actions/checkout"},
	} {
		if got := NormalName(c.ecosystem, c.name); got != c.want {
			t.Errorf("%s %s: %s", c.ecosystem, c.name, got)
		}
	}
}

// TestSorter has more rows than fit in its memory.
func TestSorter(t *testing.T) {
	s := newSorter(t.TempDir())
	s.limit = 2000
	defer s.close()
	for i := range 3000 {
		key := []byte{byte(i * 7 % 251), byte(i % 3)}
		if err := s.add(key, binary.BigEndian.AppendUint32(nil, uint32(i))); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.runs) < 5 {
		t.Fatalf("%d files: the test is of no worth", len(s.runs))
	}
	n, last, lastValue := 0, []byte{}, uint32(0)
	err := s.each(func(key, value []byte) error {
		v := binary.BigEndian.Uint32(value)
		if c := bytes.Compare(last, key); c > 0 || c == 0 && v < lastValue {
			t.Errorf("%v %d after %v %d", key, v, last, lastValue)
		}
		last, lastValue = append(last[:0], key...), v
		n++
		return nil
	})
	if err != nil || n != 3000 {
		t.Errorf("%d rows, %v", n, err)
	}
}
