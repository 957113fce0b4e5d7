package openapi

import (
	"strings"

	"github.com/testudo-sec/testudo/edge/api/schema"
)

// Operation is what a document says of one method of one path.
type Operation struct {
	Method     string // in capitals
	Path       string // the template without a server's base, as /pets/{id}
	ID         string // operationId, "" if none
	Tags       []string
	Deprecated bool
	// Security lists what a request may be authorised by: one Alternative must be fulfilled whole. It is nil where
	// nothing is asked for; an empty Alternative among others makes the rest optional.
	Security []Alternative

	names     []string // of the path's parameters
	params    []*parameter
	body      *body
	responses map[string]*response // by status, "2XX", "default"
}

// An Alternative is a list of credentials that are needed together.
type Alternative []Requirement

// Requirement is one credential.
type Requirement struct {
	Scheme       string   // its name in the document
	Type         string   // apiKey, http, mutualTLS, oauth2, openIdConnect
	In, Name     string   // of an apiKey: query, header or cookie, and which
	HTTP         string   // of http: bearer, basic, ... in small letters
	BearerFormat string   // such as JWT: a hint
	Scopes       []string // that are asked for; of types other than oauth2 and openIdConnect: roles
}

// parameter is one parameter of an operation.
type parameter struct {
	name, in   string
	check      string // CheckQuery and so on
	required   bool
	style      string
	explode    bool
	allowEmpty bool
	json       bool // content: application/json
	opaque     bool // content of another type: only its presence is checked
	schema     *schema.Schema
}

// body is what a request or a response may carry.
type body struct {
	required bool
	media    map[string]*media // by type in small letters, without parameters
}

// media is one content type.
type media struct {
	kind     string
	schema   *schema.Schema       // nil: anything
	encoding map[string]*encoding // of the fields of forms
}

// encoding is how a field of a form is written.
type encoding struct {
	contentTypes []string
	style        string
	explode      bool
	styled       bool // style or explode is said
}

// response is what one status means.
type response struct {
	headers []*parameter
	body    *body
}

// find returns the media type that is described for a content type, the narrowest one; nil if none is.
func (b *body) find(kind string) *media {
	if m := b.media[kind]; m != nil {
		return m
	}
	if whole, _, ok := strings.Cut(kind, "/"); ok {
		if m := b.media[whole+"/*"]; m != nil {
			return m
		}
	}
	return b.media["*/*"]
}

// RequestBody tells whether the document describes a body, so that it is worth reading.
func (o *Operation) RequestBody() bool { return o.body != nil }

// RequestSchema returns what the document says of a request's body of that content type; nil if nothing.
func (o *Operation) RequestSchema(contentType string) *schema.Schema {
	if o.body == nil {
		return nil
	}
	kind, _ := mediaType(contentType)
	if m := o.body.find(kind); m != nil {
		return m.schema
	}
	return nil
}

// ResponseSchema returns what the document says of a response's body; nil if nothing.
func (o *Operation) ResponseSchema(status int, contentType string) *schema.Schema {
	r := o.response(status)
	if r == nil || r.body == nil {
		return nil
	}
	kind, _ := mediaType(contentType)
	if m := r.body.find(kind); m != nil {
		return m.schema
	}
	return nil
}

// mediaType splits a content type into its type, in small letters, and its charset.
func mediaType(contentType string) (kind, charset string) {
	kind, rest, more := strings.Cut(contentType, ";")
	kind = strings.ToLower(strings.TrimSpace(kind))
	for more {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		if name, value, ok := strings.Cut(param, "="); ok && strings.EqualFold(strings.TrimSpace(name), "charset") {
			charset = strings.ToLower(strings.Trim(strings.TrimSpace(value), `"`))
		}
	}
	return kind, charset
}

// isJSON tells content types that hold one JSON text.
func isJSON(kind string) bool {
	return kind == "application/json" || kind == "text/json" || strings.HasSuffix(kind, "+json")
}
