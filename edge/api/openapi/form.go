package openapi

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
)

// form holds a body of application/x-www-form-urlencoded to its schema: its fields are those of an object.
func (m *message) form(f *findings, described *media) {
	pairs, code, message := parsePairs(string(m.text), nil)
	if code != "" {
		f.add(m.check, code, "", message)
	}
	s := described.schema
	if slices.ContainsFunc(pairs, func(p pair) bool { return p.name == methodField }) {
		m.overrides(f, s)
	}
	if s == nil {
		return
	}
	out := map[string]any{}
	for i := range pairs {
		if pairs[i].used {
			continue
		}
		name := pairs[i].name
		if base, _, nested := strings.Cut(name, "["); nested && base != "" && s.Property(name) == nil || nested && named(s, base) {
			tree, ok := deep(pairs, base)
			if !ok {
				f.add(m.check, CodeStyle, "/"+jsontree.Token(base), "its fields contradict each other")
			}
			pairs[i].used = true
			if _, has := out[base]; has {
				f.add(m.check, CodeRepeated, "/"+jsontree.Token(base), "is given more than once: servers differ in which one they take")
			}
			out[base] = fromDeep(s.Property(base), tree)
			continue
		}
		given := values(pairs, name, nil)
		if v, ok := m.field(f, described, name, given); ok {
			out[name] = v
		}
	}
	f.problems(m.check, "", s.Check(out, m.direction))
}

// named tells whether a schema names a property itself.
func named(s *schema.Schema, name string) bool {
	for known := range s.Properties {
		if known == name {
			return true
		}
	}
	return false
}

// field reads what was given for one field of a form.
func (m *message) field(f *findings, described *media, name string, given []string) (any, bool) {
	s := described.schema.Property(name)
	if s == nil {
		if len(given) == 1 {
			return given[0], true
		}
		out := make([]any, len(given))
		for i, text := range given {
			out[i] = text
		}
		return out, true
	}
	p := parameter{name: "/" + jsontree.Token(name), in: "query", check: m.check, style: "form", explode: true, schema: s}
	e := described.encoding[name]
	if e != nil && e.styled {
		p.style, p.explode = e.style, e.explode
	}
	accept := s.Accepts()
	text := strings.TrimSpace(given[0])
	if len(given) == 1 && text != "" && (e == nil || !e.styled) {
		// Objects are JSON unless a style is said; see OpenAPI 3.0.3, section 4.7.14.4.
		if text[0] == '{' && accept&schema.Object != 0 && accept&schema.String == 0 || text[0] == '[' && accept&schema.Array != 0 && accept&schema.String == 0 {
			return m.jsonText(f, p.name, given[0])
		}
	}
	v, code := p.read(given)
	if code != "" {
		f.add(m.check, code, p.name, "is given more than once, or not in its style")
		return nil, false
	}
	return v, true
}

func (m *message) jsonText(f *findings, where, text string) (any, bool) {
	v, notes, err := jsontree.DecodeString(text, jsontree.Limits{})
	f.notes(m.check, where, notes)
	if err != nil {
		f.add(m.check, syntaxCode(err), where, err.Error())
		return nil, false
	}
	return v, true
}

// maxParts bounds a multipart body.
const maxParts = 200

// multipart holds a body of multipart/form-data (RFC 7578) to its schema.
func (m *message) multipart(f *findings, described *media, types []string) {
	boundary := ""
	if len(types) == 1 {
		if _, params, err := mime.ParseMediaType(types[0]); err == nil {
			boundary = params["boundary"]
		}
	}
	if boundary == "" || len(boundary) > 70 { // RFC 2046, section 5.1.1
		f.add(m.check, CodeSyntax, "Content-Type", "the content type names no boundary")
		return
	}
	r := multipart.NewReader(bytes.NewReader(m.text), boundary)
	out := map[string]any{}
	s := described.schema
	for n := 0; ; n++ {
		part, err := r.NextRawPart()
		if errors.Is(err, io.EOF) && bytes.Contains(m.text, []byte("--"+boundary+"--")) {
			break
		}
		if err != nil {
			f.add(m.check, CodeSyntax, "", "the body is no complete multipart")
			return
		}
		if n >= maxParts {
			f.add(m.check, CodeNotChecked, "", "there are more than 200 parts")
			return
		}
		name := part.FormName()
		where := "/" + jsontree.Token(name)
		if name == "" || len(part.Header["Content-Disposition"]) != 1 {
			f.add(m.check, CodeSyntax, "", "a part has no name, or more than one")
			continue
		}
		text, err := io.ReadAll(part)
		if err != nil {
			f.add(m.check, CodeSyntax, where, "the part is not complete")
			return
		}
		if name == methodField {
			m.overrides(f, s)
		}
		if s == nil {
			continue
		}
		v, ok := m.part(f, described, part, name, where, text)
		if !ok {
			continue
		}
		p := s.Property(name)
		before, has := out[name]
		switch {
		case p != nil && p.Accepts()&schema.Array != 0 && p.Accepts()&schema.String == 0:
			items, _ := before.([]any)
			if one, is := v.([]any); is {
				out[name] = append(items, one...)
			} else {
				out[name] = append(items, v)
			}
		case has:
			f.add(m.check, CodeRepeated, where, "is given more than once: servers differ in which one they take")
		default:
			out[name] = v
		}
	}
	if s != nil {
		f.problems(m.check, "", s.Check(out, m.direction))
	}
}

// part reads one part. Files whose schema asks for nothing are not copied.
func (m *message) part(f *findings, described *media, part *multipart.Part, name, where string, text []byte) (any, bool) {
	kind, charset := mediaType(part.Header.Get("Content-Type"))
	if e := described.encoding[name]; e != nil && len(e.contentTypes) > 0 && !allowed(e.contentTypes, kind) {
		f.add(m.check, CodeContentType, where, "the document does not describe this content type for the part")
	}
	s := described.schema.Property(name)
	if s == nil {
		return "", true
	}
	target := s
	if s.Accepts()&schema.Array != 0 && s.Accepts()&schema.String == 0 && s.Items() != nil {
		target = s.Items()
	}
	coding := strings.ToLower(part.Header.Get("Content-Transfer-Encoding"))
	switch {
	case strings.HasPrefix(kind, "multipart/"), charset != "" && charset != "utf-8" && charset != "us-ascii", coding == "base64", coding == "quoted-printable":
		f.add(m.check, CodeNotChecked, where, "parts that are encoded or made of parts are not held to a schema")
		return nil, false
	case isJSON(kind) || kind == "" && target.Accepts()&schema.String == 0 && len(text) > 0 && (text[0] == '{' || text[0] == '['):
		return m.jsonText(f, where, string(text))
	case target.AnyText():
		return "", true
	case part.FileName() == "" && !utf8.Valid(text):
		f.add(m.check, CodeInvalidText, where, "is text that is not valid UTF-8")
		return nil, false
	}
	return target.Scalar(string(text)), true
}

func allowed(types []string, kind string) bool {
	if kind == "" {
		kind = "text/plain" // RFC 7578, section 4.4
	}
	for _, t := range types {
		if whole, ok := strings.CutSuffix(t, "/*"); t == kind || t == "*/*" || ok && strings.HasPrefix(kind, whole+"/") {
			return true
		}
	}
	return false
}
