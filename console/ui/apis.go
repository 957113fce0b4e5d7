package ui

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
)

// maxAPIs bounds the endpoints of a page.
const maxAPIs = 200

type apisView struct {
	Filter filter
	Rows   []console.APIEndpoint
	More   int
	Routes []apiRoute
	States []string
	Sort   string
}

// apiRoute is a route of the edge with its endpoints by what is to be seen in them first.
type apiRoute struct {
	console.APIRoute
	Shares []apiShare
	Known  int // endpoints that were counted
}

// apiShare is how many endpoints of a route are in a state.
type apiShare struct {
	State string
	Count int
}

// apiWord says a state.
func apiWord(state string) string {
	switch state {
	case console.APISensitive:
		return "new sensitive data"
	case console.APIUnauthenticated:
		return "no credentials"
	case console.APIExposed:
		return "sensitive data without credentials"
	}
	return state
}

// apiClass is the colour of a state.
func apiClass(state string) string {
	switch state {
	case console.APIUnauthenticated, console.APIShadow, console.APIExposed:
		return "is-bad"
	case console.APIZombie, console.APISensitive, console.APIDrifted:
		return "is-warn"
	case console.APIDocumented:
		return "is-ok"
	}
	return "is-info"
}

// apiBar draws the endpoints of a route by state.
func apiBar(r apiRoute) template.HTML {
	var b, said strings.Builder
	at := 0.0
	for i, s := range r.Shares {
		if i > 0 {
			said.WriteString(", ")
		}
		fmt.Fprintf(&said, "%d %s", s.Count, apiWord(s.State))
		w := pct(float64(s.Count), float64(r.Known))
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" width="%.1f" height="8"/>`, apiClass(s.State), at, w)
		at += w
	}
	return template.HTML(`<svg class="bar states" role="img" aria-label="` + template.HTMLEscapeString(said.String()) + `" preserveAspectRatio="none" viewBox="0 0 100 8"><rect class="bar-back" width="100" height="8" rx="1"/>` + b.String() + `</svg>`)
}

func (p *Pages) apis(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().APIs
	if src == nil {
		return missing("an inventory of APIs")
	}
	v := p.view(w, r, "APIs", "traffic")
	m := &apisView{Filter: filter{query: newQuery(r.URL.Query())}, States: console.APIStates()}
	v.Main = m
	q := console.APIQuery{Route: m.Filter.Get("route"), Method: m.Filter.Get("method"), State: m.Filter.Get("state"), Text: strings.TrimSpace(m.Filter.Get("q")), Sort: m.Filter.Get("sort"), Limit: maxAPIs}
	var list console.APIList
	err := checkAPIQuery(&q)
	if err == nil {
		list, err = src.APIs(r.Context(), q)
	}
	if err = m.Filter.refuse(err); err != nil {
		return err
	}
	m.Rows, m.More = list.Items, list.More
	m.Sort = m.Filter.Get("sort")
	if m.Routes, err = p.apiRoutes(r.Context(), src); err != nil {
		return err
	}
	status := http.StatusOK
	if m.Filter.Problem != "" {
		status = http.StatusUnprocessableEntity
	}
	return p.status(w, status, "apis", "base", v)
}

func checkAPIQuery(q *console.APIQuery) error {
	if len(q.Text) > 500 || len(q.Route) > 200 || len(q.Method) > 40 {
		return &console.InputError{Field: "q", Reason: "this is too long: 500 characters are read"}
	}
	return nil
}

// apiRoutes returns the routes with what their endpoints are like, whatever the list shows.
func (p *Pages) apiRoutes(ctx context.Context, src console.APISource) ([]apiRoute, error) {
	all, err := src.APIs(ctx, console.APIQuery{Limit: 1})
	if err != nil {
		return nil, err
	}
	routes := make([]apiRoute, 0, len(all.Routes))
	for _, r := range all.Routes {
		one := apiRoute{APIRoute: r}
		for state, n := range r.States {
			one.Shares = append(one.Shares, apiShare{state, n})
			one.Known += n
		}
		slices.SortFunc(one.Shares, func(a, b apiShare) int {
			_, x := console.APIRank([]string{a.State})
			_, y := console.APIRank([]string{b.State})
			return cmp.Compare(x, y)
		})
		routes = append(routes, one)
	}
	return routes, nil
}

type apiView struct {
	console.APIDetail
	Parameters, Request, Response []console.APIField
	Traffic                       string // address of its requests
	Findings                      string // address of what was found of it
}

func (p *Pages) api(w http.ResponseWriter, r *http.Request) error {
	src := p.srv.Sources().APIs
	if src == nil {
		return missing("an inventory of APIs")
	}
	in := r.URL.Query()
	d, err := src.API(r.Context(), console.APIKey{Route: clip(200, in.Get("route")), Method: clip(40, in.Get("method")), Template: in.Get("template")})
	if err != nil {
		var input *console.InputError
		if errors.As(err, &input) {
			return fmt.Errorf("%w: %s", console.ErrNotFound, input.Reason)
		}
		return err
	}
	m := &apiView{APIDetail: d}
	for _, f := range d.Fields {
		switch f.In {
		case "request":
			m.Request = append(m.Request, f)
		case "response":
			m.Response = append(m.Response, f)
		default:
			m.Parameters = append(m.Parameters, f)
		}
	}
	m.Traffic = query{}.With("when", "api.operation == "+quoted(d.Method+" "+d.Template)).With("route", d.Route).At("/traffic")
	m.Findings = query{}.With("q", d.Method+" "+d.Template).At("/findings")
	v := p.view(w, r, "API endpoint", "traffic")
	v.Main = m
	return p.page(w, "api", v)
}

// quoted is a text as conditions write it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(s) + `"`
}

// apiAt is the page of an endpoint.
func apiAt(k console.APIKey) string {
	return "/apis/endpoint?" + url.Values{"route": {k.Route}, "method": {k.Method}, "template": {k.Template}}.Encode()
}
