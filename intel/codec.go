package intel

import (
	"encoding/binary"
	"time"
)

// Records are sequences of unsigned varints, and of strings with their length before them. encoder appends,
// decoder reads: each field in the order in which the functions below name them.

type encoder struct{ b []byte }

func (e *encoder) uint(v uint64) { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) str(s string) {
	e.uint(uint64(len(s)))
	e.b = append(e.b, s...)
}

// time has microseconds; 0 stands for the zero time.
func (e *encoder) time(t time.Time) {
	if t.IsZero() {
		e.uint(0)
		return
	}
	us := t.UnixMicro()
	e.uint(1 + uint64(us<<1^us>>63))
}

func (e *encoder) strs(list []string) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.str(s)
	}
}

func (e *encoder) severities(list []Severity) {
	e.uint(uint64(len(list)))
	for _, s := range list {
		e.str(s.Type)
		e.str(s.Score)
	}
}

// decoder reads what encoder wrote. Its strings share the record's memory. After bad is set all it returns is empty.
type decoder struct {
	s   string
	bad bool
}

func (d *decoder) uint() uint64 {
	var v uint64
	for i := 0; i < len(d.s) && i < binary.MaxVarintLen64; i++ {
		c := d.s[i]
		v |= uint64(c&0x7f) << (7 * i)
		if c < 0x80 {
			d.s = d.s[i+1:]
			return v
		}
	}
	d.bad, d.s = true, ""
	return 0
}

func (d *decoder) str() string {
	n := d.uint()
	if n > uint64(len(d.s)) {
		d.bad, d.s = true, ""
		return ""
	}
	s := d.s[:n]
	d.s = d.s[n:]
	return s
}

// count is the length of a list, each item of which takes at least so many bytes.
func (d *decoder) count(least int) int {
	n := d.uint()
	if n > uint64(len(d.s)/least) {
		d.bad, d.s = true, ""
		return 0
	}
	return int(n)
}

func (d *decoder) time() time.Time {
	v := d.uint()
	if v == 0 {
		return time.Time{}
	}
	v--
	return time.UnixMicro(int64(v>>1) ^ -int64(v&1)).UTC()
}

func (d *decoder) strs() []string {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	out := make([]string, n)
	for i := range out {
		out[i] = d.str()
	}
	return out
}

func (d *decoder) severities() []Severity {
	n := d.count(2)
	if n == 0 {
		return nil
	}
	out := make([]Severity, n)
	for i := range out {
		out[i] = Severity{d.str(), d.str()}
	}
	return out
}

// Flags of an advisory.
const flagMalicious = 1

// place is where in a source's table of packages an advisory has its entries.
type place struct{ name, release string }

// appendAdvisory encodes all but what it says of packages, of which it names the places.
func appendAdvisory(b []byte, a *Advisory, places []place) []byte {
	e := encoder{b}
	flags := uint64(0)
	if a.Malicious {
		flags |= flagMalicious
	}
	e.uint(flags)
	e.str(a.ID)
	e.time(a.Modified)
	e.time(a.Withdrawn)
	e.time(a.Published)
	e.strs(a.Aliases)
	e.strs(a.Upstream)
	e.severities(a.Severity)
	e.strs(a.CWE)
	e.str(a.Summary)
	e.uint(uint64(len(a.References)))
	for _, r := range a.References {
		e.str(r.Type)
		e.str(r.URL)
	}
	e.str(a.Details)
	e.uint(uint64(len(places)))
	for _, p := range places {
		e.str(p.name)
		e.str(p.release)
	}
	return e.b
}

// decodeAdvisory is the reverse; places are left out if they are not wanted.
func decodeAdvisory(record string, wantPlaces bool) (a *Advisory, places []place, ok bool) {
	d := decoder{s: record}
	a = &Advisory{Malicious: d.uint()&flagMalicious != 0}
	a.ID = d.str()
	a.Modified = d.time()
	a.Withdrawn = d.time()
	a.Published = d.time()
	a.Aliases = d.strs()
	a.Upstream = d.strs()
	a.Severity = d.severities()
	a.CWE = d.strs()
	a.Summary = d.str()
	if n := d.count(2); n > 0 {
		a.References = make([]Reference, n)
		for i := range a.References {
			a.References[i] = Reference{d.str(), d.str()}
		}
	}
	a.Details = d.str()
	if wantPlaces {
		places = make([]place, d.count(2))
		for i := range places {
			places[i] = place{d.str(), d.str()}
		}
	}
	return a, places, !d.bad && a.ID != ""
}

// Kinds of events and types of ranges, by their number.
func rangeTypes() [4]string { return [4]string{"", "SEMVER", "ECOSYSTEM", "GIT"} }

// appendAffected encodes entries that share family, release and normal name.
func appendAffected(b []byte, list []Affected) []byte {
	e := encoder{b}
	e.uint(uint64(len(list)))
	types := rangeTypes()
	for i := range list {
		a := &list[i]
		e.str(a.Name)
		e.str(a.PURL)
		e.uint(uint64(len(a.Ranges)))
		for _, r := range a.Ranges {
			kind := 0
			for k, name := range types {
				if r.Type == name {
					kind = k
				}
			}
			e.uint(uint64(kind))
			if kind == 0 {
				e.str(r.Type)
			}
			e.str(r.Repo)
			e.uint(uint64(len(r.Events)))
			for _, v := range r.Events {
				switch {
				case v.Introduced != "":
					e.uint(0)
					e.str(v.Introduced)
				case v.Fixed != "":
					e.uint(1)
					e.str(v.Fixed)
				case v.LastAffected != "":
					e.uint(2)
					e.str(v.LastAffected)
				default:
					e.uint(3)
					e.str(v.Limit)
				}
			}
		}
		e.strs(a.Versions)
		e.severities(a.Severity)
		e.uint(uint64(len(a.Imports)))
		for _, m := range a.Imports {
			e.str(m.Path)
			e.strs(m.Symbols)
			e.strs(m.GOOS)
			e.strs(m.GOARCH)
		}
	}
	return e.b
}

// decodeAffected appends the entries to those that are there, with their ecosystem.
func decodeAffected(to []Affected, record, ecosystem string) ([]Affected, bool) {
	d := decoder{s: record}
	types := rangeTypes()
	for range d.count(6) {
		a := Affected{Ecosystem: ecosystem, Name: d.str(), PURL: d.str()}
		if n := d.count(3); n > 0 {
			a.Ranges = make([]Range, n)
		}
		for i := range a.Ranges {
			r := &a.Ranges[i]
			kind := d.uint()
			if kind >= uint64(len(types)) {
				return to, false
			}
			if r.Type = types[kind]; kind == 0 {
				r.Type = d.str()
			}
			r.Repo = d.str()
			if n := d.count(2); n > 0 {
				r.Events = make([]Event, n)
			}
			for j := range r.Events {
				switch what, version := d.uint(), d.str(); what {
				case 0:
					r.Events[j].Introduced = version
				case 1:
					r.Events[j].Fixed = version
				case 2:
					r.Events[j].LastAffected = version
				case 3:
					r.Events[j].Limit = version
				default:
					return to, false
				}
			}
		}
		a.Versions = d.strs()
		a.Severity = d.severities()
		if n := d.count(4); n > 0 {
			a.Imports = make([]Import, n)
		}
		for i := range a.Imports {
			a.Imports[i] = Import{Path: d.str(), Symbols: d.strs(), GOOS: d.strs(), GOARCH: d.strs()}
		}
		to = append(to, a)
	}
	return to, !d.bad && d.s == ""
}
