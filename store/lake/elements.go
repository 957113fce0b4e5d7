package lake

import (
	"fmt"

	"github.com/testudo-sec/testudo/store"
)

// elements are the values of a list column whose values all stand in its dictionary.
type elements struct {
	codes []int32 // places in the dictionary, -1 for null
	rows  []int32 // the row of each
}

// elements returns the values of a list column. Several tests of a filter look at the same column.
func (v *vectors) elements(at, entries int) (*elements, error) {
	if e := v.flat[at]; e != nil {
		return e, nil
	}
	e := new(elements)
	c := v.column(at)
	defer c.close()
	row := int32(-1)
	for c.row < v.rows {
		p, err := v.nextOf(c)
		if err != nil {
			return nil, err
		}
		n := 0
		for i, rep := range p.rep {
			if rep == 0 {
				row++
			}
			code := int32(-1)
			if int(p.def[i]) == c.spec.maxDef {
				if code = p.index[n]; uint32(code) >= uint32(entries) {
					return nil, fmt.Errorf("column %s has a value that its dictionary lacks", c.spec.name)
				}
				n++
			}
			e.codes, e.rows = append(e.codes, code), append(e.rows, row)
		}
	}
	if int(row) >= v.rows {
		return nil, fmt.Errorf("column %s has more than %d rows", c.spec.name, v.rows)
	}
	v.flat[at] = e
	return e, nil
}

// attrNames says which names of attributes in the dictionary a test is about: True for those.
func (v *vectors) attrNames(f *store.Filter) (*answers, error) {
	a := &answers{null: store.False}
	v.asked[f] = a
	at := v.reader.layout.at.key
	if v.allNull(at) {
		a.all = store.False
		return a, nil
	}
	if v.metadata(at).DictionaryPageOffset == 0 || !v.coded(at) {
		return a, nil
	}
	d, err := v.dictionary(at)
	if err != nil || d == nil {
		return a, err
	}
	a.known, a.all = make([]store.Truth, d.Len()), store.False
	for i := range a.known {
		name := d.Index(int32(i))
		*v.asking = true
		is := f.Attr(asString(&name))
		*v.asking = false
		if is {
			a.known[i], a.all = store.True, store.Open
		}
	}
	return a, nil
}

// attrs answers for attributes: a row that has none of the names is False. The others are told by their values where
// these stand in a dictionary, else they are open.
func (v *vectors) attrs(f *store.Filter, a *answers, in, yes, no rowset) error {
	keys, values := v.reader.layout.at.key, v.reader.layout.at.value
	if a.known == nil {
		return nil
	}
	names, err := v.elements(keys, len(a.known))
	if err != nil {
		return err
	}
	copy(no, in)
	told := !v.allNull(values) && v.metadata(values).DictionaryPageOffset != 0 && v.coded(values)
	if !told {
		for i, code := range names.codes {
			if code >= 0 && a.known[code] == store.True {
				no[names.rows[i]>>6] &^= 1 << (names.rows[i] & 63)
			}
		}
		return nil
	}
	open := v.take()
	defer v.give(open)
	if err := v.pairs(f, a, names, yes, open); err != nil {
		return err
	}
	yes.intersect(in)
	no.subtract(yes)
	no.subtract(open)
	return nil
}

// pairs asks the test about each name with each value that it has.
func (v *vectors) pairs(f *store.Filter, a *answers, names *elements, yes, open rowset) error {
	entries, err := v.dictionary(v.reader.layout.at.value)
	if err != nil {
		return err
	}
	values, err := v.elements(v.reader.layout.at.value, entries.Len())
	if err != nil {
		return err
	}
	if len(values.codes) != len(names.codes) {
		return fmt.Errorf("column unmapped: %d names, %d values", len(names.codes), len(values.codes))
	}
	words, err := v.dictionary(v.reader.layout.at.key)
	if err != nil {
		return err
	}
	type pair struct{ name, value int32 }
	asked := make(map[pair]store.Truth)
	for i, name := range names.codes {
		if name < 0 || a.known[name] != store.True {
			continue
		}
		p := pair{name, values.codes[i]}
		t, ok := asked[p]
		if !ok {
			v.event.Reset()
			v.event.Class = v.reader.part.Class
			text := ""
			if p.value >= 0 {
				value := entries.Index(p.value)
				text = asString(&value)
			}
			word := words.Index(name)
			v.event.AddUnmapped(asString(&word), text)
			t = v.answer(f)
			asked[p] = t
		}
		mark(t, int(names.rows[i]), yes, open)
	}
	return nil
}
