package inventory

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Document is what a description of an API says, as far as it is compared.
type Document interface {
	Operations() []Operation
}

// Operation is one method of one path of a Document. What is nil is not compared.
type Operation struct {
	Method     string
	Template   string // with the base path of the server: "/api/users/{id}"
	Deprecated bool
	Secured    bool // needs credentials
	Status     func(code int) bool
	Query      func(name string) bool
	Request    Shape
	Response   Shape // of the JSON of 2xx
}

// Shape is what a document says of a JSON value. A nil Shape is one that is not described.
type Shape interface {
	// Types are the JSON types that it may have; none for any.
	Types() []string
	// Field says whether an object may have a field of that name.
	Field(name string) (Shape, bool)
	// Item is the shape of what an array holds.
	Item() Shape
}

// Kind of a Drift.
type Kind string

// What a Drift can be.
const (
	Shadow          Kind = "shadow"          // answered, and the document does not know it
	Zombie          Kind = "zombie"          // deprecated in the document, and still in use
	Unused          Kind = "unused"          // in the document, and not in use
	NewField        Kind = "new-field"       // a field that the document does not know
	NewParameter    Kind = "new-parameter"   // of the query
	NewStatus       Kind = "new-status"      // a status that the document does not know
	OtherType       Kind = "other-type"      // another JSON type than the document says
	Unauthenticated Kind = "unauthenticated" // answered without credentials, against document or custom
	NewSensitive    Kind = "new-sensitive"   // sensitive data where there was none
)

// Drift is one difference between what is and what should be. It holds no values of requests.
type Drift struct {
	Kind     Kind      `json:"kind"`
	Route    string    `json:"route"`
	Method   string    `json:"method"`
	Template string    `json:"template"`          // the document's where it has one
	Learned  string    `json:"learned,omitempty"` // the template that was learned, where the document's is another one
	Where    string    `json:"where,omitempty"`
	Message  string    `json:"message"`
	Since    time.Time `json:"since,omitzero"`
}

// Options of Compare. Zero values mean the defaults.
type Options struct {
	Now    time.Time     // of the events; the last one that was learned
	Unused time.Duration // how long a documented endpoint may rest; 30 days
	Settle time.Duration // how long an endpoint is known before what is new of it is told of; 3 days
}

// Compare tells how a route differs from its document, sorted. Without a document (nil) it tells what changed in the endpoints
// themselves: first use without credentials, new sensitive data. Only confirmed endpoints count.
func (v *Inventory) Compare(route string, doc Document, o Options) []Drift {
	if o.Unused == 0 {
		o.Unused = 30 * 24 * time.Hour
	}
	if o.Settle == 0 {
		o.Settle = 3 * 24 * time.Hour
	}
	all := v.Endpoints(Filter{Route: route, Confirmed: true})
	var first time.Time
	now := o.Now
	for _, e := range all {
		if o.Now.IsZero() && e.Last.After(now) {
			now = e.Last
		}
		if first.IsZero() || e.First.Before(first) {
			first = e.First
		}
	}
	c := comparison{route: route, now: now, options: o, seen: map[driftKey]bool{}}
	if doc != nil {
		c.operations = doc.Operations()
		c.used = make([]time.Time, len(c.operations))
		c.matched = make([]bool, len(c.operations))
	}
	for i := range all {
		c.endpoint(&all[i], doc != nil)
	}
	c.unused(first)
	slices.SortFunc(c.all, func(a, b Drift) int {
		for _, x := range []int{strings.Compare(a.Template, b.Template), strings.Compare(a.Method, b.Method),
			strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.Where, b.Where)} {
			if x != 0 {
				return x
			}
		}
		return 0
	})
	return c.all
}

type driftKey struct {
	kind                    Kind
	method, template, where string
}

type comparison struct {
	route      string
	now        time.Time
	options    Options
	operations []Operation
	used       []time.Time // when each was used last
	matched    []bool
	learned    string // template of the endpoint that is compared
	seen       map[driftKey]bool
	all        []Drift
}

// MaxDrifts is how many differences of a route are told at most.
const MaxDrifts = 10_000

func (c *comparison) tell(k Kind, method, template, where, message string, since time.Time) {
	key := driftKey{k, method, template, where}
	if c.seen[key] || len(c.all) >= MaxDrifts {
		return
	}
	c.seen[key] = true
	d := Drift{Kind: k, Route: c.route, Method: method, Template: template, Where: where, Message: message, Since: since}
	if c.learned != template {
		d.Learned = c.learned
	}
	c.all = append(c.all, d)
}

func (c *comparison) endpoint(e *Endpoint, documented bool) {
	method, template := e.Method, e.Template
	c.learned = e.Template
	var op *Operation
	best := -1
	for i := range c.operations {
		o := &c.operations[i]
		fits, covers := compareTemplates(o.Template, e.Template)
		if !sameMethod(o.Method, e.Method) || !fits && !covers {
			continue
		}
		// Several documented names may have been taken for one parameter: then each was perhaps used.
		c.matched[i] = true
		if e.Last.After(c.used[i]) {
			c.used[i] = e.Last
		}
		if fits && (best < 0 || literals(o.Template) > best) {
			op, best = o, literals(o.Template)
		}
	}
	if op == nil && documented {
		if e.Method != "HEAD" && !c.covered(e) {
			c.tell(Shadow, method, template, "", "is answered, and the document does not describe it", e.First)
		}
	}
	secured := false
	if op != nil {
		template = op.Template
		secured = op.Secured
		c.against(op, e)
	}
	for _, a := range e.Auth {
		if a.Kind == None && (secured || !e.Bare.IsZero()) {
			message := "is answered without credentials, which all requests before had"
			if secured {
				message = "is answered without credentials, which the document asks for"
			}
			c.tell(Unauthenticated, method, template, "", message, a.First)
		}
	}
	for _, s := range e.Sensitive {
		if s.First.Sub(e.First) >= c.options.Settle {
			c.tell(NewSensitive, method, template, s.Kind, "carries sensitive data that it did not carry before", s.First)
		}
	}
}

// covered says that the endpoint is a parameter that was made of documented names.
func (c *comparison) covered(e *Endpoint) bool {
	return slices.ContainsFunc(c.operations, func(o Operation) bool {
		_, covers := compareTemplates(o.Template, e.Template)
		return covers && sameMethod(o.Method, e.Method)
	})
}

func (c *comparison) against(op *Operation, e *Endpoint) {
	if op.Deprecated && c.now.Sub(e.Last) < c.options.Unused {
		c.tell(Zombie, e.Method, op.Template, "", "is deprecated, and still in use", e.Last)
	}
	for _, s := range e.Statuses {
		// What the edge itself answers, and what any server may say, is in no document.
		if s.Count >= 3 && op.Status != nil && !op.Status(s.Status) && s.Status < 500 && !slices.Contains([]int{304, 400, 401, 403, 404, 405, 406, 412, 413, 415, 429}, s.Status) {
			c.tell(NewStatus, e.Method, op.Template, statusText(s.Status), "is answered with a status that the document does not know", s.First)
		}
	}
	for _, q := range e.Query {
		if op.Query != nil && !op.Query(q.Name) {
			c.tell(NewParameter, e.Method, op.Template, "query "+q.Name, "is asked with a parameter that the document does not know", q.First)
		}
	}
	if op.Request != nil && e.Request != nil {
		c.shape(op, "request ", "", op.Request, e.Request, 0)
	}
	if op.Response != nil && e.Response != nil {
		c.shape(op, "response ", "", op.Response, e.Response, 0)
	}
}

func (c *comparison) shape(op *Operation, side, pointer string, want Shape, got *Schema, deep int) {
	if want == nil || got == nil || deep > maxFieldDeep {
		return
	}
	if types := want.Types(); len(types) > 0 {
		for _, t := range got.Type {
			if !slices.Contains(types, t) && (t != "integer" || !slices.Contains(types, "number")) {
				c.tell(OtherType, op.Method, op.Template, side+pointer, "has a type that the document does not allow: "+t, moment(got.since))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(got.Properties)) {
		inner := got.Properties[name]
		at := pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		shape, known := want.Field(name)
		if !known {
			c.tell(NewField, op.Method, op.Template, side+at, "has a field that the document does not know", moment(inner.since))
			continue
		}
		c.shape(op, side, at, shape, inner, deep+1)
	}
	if got.Items != nil {
		c.shape(op, side, pointer+"/*", want.Item(), got.Items, deep+1)
	}
}

func (c *comparison) unused(first time.Time) {
	c.learned = ""
	if first.IsZero() || c.now.Sub(first) < c.options.Unused {
		return // not watched for long enough
	}
	for i, o := range c.operations {
		switch {
		case !c.matched[i]:
			c.tell(Unused, o.Method, o.Template, "", "is in the document, and nobody has used it", first)
		case c.now.Sub(c.used[i]) >= c.options.Unused:
			c.tell(Unused, o.Method, o.Template, "", "is in the document, and nobody uses it any more", c.used[i])
		}
	}
}
