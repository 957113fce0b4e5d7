package signal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
)

// Bounds of the JSON form, so that hostile input costs little.
const (
	maxJSON      = 4 << 20
	maxJSONDepth = 32
)

// UnmarshalJSON reads the OCSF form. Attributes that the field table has no field for,
// or whose value has another type than the field, are kept as unmapped, up to MaxUnmapped;
// more, deeper or larger input is an error, and e is then empty.
func (e *Event) UnmarshalJSON(data []byte) error {
	e.Reset()
	err := e.readJSON(data)
	if err != nil {
		e.Reset()
		return fmt.Errorf("event: %w", err)
	}
	return nil
}

func (e *Event) readJSON(data []byte) error {
	if len(data) > maxJSON {
		return fmt.Errorf("%d bytes, at most %d are read", len(data), maxJSON)
	}
	if err := checkDepth(data); err != nil {
		return err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var doc map[string]any
	if err := dec.Decode(&doc); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	if doc == nil {
		return errors.New("not a JSON object")
	}
	if err := e.readHeader(doc); err != nil {
		return err
	}
	exact := map[string]int64{}
	masked := map[string]bool{}
	if meta, ok := doc["metadata"].(map[string]any); ok {
		for _, name := range anyStrings(meta["masked"]) {
			masked[name] = true
		}
		delete(meta, "masked")
	}
	if rest, ok := doc["unmapped"].(map[string]any); ok {
		if s, ok := rest[exactTimes].(string); ok {
			exact = parseExact(s)
			delete(rest, exactTimes)
		}
		for _, name := range slices.Sorted(maps.Keys(rest)) {
			if !e.SetUnmapped(name, anyText(rest[name])) {
				return fmt.Errorf("more than %d unmapped attributes", MaxUnmapped)
			}
		}
		delete(doc, "unmapped")
	}
	if err := e.readObject("", doc, nil); err != nil {
		return err
	}
	e.Time += exact["time"]
	for i := range e.slots {
		s := &e.slots[i]
		if s.kind == KindTime {
			s.num += uint64(exact[s.field.Name()])
		}
		s.masked = s.kind == KindString && masked[s.field.Name()]
	}
	return nil
}

// derived are attributes that the header implies.
func derived(path string) bool {
	switch path {
	case "activity_name", "category_uid", "category_name", "class_name", "type_uid", "type_name",
		"severity", "metadata.product.name", "metadata.version":
		return true
	}
	return false
}

func (e *Event) readHeader(doc map[string]any) error {
	class, err := takeInt(doc, "class_uid", math.MaxUint16)
	if err != nil {
		return err
	}
	activity, err := takeInt(doc, "activity_id", math.MaxUint8)
	if err != nil {
		return err
	}
	severity, err := takeInt(doc, "severity_id", 99)
	if err != nil {
		return err
	}
	if severity >= int64(len(severityNames)) {
		severity = 0
	}
	ms, err := takeInt(doc, "time", math.MaxInt64/1_000_000)
	if err != nil {
		return err
	}
	e.Class, e.Activity, e.Severity, e.Time = Class(class), uint8(activity), Severity(severity), ms*1e6
	meta, ok := doc["metadata"].(map[string]any)
	if !ok {
		return nil
	}
	seq, err := takeInt(meta, "sequence", math.MaxInt64)
	if err != nil {
		return err
	}
	e.Seq = uint64(seq)
	// Ids and planes of other products are kept as they are, outside of the header.
	take := func(key string, parse func(string) bool) {
		if s, ok := meta[key].(string); ok && parse(s) {
			delete(meta, key)
		}
	}
	take("uid", func(s string) (ok bool) { e.ID, ok = parsedID(s); return ok })
	take("correlation_uid", func(s string) (ok bool) { e.Parent, ok = parsedID(s); return ok })
	take("log_provider", func(s string) bool {
		p, err := ParsePlane(s)
		if err == nil {
			e.Plane = p
		}
		return err == nil
	})
	return nil
}

func parsedID(s string) (ID, bool) {
	id, err := ParseID(s)
	return id, err == nil
}

// takeInt removes an integer from the object; one that is missing is 0.
func takeInt(m map[string]any, key string, limit int64) (int64, error) {
	v, ok := m[key]
	if !ok {
		return 0, nil
	}
	n, ok := anyInt(v)
	if !ok || n > limit || n < -limit || (n < 0 && key != "time") {
		return 0, fmt.Errorf("%s: not a whole number in range: %s", key, anyText(v))
	}
	delete(m, key)
	return n, nil
}

// readObject sets the fields below prefix, in the order of their names.
func (e *Event) readObject(prefix string, m map[string]any, lists *listReader) error {
	for _, key := range slices.Sorted(maps.Keys(m)) {
		path := key
		if prefix != "" {
			path = prefix + "." + key
		}
		if derived(path) {
			continue
		}
		if err := e.readValue(path, m[key], lists); err != nil {
			return err
		}
	}
	return nil
}

// listReader gathers the columns of an array of objects.
type listReader struct {
	at     int // object that is read
	values map[Field][]string
}

func (e *Event) readValue(path string, v any, lists *listReader) error {
	f, known := Lookup(path)
	if lists != nil && known && f.Kind() == KindStrings {
		if s, ok := v.(string); ok {
			column := lists.values[f]
			for len(column) < lists.at {
				column = append(column, "")
			}
			lists.values[f] = append(column, s)
			return nil
		}
	}
	if known && lists == nil && !f.IsHeader() && e.setAny(f, v) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		return e.readObject(path, v, lists)
	case []any:
		if lists == nil && isObjects(v) && hasListFields(path) {
			return e.readList(path, v)
		}
	case nil:
		return nil
	}
	if !e.SetUnmapped(path, anyText(v)) {
		return fmt.Errorf("more than %d unmapped attributes", MaxUnmapped)
	}
	return nil
}

func isObjects(list []any) bool {
	for _, v := range list {
		if _, ok := v.(map[string]any); !ok {
			return false
		}
	}
	return true
}

func hasListFields(path string) bool {
	for i := range jsonOrder {
		p := jsonOrder[i].field.Path()
		if len(p) > len(path)+2 && p[:len(path)] == path && p[len(path):len(path)+3] == "[]." {
			return true
		}
	}
	return false
}

func (e *Event) readList(path string, list []any) error {
	lists := &listReader{values: map[Field][]string{}}
	for i, item := range list {
		lists.at = i
		if err := e.readObject(path, item.(map[string]any), lists); err != nil {
			return err
		}
	}
	for _, f := range slices.Sorted(maps.Keys(lists.values)) {
		if len(e.slots) >= MaxFields {
			return fmt.Errorf("more than %d fields", MaxFields)
		}
		e.SetStrings(f, lists.values[f])
	}
	return nil
}

// setAny sets a field from a JSON value, and reports whether the value fits it.
func (e *Event) setAny(f Field, v any) bool {
	if len(e.slots) >= MaxFields {
		return false
	}
	switch f.Kind() {
	case KindString:
		if s, ok := v.(string); ok {
			e.SetString(f, s)
			return true
		}
	case KindInt:
		if n, ok := anyInt(v); ok {
			e.SetInt(f, n)
			return true
		}
	case KindTime:
		if n, ok := anyInt(v); ok && n <= math.MaxInt64/1_000_000-1 && n >= math.MinInt64/1_000_000+1 {
			e.put(f, KindTime).num = uint64(n * 1e6)
			return true
		}
	case KindBool:
		if b, ok := v.(bool); ok {
			e.SetBool(f, b)
			return true
		}
	case KindFloat:
		if n, ok := v.(json.Number); ok {
			if x, err := n.Float64(); err == nil {
				e.SetFloat(f, x)
				return true
			}
		}
	case KindIP:
		if s, ok := v.(string); ok {
			if a, ok := parseAddr(s); ok {
				e.SetIP(f, a)
				return true
			}
		}
	case KindStrings:
		if list, ok := v.([]any); ok {
			out := make([]string, len(list))
			for i, item := range list {
				s, ok := item.(string)
				if !ok {
					return false
				}
				out[i] = s
			}
			e.SetStrings(f, out)
			return true
		}
	}
	return false
}

func anyInt(v any) (int64, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, false
	}
	i, err := n.Int64()
	return i, err == nil
}

func anyStrings(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// anyText writes a JSON value as text: a string as itself, else its JSON.
func anyText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// checkDepth refuses nesting deeper than maxJSONDepth before anything is built.
func checkDepth(data []byte) error {
	depth, inString, escaped := 0, false, false
	for _, c := range data {
		switch {
		case escaped:
			escaped = false
		case inString:
			escaped = c == '\\'
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			if depth++; depth > maxJSONDepth {
				return fmt.Errorf("nested deeper than %d", maxJSONDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
