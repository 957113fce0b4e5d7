package rulefile

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

// File is a rule file that is being read.
type File struct {
	Name     string // as problems name it
	Lines    []string
	Rule     string // id of the rule that is being read, for its problems
	Problems policy.Problems
}

// Open returns the file ready to be read, and its text without byte order mark and carriage returns.
func Open(f policy.File) (File, string) {
	text := strings.ReplaceAll(strings.TrimPrefix(string(f.Text), "\ufeff"), "\r\n", "\n")
	return File{Name: f.Name, Lines: strings.Split(text, "\n")}, text
}

// Problem notes what is wrong at a token.
func (s *File) Problem(tk *token.Token, hint, format string, args ...any) {
	p := policy.Problem{File: s.Name, Line: 1, Column: 1, Rule: s.Rule, Message: fmt.Sprintf(format, args...), Hint: hint}
	if tk != nil && tk.Position != nil {
		// A carriage return alone ends a line for YAML, and for nobody else.
		p.Line, p.Column = max(1, min(tk.Position.Line, len(s.Lines))), max(1, tk.Position.Column)
	}
	s.Problems = append(s.Problems, p)
}

// Document is one document of a stream.
type Document struct {
	Text string
	Line int // lines of the file above its first
}

// Documents cuts a stream at the lines that begin with three dashes, where no document's content can stand (YAML 1.2.2,
// section 9.1.2). The parser that reads them loses what follows an empty document, so it is given one at a time.
func Documents(text string) []Document {
	var all []Document
	begin, first, line := 0, 0, 0
	for at := 0; at < len(text); line++ {
		end := strings.IndexByte(text[at:], '\n') + 1
		if end == 0 {
			end = len(text) - at
		}
		if l := text[at : at+end]; strings.HasPrefix(l, "---") && (len(l) == 3 || strings.IndexByte(" \t\r\n", l[3]) >= 0) {
			all = append(all, Document{text[begin:at], first})
			begin, first = at, line
		}
		at += end
	}
	return append(all, Document{text[begin:], first})
}

// Parse returns the bodies of the documents of a file; empty ones have none.
func (s *File) Parse(text string) []ast.Node {
	var bodies []ast.Node
	total := 0
	for _, doc := range Documents(text) {
		tokens := lexer.Tokenize(doc.Text)
		for _, tk := range tokens {
			tk.Position.Line += doc.Line
		}
		if total += len(tokens); total > maxTokens {
			s.Problem(nil, "split it", "more than %d YAML tokens", maxTokens)
			return nil
		}
		if !s.bounded(tokens) {
			return nil
		}
		file, err := parser.Parse(tokens, 0)
		if err != nil {
			var syntax *yaml.SyntaxError
			if errors.As(err, &syntax) {
				s.Problem(syntax.Token, yamlHint(syntax.Message), "YAML: %s", policy.Printable(syntax.Message, 200))
			} else {
				s.Problem(nil, "", "YAML: %s", policy.Printable(err.Error(), 200))
			}
			return nil
		}
		for _, doc := range file.Docs {
			if doc.Body != nil {
				bodies = append(bodies, doc.Body)
			}
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
func (s *File) bounded(tokens token.Tokens) bool {
	depth, line, onLine := 0, 0, 0
	indents := []int{}
	for _, tk := range tokens {
		if tk.Position.Line != line {
			line, onLine = tk.Position.Line, 0
		}
		switch tk.Type {
		case token.AnchorType, token.AliasType:
			s.Problem(tk, "write the value out", "anchors and aliases are not part of rule files")
			return false
		case token.MergeKeyType:
			s.Problem(tk, "write the keys out", "merge keys are not part of rule files")
			return false
		case token.TagType:
			s.Problem(tk, "leave the tag out: a value's kind follows from its key", "tags are not part of rule files")
			return false
		case token.DirectiveType:
			s.Problem(tk, "leave it out", "directives are not part of rule files")
			return false
		case token.MappingKeyType:
			s.Problem(tk, "write key: value", "keys written with a question mark are not part of rule files")
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
			s.Problem(tk, yamlHint(tk.Error), "YAML: %s", policy.Printable(tk.Error, 200))
			return false
		}
		if depth > maxDepth || onLine > maxPerLine || len(indents) > 4*maxDepth {
			s.Problem(tk, "", "nested too deeply")
			return false
		}
	}
	return true
}

// Pair is an entry of a map.
type Pair struct {
	Key   string
	At    *token.Token
	Value ast.Node
}

// Pairs returns the entries of a map in the order they stand; nil and false, with a
// problem noted, where the node is none. What says what the map is, for the problem.
func (s *File) Pairs(n ast.Node, what string) ([]Pair, bool) {
	var entries []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		entries = n.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{n}
	default:
		s.Problem(TokenOf(n), "", "%s must be a map of keys and values, not %s", what, KindOf(n))
		return nil, false
	}
	all := make([]Pair, 0, len(entries))
	for _, en := range entries {
		tk := en.Key.GetToken()
		if _, ok := en.Key.(*ast.NullNode); ok || tk == nil {
			s.Problem(tk, "", "a key of %s is empty", what)
			return nil, false
		}
		all = append(all, Pair{tk.Value, tk, en.Value})
	}
	return all, true
}

// Known notes a problem for every key that is not among keys.
func (s *File) Known(pairs []Pair, what string, keys ...string) bool {
	ok := true
	for _, p := range pairs {
		if slices.Contains(keys, p.Key) {
			continue
		}
		hint := "known keys: " + strings.Join(keys, ", ")
		if near := spell.Nearest(p.Key, keys); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		s.Problem(p.At, hint, "unknown key %q in %s", policy.Printable(p.Key, 100), what)
		ok = false
	}
	return ok
}

// TokenOf returns the token where a node begins.
func TokenOf(n ast.Node) *token.Token {
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

// KindOf names a node as people do.
func KindOf(n ast.Node) string {
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

// Scalar is a text, a number or a truth value as it is written.
type Scalar struct {
	Text string
	At   *token.Token
	how  style
}

// Scalar returns the node's value as text; false, with a problem noted, where it has none.
func (s *File) Scalar(n ast.Node, what string) (Scalar, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		how := plainScalar
		switch n.Token.Type {
		case token.SingleQuoteType:
			how = singleQuoted
		case token.DoubleQuoteType:
			how = doubleQuoted
		}
		return Scalar{Text: n.Value, At: n.Token, how: how}, true
	case *ast.LiteralNode:
		return Scalar{Text: n.Value.Value, At: n.Start, how: block}, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		tk := n.GetToken()
		return Scalar{Text: tk.Value, At: tk}, true
	}
	s.Problem(TokenOf(n), "", "%s must be text, not %s", what, KindOf(n))
	return Scalar{}, false
}

// Align returns where the characters of the scalar stand in the file.
func (s *File) Align(v Scalar) Alignment { return s.Span(v).Align() }

// Span is where a scalar stands in a file. Its characters' places are looked for when they are asked for: a line with a
// hundred thousand values would be walked over as often.
type Span struct {
	lines []string
	start Place
	how   style
	text  string
}

// Span returns where the scalar stands.
func (s *File) Span(v Scalar) Span {
	return Span{s.Lines, Place{v.At.Position.Line, v.At.Position.Column}, v.how, v.Text}
}

// Align returns where the characters of the scalar stand in the file.
func (s Span) Align() Alignment { return align(s.lines, s.start, s.how, s.text) }

// Scalars returns a list of texts; a single text is a list of one.
func (s *File) Scalars(n ast.Node, what string) ([]Scalar, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		v, ok := s.Scalar(n, what)
		return []Scalar{v}, ok
	}
	all := make([]Scalar, 0, len(seq.Values))
	for _, item := range seq.Values {
		v, ok := s.Scalar(item, "an entry of "+what)
		if !ok {
			return nil, false
		}
		all = append(all, v)
	}
	return all, true
}
