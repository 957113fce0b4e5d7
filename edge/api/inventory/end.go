package inventory

import (
	"math"
	"slices"
	"strings"
	"time"
)

// end is what is known of one method at one place of the trie.
type end struct {
	Method   string    `json:"m"`
	First    int64     `json:"a"`
	Last     int64     `json:"z"`
	Count    uint64    `json:"n"`
	Good     uint64    `json:"g"` // answered with success
	Moved    uint64    `json:"r,omitempty"`
	Statuses []status  `json:"st,omitempty"`
	Callers  distinct  `json:"d"`
	Who      witnesses `json:"w"`
	Auth     []usage   `json:"au,omitempty"`
	Secret   []usage   `json:"se,omitempty"` // kinds of sensitive data
	Hosts    []string  `json:"h,omitempty"`
	Query    []*query  `json:"q,omitempty"` // by name
	Asked    *field    `json:"rq,omitempty"`
	Told     *field    `json:"rs,omitempty"`
	AskedAs  []string  `json:"qt,omitempty"` // media types
	ToldAs   []string  `json:"rt,omitempty"`
	Bodies   [2]uint32 `json:"b"`  // how many of either were seen
	Sizes    [2]sizes  `json:"sz"` // of requests and responses
	Known    [2]int64  `json:"k"`  // how many credentials were answered with success, and when the last one was, before the first without
}

type status struct {
	Code  uint16 `json:"c"`
	Count uint64 `json:"n"`
	First int64  `json:"a"`
}

// usage is a credential or a kind of sensitive data, and when it was seen.
type usage struct {
	Kind  string `json:"k"`
	Name  string `json:"h,omitempty"`
	Count uint64 `json:"n"`
	First int64  `json:"a"`
	Last  int64  `json:"z"`
}

// query is a parameter of the query.
type query struct {
	field
	Last int64 `json:"z"`
}

const (
	maxStatuses = 24
	maxUsages   = 8
	maxHosts    = 8
	maxQuery    = 48
	maxTypes    = 6
	allBodies   = 64 // of one endpoint are read; then every eighth
)

func (e *end) learn(o *Observation, r *reader, fields int) (evicted uint64) {
	now := r.now
	if e.First == 0 || now < e.First {
		e.First = now
	}
	e.Last = max(e.Last, now)
	e.Count++
	e.status(o.Status, now)
	if !succeeded(o.Status) {
		return 0
	}
	e.Good++
	if o.Status >= 300 {
		e.Moved++
	}
	e.Who.add(o.witness())
	if o.Caller != 0 {
		e.Callers.add(mix(o.Caller))
	}
	e.credentials(o.Auth, now)
	for _, kind := range o.Sensitive {
		e.Secret = use(e.Secret, r.names, kind, "", now)
	}
	e.Hosts = remember(e.Hosts, r.names, o.Host, maxHosts)
	e.AskedAs = remember(e.AskedAs, r.names, mediaType(o.RequestType), maxTypes)
	e.ToldAs = remember(e.ToldAs, r.names, mediaType(o.ResponseType), maxTypes)
	e.Sizes[0].add(o.RequestBytes)
	e.Sizes[1].add(o.ResponseBytes)
	for i := range o.Query {
		evicted += e.query(&o.Query[i], r)
	}
	if o.Status >= 300 {
		return evicted
	}
	if o.Request != nil {
		e.Asked, evicted = e.body(e.Asked, 0, o.Request, r, fields, evicted)
	}
	if o.Response != nil {
		e.Told, evicted = e.body(e.Told, 1, o.Response, r, fields, evicted)
	}
	return evicted
}

func (e *end) body(f *field, side int, v any, r *reader, fields int, evicted uint64) (*field, uint64) {
	e.Bodies[side] = more(e.Bodies[side])
	if n := e.Bodies[side]; n > allBodies && n%8 != 0 {
		return f, evicted
	}
	if f == nil {
		f = &field{First: r.now}
	}
	f.Count = more(f.Count)
	before := *r.full
	r.left, r.work, r.asked = fields-f.size(), 2048, side == 0
	r.value(f, v, 0)
	if *r.full != before && side == 0 {
		// Somebody may have filled the table with names of his own.
		evicted += f.weed()
	}
	return f, evicted
}

func (e *end) status(code int, now int64) {
	if code < 100 || code > 599 {
		return
	}
	for i := range e.Statuses {
		if s := &e.Statuses[i]; s.Code == uint16(code) {
			s.Count++
			return
		}
	}
	if len(e.Statuses) < maxStatuses {
		e.Statuses = append(e.Statuses, status{uint16(code), 1, now})
	}
}

// credentials remembers what was used, and whether an endpoint that was only answered to those who said who they are
// is now answered to others.
func (e *end) credentials(auth []Credential, now int64) {
	if len(auth) == 0 {
		e.Auth = use(e.Auth, nil, string(None), "", now)
		return
	}
	bare := slices.ContainsFunc(e.Auth, func(u usage) bool { return u.Kind == string(None) })
	if !bare {
		e.Known[0]++
		e.Known[1] = max(e.Known[1], now)
	}
	for i, c := range auth {
		if i == 3 {
			break
		}
		if u := find(e.Auth, string(c.Kind), c.Name); u != nil {
			u.Count++
			u.Last = max(u.Last, now)
			continue
		}
		if len(c.Name) > maxName {
			c.Name = c.Name[:maxName]
		}
		e.Auth = use(e.Auth, nil, strings.Clone(string(c.Kind)), strings.Clone(c.Name), now)
	}
}

func find(all []usage, kind, name string) *usage {
	for i := range all {
		if all[i].Kind == kind && all[i].Name == name {
			return &all[i]
		}
	}
	return nil
}

func use(all []usage, n *names, kind, name string, now int64) []usage {
	if u := find(all, kind, name); u != nil {
		u.Count++
		u.First, u.Last = min(u.First, now), max(u.Last, now)
		return all
	}
	if len(all) >= maxUsages || len(kind) > maxName {
		return all
	}
	if n != nil {
		kind = n.intern(kind)
	}
	return append(all, usage{Kind: kind, Name: name, Count: 1, First: now, Last: now})
}

func remember(all []string, n *names, s string, most int) []string {
	if s == "" || len(all) >= most || len(s) > maxName || slices.Contains(all, s) {
		return all
	}
	return append(all, n.share(s))
}

func mediaType(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.TrimSpace(s)
}

func (e *end) query(v *Value, r *reader) (evicted uint64) {
	if len(v.Name) > maxName || v.Name == "" {
		return 0
	}
	i, ok := slices.BinarySearchFunc(e.Query, v.Name, func(q *query, name string) int { return strings.Compare(q.Name, name) })
	if !ok {
		if len(e.Query) >= maxQuery {
			before := len(e.Query)
			e.Query = slices.DeleteFunc(e.Query, func(q *query) bool { return q.Count < 3 && !q.Who.several() })
			if evicted = uint64(before - len(e.Query)); evicted == 0 {
				*r.full++
				return 0
			}
			i, _ = slices.BinarySearchFunc(e.Query, v.Name, func(q *query, name string) int { return strings.Compare(q.Name, name) })
		}
		e.Query = slices.Insert(e.Query, i, &query{field: field{Name: r.names.share(v.Name), First: r.now}})
	}
	q := e.Query[i]
	q.Count = more(q.Count)
	q.Last = max(q.Last, r.now)
	q.Who.add(r.caller)
	switch x := shapeOf(v.Value); {
	case v.Value == "true" || v.Value == "false":
		q.Kinds |= isBool
	case x == integer && len(v.Value) < 19:
		q.Kinds |= isInteger
	case x == number || x == integer:
		q.Kinds |= isNumeric
	default:
		q.Kinds |= isString
		q.text(v.Value)
	}
	return evicted
}

// confirmed says that it is not what one stranger made up.
func (e *end) confirmed() bool {
	return e.Who.several() || e.Good-e.Moved >= 20
}

// merge adds o, which may become part of e.
func (e *end) merge(o *end) {
	e.First, e.Last = earlier(e.First, o.First), max(e.Last, o.Last)
	e.Count += o.Count
	e.Good += o.Good
	e.Moved += o.Moved
	for _, s := range o.Statuses {
		i := slices.IndexFunc(e.Statuses, func(m status) bool { return m.Code == s.Code })
		if i >= 0 {
			e.Statuses[i].Count += s.Count
			e.Statuses[i].First = min(e.Statuses[i].First, s.First)
		} else if len(e.Statuses) < maxStatuses {
			e.Statuses = append(e.Statuses, s)
		}
	}
	e.Callers.merge(&o.Callers)
	e.Who.merge(&o.Who)
	e.Auth, e.Secret = mergeUsages(e.Auth, o.Auth), mergeUsages(e.Secret, o.Secret)
	for _, h := range o.Hosts {
		if len(e.Hosts) < maxHosts && !slices.Contains(e.Hosts, h) {
			e.Hosts = append(e.Hosts, h)
		}
	}
	for _, t := range o.AskedAs {
		if len(e.AskedAs) < maxTypes && !slices.Contains(e.AskedAs, t) {
			e.AskedAs = append(e.AskedAs, t)
		}
	}
	for _, t := range o.ToldAs {
		if len(e.ToldAs) < maxTypes && !slices.Contains(e.ToldAs, t) {
			e.ToldAs = append(e.ToldAs, t)
		}
	}
	for _, q := range o.Query {
		i, ok := slices.BinarySearchFunc(e.Query, q.Name, func(q *query, name string) int { return strings.Compare(q.Name, name) })
		switch {
		case ok:
			mergeField(&e.Query[i].field, &q.field)
			e.Query[i].Last = max(e.Query[i].Last, q.Last)
		case len(e.Query) < maxQuery:
			e.Query = slices.Insert(e.Query, i, q)
		}
	}
	e.Asked, e.Told = mergeField(e.Asked, o.Asked), mergeField(e.Told, o.Told)
	for i := range e.Bodies {
		e.Bodies[i] = uint32(min(uint64(e.Bodies[i])+uint64(o.Bodies[i]), math.MaxUint32))
		e.Sizes[i].merge(&o.Sizes[i])
	}
	e.Known[0] += o.Known[0]
	e.Known[1] = max(e.Known[1], o.Known[1])
}

func mergeUsages(a, b []usage) []usage {
	for _, u := range b {
		if m := find(a, u.Kind, u.Name); m != nil {
			m.Count += u.Count
			m.First, m.Last = min(m.First, u.First), max(m.Last, u.Last)
		} else if len(a) < maxUsages {
			a = append(a, u)
		}
	}
	return a
}

func (e *end) clone() *end {
	c := *e
	c.Statuses, c.Auth, c.Secret = slices.Clone(e.Statuses), slices.Clone(e.Auth), slices.Clone(e.Secret)
	c.Hosts, c.AskedAs, c.ToldAs = slices.Clone(e.Hosts), slices.Clone(e.AskedAs), slices.Clone(e.ToldAs)
	c.Callers = distinct{slices.Clone(e.Callers.Few), slices.Clone(e.Callers.Many)}
	c.Asked, c.Told = e.Asked.clone(), e.Told.clone()
	c.Query = make([]*query, len(e.Query))
	for i, q := range e.Query {
		c.Query[i] = &query{*q.field.clone(), q.Last}
	}
	return &c
}

// bareSince is when it was first answered to somebody without credentials after that many with; zero if never, or if it always was.
func (e *end) bareSince(before uint64) time.Time {
	for _, u := range e.Auth {
		if u.Kind == string(None) && uint64(e.Known[0]) >= before {
			return moment(u.First)
		}
	}
	return time.Time{}
}
