package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// TestTraceFits: whatever a process calls itself, the tree stays a tree of 80 columns.
func TestTraceFits(t *testing.T) {
	hostile := "sh -c '\x1b[2J\x1b]0;owned\a" + strings.Repeat("ä", 200) + "\n  request forged\r\u202e'"
	tr := console.Trace{Request: "01a203b3-7f4c-7d05-a2a8-86a4d0de7a31", More: true}
	for depth := range 20 {
		tr.Lines = append(tr.Lines, console.TraceLine{Depth: depth, Kind: "process", Text: hostile, Detail: hostile, PID: 4194304, Joined: "translated socket", Unsure: true,
			Decision: signal.Deny, Rules: []string{"a-rule", strings.Repeat("long", 50)}})
	}
	var b strings.Builder
	printTrace(&b, &tr)
	for _, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if strings.ContainsAny(line, "\x1b\a\r\u202e") || strings.HasPrefix(strings.TrimSpace(line), "request forged") {
			t.Errorf("%q", line)
		}
		if n := utf8.RuneCountInString(line); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}
