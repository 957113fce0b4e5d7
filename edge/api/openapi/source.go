package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/jsontree"
)

// What a document may be.
const (
	maxFile  = 32 << 20 // bytes
	maxTotal = 64 << 20 // bytes of all files
	maxFiles = 500
	maxNodes = 4_000_000 // of all files, aliases of YAML followed
	maxDepth = 200
)

// source is one file of a document.
type source struct {
	name  string
	text  []byte
	tree  any // as jsontree makes it
	lines *yaml.Node
}

// sources are the files of a document, read as they are referred to.
type sources struct {
	open  func(path string) ([]byte, error)
	dir   string // of the document
	files map[string]*source
	bytes int
	nodes int
}

// node is a place in a file, with what stands there.
type node struct {
	file *source
	ptr  string // JSON pointer
	v    any
}

// errorf names the place in an error: file, line where it is known, pointer.
func (n node) errorf(format string, args ...any) error {
	at := n.file.name
	if line := n.file.line(n.ptr); line > 0 {
		at += ":" + strconv.Itoa(line)
	}
	if n.ptr != "" {
		at += ": #" + n.ptr
	}
	return fmt.Errorf("%s: %w", at, fmt.Errorf(format, args...))
}

func (n node) get(key string) node {
	m, _ := n.v.(map[string]any)
	return node{n.file, n.ptr + "/" + token(key), m[key]}
}

func (n node) at(i int) node {
	a, _ := n.v.([]any)
	return node{n.file, n.ptr + "/" + strconv.Itoa(i), a[i]}
}

func (n node) object() map[string]any { m, _ := n.v.(map[string]any); return m }
func (n node) list() []any            { a, _ := n.v.([]any); return a }
func (n node) text() string           { s, _ := n.v.(string); return s }
func (n node) yes() bool              { b, _ := n.v.(bool); return b }

func token(key string) string {
	if !strings.ContainsAny(key, "~/") {
		return key
	}
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// add reads a file's text.
func (s *sources) add(name string, text []byte) (*source, error) {
	s.bytes += len(text)
	switch {
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s: %d bytes are more than the %d MiB that a file of a document may have", name, len(text), maxFile>>20)
	case s.bytes > maxTotal || len(s.files) >= maxFiles:
		return nil, fmt.Errorf("%s: the document has more than %d files or %d MiB", name, maxFiles, maxTotal>>20)
	}
	f := &source{name: name, text: text}
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	var err error
	if first := bytes.TrimLeft(text, " \t\r\n"); len(first) > 0 && (first[0] == '{' || first[0] == '[') {
		f.tree, err = s.json(name, text)
	} else {
		f.tree, err = s.yaml(name, text)
	}
	if err != nil {
		return nil, err
	}
	s.files[name] = f
	return f, nil
}

func (s *sources) json(name string, text []byte) (any, error) {
	v, notes, err := jsontree.Decode(text, jsontree.Limits{Depth: maxDepth, Values: maxNodes - s.nodes})
	if e, ok := errors.AsType[*jsontree.SyntaxError](err); ok {
		line := 1 + bytes.Count(text[:min(e.Offset, len(text))], []byte("\n"))
		if y, yerr := s.yaml(name, text); yerr == nil {
			return y, nil // YAML in the flow style begins as JSON does
		}
		return nil, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, n := range notes {
		if n.Kind == jsontree.Duplicate {
			return nil, fmt.Errorf("%s: #%s stands there twice", name, n.Where)
		}
	}
	s.nodes += bytes.Count(text, []byte(",")) + 1
	return v, nil
}

func (s *sources) yaml(name string, text []byte) (any, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %s", name, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(doc.Content) != 1 {
		return nil, fmt.Errorf("%s: there is no document in it", name)
	}
	v, err := s.fromYAML(doc.Content[0], 0)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	return v, nil
}

// fromYAML makes of YAML what JSON would have been. Aliases are followed, and what they make of the document is counted.
func (s *sources) fromYAML(n *yaml.Node, depth int) (any, error) {
	if s.nodes++; s.nodes > maxNodes {
		return nil, fmt.Errorf("%d: the document has more than %d values, aliases followed", n.Line, maxNodes)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%d: the document is nested more than %d levels deep", n.Line, maxDepth)
	}
	switch n.Kind {
	case yaml.AliasNode:
		return s.fromYAML(n.Alias, depth+1)
	case yaml.SequenceNode:
		out := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			v, err := s.fromYAML(c, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	case yaml.MappingNode:
		return s.mapping(n, depth)
	}
	return scalar(n)
}

func (s *sources) mapping(n *yaml.Node, depth int) (any, error) {
	out := make(map[string]any, len(n.Content)/2)
	var merged []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("%d: a key must be a word", key.Line)
		}
		if key.Tag == "!!merge" {
			merged = append(merged, n.Content[i+1])
			continue
		}
		if _, has := out[key.Value]; has {
			return nil, fmt.Errorf("%d: %.100q stands there twice", key.Line, key.Value)
		}
		v, err := s.fromYAML(n.Content[i+1], depth+1)
		if err != nil {
			return nil, err
		}
		out[key.Value] = v
	}
	for _, m := range merged {
		v, err := s.fromYAML(m, depth+1)
		if err != nil {
			return nil, err
		}
		for _, one := range append([]any{v}, list(v)...) {
			if from, ok := one.(map[string]any); ok {
				for k, inner := range from {
					if _, has := out[k]; !has {
						out[k] = inner
					}
				}
			}
		}
	}
	return out, nil
}

func list(v any) []any { a, _ := v.([]any); return a }

func scalar(n *yaml.Node) (any, error) {
	switch n.ShortTag() {
	case "!!null":
		return nil, nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), nil
	case "!!int", "!!float":
		if _, _, err := jsontree.DecodeString(n.Value, jsontree.Limits{}); err == nil {
			return json.Number(n.Value), nil
		}
		var i int64
		if n.Decode(&i) == nil {
			return json.Number(strconv.FormatInt(i, 10)), nil
		}
		var f float64
		if err := n.Decode(&f); err != nil || f != f || f-f != 0 {
			return nil, fmt.Errorf("%d: %.40q is no number of JSON", n.Line, n.Value)
		}
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64)), nil
	}
	return n.Value, nil // also what looks like a date
}

// line finds the line of a place in a file; 0 where it is not known. It is for errors: it reads the file again.
func (f *source) line(ptr string) int {
	if f.lines == nil {
		f.lines = &yaml.Node{}
		if len(f.text) > maxFile/2 || yaml.Unmarshal(f.text, f.lines) != nil || len(f.lines.Content) == 0 {
			f.lines = &yaml.Node{}
		}
	}
	if len(f.lines.Content) == 0 {
		return 0
	}
	n := f.lines.Content[0]
	line := n.Line
	for _, step := range strings.Split(ptr, "/")[1:] {
		for n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		var next *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					next, line = n.Content[i+1], n.Content[i].Line
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
				next = n.Content[i]
				line = next.Line
			}
		}
		if next == nil {
			break
		}
		n = next
	}
	return line
}

// follow returns where a reference leads, and reads the file if need be.
func (s *sources) follow(from node, ref string) (node, error) {
	name, fragment, _ := strings.Cut(ref, "#")
	if strings.Contains(name, ":") || strings.HasPrefix(name, "/") || strings.HasPrefix(name, `\`) {
		return node{}, from.errorf("$ref %.200q leads elsewhere: only this document and files beside it are read", ref)
	}
	file := from.file
	if name != "" {
		unescaped, err := url.PathUnescape(name)
		if err != nil {
			return node{}, from.errorf("$ref %.200q is no reference", ref)
		}
		full := path.Join(path.Dir(from.file.name), unescaped)
		if !s.within(full) {
			return node{}, from.errorf("$ref %.200q leads out of the document's folder", ref)
		}
		if file = s.files[full]; file == nil {
			if s.open == nil {
				return node{}, from.errorf("$ref %.200q: other files are not read here", ref)
			}
			text, err := s.open(full)
			if err != nil {
				return node{}, from.errorf("$ref: %w", err)
			}
			if file, err = s.add(full, text); err != nil {
				return node{}, err
			}
		}
	}
	fragment, err := url.PathUnescape(fragment)
	if err != nil || fragment != "" && fragment[0] != '/' {
		return node{}, from.errorf("$ref %.200q is no JSON pointer", ref)
	}
	to := node{file, "", file.tree}
	if fragment == "" {
		return to, nil
	}
	for _, step := range strings.Split(fragment[1:], "/") {
		step = strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~")
		switch v := to.v.(type) {
		case map[string]any:
			if _, has := v[step]; has {
				to = to.get(step)
				continue
			}
		case []any:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(v) {
				to = to.at(i)
				continue
			}
		}
		return node{}, from.errorf("$ref %.200q leads nowhere", ref)
	}
	return to, nil
}

// within tells whether a file lies in the document's folder or below it.
func (s *sources) within(name string) bool {
	if s.dir == "." {
		return name != ".." && !strings.HasPrefix(name, "../") && !strings.HasPrefix(name, "/")
	}
	return strings.HasPrefix(name, strings.TrimSuffix(s.dir, "/")+"/")
}

// deref follows the references of a place that is no schema.
func (s *sources) deref(n node) (node, error) {
	for range 32 {
		ref, ok := n.object()["$ref"].(string)
		if !ok {
			return n, nil
		}
		to, err := s.follow(n, ref)
		if err != nil {
			return n, err
		}
		n = to
	}
	return n, n.errorf("references lead in a circle")
}
