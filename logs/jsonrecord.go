package logs

import (
	"errors"
	"slices"

	"github.com/testudo-sec/testudo/internal/jsonflat"
	"github.com/testudo-sec/testudo/signal"
)

// JSONReader is what the parsers of JSON formats have in common: the attributes of a record, their roles, and the way
// into the event. R is the format's own type of roles: what it must know of an attribute before it can tell where
// the others go (the event's name, its time). The zero role is none.
type JSONReader[R comparable] struct {
	Flat   jsonflat.Flattener
	Map    *Mapper
	format string
	role   func(attr string) R

	roles []roleOf[R]
	gen   uint32
}

type roleOf[R comparable] struct {
	role  R
	ready bool
}

// NewJSONReader returns a reader for a format of that name. role tells the role of an attribute by its own name without
// the indexes of arrays; it is asked once for each name.
func NewJSONReader[R comparable](format string, source Source, role func(attr string) R) *JSONReader[R] {
	j := &JSONReader[R]{format: format, role: role}
	j.Map = NewMapper(&j.Flat, source)
	return j
}

// Flatten reads a record's attributes.
func (j *JSONReader[R]) Flatten(record []byte) ([]jsonflat.Item, error) {
	items, err := j.Flat.Flatten(record)
	if err != nil {
		bad := &ParseError{Format: j.format, Class: BadSyntax, Reason: err.Error(), Offset: -1}
		var syntax *jsonflat.SyntaxError
		if errors.As(err, &syntax) {
			bad.Reason, bad.Offset = syntax.Reason, syntax.Offset
		}
		return nil, bad
	}
	return items, nil
}

// Role returns the role of an attribute.
func (j *JSONReader[R]) Role(id int32) R {
	if j.gen != j.Flat.Generation() {
		j.gen = j.Flat.Generation()
		clear(j.roles)
		j.roles = j.roles[:0]
	}
	if int(id) >= len(j.roles) {
		n := len(j.roles)
		j.roles = slices.Grow(j.roles, j.Flat.Names()-n)[:j.Flat.Names()]
		clear(j.roles[n:])
	}
	r := &j.roles[id]
	if !r.ready {
		_, attr := j.Map.Own(id)
		r.role, r.ready = j.role(attr), true
	}
	return r.role
}

// Shape is the error of a record that is JSON, but not of the format.
func (j *JSONReader[R]) Shape(reason string) error {
	return &ParseError{Format: j.format, Class: BadShape, Reason: reason, Offset: -1}
}

// Fill puts all items into the event but those whose role is in skip, and completes it.
func (j *JSONReader[R]) Fill(e *signal.Event, src Source, items []jsonflat.Item, skip ...R) {
	j.Map.Start(e, src)
	for _, it := range items {
		if r := j.Role(it.ID); !slices.Contains(skip, r) {
			j.Map.Item(it)
		}
	}
	j.Map.End(j.Flat.Dropped())
}
