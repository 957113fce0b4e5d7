package logs

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/testudo-sec/testudo/internal/jsonflat"
	"github.com/testudo-sec/testudo/internal/logfields"
	"github.com/testudo-sec/testudo/internal/urlmask"
	"github.com/testudo-sec/testudo/signal"
)

// Mapper puts the attributes of records into events, where internal/logfields says. It learns where each attribute of
// each source goes, so that the next one costs no look-up. One parser has one; it is not safe for concurrent use.
//
//	m.Start(e, source)
//	m.Item(item) or m.Pair(name, value), for each attribute
//	m.End(dropped)
type Mapper struct {
	// Rename gives the record's own name of an attribute: a format that wraps attributes in others (winlog.event_data)
	// takes the wrapping off. It is given jsonflat's name and its attr. nil leaves both.
	Rename func(name, attr string) (string, string)

	flat   *jsonflat.Flattener
	gen    uint32
	names  []naming // by number of the name
	known  map[string]int32
	plans  map[logfields.Source]*plan
	source Source
	labels []string

	e      *signal.Event
	plan   *plan
	masked bool // an attribute of this record is a secret
	over   []signal.Attr
}

// maxPlans bounds the sources that one mapper remembers, and the names of each that come by Pair.
const (
	maxPlans = 256
	maxPairs = 4096
)

// naming is what a name is, whatever the source.
type naming struct {
	name, attr string
	ready      bool
	secret     bool
	shared     bool // another name reads the same
}

// plan says where the attributes of one source go.
type plan struct {
	source  logfields.Source
	gen     uint32
	targets []target // by number of the name
	pairs   map[string]target
}

type target struct {
	field  signal.Field
	kind   signal.Kind
	ready  bool
	secret bool
}

// NewMapper returns a mapper for records that flat reads, nil where they are no JSON. What source states overrides
// what Start is told.
func NewMapper(flat *jsonflat.Flattener, source Source) *Mapper {
	m := &Mapper{flat: flat, source: source, plans: make(map[logfields.Source]*plan), known: make(map[string]int32)}
	if source.Name != "" {
		m.labels = []string{source.Name}
	}
	return m
}

// Start begins an event: it sets its plane and where it comes from, of which src is what the format knows.
func (m *Mapper) Start(e *signal.Event, src Source) {
	from := m.source.Or(src)
	m.e, m.masked, m.over = e, false, m.over[:0]
	e.Plane = signal.PlaneLogs
	e.Severity = signal.SeverityInfo
	set := func(f signal.Field, v string) {
		if v != "" {
			e.SetString(f, v)
		}
	}
	set(signal.FieldMetadataLogProduct, from.Product)
	set(signal.FieldMetadataLogName, from.Service)
	set(signal.FieldMetadataLogCategory, from.Category)
	e.SetStrings(signal.FieldMetadataLabels, m.labels)
	key := logfields.Source{Product: from.Product, Service: from.Service, Category: from.Category}
	m.sync()
	if m.plan != nil && m.plan.source == key && m.plan.gen == m.gen {
		return
	}
	p := m.plans[key]
	if p == nil {
		if len(m.plans) >= maxPlans {
			clear(m.plans)
		}
		p = &plan{source: key, pairs: make(map[string]target)}
		m.plans[key] = p
	}
	if p.gen != m.gen {
		p.gen = m.gen
		p.targets = p.targets[:0]
	}
	m.plan = p
}

// sync forgets what it knew by numbers that were given out anew.
func (m *Mapper) sync() {
	if m.flat != nil && m.gen != m.flat.Generation() {
		m.gen = m.flat.Generation()
		clear(m.names)
		m.names = m.names[:0]
		clear(m.known)
	}
}

// Item puts an attribute of a JSON record.
func (m *Mapper) Item(it jsonflat.Item) {
	p := m.plan
	if int(it.ID) >= len(p.targets) {
		n := len(p.targets)
		p.targets = slices.Grow(p.targets, m.flat.Names()-n)[:m.flat.Names()]
		clear(p.targets[n:])
	}
	t := p.targets[it.ID]
	if !t.ready {
		t = resolve(p.source, m.naming(it.ID).attr)
		t.secret = m.names[it.ID].secret
		p.targets[it.ID] = t
	}
	v := it.Value
	switch {
	case t.secret && it.Kind != jsonflat.Bool && v != "":
		v = Masked
		m.masked = true
	case it.Kind == jsonflat.Text:
		if m.masked || m.flat.Depth(it.ID) >= jsonflat.MaxDepth-1 && mentionsSecret(v) {
			if t.kind == signal.KindString && !m.e.Has(t.field) {
				m.e.SetMasked(t.field, v, Masked)
				return
			}
			v = Masked
		}
	}
	if t.field != 0 && set(m.e, t.field, t.kind, v) {
		return
	}
	n := m.naming(it.ID)
	m.unmapped(n.name, v, n.shared)
}

// Own returns the record's own name of an attribute of a JSON record, with and without the indexes of arrays.
func (m *Mapper) Own(id int32) (name, attr string) {
	n := m.naming(id)
	return n.name, n.attr
}

func (m *Mapper) naming(id int32) *naming {
	m.sync()
	if int(id) >= len(m.names) {
		m.names = append(m.names, make([]naming, m.flat.Names()-len(m.names))...)
	}
	n := &m.names[id]
	if n.ready {
		return n
	}
	n.name, n.attr, n.ready = m.flat.Name(id), m.flat.Attr(id), true
	if m.Rename != nil {
		n.name, n.attr = m.Rename(n.name, n.attr)
	}
	n.secret = IsSecretName(n.attr)
	if other, ok := m.known[n.name]; ok {
		n.shared = true
		m.names[other].shared = true
	} else {
		m.known[n.name] = id
	}
	return n
}

// Pair puts an attribute of a record that is no JSON. name may carry the index of an array: a0[1].
func (m *Mapper) Pair(name, value string) {
	t, ok := m.plan.pairs[name]
	if !ok {
		attr := name
		if i := strings.IndexByte(name, '['); i > 0 && strings.HasSuffix(name, "]") {
			attr = name[:i]
		}
		t = resolve(m.plan.source, attr)
		t.secret = IsSecretName(attr)
		if len(m.plan.pairs) >= maxPairs {
			clear(m.plan.pairs)
		}
		m.plan.pairs[strings.Clone(name)] = t
	}
	if t.secret && value != "" {
		value = Masked
	}
	if t.field == 0 || !set(m.e, t.field, t.kind, value) {
		m.unmapped(name, value, true)
	}
}

func resolve(src logfields.Source, attr string) target {
	t := target{ready: true}
	if name, ok := logfields.Lookup(src, attr); ok {
		if f, ok := signal.Lookup(name); ok {
			t.field, t.kind = f, f.Kind()
		}
	}
	return t
}

// Set puts a value as it was written into a field of any kind; a list gets it as one more element. It reports false where the
// value does not fit, or the field is taken: the value then stays under its own name.
func Set(e *signal.Event, f signal.Field, v string) bool { return set(e, f, f.Kind(), v) }

func set(e *signal.Event, f signal.Field, kind signal.Kind, v string) bool {
	if kind == signal.KindStrings {
		if len(e.Strings(f)) < jsonflat.MaxItems {
			e.SetStrings(f, append(e.Strings(f), v))
			return true
		}
		return false
	}
	if e.Has(f) {
		return false
	}
	switch kind {
	case signal.KindString:
		SetText(e, f, v)
	case signal.KindInt:
		n, ok := Integer(v)
		if !ok {
			return false
		}
		e.SetInt(f, n)
	case signal.KindIP:
		a, ok := Address(v)
		if !ok {
			return false
		}
		e.SetIP(f, a)
	default:
		return false
	}
	return true
}

// SetText sets a string field; addresses, paths and queries get a recorded form without their values.
func SetText(e *signal.Event, f signal.Field, v string) {
	var mask urlmask.Masker
	recorded := v
	switch f {
	case signal.FieldHTTPRequestURLQueryString:
		recorded = mask.Query(v)
	case signal.FieldHTTPRequestReferrer, signal.FieldURLURLString:
		if strings.ContainsAny(v, "?#@;%") {
			recorded = mask.Referrer(v)
		}
	case signal.FieldHTTPRequestURLPath:
		recorded = mask.Path(v)
	}
	if recorded != v {
		e.SetMasked(f, v, recorded)
		return
	}
	e.SetString(f, v)
}

// Integer reads a number as logs write it: decimal without leading zeros, or 0x and hexadecimal digits.
func Integer(s string) (int64, bool) {
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		n, err := strconv.ParseUint(s[2:], 16, 63)
		return int64(n), err == nil
	}
	if s == "" || s[0] == '+' || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// Address reads an IP address without a port.
func Address(s string) (netip.Addr, bool) {
	if len(s) < 2 || len(s) > 64 {
		return netip.Addr{}, false
	}
	if c := s[0] | 0x20; (c < '0' || c > '9') && (c < 'a' || c > 'f') && s[0] != ':' {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(s)
	return a.WithZone(""), err == nil
}

// Add puts an attribute under its own name, whatever the table says.
func (m *Mapper) Add(name, value string) { m.unmapped(name, value, true) }

// unmapped adds an attribute under its own name. One place of the event is kept for Truncated.
func (m *Mapper) unmapped(name, value string, shared bool) {
	if len(m.e.UnmappedAttrs()) < signal.MaxUnmapped-1 {
		if shared {
			m.e.SetUnmapped(name, value)
		} else {
			m.e.AddUnmapped(name, value)
		}
		return
	}
	m.over = append(m.over, signal.Attr{Name: name, Value: value})
}

// End completes the event. dropped is how many attributes the format itself left out. Where there are more than an
// event holds, those with the shortest paths stay: what is deep in a record is mostly what a client sent, and with it
// nobody shall push out what the server wrote.
func (m *Mapper) End(dropped int) {
	if len(m.over) > 0 {
		kept := m.e.UnmappedAttrs()
		all := append(slices.Clone(kept), m.over...)
		slices.SortStableFunc(all, func(a, b signal.Attr) int { return cmp.Compare(depth(a.Name), depth(b.Name)) })
		copy(kept, all) // the event's own memory: as many as before, others
		dropped += len(m.over)
		clear(m.over)
	}
	if dropped > 0 {
		m.e.SetUnmapped(Truncated, strconv.Itoa(dropped))
	}
	m.e = nil
}

func depth(name string) int { return strings.Count(name, ".") + strings.Count(name, "[") }

// mentionsSecret reports whether a text that was not read speaks of a secret.
func mentionsSecret(s string) bool {
	s = strings.ToLower(s)
	for _, word := range []string{"passw", "secret", "token", "authoriz", "apikey", "api_key", "privatekey", "private_key"} {
		if strings.Contains(s, word) {
			return true
		}
	}
	return false
}
