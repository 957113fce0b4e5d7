package sigma

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/spell"
	"github.com/testudo-sec/testudo/policy"
)

// The bounds of a file's structure.
const (
	maxDepth     = 32      // nested lists and maps
	maxNodes     = 200_000 // of a file, counted roughly before it is parsed and exactly, aliases followed, as it is read
	maxDocuments = 1_000   // of a file
)

// source is a file that is being read.
type source struct {
	name     string
	text     string
	lines    []int  // offset of each line in text; made when first needed
	rule     string // id of the rule that is being read, for its problems
	nodes    int    // that were read
	problems policy.Problems
}

// problem notes what is wrong at a node.
func (s *source) problem(n *yaml.Node, hint, format string, args ...any) {
	p := policy.Problem{File: s.name, Line: 1, Column: 1, Rule: s.rule, Message: fmt.Sprintf(format, args...), Hint: hint}
	if n != nil {
		p.Line, p.Column = max(1, n.Line), max(1, n.Column)
	}
	s.problems = append(s.problems, p)
}

// problemIn notes what is wrong at an offset of a scalar's value.
func (s *source) problemIn(n *yaml.Node, offset int, hint, format string, args ...any) {
	at := *n
	at.Line, at.Column = s.locate(n, offset)
	s.problem(&at, hint, format, args...)
}

// shown is text from a file as it may stand in a problem.
func shown(text string) string { return policy.Printable(text, 100) }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// parse returns the bodies of the documents of the file; none where it is not YAML.
func (s *source) parse() []*yaml.Node {
	if !s.bounded() {
		return nil
	}
	decoder := yaml.NewDecoder(strings.NewReader(s.text))
	var bodies []*yaml.Node
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return bodies
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
			if m == nil {
				m = []string{"", "", err.Error()}
			}
			line, _ := strconv.Atoi(m[1])
			s.problem(&yaml.Node{Line: line}, yamlHint(m[2]), "YAML: %s", policy.Printable(m[2], 200))
			return nil
		}
		if len(bodies) >= maxDocuments {
			s.problem(&document, "split it", "more than %d documents", maxDocuments)
			return nil
		}
		if len(document.Content) == 1 && document.Content[0].ShortTag() != "!!null" {
			bodies = append(bodies, document.Content[0])
		}
	}
}

// yamlHint helps with what people get wrong most.
func yamlHint(message string) string {
	switch {
	case strings.Contains(message, "mapping values are not allowed"):
		return `text that holds ": " needs single quotes`
	case strings.Contains(message, "cannot start any token"):
		return "text that begins with % @ or ` needs single quotes"
	case strings.Contains(message, "a tab character"):
		return "indent with spaces"
	case strings.Contains(message, "escape character"):
		return `in double quotes a backslash begins an escape: write paths in single quotes`
	}
	return ""
}

// bounded refuses what would make the parser take much more memory than the file is large.
func (s *source) bounded() bool {
	text, nodes := s.text, 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\n', ',', '[', '{':
			nodes++
		case '-', '?':
			if i+1 < len(text) && (text[i+1] == ' ' || text[i+1] == '\t') {
				nodes++
			}
		}
	}
	if nodes > maxNodes {
		s.problem(nil, "split it", "the file has more than %d lines and list entries", maxNodes)
		return false
	}
	return true
}

// resolved follows aliases, and counts. What they would add up to is bounded by maxNodes and maxDepth.
func (s *source) resolved(n *yaml.Node) (*yaml.Node, bool) {
	for range maxDepth {
		if s.nodes++; s.nodes > maxNodes {
			if s.nodes == maxNodes+1 {
				s.problem(n, "write the values out", "the file stands for more than %d values", maxNodes)
			}
			return n, false
		}
		if n.Style&yaml.TaggedStyle != 0 {
			s.problem(n, "leave the tag out, and write text in quotes", "tags are not part of Sigma rules")
			return n, false
		}
		if n.Kind != yaml.AliasNode {
			return n, true
		}
		n = n.Alias
	}
	s.problem(n, "write the value out", "an alias of aliases")
	return n, false
}

// pair is an entry of a map.
type pair struct {
	key   string
	at    *yaml.Node
	value *yaml.Node
}

// pairs returns the entries of a map in the order they stand; nil and false, with a problem noted, where the node is
// none. What says what the map is, for the problem.
func (s *source) pairs(n *yaml.Node, what string) ([]pair, bool) {
	n, ok := s.resolved(n)
	if !ok {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		s.problem(n, "", "%s must be a map of keys and values, not %s", what, kindOf(n))
		return nil, false
	}
	all := make([]pair, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := s.resolved(n.Content[i])
		switch {
		case !ok:
			return nil, false
		case key.Kind != yaml.ScalarNode:
			s.problem(key, "write key: value", "a key of %s is %s", what, kindOf(key))
			return nil, false
		case key.Tag == "!!merge":
			s.problem(key, "write the keys out", "merge keys are not part of Sigma rules")
			return nil, false
		}
		all = append(all, pair{key.Value, key, n.Content[i+1]})
	}
	if d := duplicate(all); d >= 0 {
		s.problem(all[d].at, "a list under one key joins values by or; for another condition on the same field write a selection of its own", "key %q stands twice in %s", shown(all[d].key), what)
		return nil, false
	}
	return all, true
}

// duplicate returns the index of the first key that stood before, or -1.
func duplicate(pairs []pair) int {
	if len(pairs) < 16 {
		for i := range pairs {
			for _, before := range pairs[:i] {
				if before.key == pairs[i].key {
					return i
				}
			}
		}
		return -1
	}
	seen := make(map[string]bool, len(pairs))
	for i := range pairs {
		if seen[pairs[i].key] {
			return i
		}
		seen[pairs[i].key] = true
	}
	return -1
}

// known notes a problem for every key that is not among keys.
func (s *source) known(pairs []pair, what string, keys ...string) {
	for _, p := range pairs {
		if slices.Contains(keys, p.key) {
			continue
		}
		hint := "known keys: " + strings.Join(keys, ", ")
		if near := spell.Nearest(p.key, keys); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		s.problem(p.at, hint, "unknown key %q in %s", shown(p.key), what)
	}
}

// find returns the value of a key, or nil.
func find(pairs []pair, key string) *yaml.Node {
	for i := range pairs {
		if pairs[i].key == key {
			return pairs[i].value
		}
	}
	return nil
}

// kindOf names a node as people do.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a map"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch kind, _, _ := readScalar(n); kind {
	case nothing:
		return "empty"
	case truth:
		return "true or false"
	case whole, fraction:
		return "a number"
	}
	return "text"
}

// scalarText returns a scalar's text, as it is written where it is a number or a truth value; false, with a problem noted,
// where there is none.
func (s *source) scalarText(n *yaml.Node, what string) (string, *yaml.Node, bool) {
	n, ok := s.resolved(n)
	if !ok {
		return "", n, false
	}
	if n.Kind != yaml.ScalarNode || isNull(n) {
		s.problem(n, "", "%s must be text, not %s", what, kindOf(n))
		return "", n, false
	}
	return n.Value, n, true
}

// items returns the entries of a list; another node is a list of itself.
func (s *source) items(n *yaml.Node) ([]*yaml.Node, bool) {
	n, ok := s.resolved(n)
	if !ok {
		return nil, false
	}
	if n.Kind == yaml.SequenceNode {
		return n.Content, true
	}
	return []*yaml.Node{n}, true
}

// texts returns a list of texts; a single text is a list of one, and nothing an empty one.
func (s *source) texts(n *yaml.Node, what string) ([]string, []*yaml.Node) {
	if n == nil {
		return nil, nil
	}
	items, ok := s.items(n)
	if !ok || len(items) == 1 && isNull(items[0]) {
		return nil, nil
	}
	var all []string
	var at []*yaml.Node
	for _, item := range items {
		if text, where, ok := s.scalarText(item, "an entry of "+what); ok {
			all, at = append(all, text), append(at, where)
		}
	}
	return all, at
}

// locate returns where in the file a character of a scalar's value stands, its column in characters. Of a text that is
// folded over several lines it is where the text begins.
func (s *source) locate(n *yaml.Node, offset int) (line, column int) {
	if offset > len(n.Value) {
		offset = len(n.Value)
	}
	before := n.Value[:offset]
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		down := strings.Count(before, "\n")
		inLine := len([]rune(before[strings.LastIndexByte(before, '\n')+1:]))
		source := s.line(n.Line + 1 + down)
		return n.Line + 1 + down, 1 + len(source) - len(strings.TrimLeft(source, " ")) + inLine
	case n.Style&yaml.FoldedStyle != 0 || strings.Contains(n.Value, "\n"):
		return n.Line, n.Column
	}
	quote := 0
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 {
		quote = 1
	}
	column = n.Column + quote + len([]rune(before))
	if n.Style&yaml.SingleQuotedStyle != 0 {
		column += strings.Count(before, "'") // each is written twice
	}
	if column > len([]rune(s.line(n.Line)))+1 {
		return n.Line, n.Column // it goes on in the next line
	}
	return n.Line, column
}

// line returns a line of the file, from 1, without its end.
func (s *source) line(n int) string {
	if s.lines == nil {
		s.lines = make([]int, 1, 1+strings.Count(s.text, "\n"))
		for i := 0; i < len(s.text); i++ {
			if s.text[i] == '\n' {
				s.lines = append(s.lines, i+1)
			}
		}
	}
	if n < 1 || n > len(s.lines) {
		return ""
	}
	rest := s.text[s.lines[n-1]:]
	if end := strings.IndexByte(rest, '\n'); end >= 0 {
		rest = rest[:end]
	}
	return strings.TrimSuffix(rest, "\r")
}

// block returns the text of lines from one to before another, without empty lines and comments at its end.
func (s *source) block(from, to int) string {
	s.line(1)
	for to > from {
		last := strings.TrimSpace(s.line(to - 1))
		if last != "" && last[0] != '#' && last != "---" && last != "..." {
			break
		}
		to--
	}
	if from < 1 || from > len(s.lines) || to <= from {
		return ""
	}
	end := len(s.text)
	if to <= len(s.lines) {
		end = s.lines[to-1]
	}
	return strings.TrimRight(s.text[s.lines[from-1]:end], "\r\n")
}
