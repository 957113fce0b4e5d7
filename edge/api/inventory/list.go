package inventory

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Endpoint is what is known of one method of one template.
type Endpoint struct {
	Route     string    `json:"route"`
	Method    string    `json:"method"`
	Template  string    `json:"template"` // "/users/{id}"; {} in names is percent-encoded
	Confirmed bool      `json:"confirmed"`
	Hosts     []string  `json:"hosts,omitempty"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`

	Requests  uint64           `json:"requests"`
	Succeeded uint64           `json:"succeeded"` // answered with 2xx or 3xx
	Callers   int              `json:"callers"`   // with success; above 16 an estimate, 6.5% off in the mean
	Statuses  []StatusCount    `json:"statuses"`
	Auth      []CredentialSeen `json:"auth,omitempty"`
	Sensitive []SensitiveSeen  `json:"sensitive,omitempty"`

	// Bare is when the first request without credentials succeeded after at least a hundred with some; zero if none did.
	Bare time.Time `json:"bare,omitzero"`

	Path          []Parameter `json:"path,omitempty"`
	Query         []Parameter `json:"query,omitempty"`
	Request       *Schema     `json:"request,omitempty"`
	Response      *Schema     `json:"response,omitempty"` // of 2xx
	RequestTypes  []string    `json:"requestTypes,omitempty"`
	ResponseTypes []string    `json:"responseTypes,omitempty"`
	RequestBytes  Sizes       `json:"requestBytes"`
	ResponseBytes Sizes       `json:"responseBytes"`
}

// StatusCount is how often a status was answered, and when it was first.
type StatusCount struct {
	Status int       `json:"status"`
	Count  uint64    `json:"count"`
	First  time.Time `json:"first"`
}

// CredentialSeen is a kind of credential that was answered with success.
type CredentialSeen struct {
	Credential
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// SensitiveSeen is a kind of sensitive data.
type SensitiveSeen struct {
	Kind  string    `json:"kind"`
	Count uint64    `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Parameter is a part of the path or of the query.
type Parameter struct {
	Name     string    `json:"name"`
	Schema   *Schema   `json:"schema"`
	Required bool      `json:"required,omitempty"`
	First    time.Time `json:"first,omitzero"`
}

// Sizes are powers of two, above what was seen.
type Sizes struct {
	Median int64 `json:"median"`
	P99    int64 `json:"p99"`
	Max    int64 `json:"max"`
}

// Filter chooses endpoints. Zero values choose all.
type Filter struct {
	Route     string
	Method    string
	Contains  string // within the template, in lower or upper case
	Confirmed bool
	Bare      bool      // answered without credentials
	Sensitive bool      // with sensitive data
	Since     time.Time // seen since
}

const bareBefore = 100 // successes with credentials that make one without remarkable

// Endpoints lists what was learned until now, by route, template and method.
func (v *Inventory) Endpoints(f Filter) []Endpoint {
	var all []Endpoint
	places := v.settled()
	for _, route := range slices.Sorted(maps.Keys(places)) {
		if f.Route == "" || f.Route == route {
			all = places[route].list(route, &f, all)
		}
	}
	slices.SortStableFunc(all, func(a, b Endpoint) int {
		if c := strings.Compare(a.Route, b.Route); c != 0 {
			return c
		}
		if c := strings.Compare(a.Template, b.Template); c != 0 {
			return c
		}
		return strings.Compare(a.Method, b.Method)
	})
	return all
}

func (p *place) list(route string, f *Filter, all []Endpoint) []Endpoint {
	for _, e := range p.ends {
		if f.admits(p, e) {
			all = append(all, p.endpoint(route, e))
		}
	}
	for _, w := range p.words {
		all = w.list(route, f, all)
	}
	if p.param != nil {
		all = p.param.list(route, f, all)
	}
	return all
}

func (f *Filter) admits(p *place, e *end) bool {
	return (f.Method == "" || f.Method == e.Method) && (!f.Confirmed || e.confirmed()) &&
		(f.Contains == "" || strings.Contains(strings.ToLower(p.path()), strings.ToLower(f.Contains))) &&
		(!f.Bare || find(e.Auth, string(None), "") != nil) && (!f.Sensitive || len(e.Secret) > 0) &&
		(f.Since.IsZero() || e.Last >= f.Since.Unix())
}

func (p *place) endpoint(route string, e *end) Endpoint {
	n := Endpoint{Route: route, Method: e.Method, Template: p.path(), Confirmed: e.confirmed(), Hosts: sorted(e.Hosts), First: moment(e.First),
		Last: moment(e.Last), Requests: e.Count, Succeeded: e.Good, Callers: e.Callers.count(), Bare: e.bareSince(bareBefore),
		Request: schemaOf(e.Asked, true), Response: schemaOf(e.Told, false),
		RequestTypes: sorted(e.AskedAs), ResponseTypes: sorted(e.ToldAs), RequestBytes: e.Sizes[0].told(), ResponseBytes: e.Sizes[1].told()}
	for _, s := range e.Statuses {
		n.Statuses = append(n.Statuses, StatusCount{int(s.Code), s.Count, moment(s.First)})
	}
	slices.SortFunc(n.Statuses, func(a, b StatusCount) int { return a.Status - b.Status })
	for _, u := range e.Auth {
		n.Auth = append(n.Auth, CredentialSeen{Credential{CredentialKind(u.Kind), u.Name}, u.Count, moment(u.First), moment(u.Last)})
	}
	slices.SortFunc(n.Auth, func(a, b CredentialSeen) int {
		return strings.Compare(string(a.Kind)+" "+a.Name, string(b.Kind)+" "+b.Name)
	})
	for _, u := range e.Secret {
		n.Sensitive = append(n.Sensitive, SensitiveSeen{u.Kind, u.Count, moment(u.First), moment(u.Last)})
	}
	slices.SortFunc(n.Sensitive, func(a, b SensitiveSeen) int { return strings.Compare(a.Kind, b.Kind) })
	for i, name := range p.names {
		n.Path = append(n.Path, Parameter{Name: name, Schema: p.shapes[i].schema(), Required: true})
	}
	for _, q := range e.Query {
		if q.vouched() {
			n.Query = append(n.Query, Parameter{q.Name, leaf(&q.field), uint64(q.Count) >= e.Good, moment(q.First)})
		}
	}
	return n
}

func (s *sizes) told() Sizes {
	return Sizes{s.quantile(0.5), s.quantile(0.99), s.quantile(1)}
}

func sorted(s []string) []string {
	if len(s) == 0 {
		return nil
	}
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// vouched says that a name which a client sent is not what one stranger made up.
func (f *field) vouched() bool { return f.Who.several() || f.Count >= 20 }
