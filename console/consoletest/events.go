package consoletest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

var decisionReason = map[string]string{
	"edge.waf-attack":      "scored 15, the threshold is 5: SQL Injection Attack Detected via libinjection, Detects MSSQL code execution and information gathering attempts, seen in ARGS:q, ARGS:q",
	"edge.path-traversal":  "The path climbs out of its folder: /download/../../etc/passwd.",
	"edge.command-in-args": "A parameter named host holds a shell metacharacter.",
	"edge.scanner":         "The user agent is that of a scanner (sqlmap).",
}

// Request returns a judged HTTP request in its recorded form.
func Request(at time.Time, from, method, path, query string, d signal.Decision, rule string) *signal.Event {
	e := &signal.Event{ID: signal.NewID(at), Time: at.UnixNano(), Class: signal.ClassHTTPActivity,
		Activity: signal.HTTPActivity(method), Severity: signal.SeverityInfo, Plane: signal.PlaneEdge}
	if ip, err := netip.ParseAddr(from); err == nil {
		e.SetIP(signal.FieldSrcEndpointIP, ip)
	}
	e.SetInt(signal.FieldSrcEndpointPort, 40000+at.UnixNano()/1e9%20000)
	e.SetString(signal.FieldHTTPRequestUID, e.ID.String())
	e.SetString(signal.FieldHTTPRequestHTTPMethod, method)
	e.SetString(signal.FieldHTTPRequestURLHostname, "shop.example")
	e.SetString(signal.FieldHTTPRequestURLScheme, "http")
	e.SetString(signal.FieldHTTPRequestURLPath, path)
	if query != "" {
		e.SetString(signal.FieldHTTPRequestURLQueryString, query)
		e.SetStrings(signal.FieldHTTPRequestArgsNames, []string{"q"})
	}
	e.SetString(signal.FieldHTTPRequestVersion, "1.1")
	e.SetString(signal.FieldHTTPRequestUserAgent, "curl/8.14.1")
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetString(signal.FieldEdgeUpstream, "http://127.0.0.1:8081")
	e.SetInt(signal.FieldWAFThreshold, 5)
	disposition, action := d.Disposition()
	e.SetInt(signal.FieldDispositionID, disposition)
	e.SetInt(signal.FieldActionID, action)
	if rule != "" {
		e.Severity = signal.SeverityHigh
		e.SetStrings(signal.FieldVerdictRules, []string{rule})
		e.SetString(signal.FieldFirewallRuleUID, rule)
		reason := decisionReason[rule]
		if rule == "edge.waf-attack" {
			reason = method + " " + path + " " + reason
		}
		e.SetString(signal.FieldVerdictReason, reason)
		e.SetInt(signal.FieldWAFScore, 15)
		e.SetStrings(signal.FieldWAFRules, []string{"942100", "942190"})
		e.SetStrings(signal.FieldWAFMessages, []string{"SQL Injection Attack Detected via libinjection", "Detects MSSQL code execution and information gathering attempts"})
		e.SetStrings(signal.FieldWAFTargets, []string{"ARGS:q", "ARGS:q"})
		e.SetStrings(signal.FieldWAFCategories, []string{"attack-sqli"})
	}
	return e
}

// Response returns the response to a request.
func Response(req *signal.Event, status int64) *signal.Event {
	at := time.Unix(0, req.Time).Add(14 * time.Millisecond)
	e := &signal.Event{ID: signal.NewID(at), Time: at.UnixNano(), Class: signal.ClassHTTPActivity, Activity: req.Activity,
		Severity: signal.SeverityInfo, Plane: signal.PlaneEdge, Parent: req.ID}
	e.SetIP(signal.FieldSrcEndpointIP, req.IP(signal.FieldSrcEndpointIP))
	e.SetString(signal.FieldHTTPRequestUID, req.Str(signal.FieldHTTPRequestUID))
	e.SetString(signal.FieldHTTPRequestHTTPMethod, req.Str(signal.FieldHTTPRequestHTTPMethod))
	e.SetString(signal.FieldHTTPRequestURLPath, req.Str(signal.FieldHTTPRequestURLPath))
	e.SetString(signal.FieldHTTPRequestURLHostname, "shop.example")
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetInt(signal.FieldHTTPResponseCode, status)
	e.SetInt(signal.FieldHTTPResponseLatency, 14)
	e.SetInt(signal.FieldHTTPResponseLength, 5120)
	e.SetString(signal.FieldHTTPResponseContentType, "text/html")
	disposition, action := signal.Allow.Disposition()
	e.SetInt(signal.FieldDispositionID, disposition)
	e.SetInt(signal.FieldActionID, action)
	return e
}

// Guarded returns a request that the guard of APIs found something in, in its recorded form. What rules made of it is the caller's.
func Guarded(at time.Time, from, method, path, operation string, d signal.Decision, rule string, found ...[3]string) *signal.Event {
	e := Request(at, from, method, path, "", d, "")
	e.SetString(signal.FieldEdgeRoute, "api")
	e.SetString(signal.FieldAPIOperation, operation)
	e.SetString(signal.FieldAPIServiceName, "orders.yaml")
	e.SetString(signal.FieldAPIAuth, "jwt")
	e.SetString(signal.FieldAPISubject, "k7Qm3tXc")
	var codes, messages, targets []string
	for _, f := range found {
		codes, messages, targets = append(codes, f[0]), append(messages, f[1]), append(targets, f[2])
	}
	if len(found) > 0 {
		e.SetStrings(signal.FieldAPIViolations, codes)
		e.SetStrings(signal.FieldAPIMessages, messages)
		e.SetStrings(signal.FieldAPITargets, targets)
		e.SetBool(signal.FieldAPIBlock, d == signal.Deny)
	}
	if rule != "" {
		e.Severity = signal.SeverityMedium
		e.SetStrings(signal.FieldVerdictRules, []string{rule})
		e.SetString(signal.FieldFirewallRuleUID, rule)
		e.SetString(signal.FieldVerdictReason, fmt.Sprintf("%s %s: %s, in %s (%s)", method, path, strings.Join(messages, ", "), strings.Join(targets, ", "), strings.Join(codes, ", ")))
	}
	return e
}

// guardedEvents are requests to an API: refused, told of, and in order.
func guardedEvents(at time.Time) []*signal.Event {
	refused := Guarded(at, "198.51.100.77", "POST", "/api/orders", "POST /api/orders", signal.Deny, "edge-api-block",
		[3]string{"body/additionalProperties", "is not among the fields that the schema names", "/price"}, [3]string{"body/maxLength", "is longer than 64 characters", "/note"})
	told := Guarded(at.Add(time.Second), "192.0.2.31", "GET", "/api/orders/1042", "GET /api/orders/{id}", signal.Alert, "edge-api-object",
		[3]string{"object/object-walk", "one subject opened 40 objects one after the other", "path"})
	fine := Guarded(at.Add(2*time.Second), "192.0.2.32", "GET", "/api/orders/7", "GET /api/orders/{id}", signal.Allow, "")
	answer := Response(fine, 200)
	answer.SetString(signal.FieldEdgeRoute, "api")
	answer.SetStrings(signal.FieldAPISensitive, []string{"email"})
	low := Request(at.Add(3*time.Second), "192.0.2.33", "GET", "/search", "q=***", signal.Allow, "")
	low.SetInt(signal.FieldWAFScore, 3)
	low.SetStrings(signal.FieldWAFRules, []string{"920350"})
	low.SetStrings(signal.FieldWAFMessages, []string{"Host header is a numeric IP address"})
	low.SetStrings(signal.FieldWAFTargets, []string{"REQUEST_HEADERS:Host"})
	return []*signal.Event{refused, Response(refused, 400), told, fine, answer, low}
}

func (w *World) fillEvents() {
	paths := []string{"/", "/search", "/product/7", "/login", "/static/style.css", "/cart", "/product/2"}
	attacks := []struct {
		from, method, path, query, rule string
		d                               signal.Decision
	}{
		{"203.0.113.66", "GET", "/search", "q=***", "edge.waf-attack", signal.Deny},
		{"203.0.113.66", "GET", "/download/../../etc/passwd", "", "edge.path-traversal", signal.Deny},
		{"198.51.100.23", "POST", "/ping", "host=***", "edge.command-in-args", signal.Deny},
		{"2001:db8:bad::9", "GET", "/", "", "edge.scanner", signal.Alert},
	}
	at := w.Start.Add(-58 * time.Minute)
	for i := range 240 {
		at = at.Add(time.Duration(7+i*13%15) * time.Second)
		if i%12 == 5 {
			a := attacks[i/12%len(attacks)]
			w.Log = append(w.Log, Request(at, a.from, a.method, a.path, a.query, a.d, a.rule))
			continue
		}
		path := paths[i%len(paths)]
		query := ""
		if path == "/search" {
			query = "q=***"
		}
		req := Request(at, fmt.Sprintf("192.0.2.%d", 10+i%9), "GET", path, query, signal.Allow, "")
		w.Log = append(w.Log, req)
		if i%3 == 0 {
			w.Log = append(w.Log, Response(req, 200))
		}
	}
	w.Log = append(w.Log, guardedEvents(at.Add(2*time.Second))...)
	w.Log = append(w.Log, LogEvents(w.Start.Add(-5*time.Minute))...)
	login := &signal.Event{ID: signal.NewID(at), Time: at.UnixNano(), Class: signal.ClassAuthentication,
		Activity: signal.ActivityLogon, Severity: signal.SeverityInfo, Plane: signal.PlaneTestudo}
	login.SetString(signal.FieldUserName, AdminName)
	login.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("127.0.0.1"))
	w.Log = append(w.Log, login)
}
