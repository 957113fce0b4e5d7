// Package config is the frame of testudo.yaml: it reads a file strictly into the structs
// that the parts declare, and says of every mistake where it stands and what would
// have been right.
//
// A part's Config struct names its keys by yaml tags, holds its defaults before it is
// read, and may have a method Validate() error, which Decode calls after reading, innermost
// first. Durations are written "10m", sizes "64KiB". Unknown and repeated keys, anchors,
// merge keys and further documents are errors.
package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxSize bounds a configuration file, in bytes.
const MaxSize = 1 << 20

// maxDepth bounds the nesting of a file.
const maxDepth = 32

// maxErrors bounds the mistakes that are reported at once.
const maxErrors = 20

// Error is one mistake in a file.
type Error struct {
	File         string
	Line, Column int // from 1; 0 where the mistake has no place
	Message      string
}

// Error returns "file:line:column: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are the mistakes of a file in the order they stand in it.
type Errors []*Error

// Error returns the mistakes, one a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the single mistakes.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Load reads the file into the struct that into points to. What the file does not name
// keeps its value.
func Load(path string, into any) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a regular file", path)
	}
	if info.Size() > MaxSize {
		return fmt.Errorf("%s: %d bytes, a configuration has at most %d", path, info.Size(), MaxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return Decode(path, data, into)
}

// Decode reads data, whose mistakes are reported as those of file, into the struct
// that into points to. On an error, into may be changed in part and must not be used.
func Decode(file string, data []byte, into any) error {
	d := &decoder{file: file}
	d.run(data, into)
	if len(d.errs) == 0 {
		return nil
	}
	return d.errs
}

type decoder struct {
	file string
	errs Errors
}

func (d *decoder) fail(tok *token.Token, format string, args ...any) {
	if len(d.errs) >= maxErrors {
		return
	}
	e := &Error{File: d.file, Message: fmt.Sprintf(format, args...)}
	if tok != nil && tok.Position != nil {
		e.Line, e.Column = tok.Position.Line, tok.Position.Column
	}
	d.errs = append(d.errs, e)
}

func (d *decoder) run(data []byte, into any) {
	target := reflect.ValueOf(into)
	if target.Kind() != reflect.Pointer || target.Elem().Kind() != reflect.Struct {
		panic("config: Decode wants a pointer to a struct")
	}
	if len(data) > MaxSize {
		d.fail(nil, "%d bytes, a configuration has at most %d", len(data), MaxSize)
		return
	}
	if line, column, ok := validText(data); !ok {
		d.errs = append(d.errs, &Error{File: d.file, Line: line, Column: column, Message: "not valid UTF-8, or a control character"})
		return
	}
	if line, ok := shallow(data); !ok {
		d.errs = append(d.errs, &Error{File: d.file, Line: line, Column: 1, Message: fmt.Sprintf("nested deeper than %d", maxDepth)})
		return
	}
	file, err := parse(data)
	if err != nil {
		d.syntax(err)
		return
	}
	var root ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if root != nil {
			d.fail(doc.Body.GetToken(), "a second document: write one configuration a file")
			return
		}
		root = doc.Body
	}
	if root == nil {
		d.validate(target, nil)
		return
	}
	d.value(root, target.Elem(), "")
}

// parse calls the YAML parser, which panics on some malformed input.
func parse(data []byte) (file *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("not valid YAML")
		}
	}()
	return parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
}

func (d *decoder) syntax(err error) {
	var syntax *yaml.SyntaxError
	if errors.As(err, &syntax) {
		d.fail(syntax.Token, "%s", syntax.Message)
		return
	}
	d.fail(nil, "%s", firstLine(err.Error()))
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
