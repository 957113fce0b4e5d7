package sigma

import (
	"strings"

	"github.com/testudo-sec/testudo/policy/match"
)

// wild is what a piece of a pattern stands for.
type wild uint8

const (
	literal wild = iota // the piece's text
	star                // any number of characters: *
	one                 // one character: ?
)

type piece struct {
	what wild
	text string // of a literal, never empty
}

// pattern is a Sigma text: literals and wildcards. An empty one is the empty text.
type pattern []piece

// parsePattern reads a text with its wildcards and escapes (rules specification, "Escape Character"). A backslash takes
// its meaning from *, ? and a backslash behind it, and stands for itself before everything else.
func parsePattern(s string) pattern {
	if !strings.ContainsAny(s, `*?\`) {
		return plain(s)
	}
	var p pattern
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && i+1 < len(s) && strings.IndexByte(`*?\`, s[i+1]) >= 0:
			i++
			b.WriteByte(s[i])
		case c == '*' || c == '?':
			p = p.add(literal, b.String())
			b.Reset()
			if c == '*' {
				p = p.add(star, "")
			} else {
				p = p.add(one, "")
			}
		default:
			b.WriteByte(c)
		}
	}
	return p.add(literal, b.String())
}

// plain returns the pattern of a text without wildcards.
func plain(s string) pattern { return pattern(nil).add(literal, s) }

// add appends a piece; literals are joined, and so are stars.
func (p pattern) add(what wild, text string) pattern {
	last := len(p) - 1
	switch {
	case what == literal && text == "":
		return p
	case what == literal && last >= 0 && p[last].what == literal:
		p[last].text += text
		return p
	case what == star && last >= 0 && p[last].what == star:
		return p
	}
	return append(p, piece{what, text})
}

func (p pattern) addAll(other pattern) pattern {
	for _, piece := range other {
		p = p.add(piece.what, piece.text)
	}
	return p
}

// around returns the pattern with a star before it, behind it, or both.
func (p pattern) around(before, behind bool) pattern {
	if !before && !behind {
		return p
	}
	all := make(pattern, 0, len(p)+2)
	if before {
		all = all.add(star, "")
	}
	all = all.addAll(p)
	if behind {
		all = all.add(star, "")
	}
	return all
}

// plainText returns the text of a pattern without wildcards.
func (p pattern) plainText() (string, bool) {
	switch {
	case len(p) == 0:
		return "", true
	case len(p) == 1 && p[0].what == literal:
		return p[0].text, true
	}
	return "", false
}

// op returns the operator that the pattern is to be compared with, and its constant: the narrowest one. OpExists is a
// star alone, which any value fits.
func (p pattern) op() (match.Op, string) {
	if s, ok := p.plainText(); ok {
		return match.OpEqual, s
	}
	inner, before, behind := p, p[0].what == star, p[len(p)-1].what == star
	if before {
		inner = inner[1:]
	}
	if len(inner) == 0 {
		return match.OpExists, ""
	}
	if behind {
		inner = inner[:len(inner)-1]
	}
	if s, ok := inner.plainText(); ok {
		switch {
		case before && behind:
			return match.OpContains, s
		case before:
			return match.OpSuffix, s
		case behind:
			return match.OpPrefix, s
		}
	}
	var b strings.Builder
	for _, piece := range p {
		switch piece.what {
		case star:
			b.WriteByte('*')
		case one:
			b.WriteByte('?')
		default:
			b.WriteString(match.GlobEscape(piece.text))
		}
	}
	return match.OpGlob, b.String()
}
