package openapi

import (
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
)

// Request is a request as it came, with what Find learned of its path.
type Request struct {
	Params   []Param // as Find returned them
	RawQuery string
	Header   http.Header

	Body      []byte
	Truncated bool // Body is the beginning only
	Decoded   bool // Body is what Content-Encoding stood for

	AnyQuery bool // parameters of the query that are not described are no violations

	// JSON is the body where it is JSON: what CheckRequest read, for others to use; or what the caller has read with jsontree
	// before, with its Notes, if Parsed is set. Strings in it are parts of one copy of the body.
	JSON   any
	Notes  []jsontree.Note
	Parsed bool
}

// CheckRequest says in what ways a request breaks the operation's description. It changes nothing of the request but JSON, Notes and Parsed.
func (o *Operation) CheckRequest(r *Request) []Violation {
	var f findings
	o.overrides(&f, r.Header)
	for _, p := range o.params {
		switch p.in {
		case "path":
			o.path(&f, p, r)
		case "header":
			o.header(&f, p, r.Header)
		}
	}
	o.query(&f, r)
	o.cookies(&f, r)
	o.credentials(&f, r)
	o.requestBody(&f, r)
	return f
}

// override are header fields by which some servers take a request for another one than its first line says.
var override = [...]struct{ name, check string }{
	{"X-Http-Method-Override", CheckMethod}, {"X-Http-Method", CheckMethod}, {"X-Method-Override", CheckMethod},
	{"X-Original-Url", CheckPath}, {"X-Rewrite-Url", CheckPath},
}

// overrides tells of such fields, unless the document describes them: the request that is checked may not be the one that is answered.
func (o *Operation) overrides(f *findings, h http.Header) {
	for _, one := range override {
		if len(h[one.name]) == 0 || slices.ContainsFunc(o.params, func(p *parameter) bool { return p.in == "header" && p.name == one.name }) {
			continue
		}
		f.add(one.check, CodeAmbiguous, one.name, "some servers take the request for another one by this field")
	}
}

func (o *Operation) path(f *findings, p *parameter, r *Request) {
	for _, given := range r.Params {
		if given.Name == p.name {
			p.hold(f, []string{given.Value}, schema.Neither)
			return
		}
	}
}

func (o *Operation) header(f *findings, p *parameter, h http.Header) {
	lines := h[p.name]
	if len(lines) > 1 && p.accepts()&(schema.Array|schema.Object) != 0 && !p.json {
		lines = []string{strings.Join(lines, ",")} // RFC 9110, section 5.3
	}
	if len(lines) > 0 && p.accepts()&schema.Array != 0 && !p.json && !p.opaque {
		lines = []string{strings.ReplaceAll(strings.ReplaceAll(lines[0], ", ", ","), " ,", ",")}
	}
	p.hold(f, lines, schema.Neither)
}

func (o *Operation) query(f *findings, r *Request) {
	if r.RawQuery == "" && len(o.params) == 0 {
		return
	}
	var room [16]pair
	pairs, code, message := parsePairs(r.RawQuery, room[:])
	if code != "" {
		f.add(CheckQuery, code, "", message)
	}
	var texts [8]string
	for _, p := range o.params {
		if p.in != "query" {
			continue
		}
		switch {
		case p.style == "deepObject":
			deepParameter(f, p, pairs)
		case p.scattered():
			scatteredParameter(f, p, pairs)
		default:
			p.hold(f, values(pairs, p.name, texts[:]), schema.Neither)
		}
	}
	if r.AnyQuery {
		return
	}
	for i := range pairs {
		if pairs[i].used || o.queryKey(pairs[i].name) {
			continue
		}
		where := jsontree.Token(pairs[i].name)
		if pairs[i].bare {
			where = "" // without an equals sign it may be a value
		}
		f.add(CheckQuery, CodeUnknown, where, "the document does not name such a parameter")
	}
}

// queryKey tells whether a name is that of a credential that the operation asks for.
func (o *Operation) queryKey(name string) bool {
	for _, all := range o.Security {
		for _, one := range all {
			if one.Type == "apiKey" && one.In == "query" && one.Name == name {
				return true
			}
		}
	}
	return false
}

func deepParameter(f *findings, p *parameter, pairs []pair) {
	tree, ok := deep(pairs, p.name)
	if !ok {
		f.add(p.check, CodeStyle, p.name, "is not written in the style deepObject")
		return
	}
	if len(values(pairs, p.name, nil)) > 0 {
		f.add(p.check, CodeStyle, p.name, "is not written in the style deepObject")
	}
	if tree == nil {
		p.hold(f, nil, schema.Neither)
		return
	}
	p.judge(f, fromDeep(p.schema, tree), schema.Neither)
}

// scatteredParameter gathers an object whose fields are parameters by themselves.
func scatteredParameter(f *findings, p *parameter, pairs []pair) {
	out := map[string]any{}
	for i := range pairs {
		if pairs[i].used {
			continue
		}
		s := p.schema.Property(pairs[i].name)
		if s == nil {
			continue
		}
		given := values(pairs, pairs[i].name, nil)
		field := parameter{name: pairs[i].name, in: p.in, check: p.check, style: "form", explode: true, schema: s}
		v, code := field.read(given)
		if code != "" {
			f.add(p.check, code, p.name+"/"+jsontree.Token(pairs[i].name), "is given more than once: servers differ in which one they take")
			continue
		}
		out[pairs[i].name] = v
	}
	if len(out) == 0 && !p.required {
		return
	}
	p.judge(f, out, schema.Neither)
}

// maxCookies bounds the cookies that are looked at.
const maxCookies = 200

func (o *Operation) cookies(f *findings, r *Request) {
	var all []pair
	read := false
	for _, p := range o.params {
		if p.in != "cookie" {
			continue
		}
		if !read {
			read = true
			var complete bool
			if all, complete = cookies(r.Header); !complete {
				f.add(CheckCookie, CodeNotChecked, "", "there are more than 200 cookies")
			}
		}
		if p.scattered() {
			scatteredParameter(f, p, all)
			continue
		}
		p.hold(f, values(all, p.name, nil), schema.Neither)
	}
}

func cookies(h http.Header) (all []pair, complete bool) {
	for _, line := range h["Cookie"] {
		for more := true; more; {
			var one string
			one, line, more = strings.Cut(line, ";")
			name, value, ok := strings.Cut(strings.TrimSpace(one), "=")
			if !ok {
				continue
			}
			if len(all) >= maxCookies {
				return all, false
			}
			if len(value) > 1 && value[0] == '"' && value[len(value)-1] == '"' {
				value = value[1 : len(value)-1]
			}
			if decoded, ok := percent(value, false); ok {
				value = decoded
			}
			all = append(all, pair{name: name, value: value})
		}
	}
	return all, true
}

// credentials looks for what the operation asks for. Whether they are worth anything is not known here.
func (o *Operation) credentials(f *findings, r *Request) {
	if len(o.Security) == 0 {
		return
	}
	for _, all := range o.Security {
		there := true
		for _, one := range all {
			there = there && one.present(r)
		}
		if there {
			return
		}
	}
	names := make([]string, 0, 4)
	for _, all := range o.Security {
		for _, one := range all {
			if len(names) < cap(names) {
				names = append(names, one.Scheme)
			}
		}
	}
	f.add(CheckSecurity, CodeCredentials, strings.Join(names, ", "), "none of the credentials that the operation asks for is there")
}

func (c Requirement) present(r *Request) bool {
	switch c.Type {
	case "apiKey":
		switch c.In {
		case "header":
			return r.Header.Get(c.Name) != ""
		case "query":
			pairs, _, _ := parsePairs(r.RawQuery, nil)
			return strings.Join(values(pairs, c.Name, nil), "") != ""
		case "cookie":
			all, _ := cookies(r.Header)
			return strings.Join(values(all, c.Name, nil), "") != ""
		}
	case "http":
		kind, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return strings.EqualFold(kind, c.HTTP) && strings.TrimSpace(rest) != ""
	case "oauth2", "openIdConnect":
		kind, rest, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return strings.EqualFold(kind, "bearer") && strings.TrimSpace(rest) != ""
	}
	return true // mutualTLS, and what is not known, is seen elsewhere
}
