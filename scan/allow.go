package scan

import (
	"bytes"
	"strings"
)

const allowMark = "testudo:allow"

// allowed reports whether a comment allows the rule's finding in that line: on the line
// itself, or on the line above if that holds nothing else. The form is
//
//	testudo:allow RULE[,RULE...] why it is fine
func allowed(data []byte, line int, rule string) bool {
	if line < 1 || !bytes.Contains(data, []byte(allowMark)) {
		return false
	}
	at := 0
	var above []byte
	for n := 1; n <= line; n++ {
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			end = len(data) - at
		}
		text := data[at : at+end]
		switch n {
		case line - 1:
			above = text
		case line:
			return allows(text, rule, false) || allows(above, rule, true)
		}
		if at += end + 1; at > len(data) {
			return false
		}
	}
	return false
}

func allows(line []byte, rule string, alone bool) bool {
	before, after, ok := bytes.Cut(line, []byte(allowMark))
	if !ok || alone && bytes.ContainsFunc(before, isContent) {
		return false
	}
	fields := strings.Fields(string(after[:min(len(after), 1000)]))
	if len(fields) == 0 {
		return false
	}
	for id := range strings.SplitSeq(fields[0], ",") {
		if id == rule {
			return true
		}
	}
	return false
}

// isContent tells text from what begins a comment.
func isContent(r rune) bool {
	return !strings.ContainsRune(" \t\r#/*-<!;%\"'(:", r)
}
