package assembly

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/edge/api"
	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/signal"
)

// apiSettings guard the demo shop by its document.
func apiSettings(t *testing.T, change func(*api.Route)) Settings {
	s := testSettings(shop(t))
	r := api.DefaultRoute()
	r.Route, r.Document = "shop", "../../../examples/shop/openapi.yaml"
	if change != nil {
		change(&r)
	}
	s.API.Routes = []api.Route{r}
	return s
}

// send sends a request with a body through the edge.
func (s *system) send(c *http.Client, method, target, contentType, body string) (status int, text string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.m.EdgeURL()+target, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := c.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestAPIOfTheShop: the demo shop behind its document. What the document says passes; what it does not say is refused, with its reason in the event and the explanation, and no value.
func TestAPIOfTheShop(t *testing.T) {
	dir := dataDir(t)
	s := start(t, apiSettings(t, nil), dir)
	s.signIn()
	c := from(t, "")
	const cart = "/api/cart"
	for _, honest := range []string{`{"product": "lantern", "quantity": 2}`} {
		if status, body := s.send(c, "POST", cart, "application/json", honest); status != http.StatusOK {
			t.Errorf("%s: %d %.200s", honest, status, body)
		}
	}
	for _, page := range []string{"/", "/api/products", "/search?q=lantern", "/api/products/lantern"} {
		if a := s.get(c, page); a.status != http.StatusOK {
			t.Errorf("%s: %d", page, a.status)
		}
	}
	if got := s.events("decision=deny"); len(got) != 0 {
		t.Fatalf("an honest request was denied: %s", got[0].AppendJSON(nil))
	}
	for _, odd := range []struct{ body, code, target string }{
		{`{"product": "lantern", "quantity": 2, "price_cents": 1}`, "body/additionalProperties", "/price_cents"},
		{`{"product": "lantern", "quantity": 1000}`, "body/maximum", "/quantity"},
		{`{"product": "lantern", "quantity": "two-secret"}`, "body/type", "/quantity"},
		{`{"product": "lantern"}`, "body/required", ""},
		{`{"product": "lantern", "product": "rope", "quantity": 1}`, "body/duplicate-key", "/product"},
	} {
		if status, body := s.send(c, "POST", cart, "application/json", odd.body); status != http.StatusForbidden {
			t.Errorf("%s: %d %.200s", odd.body, status, body)
		}
		eventually(t, odd.code+" is recorded", func() bool {
			for _, e := range s.events("decision=deny") {
				if slices.Contains(e.Strings(signal.FieldAPIViolations), odd.code) && e.Str(signal.FieldFirewallRuleUID) == "edge-api-block" {
					if e.Str(signal.FieldAPIOperation) != "POST /api/cart" || e.Str(signal.FieldAPIServiceName) != "The demo shop" || strings.Contains(string(e.AppendJSON(nil)), "two-secret") {
						t.Errorf("%s", e.AppendJSON(nil))
					}
					return true
				}
			}
			return false
		})
	}
	// Its document says what a name of a host is like: the shell's words are refused before the firewall's score counts.
	if a := s.get(c, "/diag/ping?host=127.0.0.1%26%26id"); a.status != http.StatusForbidden {
		t.Errorf("a command: %d", a.status)
	}
	// An unknown path is told of, and passes.
	if a := s.get(c, "/admin/export"); a.status == http.StatusForbidden {
		t.Errorf("a path that nobody knows is refused: %d", a.status)
	}
	cl, err := client.Dial(t.Context(), SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var denied *signal.Event
	for _, e := range s.events("decision=deny") {
		if slices.Contains(e.Strings(signal.FieldAPIViolations), "body/additionalProperties") {
			denied = e
		}
	}
	all, err := cl.Explain(t.Context(), denied.ID, "edge-api-block")
	if err != nil || len(all) != 1 || !all[0].Fires {
		t.Errorf("edge-api-block is not explained: %+v %v", all, err)
	}
}

// TestAPIReported: in the mode report the same passes, and is told of.
func TestAPIReported(t *testing.T) {
	s := start(t, apiSettings(t, func(r *api.Route) { r.Requests = api.Report }), dataDir(t))
	s.signIn()
	if status, body := s.send(from(t, ""), "POST", "/api/cart", "application/json", `{"product": "lantern", "quantity": 2, "colour": "red"}`); status == http.StatusForbidden {
		t.Errorf("%d %.200s", status, body)
	}
	eventually(t, "it is told of", func() bool {
		return slices.ContainsFunc(s.events("decision=alert"), func(e *signal.Event) bool {
			return slices.Contains(e.Strings(signal.FieldAPIViolations), "body/additionalProperties") && !e.Bool(signal.FieldAPIBlock)
		})
	})
}

// TestShadowEndpoint: an endpoint that answers and that the document does not know becomes a finding; what was learned is there after a restart.
func TestShadowEndpoint(t *testing.T) {
	dir := dataDir(t)
	doc := filepath.Join(t.TempDir(), "part.yaml")
	text := "openapi: 3.1.0\ninfo: {title: A part, version: \"1\"}\npaths:\n  /api/products:\n    get: {responses: {\"200\": {description: all}}}\n"
	if err := os.WriteFile(doc, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := apiSettings(t, func(r *api.Route) { r.Document = doc })
	s := start(t, settings, dir)
	s.signIn()
	for i := range 40 {
		for _, page := range []string{"/api/products", "/api/products/lantern"} {
			if a := s.get(from(t, fmt.Sprintf("127.0.0.%d", 10+i)), page); a.status != http.StatusOK {
				t.Fatalf("%s: %d", page, a.status)
			}
		}
	}
	s.m.api.Inventory().Refresh()
	if err := s.m.tellDrift(t.Context(), time.Now().Add(7*24*time.Hour)); err != nil {
		t.Fatal(err)
	}
	id := signal.Fingerprint("api", "shop", "shadow", "GET", "/api/products/lantern", "")
	for _, later := range []time.Duration{10 * time.Minute, 20 * time.Minute, 25 * time.Hour} { // a day is one sighting
		if err := s.m.tellDrift(t.Context(), time.Now().Add(7*24*time.Hour+later)); err != nil {
			t.Fatal(err)
		}
	}
	found, ok, err := s.m.storage.State.Finding(t.Context(), id)
	if found.Count != 2 {
		t.Errorf("seen %d times", found.Count)
	}
	if err != nil || !ok || found.Severity != signal.SeverityMedium || found.Asset != "application:shop" {
		t.Errorf("%+v %v", found, err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	again := start(t, settings, dir)
	if n := len(again.m.api.Inventory().Endpoints(inventory.Filter{})); n < 2 {
		t.Errorf("after a restart it knows %d endpoints", n)
	}
	info, err := os.Stat(filepath.Join(dir, apiKeyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v %v", info, err)
	}
}

// TestDriftMended: a finding is resolved by itself when the document describes the endpoint, not when there is no document, nor when the endpoint is unknown.
func TestDriftMended(t *testing.T) {
	dir := dataDir(t)
	doc := filepath.Join(t.TempDir(), "part.yaml")
	text := "openapi: 3.1.0\ninfo: {title: A part, version: \"1\"}\npaths:\n  /api/products:\n    get: {responses: {\"200\": {description: all}}}\n"
	if err := os.WriteFile(doc, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	described := apiSettings(t, func(r *api.Route) { r.Document = doc })
	bare := apiSettings(t, func(r *api.Route) { r.Document = "" })
	bare.Edge.Routes = described.Edge.Routes
	id := signal.Fingerprint("api", "shop", "shadow", "GET", "/api/products/lantern", "")
	other := driftFinding(&inventory.Drift{Kind: inventory.Shadow, Route: "shop", Method: "GET", Template: "/forgotten", Message: "is answered"}, time.Now())

	tell := func(settings Settings, ask bool, want signal.FindingState) *system {
		t.Helper()
		s := start(t, settings, dir)
		s.signIn()
		for i := range 40 {
			if !ask {
				break
			}
			if a := s.get(from(t, fmt.Sprintf("127.0.0.%d", 10+i)), "/api/products/lantern"); a.status != http.StatusOK {
				t.Fatalf("%d", a.status)
			}
		}
		s.m.api.Inventory().Refresh()
		if ask {
			if _, _, err := s.m.storage.State.PutFinding(t.Context(), other); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.m.tellDrift(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		if f, ok, err := s.m.storage.State.Finding(t.Context(), id); err != nil || !ok || f.State != want {
			t.Fatalf("want it %s: %v %v %+v", want, err, ok, f)
		}
		if f, _, err := s.m.storage.State.Finding(t.Context(), other.ID); err != nil || f.State != signal.FindingOpen {
			t.Fatalf("of an endpoint that is not known: %v %s", err, f.State)
		}
		return s
	}
	for _, settings := range []Settings{described, bare} {
		if err := tell(settings, settings.API.Routes[0].Document != "", signal.FindingOpen).stop(); err != nil {
			t.Fatal(err)
		}
	}
	text += "  /api/products/{slug}:\n    parameters: [{name: slug, in: path, required: true, schema: {type: string}}]\n    get: {responses: {\"200\": {description: one}}}\n"
	if err := os.WriteFile(doc, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := tell(described, false, signal.FindingResolved)
	changes, err := s.m.storage.State.FindingChanges(t.Context(), id)
	if err != nil || len(changes) == 0 || !strings.Contains(changes[len(changes)-1].Reason+changes[0].Reason, "agree now") {
		t.Errorf("%v %+v", err, changes)
	}
}
