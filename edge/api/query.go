package api

import (
	"net/url"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/openapi"
	"github.com/testudo-sec/testudo/edge/api/owner"
	"github.com/testudo-sec/testudo/internal/urlmask"
)

// Bounds of a query, beside what the document says of it: a stranger writes 16 KB.
const (
	maxQuery   = 64 // parameters that are looked at
	maxObjects = 4  // of the query and of the path, each, that name something
)

// pairs are the first parameters of the query that have names, as they stand.
func (c *check) pairs() []inventory.Value {
	raw := c.x.Request.URL.RawQuery
	if c.query != nil || raw == "" {
		return c.query
	}
	c.query = make([]inventory.Value, 0, min(strings.Count(raw, "&")+1, maxQuery))
	for pair := range strings.SplitSeq(raw, "&") {
		if len(c.query) == maxQuery {
			break
		}
		name, value, named := strings.Cut(pair, "=")
		if name = unescape(name); named && urlmask.PlainName(name) { // else it may be a value
			c.query = append(c.query, inventory.Value{Name: name, Value: unescape(value)})
		}
	}
	return c.query
}

// unescape leaves what is not well written as it is.
func unescape(s string) string {
	if plain, err := url.QueryUnescape(s); err == nil {
		return plain
	}
	return s
}

// findObjects lists what the request names: of the query first, for the last one of the path is what the request is about, and a parameter that
// somebody adds is not to take its place.
func (c *check) findObjects() {
	for _, p := range c.pairs() {
		if isID(p.Name) && !slices.Contains(c.objects, owner.Object(p)) {
			if len(c.objects) == maxObjects { // or who adds some could hide which one he is after
				mode := c.r.cfg.Objects
				if mode == Block {
					mode = Report
				}
				c.tell(mode, owner.CheckObject, "too-many", "query", "names more objects than are followed")
				break
			}
			c.objects = append(c.objects, owner.Object(p))
		}
	}
	slices.SortStableFunc(c.objects, func(a, b owner.Object) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range c.params[max(len(c.params)-maxObjects, 0):] {
		c.objects = append(c.objects, owner.Object(p))
	}
}

// isID holds for names of parameters that name an object.
func isID(name string) bool {
	return len(name) == 2 && strings.EqualFold(name, "id") || strings.HasSuffix(name, "Id") || strings.HasSuffix(name, "ID") || len(name) > 3 && strings.EqualFold(name[len(name)-3:], "_id")
}

// lax finds the operation that a server means which does not care about letters' case, a slash at the end, encodings: a request that only
// testudo does not know is held to it too.
func (c *check) lax(d *openapi.Document) (*openapi.Operation, []openapi.Param, string) {
	method := c.x.Request.Method
	op, params, found := d.FindLax(method, c.x.Path)
	for _, path := range owner.Readings(c.x.Path) {
		if op != nil {
			break
		}
		op, params, found = d.FindLax(method, path)
	}
	return op, params, found.Path
}

// isGraphQL reports whether the request is for the GraphQL endpoint, as any server may read its path.
func (c *check) isGraphQL() bool {
	if c.r.graphql == nil {
		return false
	}
	if c.graph == 0 {
		c.graph = 1
		at := strings.TrimRight(c.r.cfg.GraphQL.Path, "/")
		if isAt(c.x.Path, at, c.asksGraphQL()) || slices.ContainsFunc(owner.Readings(c.x.Path), func(p string) bool { return isAt(p, at, c.asksGraphQL()) }) {
			c.graph = 2
		}
	}
	return c.graph == 2
}

// isAt reports whether a path is that of an endpoint, or below it where frameworks mount endpoints so.
func isAt(path, at string, below bool) bool {
	path = strings.TrimRight(path, "/")
	if len(path) < len(at) || !strings.EqualFold(path[:len(at)], at) {
		return false
	}
	return len(path) == len(at) || below && at != "" && path[len(at)] == '/'
}

// asksGraphQL reports whether a request looks like an operation: of what is below the endpoint the rest are pages and files.
func (c *check) asksGraphQL() bool {
	if c.x.Request.Method == "POST" {
		return true
	}
	return slices.ContainsFunc(c.pairs(), func(p inventory.Value) bool {
		return p.Name == "query" || p.Name == "extensions" || p.Name == "documentId"
	})
}
