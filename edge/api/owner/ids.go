package owner

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// hash is FNV-1a with the last mixing of SplitMix64. It reads 256 bytes and the length of what is longer.
func hash(h uint64, s string) uint64 {
	h ^= 14695981039346656037
	n := len(s)
	if n > 256 {
		s = s[:256]
		h ^= uint64(n)
	}
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// objectKey names an object. Ids that are unique by themselves (UUIDs and the like) need no kind; 17 is an order or a user.
func objectKey(kind uint64, id string) uint64 {
	if isUnique(id) {
		return hash(0, id)
	}
	return hash(kind, id)
}

// isUnique holds for ids of 16 characters and more that are no words.
func isUnique(s string) bool {
	if len(s) < 16 || len(s) > 128 {
		return false
	}
	digits := 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c|0x20 >= 'a' && c|0x20 <= 'z' || c == '-' || c == '_' || c == '=':
		default:
			return false
		}
	}
	return digits >= 3
}

// kindOf hashes the name of a collection or a field: orders, order, order_id and orderId are one kind.
func kindOf(name string) uint64 {
	h := uint64(14695981039346656037)
	name = trimID(name)
	if n := len(name); n > 3 && name[n-1]|0x20 == 's' && name[n-2]|0x20 != 's' {
		if n > 4 && strings.EqualFold(name[n-3:], "ies") {
			name = name[:n-3]
			for i := 0; i < len(name); i++ {
				h = (h ^ uint64(name[i]|0x20)) * 1099511628211
			}
			return mix((h ^ 'y') * 1099511628211)
		}
		name = name[:n-1]
	}
	for i := 0; i < len(name) && i < 64; i++ {
		if name[i] != '_' && name[i] != '-' {
			h = (h ^ uint64(name[i]|0x20)) * 1099511628211
		}
	}
	return mix(h)
}

// trimID cuts _id, Id, _ids and the like from a name.
func trimID(name string) string {
	if name == "" {
		return name
	}
	switch name[len(name)-1] {
	case 'd', 'D', 's', 'y', 'g':
	default:
		return name
	}
	for _, tail := range [...]string{"_id", "_ids", "-id", "_uuid", "_key", "_slug", "Id", "ID", "Ids", "IDs", "Uuid", "Key"} {
		if n := len(name) - len(tail); n > 0 && name[n:] == tail {
			return name[:n]
		}
	}
	return name
}

// isIDName says that a field names an object: its own (own is true) or another one.
func isIDName(name string) (id, own bool) {
	switch name {
	case "id", "_id", "Id", "ID", "uuid", "guid", "key", "slug", "sku", "code", "number", "no", "ref", "reference", "handle", "username", "login", "name",
		"uid", "pk", "oid":
		return true, true
	}
	return len(trimID(name)) < len(name), false
}

func isLinkName(name string) bool {
	switch name {
	case "href", "url", "uri", "self", "link", "links", "location", "next", "path":
		return true
	}
	return strings.HasSuffix(name, "_url") || strings.HasSuffix(name, "Url")
}

// lastName is the last segment of a template that is no parameter, and whether a parameter follows it.
func lastName(template string) string {
	end := len(template)
	for end > 0 {
		i := strings.LastIndexByte(template[:end], '/')
		if s := template[i+1 : end]; s != "" && s[0] != '{' {
			return s
		}
		end = max(i, 0)
	}
	return ""
}

// kindIn is the kind of the object that a parameter of a template names: what stands before it in the path, else the parameter's name.
func kindIn(template, name string) uint64 {
	i := strings.Index(template, "/{"+name+"}")
	if i <= 0 {
		return kindOf(name)
	}
	return kindOf(lastName(template[:i]))
}

// finder hands out the ids of an answer.
type finder struct {
	found func(object uint64)
	left  int // values that are looked at
	cut   bool
}

const maxValues = 20_000

// walk looks at a value. kind is that of the object which it is, or lies in.
func (f *finder) walk(v any, kind uint64, deep int) {
	if f.left--; f.left < 0 || deep > 16 {
		f.cut = true
		return
	}
	switch v := v.(type) {
	case []any:
		for _, inner := range v {
			if f.left < 0 {
				return
			}
			f.walk(inner, kind, deep+1)
		}
	case map[string]any:
		for name, inner := range v {
			f.field(name, inner, kind, deep)
			if f.left < 0 {
				return
			}
		}
	}
}

func (f *finder) field(name string, v any, kind uint64, deep int) {
	id, own := isIDName(name)
	of := kind
	if id && !own {
		of = kindOf(name)
	}
	switch v := v.(type) {
	case string:
		f.left--
		switch {
		case id && len(v) <= 256:
			f.found(objectKey(of, v))
		case isUnique(v):
			f.found(objectKey(0, v))
		case isLinkName(name):
			f.link(v)
		}
	case json.Number, float64:
		f.left--
		if id {
			f.found(objectKey(of, number(v)))
		}
	case []any:
		if id && !own { // order_ids: [1, 2]
			for _, inner := range v {
				f.field(name, inner, kind, deep+1)
				if f.left < 0 {
					return
				}
			}
			return
		}
		inner := kind
		if !isEnvelope(name) {
			inner = kindOf(name)
		}
		for _, e := range v {
			if s, ok := e.(string); ok {
				if f.left--; isUnique(s) {
					f.found(objectKey(0, s))
				}
				continue
			}
			f.walk(e, inner, deep+1)
			if f.left < 0 {
				return
			}
		}
	case map[string]any:
		if isNumeric(name) || isUnique(name) {
			f.found(objectKey(kind, name))
			f.walk(v, kind, deep+1)
			return
		}
		inner := kind
		if !isEnvelope(name) {
			inner = kindOf(name)
		}
		f.walk(v, inner, deep+1)
	}
}

// link takes the segments of an address apart.
func (f *finder) link(s string) {
	if len(s) > 2048 {
		return
	}
	if i := strings.Index(s, "://"); i >= 0 {
		_, s, _ = strings.Cut(s[i+3:], "/")
	}
	s, _, _ = strings.Cut(s, "?")
	last := ""
	for segment := range strings.SplitSeq(strings.Trim(s, "/"), "/") {
		if f.left--; f.left < 0 {
			return
		}
		f.found(objectKey(kindOf(last), segment))
		if !isNumeric(segment) && !isUnique(segment) {
			last = segment
		}
	}
}

// isEnvelope holds for names around the objects that an endpoint is about.
func isEnvelope(name string) bool {
	switch name {
	case "items", "data", "results", "result", "records", "rows", "list", "content", "values", "nodes", "node", "edges", "entries", "_embedded", "payload",
		"response", "hits", "docs", "documents", "page":
		return true
	}
	return false
}

func isNumeric(s string) bool {
	if s == "" || len(s) > 19 {
		return false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func number(v any) string {
	switch v := v.(type) {
	case json.Number:
		return string(v)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return strconv.FormatInt(int64(v), 10)
		}
	}
	return ""
}

// records counts what an answer lists: the elements of its longest array, two levels deep.
func records(v any, deep int) int {
	switch v := v.(type) {
	case []any:
		return len(v)
	case map[string]any:
		n := 0
		if deep > 0 {
			for _, inner := range v {
				n = max(n, records(inner, deep-1))
			}
		}
		return n
	}
	return 0
}
