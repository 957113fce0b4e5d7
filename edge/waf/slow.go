package waf

import (
	"net/http"
	"strconv"

	"github.com/corazawaf/coraza/v3/collection"
	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge"
)

// slow is a transaction of Coraza.
type slow struct{ tx types.Transaction }

// variables returns the collection TX, in which the Core Rule Set keeps settings and scores.
func (s *slow) variables() collection.Map {
	if state, ok := s.tx.(plugintypes.TransactionState); ok {
		return state.Variables().TX()
	}
	return nil
}

// mute leaves the rules out: Coraza cannot have one match and not count.
func (s *slow) mute(rules []int) {
	if tx, ok := s.tx.(interface{ RemoveRuleByID(id int) }); ok {
		for _, id := range rules {
			tx.RemoveRuleByID(id)
		}
	}
}

func (s *slow) request(x *edge.Exchange, level int) bool {
	r := x.Request
	if tx := s.variables(); tx != nil {
		text := []string{strconv.Itoa(level)}
		tx.Set("blocking_paranoia_level", text)
		tx.Set("detection_paranoia_level", text)
	}
	s.tx.ProcessConnection(x.Client.Addr().String(), int(x.Client.Port()), x.Server.Addr().String(), int(x.Server.Port()))
	s.tx.ProcessURI(r.RequestURI, r.Method, r.Proto)
	s.tx.SetServerName(r.Host)
	requestFields(r, s.tx.AddRequestHeader)
	s.tx.ProcessRequestHeaders()
	return s.tx.IsRequestBodyAccessible()
}

func (s *slow) requestBody(body []byte) (reading, error) {
	if len(body) > 0 {
		if _, _, err := s.tx.WriteRequestBody(body); err != nil {
			return reading{}, err
		}
	}
	_, err := s.tx.ProcessRequestBody()
	return reading{
		unparsed: s.set(variables.ReqbodyError) || s.set(variables.MultipartStrictError),
		flooded:  s.set(variables.ArgumentsLimitReached),
	}, err
}

func (s *slow) response(protocol string, status int, header http.Header) bool {
	fields(header, s.tx.AddResponseHeader)
	s.tx.ProcessResponseHeaders(status, protocol)
	return s.tx.IsResponseBodyAccessible() && s.tx.IsResponseBodyProcessable()
}

func (s *slow) responseBody(body []byte) error {
	if len(body) > 0 {
		if _, _, err := s.tx.WriteResponseBody(body); err != nil {
			return err
		}
	}
	_, err := s.tx.ProcessResponseBody()
	return err
}

// logged is the part of a matched rule that says whether it is meant for people.
type logged interface{ Log() bool }

func (s *slow) found(level int) found {
	var out found
	tx := s.variables()
	out.inbound, out.outbound = scores(level, func(key string) int {
		sum := 0
		if tx != nil {
			for _, v := range tx.Get(key) {
				n, _ := strconv.Atoi(v)
				sum += n
			}
		}
		return sum
	})
	for _, m := range s.tx.MatchedRules() {
		r := m.Rule()
		if l, ok := m.(logged); !ok || !told(r.ID(), l.Log(), m.Message()) {
			continue
		}
		one := match{id: r.ID(), message: m.Message(), severity: r.Severity(), tags: r.Tags()}
		for _, data := range m.MatchedDatas() {
			if name := data.Variable().Name(); namesMatch(name) {
				one.variable, one.key = name, data.Key()
				break
			}
		}
		out.matches = append(out.matches, one)
	}
	return out
}

func (s *slow) set(v variables.RuleVariable) bool {
	state, ok := s.tx.(plugintypes.TransactionState)
	if !ok {
		return false
	}
	single, ok := state.Collection(v).(collection.Single)
	if !ok {
		return false
	}
	n, _ := strconv.Atoi(single.Get())
	return n != 0
}

// close removes what was written to disk, even where a step broke off.
func (s *slow) close(bool) { _ = s.tx.Close() }
