package openapi

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
	"github.com/testudo-sec/testudo/examples/shop/shell"
	"github.com/testudo-sec/testudo/examples/shop/web"
)

func TestMain(m *testing.M) {
	shell.Child()
	os.Exit(m.Run())
}

func shop(t *testing.T) (*Document, http.Handler) {
	t.Helper()
	name := filepath.Join("..", "..", "..", "examples", "shop", "openapi.yaml")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Load("openapi.yaml", b, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	store, err := catalogue.Open(t.Context(), filepath.Join(dir, "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	manuals := filepath.Join(dir, "manuals")
	if err := catalogue.WriteManuals(manuals); err != nil {
		t.Fatal(err)
	}
	shells, err := shell.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := web.New(web.Config{Store: store, Shell: shells, Manuals: manuals, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(); store.Close() })
	return d, s
}

// TestShopIsDescribedTruly sends what visitors send: no request and no answer of the real shop may break the document.
func TestShopIsDescribedTruly(t *testing.T) {
	d, s := shop(t)
	if len(d.Warnings) > 0 {
		t.Errorf("warnings: %q", d.Warnings)
	}
	const form, json = "\nContent-Type: application/x-www-form-urlencoded\n\n", "\nContent-Type: application/json\n\n"
	requests := []string{
		"GET /", "HEAD /", "GET /healthz", "GET /static/shop.css", "GET /static/shop.js", "GET /products/tent", "GET /products/none", "GET /search?q=lantern", "GET /search?q=",
		"GET /search", "GET /login", "POST /login" + form + "username=visitor&password=tortoise", "POST /login" + form + "username=visitor&password=wrong", "POST /logout", "POST /logout" + form,
		"GET /account", "POST /comments" + form + "product=mug&author=&text=It+holds+tea", "POST /comments" + form + "product=none&text=x", "GET /download?file=tent.txt", "GET /download?file=none.txt", "GET /diag",
		"GET /diag/ping?host=", "GET /cart", "POST /cart" + form + "product=tent", "POST /cart" + form + "product=tent&action=remove", "GET /chat",
		"GET /api/products", "GET /api/products/tent", "GET /api/products/none", "GET /api/cart", "POST /api/cart" + json + `{"product":"tent","quantity":2}`, "POST /api/cart" + json + `{"product":"none","quantity":2}`,
		"GET /api/cart\nCookie: shop_session=ABCDEFGHIJKLMNOPQRSTUVWX23",
	}
	described := map[string]bool{}
	cookie := ""
	for _, text := range requests {
		op, r := request(t, d, text)
		if v := op.CheckRequest(r); v != nil {
			t.Errorf("%q: %v", text, v)
		}
		described[op.ID] = true
		method, target, _ := strings.Cut(strings.SplitN(text, "\n", 2)[0], " ")
		ctx, cancel := context.WithCancel(t.Context())
		hr := httptest.NewRequestWithContext(ctx, method, target, strings.NewReader(string(r.Body)))
		hr.Header = r.Header.Clone()
		if cookie != "" && hr.Header.Get("Cookie") == "" {
			hr.Header.Set("Cookie", cookie)
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, hr)
		cancel()
		res := w.Result()
		if c := res.Header.Get("Set-Cookie"); c != "" {
			cookie, _, _ = strings.Cut(c, ";")
		}
		body, _ := io.ReadAll(res.Body)
		if v := op.CheckResponse(&Response{Status: res.StatusCode, Header: res.Header, Body: body, Head: method == "HEAD"}); v != nil {
			t.Errorf("%q answers %d: %v", text, res.StatusCode, v)
		}
	}
	for _, op := range d.Operations() {
		// These do not end by themselves.
		if !described[op.ID] && !slices.Contains([]string{"events", "chatSocket", "ping"}, op.ID) {
			if op.ID != "" {
				t.Errorf("%s is described and was not asked", op.ID)
			}
		}
	}
}

// TestShopIsDescribedWhole reads the shop's own list of routes.
func TestShopIsDescribedWhole(t *testing.T) {
	d, _ := shop(t)
	src, err := os.ReadFile(filepath.Join("..", "..", "..", "examples", "shop", "web", "shop.go"))
	if err != nil {
		t.Fatal(err)
	}
	routes := regexp.MustCompile(`"(GET|POST) (/[^"]*)"`).FindAllStringSubmatch(string(src), -1)
	if len(routes) < 20 {
		t.Fatalf("%d routes", len(routes))
	}
	for _, r := range routes {
		path := strings.NewReplacer("{$}", "", "{slug}", "tent").Replace(r[2])
		if path == "/static/" {
			path += "shop.css"
		}
		if op, _, found := d.Find(r[1], path); op == nil {
			t.Errorf("%s %s: %v", r[1], path, found.Violations)
		}
	}
	if len(routes) != len(d.Operations()) {
		t.Errorf("%d routes, %d operations", len(routes), len(d.Operations()))
	}
}

// TestAttacksOnTheShop are seen by the document alone.
func TestAttacksOnTheShop(t *testing.T) {
	d, _ := shop(t)
	tests := map[string]string{
		"GET /download?file=../shop.db":               "query file pattern",
		"GET /download?file=tent.txt&file=../shop.db": "query file repeated",
		"GET /diag/ping?host=127.0.0.1;id":            "query host pattern",
		"GET /products/tent'--":                       "path slug pattern",
		"POST /api/cart\nContent-Type: application/json\n\n{\"product\":\"tent\",\"quantity\":1,\"total_cents\":1}": "body /total_cents additionalProperties",
		"POST /api/cart\nContent-Type: application/json\n\n{\"product\":\"tent\",\"quantity\":-1}":                  "body /quantity minimum",
		"POST /login\nContent-Type: application/x-www-form-urlencoded\n\nusername=a&role=admin":                     "body /role additionalProperties",
	}
	for text, want := range tests {
		op, r := request(t, d, text)
		if got := codes(op.CheckRequest(r)); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	for _, path := range []string{"/download/..%2f", "/static/..%2f..%2fshop.db", "/admin", "/.git/config", "/products/tent/"} {
		if op, _, found := d.Find("GET", path); op != nil || len(found.Violations) == 0 {
			t.Errorf("%s: %v", path, found)
		}
	}
}
