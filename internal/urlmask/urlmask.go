// Package urlmask makes the forms of paths, queries, referrers and names that may be recorded:
// what may be a secret becomes "*", and what could upset a terminal, a log or a page is
// percent-encoded. Every result is bounded.
//
// Values of parameters are masked but for those that [New] was told. A name can be a secret too, where somebody put a token in
// its place; [PlainName] draws that line. A segment of a path cannot be told from a secret:
// patterns say where one stands.
package urlmask

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of the results, in bytes but for MaxNames.
const (
	MaxPath     = 8 << 10
	MaxQuery    = 8 << 10
	MaxReferrer = 2 << 10
	MaxName     = 48  // of one name
	MaxNames    = 128 // names in one list
	maxValue    = 256 // of a parameter in clear
)

// Masked stands in the place of what is not recorded.
const Masked = "*"

// Clean bounds s and replaces what could upset a terminal, a log or a page: control
// characters, invisible and direction-changing ones, and bytes that are not UTF-8. It
// returns s itself where nothing needs to change.
func Clean(s string, limit int) string {
	plain := len(s) <= limit
	for i := 0; plain && i < len(s); i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if b.Len() >= limit {
			b.WriteString("…")
			break
		}
		c, n := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError && n == 1 || !unicode.IsPrint(c) {
			const hex = "0123456789ABCDEF"
			for _, raw := range []byte(s[i : i+n]) {
				b.Write([]byte{'%', hex[raw>>4], hex[raw&15]})
			}
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// PlainName reports whether s looks like a name somebody chose, not like a secret
// that stands where a name is expected: short, of the characters of identifiers, and no part
// of it long, or of letters and digits mixed over some length.
func PlainName(s string) bool {
	if s == "" || len(s) > MaxName {
		return false
	}
	part, digits, letters, humps := 0, 0, 0, 0
	for i := 0; i <= len(s); i++ {
		var c byte = '.'
		if i < len(s) {
			c = s[i]
		}
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			letters++
			if c <= 'Z' && part > 0 && 'a' <= s[i-1] && s[i-1] <= 'z' {
				humps++ // base64 has many, camelCase few
			}
		case '0' <= c && c <= '9':
			digits++
		case c == '_', c == '-', c == '.', c == '[', c == ']', c == ':', c == '$', c == '@', c == '%':
			if part > 32 || part >= 12 && digits >= 3 && letters > 0 || digits > 12 || humps > 4 {
				return false
			}
			part, digits, letters, humps = -1, 0, 0, 0
		default:
			return false
		}
		part++
	}
	return true
}

// Masker makes the recorded forms where names and places are known that are more or less secret
// than others. Its zero value knows none. It is not changed after its making, and safe for concurrent use.
type Masker struct {
	clear  []string   // parameters in clear
	hidden []string   // parameters whose names are masked too
	paths  [][]string // patterns of segments
}

// New returns a Masker that leaves the values of the parameters in clear as they are, masks the names
// of those in hidden, and masks the segments of a path that stand under "*" in a pattern, as in
// "/reset/*". A pattern fits every path that begins so.
func New(clear, hidden, patterns []string) Masker {
	m := Masker{clear: clear, hidden: hidden}
	for _, p := range patterns {
		m.paths = append(m.paths, strings.Split(p, "/"))
	}
	return m
}

// Query returns the recorded form of a query string: names stay, values become
// "*". What has no "=" is taken for a value, and so is a name that looks like a
// secret. A name may be followed by a value in clear where New was told so.
func (m *Masker) Query(raw string) string {
	if raw == "" {
		return ""
	}
	b := make([]byte, 0, min(len(raw), MaxQuery)+8)
	for first := true; ; first = false {
		pair, rest, more := strings.Cut(raw, "&")
		if !first {
			b = append(b, '&')
		}
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case !ok:
			b = append(b, Masked...)
		default:
			b = append(b, m.name(name)...)
			b = append(b, '=')
			if slices.Contains(m.clear, name) {
				b = append(b, Clean(value, maxValue)...)
			} else {
				b = append(b, Masked...)
			}
		}
		if !more {
			return string(b)
		}
		if len(b) > MaxQuery {
			return string(append(b, "&…"...))
		}
		raw = rest
	}
}

func (m *Masker) name(name string) string {
	if !PlainName(name) || slices.Contains(m.hidden, name) {
		return Masked
	}
	return name
}

// ArgNames appends the names of the parameters in a query or form to names, masked
// as in Query, each once.
func (m *Masker) ArgNames(names []string, raw string) []string {
	for raw != "" && len(names) < MaxNames {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		name, _, ok := strings.Cut(pair, "=")
		if !ok {
			continue
		}
		if name = m.name(name); !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// CookieNames appends the names of the cookies in Cookie fields to names, each once.
func CookieNames(names []string, fields []string) []string {
	for _, line := range fields {
		for line != "" && len(names) < MaxNames {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, _, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !ok || !PlainName(name) {
				name = Masked
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// Path returns the recorded form of a path as received: path parameters behind ";" lose
// their values, as does what stands before an "@" with a colon in it, and
// segments that a pattern names.
func (m *Masker) Path(raw string) string {
	if len(m.paths) > 0 {
		raw = m.maskSegments(raw)
	}
	if strings.IndexByte(raw, ';') >= 0 || strings.IndexByte(raw, '@') >= 0 || strings.Contains(raw, "%3") || strings.Contains(raw, "%4") {
		raw = maskParams(raw)
	}
	return Clean(raw, MaxPath)
}

func maskParams(raw string) string {
	segments := strings.Split(raw, "/")
	for i, seg := range segments {
		// The encoded forms mean the same to many upstreams.
		if at := lastIndexEncoded(seg, '@', "%40"); at >= 0 && indexEncoded(seg[:at], ':', "%3a") >= 0 {
			seg = Masked + seg[at:]
		}
		if semi := indexEncoded(seg, ';', "%3b"); semi >= 0 {
			seg = seg[:semi] + maskPathParams(seg[semi:])
		}
		segments[i] = seg
	}
	return strings.Join(segments, "/")
}

// maskPathParams masks ";name=value;value", the semicolons possibly encoded.
func maskPathParams(s string) string {
	var b strings.Builder
	for s != "" {
		skip := 1
		if s[0] == '%' {
			skip = 3
		}
		s = s[skip:]
		end := indexEncoded(s, ';', "%3b")
		if end < 0 {
			end = len(s)
		}
		b.WriteByte(';')
		if name, _, ok := strings.Cut(s[:end], "="); ok && PlainName(name) {
			b.WriteString(name + "=")
		}
		if end > 0 {
			b.WriteString(Masked)
		}
		s = s[end:]
	}
	return b.String()
}

func (m *Masker) maskSegments(raw string) string {
	segments := strings.Split(raw, "/")
	changed := false
	for _, pattern := range m.paths {
		if len(pattern) > len(segments) {
			continue
		}
		fits := true
		for i, p := range pattern {
			if p != Masked && p != segments[i] {
				fits = false
				break
			}
		}
		if !fits {
			continue
		}
		for i, p := range pattern {
			if p == Masked && segments[i] != "" {
				segments[i], changed = Masked, true
			}
		}
	}
	if !changed {
		return raw
	}
	return strings.Join(segments, "/")
}

// Referrer returns the recorded form of a Referer field: no user information, no
// fragment, query and path masked as in the request itself.
func (m *Masker) Referrer(raw string) string {
	s := raw
	if i := strings.IndexByte(s, '#'); i >= 0 {
		s = s[:i]
	}
	s, query, hasQuery := strings.Cut(s, "?")
	prefix := ""
	if i := strings.Index(s, "//"); i >= 0 {
		host, path := s[i+2:], ""
		if j := strings.IndexByte(host, '/'); j >= 0 {
			host, path = host[:j], host[j:]
		}
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = Masked + host[at:]
		}
		prefix, s = s[:i+2]+host, path
	}
	out := Clean(prefix, MaxReferrer) + m.Path(s)
	if hasQuery {
		out += "?" + m.Query(query)
	}
	if len(out) > MaxReferrer {
		out = Clean(out, MaxReferrer)
	}
	return out
}

// indexEncoded returns the first position of c or of its percent-encoded form
// (lower case) in s, or -1.
func indexEncoded(s string, c byte, encoded string) int {
	for i := 0; i < len(s); i++ {
		if s[i] == c || s[i] == '%' && len(s) >= i+3 && strings.EqualFold(s[i:i+3], encoded) {
			return i
		}
	}
	return -1
}

func lastIndexEncoded(s string, c byte, encoded string) int {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i] == c || s[i] == '%' && len(s) >= i+3 && strings.EqualFold(s[i:i+3], encoded) {
			return i
		}
	}
	return -1
}
