// Package logfields says which field of an event holds an attribute of a record of a given log: Sysmon's Image of a
// process_creation record is process.file.path, CloudTrail's eventName is api.operation.
//
// It is the one place where that is written. The parsers of the logs room put values where [Lookup] says, the Sigma
// dialect reads them where [Fields] says, so what is mapped and what a rule reads agree by construction:
//
//   - A value is in the field, or under its own name. Where the table has no field, where the value does not fit the
//     field's type ("-" or a host name where an address is wanted), and where the field is already taken by another
//     attribute of the record, the value is an unmapped attribute of the event under the attribute's own name, unchanged.
//     A rule that reads an attribute of a typed field therefore looks at the field and, where that is not set, at the name.
//   - A source is named in Sigma's words. The most specific row wins: more parts named is more specific, and of as many,
//     service before category before product.
//   - Elements of arrays are looked up without their index: resources[0].ARN is resources.ARN.
//
// Two rewritings are part of the table, since a value would else never fit: an integer field takes 0x1f4 for 500, and
// a list field takes every element of an array.
package logfields

import (
	_ "embed"
	"strings"
	"sync"
)

// Source is a log source in Sigma's words; an empty part is one that is not known or not stated.
type Source struct {
	Product  string
	Service  string
	Category string
}

// Row is one line of the table: a record of a source that fits From has its attribute Attr in Field. The empty parts
// of From fit every source.
type Row struct {
	From  Source
	Attr  string
	Field string
	// ReadOnly marks a second place where rules look: what they call Attr is also there, but no parser puts it there. Public
	// rules call the whole request target cs-uri-query, for one.
	ReadOnly bool
}

//go:embed fields.tsv
var tsv string

// table holds the rows by attribute. It is made once and never changed.
var table = sync.OnceValue(parse)

func parse() map[string][]Row {
	rows := make(map[string][]Row)
	for line := range strings.Lines(tsv) {
		line = strings.TrimRight(line, "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		cells := strings.Split(line, "\t")
		if len(cells) != 5 {
			panic("logfields: fields.tsv: five cells are wanted: " + line) // held by a test
		}
		field, readOnly := strings.CutPrefix(cells[4], "+")
		for product := range strings.SplitSeq(cells[0], ",") {
			for service := range strings.SplitSeq(cells[1], ",") {
				for category := range strings.SplitSeq(cells[2], ",") {
					from := Source{part(product), part(service), part(category)}
					for attr := range strings.SplitSeq(cells[3], ",") {
						rows[attr] = append(rows[attr], Row{From: from, Attr: attr, Field: field, ReadOnly: readOnly})
					}
				}
			}
		}
	}
	return rows
}

func part(cell string) string {
	if cell == "-" {
		return ""
	}
	return cell
}

// Lookup returns the name of the field that holds an attribute of a record of that source. ok is false where
// the table has none: the attribute is then unmapped, under its own name. Safe for concurrent use.
func Lookup(src Source, attr string) (field string, ok bool) {
	best := -1
	for _, r := range table()[attr] {
		if w := r.From.weight(); !r.ReadOnly && w > best && r.From.covers(src) {
			best, field = w, r.Field
		}
	}
	return field, best >= 0
}

// Fields returns every field that may hold what a rule for that source calls attr, the likeliest first, each once. A
// rule may state less than a record knows: one for the service sysmon reads records of every category, in which Image
// is not always the same field. Where it returns none, and wherever a value did not fit its field, the attribute is
// found under its own name. Safe for concurrent use.
func Fields(src Source, attr string) []string {
	var fields []string
	add := func(f string) {
		for _, have := range fields {
			if have == f {
				return
			}
		}
		fields = append(fields, f)
	}
	rows := table()[attr]
	first, ok := Lookup(src, attr)
	if ok {
		add(first)
	}
	best := -1
	for _, r := range rows {
		if !r.ReadOnly && r.From.covers(src) {
			best = max(best, r.From.weight())
		}
	}
	for _, r := range rows {
		switch {
		case r.From.covers(src):
			if r.ReadOnly {
				add(r.Field)
			}
		case r.From.weight() > best && r.From.meets(src): // a record of that source may be covered by it
			add(r.Field)
		}
	}
	return fields
}

// Rows returns the whole table, for documentation and tests, in no certain order.
func Rows() []Row {
	var all []Row
	for _, rows := range table() {
		all = append(all, rows...)
	}
	return all
}

// covers reports whether every record of src fits s.
func (s Source) covers(src Source) bool {
	return (s.Product == "" || s.Product == src.Product) && (s.Service == "" || s.Service == src.Service) &&
		(s.Category == "" || s.Category == src.Category)
}

// meets reports whether a record may fit both.
func (s Source) meets(src Source) bool {
	fit := func(a, b string) bool { return a == "" || b == "" || a == b }
	return fit(s.Product, src.Product) && fit(s.Service, src.Service) && fit(s.Category, src.Category)
}

// weight orders sources by how specific they are.
func (s Source) weight() int {
	w := 0
	if s.Product != "" {
		w += 8 + 1
	}
	if s.Category != "" {
		w += 8 + 2
	}
	if s.Service != "" {
		w += 8 + 4
	}
	return w
}
