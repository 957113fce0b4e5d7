package graphql

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// Limits say what a request may ask for. Zero means no limit, except for what bounds the work of checking itself.
type Limits struct {
	Depth         int  // of fields within each other; a field of the operation itself is 1
	Cost          int  // fields of the answer, lists counted by their length
	Aliases       int  // fields under another name, fragments counted as often as they are used
	RootFields    int  // fields of the operation itself
	Directives    int  // in the whole text
	Batch         int  // operations in one request
	Tokens        int  // of the text; 0 means 10,000
	Bytes         int  // of the text; 0 means 256 KiB
	ListSize      int  // what a list counts whose length is not said; 0 means 10. Without a schema only arguments say what a list is
	Introspection bool // questions about the schema are allowed
	Persisted     bool // a request that names its text by a digest only is no violation
}

// DefaultLimits are generous for applications and narrow for attacks.
func DefaultLimits() Limits {
	return Limits{Depth: 15, Cost: 50_000, Aliases: 50, RootFields: 30, Directives: 100, Batch: 10}
}

// A Violation is one way in which a request goes beyond the limits, or is none. It holds names of fields and operations, never a value.
type Violation struct {
	Code    string // one of the Code constants
	Where   string // the operation, with the field where there is one, as in query Shop: products.reviews
	Message string
}

// The codes.
const (
	CodeSyntax        = "syntax"
	CodeContentType   = "content-type"
	CodeRepeated      = "repeated" // a query in the URL and in the body, a key twice
	CodeMethod        = "method"   // a mutation or subscription by GET: a link or a picture can cause it
	CodeOperation     = "operation"
	CodeDepth         = "depth"
	CodeCost          = "cost"
	CodeAliases       = "aliases"
	CodeRootFields    = "root-fields"
	CodeDirectives    = "directives"
	CodeBatch         = "batch"
	CodeIntrospection = "introspection"
	CodeFragmentCycle = "fragment-cycle"
	CodeFragment      = "fragment" // one that is not there, or there twice
	CodeUnknownField  = "unknown-field"
	CodePersisted     = "persisted"
	CodeNotChecked    = "not-checked"
)

func (v Violation) String() string { return v.Where + ": " + v.Code + ": " + v.Message }

// Operation is what one operation of a request asks for, for the record.
type Operation struct {
	Type    string   // query, mutation, subscription; persisted where only a digest is known
	Name    string   // "" if none
	Fields  []string // of the operation itself, each once, sorted, at most 20
	Depth   int
	Cost    int // at most a billion
	Aliases int
}

// Result is what Check found.
type Result struct {
	Violations []Violation // at most 32
	Operations []Operation // at most 32
}

// Request is what came.
type Request struct {
	Get         bool // by GET or HEAD: the query is in the URL
	ContentType string
	Query       url.Values
	Body        []byte
	Truncated   bool // Body is the beginning only
	JSON        any  // the body as jsontree reads it, if Parsed
	Parsed      bool
}

// Checker holds requests to limits. It is safe for concurrent use.
type Checker struct {
	limits Limits
	schema *ast.Schema
}

// New returns a Checker. The schema, in the schema definition language, may be nil; name stands in errors about it.
func New(limits Limits, name string, schema []byte) (*Checker, error) {
	if limits.Tokens <= 0 {
		limits.Tokens = 10_000
	}
	if limits.Bytes <= 0 {
		limits.Bytes = 256 << 10
	}
	if limits.ListSize <= 0 {
		limits.ListSize = 10
	}
	c := &Checker{limits: limits}
	if schema == nil {
		return c, nil
	}
	s, err := gqlparser.LoadSchema(&ast.Source{Name: name, Input: string(schema)})
	if err != nil {
		if e, ok := errors.AsType[*gqlerror.Error](err); ok && len(e.Locations) > 0 {
			return nil, fmt.Errorf("%s:%d: %s", name, e.Locations[0].Line, e.Message)
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	c.schema = s
	return c, nil
}

const (
	maxViolations = 32
	maxOperations = 32
	maxCost       = 1_000_000_000
)

func (r *Result) add(code, where, message string) {
	if len(r.Violations) < maxViolations {
		r.Violations = append(r.Violations, Violation{code, where, message})
	}
}

// Check says what a request asks for and what of it is beyond the limits.
func (c *Checker) Check(r *Request) Result {
	var out Result
	calls := c.calls(r, &out)
	if c.limits.Batch > 0 && len(calls) > c.limits.Batch {
		out.add(CodeBatch, "", "has "+strconv.Itoa(len(calls))+" operations in one request, "+strconv.Itoa(c.limits.Batch)+" are allowed")
	}
	total := 0
	for i := range calls {
		if i >= maxOperations {
			out.add(CodeNotChecked, "", "only the first 32 operations of the request were looked at")
			break
		}
		before := len(out.Operations)
		c.call(&calls[i], r.Get, &out)
		for _, op := range out.Operations[before:] {
			total = add(total, op.Cost)
		}
	}
	if c.limits.Cost > 0 && total > c.limits.Cost && !slices.ContainsFunc(out.Violations, func(v Violation) bool { return v.Code == CodeCost }) {
		out.add(CodeCost, "", "the operations of the request ask for more than "+strconv.Itoa(c.limits.Cost)+" fields together")
	}
	return out
}

// call is one operation that is asked for.
type call struct {
	text      string
	name      string // operationName
	variables map[string]any
	digest    bool // the text is known by its digest alone
}

func (c *Checker) call(one *call, get bool, out *Result) {
	switch {
	case one.digest:
		out.Operations = append(out.Operations, Operation{Type: "persisted", Name: label(one.name)})
		if !c.limits.Persisted {
			out.add(CodePersisted, "persisted", "names its text by a digest: what it asks for is not known")
		}
		return
	case len(one.text) > c.limits.Bytes:
		out.add(CodeNotChecked, "", "the text is longer than "+strconv.Itoa(c.limits.Bytes)+" bytes")
		return
	}
	doc, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: one.text}, c.limits.Tokens)
	if err != nil {
		if e, ok := errors.AsType[*gqlerror.Error](err); ok && len(e.Locations) > 0 {
			out.add(CodeSyntax, "", fmt.Sprintf("no GraphQL at line %d, column %d, or more than %d tokens", e.Locations[0].Line, e.Locations[0].Column, c.limits.Tokens))
		} else {
			out.add(CodeSyntax, "", fmt.Sprintf("no GraphQL, or more than %d tokens", c.limits.Tokens))
		}
		return
	}
	op := choose(doc, one.name, out)
	if op == nil {
		return
	}
	w := walker{c: c, variables: one.variables, op: op, out: out, where: string(op.Operation), fragments: map[string]*ast.FragmentDefinition{}, costs: map[string]*cost{}}
	if op.Name != "" {
		w.where += " " + label(op.Name)
	}
	if get && op.Operation != ast.Query {
		out.add(CodeMethod, w.where, "changes something by GET: a link in a page is enough to cause it")
	}
	w.document(doc)
}

// choose returns the operation that is asked for.
func choose(doc *ast.QueryDocument, name string, out *Result) *ast.OperationDefinition {
	if len(doc.Operations) == 0 {
		out.add(CodeOperation, "", "there is no operation in the text")
		return nil
	}
	names := map[string]bool{}
	for _, op := range doc.Operations {
		if names[op.Name] || op.Name == "" && len(doc.Operations) > 1 {
			out.add(CodeOperation, "", "two operations of the text have one name, or none")
		}
		names[op.Name] = true
	}
	if name == "" {
		if len(doc.Operations) > 1 {
			out.add(CodeOperation, "", "the text has several operations, and the request does not say which")
		}
		return doc.Operations[0]
	}
	for _, op := range doc.Operations {
		if op.Name == name {
			return op
		}
	}
	out.add(CodeOperation, "", "the text has no operation of the name that the request says")
	return doc.Operations[0]
}

// label bounds a name of a stranger.
func label(name string) string { return jsontree.Token(name) }

// add and times stop at maxCost.
func add(a, b int) int   { return min(a+b, maxCost) }
func times(a, b int) int { return int(min(int64(a)*int64(b), maxCost)) }

func sorted(names map[string]bool) []string {
	out := slices.Sorted(maps.Keys(names))
	return out[:min(len(out), 20)]
}
