package console

import "net/http"

// UI is the pages. It is made by the command and handed to New, which mounts its routes
// in the one table, so that sign-in, roles, cross-site checks and headers are the
// server's work alone.
//
// A page reads through Server.Sources, changes through Server.Desk, and knows who
// asks by CallerFrom(r.Context()). Every form that posts carries CSRFField with
// Caller.CSRF; scripts send it as the header CSRFHeader.
type UI interface {
	// Routes returns the pages. New calls it once; s may be kept, and used
	// when the first request comes.
	Routes(s *Server) []Route
	// Problem writes the page for an error, with p.Status.
	Problem(w http.ResponseWriter, r *http.Request, p Problem)
}

// Names that pages and the server agree on.
const (
	CSRFField  = "csrf"         // form field
	CSRFHeader = "X-CSRF-Token" // header of scripts and htmx
	SignInPath = "/sign-in"     // page that signs in; takes ?next=
	LinkPath   = "/welcome"     // page of a one-time link; takes ?link=
)

// Route is one row of the table of what the server answers.
type Route struct {
	Method  string // GET, POST, PUT, PATCH or DELETE; a GET changes nothing and also answers HEAD
	Path    string // pattern of net/http.ServeMux without the method, as in /findings/{id}
	Role    Role   // the least role that may; RoleNone answers anybody, signed in or not
	Handler Handler

	// Stream marks an answer without end: it is counted and bounded per identity,
	// and the server's write time limit does not hold for it.
	Stream bool

	// Body is how many bytes of a body are read where that is more than others may send; 0 is the usual bound.
	Body int64

	api *operation // what the OpenAPI document says; nil for pages
}

// Handler answers a request. An error it returns before it wrote becomes the right
// status and a problem: see the errors of this package.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Problem is an error as the caller sees it: RFC 9457.
type Problem struct {
	Type   string `json:"type"` // a path under /problems/, names the sort of problem
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"` // what to do
	Field  string `json:"field,omitempty"`  // which part of the request
}
