package engine

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/edge/waf/transform"
	"github.com/testudo-sec/testudo/internal/rxset"
)

// Transaction judges one request and its response. Its methods are called in the order in which they stand here, each phase
// once; it is not safe for concurrent use. What it gives out is valid until Close.
type Transaction struct {
	engine *Engine

	singles [256]string // by variable
	keyed   [256][]entry
	values  []string       // of TX, by slot
	txNames map[string]int // where the other keys of TX stand, where they are many
	present bits

	phase             int // the last that was run
	mode              types.RuleEngineStatus
	requestBodyAccess bool
	requestBodyLimit  int64
	forceRequestBody  bool

	responseBodyAccess bool
	responseBodyLimit  int64
	forceResponseBody  bool

	requestBody, responseBody []byte

	removed    bits // rules
	muted      bits // rules that match and count for nothing
	narrowed   bits // rules that targets were taken from
	narrowings []*ctl
	skipAfter  string
	skip       int
	allowed    seclang.FlowKind
	capture    bool
	pending    []pending

	interruption *Interruption
	would        *Interruption
	matches      []Match

	rx         *rxset.TierScratch
	asked      bits // patterns
	looks      []look
	pieces     pieces
	singleLook [256]int32
	lit        [sources]bits // patterns that some text of a source meets
	searched   [classes][sources]bool

	matchedList []Datum // of the rule that is run
	lastMatched Datum
	anyMatched  bool

	data     []Datum
	kept     []Datum // of matches
	scratch  []item
	forms    []string
	parts    []string // of a macro
	name     []byte   // of a field of JSON
	brackets []bracket
	arena    transform.Arena
}

func newTransaction(e *Engine) *Transaction {
	tx := &Transaction{engine: e, values: make([]string, len(e.names)), present: newBits(len(e.names)), removed: newBits(len(e.rules)), muted: newBits(len(e.rules)), narrowed: newBits(len(e.rules)),
		rx: e.heads.set.NewScratch(), asked: newBits(len(e.heads.patterns))}
	for c := range e.heads.plan {
		for s := range e.heads.plan[c] {
			if len(e.heads.plan[c][s]) > 0 && tx.lit[s] == nil {
				tx.lit[s] = newBits(len(e.heads.patterns))
			}
		}
	}
	return tx
}

// Begin starts a transaction. Its id is what rules read as UNIQUE_ID.
func (e *Engine) Begin(id string) *Transaction {
	tx := e.pool.Get().(*Transaction)
	s := &e.settings
	tx.mode = s.Engine
	tx.requestBodyAccess, tx.requestBodyLimit = s.RequestBodyAccess, s.RequestBodyLimit
	tx.responseBodyAccess, tx.responseBodyLimit = s.ResponseBodyAccess, s.ResponseBodyLimit
	for i := range 11 {
		tx.present.set(i)
	}
	for _, v := range [...]variables.RuleVariable{variables.FilesCombinedSize, variables.UrlencodedError, variables.URIParseError,
		variables.ArgumentsLimitReached, variables.FullRequestLength, variables.MultipartDataAfter, variables.MultipartDuplicatePartHeader,
		variables.MultipartInvalidQuoting, variables.OutboundDataError, variables.ReqbodyError, variables.ReqbodyProcessorError,
		variables.RequestBodyLength, variables.Duration} {
		tx.singles[v] = "0"
	}
	tx.singles[variables.HighestSeverity] = "255"
	tx.singles[variables.UniqueID] = id
	if e.timed {
		tx.setTime(time.Now())
	}
	return tx
}

// Mute has rules, by id, match and count for nothing: they add to no score, and their own decisions are not taken. It comes before all else.
func (tx *Transaction) Mute(ids []int) {
	for _, r := range tx.engine.rules {
		if r.Marker == "" && slices.Contains(ids, r.ID) {
			tx.muted.set(r.number)
		}
	}
}

// setTime fills the variables of the time, in the zone of this machine.
func (tx *Transaction) setTime(now time.Time) {
	s := &tx.singles
	s[variables.TimeEpoch] = strconv.FormatInt(now.Unix(), 10)
	s[variables.Time] = now.Format(time.TimeOnly)
	s[variables.TimeHour], s[variables.TimeMin], s[variables.TimeSec] = now.Format("15"), now.Format("04"), now.Format("05")
	s[variables.TimeYear], s[variables.TimeMon], s[variables.TimeDay] = strconv.Itoa(now.Year()), strconv.Itoa(int(now.Month())), strconv.Itoa(now.Day())
	s[variables.TimeWday] = strconv.Itoa(int(now.Weekday()))
}

// Close gives the transaction back. It holds nothing of the request then.
func (tx *Transaction) Close() {
	e := tx.engine
	clear(tx.values)
	clear(tx.present)
	clear(tx.removed)
	clear(tx.muted)
	clear(tx.narrowed)
	for _, list := range [...][]Datum{tx.data, tx.kept, tx.matchedList} {
		clear(list[:cap(list)])
	}
	clear(tx.pending[:cap(tx.pending)])
	clear(tx.scratch[:cap(tx.scratch)])
	clear(tx.forms[:cap(tx.forms)])
	clear(tx.parts[:cap(tx.parts)])
	clear(tx.matches)
	for v, list := range tx.keyed {
		if list != nil {
			clear(list)
			tx.keyed[v] = kept(list)
		}
	}
	tx.data, tx.kept, tx.matchedList, tx.matches = kept(tx.data), kept(tx.kept), kept(tx.matchedList), kept(tx.matches)
	tx.scratch, tx.forms, tx.parts, tx.pending = kept(tx.scratch), kept(tx.forms), kept(tx.parts), kept(tx.pending)
	tx.name, tx.brackets, tx.requestBody, tx.responseBody = kept(tx.name), kept(tx.brackets), kept(tx.requestBody), kept(tx.responseBody)
	for s := range tx.lit {
		clear(tx.lit[s])
	}
	for i := range tx.looks {
		l := &tx.looks[i]
		l.text = ""
		for j := range l.forms[:cap(l.forms)] {
			l.forms[:cap(l.forms)][j].text = ""
		}
	}
	if cap(tx.looks) > keptLooks {
		tx.looks = nil
	}
	*tx = Transaction{engine: e, lit: tx.lit, rx: tx.rx, asked: tx.asked, looks: tx.looks[:0], pieces: tx.pieces, keyed: tx.keyed, values: tx.values, present: tx.present, removed: tx.removed, muted: tx.muted, narrowed: tx.narrowed,
		matches: tx.matches, data: tx.data, kept: tx.kept, pending: tx.pending, matchedList: tx.matchedList, scratch: tx.scratch, forms: tx.forms, parts: tx.parts, name: tx.name, brackets: tx.brackets, arena: tx.arena,
		requestBody: tx.requestBody, responseBody: tx.responseBody}
	e.pool.Put(tx)
}

// Of a transaction that much is kept for the next one: each list up to so many bytes, and so many looks, which are the largest.
const (
	keptBytes = 256 << 10
	keptLooks = 4096
)

// kept returns a list emptied; nil where it grew to more than is kept.
func kept[T any](list []T) []T {
	var one T
	if cap(list)*int(unsafe.Sizeof(one)) > keptBytes {
		return nil
	}
	return list[:0]
}

// Connection says who speaks to whom.
func (tx *Transaction) Connection(client string, clientPort int, server string, serverPort int) {
	tx.singles[variables.RemoteAddr], tx.singles[variables.RemotePort] = client, strconv.Itoa(clientPort)
	tx.singles[variables.ServerAddr], tx.singles[variables.ServerPort] = server, strconv.Itoa(serverPort)
}

// URI takes the request line.
func (tx *Transaction) URI(uri, method, protocol string) {
	s := &tx.singles
	s[variables.RequestMethod], s[variables.RequestProtocol], s[variables.RequestURIRaw] = method, protocol, uri
	s[variables.RequestLine] = method + " " + uri + " " + protocol
	uri, _, _ = strings.Cut(uri, "#")
	path, query := "", ""
	if parsed, err := url.ParseRequestURI(uri); err != nil {
		s[variables.URIParseError] = "1"
		s[variables.RequestURI] = uri
		path, query, _ = strings.Cut(uri, "?")
	} else {
		s[variables.RequestURI] = parsed.String()
		path, query = parsed.Path, parsed.RawQuery
	}
	tx.form(variables.ArgsGet, query)
	s[variables.RequestFilename], s[variables.RequestBasename], s[variables.QueryString] = path, path, query
	if at := strings.LastIndexAny(path, `/\`); at >= 0 && at+1 < len(path) {
		s[variables.RequestBasename] = path[at+1:]
	}
}

// form takes arguments apart, up to the limit.
func (tx *Transaction) form(v variables.RuleVariable, text string) {
	for text != "" {
		var pair string
		if pair, text, _ = strings.Cut(text, "&"); pair == "" {
			continue
		}
		if len(tx.keyed[v]) >= tx.engine.settings.ArgumentsLimit {
			tx.singles[variables.ArgumentsLimitReached] = "1"
			return
		}
		key, value, _ := strings.Cut(pair, "=")
		tx.add(v, unescape(&tx.arena, key), unescape(&tx.arena, value))
	}
}

// unescape resolves percent signs and plus signs, and leaves what is none as it is.
func unescape(a *transform.Arena, s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	out := a.Room(len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = nibble(s[i+1])<<4 | nibble(s[i+2])
			i += 2
		}
		out = append(out, c)
	}
	return a.Keep(out)
}

func nibble(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&^0x20 - 'A' + 10
}

// ServerName says which host was asked for.
func (tx *Transaction) ServerName(name string) { tx.singles[variables.ServerName] = name }

// RequestHeader adds a header field, in the order of the request.
func (tx *Transaction) RequestHeader(name, value string) {
	if name == "" {
		return
	}
	tx.add(variables.RequestHeaders, name, value)
	fields := tx.keyed[variables.RequestHeaders]
	switch lower := fields[len(fields)-1].lower; lower {
	case "content-type":
		// The first decides how the body is read: servers take that one.
		for i := range fields[:len(fields)-1] {
			if fields[i].lower == lower {
				return
			}
		}
		media := strings.TrimSpace(strings.ToLower(value))
		if strings.HasPrefix(media, "application/x-www-form-urlencoded") {
			tx.singles[variables.ReqbodyProcessor] = "URLENCODED"
		} else if strings.HasPrefix(media, "multipart/form-data") {
			tx.singles[variables.ReqbodyProcessor] = "MULTIPART"
		}
	case "cookie":
		tx.cookies(value)
	}
}

func (tx *Transaction) cookies(text string) {
	text = trimControls(text)
	for text != "" {
		var part string
		part, text, _ = strings.Cut(text, ";")
		name, value, _ := strings.Cut(trimControls(part), "=")
		if name, value = trimControls(name), trimControls(value); name != "" || value != "" {
			tx.add(variables.RequestCookies, name, value)
		}
	}
}

func trimControls(s string) string {
	return strings.TrimFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

// RequestHeaders runs phase 1.
func (tx *Transaction) RequestHeaders() *Interruption {
	if tx.mode != types.RuleEngineOff && tx.phase < seclang.RequestHeaders && tx.interruption == nil {
		tx.eval(seclang.RequestHeaders)
	}
	return tx.interruption
}

// RequestBodyWanted reports whether the rules look at the request's body.
func (tx *Transaction) RequestBodyWanted() bool { return tx.requestBodyAccess }

// WriteRequestBody takes a piece of the request's body. What lies beyond the limit is refused or left out, as the program says;
// phase 2 is run then.
func (tx *Transaction) WriteRequestBody(b []byte) *Interruption {
	if tx.mode == types.RuleEngineOff || !tx.requestBodyAccess || int64(len(tx.requestBody)) == tx.requestBodyLimit {
		return tx.interruption
	}
	if int64(len(tx.requestBody)+len(b)) < tx.requestBodyLimit {
		tx.requestBody = append(tx.requestBody, b...)
		return tx.interruption
	}
	tx.singles[variables.InboundDataError] = "1"
	if tx.engine.settings.RequestBodyReject {
		tx.interruption = &Interruption{Action: "deny", Status: 413}
		return tx.interruption
	}
	tx.requestBody = append(tx.requestBody, b[:tx.requestBodyLimit-int64(len(tx.requestBody))]...)
	return tx.RequestBody()
}

// RequestBody runs phase 2, once, over what was written.
func (tx *Transaction) RequestBody() *Interruption {
	if tx.mode == types.RuleEngineOff || tx.interruption != nil || tx.phase != seclang.RequestHeaders {
		return tx.interruption
	}
	if tx.requestBodyAccess && len(tx.requestBody) > 0 {
		processor := tx.singles[variables.ReqbodyProcessor]
		if tx.forceRequestBody {
			processor = cmpOr(processor, "URLENCODED")
			tx.singles[variables.ReqbodyProcessor] = processor
		}
		if err := tx.parse(strings.ToLower(processor)); err != nil {
			tx.singles[variables.ReqbodyError], tx.singles[variables.ReqbodyProcessorError] = "1", "1"
			tx.singles[variables.ReqbodyProcessorErrorMsg] = err.Error()
			tx.singles[variables.ReqbodyErrorMsg] = fmt.Sprintf("%s: %v", processor, err)
		}
	}
	tx.eval(seclang.RequestBody)
	return tx.interruption
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// ResponseHeader adds a header field of the response.
func (tx *Transaction) ResponseHeader(name, value string) {
	if name == "" {
		return
	}
	tx.add(variables.ResponseHeaders, name, value)
	if strings.EqualFold(name, "content-type") {
		tx.singles[variables.ResponseContentType], _, _ = strings.Cut(value, ";")
	}
}

// ResponseHeaders runs phase 3.
func (tx *Transaction) ResponseHeaders(status int, protocol string) *Interruption {
	if tx.mode != types.RuleEngineOff && tx.phase < seclang.ResponseHeaders && tx.interruption == nil {
		tx.singles[variables.ResponseStatus], tx.singles[variables.ResponseProtocol] = strconv.Itoa(status), protocol
		tx.eval(seclang.ResponseHeaders)
	}
	return tx.interruption
}

// ResponseBodyWanted reports whether the rules look at the response's body.
func (tx *Transaction) ResponseBodyWanted() bool {
	return tx.responseBodyAccess && (tx.forceResponseBody || slices.Contains(tx.engine.settings.ResponseTypes, tx.singles[variables.ResponseContentType]))
}

// WriteResponseBody takes a piece of the response's body, as WriteRequestBody does.
func (tx *Transaction) WriteResponseBody(b []byte) *Interruption {
	if tx.mode == types.RuleEngineOff || !tx.responseBodyAccess || int64(len(tx.responseBody)) == tx.responseBodyLimit {
		return tx.interruption
	}
	if int64(len(tx.responseBody)+len(b)) < tx.responseBodyLimit {
		tx.responseBody = append(tx.responseBody, b...)
		return tx.interruption
	}
	tx.singles[variables.OutboundDataError] = "1"
	if tx.engine.settings.ResponseBodyReject {
		tx.interruption = &Interruption{Action: "deny", Status: 500}
		return tx.interruption
	}
	tx.responseBody = append(tx.responseBody, b[:tx.responseBodyLimit-int64(len(tx.responseBody))]...)
	return tx.ResponseBody()
}

// ResponseBody runs phase 4, once, over what was written.
func (tx *Transaction) ResponseBody() *Interruption {
	if tx.mode == types.RuleEngineOff || tx.interruption != nil || tx.phase != seclang.ResponseHeaders {
		return tx.interruption
	}
	if tx.ResponseBodyWanted() {
		tx.parseResponse()
	}
	tx.eval(seclang.ResponseBody)
	return tx.interruption
}

// Logging runs phase 5.
func (tx *Transaction) Logging() {
	if tx.mode != types.RuleEngineOff {
		tx.eval(seclang.Logging)
	}
}

// Matches returns the rules that matched, in their order.
func (tx *Transaction) Matches() []Match { return tx.matches }

// Interruption returns what ended the transaction, or would have if rules did not only detect.
func (tx *Transaction) Interruption() (it *Interruption, acted bool) {
	if tx.interruption != nil {
		return tx.interruption, true
	}
	return tx.would, false
}

// Variable returns the text of a variable that has no keys.
func (tx *Transaction) Variable(v variables.RuleVariable) string { return tx.singles[v] }
