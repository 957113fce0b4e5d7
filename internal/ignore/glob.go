package ignore

import "strings"

// matchPath matches a path, segment by segment. Where several `**` compete, only the last one
// needs to give ground: what the earlier ones took was the least they could.
func matchPath(segments []string, path string) bool {
	star, mark := -1, "" // after the last `**`: the pattern's index and the rest of the path there
	i, rest, more := 0, path, true
	for {
		if i < len(segments) && segments[i] == "**" {
			if i == len(segments)-1 {
				return more // a last `**` needs something below
			}
			star, mark = i+1, rest
			i++
			continue
		}
		if more && i < len(segments) {
			head, tail, deeper := strings.Cut(rest, "/")
			if matchSegment(segments[i], head) {
				i, rest, more = i+1, tail, deeper
				continue
			}
		}
		if !more && i == len(segments) {
			return true
		}
		if star < 0 {
			return false
		}
		_, tail, deeper := strings.Cut(mark, "/")
		if !deeper {
			return false
		}
		i, mark, rest, more = star, tail, tail, true
	}
}

// matchSegment matches one name against a pattern without slash.
func matchSegment(pattern, name string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for {
		if i < len(pattern) && pattern[i] == '*' {
			i++
			star, mark = i, j
			continue
		}
		if j < len(name) && i < len(pattern) {
			if width, ok := matchByte(pattern[i:], name[j]); ok {
				i, j = i+width, j+1
				continue
			}
		}
		if i == len(pattern) && j == len(name) {
			return true
		}
		if star < 0 || mark >= len(name) {
			return false
		}
		mark++
		i, j = star, mark
	}
}

// matchByte matches b against the first element of a pattern and returns that element's width.
func matchByte(pattern string, b byte) (width int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '\\':
		if len(pattern) < 2 {
			return 1, false
		}
		return 2, pattern[1] == b
	case '[':
		return matchBracket(pattern, b)
	}
	return 1, pattern[0] == b
}

// matchBracket matches a bracket expression; one that is not closed matches nothing.
func matchBracket(pattern string, b byte) (width int, ok bool) {
	i := 1
	negate := false
	if i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^') {
		negate = true
		i++
	}
	found := false
	for first := true; ; first = false {
		if i >= len(pattern) {
			return len(pattern), false
		}
		if pattern[i] == ']' && !first {
			return i + 1, found != negate
		}
		if strings.HasPrefix(pattern[i:], "[:") {
			if end := strings.Index(pattern[i+2:], ":]"); end >= 0 {
				in, known := inClass(pattern[i+2:i+2+end], b)
				if !known {
					return len(pattern), false
				}
				found = found || in
				i += end + 4
				continue
			}
		}
		low, next, closed := bracketByte(pattern, i)
		if !closed {
			return len(pattern), false
		}
		high := low
		if next+1 < len(pattern) && pattern[next] == '-' && pattern[next+1] != ']' {
			if high, next, closed = bracketByte(pattern, next+1); !closed {
				return len(pattern), false
			}
		}
		if low <= b && b <= high {
			found = true
		}
		i = next
	}
}

// bracketByte reads one byte of a bracket expression, escaped or not.
func bracketByte(pattern string, i int) (b byte, next int, ok bool) {
	if pattern[i] == '\\' {
		if i+1 >= len(pattern) {
			return 0, i, false
		}
		i++
	}
	return pattern[i], i + 1, true
}

// inClass is the POSIX character classes over ASCII.
func inClass(name string, b byte) (in, known bool) {
	lower, upper, digit := 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9'
	switch name {
	case "alpha":
		return lower || upper, true
	case "digit":
		return digit, true
	case "alnum":
		return lower || upper || digit, true
	case "lower":
		return lower, true
	case "upper":
		return upper, true
	case "space":
		return b == ' ' || '\t' <= b && b <= '\r', true
	case "blank":
		return b == ' ' || b == '\t', true
	case "cntrl":
		return b < 32 || b == 127, true
	case "print":
		return 32 <= b && b < 127, true
	case "graph":
		return 32 < b && b < 127, true
	case "punct":
		return 32 < b && b < 127 && !lower && !upper && !digit, true
	case "xdigit":
		return digit || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F', true
	}
	return false, false
}
