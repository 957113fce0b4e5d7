package sigma

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

//go:embed logsources.tsv
var logsourcesTSV string

// sourceParts are the parts of a log source, and the field that holds each in a record's event.
var sourceParts = [...]struct {
	name  string
	field signal.Field
}{
	{"product", signal.FieldMetadataLogProduct},
	{"category", signal.FieldMetadataLogCategory},
	{"service", signal.FieldMetadataLogName},
}

// sourceTable holds the conditions of the log sources that are known, by part and name: "product windows". It is made
// once and never changed.
var sourceTable = sync.OnceValue(func() map[string]match.Expr {
	table := make(map[string]match.Expr)
	for line := range strings.Lines(logsourcesTSV) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 3 {
			panic("sigma: logsources.tsv: three cells are wanted: " + line) // held by a test
		}
		for name := range strings.SplitSeq(cells[1], ",") {
			x := sourceEqual(cells[0], name)
			if cells[2] != "-" {
				var err error
				if x, err = sourceTests(cells[2]); err != nil {
					panic("sigma: logsources.tsv: " + err.Error()) // held by a test
				}
			}
			table[cells[0]+" "+name] = x
		}
	}
	return table
})

// sourceEqual asks for the name itself.
func sourceEqual(part, name string) match.Expr {
	for _, p := range sourceParts {
		if p.name == part {
			return match.Text(match.Operand{Field: p.field}, match.OpEqual, false, name)
		}
	}
	return match.Const(false)
}

// sourceTests reads tests of fields: a=1,2 and b=3 or c=4.
func sourceTests(text string) (match.Expr, error) {
	var any match.Or
	for alternative := range strings.SplitSeq(text, " or ") {
		var all match.And
		for test := range strings.SplitSeq(alternative, " and ") {
			name, values, _ := strings.Cut(test, "=")
			f, ok := signal.Lookup(name)
			if !ok {
				return nil, fmt.Errorf("there is no field %q", name)
			}
			texts := strings.Split(values, ",")
			if f.Kind() != signal.KindInt {
				all = append(all, match.Text(match.Operand{Field: f}, match.OpEqual, false, texts...))
				continue
			}
			var ranges []match.IntRange
			for _, v := range texts {
				n, err := strconv.ParseInt(v, 10, 64)
				if class, unknown := signal.ParseClass(v); unknown == nil {
					n, err = int64(class), nil
				}
				if err != nil {
					return nil, fmt.Errorf("%s=%s is no number", name, v)
				}
				ranges = append(ranges, match.IntIs(n))
			}
			all = append(all, match.Int(match.Operand{Field: f}, ranges...))
		}
		any = append(any, all)
	}
	return any, nil
}

// partOfSource returns a part of a log source by its name, "" where it is not named.
func partOfSource(src logfields.Source, part string) string {
	switch part {
	case "product":
		return src.Product
	case "service":
		return src.Service
	}
	return src.Category
}

// sourceExpr asks whether an event is of the log source.
func sourceExpr(src logfields.Source) match.Expr {
	all := match.And{}
	for _, p := range sourceParts {
		name := partOfSource(src, p.name)
		if name == "" {
			continue
		}
		x, ok := sourceTable()[p.name+" "+name]
		if !ok {
			x = sourceEqual(p.name, name)
		}
		all = append(all, x)
	}
	return all
}

// sourceUnknown returns the parts of a log source that no table knows: they are matched by their names alone.
func sourceUnknown(src logfields.Source) []string {
	var all []string
	for _, p := range sourceParts {
		name := partOfSource(src, p.name)
		if _, ok := sourceTable()[p.name+" "+name]; name != "" && !ok {
			all = append(all, p.name+" "+name)
		}
	}
	return all
}

// sourceText returns a log source for people: "product windows, category process_creation".
func sourceText(src logfields.Source) string {
	var all []string
	for _, p := range sourceParts {
		if name := partOfSource(src, p.name); name != "" {
			all = append(all, p.name+" "+name)
		}
	}
	return strings.Join(all, ", ")
}

// logsource reads the log source of a rule, a filter or a pipeline's condition.
func (s *source) logsource(n *yaml.Node, what string) (logfields.Source, bool) {
	var src logfields.Source
	pairs, ok := s.pairs(n, what)
	if !ok {
		return src, false
	}
	for _, p := range pairs {
		var to *string
		switch p.key {
		case "product":
			to = &src.Product
		case "service":
			to = &src.Service
		case "category":
			to = &src.Category
		default:
			continue // definition, and whatever else people note there
		}
		if value, _ := s.resolved(p.value); isNull(value) {
			continue
		}
		text, at, ok := s.scalarText(p.value, p.key)
		if !ok {
			return src, false
		}
		if text = strings.ToLower(strings.TrimSpace(text)); text == "" || len(text) > 100 {
			s.problem(at, "", "%s is empty or longer than 100 bytes", p.key)
			return src, false
		}
		*to = text
	}
	if src == (logfields.Source{}) {
		s.problem(n, "name a product, a service or a category", "%s names no log", what)
		return src, false
	}
	return src, true
}

// covers reports whether a log source that is named in fewer parts takes in another.
func covers(wide, narrow logfields.Source) bool {
	return (wide.Product == "" || wide.Product == narrow.Product) && (wide.Service == "" || wide.Service == narrow.Service) &&
		(wide.Category == "" || wide.Category == narrow.Category)
}
