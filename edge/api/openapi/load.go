package openapi

import (
	"maps"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/schema"
)

// loader reads the operations of a document. Schemas are compiled at the end, all at once; until then later keeps who waits for one.
type loader struct {
	doc     *Document
	root    node
	g       *gatherer
	schemes map[string]Requirement
	later   []func(*schema.Set)
}

func (l *loader) load() error {
	if err := l.securitySchemes(); err != nil {
		return err
	}
	bases, err := serverBases(l.root.get("servers"))
	if err != nil {
		return err
	}
	if len(bases) == 0 {
		bases = []string{""}
	}
	paths := l.root.get("paths")
	if paths.v != nil && paths.object() == nil {
		return paths.errorf("must be an object of paths")
	}
	l.doc.bases = map[*Operation][]string{}
	for _, name := range slices.Sorted(maps.Keys(paths.object())) {
		if strings.HasPrefix(name, "x-") {
			continue
		}
		if !strings.HasPrefix(name, "/") {
			return paths.get(name).errorf("a path must begin with a slash")
		}
		if err := l.path(name, paths.get(name), bases); err != nil {
			return err
		}
	}
	if len(l.doc.operations) == 0 {
		return l.root.errorf("the document describes no operation: every request would be undocumented")
	}
	if l.g.named {
		// References by $id or anchor can lead to any of them.
		all := l.root.get("components").get("schemas")
		for name := range all.object() {
			l.g.name(all.get(name))
		}
	}
	set, err := l.g.compile()
	if err != nil {
		return err
	}
	for _, f := range l.later {
		f(set)
	}
	for _, p := range set.Unsupported {
		l.warn(l.root, "the pattern %.100q needs what regular expressions in linear time cannot do: it is not enforced", p)
	}
	for _, p := range set.Loosened {
		l.warn(l.root, "the pattern %.100q repeats something more than 1000 times: how often is not enforced", p)
	}
	for _, op := range l.doc.operations {
		op.index()
	}
	if err := l.doc.route(); err != nil {
		return l.root.errorf("%w", err)
	}
	return nil
}

func (l *loader) warn(n node, format string, args ...any) {
	if len(l.doc.Warnings) < 100 {
		l.doc.Warnings = append(l.doc.Warnings, n.errorf(format, args...).Error())
	}
}

func (l *loader) path(name string, item node, bases []string) error {
	item, err := l.g.deref(item)
	if err != nil {
		return err
	}
	if item.object() == nil {
		return item.errorf("must be an object")
	}
	own, err := serverBases(item.get("servers"))
	if err != nil {
		return err
	}
	if len(own) > 0 {
		bases = own
	}
	var names []string
	for part := range strings.SplitSeq(name, "/") {
		_, found, err := parseSegment(part)
		if err != nil {
			return item.errorf("%w", err)
		}
		names = append(names, found...)
	}
	operations := map[string]node{}
	for _, method := range methods {
		if op := item.get(method); op.v != nil {
			operations[strings.ToUpper(method)] = op
		}
	}
	for method := range item.get("additionalOperations").object() {
		operations[method] = item.get("additionalOperations").get(method)
	}
	for _, method := range slices.Sorted(maps.Keys(operations)) {
		n := operations[method]
		op := &Operation{Method: method, Path: name, ID: n.get("operationId").text(), Deprecated: n.get("deprecated").yes(), names: names}
		for _, tag := range n.get("tags").list() {
			if s, ok := tag.(string); ok {
				op.Tags = append(op.Tags, s)
			}
		}
		if err := l.operation(op, n, item); err != nil {
			return err
		}
		l.doc.bases[op] = bases
		if own, err := serverBases(n.get("servers")); err != nil {
			return err
		} else if len(own) > 0 {
			l.doc.bases[op] = own
		}
		l.doc.operations = append(l.doc.operations, op)
	}
	return nil
}

func (l *loader) operation(op *Operation, n, item node) error {
	if n.object() == nil {
		return n.errorf("must be an object")
	}
	if err := l.parameters(op, n.get("parameters"), item.get("parameters")); err != nil {
		return err
	}
	security := n.get("security")
	if security.v == nil {
		security = l.root.get("security")
	}
	if err := l.security(op, security); err != nil {
		return err
	}
	if b := n.get("requestBody"); b.v != nil {
		b, err := l.g.deref(b)
		if err != nil {
			return err
		}
		op.body = &body{required: b.get("required").yes()}
		if op.body.media, err = l.content(b.get("content")); err != nil {
			return err
		}
	}
	op.responses = map[string]*response{}
	for status := range n.get("responses").object() {
		if strings.HasPrefix(status, "x-") {
			continue
		}
		r, err := l.response(n.get("responses").get(status))
		if err != nil {
			return err
		}
		op.responses[strings.ToUpper(status)] = r
	}
	return nil
}

// parameters reads those of an operation and those of its path that it does not replace.
func (l *loader) parameters(op *Operation, lists ...node) error {
	seen := map[[2]string]bool{}
	for _, list := range lists {
		if list.v != nil && list.list() == nil {
			return list.errorf("must be a list")
		}
		mine := map[[2]string]bool{}
		for i := range list.list() {
			n, err := l.g.deref(list.at(i))
			if err != nil {
				return err
			}
			p, err := l.parameter(n, n.get("name").text(), n.get("in").text())
			if err != nil {
				return err
			}
			if p == nil {
				continue
			}
			key := [2]string{p.in, p.name}
			if mine[key] {
				return n.errorf("the parameter stands there twice")
			}
			mine[key] = true
			if seen[key] {
				continue
			}
			seen[key] = true
			if p.in == "path" && !slices.Contains(op.names, p.name) {
				l.warn(n, "the parameter %.60q is not in the path %s", p.name, op.Path)
				continue
			}
			op.params = append(op.params, p)
		}
	}
	return nil
}

// defaultStyles by place; see OpenAPI 3.1.1, section 4.8.12.2.
var defaultStyles = map[string]string{"query": "form", "cookie": "form", "path": "simple", "header": "simple"}

var styles = map[string][]string{
	"query":  {"form", "spaceDelimited", "pipeDelimited", "deepObject"},
	"cookie": {"form", "cookie"},
	"path":   {"simple", "label", "matrix"},
	"header": {"simple"},
}

func (l *loader) parameter(n node, name, in string) (*parameter, error) {
	if name == "" {
		return nil, n.errorf("a parameter must have a name")
	}
	if in == "querystring" {
		l.warn(n, "a parameter that is the whole query is not checked")
		return nil, nil
	}
	if styles[in] == nil {
		return nil, n.get("in").errorf("must be query, header, path or cookie")
	}
	p := &parameter{name: name, in: in, check: in, required: n.get("required").yes() || in == "path", style: n.get("style").text(), allowEmpty: n.get("allowEmptyValue").yes()}
	if in == "header" && slices.Contains([]string{"accept", "content-type", "authorization"}, strings.ToLower(name)) {
		return nil, nil // the specification says so: the rest of the document describes these
	}
	if p.style == "" {
		p.style = defaultStyles[in]
	}
	if !slices.Contains(styles[in], p.style) {
		return nil, n.get("style").errorf("%s parameters have one of the styles %s", in, strings.Join(styles[in], ", "))
	}
	p.explode = p.style == "form" || p.style == "cookie"
	if e, ok := n.get("explode").v.(bool); ok {
		p.explode = e
	}
	s := n.get("schema")
	if content := n.get("content"); content.object() != nil {
		s = node{}
		for kind := range content.object() {
			k, _ := mediaType(kind)
			p.json, p.opaque = isJSON(k), !isJSON(k)
			s = content.get(kind).get("schema")
		}
	}
	if s.v != nil {
		name := l.g.name(s)
		l.later = append(l.later, func(set *schema.Set) { p.schema = set.Get(name) })
	}
	return p, nil
}

func (l *loader) content(content node) (map[string]*media, error) {
	out := map[string]*media{}
	for _, kind := range slices.Sorted(maps.Keys(content.object())) {
		n, err := l.g.deref(content.get(kind))
		if err != nil {
			return nil, err
		}
		m := &media{}
		m.kind, _ = mediaType(kind)
		if s := n.get("schema"); s.v != nil {
			name := l.g.name(s)
			l.later = append(l.later, func(set *schema.Set) { m.schema = set.Get(name) })
		}
		for field := range n.get("encoding").object() {
			e := n.get("encoding").get(field)
			one := &encoding{style: e.get("style").text()}
			one.styled = one.style != "" || e.get("explode").v != nil
			if one.style == "" {
				one.style = "form"
			}
			one.explode = one.style == "form"
			if x, ok := e.get("explode").v.(bool); ok {
				one.explode = x
			}
			for t := range strings.SplitSeq(e.get("contentType").text(), ",") {
				if t, _ = mediaType(t); t != "" {
					one.contentTypes = append(one.contentTypes, t)
				}
			}
			if m.encoding == nil {
				m.encoding = map[string]*encoding{}
			}
			m.encoding[field] = one
		}
		if out[m.kind] != nil {
			l.warn(n, "another schema is described for this content type with other parameters: that one is taken")
			continue
		}
		out[m.kind] = m
	}
	return out, nil
}

func (l *loader) response(n node) (*response, error) {
	n, err := l.g.deref(n)
	if err != nil {
		return nil, err
	}
	r := &response{}
	for name := range n.get("headers").object() {
		h, err := l.g.deref(n.get("headers").get(name))
		if err != nil {
			return nil, err
		}
		if strings.EqualFold(name, "content-type") {
			continue
		}
		p, err := l.parameter(h, name, "header")
		if err != nil {
			return nil, err
		}
		if p != nil {
			p.check = CheckResponse
			r.headers = append(r.headers, p)
		}
	}
	slices.SortFunc(r.headers, func(a, b *parameter) int { return strings.Compare(a.name, b.name) })
	if content := n.get("content"); content.object() != nil {
		r.body = &body{}
		if r.body.media, err = l.content(content); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (l *loader) securitySchemes() error {
	l.schemes = map[string]Requirement{}
	all := l.root.get("components").get("securitySchemes")
	for name := range all.object() {
		n, err := l.g.deref(all.get(name))
		if err != nil {
			return err
		}
		l.schemes[name] = Requirement{Scheme: name, Type: n.get("type").text(), In: n.get("in").text(), Name: n.get("name").text(),
			HTTP: strings.ToLower(n.get("scheme").text()), BearerFormat: n.get("bearerFormat").text()}
	}
	return nil
}

func (l *loader) security(op *Operation, n node) error {
	for i := range n.list() {
		var all Alternative
		one := n.at(i)
		for _, name := range slices.Sorted(maps.Keys(one.object())) {
			r, ok := l.schemes[name]
			if !ok {
				return one.errorf("no security scheme is called %.60q", name)
			}
			for _, scope := range one.get(name).list() {
				if s, ok := scope.(string); ok {
					r.Scopes = append(r.Scopes, s)
				}
			}
			all = append(all, r)
		}
		op.Security = append(op.Security, all)
	}
	return nil
}
