// Package ignore reads .gitignore files and says which paths they leave out.
//
// A [List] holds the patterns of the files that apply to a folder: a folder's list extends
// its parent's, and the last pattern that matches decides. The syntax and the meaning are
// those of gitignore(5) of Git 2.x: negation, anchoring by a slash, patterns for folders
// only, `*`, `?`, bracket expressions and `**`. As there, a file below a folder that is left out cannot
// be brought back, which is the caller's to hold: it does not descend into such a folder.
//
// Matching takes at most (pattern length x path length) steps; no pattern
// makes it exponential.
package ignore

import (
	"bytes"
	"strings"
)

// Bounds on what a hostile ignore file can cost. What is beyond is dropped.
const (
	MaxFileBytes = 1 << 20
	MaxPatterns  = 20000
	maxPattern   = 4096
)

// A List is the patterns in force in a folder. It does not change, and is safe
// for concurrent use. The nil List leaves nothing out.
type List struct {
	parent   *List
	dir      string // relative to the root of the scan: "" or "a/b"
	above    string // for a file above the root: the path from its folder to the root, "x/y"
	patterns []pattern
	size     int // patterns in all lists up to the parents
}

type pattern struct {
	segments []string // "**" stands for any number of segments
	negate   bool
	dirOnly  bool
	base     bool // no slash: compared with the last segment alone
	literal  bool // base without wildcard
}

// Extend returns the list for a folder with an ignore file of that content, whose patterns count
// before those of l. dir is the folder's path relative to the root, with slashes, "" for the root.
func (l *List) Extend(dir string, content []byte) *List {
	return l.extend(dir, "", content)
}

// ExtendAbove is Extend for an ignore file in a folder above the root; below is the path
// from that folder to the root, as in "services/shop".
func (l *List) ExtendAbove(below string, content []byte) *List {
	return l.extend("", below, content)
}

func (l *List) extend(dir, above string, content []byte) *List {
	out := &List{parent: l, dir: dir, above: above}
	if l != nil {
		out.size = l.size
	}
	content = content[:min(len(content), MaxFileBytes)]
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	for line := range bytes.Lines(content) {
		if out.size >= MaxPatterns {
			break
		}
		if p, ok := parse(string(line)); ok {
			out.patterns = append(out.patterns, p)
			out.size++
		}
	}
	if len(out.patterns) == 0 {
		return l
	}
	return out
}

// Match reports whether path, relative to the root and with slashes, is left out.
func (l *List) Match(path string, isDir bool) bool {
	out, _ := l.Decide(path, isDir)
	return out
}

// Decide is Match that also tells whether any pattern matched, for those who
// ask several lists in turn.
func (l *List) Decide(path string, isDir bool) (out, matched bool) {
	base := path[strings.LastIndexByte(path, '/')+1:]
	for ; l != nil; l = l.parent {
		rel := path
		if l.dir != "" {
			if len(path) <= len(l.dir) || path[:len(l.dir)] != l.dir || path[len(l.dir)] != '/' {
				continue
			}
			rel = path[len(l.dir)+1:]
		}
		if l.above != "" {
			rel = l.above + "/" + rel
		}
		for i := len(l.patterns) - 1; i >= 0; i-- {
			p := &l.patterns[i]
			if p.dirOnly && !isDir {
				continue
			}
			if p.match(rel, base) {
				return !p.negate, true
			}
		}
	}
	return false, false
}

func (p *pattern) match(rel, base string) bool {
	switch {
	case p.literal:
		return p.segments[0] == base
	case p.base:
		return matchSegment(p.segments[0], base)
	}
	return matchPath(p.segments, rel)
}

// parse reads one line.
func parse(line string) (pattern, bool) {
	line = strings.TrimSuffix(line, "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || line[0] == '#' || len(line) > maxPattern {
		return pattern{}, false
	}
	line = trimTrailingSpaces(line)
	var p pattern
	if strings.HasPrefix(line, "!") {
		p.negate, line = true, line[1:]
	}
	if strings.HasSuffix(line, "/") {
		p.dirOnly, line = true, strings.TrimSuffix(line, "/")
	}
	if line == "" || danglingBackslash(line) {
		return pattern{}, false
	}
	if !strings.Contains(line, "/") {
		p.base, p.literal = true, !strings.ContainsAny(line, `*?[\`)
		p.segments = []string{line}
		return p, true
	}
	for segment := range strings.SplitSeq(strings.TrimPrefix(line, "/"), "/") {
		if len(segment) > 2 && strings.Trim(segment, "*") == "" {
			segment = "**" // as Git takes it
		}
		p.segments = append(p.segments, segment)
	}
	return p, true
}

// trimTrailingSpaces removes spaces at the end that no backslash keeps.
func trimTrailingSpaces(s string) string {
	end := len(s)
	for end > 0 && s[end-1] == ' ' {
		end--
	}
	slashes := 0
	for i := end - 1; i >= 0 && s[i] == '\\'; i-- {
		slashes++
	}
	if slashes%2 == 1 && end < len(s) {
		end++
	}
	return s[:end]
}

// danglingBackslash tells of a pattern that ends in an escape of nothing: Git takes it as
// matching nothing.
func danglingBackslash(s string) bool {
	n := 0
	for i := len(s) - 1; i >= 0 && s[i] == '\\'; i-- {
		n++
	}
	return n%2 == 1
}
