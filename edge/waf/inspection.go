package waf

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/edge"
)

// TruncatedBody is the category of an exchange whose body was inspected in part only.
const TruncatedBody = "truncated-body"

// maxMatches bounds the matched rules of one exchange that are reported.
const maxMatches = 64

type inspection struct {
	waf    *WAF
	x      edge.Exchange
	tx     transaction // nil where none could be begun
	level  int
	body   []byte // of the request, while it is inspected
	err    error
	broken bool // a step broke off
	part   bool // a body was truncated
	bad    bool // the request's body could not be parsed, or not in one way, although it was whole
	blind  bool // there are more arguments than rules looked at
}

// guard runs one step. A panic in an engine or a parser that hostile input reaches must not end the process.
func (i *inspection) guard(step func()) {
	defer func() {
		if r := recover(); r != nil {
			i.broke(r)
		}
	}()
	if i.err == nil {
		step()
	}
}

func (i *inspection) broke(problem any) {
	i.waf.broken.Inc()
	what := fmt.Sprintf("%T", problem) // another value could hold a part of the request
	if e, ok := problem.(runtime.Error); ok {
		what = e.Error()
	}
	i.broken, i.err = true, fmt.Errorf("the inspection broke off: %s", what)
}

// Headers runs the rules of phase 1, and those of phase 2 where no body follows that
// would be inspected.
func (i *inspection) Headers() (edge.Result, int64) {
	limit := int64(0)
	i.guard(func() {
		r := i.x.Request
		if i.tx.request(&i.x, i.level) && r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody && !i.waf.streams(r.Header.Get("Content-Type")) {
			limit = int64(i.waf.cfg.RequestBody)
		}
		if limit == 0 {
			var read reading
			read, i.err = i.tx.requestBody(nil)
			i.blind = read.flooded
		}
	})
	return i.result(), limit
}

// Body runs the rules of phase 2.
func (i *inspection) Body(body []byte, truncated bool) edge.Result {
	i.guard(func() {
		i.body, i.part = body, i.part || truncated
		var read reading
		read, i.err = i.tx.requestBody(body)
		// A body that was cut short does not parse, which says nothing about its sender.
		i.bad, i.blind = read.unparsed && !truncated, read.flooded
	})
	return i.result()
}

// ResponseHeaders runs the rules of phase 3, and those of phase 4 where no body follows
// that would be inspected.
func (i *inspection) ResponseHeaders(status int, header http.Header) (edge.Result, int64) {
	limit := int64(0)
	i.guard(func() {
		wanted := i.tx.response(i.x.Request.Proto, status, header)
		// A compressed body is opaque to the rules: inspecting it would only cost time.
		if coding := header.Get("Content-Encoding"); wanted && (coding == "" || coding == "identity") {
			limit = int64(i.waf.cfg.ResponseBody)
		}
		if limit == 0 {
			i.err = i.tx.responseBody(nil)
		}
	})
	return i.result(), limit
}

// ResponseBody runs the rules of phase 4.
func (i *inspection) ResponseBody(body []byte, truncated bool) edge.Result {
	i.guard(func() {
		i.part = i.part || truncated
		i.err = i.tx.responseBody(body)
	})
	return i.result()
}

// Close frees the transaction.
func (i *inspection) Close() {
	tx := i.tx
	i.err, i.tx, i.body = nil, nil, nil
	if tx != nil {
		i.guard(func() { tx.close(i.broken) })
	}
}

// result gathers what has matched so far.
func (i *inspection) result() edge.Result {
	res := edge.Result{}
	saved := i.err
	i.err = nil
	i.guard(func() {
		if i.tx == nil {
			return
		}
		f := i.tx.found(i.level)
		res.Score, res.OutboundScore = f.inbound, f.outbound
		if i.bad {
			// Coraza's own rules refuse such a body outright: it hides what it holds.
			res.Score += criticalScore
		}
		if i.blind {
			res.Score += criticalScore // what no rule saw does not count as clean
		}
		i.gather(&res, &f)
	})
	if saved != nil {
		i.err = saved
	}
	res.Err = i.err
	return res
}

// criticalScore is what the Core Rule Set adds for a critical match.
const criticalScore = 5

func (i *inspection) gather(res *edge.Result, f *found) {
	// What weighs most stands first: it is what people read, and what stays where there is too much.
	slices.SortStableFunc(f.matches, func(a, b match) int { return cmp.Compare(a.weight(), b.weight()) })
	var seen map[int]bool
	for at := range f.matches {
		m := &f.matches[at]
		if seen[m.id] || (m.id == bodyErrorRule || m.id == multipartRule) && !i.bad {
			continue
		}
		if len(res.Rules) >= maxMatches {
			break
		}
		if seen == nil {
			seen = map[int]bool{}
		}
		seen[m.id] = true
		res.Rules = append(res.Rules, strconv.Itoa(m.id))
		res.Messages = append(res.Messages, message(m.id, m.message))
		res.Targets = append(res.Targets, i.target(m))
		for _, tag := range m.tags {
			if strings.HasPrefix(tag, "attack-") && !slices.Contains(res.Categories, tag) {
				res.Categories = append(res.Categories, tag)
			}
		}
	}
	if i.part {
		res.Categories = append(res.Categories, TruncatedBody)
	}
}

// weight orders rules by severity; a rule without one comes last.
func (m *match) weight() int {
	if m.severity >= 0 {
		return m.severity.Int()
	}
	return math.MaxInt
}

// Rules of Coraza's recommended settings, and one of ours, about what the other rules could
// not see whole.
const (
	bodyErrorRule = 200002 // the body does not parse
	multipartRule = 200003 // a multipart body that parsers read in different ways
	argumentsRule = 200901 // more arguments than SecArgumentsLimit
)

// bookkeeping rules of the Core Rule Set set up, sum up or report; what they say is in the
// score.
func bookkeeping(id int) bool {
	switch id / 1000 {
	case 900, 901, 905, 949, 959, 980, 999:
		return true
	}
	return false
}

// message returns the rule's message without the values that three rules put into it.
func message(id int, text string) string {
	switch id {
	case 920450, 920451, 921170:
		if at := strings.LastIndex(text, " ("); at > 0 {
			return text[:at]
		}
	}
	return text
}

// target names the first variable that the rule matched in, as in "ARGS:q".
func (i *inspection) target(m *match) string {
	if key := i.key(m.variable, m.key); key != "" {
		return m.variable + ":" + key
	}
	return m.variable
}

// maxKey bounds the names that are reported.
const maxKey = 64

// key returns the name of a parameter or header field as it may be recorded: as it is where
// the request writes it as a name, "*" where it could be a value.
func (i *inspection) key(variable, key string) string {
	if key == "" {
		return ""
	}
	if len(key) > maxKey || strings.ContainsFunc(key, func(r rune) bool { return !plain(r) }) {
		return "*"
	}
	if !strings.HasPrefix(variable, "ARGS") {
		return key
	}
	if named(i.x.Request.URL.RawQuery, key) || i.inBody(key) {
		return key
	}
	return "*"
}

func plain(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.[]$", r)
}

// named reports whether the query or form holds "key=".
func named(query, key string) bool {
	for part := range strings.SplitSeq(query, "&") {
		name, _, ok := strings.Cut(part, "=")
		if !ok {
			continue
		}
		if plainName, err := url.QueryUnescape(name); err == nil && strings.EqualFold(plainName, key) {
			return true
		}
	}
	return false
}

func (i *inspection) inBody(key string) bool {
	media, _, _ := strings.Cut(strings.ToLower(i.x.Request.Header.Get("Content-Type")), ";")
	switch {
	case strings.Contains(media, "json"), strings.Contains(media, "xml"), strings.HasPrefix(media, "multipart/"):
		return true // names there are names
	case len(i.body) > 0:
		return named(string(bytes.TrimSpace(i.body)), key)
	}
	return false
}
