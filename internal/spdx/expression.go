package spdx

import (
	"fmt"
	"strings"
)

const (
	maxExpression = 4096
	maxNesting    = 50
)

// Expression is a licence expression: a leaf with a License, or And or Or over others.
type Expression struct {
	License   string // "MIT", "LicenseRef-ours", "DocumentRef-x:LicenseRef-y"
	OrLater   bool   // written with a "+"
	Exception string // after WITH
	And, Or   []*Expression
}

// Parse reads an expression. Identifiers are returned as SPDX writes them, deprecated ones in their current form; an unknown one is
// an error.
func Parse(s string) (*Expression, error) {
	if len(s) > maxExpression {
		return nil, fmt.Errorf("licence expression of %d bytes: the limit is %d", len(s), maxExpression)
	}
	p := &parser{tokens: tokens(s)}
	e, err := p.or(0)
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t != "" {
		return nil, fmt.Errorf("licence expression: %q is not expected here", t)
	}
	return e, nil
}

func tokens(s string) []string {
	s = strings.NewReplacer("(", " ( ", ")", " ) ").Replace(s)
	return strings.Fields(s)
}

type parser struct {
	tokens []string
	at     int
}

func (p *parser) peek() string {
	if p.at < len(p.tokens) {
		return p.tokens[p.at]
	}
	return ""
}

// take moves on if the next token is the word, in any case.
func (p *parser) take(word string) bool {
	if !strings.EqualFold(p.peek(), word) || p.peek() == "" {
		return false
	}
	p.at++
	return true
}

func (p *parser) or(depth int) (*Expression, error) {
	return p.list(depth, "OR", p.and, func(all []*Expression) *Expression { return &Expression{Or: all} })
}

func (p *parser) and(depth int) (*Expression, error) {
	return p.list(depth, "AND", p.leaf, func(all []*Expression) *Expression { return &Expression{And: all} })
}

func (p *parser) list(depth int, word string, next func(int) (*Expression, error), join func([]*Expression) *Expression) (*Expression, error) {
	var all []*Expression
	for {
		e, err := next(depth)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
		if !p.take(word) {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return join(all), nil
}

func (p *parser) leaf(depth int) (*Expression, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("licence expression: nested deeper than %d", maxNesting)
	}
	if p.take("(") {
		e, err := p.or(depth + 1)
		if err == nil && !p.take(")") {
			err = fmt.Errorf("licence expression: a parenthesis is not closed")
		}
		return e, err
	}
	word := p.peek()
	switch strings.ToUpper(word) {
	case "":
		return nil, fmt.Errorf("licence expression: ends where a licence is expected")
	case ")", "AND", "OR", "WITH":
		return nil, fmt.Errorf("licence expression: %q where a licence is expected", word)
	}
	p.at++
	e := &Expression{}
	if err := e.name(word); err != nil {
		return nil, err
	}
	if p.take("WITH") {
		id, ok := Exception(p.peek())
		if !ok {
			if id = p.peek(); !strings.HasPrefix(id, "AdditionRef-") {
				return nil, fmt.Errorf("licence expression: %q is not an exception of the SPDX list", id)
			}
		}
		e.Exception = id
		p.at++
	}
	return e, nil
}

// name sets the licence of a leaf.
func (e *Expression) name(word string) error {
	if isReference(word) {
		e.License = word
		return nil
	}
	id, ok := License(word)
	if !ok {
		stem, plus := strings.CutSuffix(word, "+")
		if id, ok = License(stem); !ok || !plus {
			return fmt.Errorf("licence expression: %q is not a licence of the SPDX list", word)
		}
		e.OrLater = true
	}
	id = Current(id)
	if stem, with, ok := strings.Cut(id, " WITH "); ok {
		id, e.Exception = stem, with
	}
	if e.OrLater {
		if stem, ok := strings.CutSuffix(id, "-only"); ok {
			id, e.OrLater = stem+"-or-later", false
		}
	}
	e.License = id
	return nil
}

// isReference tells "LicenseRef-x" and "DocumentRef-y:LicenseRef-x".
func isReference(word string) bool {
	if document, ref, ok := strings.Cut(word, ":"); ok {
		return strings.HasPrefix(document, "DocumentRef-") && idString(document) && isReference(ref) && !strings.Contains(ref, ":")
	}
	return strings.HasPrefix(word, "LicenseRef-") && len(word) > len("LicenseRef-") && idString(word)
}

func idString(s string) bool {
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return s != ""
}

// String writes the expression with the least parentheses.
func (e *Expression) String() string {
	switch {
	case len(e.Or) > 0:
		return join(e.Or, " OR ", false)
	case len(e.And) > 0:
		return join(e.And, " AND ", true)
	}
	s := e.License
	if e.OrLater {
		s += "+"
	}
	if e.Exception != "" {
		s += " WITH " + e.Exception
	}
	return s
}

func join(all []*Expression, word string, and bool) string {
	parts := make([]string, len(all))
	for i, e := range all {
		parts[i] = e.String()
		if len(e.Or) > 0 || len(e.And) > 0 && !and {
			if len(e.Or) > 0 {
				parts[i] = "(" + parts[i] + ")"
			}
		}
	}
	return strings.Join(parts, word)
}

// Leaves returns the leaves in order.
func (e *Expression) Leaves() []*Expression {
	if len(e.And)+len(e.Or) == 0 {
		return []*Expression{e}
	}
	var out []*Expression
	for _, c := range append(append([]*Expression{}, e.And...), e.Or...) {
		out = append(out, c.Leaves()...)
	}
	return out
}
