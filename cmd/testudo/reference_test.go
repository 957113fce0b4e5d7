package main

import (
	"encoding"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/internal/bytesize"
)

var update = flag.Bool("update", false, "rewrite golden files and generated pages")

const (
	module        = "github.com/testudo-sec/testudo"
	repository    = "../.."
	referencePage = repository + "/docs/configuration.md"
)

// TestReference holds docs/configuration.md to the settings: their keys, types, defaults, and what
// their comments say.
func TestReference(t *testing.T) {
	r := reference{comments: comments{}}
	page := r.page()
	for _, p := range r.problems {
		t.Error(p)
	}
	if *update {
		if err := os.WriteFile(referencePage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	committed, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(committed), page); d != "" {
		t.Errorf("docs/configuration.md is not of these settings (run make generate):\n%s", d)
	}
}

// comments are the doc comments of struct types, by package folder, type and field.
type comments map[string]map[string]typeComments

type typeComments struct {
	doc    string
	fields map[string]string
}

// of returns the comments of a type of this module.
func (c comments) of(t reflect.Type) (typeComments, error) {
	folder, ok := strings.CutPrefix(t.PkgPath(), module)
	if !ok {
		return typeComments{}, fmt.Errorf("%s is no type of this module", t)
	}
	known, parsed := c[folder]
	if !parsed {
		known = map[string]typeComments{}
		files, err := filepath.Glob(filepath.Join(repository, folder, "*.go"))
		if err != nil {
			return typeComments{}, err
		}
		set := token.NewFileSet()
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(set, name, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return typeComments{}, err
			}
			collect(file, known)
		}
		c[folder] = known
	}
	tc, ok := known[t.Name()]
	if !ok {
		return tc, fmt.Errorf("the type %s is not in %s", t, folder)
	}
	return tc, nil
}

func collect(file *ast.File, into map[string]typeComments) {
	for _, d := range file.Decls {
		gen, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			ts, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			doc := ts.Doc
			if doc == nil {
				doc = gen.Doc
			}
			tc := typeComments{doc: doc.Text(), fields: map[string]string{}}
			for _, f := range st.Fields.List {
				for _, n := range f.Names {
					tc.fields[n.Name] = f.Doc.Text()
				}
			}
			into[ts.Name.Name] = tc
		}
	}
}

// reference writes the page.
type reference struct {
	comments comments
	b        strings.Builder
	problems []string
}

func (r *reference) page() string {
	r.b.WriteString(`# Configuration

<!-- Made by make generate from the settings and their comments; do not edit. -->

testudo runs without a configuration. What differs from the defaults stands in
` + "`testudo.yaml`" + `: the file that ` + "`--config`" + ` names, else
` + "`$XDG_CONFIG_HOME/testudo/testudo.yaml`" + `, else ` + "`/etc/testudo/testudo.yaml`" + `. Flags of the
command win over the file.

` + "```sh" + `
testudo config print-defaults > testudo.yaml   # every key at its default
testudo config check testudo.yaml              # what is wrong, with line, column and the nearest key
` + "```" + `

Durations are written ` + "`300ms`, `30s`, `10m` or `168h`" + `, sizes ` + "`64KiB`, `16MiB` or `20GiB`" + `, addresses
` + "`127.0.0.1:8080`" + ` or ` + "`:8080`" + `, networks ` + "`10.0.0.0/8`" + `. A key that is not known is an error. Keys
under a list are those of each of its items.

A small example:

` + "```yaml" + `
edge:
  listen: [{address: ":8080"}]
  trusted_proxies: [10.0.0.0/8]
  routes:
    - name: app
      hosts: [app.example.com]
      upstreams: [http://127.0.0.1:3000]
      mode: detect          # look first, block later
store:
  lake: {max_age: 168h, max_size: 5GiB}
` + "```" + `
`)
	defaults := assembly.DefaultSettings()
	v := reflect.ValueOf(defaults)
	tc, err := r.comments.of(v.Type())
	if err != nil {
		r.problem("%v", err)
	}
	top := v.Type()
	// Keys that stand alone first, then a section for each part.
	r.b.WriteString("\n## Top level\n\n")
	for i := range top.NumField() {
		if f := top.Field(i); f.Type.Kind() != reflect.Struct {
			r.key(f, v.Field(i), "", 0, tc.fields[f.Name])
		}
	}
	for i := range top.NumField() {
		f := top.Field(i)
		if f.Type.Kind() != reflect.Struct {
			continue
		}
		key := r.yamlKey(f)
		about := sentence(f.Name, tc.fields[f.Name])
		fmt.Fprintf(&r.b, "\n## %s\n\n%s\n\n", key, strings.ToUpper(about[:min(1, len(about))])+about[min(1, len(about)):])
		if tc.fields[f.Name] == "" {
			r.problem("%s.%s has no comment", top, f.Name)
		}
		r.keys(v.Field(i), key+".", 0)
	}
	return r.b.String()
}

func (r *reference) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *reference) yamlKey(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if key == "" {
		r.problem("the field %s of %s has no yaml key", f.Name, f.Type)
	}
	return key
}

// keys writes the keys of a struct.
func (r *reference) keys(v reflect.Value, path string, depth int) {
	tc, err := r.comments.of(v.Type())
	if err != nil {
		r.problem("%v", err)
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		if f.Anonymous && f.Tag.Get("yaml") == ",inline" {
			r.keys(v.Field(i), path, depth)
			continue
		}
		doc := tc.fields[f.Name]
		if doc == "" {
			r.problem("the field %s of %s has no comment", f.Name, v.Type())
		}
		r.key(f, v.Field(i), path, depth, doc)
	}
}

func (r *reference) key(f reflect.StructField, v reflect.Value, path string, depth int, doc string) {
	key := r.yamlKey(f)
	indent := strings.Repeat("  ", depth)
	kind, standard := describe(v)
	fmt.Fprintf(&r.b, "%s- **`%s%s`** (%s", indent, path, key, kind)
	if standard != "" {
		fmt.Fprintf(&r.b, ", default `%s`", standard)
	}
	fmt.Fprintf(&r.b, "): %s\n", strings.ReplaceAll(sentence(f.Name, doc), "\n", "\n"+indent+"  "))
	inner := v
	switch v.Kind() {
	case reflect.Slice:
		inner = reflect.New(v.Type().Elem()).Elem()
		if inner.Type() == reflect.TypeFor[edge.Route]() {
			inner = reflect.ValueOf(edge.DefaultRoute()) // its items start from these
		} else if inner.Type() == reflect.TypeFor[api.Route]() {
			inner = reflect.ValueOf(api.DefaultRoute())
		}
		if inner.Type() == reflect.TypeFor[edge.Upstream]() {
			inner = reflect.ValueOf(edge.Upstream{Weight: 1})
		}
		path += key + "[]."
	default:
		path += key + "."
	}
	if inner.Kind() == reflect.Struct && strings.HasPrefix(inner.Type().PkgPath(), module) && !isText(inner.Type()) {
		r.keys(inner, path, depth+1)
	}
}

func isText(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

// describe returns the kind of a value for people, and its text where it is a default to show.
func describe(v reflect.Value) (kind, standard string) {
	switch value := v.Interface().(type) {
	case time.Duration:
		return "duration", plainDuration(value)
	case bytesize.Size:
		return "size", value.String()
	}
	t := v.Type()
	if isText(t) && t.Kind() != reflect.Slice {
		return textKind(t), strings.ToLower(fmt.Sprint(v.Interface()))
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false", fmt.Sprint(v.Bool())
	case reflect.String:
		return "text", v.String()
	case reflect.Struct:
		return "section", ""
	case reflect.Map:
		return "map", ""
	case reflect.Slice:
		items := make([]string, v.Len())
		for i := range items {
			_, items[i] = describe(v.Index(i))
		}
		standard = strings.Join(items, ", ")
		if t.Elem().Kind() == reflect.Struct && !isText(t.Elem()) {
			return "list of sections", ""
		}
		elem, _ := describe(reflect.New(t.Elem()).Elem())
		return "list: " + elem, standard
	}
	return "number", fmt.Sprint(v.Interface())
}

func textKind(t reflect.Type) string {
	switch t.String() {
	case "netip.Prefix":
		return "network"
	case "netip.Addr":
		return "address"
	}
	return "text"
}

// plainDuration writes a duration without the zeros that String leaves.
func plainDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// sentence makes Markdown of a field's comment: without the field's name in front.
func sentence(field, doc string) string {
	doc = strings.TrimSpace(doc)
	rest, named := strings.CutPrefix(doc, field+" ")
	if !named {
		return doc
	}
	rest = strings.TrimPrefix(rest, "is ")
	rest = strings.TrimPrefix(rest, "are ")
	return rest
}
