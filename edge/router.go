package edge

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// route is a Route made ready.
type route struct {
	cfg    *Route
	name   string
	prefix string // path without a slash at its end
	mode   string
	block  bool // obey verdicts
	closed bool // refuse what could not be judged
	waf    bool
	mask   masker
	pool   *pool
	count  *routeMetrics
}

// router finds the route of a request. It is immutable.
type router struct {
	exact    map[string][]*route
	wildcard []wildcard // longest suffix first
	any      []*route
}

type wildcard struct {
	suffix string // ".example.com"
	routes []*route
}

func newRouter(routes []*route) *router {
	r := &router{exact: make(map[string][]*route)}
	for _, rt := range routes {
		if len(rt.cfg.Hosts) == 0 {
			r.any = append(r.any, rt)
		}
		for _, h := range rt.cfg.Hosts {
			h = strings.ToLower(strings.TrimSuffix(h, "."))
			if suffix, ok := strings.CutPrefix(h, "*"); ok {
				i := slices.IndexFunc(r.wildcard, func(w wildcard) bool { return w.suffix == suffix })
				if i < 0 {
					i = len(r.wildcard)
					r.wildcard = append(r.wildcard, wildcard{suffix: suffix})
				}
				r.wildcard[i].routes = append(r.wildcard[i].routes, rt)
				continue
			}
			r.exact[h] = append(r.exact[h], rt)
		}
	}
	longest := func(routes []*route) {
		slices.SortStableFunc(routes, func(a, b *route) int { return len(b.prefix) - len(a.prefix) })
	}
	for _, routes := range r.exact {
		longest(routes)
	}
	slices.SortStableFunc(r.wildcard, func(a, b wildcard) int { return len(b.suffix) - len(a.suffix) })
	for _, w := range r.wildcard {
		longest(w.routes)
	}
	longest(r.any)
	return r
}

// find returns the route of a host, lower case and without port, and a path as
// received. Where the path can be read in two ways that lead to two routes, it
// returns ambiguous: what is judged as one route's request must not reach another's
// upstream, or another part of the same one.
func (r *router) find(host, raw string) (rt *route, ambiguous bool) {
	rt = r.match(host, raw)
	if !odd(raw) {
		return rt, false
	}
	for _, reading := range readings(raw) {
		if r.match(host, reading) != rt {
			return nil, true
		}
	}
	return rt, false
}

// odd reports whether upstreams may read the path in more than one way.
func odd(raw string) bool {
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '%', '\\', ';':
			return true
		case '/':
			if i+1 < len(raw) && (raw[i+1] == '/' || raw[i+1] == '.') {
				return true
			}
		}
	}
	return false
}

// readings lists what servers make of a path: dot segments removed before or after decoding,
// an encoded slash and a backslash as a slash, empty segments joined, path
// parameters dropped.
func readings(raw string) []string {
	cleaned := path.Clean(raw)
	decoded, err := url.PathUnescape(raw)
	if err != nil {
		return []string{cleaned}
	}
	slashed := strings.ReplaceAll(decoded, `\`, "/")
	out := []string{cleaned, decoded, path.Clean(decoded), path.Clean(slashed)}
	if strings.IndexByte(slashed, ';') >= 0 {
		segments := strings.Split(slashed, "/")
		for i, s := range segments {
			segments[i], _, _ = strings.Cut(s, ";")
		}
		out = append(out, path.Clean(strings.Join(segments, "/")))
	}
	return out
}

func (r *router) match(host, p string) *route {
	if rt := longestPrefix(r.exact[host], p); rt != nil {
		return rt
	}
	for i := range r.wildcard {
		if w := &r.wildcard[i]; strings.HasSuffix(host, w.suffix) {
			if rt := longestPrefix(w.routes, p); rt != nil {
				return rt
			}
		}
	}
	return longestPrefix(r.any, p)
}

func longestPrefix(routes []*route, p string) *route {
	for _, rt := range routes {
		if rest, ok := strings.CutPrefix(p, rt.prefix); ok && (rest == "" || rest[0] == '/' || rt.prefix == "") {
			return rt
		}
	}
	return nil
}
