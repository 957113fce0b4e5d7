package edge

import (
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of what is recorded of one request, in bytes.
const (
	maxPath      = 8 << 10
	maxQuery     = 8 << 10
	maxUserAgent = 512
	maxReferer   = 2 << 10
	maxValue     = 256
	maxNames     = 128 // names in one list
	maxName      = 48
)

const masked = "*"

// clean bounds s and replaces what could upset a terminal, a log or a page: control
// characters, invisible and direction-changing ones, and bytes that are not UTF-8. It
// returns s itself where nothing needs to change.
func clean(s string, limit int) string {
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

// plainName reports whether s looks like a name somebody chose, not like a secret
// that stands where a name is expected: short, of the characters of identifiers, and no part
// of it long, or of letters and digits mixed over some length.
func plainName(s string) bool {
	if s == "" || len(s) > maxName {
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

// A masker makes the recorded forms for one route.
type masker struct {
	clear                                      []string // parameters recorded in clear
	hidden                                     []string // parameters whose names are masked too
	headers                                    []recordedHeader
	paths                                      [][]string // patterns of segments
	userAgent, referer, contentType, forwarded bool
}

type recordedHeader struct{ key, attr string } // canonical name, name of the attribute

func newMasker(r *Record) masker {
	has := func(name string) bool {
		return slices.ContainsFunc(r.MaskHeaders, func(h string) bool { return strings.EqualFold(h, name) })
	}
	m := masker{clear: r.Parameters, hidden: r.MaskParameters,
		userAgent: !has("user-agent"), referer: !has("referer"),
		contentType: !has("content-type"), forwarded: !has("x-forwarded-for")}
	for _, h := range r.Headers {
		m.headers = append(m.headers, recordedHeader{http.CanonicalHeaderKey(h), "http_request.headers." + strings.ToLower(h)})
	}
	for _, p := range r.MaskPaths {
		m.paths = append(m.paths, strings.Split(p, "/"))
	}
	return m
}

// credentialHeader reports whether a field's value is never recorded, whatever
// the configuration says.
func credentialHeader(name string) bool {
	n := strings.ToLower(name)
	switch n {
	case "cookie", "set-cookie", "cookie2", "set-cookie2", "dpop", "sec-websocket-key":
		return true
	}
	for _, word := range []string{"auth", "token", "secret", "password", "passwd", "credential", "session", "api-key", "apikey", "access-key", "signature", "jwt", "assertion", "csrf", "xsrf", "cert"} {
		if strings.Contains(n, word) {
			return true
		}
	}
	return false
}

// query returns the recorded form of a query string: names stay, values become
// "*". What has no "=" is taken for a value, and so is a name that looks like a
// secret. A name may be followed by a value in clear where the route says so.
func (m *masker) query(raw string) string {
	if raw == "" {
		return ""
	}
	b := make([]byte, 0, min(len(raw), maxQuery)+8)
	for first := true; ; first = false {
		pair, rest, more := strings.Cut(raw, "&")
		if !first {
			b = append(b, '&')
		}
		name, value, ok := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case !ok:
			b = append(b, masked...)
		default:
			b = append(b, m.name(name)...)
			b = append(b, '=')
			if slices.Contains(m.clear, name) {
				b = append(b, clean(value, maxValue)...)
			} else {
				b = append(b, masked...)
			}
		}
		if !more {
			return string(b)
		}
		if len(b) > maxQuery {
			return string(append(b, "&…"...))
		}
		raw = rest
	}
}

func (m *masker) name(name string) string {
	if !plainName(name) || slices.Contains(m.hidden, name) {
		return masked
	}
	return name
}

// argNames appends the names of the parameters in a query or form to names, masked
// as in query, each once.
func (m *masker) argNames(names []string, raw string) []string {
	for raw != "" && len(names) < maxNames {
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

// cookieNames appends the names of cookies to names, each once.
func cookieNames(names []string, fields []string) []string {
	for _, line := range fields {
		for line != "" && len(names) < maxNames {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, _, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if !ok || !plainName(name) {
				name = masked
			}
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// path returns the recorded form of a path as received: path parameters behind ";" lose
// their values, as does what stands before an "@" with a colon in it, and
// segments that the route's mask_paths name.
func (m *masker) path(raw string) string {
	if len(m.paths) > 0 {
		raw = m.maskSegments(raw)
	}
	if strings.IndexByte(raw, ';') >= 0 || strings.IndexByte(raw, '@') >= 0 || strings.Contains(raw, "%3") || strings.Contains(raw, "%4") {
		raw = maskParams(raw)
	}
	return clean(raw, maxPath)
}

func maskParams(raw string) string {
	segments := strings.Split(raw, "/")
	for i, seg := range segments {
		// The encoded forms mean the same to many upstreams.
		if at := lastIndexEncoded(seg, '@', "%40"); at >= 0 && indexEncoded(seg[:at], ':', "%3a") >= 0 {
			seg = masked + seg[at:]
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
		if name, _, ok := strings.Cut(s[:end], "="); ok && plainName(name) {
			b.WriteString(name + "=")
		}
		if end > 0 {
			b.WriteString(masked)
		}
		s = s[end:]
	}
	return b.String()
}

func (m *masker) maskSegments(raw string) string {
	segments := strings.Split(raw, "/")
	changed := false
	for _, pattern := range m.paths {
		if len(pattern) > len(segments) {
			continue
		}
		fits := true
		for i, p := range pattern {
			if p != masked && p != segments[i] {
				fits = false
				break
			}
		}
		if !fits {
			continue
		}
		for i, p := range pattern {
			if p == masked && segments[i] != "" {
				segments[i], changed = masked, true
			}
		}
	}
	if !changed {
		return raw
	}
	return strings.Join(segments, "/")
}

// referrer returns the recorded form of a Referer field: no user information, no
// fragment, query and path masked as in the request itself.
func (m *masker) referrer(raw string) string {
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
			host = masked + host[at:]
		}
		prefix, s = s[:i+2]+host, path
	}
	out := clean(prefix, maxReferer) + m.path(s)
	if hasQuery {
		out += "?" + m.query(query)
	}
	if len(out) > maxReferer {
		out = clean(out, maxReferer)
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
