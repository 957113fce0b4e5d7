package graphql

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
)

// cost is what a selection asks for.
type cost struct {
	depth, fields, aliases int
	busy                   bool // being worked out: who needs it now is in a circle
}

func (c *cost) join(other cost, factor int) {
	c.depth = max(c.depth, other.depth)
	c.fields = add(c.fields, times(other.fields, factor))
	c.aliases = add(c.aliases, other.aliases)
}

// walker goes through one operation.
type walker struct {
	c         *Checker
	variables map[string]any
	op        *ast.OperationDefinition
	out       *Result
	where     string

	fragments  map[string]*ast.FragmentDefinition
	costs      map[string]*cost // of fragments, worked out once
	directives int
	asked      bool // introspection was reported
	unknown    int  // fields that were reported
	limited    map[string]bool
}

// document walks the operation that is asked for, and tells what is wrong with the text.
func (w *walker) document(doc *ast.QueryDocument) {
	for _, f := range doc.Fragments {
		if w.fragments[f.Name] != nil {
			w.out.add(CodeFragment, w.where, "the fragment "+label(f.Name)+" stands there twice")
			continue
		}
		w.fragments[f.Name] = f
	}
	var root *ast.Definition
	if s := w.c.schema; s != nil {
		switch w.op.Operation {
		case ast.Query:
			root = s.Query
		case ast.Mutation:
			root = s.Mutation
		case ast.Subscription:
			root = s.Subscription
		}
		if root == nil {
			w.out.add(CodeOperation, w.where, "the schema has no operations of this type")
		}
	}
	w.directives += len(w.op.Directives)
	total := w.selection(w.op.SelectionSet, root, nil)
	names := map[string]bool{}
	roots := w.rootFields(w.op.SelectionSet, names, map[string]bool{})
	// What the operation does not use is counted by its directives alone: it is parsed, not executed.
	for _, f := range doc.Fragments {
		if w.costs[f.Name] == nil {
			w.directives += countDirectives(f.SelectionSet) + len(f.Directives)
		}
	}
	if len(w.out.Operations) < maxOperations {
		w.out.Operations = append(w.out.Operations, Operation{Type: string(w.op.Operation), Name: label(w.op.Name), Fields: sorted(names), Depth: total.depth, Cost: total.fields, Aliases: total.aliases})
	}
	l := w.c.limits
	w.limit(CodeDepth, "reaches", total.depth, l.Depth, "levels deep")
	w.limit(CodeCost, "asks for", total.fields, l.Cost, "fields")
	w.limit(CodeAliases, "has", total.aliases, l.Aliases, "aliases")
	w.limit(CodeRootFields, "has", roots, l.RootFields, "fields of its own")
	w.limit(CodeDirectives, "has", w.directives, l.Directives, "directives")
}

func (w *walker) limit(code, verb string, got, allowed int, what string) {
	if allowed > 0 && got > allowed {
		w.out.add(code, w.where, verb+" "+strconv.Itoa(got)+" "+what+", "+strconv.Itoa(allowed)+" are allowed")
	}
}

// selection works out what a selection asks for. The type is nil where it is not known.
func (w *walker) selection(set ast.SelectionSet, of *ast.Definition, path []string) cost {
	var sum cost
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			sum.join(w.field(s, of, path), 1)
		case *ast.InlineFragment:
			w.directives += len(s.Directives)
			inner := of
			if s.TypeCondition != "" {
				inner = w.typeOf(s.TypeCondition)
			}
			sum.join(w.selection(s.SelectionSet, inner, path), 1)
		case *ast.FragmentSpread:
			w.directives += len(s.Directives)
			sum.join(w.spread(s.Name), 1)
		}
	}
	return sum
}

func (w *walker) field(f *ast.Field, of *ast.Definition, path []string) cost {
	w.directives += len(f.Directives)
	path = append(path, f.Name)
	one := cost{fields: 1}
	if f.Alias != f.Name {
		one.aliases = 1
	}
	if (strings.HasPrefix(f.Name, "__") && f.Name != "__typename" || isFederation(f, path)) && !w.c.limits.Introspection && !w.asked {
		w.asked = true
		w.out.add(CodeIntrospection, w.place(path), "asks about the schema")
	}
	var inner *ast.Definition
	isList := false
	if of != nil && !strings.HasPrefix(f.Name, "__") {
		def := of.Fields.ForName(f.Name)
		switch {
		case def != nil:
			inner = w.typeOf(def.Type.Name())
			isList = def.Type.Elem != nil
			if len(f.SelectionSet) == 0 && inner != nil && inner.IsCompositeType() {
				w.unknownField(path, "is an object, and the request does not say which of its fields it wants")
			}
		default:
			w.unknownField(path, "the schema does not know the field")
		}
	}
	below := w.selection(f.SelectionSet, inner, path)
	below.depth++
	one.join(below, w.length(f, isList))
	return one
}

// place names a field by what leads to it. The names of deep ones are left out in the middle.
func (w *walker) place(path []string) string {
	if len(path) > 8 {
		path = append(append(slices.Clone(path[:4]), "…"), path[len(path)-3:]...)
	}
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = label(name)
	}
	return w.where + ": " + strings.Join(names, ".")
}

func (w *walker) unknownField(path []string, message string) {
	if w.unknown++; w.unknown <= 5 {
		w.out.add(CodeUnknownField, w.place(path), message)
	}
}

func (w *walker) typeOf(name string) *ast.Definition {
	if w.c.schema == nil {
		return nil
	}
	return w.c.schema.Types[name]
}

// spread works a fragment out once.
func (w *walker) spread(name string) cost {
	if known := w.costs[name]; known != nil {
		if known.busy {
			w.once(CodeFragmentCycle, "the fragment "+label(name)+" uses itself")
		}
		return *known
	}
	f := w.fragments[name]
	if f == nil {
		w.once(CodeFragment, "the fragment "+label(name)+" is not there")
		return cost{}
	}
	known := &cost{busy: true}
	w.costs[name] = known
	w.directives += len(f.Directives)
	sum := w.selection(f.SelectionSet, w.typeOf(f.TypeCondition), []string{"..." + name})
	*known = sum
	return sum
}

// once reports a thing of a text one time.
func (w *walker) once(code, message string) {
	if w.limited == nil {
		w.limited = map[string]bool{}
	}
	if !w.limited[code] {
		w.limited[code] = true
		w.out.add(code, w.where, message)
	}
}

// lengths are the arguments that say how long a list is, in the order in which they count.
var lengths = []string{"first", "last", "limit", "take", "top", "count", "size", "pagesize", "perpage", "per_page", "page_size", "maxresults"}

// length says how often what is under a field is asked for.
func (w *walker) length(f *ast.Field, isList bool) int {
	most := 0
	for _, a := range f.Arguments {
		most = max(most, w.longest(a.Name, a.Value, 0))
	}
	switch {
	case most > 0:
		return most
	case isList:
		return w.c.limits.ListSize
	}
	return 1
}

// isFederation holds for the field _service of an operation: its sdl is the whole schema (Apollo Federation, subgraph specification).
func isFederation(f *ast.Field, path []string) bool {
	return f.Name == "_service" && (len(path) == 1 || len(path) == 2 && strings.HasPrefix(path[0], "..."))
}

// maxNested bounds how deep in an argument a length is looked for: pagination: {limit: 10}.
const maxNested = 3

// longest is the length that an argument asks for, by itself or in an object; 0 where it is none.
func (w *walker) longest(name string, v *ast.Value, deep int) int {
	most := 0
	if slices.Contains(lengths, strings.ToLower(name)) {
		most, _ = w.number(v)
	}
	if v == nil || deep >= maxNested {
		return most
	}
	switch v.Kind {
	case ast.ObjectValue:
		for _, inner := range v.Children {
			most = max(most, w.longest(inner.Name, inner.Value, deep+1))
		}
	case ast.Variable:
		given, has := w.variables[v.Raw]
		if def := w.op.VariableDefinitions.ForName(v.Raw); !has && def != nil && def.DefaultValue != nil && def.DefaultValue.Kind == ast.ObjectValue {
			return max(most, w.longest("", def.DefaultValue, deep))
		}
		most = max(most, longestOf(given, deep))
	}
	return most
}

// longestOf is longest of what a variable holds.
func longestOf(v any, deep int) int {
	fields, _ := v.(map[string]any)
	most := 0
	if deep >= maxNested {
		return most
	}
	for name, inner := range fields {
		if slices.Contains(lengths, strings.ToLower(name)) {
			n, _ := numberOf(inner)
			most = max(most, n)
		}
		most = max(most, longestOf(inner, deep+1))
	}
	return most
}

// number reads an argument: a literal, a variable of the request, or the variable's default.
func (w *walker) number(v *ast.Value) (int, bool) {
	if v == nil {
		return 0, false
	}
	text := ""
	switch v.Kind {
	case ast.IntValue:
		text = v.Raw
	case ast.Variable:
		given, has := w.variables[v.Raw]
		if !has {
			def := w.op.VariableDefinitions.ForName(v.Raw)
			if def == nil || def.DefaultValue == nil || def.DefaultValue.Kind != ast.IntValue {
				return 0, false
			}
			text = def.DefaultValue.Raw
			break
		}
		return numberOf(given)
	default:
		return 0, false
	}
	return parseNumber(text)
}

// numberOf reads a variable.
func numberOf(given any) (int, bool) {
	switch given := given.(type) {
	case json.Number:
		return parseNumber(string(given))
	case string: // some servers take it
		return parseNumber(given)
	}
	return 0, false
}

func parseNumber(text string) (int, bool) {
	n, err := strconv.ParseFloat(text, 64)
	if err != nil && n == 0 || n != n || n <= 0 {
		return 0, false
	}
	return int(min(n, maxCost)), true
}

// rootFields counts the fields of the operation itself, those in fragments too, and gathers their names.
func (w *walker) rootFields(set ast.SelectionSet, names map[string]bool, within map[string]bool) int {
	n := 0
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			n = add(n, 1)
			if len(names) < 100 {
				names[label(s.Name)] = true
			}
		case *ast.InlineFragment:
			n = add(n, w.rootFields(s.SelectionSet, names, within))
		case *ast.FragmentSpread:
			// Each fragment once: a server merges what is the same, and aliases are counted by themselves.
			if f := w.fragments[s.Name]; f != nil && !within[s.Name] {
				within[s.Name] = true
				n = add(n, w.rootFields(f.SelectionSet, names, within))
			}
		}
	}
	return n
}

func countDirectives(set ast.SelectionSet) int {
	n := 0
	for _, s := range set {
		switch s := s.(type) {
		case *ast.Field:
			n += len(s.Directives) + countDirectives(s.SelectionSet)
		case *ast.InlineFragment:
			n += len(s.Directives) + countDirectives(s.SelectionSet)
		case *ast.FragmentSpread:
			n += len(s.Directives)
		}
	}
	return n
}
