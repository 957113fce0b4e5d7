package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/testudo-sec/testudo/internal/spell"
)

// An Unmarshaler reads its own node: decode reads it into any value, strictly, and may be
// called again with another type where the first does not fit. It is the method that YAML
// libraries know.
type Unmarshaler interface {
	UnmarshalYAML(decode func(any) error) error
}

// A Validator is a part's configuration that can tell whether it makes sense.
type Validator interface{ Validate() error }

// value reads a node into v, which is settable. path names it in errors.
func (d *decoder) value(n ast.Node, v reflect.Value, path string) {
	switch n := n.(type) {
	case *ast.AnchorNode, *ast.AliasNode, *ast.MergeKeyNode, *ast.TagNode, *ast.DirectiveNode:
		d.fail(place(n), "%s: anchors, aliases, merge keys and tags are not read here: write the value itself", orRoot(path))
		return
	case *ast.NullNode:
		return // a key without a value keeps its default
	}
	if v.Kind() == reflect.Pointer {
		fresh := reflect.New(v.Type().Elem())
		if !v.IsNil() {
			fresh.Elem().Set(v.Elem())
		}
		d.value(n, fresh.Elem(), path)
		v.Set(fresh)
		return
	}
	if u, ok := v.Addr().Interface().(Unmarshaler); ok {
		d.own(u, n, path)
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(n, v, path)
		return
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		text, ok := scalarText(n)
		if !ok {
			d.fail(place(n), "%s: want a value, not %s", orRoot(path), describe(n))
			return
		}
		if err := u.UnmarshalText([]byte(text)); err != nil {
			d.fail(place(n), "%s: %v", orRoot(path), err)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, v, path)
	case reflect.Map:
		d.mapping(n, v, path)
	case reflect.Slice:
		d.sequence(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// own lets u read the node by itself. Mistakes that it got from decode keep their places.
func (d *decoder) own(u Unmarshaler, n ast.Node, path string) {
	err := u.UnmarshalYAML(func(target any) error {
		before := len(d.errs)
		d.value(n, reflect.ValueOf(target).Elem(), path)
		if len(d.errs) == before {
			return nil
		}
		failed := append(Errors(nil), d.errs[before:]...)
		d.errs = d.errs[:before]
		return failed
	})
	var placed Errors
	switch {
	case errors.As(err, &placed):
		d.errs = append(d.errs, placed...)
	case err != nil:
		d.fail(place(n), "%s: %v", orRoot(path), err)
	default:
		d.validate(reflect.ValueOf(u), place(n))
	}
}

func orRoot(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys below it"
	case *ast.SequenceNode:
		return "a list"
	}
	text, _ := scalarText(n)
	return strconv.Quote(text)
}

// shape is describe without the value: what stands where keys or a list belong may be an
// address with a password.
func shape(n ast.Node) string {
	if _, ok := scalarText(n); ok {
		return "a single value"
	}
	return describe(n)
}

// place returns the token that an error about the node points at: for a mapping its
// first key, where the parser has the colon.
func place(n ast.Node) *token.Token {
	if values, ok := entries(n); ok && len(values) > 0 {
		return values[0].Key.GetToken()
	}
	return n.GetToken()
}

// entries returns the key and value nodes of a mapping.
func entries(n ast.Node) ([]*ast.MappingValueNode, bool) {
	switch n := n.(type) {
	case *ast.MappingNode:
		return n.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{n}, true
	}
	return nil, false
}

// field is a key of a struct.
type field struct {
	key   string
	value reflect.Value
}

func structFields(v reflect.Value) []field {
	var all []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		if !sf.IsExported() {
			continue
		}
		key, option, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case key == "-":
		case option == "inline" || (sf.Anonymous && key == ""):
			all = append(all, structFields(v.Field(i))...)
		case key == "":
			all = append(all, field{strings.ToLower(sf.Name), v.Field(i)})
		default:
			all = append(all, field{key, v.Field(i)})
		}
	}
	return all
}

func (d *decoder) structure(n ast.Node, v reflect.Value, path string) {
	values, ok := entries(n)
	if !ok {
		d.fail(place(n), "%s: want keys below it, not %s", orRoot(path), shape(n))
		return
	}
	fields := structFields(v)
	seen := map[string]bool{}
	for _, mv := range values {
		key, ok := d.key(mv, seen, path)
		if !ok {
			continue
		}
		known := false
		for _, f := range fields {
			if f.key == key {
				d.value(mv.Value, f.value, join(path, key))
				known = true
				break
			}
		}
		if !known {
			d.unknownKey(mv.Key.GetToken(), key, path, fields)
		}
	}
	d.validate(v.Addr(), place(n))
}

func (d *decoder) key(mv *ast.MappingValueNode, seen map[string]bool, path string) (string, bool) {
	node, ok := mv.Key.(ast.Node)
	key, isScalar := scalarText(node)
	if _, merge := node.(*ast.MergeKeyNode); !ok || !isScalar || merge {
		d.fail(mv.Key.GetToken(), "%s: a key is a plain word", orRoot(path))
		return "", false
	}
	if seen[key] {
		d.fail(mv.Key.GetToken(), "%s stands twice", join(path, key))
		return "", false
	}
	seen[key] = true
	return key, true
}

func (d *decoder) unknownKey(tok *token.Token, key, path string, fields []field) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.key
	}
	hint := ""
	if near := spell.Nearest(key, names); near != "" {
		hint = fmt.Sprintf("; did you mean %s?", near)
	} else if len(names) > 0 && len(names) <= 12 {
		hint = "; the keys here are " + strings.Join(names, ", ")
	}
	d.fail(tok, "unknown key %s%s", join(path, key), hint)
}

// validate calls the Validate method of what v points to and places its error.
func (d *decoder) validate(v reflect.Value, tok *token.Token) {
	if val, ok := v.Interface().(Validator); ok && len(d.errs) == 0 {
		if err := val.Validate(); err != nil {
			for _, one := range flatten(err) {
				d.fail(tok, "%v", one)
			}
		}
	}
}

func flatten(err error) []error {
	var many interface{ Unwrap() []error }
	if errors.As(err, &many) {
		var all []error
		for _, one := range many.Unwrap() {
			all = append(all, flatten(one)...)
		}
		return all
	}
	return []error{err}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, path string) {
	values, ok := entries(n)
	if !ok || v.Type().Key().Kind() != reflect.String {
		d.fail(place(n), "%s: want keys below it, not %s", orRoot(path), shape(n))
		return
	}
	fresh := reflect.MakeMap(v.Type())
	seen := map[string]bool{}
	for _, mv := range values {
		if key, ok := d.key(mv, seen, path); ok {
			item := reflect.New(v.Type().Elem()).Elem()
			setDefaults(item)
			d.value(mv.Value, item, join(path, key))
			fresh.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), item)
		}
	}
	v.Set(fresh)
}

func (d *decoder) sequence(n ast.Node, v reflect.Value, path string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if _, isMap := entries(n); !isMap && v.Type().Elem().Kind() != reflect.Struct {
			d.fail(place(n), "%s: want a list: put the value between [ and ]", orRoot(path))
			return
		}
		d.fail(place(n), "%s: want a list: begin each item with a dash", orRoot(path))
		return
	}
	fresh := reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		setDefaults(fresh.Index(i))
		d.value(item, fresh.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(fresh)
}

// A Defaulter is an item of a list or map that starts from other values than zero.
type Defaulter interface{ SetDefaults() }

func setDefaults(v reflect.Value) {
	if def, ok := v.Addr().Interface().(Defaulter); ok {
		def.SetDefaults()
	}
}

// scalarText returns a scalar as it is written, without quotes.
func scalarText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (d *decoder) duration(n ast.Node, v reflect.Value, path string) {
	text, ok := scalarText(n)
	dur, err := parseDuration(text)
	if !ok || err != nil {
		d.fail(place(n), "%s: want a duration such as 10m, 1h30m or 7d, not %s", path, describe(n))
		return
	}
	v.SetInt(int64(dur))
}

// parseDuration reads a Go duration, or whole days as in "7d".
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		return time.Duration(n) * 24 * time.Hour, err
	}
	if s == "0" {
		return 0, nil
	}
	dur, err := time.ParseDuration(s)
	if err == nil && dur < 0 {
		err = errors.New("negative")
	}
	return dur, err
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	text, ok := scalarText(n)
	if !ok {
		d.fail(place(n), "%s: want a value, not %s", orRoot(path), describe(n))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		b, isBool := n.(*ast.BoolNode)
		if !isBool {
			d.fail(place(n), "%s: want true or false, not %s", path, describe(n))
			return
		}
		v.SetBool(b.Value)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		num, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			d.fail(place(n), "%s: want a whole number, not %s", path, describe(n))
			return
		}
		v.SetInt(num)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		num, err := strconv.ParseUint(text, 10, v.Type().Bits())
		if err != nil {
			d.fail(place(n), "%s: want a whole number from 0, not %s", path, describe(n))
			return
		}
		v.SetUint(num)
	case reflect.Float32, reflect.Float64:
		num, err := strconv.ParseFloat(text, v.Type().Bits())
		if err != nil || num != num {
			d.fail(place(n), "%s: want a number, not %s", path, describe(n))
			return
		}
		v.SetFloat(num)
	default:
		panic("config: a field of kind " + v.Kind().String() + " cannot be read: " + path)
	}
}

// validText finds the first place that is not UTF-8 or is a control character.
func validText(data []byte) (line, column int, ok bool) {
	line, column = 1, 1
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		if (r == utf8.RuneError && size == 1) || (r < 0x20 && r != '\n' && r != '\t' && r != '\r') || r == 0x7f {
			return line, column, false
		}
		if r == '\n' {
			line, column = line+1, 0
		}
		column++
		i += size
	}
	return 0, 0, true
}

// shallow checks the nesting before the parser, which recurses, sees the file.
func shallow(data []byte) (line int, ok bool) {
	flow := 0
	for i, text := range strings.Split(string(data), "\n") {
		indent := len(text) - len(strings.TrimLeft(text, " -"))
		flow += strings.Count(text, "[") + strings.Count(text, "{")
		if indent > 8*maxDepth || flow > maxDepth {
			return i + 1, false
		}
		flow = max(0, flow-strings.Count(text, "]")-strings.Count(text, "}"))
	}
	return 0, true
}
