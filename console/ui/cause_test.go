package ui

import (
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

func TestCause(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	waf := func(edit func(*signal.Event)) *signal.Event {
		e := consoletest.Request(at, "203.0.113.9", "GET", "/search", "q=***", signal.Deny, "edge.waf-attack")
		edit(e)
		return e
	}
	api := func(d signal.Decision, rule string, found ...[3]string) *signal.Event {
		return consoletest.Guarded(at, "203.0.113.9", "POST", "/orders", "POST /orders", d, rule, found...)
	}
	price := [3]string{"body/additionalProperties", "is not among the fields that the schema names", "/price"}
	for _, c := range []struct {
		name       string
		e          *signal.Event
		kind, want string
	}{
		{"the firewall", waf(func(*signal.Event) {}), "firewall", "parameter q: SQL Injection Attack Detected via libinjection, and 1 more"},
		{"what says how HTTP was used comes second", waf(func(e *signal.Event) {
			e.SetStrings(signal.FieldWAFRules, []string{"920350", "942100"})
			e.SetStrings(signal.FieldWAFMessages, []string{"Host header is a numeric IP address", "SQL Injection Attack Detected via libinjection"})
			e.SetStrings(signal.FieldWAFTargets, []string{"REQUEST_HEADERS:Host", "ARGS_NAMES:x"})
		}), "firewall", "the name of parameter x: SQL Injection Attack Detected via libinjection, and 1 more"},
		{"a rule without a message", waf(func(e *signal.Event) {
			e.SetStrings(signal.FieldVerdictRules, []string{"edge-waf-attack"})
			e.SetStrings(signal.FieldWAFRules, []string{"942100"})
			e.SetStrings(signal.FieldWAFMessages, []string{""})
			e.SetStrings(signal.FieldWAFTargets, nil)
		}), "firewall", "rule 942100"},
		{"points that do not suffice", waf(func(e *signal.Event) {
			e.SetStrings(signal.FieldVerdictRules, nil)
			e.SetString(signal.FieldVerdictReason, "")
			e.SetStrings(signal.FieldWAFTargets, []string{"REQUEST_BODY"})
		}), "firewall", "the body: SQL Injection Attack Detected via libinjection, and 1 more"},
		{"a rule of policy, where the firewall found something too", waf(func(e *signal.Event) {
			e.SetStrings(signal.FieldVerdictRules, []string{"mine"})
			e.SetString(signal.FieldVerdictReason, "GET /search: nobody searches at night")
		}), "rule", "nobody searches at night"},
		{"a reason that begins with another path", waf(func(e *signal.Event) {
			e.SetStrings(signal.FieldVerdictRules, []string{"mine"})
			e.SetString(signal.FieldVerdictReason, "GET /search2 is no path")
		}), "rule", "GET /search2 is no path"},
		{"a rule without a reason", waf(func(e *signal.Event) {
			e.SetStrings(signal.FieldVerdictRules, []string{"mine", "other"})
			e.SetString(signal.FieldVerdictReason, "")
		}), "rule", "mine, other"},
		{"the API's guard", api(signal.Deny, "edge-api-block", price, [3]string{"query/unknown", "is not described", "query sort"}), "api",
			"field /price: is not among the fields that the schema names, and 1 more"},
		{"the API's guard, reported by no rule", api(signal.Allow, "", [3]string{"query/unknown", "is not described", "query sort"}), "api", "parameter sort: is not described"},
		{"an attack in what the API does not allow", func() *signal.Event {
			e := api(signal.Deny, "edge-api-block", [3]string{"query/unknown", "the document does not name such a parameter", "file"})
			e.SetStrings(signal.FieldVerdictRules, []string{"edge-api-block", "edge-waf-attack"})
			e.SetStrings(signal.FieldWAFRules, []string{"930100"})
			e.SetStrings(signal.FieldWAFMessages, []string{"Path Traversal Attack (/../)"})
			e.SetStrings(signal.FieldWAFTargets, []string{"ARGS:file"})
			return e
		}(), "firewall", "parameter file: Path Traversal Attack (/../)"},
		{"the API could not be checked", func() *signal.Event {
			e := api(signal.Alert, "")
			e.SetStrings(signal.FieldVerdictRules, []string{"edge-api-error"})
			e.SetString(signal.FieldAPIError, "the key set cannot be read")
			return e
		}(), "api", "could not be checked: the key set cannot be read"},
		{"blocked before", func() *signal.Event {
			e := consoletest.Request(at, "203.0.113.9", "GET", "/", "", signal.Deny, "")
			e.SetString(signal.FieldEdgeError, "blocklist")
			return e
		}(), "edge", "the client's address was blocked"},
		{"nothing but unlike others", func() *signal.Event {
			e := consoletest.Request(at, "203.0.113.9", "GET", "/search", "q=*", signal.Allow, "")
			e.SetStrings(signal.FieldHabitUnusual, []string{"q: 4,000 characters, others have at most 60", "q: has <, which no other had"})
			return e
		}(), "habit", "q: 4,000 characters, others have at most 60, and 1 more"},
		{"in order", consoletest.Request(at, "203.0.113.9", "GET", "/", "", signal.Allow, ""), "", ""},
	} {
		got := rowOf(c.e).Cause
		if got.Kind != c.kind || got.String() != c.want {
			t.Errorf("%s: %s %q, want %s %q", c.name, got.Kind, got, c.kind, c.want)
		}
	}
}

// TestCauseOfAnswer: where the answer was refused, the list says why that was.
func TestCauseOfAnswer(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	req := consoletest.Guarded(at, "203.0.113.9", "GET", "/orders/1", "GET /orders/{id}", signal.Allow, "")
	res := consoletest.Response(req, 502)
	res.SetStrings(signal.FieldVerdictRules, []string{"edge-api-block"})
	res.SetString(signal.FieldVerdictReason, "GET /orders/1: holds the number of a payment card, in /card (leak/card)")
	res.SetStrings(signal.FieldAPIViolations, []string{"leak/card"})
	res.SetStrings(signal.FieldAPIMessages, []string{"holds the number of a payment card"})
	res.SetStrings(signal.FieldAPITargets, []string{"/card"})
	disposition, action := signal.Deny.Disposition()
	res.SetInt(signal.FieldDispositionID, disposition)
	res.SetInt(signal.FieldActionID, action)
	rows := requestRows([]*signal.Event{res, req}, false)
	if len(rows) != 1 || rows[0].Why() != "field /card: holds the number of a payment card" || rows[0].Decision != signal.Deny {
		t.Errorf("got %+v", rows)
	}
	m := eventDetail(req, []*signal.Event{res})
	if why := whyOf(req, m); why != "GET /orders/1: holds the number of a payment card, in /card (leak/card)" || len(m.Replied) != 1 {
		t.Errorf("the page says %q of %+v", why, m.Replied)
	}
}

// TestWhyOfAPI: each thing stands with its place.
func TestWhyOfAPI(t *testing.T) {
	e := consoletest.Guarded(time.Unix(1_700_000_000, 0), "203.0.113.9", "POST", "/orders", "POST /orders", signal.Deny, "edge-api-block",
		[3]string{"body/maxLength", "is longer than 64 characters", "/note"}, [3]string{"query/unknown", "is not described", "query sort"})
	if got, want := whyOf(e, eventDetail(e, nil)), "The API does not allow it: field /note: is longer than 64 characters; parameter sort: is not described."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestGuardWhere(t *testing.T) {
	for _, c := range [][3]string{{"query/maxLength", "q", "parameter q"}, {"path/type", "id", "path parameter id"}, {"path/undocumented", "", ""}, {"body/required", "/items/*/sku", "field /items/*/sku"},
		{"header/required", "X-Tenant", "header X-Tenant"}, {"bypass/method-override", "header X-HTTP-Method-Override", "header X-HTTP-Method-Override"}, {"bypass/path-trick", "path", "the path"},
		{"grpc/size", "order.note", "order.note"}} {
		if got := guardWhere(c[0], c[1]); got != c[2] {
			t.Errorf("%s at %q: %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestFirewallWhere(t *testing.T) {
	for target, want := range map[string]string{
		"ARGS:q": "parameter q", "ARGS:json.a:b": "parameter json.a:b", "REQUEST_HEADERS:User-Agent": "header User-Agent", "REQUEST_COOKIES:s": "cookie s", "REQUEST_BODY": "the body",
		"XML:/*": "the XML", "ARGS": "ARGS", "TX:score": "TX:score", "ARGS:": "ARGS:", "": "",
	} {
		if got := firewallWhere(target); got != want {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
