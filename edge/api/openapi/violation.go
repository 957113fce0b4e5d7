package openapi

import (
	"fmt"

	"github.com/testudo-sec/testudo/edge/api/schema"
	"github.com/testudo-sec/testudo/internal/jsontree"
)

// A Violation is one way in which a message breaks the document. It holds no value of the message.
type Violation struct {
	Check   string // what was looked at: one of the Check constants
	Code    string // what is wrong: one of the Code constants, or a keyword of JSON Schema such as maxLength
	Where   string // name of the parameter, with a JSON pointer into it; or a JSON pointer into the body
	Message string // in words
}

// What a Violation is about.
const (
	CheckPath     = "path"
	CheckMethod   = "method"
	CheckQuery    = "query"
	CheckHeader   = "header"
	CheckCookie   = "cookie"
	CheckBody     = "body"
	CheckSecurity = "security"
	CheckResponse = "response"
)

// The codes that are not keywords of JSON Schema.
const (
	CodeUndocumented = "undocumented"    // path, method or status that the document does not know
	CodeAmbiguous    = "ambiguous"       // a path that two servers could read differently
	CodeEncoding     = "encoding"        // broken percent-encoding or text that is not UTF-8
	CodeRequired     = "required"        // parameter, field or body is missing
	CodeUnknown      = "unknown"         // a parameter that the document does not name
	CodeRepeated     = "repeated"        // a parameter or field given twice that is no array
	CodeStyle        = "style"           // a parameter that is not written in its style
	CodeUnexpected   = "unexpected"      // a body where none is described
	CodeContentType  = "content-type"    // a content type that is not described, missing, or given twice
	CodeSyntax       = "syntax"          // no JSON, no form, no multipart
	CodeDuplicateKey = "duplicate-key"   // a field twice in one JSON object
	CodeNumberRange  = "number-range"    // a number that no float64 holds
	CodeInvalidText  = "invalid-text"    // text that is not UTF-8
	CodeCredentials  = "credentials"     // none of the credentials that the operation asks for is there
	CodeNotChecked   = schema.NotChecked // the check was not made, or not to its end
)

func (v Violation) String() string {
	if v.Where == "" {
		return fmt.Sprintf("%s: %s: %s", v.Check, v.Code, v.Message)
	}
	return fmt.Sprintf("%s %s: %s: %s", v.Check, v.Where, v.Code, v.Message)
}

// maxViolations of one message are told.
const maxViolations = 64

// findings gathers the violations of one message.
type findings []Violation

func (f *findings) add(check, code, where, message string) {
	if len(*f) < maxViolations {
		*f = append(*f, Violation{check, code, where, message})
	}
}

// problems adds what a schema says about a value that stands at where.
func (f *findings) problems(check, where string, problems []schema.Problem) {
	for _, p := range problems {
		f.add(check, p.Code, where+p.Where, p.Message)
	}
}

// notes adds what parsers of JSON disagree about.
func (f *findings) notes(check, where string, notes []jsontree.Note) {
	for _, n := range notes {
		message := ""
		switch n.Kind {
		case jsontree.Duplicate:
			message = "stands twice in one object: servers differ in which one they take"
		case jsontree.Number:
			message = "is a number that servers cannot hold"
		case jsontree.Text:
			message = "is text that is not valid UTF-8"
		}
		f.add(check, n.Kind.String(), where+n.Where, message)
	}
}
