package lake

import (
	"github.com/parquet-go/parquet-go"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
)

// maxPairs bounds the pairs of values that a test of two fields is asked about ahead of their turn.
const maxPairs = 1 << 20

// pair answers for a test of two fields whose values all stand in their dictionaries; else the rows stay open.
func (v *vectors) pair(f *store.Filter, in, yes, no rowset) error {
	var entries [2]int32
	var codes [2][]int32
	var dicts [2]parquet.Dictionary
	var specs [2]*columnSpec
	for i, field := range []signal.Field{f.Field, f.Other} {
		at := v.reader.layout.byField[field]
		if specs[i] = &v.reader.layout.columns[at]; specs[i].maxRep > 0 || field.Kind() == signal.KindTime {
			return nil
		}
		if v.allNull(at) {
			continue
		}
		if !v.coded(at) {
			return nil
		}
		var err error
		if dicts[i], err = v.dictionary(at); err != nil || dicts[i] == nil {
			return err
		}
		entries[i] = int32(dicts[i].Len())
		if codes[i], err = v.places(at, int(entries[i])); err != nil {
			return err
		}
	}
	// One place more is for rows without a value.
	width := int(entries[1]) + 1
	if (int(entries[0])+1)*width > maxPairs {
		return nil
	}
	const unasked = 255
	answers := make([]store.Truth, (int(entries[0])+1)*width)
	for i := range answers {
		answers[i] = unasked
	}
	in.each(func(row int) bool {
		at := [2]int32{entries[0], entries[1]}
		for i := range codes {
			if codes[i] != nil {
				at[i] = codes[i][row]
			}
		}
		answer := &answers[int(at[0])*width+int(at[1])]
		if *answer == unasked {
			v.event.Reset()
			v.event.Class = v.reader.part.Class
			for i := range at {
				if at[i] < entries[i] {
					v.set(specs[i], dicts[i].Index(at[i]))
				}
			}
			*answer = v.answer(f)
		}
		switch *answer {
		case store.True:
			yes.add(row)
		case store.False:
			no.add(row)
		}
		return true
	})
	return nil
}
