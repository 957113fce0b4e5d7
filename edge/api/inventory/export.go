package inventory

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The parts of an OpenAPI document (https://spec.openapis.org/oas/v3.1.0) that are written.
type (
	apiDocument struct {
		OpenAPI    string                              `json:"openapi"`
		Info       apiInfo                             `json:"info"`
		Paths      map[string]map[string]*apiOperation `json:"paths"`
		Components *apiComponents                      `json:"components,omitempty"`
	}
	apiInfo struct {
		Title       string `json:"title"`
		Version     string `json:"version"`
		Description string `json:"description"`
	}
	apiComponents struct {
		Schemes map[string]apiScheme `json:"securitySchemes"`
	}
	apiScheme struct {
		Type   string `json:"type"`
		Scheme string `json:"scheme,omitempty"`
		In     string `json:"in,omitempty"`
		Name   string `json:"name,omitempty"`
	}
	apiOperation struct {
		Parameters []apiParameter         `json:"parameters,omitempty"`
		Body       *apiBody               `json:"requestBody,omitempty"`
		Responses  map[string]apiResponse `json:"responses"`
		Security   []map[string][]string  `json:"security,omitempty"`
		Seen       apiSeen                `json:"x-testudo-seen"`
	}
	apiParameter struct {
		Name     string  `json:"name"`
		In       string  `json:"in"`
		Required bool    `json:"required,omitempty"`
		Schema   *Schema `json:"schema"`
	}
	apiBody struct {
		Content map[string]apiMedia `json:"content"`
	}
	apiResponse struct {
		Description string              `json:"description"`
		Content     map[string]apiMedia `json:"content,omitempty"`
	}
	apiMedia struct {
		Schema *Schema `json:"schema,omitempty"`
	}
	apiSeen struct {
		First     time.Time `json:"first"`
		Last      time.Time `json:"last"`
		Requests  uint64    `json:"requests"`
		Callers   int       `json:"callers"`
		Sensitive []string  `json:"sensitive,omitempty"`
	}
)

// Export writes what is confirmed of one route as an OpenAPI 3.1 document. The same knowledge gives the same bytes.
func (v *Inventory) Export(route, title string) ([]byte, error) {
	doc := apiDocument{OpenAPI: "3.1.0", Info: apiInfo{title, "learned", "Learned from traffic. Formats, enumerations and what is required are what was seen, not what is meant."},
		Paths: map[string]map[string]*apiOperation{}}
	schemes := map[string]apiScheme{}
	for _, e := range v.Endpoints(Filter{Route: route, Confirmed: true}) {
		item := doc.Paths[e.Template]
		if item == nil {
			item = map[string]*apiOperation{}
			doc.Paths[e.Template] = item
		}
		item[strings.ToLower(e.Method)] = e.operation(schemes)
	}
	if len(schemes) > 0 {
		doc.Components = &apiComponents{schemes}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func (e *Endpoint) operation(schemes map[string]apiScheme) *apiOperation {
	op := &apiOperation{Responses: map[string]apiResponse{}, Seen: apiSeen{e.First, e.Last, e.Requests, e.Callers, nil}}
	for _, s := range e.Sensitive {
		op.Seen.Sensitive = append(op.Seen.Sensitive, s.Kind)
	}
	for _, p := range e.Path {
		op.Parameters = append(op.Parameters, apiParameter{p.Name, "path", true, p.Schema})
	}
	for _, p := range e.Query {
		op.Parameters = append(op.Parameters, apiParameter{p.Name, "query", p.Required, p.Schema})
	}
	if e.Method != "GET" && e.Method != "HEAD" && (e.Request != nil || len(e.RequestTypes) > 0) {
		op.Body = &apiBody{content(e.RequestTypes, e.Request)}
	}
	for _, s := range e.Statuses {
		r := apiResponse{Description: http.StatusText(s.Status)}
		if r.Description == "" {
			r.Description = "status " + strconv.Itoa(s.Status)
		}
		if s.Status/100 == 2 && s.Status != http.StatusNoContent && e.Method != "HEAD" {
			r.Content = content(e.ResponseTypes, e.Response)
		}
		op.Responses[strconv.Itoa(s.Status)] = r
	}
	for _, a := range e.Auth {
		name, scheme := a.scheme()
		if name == "" {
			op.Security = append(op.Security, map[string][]string{})
			continue
		}
		schemes[name] = scheme
		op.Security = append(op.Security, map[string][]string{name: {}})
	}
	return op
}

// content gives the schema to the types that are JSON.
func content(types []string, s *Schema) map[string]apiMedia {
	m := map[string]apiMedia{}
	for _, t := range types {
		t = strings.ToLower(t)
		if major, minor, ok := strings.Cut(t, "/"); !ok || !isName(major) || !isName(minor) {
			continue
		}
		if strings.HasSuffix(t, "/json") || strings.HasSuffix(t, "+json") {
			m[t] = apiMedia{s}
		} else {
			m[t] = apiMedia{}
		}
	}
	if s != nil && !slices.ContainsFunc(types, func(t string) bool { return strings.Contains(strings.ToLower(t), "json") }) {
		m["application/json"] = apiMedia{s}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func isName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.+-") == ""
}

func (c Credential) scheme() (string, apiScheme) {
	safe := strings.Map(func(r rune) rune {
		if r < 128 && (kindOf(byte(r)) != 0 || r == '-' || r == '.') {
			return r
		}
		return '_'
	}, c.Name)
	switch {
	case c.Kind == Bearer || c.Kind == Basic:
		return string(c.Kind), apiScheme{Type: "http", Scheme: string(c.Kind)}
	case c.Kind == Cookie && c.Name != "":
		return "cookie_" + safe, apiScheme{Type: "apiKey", In: "cookie", Name: c.Name}
	case c.Kind == APIKey && c.Name != "":
		return "key_" + safe, apiScheme{Type: "apiKey", In: "header", Name: c.Name}
	}
	return "", apiScheme{}
}
