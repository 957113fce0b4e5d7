package owner

import (
	"strings"
)

// Head is what Tricks looks at.
type Head struct {
	Method string
	Path   string                     // as it was sent, without the query
	Query  string                     // as it was sent
	Header func(name string) []string // nil for none
}

// Resolve says which endpoint answers a path, as "GET /users/{id}"; ok is false if none is known.
type Resolve func(method, path string) (endpoint string, ok bool)

const (
	maxPath   = 8192
	maxRounds = 3 // of percent-decoding
)

// Tricks finds what makes a request something else to the server behind than it seems here. With a resolve it tells of a path only where
// a laxer reading leads to another known endpoint; without one, where the readings differ at all. It keeps no state.
func Tricks(h Head, resolve Resolve) []Violation {
	var all []Violation
	all = append(all, methodTricks(&h)...)
	all = append(all, addressTricks(&h)...)
	return append(all, pathTricks(&h, resolve)...)
}

var methodHeaders = []string{"X-Http-Method-Override", "X-Http-Method", "X-Method-Override"}

func methodTricks(h *Head) []Violation {
	var all []Violation
	for _, name := range methodHeaders {
		for _, v := range h.header(name) {
			if v = strings.TrimSpace(v); v != "" && !strings.EqualFold(v, h.Method) {
				all = append(all, Violation{CheckBypass, CodeMethod, "header " + name, "asks the server to take the request for one with another method", 70})
				break
			}
		}
	}
	for pair := range strings.SplitSeq(h.Query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if decode(name) == "_method" && !strings.EqualFold(decode(value), h.Method) {
			all = append(all, Violation{CheckBypass, CodeMethod, "query _method", "asks the server to take the request for one with another method", 70})
			break
		}
	}
	return all
}

var addressHeaders = []string{"X-Original-Url", "X-Rewrite-Url", "X-Original-Uri", "X-Override-Url", "X-Http-Destinationurl"}

func addressTricks(h *Head) []Violation {
	var all []Violation
	for _, name := range addressHeaders {
		for _, v := range h.header(name) {
			path, _, _ := strings.Cut(strings.TrimSpace(v), "?")
			if i := strings.Index(path, "://"); i >= 0 {
				_, path, _ = strings.Cut(path[i+3:], "/")
				path = "/" + path
			}
			if path != "" && path != h.Path {
				all = append(all, Violation{CheckBypass, CodeAddress, "header " + name, "names another address than the request's own", 85})
				break
			}
		}
	}
	return all
}

func (h *Head) header(name string) []string {
	if h.Header == nil {
		return nil
	}
	return h.Header(name)
}

func pathTricks(h *Head, resolve Resolve) []Violation {
	if h.Path == "" || len(h.Path) > maxPath || isPlain(h.Path) && resolve == nil {
		return nil
	}
	readings := Readings(h.Path)
	if len(readings) == 0 && resolve != nil {
		return nil
	}
	confidence := 85
	if isPlain(h.Path) {
		confidence = 40 // upper case or a dot at the end: more often a slip than an attack
	}
	if resolve == nil {
		return []Violation{{CheckBypass, CodePath, "path", "servers read this path in different ways", 50}}
	}
	here, _ := resolve(h.Method, h.Path)
	for _, path := range readings {
		if there, ok := resolve(h.Method, path); ok && there != here {
			return []Violation{{CheckBypass, CodePath, "path", "a laxer server takes this path for another endpoint", confidence}}
		}
	}
	return nil
}

// isPlain holds for paths that all servers read alike, letters' case and file endings aside. What needs to be encoded may be.
func isPlain(path string) bool {
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%':
			if i+2 >= len(path) {
				return false
			}
			hi, ok1 := unhex(path[i+1])
			lo, ok2 := unhex(path[i+2])
			d := hi<<4 | lo
			if !ok1 || !ok2 || d < ' ' || d == 0x7f || strings.IndexByte("/\\.;%", d) >= 0 || d|0x20 >= 'a' && d|0x20 <= 'z' || d >= '0' && d <= '9' {
				return false
			}
		case c == ';' || c == '\\' || c <= ' ' || c >= 0x7f:
			return false
		case c == '/' && i > 0 && path[i-1] == '/', c == '.' && i > 0 && path[i-1] == '/':
			return false
		}
	}
	return true
}

// Readings reads a path as laxer servers do: parameters of segments cut, encodings undone more than once, dots resolved, slashes merged, in
// lower case, without an ending. It returns the readings that differ from the path itself.
func Readings(path string) []string {
	if path == "" || len(path) > maxPath {
		return nil
	}
	var all []string
	add := func(p string) {
		if p == "" {
			p = "/"
		}
		if p == path || len(all) == 8 {
			return
		}
		for _, known := range all {
			if known == p {
				return
			}
		}
		all = append(all, p)
	}
	if !isPlain(path) {
		add(resolveDots(cutParameters(path)))
		p := path
		for range maxRounds {
			next := decode(p)
			if next == p {
				break
			}
			p = next
			if i := strings.IndexByte(p, 0); i >= 0 {
				add(resolveDots(cutParameters(p[:i])))
			}
			add(resolveDots(cutParameters(strings.ReplaceAll(p, "\\", "/"))))
			add(resolveDots(strings.ReplaceAll(p, "\\", "/")))
		}
		p = resolveDots(cutParameters(strings.ReplaceAll(p, "\\", "/")))
		add(strings.TrimRight(p, ". /\t\r\n\x00"))
		add(strings.ToLower(p))
		return all
	}
	if lower := strings.ToLower(path); lower != path {
		add(lower)
	}
	if p := decode(path); len(p) > 1 {
		if short := strings.TrimRight(p, ". /"); short != p {
			add(short)
		}
	}
	if i := strings.LastIndexByte(path, '.'); i > strings.LastIndexByte(path, '/')+1 && len(path)-i <= 6 {
		add(path[:i])
	}
	return all
}

// cutParameters removes ;name=value from each segment (RFC 3986, section 3.3).
func cutParameters(path string) string {
	if !strings.Contains(path, ";") {
		return path
	}
	var b strings.Builder
	for i, segment := range strings.Split(path, "/") {
		if i > 0 {
			b.WriteByte('/')
		}
		segment, _, _ = strings.Cut(segment, ";")
		b.WriteString(segment)
	}
	return b.String()
}

// resolveDots removes dot segments (RFC 3986, section 5.2.4) and empty ones.
func resolveDots(path string) string {
	var kept []string
	for segment := range strings.SplitSeq(path, "/") {
		switch segment {
		case "", ".":
		case "..":
			kept = kept[:max(len(kept)-1, 0)]
		default:
			kept = append(kept, segment)
		}
	}
	return "/" + strings.Join(kept, "/")
}

// decode undoes percent-encoding once, where it is one.
func decode(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, ok1 := unhex(s[i+1])
			lo, ok2 := unhex(s[i+2])
			if ok1 && ok2 {
				b = append(b, hi<<4|lo)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return string(b)
}

func unhex(c byte) (byte, bool) {
	switch {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10, true
	}
	return 0, false
}
