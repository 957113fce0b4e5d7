package assembly

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/edge/api/inventory"
)

// apiView is what people see of endpoints. It is kept for a moment: making it copies what was learned, and nothing is learned meanwhile.
type apiView struct {
	m *Machine

	mu    sync.Mutex
	at    time.Time
	known []inventory.Endpoint
	drift []inventory.Drift
}

// apiViewFor is how long a view is shown.
const apiViewFor = 2 * time.Second

func (v *apiView) look() ([]inventory.Endpoint, []inventory.Drift) {
	if v.m.api == nil {
		return nil, nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if now := time.Now(); v.at.IsZero() || now.Sub(v.at) > apiViewFor {
		v.known, v.drift = v.m.api.Inventory().Endpoints(inventory.Filter{}), v.m.api.Compare()
		v.at = time.Now()
	}
	return v.known, v.drift
}

func (v *apiView) routes() map[string]api.RouteStatus {
	all := map[string]api.RouteStatus{}
	if v.m.api != nil {
		for _, r := range v.m.api.Status().Routes {
			all[r.Name] = r
		}
	}
	return all
}

// APIs implements console.APISource.
func (v *apiView) APIs(_ context.Context, q console.APIQuery) (console.APIList, error) {
	if q.State != "" && !slices.Contains(console.APIStates(), q.State) {
		return console.APIList{}, &console.InputError{Field: "state", Reason: "want one of " + strings.Join(console.APIStates(), ", ")}
	}
	if q.Sort != "" && !slices.Contains(console.APISorts(), q.Sort) {
		return console.APIList{}, &console.InputError{Field: "sort", Reason: "want one of " + strings.Join(console.APISorts(), ", ")}
	}
	known, drift := v.look()
	routes, byKey := v.routes(), driftByKey(drift)
	if _, ok := routes[q.Route]; q.Route != "" && !ok {
		return console.APIList{}, &console.InputError{Field: "route", Reason: "no such route is guarded: there are " + strings.Join(slices.Sorted(maps.Keys(routes)), ", ")}
	}
	var list console.APIList
	count, ranks := map[string]int{}, map[string]map[string]int{}
	limit := cmp.Or(q.Limit, console.MaxLimit)
	for i := range known {
		e := &known[i]
		count[e.Route]++
		states := statesOf(e, routes[e.Route].Document != "", byKey[keyOf(e)])
		if ranks[e.Route] == nil {
			ranks[e.Route] = map[string]int{}
		}
		worst, _ := console.APIRank(states)
		ranks[e.Route][worst]++
		if q.Route != "" && q.Route != e.Route || q.Method != "" && !strings.EqualFold(q.Method, e.Method) || !strings.Contains(strings.ToLower(e.Template), strings.ToLower(q.Text)) {
			continue
		}
		if q.State == "" || slices.Contains(states, q.State) {
			list.Items = append(list.Items, shownEndpoint(e, states))
		}
	}
	console.SortAPIs(list.Items, q.Sort)
	if more := len(list.Items) - limit; more > 0 {
		list.Items, list.More = slices.Clone(list.Items[:limit]), more
	}
	drifts := map[string]int{}
	for i := range drift {
		drifts[drift[i].Route]++
	}
	for _, name := range slices.Sorted(maps.Keys(routes)) {
		r := routes[name]
		list.Routes = append(list.Routes, console.APIRoute{Name: name, Document: r.Document, Title: r.Title, Operations: r.Operations, Endpoints: count[name], Drift: drifts[name], States: ranks[name]})
	}
	return list, nil
}

// API implements console.APISource.
func (v *apiView) API(_ context.Context, key console.APIKey) (console.APIDetail, error) {
	known, drift := v.look()
	key.Method = strings.ToUpper(key.Method)
	i := slices.IndexFunc(known, func(e inventory.Endpoint) bool { return keyOf(&e) == key })
	if i < 0 {
		return console.APIDetail{}, fmt.Errorf("endpoint %.10s %.200s of route %.100s: %w", key.Method, key.Template, key.Route, console.ErrNotFound)
	}
	e, all := &known[i], driftByKey(drift)[key]
	d := console.APIDetail{APIEndpoint: shownEndpoint(e, statesOf(e, v.routes()[e.Route].Document != "", all)), Hosts: e.Hosts}
	for _, s := range e.Statuses {
		d.Statuses = append(d.Statuses, console.APIStatus{Status: s.Status, Count: s.Count})
	}
	for _, one := range all {
		d.Drift = append(d.Drift, shownDrift(one))
	}
	f := fieldList{detail: &d}
	for _, p := range e.Path {
		f.add("path", p.Name, p.Schema, p.Required)
	}
	for _, p := range e.Query {
		f.add("query", p.Name, p.Schema, p.Required)
	}
	f.body("request", "", e.Request, 0)
	f.body("response", "", e.Response, 0)
	return d, nil
}

// Drift implements console.APISource.
func (v *apiView) Drift(_ context.Context, route string) ([]console.APIDrift, error) {
	if _, ok := v.routes()[route]; route != "" && !ok {
		return nil, &console.InputError{Field: "route", Reason: "no such route is guarded"}
	}
	_, drift := v.look()
	all := []console.APIDrift{}
	for i := range drift {
		if route == "" || route == drift[i].Route {
			all = append(all, shownDrift(&drift[i]))
		}
	}
	slices.SortStableFunc(all, func(a, b console.APIDrift) int { return strings.Compare(a.Route, b.Route) })
	return all, nil
}

// Document implements console.APISource.
func (v *apiView) Document(_ context.Context, route string) ([]byte, error) {
	known, _ := v.look()
	if !slices.ContainsFunc(known, func(e inventory.Endpoint) bool { return e.Route == route && e.Confirmed }) {
		return nil, fmt.Errorf("nothing is confirmed of a route %.100q yet: %w", route, console.ErrNotFound)
	}
	return v.m.api.Inventory().Export(route, route)
}

func keyOf(e *inventory.Endpoint) console.APIKey {
	return console.APIKey{Route: e.Route, Method: e.Method, Template: e.Template}
}

// driftByKey sorts differences by the endpoints that they are of.
func driftByKey(all []inventory.Drift) map[console.APIKey][]*inventory.Drift {
	by := map[console.APIKey][]*inventory.Drift{}
	for i := range all {
		k := console.APIKey{Route: all[i].Route, Method: all[i].Method, Template: cmp.Or(all[i].Learned, all[i].Template)}
		by[k] = append(by[k], &all[i])
	}
	return by
}

// statesOf says how an endpoint stands to its document.
func statesOf(e *inventory.Endpoint, documented bool, drift []*inventory.Drift) []string {
	states := []string{console.APIDocumented}
	switch {
	case !e.Confirmed:
		states[0] = console.APIUnconfirmed
	case !documented:
		states[0] = console.APILearned
	}
	add := func(s string) {
		if !slices.Contains(states, s) {
			states = append(states, s)
		}
	}
	for _, d := range drift {
		switch d.Kind {
		case inventory.Shadow:
			states[0] = console.APIShadow
		case inventory.Zombie:
			add(console.APIZombie)
		case inventory.Unauthenticated:
			add(console.APIUnauthenticated)
		case inventory.NewSensitive:
			add(console.APISensitive)
		case inventory.Unused:
		default:
			add(console.APIDrifted)
		}
	}
	if len(e.Sensitive) > 0 && slices.ContainsFunc(e.Auth, func(a inventory.CredentialSeen) bool { return a.Kind == inventory.None }) {
		add(console.APIExposed)
	}
	return states
}

func shownEndpoint(e *inventory.Endpoint, states []string) console.APIEndpoint {
	s := console.APIEndpoint{APIKey: keyOf(e), State: states, Requests: e.Requests, Succeeded: e.Succeeded, Callers: e.Callers, Auth: []string{}, Sensitive: []string{}, First: e.First, Last: e.Last}
	for _, a := range e.Auth {
		s.Auth = append(s.Auth, strings.TrimSpace(string(a.Kind)+" "+a.Name))
	}
	for _, kind := range e.Sensitive {
		s.Sensitive = append(s.Sensitive, kind.Kind)
	}
	return s
}

func shownDrift(d *inventory.Drift) console.APIDrift {
	return console.APIDrift{APIKey: console.APIKey{Route: d.Route, Method: d.Method, Template: d.Template}, Learned: d.Learned, Kind: string(d.Kind), Where: d.Where, Message: d.Message, Since: d.Since}
}

// fieldList gathers fields, so many at most.
type fieldList struct{ detail *console.APIDetail }

const (
	maxShownFields = 500
	maxShownDeep   = 32
)

func (f fieldList) add(in, name string, s *inventory.Schema, required bool) {
	if len(f.detail.Fields) >= maxShownFields {
		f.detail.More++
		return
	}
	one := console.APIField{In: in, Name: name, Required: required, Types: []string{}}
	if s != nil {
		one.Types, one.Format = append(one.Types, s.Type...), s.Format
	}
	f.detail.Fields = append(f.detail.Fields, one)
}

func (f fieldList) body(in, pointer string, s *inventory.Schema, deep int) {
	if s == nil || deep > maxShownDeep {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		at := pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		f.add(in, at, s.Properties[name], slices.Contains(s.Required, name))
		f.body(in, at, s.Properties[name], deep+1)
	}
	f.body(in, pointer+"/*", s.Items, deep+1)
	f.body(in, pointer+"/*", s.Additional, deep+1)
}
