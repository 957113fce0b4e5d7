package consoletest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/console"
)

// endpoints are those of the shop's API: some as described, one that nobody described, and one of hostile names.
type endpoints struct{ w *World }

// HostileTemplate is of a stranger's making.
const HostileTemplate = `/api/<img src=x onerror=alert(1)>/{id}`

func (e endpoints) all() []console.APIDetail {
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	one := func(method, template string, requests uint64, callers int, state ...string) console.APIDetail {
		return console.APIDetail{APIEndpoint: console.APIEndpoint{APIKey: console.APIKey{Route: "shop", Method: method, Template: template}, State: state, Requests: requests,
			Succeeded: requests - requests/50, Callers: callers, Auth: []string{"cookie session"}, Sensitive: []string{}, First: at, Last: at.Add(50 * time.Hour)},
			Hosts: []string{"shop.example.com"}, Statuses: []console.APIStatus{{Status: 200, Count: requests - requests/50}, {Status: 404, Count: requests / 50}}}
	}
	orders := one("GET", "/api/orders/{id}", 48_210, 913, console.APIDocumented, console.APIDrifted)
	orders.Sensitive = []string{"email"}
	orders.Fields = []console.APIField{{In: "path", Name: "id", Types: []string{"integer"}, Required: true}, {In: "response", Name: "/total", Types: []string{"number"}, Required: true}, {In: "response", Name: "/coupon", Types: []string{"string"}}}
	orders.Drift = []console.APIDrift{{APIKey: orders.APIKey, Kind: "new-field", Where: "response /coupon", Message: "has a field that the document does not know", Since: at.Add(30 * time.Hour)}}
	shadow := one("GET", HostileTemplate, 41, 3, console.APIShadow)
	shadow.Drift = []console.APIDrift{{APIKey: shadow.APIKey, Kind: "shadow", Message: "is answered, and the document does not describe it", Since: at}}
	shadow.Auth = []string{"none"}
	return []console.APIDetail{shadow, one("POST", "/api/cart", 7_301, 688, console.APIDocumented), orders, one("GET", "/api/products", 120_044, 5_120, console.APIDocumented)}
}

func (e endpoints) fail() error {
	e.w.Lock.Lock()
	defer e.w.Lock.Unlock()
	return e.w.fail()
}

// APIs implements console.APISource.
func (e endpoints) APIs(_ context.Context, q console.APIQuery) (console.APIList, error) {
	if err := e.fail(); err != nil {
		return console.APIList{}, err
	}
	list := console.APIList{Routes: []console.APIRoute{{Name: "shop", Document: "openapi.yaml", Title: "The demo shop", Operations: 9, Endpoints: 4, Drift: 2, States: map[string]int{console.APIShadow: 1, console.APIDrifted: 1, console.APIDocumented: 2}}, {Name: "static"}}}
	for _, d := range e.all() {
		if (q.Route == "" || q.Route == d.Route) && (q.Method == "" || q.Method == d.Method) && (q.State == "" || slices.Contains(d.State, q.State)) && strings.Contains(strings.ToLower(d.Template), strings.ToLower(q.Text)) {
			list.Items = append(list.Items, d.APIEndpoint)
		}
	}
	console.SortAPIs(list.Items, q.Sort)
	if n := max(q.Limit, 1); n < len(list.Items) {
		list.Items, list.More = list.Items[:n], len(list.Items)-n
	}
	return list, nil
}

// API implements console.APISource.
func (e endpoints) API(_ context.Context, key console.APIKey) (console.APIDetail, error) {
	if err := e.fail(); err != nil {
		return console.APIDetail{}, err
	}
	for _, d := range e.all() {
		if d.APIKey == key {
			return d, nil
		}
	}
	return console.APIDetail{}, fmt.Errorf("%s %s: %w", key.Method, key.Template, console.ErrNotFound)
}

// Drift implements console.APISource.
func (e endpoints) Drift(_ context.Context, route string) ([]console.APIDrift, error) {
	if err := e.fail(); err != nil {
		return nil, err
	}
	var all []console.APIDrift
	for _, d := range e.all() {
		if route == "" || route == d.Route {
			all = append(all, d.Drift...)
		}
	}
	return all, nil
}

// Document implements console.APISource.
func (e endpoints) Document(_ context.Context, route string) ([]byte, error) {
	if err := e.fail(); err != nil {
		return nil, err
	}
	if route != "shop" {
		return nil, fmt.Errorf("route %s: %w", route, console.ErrNotFound)
	}
	return []byte(`{"openapi":"3.1.0","info":{"title":"shop","version":"learned","description":""},"paths":{}}`), nil
}
