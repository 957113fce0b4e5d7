package ui_test

import (
	"bytes"
	"net/http"
	"net/url"
	"testing"

	"github.com/testudo-sec/testudo/console/consoletest"
)

func TestAPIs(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	for _, c := range []struct {
		query       string
		status      int
		has, hasNot string
	}{
		{"", http.StatusOK, "/api/products", ""},
		{"?state=shadow", http.StatusOK, "&lt;img", "/api/cart"},
		{"?q=orders", http.StatusOK, "/api/orders/{id}", "/api/cart"},
		{"?q=nothing-like-this", http.StatusOK, "No endpoint is like that", "<th scope=\"row\" class=\"req\""},
		{"?sort=requests", http.StatusOK, "First seen", ""},
		{"?state=exposed", http.StatusOK, "No endpoint is like that", "<th scope=\"row\" class=\"req\""},
		{"?sort=state", http.StatusOK, "drifted", ""},
		{"?q=" + string(bytes.Repeat([]byte("x"), 600)), http.StatusUnprocessableEntity, "too long", "<th scope=\"row\" class=\"req\""},
	} {
		status, body := p.get("/apis" + c.query)
		if status != c.status || !bytes.Contains(body, []byte(c.has)) || c.hasNot != "" && bytes.Contains(body, []byte(c.hasNot)) {
			t.Errorf("%.40q: %d, want %d with %q and without %q", c.query, status, c.status, c.has, c.hasNot)
		}
		if bytes.Contains(body, []byte("<img src=x")) {
			t.Errorf("%.40q: a template's name is not escaped", c.query)
		}
	}
	_, body := p.get("/apis?sort=state")
	if shadow, documented := bytes.Index(body, []byte("&lt;img")), bytes.LastIndex(body, []byte("/api/products")); shadow < 0 || shadow > documented {
		t.Error("what asks for attention is not first")
	}
	for _, want := range []string{"1 shadow", "2 documented", `href="/api/v1/apis/document?route=shop" download=`, "nothing learned yet", "9 operations"} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the routes lack %q", want)
		}
	}
	at := func(method, template string) string {
		return "/apis/endpoint?" + url.Values{"route": {"shop"}, "method": {method}, "template": {template}}.Encode()
	}
	status, body := p.get(at("GET", "/api/orders/{id}"))
	for _, want := range []string{"response /coupon", "has a field that the document does not know", "cookie session", "email", "/traffic?", "api.operation", "/findings?", "Body of answers"} {
		if status != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%d: the endpoint's page lacks %q", status, want)
		}
	}
	if status, body = p.get(at("GET", consoletest.HostileTemplate)); status != http.StatusOK || bytes.Contains(body, []byte("<img src=x")) {
		t.Errorf("%d: a hostile template", status)
	}
	if status, _ = p.get(at("GET", "/nothing")); status != http.StatusNotFound {
		t.Errorf("an endpoint that is not known: %d", status)
	}
	if _, body = p.get("/traffic"); !bytes.Contains(body, []byte(`href="/apis"`)) {
		t.Error("nobody finds the page")
	}
}
