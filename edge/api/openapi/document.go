package openapi

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Document is an OpenAPI document, compiled.
type Document struct {
	// Title and Version are the document's own; Format is the version of OpenAPI, as in 3.1.0.
	Title, Version, Format string
	// Warnings say what of the document is not enforced, and where.
	Warnings []string

	operations []*Operation // sorted by path, then by method
	bases      map[*Operation][]string
	routes     router
}

// methods are the keys of a path item that are operations.
var methods = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace", "query"}

// Load reads a document. The name is its path: it stands in errors, and files that the document refers to are opened relative
// to it; they must lie in the same folder or below. open may be nil where there is but one file. An error names file, line and place.
func Load(name string, b []byte, open func(path string) ([]byte, error)) (*Document, error) {
	name = path.Clean(strings.ReplaceAll(name, `\`, "/"))
	s := &sources{open: open, dir: path.Dir(name), files: map[string]*source{}}
	file, err := s.add(name, b)
	if err != nil {
		return nil, err
	}
	root := node{file, "", file.tree}
	if root.object() == nil {
		return nil, root.errorf("no OpenAPI document: an object was expected")
	}
	format := root.get("openapi").text()
	switch {
	case strings.HasPrefix(format, "3.0."), strings.HasPrefix(format, "3.1."), strings.HasPrefix(format, "3.2."):
	case format == "" && root.get("swagger").v != nil:
		return nil, root.get("swagger").errorf("Swagger 2.0 is not read: convert the document to OpenAPI 3, for instance with swagger2openapi")
	case format == "":
		return nil, root.errorf("no OpenAPI document: it does not say openapi: 3.0.x, 3.1.x or 3.2.x (a version is text: quote it)")
	default:
		return nil, root.get("openapi").errorf("OpenAPI %.20s is not read: 3.0, 3.1 and 3.2 are", format)
	}
	d := &Document{Format: format, Title: root.get("info").get("title").text(), Version: root.get("info").get("version").text()}
	l := &loader{doc: d, root: root, g: newGatherer(s, file, strings.HasPrefix(format, "3.0."))}
	if err := l.load(); err != nil {
		return nil, err
	}
	return d, nil
}

// Operations returns what the document describes, sorted by path and method.
func (d *Document) Operations() []*Operation { return slices.Clone(d.operations) }

// Under returns the document with its paths under other bases than its servers say, such as "" or "/api/v2": what stands
// before the edge may take a part of the path away.
func (d *Document) Under(bases ...string) (*Document, error) {
	out := *d
	out.bases = map[*Operation][]string{}
	for _, op := range d.operations {
		for _, base := range bases {
			out.bases[op] = append(out.bases[op], cleanBase(base))
		}
	}
	return &out, out.route()
}

// route builds the tree of paths.
func (d *Document) route() error {
	d.routes = router{}
	items := map[string]*pathItem{}
	for _, op := range d.operations {
		for _, base := range d.bases[op] {
			full := base + op.Path
			item := items[full]
			if item == nil {
				item = &pathItem{template: full, methods: map[string]*Operation{}}
				items[full] = item
			}
			item.methods[op.Method] = op
		}
	}
	for _, full := range slices.Sorted(maps.Keys(items)) {
		if err := d.routes.add(full, items[full]); err != nil {
			return fmt.Errorf("path %s: %w", full, err)
		}
	}
	return nil
}

// cleanBase makes of a server's path what stands before a path: no slash at its end.
func cleanBase(base string) string {
	base = path.Clean("/" + base)
	if base == "/" {
		return ""
	}
	return base
}

// maxBases bounds what the variables of servers can make.
const maxBases = 64

// serverBases returns the paths of servers, with the values that their variables are said to have.
func serverBases(servers node) ([]string, error) {
	var out []string
	for i := range servers.list() {
		server := servers.at(i)
		urls := []string{server.get("url").text()}
		for name := range server.get("variables").object() {
			v := server.get("variables").get(name)
			values := []string{}
			for _, one := range v.get("enum").list() {
				if s, ok := one.(string); ok {
					values = append(values, s)
				}
			}
			if len(values) == 0 {
				values = append(values, v.get("default").text())
			}
			var next []string
			for _, u := range urls {
				if !strings.Contains(u, "{"+name+"}") {
					next = append(next, u)
					continue
				}
				for _, value := range values {
					next = append(next, strings.ReplaceAll(u, "{"+name+"}", value))
				}
			}
			if urls = next; len(urls) > maxBases {
				return nil, server.errorf("the server's variables make more than %d addresses", maxBases)
			}
		}
		for _, u := range urls {
			if before, after, ok := strings.Cut(u, "://"); ok && !strings.Contains(before, "/") {
				_, p, _ := strings.Cut(after, "/") // a host may hold what is no URL, as {region}
				u = "/" + p
			}
			parsed, err := url.Parse(u)
			if err != nil {
				return nil, server.errorf("the server's url is none")
			}
			if strings.ContainsAny(parsed.Path, "{}") {
				return nil, server.errorf("the server's url has a variable in its path that is not described")
			}
			if base := cleanBase(parsed.Path); !slices.Contains(out, base) {
				out = append(out, base)
			}
		}
	}
	return out, nil
}
