package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/edge/api/openapi"
)

func parse(t testing.TB, s string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// typical is a small API with everything that can be learned of one.
func typical(t testing.TB, v *Inventory) {
	t.Helper()
	states := []string{"open", "paid", "sent"}
	for i := range 400 {
		at := start.Add(time.Duration(i) * time.Hour)
		caller := uint64(i%9) + 1
		common := Observation{Time: at, Route: "shop", Host: "api.example.org", Caller: caller, Auth: []Credential{{Bearer, ""}}, ResponseType: "application/json; charset=utf-8"}
		o := common
		o.Method, o.Path, o.Status = "GET", fmt.Sprintf("/orders/%d", 1000+i), 200
		o.Query = []Value{{"expand", []string{"true", "false"}[i%2]}, {"page", fmt.Sprint(i)}, {"only-" + fmt.Sprint(i), "x"}}
		o.Response = parse(t, fmt.Sprintf(`{"id": %d, "state": %q, "email": "a@example.org", "customer_name": "Alice", "total": 1.5, "at": "2026-11-23T10:00:00Z",
			"lines": [{"sku": "a", "count": 1}], "by_id": {"17": {"x": 1}, "18": {"x": 2}}, "note": null}`, i, states[i%3]))
		o.ResponseBytes = 300
		if i%10 == 9 {
			o.Status, o.Response = 404, parse(t, `{"error": "x"}`)
		}
		v.Learn(&o)

		o = common
		o.Method, o.Path, o.Status, o.RequestType = "POST", "/orders", 201, "application/json"
		o.Request = parse(t, fmt.Sprintf(`{"sku": "a", "count": 2, "password": "secret", "odd%d": 1}`, i))
		o.Response = parse(t, `{"id": 7}`)
		o.Sensitive = []string{"password"}
		v.Learn(&o)

		o = common
		o.Method, o.Path, o.Status, o.Auth = "GET", "/status", 200, nil
		v.Learn(&o)
	}
}

func find1(t *testing.T, v *Inventory, name string) Endpoint {
	t.Helper()
	for _, e := range v.Endpoints(Filter{}) {
		if e.Method+" "+e.Template == name {
			return e
		}
	}
	t.Fatalf("no %s among %v", name, namesOf(v.Endpoints(Filter{})))
	return Endpoint{}
}

func TestLearned(t *testing.T) {
	v := New(Config{})
	typical(t, v)
	got := find1(t, v, "GET /orders/{id}")
	item := &Schema{Type: Types{"object"}, Properties: map[string]*Schema{"count": {Type: Types{"integer"}}, "sku": {Type: Types{"string"}}}, Required: []string{"count", "sku"}}
	want := &Schema{Type: Types{"object"}, Properties: map[string]*Schema{
		"id": {Type: Types{"integer"}}, "state": {Type: Types{"string"}, Enum: []string{"open", "paid", "sent"}}, "email": {Type: Types{"string"}, Format: "email"},
		"customer_name": {Type: Types{"string"}}, "total": {Type: Types{"number"}}, "at": {Type: Types{"string"}, Format: "date-time"},
		"lines": {Type: Types{"array"}, Items: item}, "note": {Type: Types{"null"}},
		"by_id": {Type: Types{"object"}, Additional: &Schema{Type: Types{"object"}, Properties: map[string]*Schema{"x": {Type: Types{"integer"}}}, Required: []string{"x"}}},
	}, Required: []string{"at", "by_id", "customer_name", "email", "id", "lines", "note", "state", "total"}}
	if d := cmp.Diff(want, got.Response, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".since" }, cmp.Ignore())); d != "" {
		t.Errorf("response (-want +got):\n%s", d)
	}
	if got.Callers != 9 || got.Requests != 400 || got.Succeeded != 360 || !got.First.Equal(start) || !got.Last.Equal(start.Add(399*time.Hour)) {
		t.Errorf("%+v", got)
	}
	if len(got.Query) != 2 || got.Query[0].Name != "expand" || !slices.Equal(got.Query[0].Schema.Type, Types{"boolean"}) || got.Query[1].Schema.Type[0] != "integer" {
		t.Errorf("query %+v", got.Query)
	}
	if len(got.Statuses) != 2 || got.Statuses[1].Status != 404 || got.Statuses[1].Count != 40 || got.ResponseBytes.Median != 512 {
		t.Errorf("statuses %+v, bytes %+v", got.Statuses, got.ResponseBytes)
	}
	post := find1(t, v, "POST /orders")
	if _, ok := post.Request.Properties["odd3"]; ok || len(post.Request.Properties) != 3 || post.Request.Properties["password"].Enum != nil {
		t.Errorf("request %+v", post.Request)
	}
	if len(post.Sensitive) != 1 || post.Sensitive[0].Count != 400 {
		t.Errorf("%+v", post.Sensitive)
	}
	if n := len(v.Endpoints(Filter{Sensitive: true})); n != 1 {
		t.Errorf("%d with sensitive data", n)
	}
	if n := len(v.Endpoints(Filter{Bare: true, Route: "shop", Contains: "STAT", Method: "GET"})); n != 1 {
		t.Errorf("%d without credentials", n)
	}
	// Values that somebody sent are nowhere.
	b, err := v.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"Alice", "a@example.org", "secret\"", "\"1003\""} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the snapshot holds %s", secret)
		}
	}
}

func TestExport(t *testing.T) {
	v := New(Config{})
	typical(t, v)
	feed(v, rand.New(rand.NewPCG(1, 2)), shop, 20_000)
	b, err := v.Export("shop", "Shop")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := v.Export("shop", "Shop")
	if !bytes.Equal(b, again) {
		t.Error("two exports differ")
	}
	doc, err := openapi3.NewLoader().LoadFromData(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Errorf("kin-openapi: %v", err)
	}
	ours, err := openapi.Load("learned.json", b, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours.Operations()) != len(shop)+3 {
		t.Errorf("%d operations", len(ours.Operations()))
	}

	small := New(Config{})
	typical(t, small)
	b, err = small.Export("shop", "Shop")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "learned.json")
	if *update {
		if err := os.WriteFile(golden, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(b)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSnapshot(t *testing.T) {
	v := New(Config{})
	typical(t, v)
	feed(v, rand.New(rand.NewPCG(1, 2)), shop, 20_000)
	b, err := v.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	w := New(Config{})
	if err := w.Restore(b); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(v.Endpoints(Filter{}), w.Endpoints(Filter{}), cmp.AllowUnexported(Schema{})); d != "" {
		t.Errorf("restored (-want +got):\n%s", d)
	}
	again, err := w.Snapshot()
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("the snapshot of what was restored differs: %v", err)
	}
	// Learning goes on as if nothing had been.
	feed(w, rand.New(rand.NewPCG(3, 4)), shop, 20_000)
	if got := namesOf(w.Endpoints(Filter{Confirmed: true})); len(got) != len(shop)+3 {
		t.Errorf("%d endpoints: %v", len(got), got)
	}
	for text, want := range map[string]string{`{"version": 2}`: "version 2", `{`: "damaged", `[]`: "damaged", `{"version":1,"routes":3}`: "damaged"} {
		if err := w.Restore([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	small := New(Config{Endpoints: 10})
	if err := small.Restore(b); err != nil {
		t.Fatal(err)
	}
	if s := small.Stats(); s.Endpoints != 10 || s.Evicted == 0 {
		t.Errorf("%+v", s)
	}
}

// FuzzRestore holds that no snapshot, however damaged, breaks what comes after it.
func FuzzRestore(f *testing.F) {
	v := New(Config{})
	typical(f, v)
	b, err := v.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":1,"routes":{"shop":{"w":{"a":null,"orders":{"p":{"e":[{"m":"GET","d":{"m":"AAA="},"q":[null],"rs":{"k":[null]}}]}}},"o":true}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v := New(Config{Endpoints: 100})
		if v.Restore(b) != nil {
			return
		}
		typical(t, v)
		v.Refresh()
		v.Match("shop", "GET", "/orders/7", nil)
		if _, err := v.Export("shop", "x"); err != nil {
			t.Error(err)
		}
		if _, err := v.Snapshot(); err != nil {
			t.Error(err)
		}
	})
}

// FuzzLearn holds that paths of strangers make only templates that lead back to them.
func FuzzLearn(f *testing.F) {
	for _, line := range shop {
		_, path, _ := strings.Cut(line, " ")
		f.Add(path)
	}
	f.Add("/a%41;x/%7bid%7d/ü")
	f.Fuzz(func(t *testing.T, path string) {
		v := New(Config{})
		for caller := range uint64(3) {
			v.Learn(&Observation{Time: start, Route: "r", Method: "GET", Path: path, Status: 200, Caller: caller + 1})
		}
		v.Refresh()
		m, values := v.Match("r", "GET", path, nil)
		if s := v.Stats(); (s.Learned == 3) != (m.Template != "") {
			t.Fatalf("%q: %+v, %+v", path, s, m)
		}
		if strings.Count(m.Template, "{") != len(values) {
			t.Fatalf("%q: %q has %d values", path, m.Template, len(values))
		}
	})
}

// described is a Document for tests: it knows some operations and some fields.
type described []Operation

func (d described) Operations() []Operation { return d }

type object map[string]Shape

func (o object) Types() []string { return []string{"object"} }
func (o object) Field(name string) (Shape, bool) {
	s, ok := o[name]
	return s, ok
}
func (o object) Item() Shape { return nil }

type scalar string

func (s scalar) Types() []string            { return []string{string(s)} }
func (s scalar) Field(string) (Shape, bool) { return nil, false }
func (s scalar) Item() Shape                { return nil }

func TestCompare(t *testing.T) {
	v := New(Config{})
	typical(t, v)
	last := start.Add(399 * time.Hour)
	learn := func(n int, o Observation) {
		for i := range n {
			o.Route, o.Caller, o.Status, o.Time = "shop", uint64(i)+1, 200, last
			v.Learn(&o)
		}
	}
	learn(30, Observation{Method: "GET", Path: "/backup/old", Auth: []Credential{{Basic, ""}}}) // nobody wrote it down
	learn(1, Observation{Method: "GET", Path: "/seen/once"})
	learn(30, Observation{Method: "GET", Path: "/v1/prices", Auth: []Credential{{Basic, ""}}})                                        // deprecated
	learn(3, Observation{Method: "GET", Path: "/orders/1005", Sensitive: []string{"payment-card"}, Auth: []Credential{{Bearer, ""}}}) // new
	learn(3, Observation{Method: "GET", Path: "/orders/1006"})                                                                        // without credentials
	known := func(names ...string) func(string) bool {
		return func(s string) bool { return slices.Contains(names, s) }
	}
	doc := described{
		{Method: "GET", Template: "/orders/{order}", Secured: true, Query: known("expand"), Status: func(code int) bool { return code == 200 },
			Response: object{"id": scalar("string"), "state": scalar("string"), "email": nil, "customer_name": nil, "total": scalar("number"), "at": nil, "by_id": nil, "note": nil}},
		{Method: "POST", Template: "/orders", Status: func(code int) bool { return code == 200 }, Request: object{"sku": nil, "count": scalar("number")}},
		{Method: "get", Template: "/status"},
		{Method: "GET", Template: "/v1/prices", Deprecated: true},
		{Method: "DELETE", Template: "/orders/{order}"},
	}
	var got []string
	for _, d := range v.Compare("shop", doc, Options{Now: last, Unused: 14 * 24 * time.Hour}) {
		got = append(got, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", d.Kind, d.Method, d.Template, d.Where)))
		if d.Since.IsZero() || d.Message == "" || d.Route != "shop" {
			t.Errorf("%+v", d)
		}
	}
	want := []string{
		"shadow GET /backup/old",
		"new-field POST /orders request /password",
		"new-status POST /orders status 201",
		"unused DELETE /orders/{order}",
		"new-field GET /orders/{order} response /lines",
		"new-parameter GET /orders/{order} query page",
		"new-sensitive GET /orders/{order} payment-card",
		"other-type GET /orders/{order} response /id",
		"unauthenticated GET /orders/{order}",
		"zombie GET /v1/prices",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	// Without a document only what changed is told.
	got = nil
	for _, d := range v.Compare("shop", nil, Options{}) {
		got = append(got, string(d.Kind)+" "+d.Template)
	}
	if d := cmp.Diff([]string{"new-sensitive /orders/{id}", "unauthenticated /orders/{id}"}, got); d != "" {
		t.Errorf("without a document (-want +got):\n%s", d)
	}
	// The exported document and what it was made of are the same.
	b, err := v.Export("shop", "x")
	if err != nil {
		t.Fatal(err)
	}
	learned, err := openapi.Load("learned.json", b, nil)
	if err != nil {
		t.Fatal(err)
	}
	var own described
	for _, o := range learned.Operations() {
		own = append(own, Operation{Method: o.Method, Template: o.Path})
	}
	for _, d := range v.Compare("shop", own, Options{}) {
		if d.Kind == Shadow || d.Kind == Unused {
			t.Errorf("%+v", d)
		}
	}
}

func TestCompareTemplates(t *testing.T) {
	for _, c := range []struct {
		documented, learned string
		fits, covers        bool
	}{
		{"/users/{userId}", "/users/{id}", true, false},
		{"/users/{userId}/", "/users/me", true, false},
		{"/users/me", "/users/{id}", false, true},
		{"/users/{id}", "/users", false, false},
		{"/users", "/users/{id}", false, false},
		{"/a/{name}.json", "/a/b.json", true, false},
		{"/a/x y", "/a/x%20y", true, false},
		{"/", "/", true, false},
	} {
		if fits, covers := compareTemplates(c.documented, c.learned); fits != c.fits || covers != c.covers {
			t.Errorf("%s %s: %v %v", c.documented, c.learned, fits, covers)
		}
	}
}
