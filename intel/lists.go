package intel

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Lists of CVEs have entries of fixed size, sorted by CVE, which is packed in 4 bytes: 7 bits for the year since 1990 and 25 for
// the number. An exploited one has days since 1970 when it was added and is due, and flags; a probability has
// score and percentile in billionths. All are 4 bytes big endian.
const (
	exploitedSize   = 16
	probabilitySize = 12
	maxList         = 64 << 20
	flagRansomware  = 1
	billion         = 1e9
)

// packCVE returns the packed form; ok is false for what is no CVE.
func packCVE(id string) (packed uint32, ok bool) {
	if len(id) < 10 || len(id) > 20 || !strings.EqualFold(id[:4], "CVE-") || id[8] != '-' {
		return 0, false
	}
	year, err := strconv.ParseUint(id[4:8], 10, 16)
	number, err2 := strconv.ParseUint(id[9:], 10, 32)
	if err != nil || err2 != nil || year < 1990 || year > 1990+127 || number >= 1<<25 {
		return 0, false
	}
	return uint32(year-1990)<<25 | uint32(number), true
}

func unpackCVE(packed uint32) string {
	return fmt.Sprintf("CVE-%d-%04d", 1990+packed>>25, packed&(1<<25-1))
}

// list is one of the lists, read at its first use.
type list struct {
	section *section
	once    sync.Once
	raw     []byte
	err     error
}

func (l *list) load() ([]byte, error) {
	if l.section == nil {
		return nil, nil
	}
	l.once.Do(func() {
		if l.section.info.Size > maxList {
			l.err = damaged("a list of %d bytes", l.section.info.Size)
			return
		}
		if l.raw, l.err = readFull(l.section.r, 0, l.section.info.Size); l.err == nil && crc32.Checksum(l.raw, castagnoli()) != l.section.info.CRC {
			l.err = damaged("checksum of %.40q", l.section.info.Name)
		}
	})
	return l.raw, l.err
}

// find returns the entry of a CVE, of which each has so many bytes; nil if there is none.
func (l *list) find(cve uint32, size int) ([]byte, error) {
	raw, err := l.load()
	n := len(raw) / size
	i := sort.Search(n, func(i int) bool { return binary.BigEndian.Uint32(raw[i*size:]) >= cve })
	if i == n || binary.BigEndian.Uint32(raw[i*size:]) != cve {
		return nil, err
	}
	return raw[i*size : (i+1)*size], err
}

type lists struct{ exploited, probability list }

// join fills in what the lists say of the advisory's CVEs: the first that was added, and the highest probability.
func (l *lists) join(a *Advisory) error {
	one := func(id string) error {
		cve, ok := packCVE(id)
		if !ok {
			return nil
		}
		e, err := l.exploited.find(cve, exploitedSize)
		if err != nil {
			return err
		}
		if e != nil {
			x := Exploited{CVE: unpackCVE(cve), Added: day(e[4:]), Due: day(e[8:]), Ransomware: binary.BigEndian.Uint32(e[12:])&flagRansomware != 0}
			if a.Exploited == nil || x.Added.Before(a.Exploited.Added) {
				x.Ransomware = x.Ransomware || a.Exploited != nil && a.Exploited.Ransomware
				a.Exploited = &x
			} else {
				a.Exploited.Ransomware = a.Exploited.Ransomware || x.Ransomware
			}
		}
		p, err := l.probability.find(cve, probabilitySize)
		if err != nil || p == nil {
			return err
		}
		score := float64(binary.BigEndian.Uint32(p[4:])) / billion
		if a.Probability == nil || score > a.Probability.Score {
			a.Probability = &Probability{CVE: unpackCVE(cve), Score: score, Percentile: float64(binary.BigEndian.Uint32(p[8:])) / billion,
				Date: l.probability.section.info.Newest}
		}
		return nil
	}
	if err := one(a.ID); err != nil {
		return err
	}
	for _, names := range [][]string{a.Aliases, a.Upstream} {
		for _, id := range names {
			if err := one(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func day(b []byte) time.Time {
	n := binary.BigEndian.Uint32(b)
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(int64(n)*86400, 0).UTC()
}

func days(t time.Time) uint32 {
	if t.IsZero() || t.Unix() < 0 {
		return 0
	}
	return uint32(min(t.Unix()/86400, math.MaxUint32))
}

func billionths(v float64) uint32 {
	return uint32(math.Round(min(max(v, 0), 1) * billion))
}
