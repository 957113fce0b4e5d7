package openapi

import (
	"bytes"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
)

// message is the body of a request or a response, on its way through the checks.
type message struct {
	check     string
	direction schema.Direction
	header    http.Header
	text      []byte
	truncated bool
	decoded   bool

	json   any
	notes  []jsontree.Note
	parsed bool
}

func (o *Operation) requestBody(f *findings, r *Request) {
	if len(r.Body) == 0 && !r.Truncated {
		if o.body != nil && o.body.required {
			f.add(CheckBody, CodeRequired, "", "a body is required")
		}
		return
	}
	if o.body == nil {
		f.add(CheckBody, CodeUnexpected, "", "the document describes no body")
		return
	}
	m := &message{CheckBody, schema.Request, r.Header, r.Body, r.Truncated, r.Decoded, r.JSON, r.Notes, r.Parsed}
	m.hold(f, o.body)
	r.JSON, r.Notes, r.Parsed = m.json, m.notes, m.parsed
}

// hold holds the message to the description of one of its content types.
func (m *message) hold(f *findings, b *body) {
	if len(b.media) == 0 {
		return
	}
	types := m.header["Content-Type"]
	kind, charset := "", ""
	var described *media
	switch len(types) {
	case 0:
		f.add(m.check, CodeContentType, "Content-Type", "there is a body without a content type")
		if len(b.media) != 1 {
			return
		}
		for k, one := range b.media { // what else could the server take it for
			kind, described = k, one
		}
	case 1:
		kind, charset = mediaType(types[0])
		if described = b.find(kind); described == nil {
			f.add(m.check, CodeContentType, "Content-Type", "the document does not describe this content type")
			return
		}
	default:
		f.add(m.check, CodeContentType, "Content-Type", "there is more than one content type")
		return
	}
	doubt := false // the body may be another one to the server than is read here
	if lines := m.header["Content-Encoding"]; !m.decoded && (len(lines) > 1 || len(lines) == 1 && lines[0] != "" && !strings.EqualFold(lines[0], "identity")) {
		if described.schema != nil {
			f.add(m.check, CodeNotChecked, "", "the body is compressed")
		}
		if doubt = true; m.truncated || !m.plain(kind) {
			return
		}
	}
	if isJSON(kind) && m.parsed && !m.truncated {
		m.value(f, described, m.json)
		return
	}
	if m.truncated {
		if described.schema != nil && !described.schema.AnyText() {
			f.add(m.check, CodeNotChecked, "", "only the beginning of the body is here")
		}
		return
	}
	switch charset {
	case "", "utf-8", "utf8", "us-ascii", "ascii":
	default:
		if described.schema != nil {
			f.add(m.check, CodeNotChecked, "Content-Type", "the body is in a character set other than UTF-8")
		}
		if doubt = true; !m.plain(kind) {
			return
		}
	}
	switch {
	case isJSON(kind):
		v, notes, err := jsontree.Decode(m.text, jsontree.Limits{})
		if err != nil && doubt {
			return // that it was not checked is said
		}
		if err != nil {
			f.notes(m.check, "", notes)
			f.add(m.check, syntaxCode(err), "", err.Error())
			return
		}
		m.json, m.notes, m.parsed = v, notes, true
		m.value(f, described, v)
	case kind == "application/x-www-form-urlencoded":
		m.form(f, described)
	case kind == "multipart/form-data":
		m.multipart(f, described, types)
	case described.schema == nil || described.schema.AnyText():
	case strings.HasPrefix(kind, "text/") && kind != "text/xml" && kind != "text/event-stream":
		if !utf8.Valid(m.text) {
			f.add(m.check, CodeInvalidText, "", "is text that is not valid UTF-8")
			return
		}
		m.value(f, described, described.schema.Scalar(string(m.text)))
	case described.schema.Accepts() == schema.String && !strings.HasSuffix(kind, "xml"):
		m.value(f, described, string(m.text))
	case doubt:
	default:
		f.add(m.check, CodeNotChecked, "", "bodies of this content type are not held to a schema")
	}
}

// plain reports whether a request's body is text as it stands, whatever its header says. Many servers undo no coding, and read UTF-8 under any charset: who names
// one that he does not use is not to get past the schema by that.
func (m *message) plain(kind string) bool {
	if m.direction != schema.Request {
		return false
	}
	if kind == "multipart/form-data" { // with files in it, which are no text
		return bytes.HasPrefix(bytes.TrimLeft(m.text, "\r\n"), []byte("--"))
	}
	return utf8.Valid(m.text) && !bytes.ContainsFunc(m.text, func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' && r != '\r' })
}

// methodField is the field of a body by which Rails, Symfony, Laravel and others take a POST for another request.
const methodField = "_method"

// overrides tells of that field, unless the document names it: the request that is checked may not be the one that is answered.
func (m *message) overrides(f *findings, s *schema.Schema) {
	if m.direction == schema.Request && (s == nil || !named(s, methodField)) {
		f.add(CheckMethod, CodeAmbiguous, methodField, "some servers take the request for another one by this field")
	}
}

// value holds what the body says to the schema.
func (m *message) value(f *findings, described *media, v any) {
	if fields, is := v.(map[string]any); is && fields[methodField] != nil {
		m.overrides(f, described.schema)
	}
	f.notes(m.check, "", m.notes)
	if described.schema != nil {
		f.problems(m.check, "", described.schema.Check(v, m.direction))
	}
}
