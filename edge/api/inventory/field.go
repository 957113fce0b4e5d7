package inventory

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

// kinds is a set of JSON types.
type kinds uint8

const (
	isNull kinds = 1 << iota
	isBool
	isInteger
	isNumeric
	isString
	isArray
	isObject
)

// field is what is known of a value in a body, and of what is inside it.
type field struct {
	Name   string    `json:"n,omitempty"`
	Kids   []*field  `json:"k,omitempty"` // of objects, by name
	Item   *field    `json:"i,omitempty"` // of arrays
	Rest   *field    `json:"r,omitempty"` // of objects whose names are ids: what stands under any of them
	Count  uint32    `json:"c"`           // in how many objects it was
	Object uint32    `json:"o,omitempty"` // how often it was an object itself
	Kinds  kinds     `json:"t"`
	Shapes shapeSet  `json:"s,omitempty"` // of strings
	Few    []option  `json:"e,omitempty"`
	Who    witnesses `json:"w"`
	First  int64     `json:"a"`
}

// option is one of the few values that a field takes.
type option struct {
	Value string `json:"v"`
	Count uint32 `json:"c"`
}

const (
	maxOptions   = 8
	maxFieldDeep = 12
	maxKids      = 64 // more names in one object: it is a table of its own, keyed by ids
	maxItems     = 16 // of one array are looked at
)

// reader learns one body.
type reader struct {
	names  *names
	asked  bool // the body is a request's: a client named the fields
	caller uint64
	now    int64
	left   int // fields that may still be made for this body
	work   int // values that are looked at
	full   *uint64
}

func (r *reader) value(f *field, v any, deep int) {
	if r.work--; r.work < 0 || deep > maxFieldDeep {
		return
	}
	switch v := v.(type) {
	case nil:
		f.Kinds |= isNull
	case bool:
		f.Kinds |= isBool
	case float64:
		if v == math.Trunc(v) {
			f.Kinds |= isInteger
		} else {
			f.Kinds |= isNumeric
		}
	case json.Number:
		if strings.ContainsAny(string(v), ".eE") {
			f.Kinds |= isNumeric
		} else {
			f.Kinds |= isInteger
		}
	case string:
		f.Kinds |= isString
		f.text(v)
	case []any:
		f.Kinds |= isArray
		if len(v) == 0 {
			return
		}
		if f.Item == nil {
			if f.Item = r.make(""); f.Item == nil {
				return
			}
		}
		for i := range min(len(v), maxItems) {
			f.Item.Count++
			r.value(f.Item, v[i], deep+1)
		}
	case map[string]any:
		f.Kinds |= isObject
		f.Object = more(f.Object)
		r.object(f, v, deep)
	}
}

func (r *reader) object(f *field, v map[string]any, deep int) {
	if len(v) > maxKids {
		for _, inner := range v {
			r.under(f, inner, deep)
			if r.work < 0 {
				break
			}
		}
		return
	}
	for name, inner := range v {
		kid := f.kid(name)
		if kid == nil {
			if f.Rest != nil && len(f.Kids) == 0 || len(name) > maxName || shapeOf(name).isID() {
				r.under(f, inner, deep)
				continue
			}
			if kid = r.make(name); kid == nil {
				continue
			}
			f.insert(kid)
		}
		kid.Count = more(kid.Count)
		kid.Who.add(r.caller)
		r.value(kid, inner, deep+1)
	}
}

// under learns a value whose name is an id.
func (r *reader) under(f *field, v any, deep int) {
	if f.Rest == nil {
		if f.Rest = r.make(""); f.Rest == nil {
			return
		}
	}
	f.Rest.Count = more(f.Rest.Count)
	r.value(f.Rest, v, deep+1)
}

func (r *reader) make(name string) *field {
	if r.left <= 0 {
		*r.full++
		return nil
	}
	r.left--
	if r.asked {
		name = r.names.share(name)
	} else {
		name = r.names.intern(name)
	}
	return &field{Name: name, First: r.now}
}

// share is intern for names that clients make up: they become no part of the table.
func (n *names) share(s string) string {
	if known, ok := n.all[s]; ok {
		return known
	}
	return strings.Clone(s)
}

func more(n uint32) uint32 {
	if n < math.MaxUint32 {
		n++
	}
	return n
}

func (f *field) find(name string) (int, bool) {
	return slices.BinarySearchFunc(f.Kids, name, func(k *field, name string) int { return strings.Compare(k.Name, name) })
}

func (f *field) kid(name string) *field {
	if i, ok := f.find(name); ok {
		return f.Kids[i]
	}
	return nil
}

func (f *field) insert(kid *field) {
	i, _ := f.find(kid.Name)
	f.Kids = slices.Insert(f.Kids, i, kid)
}

func (f *field) text(s string) {
	x := shapeOf(s)
	f.Shapes |= 1 << x
	if x != word || len(s) > 24 || f.Shapes&^(1<<word) != 0 || isPersonal(f.Name) {
		f.Few, f.Shapes = nil, f.Shapes|manyValues
		return
	}
	f.option(s, 1)
}

// manyValues marks a field that takes more values than are kept.
const manyValues shapeSet = 1 << 15

func (f *field) option(s string, n uint32) {
	if f.Shapes.has(15) {
		return
	}
	for i := range f.Few {
		if f.Few[i].Value == s {
			f.Few[i].Count += n
			return
		}
	}
	if len(f.Few) == maxOptions {
		f.Few, f.Shapes = nil, f.Shapes|manyValues
		return
	}
	f.Few = append(f.Few, option{strings.Clone(s), n})
}

// enum is the few values, where there was time to see more of them and each came twice.
func (f *field) enum() []string {
	if len(f.Few) < 2 || f.Count < 64 || f.Shapes.has(15) || f.Kinds&^isNull != isString {
		return nil
	}
	var all []string
	for _, o := range f.Few {
		if o.Count < 2 || !isToken(o.Value) {
			return nil
		}
		all = append(all, o.Value)
	}
	slices.Sort(all)
	return all
}

// isToken holds for what programs call things.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if kindOf(s[i]) == 0 && strings.IndexByte("_-.", s[i]) < 0 {
			return false
		}
	}
	return s != "" && kindOf(s[0]) > 1
}

// size is how many fields there are in it, itself included.
func (f *field) size() int {
	if f == nil {
		return 0
	}
	n := 1 + f.Item.size() + f.Rest.size()
	for _, k := range f.Kids {
		n += k.size()
	}
	return n
}

// mergeField adds o to f and returns it. What o holds may become part of f.
func mergeField(f, o *field) *field {
	if f == nil || o == nil {
		if f == nil {
			return o
		}
		return f
	}
	f.Count = uint32(min(uint64(f.Count)+uint64(o.Count), math.MaxUint32))
	f.Object = uint32(min(uint64(f.Object)+uint64(o.Object), math.MaxUint32))
	f.Kinds |= o.Kinds
	f.Shapes |= o.Shapes
	f.First = earlier(f.First, o.First)
	f.Who.merge(&o.Who)
	if f.Shapes.has(15) {
		f.Few = nil
	}
	for _, e := range o.Few {
		f.option(e.Value, e.Count)
	}
	f.Item, f.Rest = mergeField(f.Item, o.Item), mergeField(f.Rest, o.Rest)
	for _, k := range o.Kids {
		if mine := f.kid(k.Name); mine != nil {
			mergeField(mine, k)
		} else if len(f.Kids) < maxKids {
			f.insert(k)
		}
	}
	return f
}

func (f *field) clone() *field {
	if f == nil {
		return nil
	}
	c := *f
	c.Item, c.Rest, c.Few = f.Item.clone(), f.Rest.clone(), slices.Clone(f.Few)
	c.Kids = make([]*field, len(f.Kids))
	for i, k := range f.Kids {
		c.Kids[i] = k.clone()
	}
	return &c
}

// paths calls do with a hash for every field, as deep as that.
func (f *field) paths(prefix uint64, deep int, do func(uint64)) {
	if f == nil || deep == 0 {
		return
	}
	for _, k := range f.Kids {
		h := mix(prefix ^ hash(k.Name))
		do(h)
		k.paths(h, deep-1, do)
	}
	f.Item.paths(mix(prefix+1), deep-1, do)
}

// weed drops the fields of a request that one caller sent a few times: the server takes what it does not know, too.
func (f *field) weed() (dropped uint64) {
	if f == nil {
		return 0
	}
	kept := f.Kids[:0]
	for _, k := range f.Kids {
		if k.Count < 3 && !k.Who.several() {
			dropped += uint64(k.size())
			continue
		}
		dropped += k.weed()
		kept = append(kept, k)
	}
	clear(f.Kids[len(kept):])
	f.Kids = kept
	return dropped + f.Item.weed() + f.Rest.weed()
}

func earlier(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func moment(unix int64) time.Time {
	if unix == 0 {
		return time.Time{}
	}
	return time.Unix(unix, 0).UTC()
}

// isPersonal holds for names of fields and parameters whose values are nobody's business, however few there are.
func isPersonal(name string) bool {
	var b [maxName]byte
	n := 0
	for i := 0; i < len(name) && n < len(b); i++ {
		if c := name[i]; kindOf(c) > 1 {
			b[n] = c | 0x20
			n++
		}
	}
	flat := string(b[:n])
	for _, part := range personal {
		if strings.Contains(flat, part) {
			return true
		}
	}
	return false
}

var personal = []string{"pass", "pwd", "secret", "token", "key", "auth", "cred", "otp", "pin", "cvv", "cvc", "card", "iban", "account", "ssn",
	"social", "tax", "passport", "licen", "name", "mail", "phone", "mobile", "fax", "address", "street", "city", "zip", "postal", "birth",
	"dob", "gender", "sex", "race", "religion", "health", "diagnos", "salary", "income", "lat", "lon", "geo", "session", "cookie", "sig",
	"hash", "salt", "nonce", "answer", "question", "comment", "message", "text", "note", "title", "user", "owner", "login", "nick"}

// names shares the texts of names among all fields.
type names struct {
	all map[string]string
}

const maxNames = 100_000

func (n *names) intern(s string) string {
	if s == "" {
		return ""
	}
	if known, ok := n.all[s]; ok {
		return known
	}
	s = strings.Clone(s)
	if len(n.all) < maxNames {
		n.all[s] = s
	}
	return s
}
