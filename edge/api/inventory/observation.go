package inventory

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Observation is one request with its answer. Learn keeps none of its strings and trees.
type Observation struct {
	Time   time.Time
	Route  string
	Host   string
	Method string
	Path   string // as it was sent: percent-encoded, without the query

	Query             []Value
	Request, Response any // parsed JSON, or nil: nil, bool, json.Number or float64, string, []any, map[string]any

	RequestType, ResponseType   string // media types
	RequestBytes, ResponseBytes int64

	Status    int
	Auth      []Credential // what the request carried; empty for nothing
	Sensitive []string     // kinds of sensitive data that were seen in it, such as "payment-card"
	Caller    uint64       // who: a keyed hash made by the one who calls; 0 if unknown
	Witness   uint64       // whom a stranger cannot be several of: the network that it came from, or a subject that was proved; 0: Caller
}

func (o *Observation) witness() uint64 {
	if o.Witness != 0 {
		return o.Witness
	}
	return o.Caller
}

// Value is one parameter of a query.
type Value struct{ Name, Value string }

// Credential is a way to say who one is.
type Credential struct {
	Kind CredentialKind `json:"kind"`
	Name string         `json:"name,omitempty"` // of the cookie, or of the header that holds an API key
}

// CredentialKind is a scheme of authentication.
type CredentialKind string

// The kinds of Credential.
const (
	None   CredentialKind = "none"
	Bearer CredentialKind = "bearer"
	Basic  CredentialKind = "basic"
	Cookie CredentialKind = "cookie"
	APIKey CredentialKind = "api-key"
)

// Config bounds an Inventory. Zero values mean the defaults.
type Config struct {
	// Endpoints is how many endpoints (method and template) are kept at most, of all routes together.
	Endpoints int `yaml:"endpoints"`
	// Fields is how many fields of one body are kept at most.
	Fields int `yaml:"fields"`
	// Depth is how many segments of a path are looked at. Longer paths are counted and not learned.
	Depth int `yaml:"depth"`
}

// Default is the Config for a node that guards some thousands of endpoints.
func Default() Config { return Config{Endpoints: 10_000, Fields: 128, Depth: 24} }

// Validate says which limit is out of range.
func (c Config) Validate() error {
	for _, l := range []struct {
		name       string
		value, top int
	}{{"endpoints", c.Endpoints, 1_000_000}, {"fields", c.Fields, 4096}, {"depth", c.Depth, 64}} {
		if l.value < 0 || l.value > l.top {
			return fmt.Errorf("inventory.%s: %d is not between 0 and %d", l.name, l.value, l.top)
		}
	}
	return nil
}

func (c Config) orDefault() Config {
	d := Default()
	if c.Endpoints <= 0 {
		c.Endpoints = d.Endpoints
	}
	if c.Fields <= 0 {
		c.Fields = d.Fields
	}
	if c.Depth <= 0 {
		c.Depth = d.Depth
	}
	return c
}

// Stats counts what an Inventory did and what it did not take. All numbers grow since New.
type Stats struct {
	Endpoints int    // now
	Learned   uint64 // observations that belong to an endpoint
	Unknown   uint64 // refused by the server at no known endpoint, or not kept because a table is full
	Odd       uint64 // paths or methods that no endpoint can be named after
	Full      uint64 // observations of which something was not kept because a table is full
	Busy      uint64 // not learned because a copy was being made
	Evicted   uint64 // names and endpoints that few asked for, dropped
}

// succeeded says that the server knew what was asked for.
func succeeded(status int) bool { return status >= 200 && status < 400 }

// isMethod admits the methods of RFC 9110 and PATCH, and no more: a stranger names them.
func isMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// isOdd finds paths that servers read differently: they name no endpoint.
func isOdd(path string) bool {
	if path == "" || path[0] != '/' || len(path) > 4096 {
		return true
	}
	return strings.Contains(path, "//") || strings.Contains(path, "/./") || strings.Contains(path, "/../") ||
		strings.HasSuffix(path, "/.") || strings.HasSuffix(path, "/..") || strings.Contains(path, "\\") || hasEncodedTrick(path) || !isShown(path)
}

// isShown reports whether people can be shown the names of a path: a stranger's could turn the text around it.
func isShown(path string) bool {
	plain := true
	for i := 0; i < len(path) && plain; i++ {
		plain = path[i] > ' ' && path[i] < 0x7f && path[i] != '%'
	}
	if plain {
		return true
	}
	for path != "" {
		var segment string
		segment, path = cutSegment(path)
		for _, c := range decoded(segment) {
			if c == utf8.RuneError || !unicode.IsPrint(c) {
				return false
			}
		}
	}
	return true
}

// hasEncodedTrick finds encoded slashes, dots, backslashes, percent signs and control characters.
func hasEncodedTrick(path string) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) {
			return true
		}
		hi, ok1 := unhex(path[i+1])
		lo, ok2 := unhex(path[i+2])
		if !ok1 || !ok2 {
			return true
		}
		switch c := hi<<4 | lo; {
		case c == '/' || c == '\\' || c == '%' || c == '.' || c < ' ' || c == 0x7f:
			return true
		}
	}
	return false
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

// decoded is a segment without its percent-encoding and matrix parameters.
func decoded(segment string) string {
	if i := strings.IndexByte(segment, ';'); i >= 0 {
		segment = segment[:i]
	}
	if strings.IndexByte(segment, '%') < 0 {
		return segment
	}
	b := make([]byte, 0, len(segment))
	for i := 0; i < len(segment); i++ {
		if segment[i] == '%' && i+2 < len(segment) {
			hi, _ := unhex(segment[i+1])
			lo, _ := unhex(segment[i+2])
			b = append(b, hi<<4|lo)
			i += 2
			continue
		}
		b = append(b, segment[i])
	}
	return string(b)
}

// cutSegment walks over a path: the first segment, and what is behind it.
func cutSegment(path string) (segment, rest string) {
	path = strings.TrimPrefix(path, "/")
	segment, rest, _ = strings.Cut(path, "/")
	return segment, rest
}
