package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

func explained(t *testing.T, r *Rule, e *signal.Event) Explanation {
	t.Helper()
	set, err := NewSet([]*Rule{r})
	if err != nil {
		t.Fatal(err)
	}
	x, ok := set.Explain(e, r.ID)
	if !ok {
		t.Fatal("the set has no such rule")
	}
	// The engine and its explanation are of one mind.
	if v := NewEngine(set).Judge(e); (len(v.Hits) > 0) != x.Fires {
		t.Errorf("the engine has %d hits, the explanation says %v", len(v.Hits), x.Fires)
	}
	return x
}

func TestExplain(t *testing.T) {
	path := match.Operand{Field: signal.FieldHTTPRequestURLPath}
	query := match.Operand{Field: signal.FieldHTTPRequestURLQueryString}
	condition := match.And{
		match.Text(path, match.OpPrefix, false, "/admin", "/root"),
		match.Or{match.Text(query, match.OpContains, true, "PASSWORD"), match.Int(match.Operand{Field: signal.FieldWAFScore}, match.IntIs(5))},
		match.Not{Part: match.Text(path, match.OpSuffix, false, ".css")},
	}
	r := &Rule{ID: "r-1", Title: "A rule", Then: signal.Deny, On: []signal.Class{signal.ClassHTTPActivity}, Condition: condition}
	e := new(signal.Event)
	e.Class = signal.ClassHTTPActivity
	e.SetString(signal.FieldHTTPRequestURLPath, "/root/x")
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "Password=hunter2", "Password=*")

	x := explained(t, r, e)
	if !x.Fires || len(x.Because) != 0 || !strings.Contains(strings.Join(x.Inexact, " "), "query_string was masked") {
		t.Errorf("%+v", x)
	}
	if p := x.Proof; p.Kind != "and" || len(p.Parts) != 3 || p.Parts[0].Values[0].Match != "/root" || p.Parts[2].Parts[0].Answer != match.No {
		t.Errorf("%+v", p)
	}
	set, _ := NewSet([]*Rule{r})
	hit := NewEngine(set).Judge(e).Hits[0]
	want := []signal.Evidence{
		{Name: "http_request.url.path starts with '/root'", Value: "/root/x"},
		{Name: "http_request.url.query_string contains 'password' (any case)", Value: "Password=*"},
	}
	if d := cmp.Diff(want, hit.Proof); d != "" {
		t.Error(d)
	}

	// Why it does not fire.
	e.SetString(signal.FieldHTTPRequestURLPath, "/root/x.css")
	if x := explained(t, r, e); x.Fires || x.Proof.Parts[2].Answer != match.No || x.Proof.Parts[2].Parts[0].Values[0].Match != ".css" {
		t.Errorf("%+v", x.Proof)
	}
	e.SetString(signal.FieldHTTPRequestURLPath, "/root")
	e.Class = signal.ClassDNSActivity
	if x := explained(t, r, e); x.Fires || !strings.Contains(x.Because[0], "it reads events of class http_activity, and this is one of dns_activity") {
		t.Errorf("%+v", x.Because)
	}
	off := *r
	off.Disabled = true
	e.Class = signal.ClassHTTPActivity
	if x := explained(t, &off, e); x.Fires || x.Because[0] != "the rule is switched off" {
		t.Errorf("%+v", x.Because)
	}
	e.SetString(signal.FieldPolicyUID, "0123456789abcdef")
	if x := explained(t, r, e); !strings.Contains(strings.Join(x.Inexact, " "), "0123456789ab") {
		t.Errorf("%+v", x.Inexact)
	}
	if _, ok := set.Explain(e, "none"); ok {
		t.Error("a rule that is not there was explained")
	}
}
