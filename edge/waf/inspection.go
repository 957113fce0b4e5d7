package waf

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/collection"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge"
)

// TruncatedBody is the category of an exchange whose body was inspected in part only.
const TruncatedBody = "truncated-body"

// maxMatches bounds the matched rules of one exchange that are reported.
const maxMatches = 64

type inspection struct {
	waf   *WAF
	x     edge.Exchange
	tx    types.Transaction
	level int
	body  []byte // of the request, while it is inspected
	err   error
	part  bool // a body was truncated
	bad   bool // the request's body could not be parsed, or not in one way, although it was whole
	blind bool // there are more arguments than rules looked at
}

// guard runs one step. A panic in a parser that hostile input reaches must not end the process.
func (i *inspection) guard(step func()) {
	defer func() {
		if r := recover(); r != nil {
			i.err = fmt.Errorf("the inspection broke off: %v", r)
		}
	}()
	if i.err == nil {
		step()
	}
}

// variables returns the collection TX, in which the Core Rule Set keeps settings and scores.
func (i *inspection) variables() collection.Map {
	if state, ok := i.tx.(plugintypes.TransactionState); ok {
		return state.Variables().TX()
	}
	return nil
}

// Headers runs the rules of phase 1, and those of phase 2 where no body follows that
// would be inspected.
func (i *inspection) Headers() (edge.Result, int64) {
	limit := int64(0)
	i.guard(func() {
		r := i.x.Request
		i.tx.ProcessConnection(i.x.Client.Addr().String(), int(i.x.Client.Port()), i.x.Server.Addr().String(), int(i.x.Server.Port()))
		i.tx.ProcessURI(r.RequestURI, r.Method, r.Proto)
		i.tx.SetServerName(r.Host)
		if r.Host != "" {
			i.tx.AddRequestHeader("Host", r.Host) // net/http takes it out of the header fields
		}
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			for _, value := range r.Header[name] {
				i.tx.AddRequestHeader(name, value)
			}
		}
		for _, coding := range r.TransferEncoding {
			i.tx.AddRequestHeader("Transfer-Encoding", coding)
		}
		i.tx.ProcessRequestHeaders()
		if i.tx.IsRequestBodyAccessible() && r.ContentLength != 0 && r.Body != nil && r.Body != http.NoBody &&
			!i.waf.streams(r.Header.Get("Content-Type")) {
			limit = int64(i.waf.cfg.RequestBody)
		}
		if limit == 0 {
			_, i.err = i.tx.ProcessRequestBody()
			i.blind = i.number(variables.ArgumentsLimitReached) != 0
		}
	})
	return i.result(), limit
}

// Body runs the rules of phase 2.
func (i *inspection) Body(body []byte, truncated bool) edge.Result {
	i.guard(func() {
		i.body, i.part = body, i.part || truncated
		if len(body) > 0 {
			if _, _, i.err = i.tx.WriteRequestBody(body); i.err != nil {
				return
			}
		}
		_, i.err = i.tx.ProcessRequestBody()
		// A body that was cut short does not parse, which says nothing about its sender.
		i.bad = !truncated && (i.number(variables.ReqbodyError) != 0 || i.number(variables.MultipartStrictError) != 0)
		i.blind = i.number(variables.ArgumentsLimitReached) != 0
	})
	return i.result()
}

func (i *inspection) number(v variables.RuleVariable) int {
	state, ok := i.tx.(plugintypes.TransactionState)
	if !ok {
		return 0
	}
	single, ok := state.Collection(v).(collection.Single)
	if !ok {
		return 0
	}
	n, _ := strconv.Atoi(single.Get())
	return n
}

// ResponseHeaders runs the rules of phase 3, and those of phase 4 where no body follows
// that would be inspected.
func (i *inspection) ResponseHeaders(status int, header http.Header) (edge.Result, int64) {
	limit := int64(0)
	i.guard(func() {
		for _, name := range slices.Sorted(maps.Keys(header)) {
			for _, value := range header[name] {
				i.tx.AddResponseHeader(name, value)
			}
		}
		i.tx.ProcessResponseHeaders(status, i.x.Request.Proto)
		// A compressed body is opaque to the rules: inspecting it would only cost time.
		coding := header.Get("Content-Encoding")
		if i.tx.IsResponseBodyAccessible() && i.tx.IsResponseBodyProcessable() && (coding == "" || coding == "identity") {
			limit = int64(i.waf.cfg.ResponseBody)
		}
		if limit == 0 {
			_, i.err = i.tx.ProcessResponseBody()
		}
	})
	return i.result(), limit
}

// ResponseBody runs the rules of phase 4.
func (i *inspection) ResponseBody(body []byte, truncated bool) edge.Result {
	i.guard(func() {
		i.part = i.part || truncated
		if len(body) > 0 {
			if _, _, i.err = i.tx.WriteResponseBody(body); i.err != nil {
				return
			}
		}
		_, i.err = i.tx.ProcessResponseBody()
	})
	return i.result()
}

// Close frees the transaction.
func (i *inspection) Close() {
	i.err = nil
	i.guard(func() { _ = i.tx.Close() })
	i.body = nil
}

// result gathers what has matched so far.
func (i *inspection) result() edge.Result {
	res := edge.Result{Err: i.err}
	saved := i.err
	i.err = nil
	i.guard(func() {
		res.Score, res.OutboundScore = i.score("inbound"), i.score("outbound")
		if i.bad {
			// Coraza's own rules refuse such a body outright: it hides what it holds.
			res.Score += criticalScore
		}
		if i.blind {
			res.Score += criticalScore // what no rule saw does not count as clean
		}
		i.gather(&res)
	})
	if res.Err == nil {
		res.Err = i.err
	}
	i.err = saved
	return res
}

// criticalScore is what the Core Rule Set adds for a critical match.
const criticalScore = 5

// score sums the anomaly scores of the levels up to the route's paranoia level.
func (i *inspection) score(direction string) int {
	tx := i.variables()
	if tx == nil {
		return 0
	}
	sum := 0
	for level := 1; level <= i.level; level++ {
		for _, v := range tx.Get(direction + "_anomaly_score_pl" + strconv.Itoa(level)) {
			n, _ := strconv.Atoi(v)
			sum += n
		}
	}
	return sum
}

// logged is the part of a matched rule that says whether it is meant for people.
type logged interface{ Log() bool }

func (i *inspection) gather(res *edge.Result) {
	seen := map[int]bool{}
	matched := slices.Clone(i.tx.MatchedRules())
	// What weighs most stands first: it is what people read, and what stays where there is too much.
	slices.SortStableFunc(matched, func(a, b types.MatchedRule) int { return cmp.Compare(weight(a), weight(b)) })
	for _, m := range matched {
		id := m.Rule().ID()
		l, ok := m.(logged)
		if !ok || !l.Log() || m.Message() == "" || seen[id] || bookkeeping(id) {
			continue
		}
		if (id == bodyErrorRule || id == multipartRule) && !i.bad {
			continue
		}
		if len(res.Rules) >= maxMatches {
			break
		}
		seen[id] = true
		res.Rules = append(res.Rules, strconv.Itoa(id))
		res.Messages = append(res.Messages, message(id, m.Message()))
		res.Targets = append(res.Targets, i.target(m))
		for _, tag := range m.Rule().Tags() {
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
func weight(m types.MatchedRule) int {
	if s := m.Rule().Severity(); s >= 0 {
		return s.Int()
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
func (i *inspection) target(m types.MatchedRule) string {
	for _, data := range m.MatchedDatas() {
		name := data.Variable().Name()
		if name == "" || name == "TX" || name == "UNKNOWN" {
			continue
		}
		if key := i.key(name, data.Key()); key != "" {
			return name + ":" + key
		}
		return name
	}
	return ""
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
