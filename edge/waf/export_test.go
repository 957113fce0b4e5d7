package waf

import (
	"net/http"

	"github.com/testudo-sec/testudo/edge"
)

// Break returns a firewall with the same rules whose inspections panic in one of their steps, as an engine with a mistake would:
// begin, request, body, response, reply, found or close.
func Break(w *WAF, step string) *WAF {
	b := *w
	b.broken = newBroken()
	b.begin = func(id string) transaction {
		if step == "begin" {
			fail()
		}
		return &breaking{w.begin(id), step}
	}
	return &b
}

// fail has an index out of range.
func fail() {
	var list []int
	list[len(list)]++
}

type breaking struct {
	transaction
	step string
}

func (b *breaking) at(step string) {
	if b.step == step {
		fail()
	}
}

func (b *breaking) request(x *edge.Exchange, level int) bool {
	b.at("request")
	return b.transaction.request(x, level)
}

func (b *breaking) requestBody(body []byte) (reading, error) {
	b.at("body")
	return b.transaction.requestBody(body)
}

func (b *breaking) response(protocol string, status int, header http.Header) bool {
	b.at("response")
	return b.transaction.response(protocol, status, header)
}

func (b *breaking) responseBody(body []byte) error {
	b.at("reply")
	return b.transaction.responseBody(body)
}

func (b *breaking) found(level int) found {
	b.at("found")
	return b.transaction.found(level)
}

func (b *breaking) close(broken bool) {
	b.at("close")
	b.transaction.close(broken)
}
