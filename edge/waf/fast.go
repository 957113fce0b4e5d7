package waf

import (
	"net/http"
	"strconv"

	"github.com/corazawaf/coraza/v3/types/variables"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf/engine"
)

// fast is a transaction of our engine.
type fast struct{ tx *engine.Transaction }

func (f *fast) mute(rules []int) { f.tx.Mute(rules) }

func (f *fast) request(x *edge.Exchange, level int) bool {
	r, text := x.Request, strconv.Itoa(level)
	f.tx.SetTX("blocking_paranoia_level", text)
	f.tx.SetTX("detection_paranoia_level", text)
	f.tx.Connection(x.Client.Addr().String(), int(x.Client.Port()), x.Server.Addr().String(), int(x.Server.Port()))
	f.tx.URI(r.RequestURI, r.Method, r.Proto)
	f.tx.ServerName(r.Host)
	requestFields(r, f.tx.RequestHeader)
	f.tx.RequestHeaders()
	return f.tx.RequestBodyWanted()
}

func (f *fast) requestBody(body []byte) (reading, error) {
	if len(body) > 0 {
		f.tx.WriteRequestBody(body)
	}
	f.tx.RequestBody()
	return reading{
		unparsed: f.set(variables.ReqbodyError) || f.set(variables.MultipartStrictError),
		flooded:  f.set(variables.ArgumentsLimitReached),
	}, nil
}

func (f *fast) response(protocol string, status int, header http.Header) bool {
	fields(header, f.tx.ResponseHeader)
	f.tx.ResponseHeaders(status, protocol)
	return f.tx.ResponseBodyWanted()
}

func (f *fast) responseBody(body []byte) error {
	if len(body) > 0 {
		f.tx.WriteResponseBody(body)
	}
	f.tx.ResponseBody()
	return nil
}

func (f *fast) found(level int) found {
	var out found
	out.inbound, out.outbound = scores(level, func(key string) int {
		text, _ := f.tx.TX(key)
		n, _ := strconv.Atoi(text)
		return n
	})
	for _, m := range f.tx.Matches() {
		r := m.Rule
		if !told(r.ID, r.Log, m.Message) {
			continue
		}
		one := match{id: r.ID, message: m.Message, severity: r.Severity, tags: r.Tags}
		for i := range m.Data {
			if name := m.Data[i].Variable.Name(); namesMatch(name) {
				one.variable, one.key = name, m.Data[i].Key
				break
			}
		}
		out.matches = append(out.matches, one)
	}
	return out
}

func (f *fast) set(v variables.RuleVariable) bool {
	n, _ := strconv.Atoi(f.tx.Variable(v))
	return n != 0
}

func (f *fast) close(broken bool) {
	if !broken {
		f.tx.Close()
	}
}
