package api

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/detect/personal"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/api/openapi"
)

// answer is what is known of the response.
type answer struct {
	message
	status  int
	header  http.Header
	media   string
	seen    bool             // ResponseBody has looked at the beginning
	stream  *personal.Stream // masks, or watches for what ends the response
	watch   *personal.Stream // only tells, of what is not kept until the end
	known   []string         // kinds of data that were there when the answer was judged
	counted bool             // who reaches what was told of it
	stop    bool             // it is to end here
	size    int64
	over    bool // all of it was looked at, and learned
}

// Forward implements edge.Check: who changes a response on its way, or stops it, must be able to read it, and all of it.
func (c *check) Forward(h http.Header) {
	if c.holds() || c.masks() {
		h["Accept-Encoding"] = []string{"identity"}
		for _, name := range [...]string{"Range", "If-Range", "Request-Range", "Accept-Charset"} { // Request-Range is Range to Apache
			delete(h, name)
		}
	}
}

// holds reports whether a response is looked at before its head is sent.
func (c *check) holds() bool {
	return c.x.Blocks && (c.r.cfg.Leaks.Mode == Block || c.r.cfg.Responses == Block && c.r.document != nil || c.r.cfg.Exposure == Block)
}

// masks reports whether responses are changed on their way.
func (c *check) masks() bool { return c.x.Blocks && c.r.cfg.Leaks.Mode == Mask }

// Response implements edge.Check.
func (c *check) Response(status int, h http.Header) (int64, bool) {
	a, cfg := &c.answer, &c.r.cfg
	a.status, a.header, a.media = status, h, mediaType(h)
	coded := len(h["Content-Encoding"]) > 0 && a.coded(h)
	text := isText(a.media)
	if c.r.leaks != nil && text && c.x.Blocks && (cfg.Leaks.Mode == Mask || cfg.Leaks.Mode == Block) {
		why := ""
		switch {
		case coded:
			why = "the answer is compressed, though that was not asked for: it cannot be changed on its way"
		case isWide(h):
			why = "the answer is in UTF-16 or UTF-32: data in it is not found"
		case status == http.StatusPartialContent:
			why = "the answer is a part, though that was not asked for: what lies across its ends is not found"
		}
		if why != "" {
			mode := Report
			if cfg.Leaks.Mode == Block {
				mode = Block
			}
			c.tell(mode, "leak", openapi.CodeNotChecked, "response", why)
		}
		switch {
		case coded:
		case cfg.Leaks.Mode == Mask:
			a.stream = c.r.leaks.Stream(c.leak)
			for _, name := range []string{"Digest", "Content-Digest", "Repr-Digest", "Content-Md5"} {
				delete(h, name) // they are of what the server sent
			}
			delete(h, "Accept-Ranges")
		default:
			a.stream = c.r.leaks.Stream(c.leak)
		}
	}
	if c.r.leaks != nil && text && !coded && a.stream == nil && isStream(a.media) {
		a.watch = c.r.leaks.Stream(func(m personal.Match) bool { c.leak(m); return false })
	}
	if !c.holds() {
		return 0, true
	}
	if !coded && text && !isStream(a.media) {
		return int64(cfg.Bodies), true
	}
	if cfg.Responses == Block { // of what cannot be read yet the head can
		c.describedAnswer(true)
	}
	return 0, true
}

// isWide reports whether an answer's characters take two bytes or more each.
func isWide(h http.Header) bool {
	for _, v := range h["Content-Type"] {
		if _, params, err := mime.ParseMediaType(v); err == nil {
			charset := strings.ToLower(params["charset"])
			if strings.HasPrefix(charset, "utf-16") || strings.HasPrefix(charset, "utf-32") || strings.HasPrefix(charset, "utf16") || strings.HasPrefix(charset, "utf32") || strings.HasPrefix(charset, "ucs-") {
				return true
			}
		}
	}
	return false
}

// isStream reports whether an answer of that type comes bit by bit: clients wait for each.
func isStream(media string) bool {
	switch media {
	case "text/event-stream", "application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-seq", "application/stream+json":
		return true
	}
	return false
}

// isText reports whether a body of that type is looked at for data.
func isText(media string) bool {
	return media == "" || strings.HasPrefix(media, "text/") || isStream(media) || isJSON(media) || media == "application/xml" || strings.HasSuffix(media, "+xml") || media == "application/javascript" ||
		media == "application/x-www-form-urlencoded" || media == "application/graphql"
}

// leak notes a match in the response, and says whether it is masked.
func (c *check) leak(m personal.Match) bool {
	cfg := &c.r.cfg.Leaks
	if !slices.Contains(c.found.Sensitive, m.Kind.ID) {
		c.found.Sensitive = append(c.found.Sensitive, m.Kind.ID)
	}
	alert := slices.Contains(cfg.Alert, m.Kind.ID) || slices.Contains(cfg.Alert, m.Kind.Group)
	if cfg.Mode == Mask || alert {
		mode, what := cfg.Mode, " in the answer"
		if mode == Mask {
			mode = Report
			if c.answer.stream != nil {
				what += ", masked"
			}
		}
		c.tell(mode, "leak", m.Kind.ID, "response", m.Kind.Name+what)
	}
	if cfg.Mode == Block && alert && !slices.Contains(c.answer.known, m.Kind.ID) {
		c.answer.stop = true
	}
	return cfg.Mode == Mask
}

// ResponseBody implements edge.Check: of a response that can still be stopped.
func (c *check) ResponseBody(body []byte, truncated bool) {
	a := &c.answer
	a.body, a.truncated, a.seen = body, truncated, true
	if c.r.cfg.Leaks.Mode == Block {
		c.r.leaks.Find(body, func(m personal.Match) bool { c.leak(m); return true })
		a.stop, a.known = false, slices.Clone(c.found.Sensitive) // the verdict stops it, or nobody does
	}
	c.checkAnswer()
	if c.r.cfg.Exposure == Block {
		a.size = int64(len(body))
		if n, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err == nil {
			a.size = n
		}
		c.count()
		a.size = 0
	}
	if len(a.body) > maxParsed {
		a.json = nil
	}
}

// checkAnswer holds what is there of the response to the document.
func (c *check) checkAnswer() {
	if !c.describedAnswer(c.answer.truncated) && isJSON(c.answer.media) {
		c.answer.read(0)
	}
}

// describedAnswer holds the response to the document, and reports whether there is one that says something of it.
func (c *check) describedAnswer(truncated bool) bool {
	a, cfg := &c.answer, &c.r.cfg
	if c.operation == nil || cfg.Responses == Off {
		return false
	}
	res := openapi.Response{Status: a.status, Header: a.header, Body: a.body, Truncated: truncated, Decoded: a.decoded, Head: c.x.Request.Method == http.MethodHead}
	for _, v := range c.operation.CheckResponse(&res) {
		if v.Code == openapi.CodeNotChecked {
			continue // long answers are many, and no attack
		}
		c.tell(cfg.Responses, v.Check, v.Code, v.Where, v.Message)
	}
	a.json = res.JSON
	return true
}

// Pass implements edge.Check.
func (c *check) Pass(piece []byte, last bool) (out []byte, ok bool) {
	a := &c.answer
	a.size += int64(len(piece))
	if room := int(c.r.cfg.Bodies) - len(a.body); !a.seen && room > 0 && c.keeps() {
		a.body = append(a.body, piece[:min(len(piece), room)]...)
		a.truncated = a.truncated || len(piece) > room
	} else if !a.seen && len(piece) > 0 {
		a.truncated = true
	}
	if !a.seen && a.truncated { // it is not kept for a client that takes its time
		c.look()
		a.body = nil
	}
	out = piece
	if a.watch != nil {
		if room := int64(c.r.cfg.Bodies) - a.size + int64(len(piece)); room > 0 && !last {
			a.watch.Write(piece[:min(int64(len(piece)), room)])
		} else {
			a.watch.Close()
			a.watch = nil
		}
	}
	if a.stream != nil {
		before := a.stop
		var masked []byte
		if last { // without a piece
			masked = a.stream.Close()
		} else {
			masked = a.stream.Write(piece)
		}
		if a.stop && !before {
			return nil, false
		}
		out = masked // without what may be the beginning of a match
	}
	if last {
		c.end()
	}
	return out, true
}

// keeps reports whether the response's body is looked at when it is over.
func (c *check) keeps() bool {
	a := &c.answer
	if isStream(a.media) {
		return false
	}
	if isJSON(a.media) {
		return true
	}
	return c.operation != nil && c.r.cfg.Responses != Off || c.r.leaks != nil && a.stream == nil && isText(a.media)
}

// end looks at a response when all of it is there.
func (c *check) end() {
	a, cfg := &c.answer, &c.r.cfg
	if a.over {
		return
	}
	a.over = true
	if !a.seen {
		c.look()
	} else if a.json == nil && isJSON(a.media) {
		a.read(maxAgain)
	}
	if c.request.json == nil && a.status < 300 && (isJSON(c.media) || c.untold() && c.request.looksLikeJSON()) {
		c.request.read(maxAgain)
	}
	c.count()
	if cfg.Inventory {
		c.learn()
	}
}

// look looks at what was kept of a response.
func (c *check) look() {
	a := &c.answer
	a.seen = true
	a.decode(a.header, int(c.r.cfg.Bodies), &c.g.unpackers)
	if c.r.leaks != nil && a.stream == nil && isText(a.media) && !a.coded(a.header) {
		c.r.leaks.Find(a.body, func(m personal.Match) bool { c.leak(m); return true })
	}
	c.checkAnswer()
}

// count has it known who reached what, once.
func (c *check) count() {
	a := &c.answer
	if !c.r.owned || c.template == "" || a.counted {
		return
	}
	a.counted = true
	acc := c.access()
	acc.Response, acc.Status, acc.Bytes, acc.Location = a.json, a.status, a.size, a.header.Get("Location")
	acc.Unproved = !c.proved && a.status == http.StatusUnauthorized
	c.tellOwned(c.g.owner.Seen(acc))
}

// learn has the inventory take the exchange into account.
func (c *check) learn() {
	a, r := &c.answer, c.x.Request
	o := inventory.Observation{Time: c.x.Time, Route: c.r.cfg.Route, Host: c.x.Host, Method: r.Method, Path: c.x.Path, Request: c.request.json, Response: a.json,
		RequestType: c.media, ResponseType: a.media, RequestBytes: max(r.ContentLength, 0), ResponseBytes: a.size, Status: a.status, Auth: c.who, Sensitive: c.found.Sensitive, Caller: c.subject}
	if o.Caller == 0 {
		o.Caller = c.client()
	}
	if !c.proved {
		o.Witness = c.client() // credentials can be made up
	}
	if r.URL.RawQuery != "" {
		o.Query = c.pairs()
	}
	c.g.inventory.Learn(&o)
}

// Close implements edge.Check.
func (c *check) Close(e edge.End) {
	status := e.Status
	c.learnHabits(e)
	switch {
	case c.answer.status != 0 && !c.answer.over: // who hangs up before the end has seen the rest
		c.answer.truncated = true
		c.answer.json = nil
		c.count()
	case c.answer.status == 0 && status != 0 && c.r.owned && c.template != "": // refused here: it was tried all the same
		a := c.access()
		a.Status, a.Unproved = status, !c.proved
		c.g.owner.Seen(a)
	}
}
