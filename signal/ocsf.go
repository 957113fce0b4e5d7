package signal

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The OCSF form of an event is a JSON object whose nesting follows the attribute
// paths of the field table. Times are milliseconds since the Unix epoch, as OCSF
// has it, and the exact nanoseconds stand in unmapped.testudo_ns where they are not
// whole milliseconds. Attributes that the table has no field for are strings in
// unmapped. Names of masked fields stand in metadata.masked, an attribute of
// testudo's extension as are waf, edge, verdict and a few more.

// segment is one step of an attribute path.
type segment struct {
	name string
	list bool // an array of objects
}

type jsonField struct {
	field Field
	path  []segment
}

// jsonOrder holds the fields in the order in which objects can be written without going
// back: by path, segment by segment.
var jsonOrder = orderFields()

func orderFields() []jsonField {
	order := make([]jsonField, 0, fieldCount)
	for f := lastHeader + 1; f <= fieldCount; f++ {
		order = append(order, jsonField{f, segments(f.Path())})
	}
	slices.SortFunc(order, func(a, b jsonField) int {
		return slices.CompareFunc(a.path, b.path, func(x, y segment) int { return cmp.Compare(x.name, y.name) })
	})
	return order
}

func segments(path string) []segment {
	parts := strings.Split(path, ".")
	segs := make([]segment, len(parts))
	for i, p := range parts {
		segs[i] = segment{strings.TrimSuffix(p, "[]"), strings.HasSuffix(p, "[]")}
	}
	return segs
}

// MarshalJSON returns the OCSF form.
func (e *Event) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// AppendJSON appends the event in OCSF form, in its recorded form, as one line
// without a line break. Text that is not UTF-8 is repaired with U+FFFD.
func (e *Event) AppendJSON(b []byte) []byte {
	w := jsonWriter{b: b}
	w.open()
	w.int("activity_id", int64(e.Activity))
	w.text("activity_name", e.Class.Activity(e.Activity))
	w.int("category_uid", int64(e.Class.Category()))
	w.text("class_name", e.Class.Title())
	w.int("class_uid", int64(e.Class))
	w.int("severity_id", int64(e.Severity))
	w.int("time", floorMilli(e.Time))
	w.int("type_uid", int64(e.Class)*100+int64(e.Activity))
	w.key("metadata")
	w.open()
	w.text("correlation_uid", e.Parent.String())
	w.text("log_provider", e.Plane.String())
	if e.Seq != 0 {
		w.int("sequence", int64(e.Seq))
	}
	w.text("uid", e.ID.String())
	w.key("product")
	w.open()
	w.text("name", "testudo")
	w.close()
	w.text("version", OCSFVersion)
	w.masked(e)
	w.path = append(w.path, "metadata")
	// The object metadata is open: its further fields follow, then the others.
	e.appendFields(&w, true)
	w.closeTo(0)
	e.appendFields(&w, false)
	w.closeTo(0)
	w.unmapped(e)
	w.close()
	return w.b
}

func floorMilli(ns int64) int64 {
	ms := ns / 1e6
	if ns%1e6 < 0 {
		ms--
	}
	return ms
}

func (e *Event) appendFields(w *jsonWriter, metadata bool) {
	for i := 0; i < len(jsonOrder); i++ {
		jf := &jsonOrder[i]
		if (jf.path[0].name == "metadata") != metadata {
			continue
		}
		at := listAt(jf.path)
		if at < 0 {
			if e.index[jf.field] != 0 {
				w.enter(jf.path[:len(jf.path)-1])
				w.key(jf.path[len(jf.path)-1].name)
				w.value(e, &e.slots[e.index[jf.field]-1])
			}
			continue
		}
		end := i + 1
		for end < len(jsonOrder) && samePrefix(jf.path, jsonOrder[end].path, at+1) {
			end++
		}
		w.list(e, jsonOrder[i:end], at)
		i = end - 1
	}
}

func listAt(path []segment) int {
	return slices.IndexFunc(path, func(s segment) bool { return s.list })
}

func samePrefix(a, b []segment, n int) bool {
	return len(a) >= n && len(b) >= n && slices.Equal(a[:n], b[:n])
}

// jsonWriter writes nested objects. path holds the names of the open objects
// below the outermost one.
type jsonWriter struct {
	b     []byte
	path  []string
	comma bool
}

func (w *jsonWriter) open() {
	w.b = append(w.b, '{')
	w.comma = false
}

func (w *jsonWriter) close() {
	w.b = append(w.b, '}')
	w.comma = true
}

func (w *jsonWriter) key(name string) {
	if w.comma {
		w.b = append(w.b, ',')
	}
	w.comma = true
	w.b = append(appendJSONString(w.b, name), ':')
}

func (w *jsonWriter) int(name string, v int64) {
	w.key(name)
	w.b = strconv.AppendInt(w.b, v, 10)
}

func (w *jsonWriter) text(name, v string) {
	if v != "" {
		w.key(name)
		w.b = appendJSONString(w.b, v)
	}
}

// enter opens and closes objects until those of the path are the open ones.
func (w *jsonWriter) enter(path []segment) {
	common := 0
	for common < len(path) && common < len(w.path) && w.path[common] == path[common].name {
		common++
	}
	w.closeTo(common)
	for _, s := range path[common:] {
		w.key(s.name)
		w.open()
		w.path = append(w.path, s.name)
	}
}

func (w *jsonWriter) closeTo(depth int) {
	for len(w.path) > depth {
		w.close()
		w.path = w.path[:len(w.path)-1]
	}
}

func (w *jsonWriter) value(e *Event, s *slot) {
	switch s.kind {
	case KindString:
		w.b = appendJSONString(w.b, e.recordedOf(s))
	case KindInt:
		w.b = strconv.AppendInt(w.b, int64(s.num), 10)
	case KindTime:
		w.b = strconv.AppendInt(w.b, floorMilli(int64(s.num)), 10)
	case KindBool:
		w.b = strconv.AppendBool(w.b, s.num != 0)
	case KindFloat:
		w.b = appendFloat(w.b, math.Float64frombits(s.num))
	case KindIP:
		w.b = append(s.addr().AppendTo(append(w.b, '"')), '"')
	case KindStrings:
		w.b = append(w.b, '[')
		for i, v := range e.lists[s.num] {
			if i > 0 {
				w.b = append(w.b, ',')
			}
			w.b = appendJSONString(w.b, v)
		}
		w.b = append(w.b, ']')
	}
}

func appendFloat(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) { // JSON has no form for them
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// list writes the fields of one array of objects: the i-th object holds the i-th
// value of each.
func (w *jsonWriter) list(e *Event, fields []jsonField, at int) {
	n := -1
	for _, jf := range fields {
		if e.index[jf.field] != 0 {
			n = max(n, len(e.Strings(jf.field)))
		}
	}
	if n < 0 {
		return
	}
	w.enter(fields[0].path[:at])
	w.key(fields[0].path[at].name)
	w.b = append(w.b, '[')
	for i := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		item := jsonWriter{b: w.b}
		item.open()
		for _, jf := range fields {
			if values := e.Strings(jf.field); i < len(values) {
				item.enter(jf.path[at+1 : len(jf.path)-1])
				item.key(jf.path[len(jf.path)-1].name)
				item.b = appendJSONString(item.b, values[i])
			}
		}
		item.closeTo(0)
		item.close()
		w.b = item.b
	}
	w.b = append(w.b, ']')
}

func (w *jsonWriter) masked(e *Event) {
	first := true
	for i := range e.slots {
		if !e.slots[i].masked {
			continue
		}
		if first {
			w.key("masked")
			w.b = append(w.b, '[')
		} else {
			w.b = append(w.b, ',')
		}
		first = false
		w.b = appendJSONString(w.b, e.slots[i].field.Name())
	}
	if !first {
		w.b = append(w.b, ']')
	}
}

// exactTimes is the attribute of unmapped that holds what milliseconds cut off.
const exactTimes = "testudo_ns"

func (w *jsonWriter) unmapped(e *Event) {
	var exact []byte
	add := func(name string, ns int64) {
		if rest := ns - floorMilli(ns)*1e6; rest != 0 {
			if len(exact) > 0 {
				exact = append(exact, ' ')
			}
			exact = append(append(exact, name...), '=')
			exact = strconv.AppendInt(exact, rest, 10)
		}
	}
	add("time", e.Time)
	for i := range e.slots {
		if e.slots[i].kind == KindTime {
			add(e.slots[i].field.Name(), int64(e.slots[i].num))
		}
	}
	if len(exact) == 0 && len(e.unmapped) == 0 {
		return
	}
	w.key("unmapped")
	w.open()
	for _, a := range e.unmapped {
		if a.Name != exactTimes {
			w.key(a.Name)
			w.b = appendJSONString(w.b, a.Value)
		}
	}
	if len(exact) > 0 {
		w.text(exactTimes, string(exact))
	}
	w.close()
}

const hexDigits = "0123456789abcdef"

// appendJSONString appends s as a JSON string. Besides what JSON demands it
// escapes DEL, the C1 controls and the line separators U+2028 and U+2029, so
// that a line is safe to print.
func appendJSONString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c < 0x7f && c != '"' && c != '\\' {
			i++
			continue
		}
		r, size := rune(c), 1
		if c >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r > 0x9f && r != 0x2028 && r != 0x2029 {
				i += size
				continue
			}
		}
		b = append(b, s[start:i]...)
		switch r {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		}
		i += size
		start = i
	}
	b = append(b, s[start:]...)
	return append(b, '"')
}

// parseExact reads the attribute exactTimes into nanoseconds by field name.
func parseExact(s string) map[string]int64 {
	rest := make(map[string]int64)
	for part := range strings.FieldsSeq(s) {
		name, digits, _ := strings.Cut(part, "=")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n > 0 && n < int64(time.Millisecond) {
			rest[name] = n
		}
	}
	return rest
}

func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	return a.WithZone(""), err == nil
}
