package api

import (
	"context"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api/graphql"
	"github.com/testudo-sec/testudo/edge/api/grpc"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/openapi"
	"github.com/testudo-sec/testudo/edge/api/owner"
	"github.com/testudo-sec/testudo/edge/api/token"
)

// check follows one exchange.
type check struct {
	g     *Guard
	r     *route
	x     edge.Exchange
	ctx   context.Context
	found edge.Found

	operation *openapi.Operation // nil where no document describes it
	params    []openapi.Param
	template  string // document's, else the inventory's; "" where none is known
	objects   []owner.Object
	query     []inventory.Value // see pairs
	graph     byte              // 1: not for GraphQL, 2: for GraphQL, 0: not known yet
	exact     bool              // the document knows the path as it was sent
	place     uint64            // see client
	also      []uint64          // subjects of further credentials
	proved    bool              // the subject's token was verified
	media     string            // of the request, in lower case, without parameters
	calls     *grpc.Descriptors
	method    *grpc.Method
	subject   uint64
	who       []inventory.Credential
	request   message
	answer    answer
}

// Bounds of what is kept of one exchange.
const (
	maxFound  = 64      // violations that are told; as many again that something is refused by
	maxAgain  = 10_000  // values of a body that is parsed again when the answer is there
	maxParsed = 4 << 10 // bytes of a body that stays parsed while the exchange goes on: it takes forty times as much then
)

// Found implements edge.Check.
func (c *check) Found() *edge.Found { return &c.found }

// tell adds a violation, unless it is left out or told already.
func (c *check) tell(m Mode, check, code, target, message string) {
	most := maxFound
	if m == Block { // who is told of for many small things is refused for the last one all the same
		most *= 2
	}
	if m == Off || len(c.found.Violations) >= most {
		return
	}
	v := edge.Violation{Code: check + "/" + code, Target: target, Message: message, Block: m == Block}
	if slices.ContainsFunc(c.found.Violations, func(o edge.Violation) bool { return o.Code == v.Code && o.Target == v.Target && (o.Block || !v.Block) }) {
		return
	}
	c.found.Violations = append(c.found.Violations, v)
	c.g.metrics.violations.WithLabelValues(c.r.cfg.Route, check).Inc()
}

// Request implements edge.Check.
func (c *check) Request() int64 {
	r, cfg := c.x.Request, &c.r.cfg
	c.media = mediaType(r.Header)
	c.findOperation()
	c.bypass()
	c.identify()
	if c.r.grpc != nil {
		c.findMethod()
	}
	if r.ContentLength == 0 || !c.reads() {
		c.requestChecks()
		if c.talks() {
			return -1
		}
		return 0
	}
	return int64(cfg.Bodies)
}

// findOperation says what the request is for.
func (c *check) findOperation() {
	r, cfg := c.x.Request, &c.r.cfg
	if d := c.r.document; d != nil {
		op, params, found := d.Find(r.Method, c.x.Path)
		c.operation, c.params = op, params
		if op != nil {
			c.found.Document = d.Title
			c.template = found.Path
		}
		for _, v := range found.Violations {
			c.tell(cfg.Undocumented, v.Check, v.Code, v.Where, v.Message)
		}
		if c.exact = op != nil; op == nil && len(found.Violations) > 0 {
			if c.operation, c.params, c.template = c.lax(d); c.operation != nil {
				c.found.Document = d.Title
			} else {
				c.template = ""
			}
		}
	}
	if c.template == "" && (cfg.Inventory || cfg.Habits || c.r.owned) {
		m, values := c.g.inventory.Match(cfg.Route, r.Method, c.x.Path, nil)
		c.template = m.Template
		for _, v := range values {
			c.params = append(c.params, openapi.Param(v))
		}
	}
	if c.template != "" {
		c.found.Operation = r.Method + " " + c.template
	}
	if !c.r.owned {
		return
	}
	c.findObjects()
}

// bypass looks for what makes the request another one to the server behind.
func (c *check) bypass() {
	m := c.r.cfg.Bypass
	if m == Off {
		return
	}
	for _, v := range owner.Tricks(c.head(), c.resolve) {
		mode := m
		if mode == Block && v.Confidence < certain {
			mode = Report
		}
		c.tell(mode, v.Check, v.Code, v.Where, v.Message)
	}
}

// Confidence from which a guess of who reaches what blocks: of amounts nobody can be as certain as of objects.
const (
	certain      = 80
	certainOfAll = 60 // of amounts
)

func (c *check) resolve(method, path string) (string, bool) {
	if d := c.r.document; d != nil {
		if op, _, found := d.Find(method, path); op != nil {
			return method + " " + found.Path, true
		}
	}
	m, _ := c.g.inventory.Match(c.r.cfg.Route, method, path, nil)
	return method + " " + m.Template, m.Known && m.Template != ""
}

// identify says whose credentials there are, and holds tokens to their issuers.
func (c *check) identify() {
	h, cfg := c.x.Request.Header, &c.r.cfg
	c.who = credentials(h, cfg.SessionCookie)
	if c.r.tokens != nil {
		var need []string
		if cfg.Tokens.ByDocument {
			need = scopes(c.operation)
		}
		res := c.r.tokens.Verify(c.ctx, h, need)
		c.found.Auth = res.Auth
		mode := cfg.Tokens.Mode
		free := cfg.Tokens.ByDocument && c.exact && !secured(c.operation)
		if free && mode == Block {
			mode = Report // or nobody whose token has expired could sign in anew
		}
		if mode == Block && res.Err != nil {
			mode, c.found.Err = Report, res.Err // the route's fail mode decides
		}
		for _, v := range res.Violations {
			if v.Code == token.CodeMissing && res.Auth != token.AuthToken && (free || c.preflight()) {
				continue
			}
			c.tell(mode, v.Check, v.Code, v.Where, v.Message)
		}
		if res.Verified {
			c.found.Subject, c.proved = res.Subject, true
			if raw, err := hex.DecodeString(res.Subject); err == nil && len(raw) >= 8 {
				c.subject = be64(raw)
			}
		}
		return
	}
	if len(c.who) > 0 {
		c.found.Auth = string(c.who[0].Kind)
	}
	var room [maxSubjects]string
	for i, said := range subjects(h, cfg.SessionCookie, room[:0]) {
		n := c.g.hash("credential", said)
		if i == 0 {
			c.subject, c.found.Subject = n, hex64(n)
			continue
		}
		c.also = append(c.also, n)
	}
}

// preflight reports whether a browser asks if a page of another origin may send a request: it never shows credentials (Fetch standard, section 4.8).
func (c *check) preflight() bool {
	r := c.x.Request
	if r.Method != http.MethodOptions || r.ContentLength != 0 || r.Header.Get("Origin") == "" || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	for _, v := range owner.Tricks(c.head(), nil) { // to the server it may be another request
		if v.Code == owner.CodeMethod {
			return false
		}
	}
	return true
}

func (c *check) head() owner.Head {
	r := c.x.Request
	return owner.Head{Method: r.Method, Path: c.x.Path, Query: r.URL.RawQuery, Header: func(name string) []string { return r.Header[name] }}
}

// talks reports whether client and server speak in turn.
func (c *check) talks() bool {
	return c.method != nil && c.method.ClientStreams && c.method.ServerStreams && strings.HasPrefix(c.media, "application/grpc")
}

// reads reports whether the body of the request is worth reading.
func (c *check) reads() bool {
	if c.operation != nil && c.r.cfg.Requests != Off {
		return true
	}
	return c.method != nil && !c.talks() || c.isGraphQL() || (isJSON(c.media) || c.untold()) && (c.r.cfg.Inventory || c.r.cfg.Habits || c.r.owned) || isForm(c.media) && c.r.cfg.Habits
}

// untold reports whether the request does not say that its body is JSON, nor anything else: there are servers that take it for that all the same.
func (c *check) untold() bool { return c.media == "" || c.media == "text/plain" }

// RequestBody implements edge.Check.
func (c *check) RequestBody(body []byte, truncated bool) {
	m := &c.request
	m.body, m.truncated, m.stranger = body, truncated, true
	m.decode(c.x.Request.Header, int(c.r.cfg.Bodies), &c.g.unpackers)
	c.requestChecks()
}

// requestChecks looks at the request once all of it is there that is looked at.
func (c *check) requestChecks() {
	r, cfg, m := c.x.Request, &c.r.cfg, &c.request
	if c.method != nil && (len(m.body) > 0 || !c.talks()) {
		for _, v := range c.calls.Check(&grpc.Request{Method: c.method, ContentType: r.Header.Get("Content-Type"), Encoding: r.Header.Get("Grpc-Encoding"), Body: m.body, Truncated: m.truncated}, cfg.GRPC.limits()) {
			c.tell(cfg.GRPC.Mode, "grpc", v.Code, v.Where, v.Message)
		}
	}
	if c.operation != nil && cfg.Requests != Off {
		req := openapi.Request{Params: c.params, RawQuery: r.URL.RawQuery, Header: r.Header, Body: m.body, Truncated: m.truncated, Decoded: m.decoded, AnyQuery: cfg.AnyQuery}
		for _, v := range c.operation.CheckRequest(&req) {
			if v.Check == openapi.CheckSecurity && c.r.tokens != nil {
				continue // tokens are held to more than being there
			}
			mode := cfg.Requests
			if v.Code == openapi.CodeNotChecked {
				mode = c.unchecked()
			}
			c.tell(mode, v.Check, v.Code, v.Where, v.Message)
		}
		m.json = req.JSON
	} else if isJSON(c.media) || c.untold() && m.looksLikeJSON() {
		m.read(0)
	}
	if c.isGraphQL() {
		get := r.Method == http.MethodGet || r.Method == http.MethodHead
		res := c.r.graphql.Check(&graphql.Request{Get: get, ContentType: r.Header.Get("Content-Type"), Query: r.URL.Query(), Body: m.body, Truncated: m.truncated, JSON: m.json, Parsed: m.json != nil})
		for _, v := range res.Violations {
			c.tell(cfg.GraphQL.Mode, "graphql", v.Code, v.Where, v.Message)
		}
	}
	if c.r.owned && c.template != "" {
		c.tellOwned(c.g.owner.Before(c.access()))
	}
	c.tellUnusual()
	if len(m.body) > maxParsed {
		m.json = nil
	}
}

// unchecked is what becomes of a body that could not be held to the document.
func (c *check) unchecked() Mode {
	cfg := &c.r.cfg
	switch {
	case cfg.Unchecked != Auto:
		return cfg.Unchecked
	case cfg.Requests == Block && (isJSON(c.media) || isForm(c.media)):
		return Block
	}
	return Report
}

// access is the exchange as the owner package sees it.
func (c *check) access() owner.Access {
	a := owner.Access{Time: c.x.Time, Route: c.r.cfg.Route, Method: c.x.Request.Method, Template: c.template, Subject: c.subject, Also: c.also, Client: c.client(), Credentials: len(c.who) > 0,
		Objects: c.objects, Request: c.request.json}
	if c.operation != nil {
		a.Document = fieldsOf(c.operation, "application/json", "application/json", http.StatusOK)
	}
	return a
}

// tellOwned tells what was found of who reaches what, each kind in the mode that is meant for it.
func (c *check) tellOwned(all []owner.Violation) {
	cfg := &c.r.cfg
	for _, v := range all {
		m := Off
		switch v.Check {
		case owner.CheckObject:
			m = cfg.Objects
		case owner.CheckAssignment:
			m = cfg.Assignment
		case owner.CheckExposure:
			m = cfg.Exposure
		case owner.CheckAuthentication:
			m = cfg.Authentication
		}
		least := certain
		if v.Code == owner.CodeRecords || v.Code == owner.CodeBytes {
			least = certainOfAll
		}
		if m == Block && v.Confidence < least {
			m = Report
		}
		if v.Code == owner.CodeExtra && slices.ContainsFunc(c.found.Violations, func(o edge.Violation) bool { return o.Target == v.Where }) {
			continue // the document has said it
		}
		c.tell(m, v.Check, v.Code, v.Where, v.Message)
	}
}

// mediaType returns the type of a message's body in lower case; "" where it has none, or several.
func mediaType(h http.Header) string {
	v := h["Content-Type"]
	if len(v) != 1 {
		return ""
	}
	media, _, _ := strings.Cut(v[0], ";")
	return strings.ToLower(strings.TrimSpace(media))
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json") || media == "text/json"
}
