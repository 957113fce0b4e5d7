package logs

import (
	"bytes"

	"github.com/testudo-sec/testudo/internal/jsonflat"
)

// FirstLine returns the first line of a sample that is not empty, cut off where the sample is.
func FirstLine(sample []byte) []byte {
	for len(sample) > 0 {
		line, rest, _ := bytes.Cut(sample, []byte{'\n'})
		if line = trimLine(line); line != nil {
			return line
		}
		sample = rest
	}
	return nil
}

// FirstAttributes returns the attributes of the first JSON record of a sample, by their names without the indexes of arrays,
// nil where it does not begin with one. Of a record that is longer than the sample it returns the names of its
// outermost objects that are complete, as far as they can be told.
func FirstAttributes(sample []byte, envelopes ...string) map[string]string {
	r := NewReader(bytes.NewReader(sample), Format{Framing: Documents, Envelopes: envelopes}, Options{})
	record, err := r.Next()
	if err != nil {
		r.Finish()
		if record, err = r.Next(); err != nil {
			return nil
		}
		record = closed(record)
	}
	var f jsonflat.Flattener
	items, err := f.Flatten(record)
	if err != nil {
		return nil
	}
	attrs := make(map[string]string, len(items))
	for _, it := range items {
		if _, ok := attrs[f.Attr(it.ID)]; !ok {
			attrs[f.Attr(it.ID)] = it.Value
		}
	}
	return attrs
}

// closed returns what is complete of the beginning of a JSON object, with the brackets that are open then closed.
func closed(record []byte) []byte {
	var open, at []byte // brackets that are open now, and were at end
	end := 0
	inString := false
	for i := 0; i < len(record); i++ {
		switch c := record[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			open = append(open, c+2)
		case c == '}' || c == ']':
			if len(open) == 0 {
				return nil
			}
			open = open[:len(open)-1]
		case c == ',':
			end, at = i, append(at[:0], open...)
		}
	}
	out := bytes.Clone(record[:end])
	for i := len(at) - 1; i >= 0; i-- {
		out = append(out, at[i])
	}
	return out
}
