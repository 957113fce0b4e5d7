package openapi

import (
	"net/http"
	"strconv"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
)

// Response is a response on its way to the client.
type Response struct {
	Status int
	Header http.Header

	Body      []byte
	Truncated bool // Body is the beginning only
	Decoded   bool // Body is what Content-Encoding stood for
	Head      bool // it answers a HEAD request: there is no body

	JSON   any // as in Request
	Notes  []jsontree.Note
	Parsed bool
}

// response finds what the document says of a status; nil if nothing.
func (o *Operation) response(status int) *response {
	if r := o.responses[strconv.Itoa(status)]; r != nil {
		return r
	}
	if status >= 100 && status < 600 {
		if r := o.responses[string(rune('0'+status/100))+"XX"]; r != nil {
			return r
		}
	}
	return o.responses["DEFAULT"]
}

// CheckResponse says in what ways a response breaks the operation's description: all of the Check CheckResponse.
func (o *Operation) CheckResponse(r *Response) []Violation {
	var f findings
	described := o.response(r.Status)
	if described == nil {
		if len(o.responses) > 0 && r.Status >= 200 && r.Status != http.StatusNotModified { // 304 is the doing of conditions, which nobody describes
			f.add(CheckResponse, CodeUndocumented, strconv.Itoa(r.Status), "the document does not know this status")
		}
		return f
	}
	for _, p := range described.headers {
		o.header(&f, p, r.Header)
	}
	empty := len(r.Body) == 0 && !r.Truncated
	switch {
	case empty, r.Head, r.Status < 200, r.Status == http.StatusNoContent, r.Status == http.StatusNotModified:
	case described.body == nil:
		if r.Status < 300 { // errors often have a few words that nobody describes
			f.add(CheckResponse, CodeUnexpected, "", "the document describes no body for this status")
		}
	default:
		m := &message{CheckResponse, schema.Response, r.Header, r.Body, r.Truncated, r.Decoded, r.JSON, r.Notes, r.Parsed}
		m.hold(&f, described.body)
		r.JSON, r.Notes, r.Parsed = m.json, m.notes, m.parsed
	}
	return f
}
