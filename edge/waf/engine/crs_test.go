package engine_test

import (
	"os"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/edge/waf/waftest"
	"github.com/testudo-sec/testudo/internal/require"
)

// parse takes a request apart without a look at what is wrong with it: what no server would take is judged as well.
func parse(raw string) *message {
	m := &message{}
	head, body, _ := strings.Cut(raw, "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	m.method, m.uri, _ = strings.Cut(lines[0], " ")
	if at := strings.LastIndexByte(m.uri, ' '); at >= 0 {
		m.uri, m.proto = m.uri[:at], m.uri[at+1:]
	}
	for _, l := range lines[1:] {
		name, value, _ := strings.Cut(l, ":")
		m.header = append(m.header, header{name, strings.TrimSpace(value)})
	}
	m.body = body
	return m
}

// TestRegression holds that the Core Rule Set's own regression tests come out as with Coraza, at all levels.
func TestRegression(t *testing.T) {
	tests := waftest.Read(t, require.Corpora(t))
	p := newPair(t, shipped)
	step := 40
	if os.Getenv("TESTUDO_LONG") != "" {
		step = 1
	}
	n := 0
	for i := 0; i < len(tests); i += step * require.Stride(5) {
		for s := range tests[i].Stages {
			for level := 1; level <= 4; level++ {
				m := parse(string(tests[i].Stages[s].Bytes()))
				m.level = level
				p.compare(t, m)
				n++
			}
		}
	}
	t.Logf("%d requests", n)
}
