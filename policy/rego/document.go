package rego

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
)

// maxNodes bounds the values of a file's documents, those that aliases stand for counted each time.
const maxNodes = 500_000

// Documents returns the documents of a file, JSON where its name ends in .json and YAML otherwise, in their order; empty ones
// are left out. The error says where the file is wrong.
func Documents(name string, text []byte) ([]any, error) {
	if len(text) > MaxDocument {
		return nil, fmt.Errorf("%s: larger than %d bytes", policy.Printable(name, 1000), MaxDocument)
	}
	if strings.ToLower(path.Ext(name)) == ".json" {
		return jsonDocuments(name, text)
	}
	source := strings.ReplaceAll(strings.TrimPrefix(string(text), "\ufeff"), "\r\n", "\n")
	var all []any
	for _, part := range rulefile.Documents(source) {
		found, err := yamlDocuments(part)
		if err != nil {
			return nil, fmt.Errorf("%s:%w", policy.Printable(name, 1000), err)
		}
		all = append(all, found...)
	}
	return all, nil
}

// yamlDocuments reads one document of a stream, or none. The error begins with its place.
func yamlDocuments(part rulefile.Document) ([]any, error) {
	tokens := lexer.Tokenize(part.Text)
	depth := 0
	for _, tk := range tokens {
		tk.Position.Line += part.Line
		switch tk.Type {
		case token.MappingStartType, token.SequenceStartType:
			depth++
		case token.MappingEndType, token.SequenceEndType:
			depth--
		}
		if depth > maxDepth || tk.Position.IndentNum > 4*maxDepth {
			return nil, fmt.Errorf("%d:%d: nested too deeply", tk.Position.Line, max(1, tk.Position.Column))
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		var syntax *yaml.SyntaxError
		if errors.As(err, &syntax) && syntax.Token != nil {
			at := syntax.Token.Position
			return nil, fmt.Errorf("%d:%d: YAML: %s", at.Line, max(1, at.Column), policy.Printable(syntax.Message, 200))
		}
		return nil, fmt.Errorf("%d: YAML: %s", part.Line+1, policy.Printable(err.Error(), 200))
	}
	var all []any
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		d := decoder{anchors: make(map[string]ast.Node)}
		v, err := d.value(doc.Body, 0)
		if err != nil {
			return nil, err
		}
		if v != nil {
			all = append(all, v)
		}
	}
	return all, nil
}

func jsonDocuments(name string, text []byte) ([]any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var all []any
	for {
		var v any
		switch err := d.Decode(&v); {
		case errors.Is(err, io.EOF):
			return all, nil
		case err != nil:
			rest := bytes.TrimLeft(text[min(int(d.InputOffset()), len(text)):], " \t\r\n")
			line := 1 + bytes.Count(text[:len(text)-len(rest)], []byte("\n"))
			return nil, fmt.Errorf("%s:%d: JSON: %s", policy.Printable(name, 1000), line, policy.Printable(err.Error(), 200))
		}
		all = append(all, v)
	}
}

// decoder turns YAML's nodes into values. It counts them, so that aliases cannot make a small file large.
type decoder struct {
	anchors map[string]ast.Node
	nodes   int
}

func (d *decoder) value(n ast.Node, depth int) (any, error) {
	wrong := func(format string, args ...any) error {
		at := "1:1"
		if tk := n.GetToken(); tk != nil && tk.Position != nil {
			at = fmt.Sprintf("%d:%d", tk.Position.Line, max(1, tk.Position.Column))
		}
		return fmt.Errorf("%s: "+format, append([]any{at}, args...)...)
	}
	if d.nodes++; d.nodes > maxNodes || depth > maxDepth {
		return nil, wrong("too large or too deep with all aliases put in")
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.IntegerNode:
		return n.Value, nil
	case *ast.FloatNode:
		return n.Value, nil
	case *ast.InfinityNode, *ast.NanNode:
		return nil, wrong("JSON has no such number")
	case *ast.AnchorNode:
		d.anchors[n.Name.GetToken().Value] = n.Value
		return d.value(n.Value, depth)
	case *ast.AliasNode:
		to, ok := d.anchors[n.Value.GetToken().Value]
		if !ok {
			return nil, wrong("alias of an anchor that is not above")
		}
		return d.value(to, depth+1)
	case *ast.TagNode:
		v, err := d.value(n.Value, depth+1)
		if f, isFloat := v.(float64); isFloat && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, wrong("JSON has no such number")
		}
		if n.Start.Value == "!!str" && v != nil && err == nil {
			if _, isText := v.(string); !isText && n.Value.GetToken() != nil {
				return n.Value.GetToken().Value, nil
			}
		}
		return v, err
	case *ast.SequenceNode:
		all := make([]any, 0, len(n.Values))
		for _, item := range n.Values {
			v, err := d.value(item, depth+1)
			if err != nil {
				return nil, err
			}
			all = append(all, v)
		}
		return all, nil
	case *ast.MappingValueNode:
		return d.mapping([]*ast.MappingValueNode{n}, depth)
	case *ast.MappingNode:
		return d.mapping(n.Values, depth)
	}
	return nil, wrong("a value of no kind that is known here")
}

func (d *decoder) mapping(entries []*ast.MappingValueNode, depth int) (any, error) {
	out := make(map[string]any, len(entries))
	own := make(map[string]bool, len(entries))
	for _, en := range entries {
		v, err := d.value(en.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if _, merge := en.Key.(*ast.MergeKeyNode); merge {
			parts, several := v.([]any)
			if !several {
				parts = []any{v}
			}
			for _, part := range parts {
				m, _ := part.(map[string]any)
				for k, v := range m {
					if _, there := out[k]; !there {
						out[k] = v
					}
				}
			}
			continue
		}
		tk := en.Key.GetToken()
		if tk == nil || own[tk.Value] {
			return nil, fmt.Errorf("%d:%d: a key that is none, or stands twice", en.GetToken().Position.Line, max(1, en.GetToken().Position.Column))
		}
		own[tk.Value] = true
		out[tk.Value] = v
	}
	return out, nil
}
