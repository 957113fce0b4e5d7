package native

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// both compiles a condition as it is planned, and whole for CEL's evaluator: the oracle.
func both(d *Dialect, text string) (planned *Condition, oracle match.Expr, mistakes []mistake) {
	planned, mistakes = d.compile(text)
	if len(mistakes) > 0 {
		return nil, nil, mistakes
	}
	tree, env, mistakes := d.check(text)
	if len(mistakes) > 0 {
		return nil, nil, mistakes
	}
	p := planner{env: env, tree: tree}
	oracle = p.leaf(tree.Expr())
	if p.err != nil {
		return nil, nil, []mistake{{message: p.err.Error()}}
	}
	return planned, oracle, nil
}

// grammar draws conditions over a few fields, so that events often match.
type grammar struct{ t *rapid.T }

func (g grammar) pick(label string, of ...string) string {
	return rapid.SampledFrom(of).Draw(g.t, label)
}

func (g grammar) quoted() string {
	return fmt.Sprintf("%q", g.pick("literal", "", "a", "A", "b", "ab", "/a", "/Admin", "%41", "%2541", "é", "\xff", "..", "GET", "203.0.113.9"))
}

func (g grammar) text(elem string) string {
	all := []string{"http_request.url.path", "http_request.user_agent", "edge.mode", "edge.error", "metadata.correlation_uid", "metadata.log_provider", `attr("Image")`, `attr("none")`}
	if elem != "" {
		all = append(all, elem, elem, elem)
	}
	switch g.pick("text", "plain", "plain", "plain", "lower", "urldecode", "literal") {
	case "lower":
		return "lower(" + g.text(elem) + ")"
	case "urldecode":
		return "urldecode(" + g.text(elem) + ")"
	case "literal":
		return g.quoted()
	}
	return g.pick("field", all...)
}

func (g grammar) number() string {
	switch g.pick("number", "literal", "field", "field", "size", "sizeText", "arith") {
	case "literal":
		return g.pick("int", "0", "1", "2", "-1", "5")
	case "size":
		return g.pick("size", "size(http_request.args_names)", "http_request.args_names.size()")
	case "sizeText":
		return "size(" + g.pick("of", "http_request.url.path", "edge.mode", `"é"`) + ")"
	case "arith":
		return "(waf.score " + g.pick("op", "+", "/", "%") + " waf.threshold)"
	}
	return g.pick("field", "waf.score", "waf.threshold", "http_response.code", "class_uid", "activity_id")
}

func (g grammar) condition(depth int, elem string) string {
	kinds := []string{"number", "text", "call", "in", "has", "address", "bool", "listIn", "numberIn", "request", "matches"}
	if depth > 0 {
		kinds = append(kinds, "and", "or", "not", "and", "or", "not", "truth", "ternary")
		if elem == "" {
			kinds = append(kinds, "loop", "loop", "literalLoop", "one")
		}
	}
	order := func() string { return g.pick("order", "==", "!=", "<", "<=", ">", ">=") }
	sub := func() string { return g.condition(depth-1, elem) }
	switch g.pick("kind", kinds...) {
	case "number":
		return g.number() + " " + order() + " " + g.number()
	case "text":
		return g.text(elem) + " " + order() + " " + g.text(elem)
	case "call":
		return g.text(elem) + "." + g.pick("call", "contains", "startsWith", "endsWith", "icontains") + "(" + g.text(elem) + ")"
	case "matches":
		return g.text(elem) + ".matches(" + g.pick("pattern", `"a+"`, `"^/[aA]"`, `"(?i)admin$"`, `"."`) + ")"
	case "in":
		return g.text(elem) + " in [" + g.quoted() + ", " + g.quoted() + "]"
	case "listIn":
		return g.text(elem) + " in http_request.args_names"
	case "numberIn":
		return g.number() + " in [0, 5, " + g.pick("int", "1", "2", "-1") + "]"
	case "has":
		return "has(" + g.pick("field", "http_request.url.path", "waf.score", "src_endpoint.ip", "is_alert", "time", "http_request.args_names") + ")"
	case "address":
		return g.pick("address",
			`src_endpoint.ip == "203.0.113.9"`, `src_endpoint.ip != "10.0.0.1"`, `"::1" == src_endpoint.ip`, `src_endpoint.ip == ""`,
			`src_endpoint.ip in ["203.0.113.9", "2001:db8::1"]`, `private(src_endpoint.ip)`, `cidr(src_endpoint.ip, "203.0.113.0/24")`,
			`cidr(src_endpoint.ip, ["10.0.0.0/8", "2001:db8::/32", "::1"])`, `cidr(src_endpoint.ip, "::ffff:10.0.0.0/104")`, `src_endpoint.ip.startsWith("10.")`, `private(http_request.url.path)`,
			`src_endpoint.ip == http_request.user_agent`, `src_endpoint.ip in http_request.args_names`)
	case "bool":
		return g.pick("bool", "is_alert", "is_alert == true", "true != is_alert", "false", "is_remote", `time > timestamp("2026-01-01T00:00:00Z")`)
	case "request":
		return g.pick("request", "request()", "response()")
	case "and":
		return "(" + sub() + " && " + sub() + ")"
	case "or":
		return "(" + sub() + " || " + sub() + ")"
	case "not":
		return "!(" + sub() + ")"
	case "truth":
		return "(" + sub() + ") " + g.pick("op", "==", "!=") + " " + g.pick("truth", "true", "false")
	case "ternary":
		return "(" + sub() + " ? " + sub() + " : " + sub() + ")"
	case "loop":
		return "http_request.args_names." + g.pick("loop", "exists", "all") + "(x, " + g.condition(depth-1, "x") + ")"
	case "one":
		return "http_request.args_names.exists_one(x, " + g.condition(depth-1, "x") + ")"
	}
	return "[" + g.quoted() + ", " + g.quoted() + ", http_request.user_agent]." + g.pick("loop", "exists", "all") + "(x, " + g.condition(depth-1, "x") + ")"
}

func drawEvent(t *rapid.T) *signal.Event {
	e := new(signal.Event)
	word := func(label string) string {
		return rapid.SampledFrom([]string{"", "a", "A", "ab", "/a", "/Admin", "%41", "%2541b", "%", "%zz", "é", "\xff", "..", "block", "blocklist", "203.0.113.9", strings.Repeat("aB%2e", 30)}).Draw(t, label)
	}
	maybe := func(label string) bool { return rapid.Bool().Draw(t, label) }
	e.Class = signal.ClassHTTPActivity
	e.Activity = uint8(rapid.IntRange(0, 3).Draw(t, "activity"))
	e.Time = rapid.SampledFrom([]int64{0, time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC).UnixNano()}).Draw(t, "time")
	e.Plane = rapid.SampledFrom([]signal.Plane{signal.PlaneNone, signal.PlaneEdge}).Draw(t, "plane")
	if maybe("parent") {
		e.Parent = signal.ID{1}
	}
	for _, f := range []signal.Field{signal.FieldHTTPRequestURLPath, signal.FieldHTTPRequestUserAgent, signal.FieldEdgeMode, signal.FieldEdgeError} {
		if maybe("has " + f.Name()) {
			if v := word(f.Name()); maybe("masked") {
				e.SetMasked(f, v, "*")
			} else {
				e.SetString(f, v)
			}
		}
	}
	for _, f := range []signal.Field{signal.FieldWAFScore, signal.FieldWAFThreshold, signal.FieldHTTPResponseCode} {
		if maybe("has " + f.Name()) {
			e.SetInt(f, rapid.SampledFrom([]int64{0, 1, 2, 5, -1, 200}).Draw(t, f.Name()))
		}
	}
	if maybe("has list") {
		list := make([]string, rapid.IntRange(0, 3).Draw(t, "length"))
		for i := range list {
			list[i] = word("item")
		}
		e.SetStrings(signal.FieldHTTPRequestArgsNames, list)
	}
	if maybe("has alert") {
		e.SetBool(signal.FieldIsAlert, maybe("alert"))
	}
	if maybe("has attribute") {
		e.SetUnmapped("Image", word("attribute"))
	}
	if maybe("has ip") {
		e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr(rapid.SampledFrom([]string{"203.0.113.9", "10.0.0.1", "::1", "2001:db8::1", "100.64.1.1", "::ffff:10.0.0.1"}).Draw(t, "ip")))
	}
	return e
}

// TestPlannedAgreesWithCEL holds the planned tree to CEL's own evaluator, faults included.
func TestPlannedAgreesWithCEL(t *testing.T) {
	d := New(Actions()...)
	planned, whole := 0, 0
	check := func(t *rapid.T) {
		text := grammar{t}.condition(3, "")
		c, oracle, mistakes := both(d, text)
		if len(mistakes) > 0 {
			t.Fatalf("%s: %+v", text, mistakes)
		}
		if c.celOnly == 0 {
			planned++
		} else {
			whole++
		}
		for range 8 {
			e := drawEvent(t)
			if got, want := match.Eval(c.Expr(), e), match.Eval(oracle, e); got != want {
				t.Fatalf("%s\nplanned says %d, CEL %d", text, got, want)
			}
		}
	}
	// rapid runs 100 checks; the grammar needs some thousands to reach its corners.
	each := 60
	if require.Race {
		each = 10 // it looks for races, and is ten times slower
	}
	rapid.Check(t, func(t *rapid.T) {
		for range each {
			check(t)
		}
	})
	t.Logf("%d conditions were planned to the end, %d have parts on CEL", planned, whole)
	if planned == 0 || whole == 0 {
		t.Errorf("%d conditions were planned and %d have parts on CEL: the grammar misses one side", planned, whole)
	}
}
