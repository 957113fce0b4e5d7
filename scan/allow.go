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

// consents are the lines of a file that hold the mark. They are looked for once, when something is found in the file: a hostile
// one has thousands of findings.
type consents struct {
	read  bool
	lines []markedLine
}

type markedLine struct {
	number int
	text   []byte
}

// allowed says whether a comment in data allows the rule's finding in that line: on the line
// itself, or on the line above if that holds nothing else. The form is
//
//	testudo:allow RULE[,RULE...] why it is fine
func (c *consents) allowed(data []byte, line int, rule string) consent {
	if line < 1 {
		return notAllowed
	}
	if !c.read {
		c.read, c.lines = true, markedLines(data)
	}
	says := notAllowed
	at, _ := slices.BinarySearchFunc(c.lines, line-1, func(l markedLine, n int) int { return l.number - n })
	for _, l := range c.lines[at:min(at+2, len(c.lines))] {
		if l.number == line-1 || l.number == line {
			says = max(says, allows(l.text, rule, l.number < line))
		}
	}
	return says
}

// markedLines returns the lines that hold the mark, in their order.
func markedLines(data []byte) []markedLine {
	var out []markedLine
	for number, at := 1, 0; ; {
		i := bytes.Index(data[at:], []byte(allowMark))
		if i < 0 {
			return out
		}
		number += bytes.Count(data[at:at+i], []byte("\n"))
		start, end := at, len(data)
		if n := bytes.LastIndexByte(data[at:at+i], '\n'); n >= 0 {
			start = at + n + 1
		}
		if n := bytes.IndexByte(data[at+i:], '\n'); n >= 0 {
			end = at + i + n
		}
		out = append(out, markedLine{number, data[start:end]})
		if end == len(data) {
			return out
		}
		number, at = number+1, end+1
	}
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
