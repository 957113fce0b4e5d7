package coverage

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/corazawaf/coraza-coreruleset/v4/tests"

	"github.com/testudo-sec/testudo/edge/waf/ftw"
)

// Corpus is known attacks. It is immutable, and may be shared.
type Corpus struct {
	Attacks []Attack
	// Payloads are the values in the attacks, each once.
	Payloads []Payload
}

// Attack is a request that a rule is to match.
type Attack struct {
	Name string // of the test, as in 942100-1; of those with several requests, 942100-1.2
	Rule int    // that is to match

	request message
}

// Payload is a value of an attack.
type Payload struct {
	Attack string // name of the first that has it
	Text   string
}

// message is a request, of which one that net/http knows is made each time.
type message struct {
	method, uri, proto, host string
	header                   http.Header
	coding                   []string
	body                     []byte
}

func (m *message) request() *http.Request {
	r := &http.Request{Method: m.method, RequestURI: m.uri, Proto: m.proto, Host: m.host, Header: m.header, TransferEncoding: m.coding, URL: &url.URL{}, Body: http.NoBody}
	_, r.URL.RawQuery, _ = strings.Cut(m.uri, "?")
	if len(m.body) > 0 {
		r.ContentLength, r.Body = int64(len(m.body)), io.NopCloser(bytes.NewReader(m.body))
	}
	return r
}

// Bounds of the values that are taken for payloads, in bytes.
const (
	minPayload = 3
	maxPayload = 4 << 10
)

// Load reads the regression tests of the Core Rule Set that ships. It takes some seconds of CPU: keep what it returns.
func Load() (*Corpus, error) {
	all, err := ftw.Read(tests.FS, "*/*.yaml")
	if err != nil {
		return nil, err
	}
	return corpusOf(all), nil
}

// Every returns a sample of the corpus: each nth attack and payload.
func (c *Corpus) Every(n int) *Corpus {
	out := &Corpus{}
	for i := 0; i < len(c.Attacks); i += n {
		out.Attacks = append(out.Attacks, c.Attacks[i])
	}
	for i := 0; i < len(c.Payloads); i += n {
		out.Payloads = append(out.Payloads, c.Payloads[i])
	}
	return out
}

func corpusOf(all []ftw.Test) *Corpus {
	c := &Corpus{}
	seen := map[string]bool{}
	for i := range all {
		t := &all[i]
		for s := range t.Stages {
			expected := t.Stages[s].Output.Log.Expect
			at := slices.IndexFunc(expected, attacks)
			if at < 0 {
				continue
			}
			m, ok := read(t.Stages[s].Bytes())
			if !ok {
				continue // no server takes it
			}
			a := Attack{Name: t.Name, Rule: expected[at], request: m}
			if len(t.Stages) > 1 {
				a.Name = fmt.Sprintf("%s.%d", t.Name, s+1)
			}
			c.Attacks = append(c.Attacks, a)
			for _, text := range values(&m) {
				if text = strings.TrimRight(text, "\r\n"); len(text) >= minPayload && len(text) <= maxPayload && !seen[text] {
					seen[text] = true
					c.Payloads = append(c.Payloads, Payload{a.Name, text})
				}
			}
		}
	}
	return c
}

// attacks reports whether a rule is one about requests. The last of them sum up.
func attacks(rule int) bool { return rule >= 911000 && rule < 949000 }

// read takes a request apart as the edge's server does.
func read(raw []byte) (message, bool) {
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return message{}, false
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a body shorter than it says is judged as it is
	return message{method: r.Method, uri: r.RequestURI, proto: r.Proto, host: r.Host, header: r.Header, coding: r.TransferEncoding, body: body}, true
}

// values returns the values of a request that its sender chooses freely.
func values(m *message) []string {
	var out []string
	form := func(text string) {
		for pair := range strings.SplitSeq(text, "&") {
			_, value, _ := strings.Cut(pair, "=")
			if plain, err := url.QueryUnescape(value); err == nil {
				value = plain
			}
			out = append(out, value)
		}
	}
	_, query, _ := strings.Cut(m.uri, "?")
	form(query)
	switch media := strings.ToLower(m.header.Get("Content-Type")); {
	case strings.Contains(media, "json"):
		var tree any
		if json.Unmarshal(m.body, &tree) == nil {
			out = appendStrings(out, tree)
		}
	case strings.HasPrefix(media, "application/x-www-form-urlencoded"):
		form(string(m.body))
	}
	for _, name := range slices.Sorted(maps.Keys(m.header)) {
		list := m.header[name]
		switch name {
		case "Accept", "Accept-Encoding", "Accept-Language", "Connection", "Content-Length", "Content-Type", "Transfer-Encoding":
			continue
		case "Cookie":
			for pair := range strings.SplitSeq(strings.Join(list, ";"), ";") {
				if _, value, ok := strings.Cut(pair, "="); ok {
					out = append(out, value)
				}
			}
			continue
		}
		out = append(out, list...)
	}
	return out
}

func appendStrings(out []string, tree any) []string {
	switch v := tree.(type) {
	case string:
		out = append(out, v)
	case []any:
		for _, e := range v {
			out = appendStrings(out, e)
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(v)) {
			out = appendStrings(out, v[name])
		}
	}
	return out
}
