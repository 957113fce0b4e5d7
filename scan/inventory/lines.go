package inventory

import (
	"bytes"

	"github.com/testudo-sec/testudo/scan"
)

// findLines sets the line of packages that have none: the one that names the package, with its version there or soon after if
// there is such a place. The text is read once, whatever the number of packages.
func findLines(packages []scan.Package, in *input) {
	missing := false
	for i := range packages {
		missing = missing || packages[i].Line == 0
	}
	if !missing || in.whole == nil || len(packages) == 0 || bytes.IndexByte(in.whole[:min(len(in.whole), 8000)], 0) >= 0 {
		return
	}
	places := map[string][]int{}
	for i := range packages {
		if p := &packages[i]; p.Line == 0 {
			places[p.Name], places[p.Version] = nil, nil
			if at := bytes.IndexByte([]byte(p.Name), ':'); at > 0 {
				places[p.Name[at+1:]] = nil
			}
		}
	}
	words(in.whole, func(word []byte, line int) {
		if list, ok := places[string(word)]; ok && len(list) < 1000 && (len(list) == 0 || list[len(list)-1] != line) {
			places[string(word)] = append(list, line)
		}
	})
	for i := range packages {
		if p := &packages[i]; p.Line == 0 {
			named := places[p.Name]
			if at := bytes.IndexByte([]byte(p.Name), ':'); at > 0 && len(named) == 0 {
				named = places[p.Name[at+1:]]
			}
			p.Line = nearest(named, places[p.Version])
		}
	}
}

// nearness is how many lines after its name a version may stand.
const nearness = 6

// nearest returns the line of a name that is followed by the version closest; the first if none is.
func nearest(names, versions []int) int {
	if len(names) == 0 {
		return 0
	}
	best, distance, v := names[0], nearness+1, 0
	for _, n := range names {
		for v < len(versions) && versions[v] < n {
			v++
		}
		if v < len(versions) && versions[v]-n < distance {
			best, distance = n, versions[v]-n
		}
	}
	return best
}

// words calls yield for each word of a text: what can be a name, and the parts of it between "@", "=", ":" and the like. A name that
// begins with "@" has one "/", and that of a repository is all of its URL but the ends.
func words(data []byte, yield func(word []byte, line int)) {
	line, start := 1, -1
	flush := func(end int) {
		if start < 0 {
			return
		}
		w := bytes.Trim(data[start:end], ".")
		start = -1
		yield(w, line)
		for at, c := range w {
			switch c {
			case '@':
				if at > 0 {
					yield(w[:at], line)
					yield(w[at+1:], line)
				}
			case '/':
				if at > 0 && w[0] != '/' {
					yield(w[:at], line)
				}
				yield(w[at+1:], line)
			}
		}
		if rest, ok := bytes.CutPrefix(w, []byte("//")); ok {
			yield(bytes.TrimSuffix(rest, []byte(".git")), line)
		}
		if rest, ok := bytes.CutPrefix(w, []byte("any.")); ok {
			yield(rest, line) // cabal
		}
	}
	for i, c := range data {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_' || c == '@' || c == '/' || c == '+' || c == '~' || c >= 0x80 {
			if start < 0 {
				start = i
			}
			if i-start > 2*maxName {
				start = i // no name is as long
			}
			continue
		}
		flush(i)
		if c == '\n' {
			line++
		}
	}
	flush(len(data))
}
