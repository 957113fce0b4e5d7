package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// bench is a console without a network: requests go to its handler.
type bench struct {
	t     testing.TB
	world *consoletest.World
	*console.Server
	csrf map[string]string // by person
	ses  map[string]string
}

func newBench(t testing.TB, ui console.UI, change ...func(*console.Sources)) *bench {
	t.Helper()
	w := consoletest.New()
	src := w.Sources()
	for _, f := range change {
		f(&src)
	}
	reg := prometheus.NewRegistry()
	s, err := console.New(console.Default(), src, console.Deps{UI: ui, Registerer: reg, Gatherer: reg, Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, world: w, Server: s, csrf: map[string]string{}, ses: map[string]string{}}
	for _, name := range []string{consoletest.AdminName, consoletest.OperatorName, consoletest.ViewerName} {
		b.ses[name] = w.Session(name)
		b.csrf[name] = console.CSRFOf(b.ses[name])
	}
	return b
}

// request makes a request as a browser of that person would send it; nobody for "".
func (b *bench) request(method, path, body, person string) *http.Request {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "https://127.0.0.1:7443"+path, rd)
	r.RemoteAddr = "192.0.2.77:4711"
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if person != "" {
		r.AddCookie(&http.Cookie{Name: b.CookieName(), Value: b.ses[person]})
		r.Header.Set(console.CSRFHeader, b.csrf[person])
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	return r
}

// send answers a request. Streams end at once: their context has ended.
func (b *bench) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w
}

func (b *bench) sendStream(r *http.Request) *httptest.ResponseRecorder {
	ctx, cancel := context.WithCancel(r.Context())
	cancel()
	return b.send(r.WithContext(ctx))
}

func decode[T any](t testing.TB, w *httptest.ResponseRecorder) T {
	t.Helper()
	var v T
	if err := json.NewDecoder(bytes.NewReader(w.Body.Bytes())).Decode(&v); err != nil {
		t.Fatalf("status %d, body %s: %v", w.Code, w.Body, err)
	}
	return v
}

// example is a request that a route answers with success.
type example struct {
	op, path, body string
	change         bool // it changes something: the ledger must tell
}

// examples has one request for each route of the API, on things that the world holds.
func examples(w *consoletest.World) map[string]example {
	var denied, open, active, rule = "", "", "", w.Rules[0].ID
	for _, e := range w.Log {
		if console.DecisionOf(e) == signal.Deny {
			denied = e.ID.String()
		}
	}
	open = w.Findings[0].ID
	for _, a := range w.Actions {
		if a.State == signal.ActionActive {
			active = a.ID
		}
	}
	list := []example{
		{op: "me", path: "/me"}, {op: "signInState", path: "/session"}, {op: "overview", path: "/overview"}, {op: "system", path: "/system"}, {op: "doctor", path: "/doctor"},
		{op: "signIn", path: "/session", body: `{"name":"ann","password":"` + consoletest.AdminPassword + `"}`, change: true},
		{op: "redeemLink", path: "/session/link", body: `{"link":"setup-link","password":"a long enough password"}`, change: true},
		{op: "changePassword", path: "/session/password", body: `{"current":"` + consoletest.AdminPassword + `","password":"another long password"}`, change: true},
		{op: "signOut", path: "/session", change: true},
		{op: "listEvents", path: "/events?plane=edge&class=http_activity&decision=deny&client=203.0.113.0/24&route=shop&text=search&since=2020-01-01T00:00:00Z&limit=5"},
		{op: "getEvent", path: "/events/" + denied}, {op: "relatedEvents", path: "/events/" + denied + "/related"},
		{op: "whatIf", path: "/whatif", body: `{"files":[{"name":"rule.yaml","text":"when: true"}],"disable":["edge.waf-attack"],"since":"2020-01-01T00:00:00Z","planes":["edge"],"verify":true}`},
		{op: "proposeExceptions", path: "/events/" + denied + "/exceptions", body: `{"rule":"edge.waf-attack"}`},
		{op: "decideException", path: "/events/" + denied + "/exceptions/decisions", body: `{"decision":"refuse","rule":"edge.waf-attack","text":"rule 942100 in ARGS:q","reason":"too wide"}`, change: true},
		{op: "listExceptionDecisions", path: "/rules/edge.waf-attack/exceptions"},
		{op: "explainEvent", path: "/events/" + denied + "/explain"},
		{op: "getFiles", path: "/fim"},
		{op: "listProcesses", path: "/processes?all=true"},
		{op: "getProcess", path: "/processes/" + consoletest.Shell},
		{op: "getHost", path: "/host"},
		{op: "listAPIs", path: "/apis?route=shop&method=GET&text=cart&state=documented&limit=5"},
		{op: "getAPI", path: "/apis/endpoint?route=shop&method=GET&template=/api/orders/%7Bid%7D"},
		{op: "listAPIDrift", path: "/apis/drift?route=shop"},
		{op: "listBudgets", path: "/budgets"},
		{op: "restoreBudget", path: "/budgets/restore", body: `{"kind":"firewall","rule":"942100","route":"shop","reason":"the form was changed"}`, change: true},
		{op: "exportAPI", path: "/apis/document?route=shop"},
		{op: "takeFiles", path: "/fim/baseline"},
		{op: "acceptFiles", path: "/fim/accept", body: `{"paths":["/etc/passwd"]}`},
		{op: "traceRequest", path: "/trace/" + consoletest.Traced},
		{op: "streamEvents", path: "/events/stream?condition=edge.route+%3D%3D+%22shop%22"}, {op: "streamChanges", path: "/changes"},
		{op: "hunt", path: "/hunt?condition=edge.route+%3D%3D+%22shop%22&limit=7"},
		{op: "listFindings", path: "/findings?state=open&severity=medium&kind=posture&plane=scan&text=password"}, {op: "getFinding", path: "/findings/" + open},
		{op: "setFindingState", path: "/findings/" + open + "/state", body: `{"state":"muted","note":"known"}`, change: true},
		{op: "listPackages", path: "/packages?purl=pkg:npm/lodash@%3C4.17.21&limit=5"},
		{op: "putScan", path: "/scans", body: `{"asset":{"kind":"repository","name":"acme/shop","revision":"4f2c"},"complete":true,"findings":[],"packages":[]}`, change: true},
		{op: "listActions", path: "/actions?state=active&kind=block"}, {op: "getAction", path: "/actions/" + active},
		{op: "previewAction", path: "/actions/preview", body: `{"kind":"block","target":"203.0.113.0/24"}`},
		{op: "orderAction", path: "/actions", body: `{"kind":"block","target":"203.0.113.9","for":"10m","reason":"a test"}`, change: true},
		{op: "undoAction", path: "/actions/" + active + "/undo", body: `{"reason":"a mistake"}`, change: true},
		{op: "listRules", path: "/rules"}, {op: "getRule", path: "/rules/" + rule}, {op: "getRuleSet", path: "/ruleset"},
		{op: "checkRule", path: "/ruleset/check", body: `{"text":"when: true"}`}, {op: "testRules", path: "/ruleset/test"}, {op: "testRule", path: "/rules/" + rule + "/test"},
		{op: "reloadRules", path: "/ruleset/reload", change: true},
		{op: "listPeople", path: "/people"}, {op: "invite", path: "/people", body: `{"name":"new.one","role":"viewer"}`, change: true},
		{op: "consoleLink", path: "/console/link", change: true},
		{op: "setRole", path: "/people/vic/role", body: `{"role":"operator"}`, change: true}, {op: "removePerson", path: "/people/vic", change: true},
		{op: "listSessions", path: "/sessions"}, {op: "endSession", path: "/sessions/SESSION", change: true},
		{op: "listTokens", path: "/tokens"}, {op: "issueToken", path: "/tokens", body: `{"name":"ci","role":"viewer","ttl":"90d"}`, change: true},
		{op: "revokeToken", path: "/tokens/" + w.Tokens[0].ID, change: true},
		{op: "listLedger", path: "/ledger/entries?verb=block&limit=2"}, {op: "ledgerHead", path: "/ledger/head"}, {op: "verifyLedger", path: "/ledger/verify"},
	}
	byOp := make(map[string]example, len(list))
	for _, e := range list {
		e.path = "/api/v1" + e.path
		byOp[e.op] = e
	}
	return byOp
}

func (b *bench) example(op string) example {
	b.t.Helper()
	e, ok := examples(b.world)[op]
	if !ok {
		b.t.Fatalf("no example for %s: add one to examples", op)
	}
	return e
}

// brokenRecorder is a ledger on a full disk.
type brokenRecorder struct{}

func (brokenRecorder) Record(context.Context, console.Entry) error {
	return errors.New("no space left on device")
}
