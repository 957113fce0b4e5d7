package waf

import (
	"net/http"
	"slices"

	"github.com/corazawaf/coraza/v3/types"

	"github.com/testudo-sec/testudo/edge"
)

// transaction is one exchange before the engine that executes the rules. Its methods are called in the order in which they stand here.
type transaction interface {
	// mute has rules, by id, count for nothing: neither for scores nor for decisions of their own.
	mute(rules []int)
	// request runs phase 1 at a paranoia level, and reports whether the rules look at bodies.
	request(x *edge.Exchange, level int) (body bool)
	// requestBody runs phase 2.
	requestBody(body []byte) (reading, error)
	// response runs phase 3, and reports whether the rules look at the body.
	response(protocol string, status int, header http.Header) (body bool)
	// responseBody runs phase 4.
	responseBody(body []byte) error
	// found tells what the rules found so far, with scores up to a level. It may be asked at any time.
	found(level int) found
	// close frees what it holds, which is not used again where broken: it may be in any state.
	close(broken bool)
}

// reading is what became of the request's body.
type reading struct {
	unparsed bool // it does not parse, or not in one way
	flooded  bool // the request has more arguments than rules looked at
}

type found struct {
	inbound, outbound int // scores
	matches           []match
}

// match is a rule that matched and is meant for people.
type match struct {
	id       int
	message  string
	severity types.RuleSeverity
	tags     []string
	variable string // in which it matched first, "" for none
	key      string
}

// told reports whether a match is for people.
func told(id int, log bool, message string) bool { return log && message != "" && !bookkeeping(id) }

// namesMatch reports whether a variable is worth telling of as the place of a match.
func namesMatch(variable string) bool {
	return variable != "" && variable != "TX" && variable != "UNKNOWN"
}

// scoreKeys are the keys of TX that hold the scores of each level.
func scoreKeys() (inbound, outbound [4]string) {
	return [4]string{"inbound_anomaly_score_pl1", "inbound_anomaly_score_pl2", "inbound_anomaly_score_pl3", "inbound_anomaly_score_pl4"},
		[4]string{"outbound_anomaly_score_pl1", "outbound_anomaly_score_pl2", "outbound_anomaly_score_pl3", "outbound_anomaly_score_pl4"}
}

// scores sums up to a level what get returns of each.
func scores(level int, get func(key string) int) (inbound, outbound int) {
	in, out := scoreKeys()
	for i := range min(level, len(in)) {
		inbound += get(in[i])
		outbound += get(out[i])
	}
	return inbound, outbound
}

// fields calls yield for each field of a header, in the order of the names. Those of one name keep their order.
func fields(header http.Header, yield func(name, value string)) {
	var room [32]string
	names := room[:0]
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range header[name] {
			yield(name, value)
		}
	}
}

// requestFields calls yield for each field of a request's header as it came: net/http takes some out of it.
func requestFields(r *http.Request, yield func(name, value string)) {
	if r.Host != "" {
		yield("Host", r.Host)
	}
	fields(r.Header, yield)
	for _, coding := range r.TransferEncoding {
		yield("Transfer-Encoding", coding)
	}
}
