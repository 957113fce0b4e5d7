package image

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// results are what the parts said of the files of a layer, by path. Files of which nobody said anything are not in it.
type results map[string]*scan.Result

// content is what a layer holds, whatever lies below it: kept by its DiffID.
type content struct {
	index  *index
	found  results // findings, and what was left out
	counts scan.Counts
}

// maxNamed bounds the entries of a layer that are left out by name.
const maxNamed = 100

// leaveOut says that an entry is left out.
func (c *content) leaveOut(p, why string) {
	skip := scan.LeftOut{Why: scan.Special, Path: scan.Printable(p), Reason: why, Count: 1}
	if len(c.found) >= maxNamed {
		skip.Path, skip.Reason, p = "", "", ""
		if have := c.found[p]; have != nil {
			have.Skips[0].Count++
			return
		}
	}
	c.found.add(p, &scan.Result{Skips: []scan.LeftOut{skip}})
}

// named is a result with its path, which need not be text.
type named struct {
	Path   []byte
	Result *scan.Result
}

// list returns the results in the order of their paths.
func (rs results) list() []named {
	out := make([]named, 0, len(rs))
	for _, p := range slices.Sorted(maps.Keys(rs)) {
		out = append(out, named{Path: []byte(p), Result: rs[p]})
	}
	return out
}

func fromList(list []named) results {
	rs := make(results, len(list))
	for _, n := range list {
		rs.add(string(n.Path), n.Result)
	}
	return rs
}

// rest is what of a content is written as JSON.
type rest struct {
	Found  []named
	Counts scan.Counts
}

// The layout of a kept content: uvarints for numbers, strings and sections with their length before them.
//
//	unpacked, number of entries, each: path's common beginning with the one before, rest of the path, link, size, mode, kind
//	number of kept files, each: path, content
//	JSON of results and counts
var errRecord = errors.New("not a record")

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// encode writes the content.
func (c *content) encode() ([]byte, error) {
	var b []byte
	b = binary.AppendUvarint(b, uint64(c.index.unpacked))
	b = binary.AppendUvarint(b, uint64(len(c.index.entries)))
	last := ""
	for _, e := range c.index.entries {
		same := 0
		for same < len(last) && same < len(e.path) && last[same] == e.path[same] {
			same++
		}
		b = binary.AppendUvarint(b, uint64(same))
		b = appendString(b, e.path[same:])
		b = appendString(b, e.link)
		b = binary.AppendUvarint(b, uint64(e.size))
		b = binary.AppendUvarint(b, uint64(e.mode))
		b = append(b, byte(e.kind))
		last = e.path
	}
	b = binary.AppendUvarint(b, uint64(len(c.index.keep)))
	for _, p := range slices.Sorted(maps.Keys(c.index.keep)) {
		b = appendString(appendString(b, p), string(c.index.keep[p]))
	}
	text, err := json.Marshal(rest{c.found.list(), c.counts})
	return append(b, text...), err
}

// cursor reads what encode wrote. After an error everything is zero.
type cursor struct {
	b      []byte
	failed bool
}

func (c *cursor) number(limit uint64) uint64 {
	n, size := binary.Uvarint(c.b)
	if size <= 0 || n > limit {
		c.failed, c.b = true, nil
		return 0
	}
	c.b = c.b[size:]
	return n
}

func (c *cursor) bytes() []byte {
	n := c.number(uint64(len(c.b)))
	if n > uint64(len(c.b)) {
		c.failed, c.b = true, nil
		return nil
	}
	out := c.b[:n:n]
	c.b = c.b[n:]
	return out
}

func decodeContent(data []byte) (*content, error) {
	c := &cursor{b: data}
	x := &index{keep: map[string][]byte{}, unpacked: int64(c.number(1 << 62))}
	n := c.number(uint64(len(data)) / 6) // no entry is shorter
	x.entries = make([]entry, 0, n)
	last := ""
	var joined strings.Builder
	for range n {
		same := c.number(uint64(len(last)))
		end := c.bytes()
		joined.Reset()
		joined.WriteString(last[:min(int(same), len(last))])
		joined.Write(end)
		if joined.Len() > maxName {
			return nil, errRecord
		}
		e := entry{path: joined.String(), link: string(c.bytes()), size: int64(c.number(1 << 62)), mode: fs.FileMode(c.number(1<<32 - 1))}
		if len(c.b) == 0 || c.b[0] > byte(opaque) || c.failed || e.path < last {
			return nil, errRecord
		}
		e.kind = kind(c.b[0])
		c.b = c.b[1:]
		x.entries = append(x.entries, e)
		last = e.path
	}
	for range c.number(uint64(len(data)) / 2) {
		p := string(c.bytes())
		x.keep[p] = slices.Clone(c.bytes())
	}
	var r rest
	if c.failed || json.Unmarshal(c.b, &r) != nil {
		return nil, errRecord
	}
	return &content{index: x, found: fromList(r.Found), counts: r.Counts}, nil
}

// part returns the half of a result that depends on the file alone, or the one that depends on the files around it too.
func part(r scan.Result, extractors bool) *scan.Result {
	var out scan.Result
	if extractors {
		out.Packages = r.Packages
	} else {
		out.Findings = r.Findings
	}
	for _, s := range r.Skips {
		if s.Extractor == extractors {
			out.Skips = append(out.Skips, s)
		}
	}
	if len(out.Findings)+len(out.Packages)+len(out.Skips) == 0 {
		return nil
	}
	return &out
}

// add puts a result to those of the same path.
func (rs results) add(p string, r *scan.Result) {
	if r == nil {
		return
	}
	if have := rs[p]; have != nil {
		have.Findings = append(have.Findings, r.Findings...)
		have.Packages = append(have.Packages, r.Packages...)
		have.Skips = append(have.Skips, r.Skips...)
		return
	}
	rs[p] = r
}

func decodeResults(data []byte) (results, error) {
	var list []named
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, errRecord
	}
	return fromList(list), nil
}
