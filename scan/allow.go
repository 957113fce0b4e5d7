package scan

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
)

const allowMark = "testudo:allow"

// consent is what a comment beside a finding says of it.
type consent uint8

const (
	notAllowed  consent = iota
	unexplained         // a comment allows it and does not say why: it does not count
	isAllowed
)

// allowed says whether a comment allows the rule's finding in that line: on the line
// itself, or on the line above if that holds nothing else. The form is
//
//	testudo:allow RULE[,RULE...] why it is fine
func allowed(data []byte, line int, rule string) consent {
	if line < 1 || !bytes.Contains(data, []byte(allowMark)) {
		return notAllowed
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
			return max(allows(text, rule, false), allows(above, rule, true))
		}
		if at += end + 1; at > len(data) {
			return notAllowed
		}
	}
	return notAllowed
}

func allows(line []byte, rule string, alone bool) consent {
	before, after, ok := bytes.Cut(line, []byte(allowMark))
	if !ok || alone && bytes.ContainsFunc(before, isContent) {
		return notAllowed
	}
	fields := strings.Fields(string(after[:min(len(after), 1000)]))
	if len(fields) == 0 || !slices.Contains(strings.Split(fields[0], ","), rule) {
		return notAllowed
	}
	if strings.ContainsFunc(strings.Join(fields[1:], ""), unicode.IsLetter) {
		return isAllowed
	}
	return unexplained
}

// isContent tells text from what begins a comment.
func isContent(r rune) bool {
	return !strings.ContainsRune(" \t\r#/*-<!;%\"'(:", r)
}
