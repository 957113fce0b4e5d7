package transform

import (
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// cmdLine undoes what command shells take out of words: see ModSecurity's t:cmdLine.
func cmdLine(a *Arena, s string) (string, bool) {
	at := strings.IndexFunc(s, func(r rune) bool { return r >= 'A' && r <= 'Z' || strings.ContainsRune("\"'\\^ ,;\t\r\n/(", r) })
	if at < 0 {
		return s, false
	}
	out := append(a.Room(len(s)), s[:at]...)
	gap := false
	for i := at; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\'', '\\', '^':
		case ' ', ',', ';', '\t', '\r', '\n':
			if !gap {
				out = append(out, ' ')
			}
			gap = true
		case '/', '(':
			if gap {
				out = out[:len(out)-1]
			}
			out, gap = append(out, c), false
		default:
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			out, gap = append(out, c), false
		}
	}
	return a.kept(s, out)
}

func lowercase(a *Arena, s string) (string, bool) {
	upper := false
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			out := strings.ToLower(s)
			return out, out != s
		}
		upper = upper || s[i] >= 'A' && s[i] <= 'Z'
	}
	if !upper {
		return s, false
	}
	out := a.Room(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		out = append(out, c)
	}
	return a.Keep(out), true
}

func isBlank(r rune) bool {
	switch r {
	case '\t', '\n', '\v', '\f', '\r', ' ', 0x85, 0xa0:
		return true
	}
	return false
}

// compressWhitespace makes one space of all white space in a row.
func compressWhitespace(a *Arena, s string) (string, bool) {
	out := a.Room(len(s))
	gap := false
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		if isBlank(r) || s[i] == 0xa0 { // which is a blank in Latin-1
			if !gap {
				out = append(out, ' ')
			}
			gap = true
		} else {
			out, gap = append(out, s[i:i+size]...), false
		}
		i += size
	}
	return a.kept(s, out)
}

// removeWhitespace also makes U+FFFD of each byte that is no UTF-8, as Coraza does.
func removeWhitespace(a *Arena, s string) (string, bool) {
	at := 0
	for at < len(s) && s[at] < utf8.RuneSelf && !isSpace(s[at]) {
		at++
	}
	if at == len(s) {
		return s, false
	}
	high := 0
	for i := at; i < len(s); i++ {
		high += int(s[i] >> 7)
	}
	out := append(a.Room(len(s)+2*high), s[:at]...)
	changed, valid := false, true
	for i := at; i < len(s); {
		if s[i] < utf8.RuneSelf {
			if isSpace(s[i]) {
				changed = true
			} else {
				out = append(out, s[i])
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case unicode.IsSpace(r):
			changed = true
		case r == utf8.RuneError && size == 1:
			out, valid = utf8.AppendRune(out, r), false
		default:
			out = append(out, s[i:i+size]...)
		}
		i += size
	}
	if !changed && valid {
		return s, false
	}
	return a.Keep(out), changed
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// removeComments takes comments out. One that runs to the end of a line runs to the end of the value. What follows the end
// of a comment is not looked at as the beginning of the next.
func removeComments(a *Arena, s string) (string, bool) {
	out := a.Room(len(s) + 1)
	changed, inside := false, false
	for i := 0; i < len(s); {
		rest := s[i:]
		if inside {
			end := 0
			if strings.HasPrefix(rest, "*/") {
				end = 2
			} else if strings.HasPrefix(rest, "-->") {
				end = 3
			}
			if end == 0 {
				i++
				continue
			}
			inside = false
			next := byte(0) // where the value ends
			if i+end < len(s) {
				next = s[i+end]
			}
			out = append(out, next)
			i += end + 1
			continue
		}
		switch {
		case strings.HasPrefix(rest, "/*"):
			inside, changed = true, true
			i += 2
		case strings.HasPrefix(rest, "<!--"):
			inside, changed = true, true
			i += 4
		case strings.HasPrefix(rest, "--"), rest[0] == '#':
			return a.Keep(out), true
		default:
			out = append(out, rest[0])
			i++
		}
	}
	if inside {
		out = append(out, ' ')
	}
	if !changed {
		return s, false
	}
	return a.Keep(out), true
}

// removeCommentsChar takes the signs of comments out, and leaves what they hold.
func removeCommentsChar(a *Arena, s string) (string, bool) {
	var out []byte
	copied := 0 // of s
	for i := 0; i < len(s); {
		n := commentSign(s[i:])
		if n == 0 {
			i++
			continue
		}
		if out == nil {
			out = a.Room(len(s))
		}
		out = append(out, s[copied:i]...)
		i += n
		copied = i
	}
	if copied == 0 {
		return s, false
	}
	return a.Keep(append(out, s[copied:]...)), true
}

// commentSign returns the length of the sign of a comment that a text begins with, 0 if it does not.
func commentSign(s string) int {
	switch s[0] {
	case '/', '*':
		if len(s) > 1 && s[1] == '/'^'*'^s[0] {
			return 2
		}
	case '<':
		if strings.HasPrefix(s, "<!--") {
			return 4
		}
	case '-':
		if strings.HasPrefix(s, "-->") {
			return 3
		}
		if strings.HasPrefix(s, "--") {
			return 2
		}
	case '#':
		return 1
	}
	return 0
}

// replaceComments puts a space in the place of each comment.
func replaceComments(a *Arena, s string) (string, bool) {
	if !strings.Contains(s, "/*") {
		return s, false
	}
	var out strings.Builder
	for {
		before, after, found := strings.Cut(s, "/*")
		out.WriteString(before)
		if !found {
			return out.String(), true
		}
		out.WriteByte(' ')
		if _, s, found = strings.Cut(after, "*/"); !found {
			return out.String(), true
		}
	}
}

func normalisePath(a *Arena, s string) (string, bool) {
	if s == "" {
		return s, false
	}
	clean := path.Clean(s)
	if clean == "." {
		return "", true
	}
	if s[len(s)-1] == '/' {
		clean += "/"
	}
	if clean == s {
		return s, false
	}
	return clean, true
}

// normalisePathWin knows backslashes, alternate data streams, and dots and spaces that Windows drops at the end of names.
func normalisePathWin(a *Arena, s string) (string, bool) {
	if s == "" {
		return s, false
	}
	out, _ := normalisePath(a, strings.ReplaceAll(s, `\`, "/"))
	out = dropTails(dropStream(out))
	if out == s {
		return s, false
	}
	return out, true
}

// dropStream cuts the last name of a path at its colon. One behind a drive letter stays.
func dropStream(s string) string {
	drive := ""
	if len(s) >= 2 && s[1] == ':' && (s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z') {
		drive, s = s[:2], s[2:]
	}
	body, slash := s, ""
	if strings.HasSuffix(s, "/") {
		body, slash = s[:len(s)-1], "/"
	}
	name := strings.LastIndexByte(body, '/') + 1
	if colon := strings.IndexByte(body[name:], ':'); colon >= 0 {
		body = body[:name+colon]
	}
	return drive + body + slash
}

// dropTails takes dots and spaces from the ends of names, and names away that consist of nothing else but have a space.
func dropTails(s string) string {
	tail := false
	for i := 1; i <= len(s) && !tail; i++ {
		tail = (i == len(s) || s[i] == '/') && (s[i-1] == '.' || s[i-1] == ' ')
	}
	if !tail {
		return s
	}
	names := strings.Split(s, "/")
	changed, out := false, names[:0]
	for _, name := range names {
		short := strings.TrimRight(name, ". ")
		if short == name || strings.Trim(name, ".") == "" {
			out = append(out, name)
			continue
		}
		changed = true
		if short != "" {
			out = append(out, short)
		}
	}
	if !changed {
		return s
	}
	return strings.Join(out, "/")
}
