package native

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
)

// The bounds of a file's structure. Within them no file makes the parser's stack deep.
const (
	maxDepth   = 32     // nested lists and maps
	maxTokens  = 200000 // of a file
	maxPerLine = 64     // list entries and maps that begin in one line
)

// source is a rule file that is being read.
type source struct {
	name     string
	lines    []string
	rule     string // id of the rule that is being read, for its problems
	problems policy.Problems
}

// problem notes what is wrong at a token.
func (s *source) problem(tk *token.Token, hint, format string, args ...any) {
	p := policy.Problem{File: s.name, Line: 1, Column: 1, Rule: s.rule, Message: fmt.Sprintf(format, args...), Hint: hint}
	if tk != nil && tk.Position != nil {
		p.Line, p.Column = tk.Position.Line, max(1, tk.Position.Column)
	}
	s.problems = append(s.problems, p)
}

// parse returns the bodies of the documents of a file.
func (s *source) parse(text string) []ast.Node {
	tokens := lexer.Tokenize(text)
	if !s.bounded(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) {
			s.problem(syntax.Token, yamlHint(syntax.Message), "YAML: %s", policy.Printable(syntax.Message, 200))
		} else {
			s.problem(nil, "", "YAML: %s", policy.Printable(err.Error(), 200))
		}
		return nil
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	return bodies
}

// yamlHint helps with what people get wrong most.
func yamlHint(message string) string {
	if strings.Contains(message, "mapping value is not allowed") {
		return `text that holds ": " needs quotes, or a block: key: |`
	}
	return ""
}

// bounded refuses what rule files have no use for and what would cost too much to
// parse: anchors and aliases (with them a small file can stand for an endless one), tags,
// directives, and deep nesting.
func (s *source) bounded(tokens token.Tokens) bool {
	if len(tokens) > maxTokens {
		s.problem(nil, "split it", "more than %d YAML tokens", maxTokens)
		return false
	}
	depth, line, onLine := 0, 0, 0
	indents := []int{}
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, onLine = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.AnchorType, token.AliasType:
			s.problem(tk, "write the value out", "anchors and aliases are not part of rule files")
			return false
		case token.MergeKeyType:
			s.problem(tk, "write the keys out", "merge keys are not part of rule files")
			return false
		case token.TagType:
			s.problem(tk, "leave the tag out: a value's kind follows from its key", "tags are not part of rule files")
			return false
		case token.DirectiveType:
			s.problem(tk, "leave it out", "directives are not part of rule files")
			return false
		case token.MappingKeyType:
			s.problem(tk, "write key: value", "keys written with a question mark are not part of rule files")
			return false
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.SequenceEntryType:
			onLine++
		case token.MappingValueType:
			// A block map's depth shows in its indentation.
			if depth == 0 {
				onLine++
				for len(indents) > 0 && indents[len(indents)-1] >= tk.Position.Column {
					indents = indents[:len(indents)-1]
				}
				indents = append(indents, tk.Position.Column)
			}
		case token.InvalidType:
			s.problem(tk, yamlHint(tk.Error), "YAML: %s", policy.Printable(tk.Error, 200))
			return false
		}
		if depth > maxDepth || onLine > maxPerLine || len(indents) > 4*maxDepth {
			s.problem(tk, "", "nested too deeply")
			return false
		}
	}
	return true
}

// pair is an entry of a map.
type pair struct {
	key   string
	at    *token.Token
	value ast.Node
}

// pairs returns the entries of a map in the order they stand; nil and false, with a
// problem noted, where the node is none. What says what the map is, for the problem.
func (s *source) pairs(n ast.Node, what string) ([]pair, bool) {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		s.problem(tokenOf(n), "", "%s must be a map of keys and values, not %s", what, kindOf(n))
		return nil, false
	}
	all := make([]pair, 0, len(entries))
	for _, en := range entries {
		tk := en.Key.GetToken()
		if _, ok := en.Key.(*ast.NullNode); ok || tk == nil {
			s.problem(tk, "", "a key of %s is empty", what)
			return nil, false
		}
		all = append(all, pair{tk.Value, tk, en.Value})
	}
	return all, true
}

// known notes a problem for every key that is not among keys.
func (s *source) known(pairs []pair, what string, keys ...string) bool {
	ok := true
	for _, p := range pairs {
		if slices.Contains(keys, p.key) {
			continue
		}
		hint := "known keys: " + strings.Join(keys, ", ")
		if near := spell.Nearest(p.key, keys); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		s.problem(p.at, hint, "unknown key %q in %s", policy.Printable(p.key, 100), what)
		ok = false
	}
	return ok
}

// tokenOf returns the token where a node begins.
func tokenOf(n ast.Node) *token.Token {
	switch n := n.(type) {
	case nil:
		return nil
	case *ast.MappingNode:
		if len(n.Values) > 0 && n.Start != nil && n.Start.Type != token.MappingStartType {
			return n.Values[0].Key.GetToken()
		}
	case *ast.MappingValueNode:
		return n.Key.GetToken()
	}
	return n.GetToken()
}

// kindOf names a node as people do.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case nil, *ast.NullNode:
		return "empty"
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a map"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return "true or false"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	}
	return "text"
}

// scalar is a text, a number or a truth value as it is written.
type scalar struct {
	text string
	at   *token.Token
	how  style
}

// scalar returns the node's value as text; false, with a problem noted, where it has none.
func (s *source) scalar(n ast.Node, what string) (scalar, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		how := plainScalar
		switch n.Token.Type {
		case token.SingleQuoteType:
			how = singleQuoted
		case token.DoubleQuoteType:
			how = doubleQuoted
		}
		return scalar{text: n.Value, at: n.Token, how: how}, true
	case *ast.LiteralNode:
		return scalar{text: n.Value.Value, at: n.Start, how: block}, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		tk := n.GetToken()
		return scalar{text: tk.Value, at: tk}, true
	}
	s.problem(tokenOf(n), "", "%s must be text, not %s", what, kindOf(n))
	return scalar{}, false
}

// align returns where the characters of the scalar stand in the file.
func (s *source) align(v scalar) alignment {
	return align(s.lines, place{v.at.Position.Line, v.at.Position.Column}, v.how, v.text)
}

// scalars returns a list of texts; a single text is a list of one.
func (s *source) scalars(n ast.Node, what string) ([]scalar, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		v, ok := s.scalar(n, what)
		return []scalar{v}, ok
	}
	all := make([]scalar, 0, len(seq.Values))
	for _, item := range seq.Values {
		v, ok := s.scalar(item, "an entry of "+what)
		if !ok {
			return nil, false
		}
		all = append(all, v)
	}
	return all, true
}
