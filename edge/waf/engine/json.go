package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
	"github.com/tidwall/gjson"
)

// Of a flattened body: how much longer it may be than the body.
const (
	flattenFactor = 8
	flattenLeast  = 4096
)

// json flattens JSON to arguments: "json.a.0.b" for what it holds, and an array's name for its length. What comes before an error
// is kept.
func (tx *Transaction) json(v variables.RuleVariable, text string, depth int) error {
	f := flattener{text: text, room: max(flattenFactor*len(text), flattenLeast), limit: tx.engine.settings.ArgumentsLimit, brackets: tx.brackets[:0],
		add: func(name []byte, value string) { tx.add(v, tx.arena.Copy(name), value) }}
	budget := f.room
	f.name = append(tx.name[:0], "json"...)
	truncated, err := f.all(depth)
	tx.name, tx.brackets = f.name, f.brackets
	if truncated {
		tx.singles[variables.ArgumentsLimitReached] = "1"
	}
	switch {
	case errors.Is(err, errTooLong):
		return fmt.Errorf("flattened form exceeds the %d byte budget for a %d byte body", budget, len(text))
	case err != nil:
		return err
	case deeper(text, depth):
		return errTooDeep
	case !gjson.Valid(text):
		return errors.New("invalid JSON")
	}
	return nil
}

var (
	errTooLong = errors.New("the flattened body is too long")
	errTooDeep = errors.New("max recursion reached while reading json object")
)

// flattener goes through JSON, and through what is none, as gjson's ForEach does, which Coraza calls for each level anew. That one reads
// all that a level holds for each level around it: a body of brackets costs the square of its length. Here ends are noted in one pass.
type flattener struct {
	text            string
	add             func(name []byte, value string)
	room            int // bytes
	limit           int
	values, lengths int
	name            []byte    // of what is walked through
	brackets        []bracket // in the order of the text
	next            int       // of brackets: those before it are behind the walk
}

// bracket is an object or a list of the text, or what looks like one.
type bracket struct{ at, end int32 }

// all goes through the whole text.
func (f *flattener) all(depth int) (truncated bool, err error) {
	whole := gjson.Parse(f.text)
	if whole.Type == gjson.JSON {
		f.mark(whole.Index)
		return f.walk(whole.Index, len(f.text), len(f.name), depth)
	}
	if f.values >= f.limit {
		return true, nil
	}
	if depth <= 0 {
		return false, errTooDeep
	}
	if !whole.Exists() {
		return false, nil
	}
	base := len(f.name)
	f.name = append(f.name, ".0"...)
	if !f.value(whole) {
		return false, errTooLong
	}
	return f.length(base, 1)
}

// mark notes where the brackets from a place on end, by their number and whatever their kind. What is between quotes is none.
func (f *flattener) mark(from int) {
	f.brackets, f.next = f.brackets[:0], 0
	open := int32(-1) // the innermost; its end is the number of the one around it until it is known
	for i := from; i < len(f.text); i++ {
		switch f.text[i] {
		case '"':
			for i++; i < len(f.text) && f.text[i] != '"'; i++ {
				if f.text[i] == '\\' {
					i++
				}
			}
		case '{', '[', '(':
			f.brackets = append(f.brackets, bracket{int32(i), -1 - open})
			open = int32(len(f.brackets) - 1)
		case '}', ']', ')':
			if open >= 0 {
				around := -1 - f.brackets[open].end
				f.brackets[open].end = int32(i + 1)
				open = around
			}
		}
	}
	for open >= 0 {
		around := -1 - f.brackets[open].end
		f.brackets[open].end = int32(len(f.text))
		open = around
	}
}

// end returns where the bracket at a place ends.
func (f *flattener) end(at, most int) int {
	for again := false; ; again = true {
		for f.next < len(f.brackets) && int(f.brackets[f.next].at) < at {
			f.next++
		}
		if f.next < len(f.brackets) && int(f.brackets[f.next].at) == at {
			return min(int(f.brackets[f.next].end), most)
		}
		if again {
			return most
		}
		f.mark(at) // a quote that is none, as in a number, was taken for one
	}
}

func (f *flattener) put(name []byte, value string) bool {
	if len(name)+len(value) > f.room {
		return false
	}
	f.room -= len(name) + len(value)
	f.add(name, value)
	return true
}

// value keeps a value that holds no others, whose name is that of the flattener.
func (f *flattener) value(v gjson.Result) bool {
	text := v.Raw
	switch v.Type {
	case gjson.String:
		text = v.Str
	case gjson.Null:
		text = ""
	}
	f.values++
	return f.put(f.name, text)
}

// length keeps how many items the list has whose name is as long as base.
func (f *flattener) length(base, items int) (truncated bool, err error) {
	if f.lengths >= f.limit {
		return true, nil
	}
	if !f.put(f.name[:base], strconv.Itoa(items)) {
		return false, errTooLong
	}
	f.lengths++
	return false, nil
}

// walk goes through what stands between two places of the text and begins with a bracket. Its name is as long as base.
func (f *flattener) walk(from, to, base, depth int) (truncated bool, err error) {
	if f.values >= f.limit {
		return true, nil
	}
	if depth <= 0 {
		return false, errTooDeep
	}
	object, items := f.text[from] == '{', 0
	for i := from + 1; i < to; i++ {
		f.name = append(f.name[:base], '.')
		if object {
			if f.text[i] != '"' {
				continue
			}
			end := quoteEnd(f.text[:to], i)
			if end < 0 {
				break
			}
			f.name = append(f.name, unquotedJSON(f.text[i:end]).Str...)
			i = end
		}
		v, end := f.parse(i, to)
		if end < 0 {
			break
		}
		if f.values >= f.limit {
			return true, nil
		}
		i = end
		if !object {
			f.name = strconv.AppendInt(f.name, int64(items), 10)
			items++
		}
		if v.Type != gjson.JSON {
			if !f.value(v) {
				return truncated, errTooLong
			}
			continue
		}
		cut, err := f.walk(v.Index, end, len(f.name), depth-1)
		truncated = truncated || cut
		if err != nil {
			return truncated, err
		}
	}
	if items > 0 && !truncated {
		return f.length(base, items)
	}
	return truncated, nil
}

// parse reads a value from a place on, and returns where it ends; -1 if there is none. Of brackets it says where they are.
func (f *flattener) parse(i, to int) (v gjson.Result, end int) {
	text := f.text[:to]
	for i < to && (text[i] <= ' ' || text[i] == ',' || text[i] == ':') {
		i++
	}
	for ; i < to; i++ {
		switch c := text[i]; c {
		case '{', '[':
			return gjson.Result{Type: gjson.JSON, Index: i}, f.end(i, to)
		case '"':
			if end = quoteEnd(text, i); end < 0 {
				return v, end
			}
			return unquotedJSON(text[i:end]), end
		case 'n', 't', 'f':
			if c == 'n' && i+1 < to && text[i+1] != 'u' { // nan
				return numberAt(text, i)
			}
			for end = i + 1; end < to && text[end] >= 'a' && text[end] <= 'z'; end++ {
			}
			v.Raw = text[i:end]
			if c != 'n' {
				v.Type = gjson.True // its text tells which
			}
			return v, end
		case '+', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'i', 'I', 'N':
			return numberAt(text, i)
		}
	}
	return v, -1
}

// numberAt takes for a number what goes on to a comma, a space or the end of what is around it.
func numberAt(text string, i int) (v gjson.Result, end int) {
	for end = i + 1; end < len(text); end++ {
		if c := text[end]; c <= ' ' || c == ',' || c == ']' || c == '}' {
			break
		}
	}
	return gjson.Result{Type: gjson.Number, Raw: text[i:end]}, end
}

// quoteEnd returns where the text ends that begins with a quote at a place; -1 if it does not.
func quoteEnd(text string, i int) int {
	for i++; i < len(text); i++ {
		switch text[i] {
		case '"':
			return i + 1
		case '\\':
			i++
		}
	}
	return -1
}

func unquotedJSON(raw string) gjson.Result {
	if strings.IndexByte(raw, '\\') < 0 {
		return gjson.Result{Type: gjson.String, Raw: raw, Str: raw[1 : len(raw)-1]}
	}
	return gjson.Parse(raw)
}

// deeper reports whether brackets nest deeper than the limit, wherever they stand.
func deeper(text string, limit int) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}
