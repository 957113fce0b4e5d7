package native_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/signal"
)

func oneFile(name, text string) fs.FS { return fstest.MapFS{name: &fstest.MapFile{Data: []byte(text)}} }

func load(t testing.TB, text string) *policy.Set {
	t.Helper()
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	set, err := l.Load(context.Background(), policy.Embedded("r", oneFile("a.yaml", text)))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

const full = `id: r-full
title: Everything a rule may say
severity: high
on: [http_activity, api_activity]
when: |
  waf.score >= 5 &&
  !private(src_endpoint.ip)
then:
  - block: {target: src_endpoint.ip, for: 10m, after: 3, within: 5m}
  - deny
why: "{src_endpoint.ip} {{scored}} {waf.score} at {http_request.url.path} as {http_request.user_agent}, {waf.rules}, {time}"
fix: |
  Mend it.
references: [https://example.com/a]
tags: [attack.t1190]
enabled: true
tests:
  - name: a
    event: {waf.score: 5}
    fires: true
`

func TestRule(t *testing.T) {
	set := load(t, full)
	in, ok := policy.NewEngine(set).Info("r-full")
	if !ok {
		t.Fatal("no rule")
	}
	want := policy.Info{
		ID: "r-full", Title: "Everything a rule may say", Severity: signal.SeverityHigh,
		On:      []string{"http_activity", "api_activity"},
		When:    "waf.score >= 5 &&\n!private(src_endpoint.ip)",
		Then:    signal.Deny,
		Actions: []policy.Action{{Kind: "block", Target: signal.FieldSrcEndpointIP, For: 10 * time.Minute, After: 3, Within: 5 * time.Minute}},
		Why:     "{src_endpoint.ip} {{scored}} {waf.score} at {http_request.url.path} as {http_request.user_agent}, {waf.rules}, {time}",
		Fix:     "Mend it.", References: []string{"https://example.com/a"}, Tags: []string{"attack.t1190"},
		Enabled: true, Dialect: "native", File: "r/a.yaml", Line: 1,
		Fields: []string{"src_endpoint.ip", "waf.score"}, Tests: 1,
	}
	if diff := cmp.Diff(want, in); diff != "" {
		t.Errorf("info differs (-want +got):\n%s", diff)
	}
	if got := in.Actions[0].String(); got != "block src_endpoint.ip for 10m0s after 3 matches within 5m0s" {
		t.Errorf("action is %q", got)
	}
}

func TestWhyShowsRecordedForms(t *testing.T) {
	engine := policy.NewEngine(load(t, full))
	e := new(signal.Event)
	e.Class, e.Time = signal.ClassAPIActivity, 0
	e.SetInt(signal.FieldWAFScore, 7)
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.9"))
	e.SetMasked(signal.FieldHTTPRequestURLPath, "/reset/s3cr3t", "/reset/*")
	e.SetString(signal.FieldHTTPRequestUserAgent, "\x1b[31m"+strings.Repeat("x", 500))
	v := engine.Judge(e)
	if len(v.Hits) != 1 {
		t.Fatalf("verdict %+v", v)
	}
	want := `203.0.113.9 {scored} 7 at /reset/* as \x1b[31m` + strings.Repeat("x", 115) + `…, (none), 1970-01-01T00:00:00Z`
	if v.Hits[0].Why != want {
		t.Errorf("why is\n%s\nwant\n%s", v.Hits[0].Why, want)
	}
}

func TestAbsentFieldsAreZero(t *testing.T) {
	d := native.New()
	empty, full := new(signal.Event), new(signal.Event)
	full.SetString(signal.FieldHTTPRequestURLPath, "")
	full.SetInt(signal.FieldWAFScore, 0)
	full.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("10.0.0.1"))
	for _, tt := range []struct {
		when        string
		empty, full bool
	}{
		{`http_request.url.path == ""`, true, true},
		{`waf.score == 0`, true, true},
		{`!is_alert`, true, true},
		{`src_endpoint.ip == ""`, true, false},
		{`private(src_endpoint.ip)`, false, true},
		{`size(http_request.args_names) == 0`, true, true},
		{`!("a" in http_request.args_names)`, true, true},
		{`has(http_request.url.path)`, false, true},
		{`has(waf.score)`, false, true},
		{`has(src_endpoint.ip)`, false, true},
		{`start_time == timestamp("0001-01-01T00:00:00Z")`, true, true},
		{`has(start_time)`, false, false},
		{`request()`, true, true},
		{`response()`, false, false},
	} {
		c, err := d.Condition(tt.when)
		if err != nil {
			t.Errorf("%s: %v", tt.when, err)
			continue
		}
		if got := matches(c, empty); got != tt.empty {
			t.Errorf("%s: %v on an empty event", tt.when, got)
		}
		if got := matches(c, full); got != tt.full {
			t.Errorf("%s: %v on a full event", tt.when, got)
		}
	}
}

func TestCondition(t *testing.T) {
	d := native.New()
	for _, tt := range []struct {
		text    string
		classes []signal.Class
		fields  string
	}{
		{`waf.score > 5`, nil, "waf.score"},
		{`class_uid == 4002 && waf.score > 5`, []signal.Class{4002}, "class_uid waf.score"},
		{`class_uid in [4002, 1007] && has(edge.mode)`, []signal.Class{1007, 4002}, "class_uid edge.mode"},
		{`class_uid == 4002 || 1007 == class_uid`, []signal.Class{1007, 4002}, "class_uid"},
		{`class_uid == 4002 || waf.score > 5`, nil, "class_uid waf.score"},
		{`http_request.args_names.exists(x, x == edge.mode)`, nil, "edge.mode http_request.args_names"},
	} {
		c, err := d.Condition(tt.text)
		if err != nil {
			t.Errorf("%s: %v", tt.text, err)
			continue
		}
		if diff := cmp.Diff(tt.classes, c.Classes()); diff != "" {
			t.Errorf("%s: classes (-want +got):\n%s", tt.text, diff)
		}
		var names []string
		for _, f := range c.Fields() {
			names = append(names, f.Name())
		}
		want := strings.Fields(tt.fields)
		slices.Sort(want)
		slices.Sort(names)
		if diff := cmp.Diff(want, names); diff != "" {
			t.Errorf("%s: fields (-want +got):\n%s", tt.text, diff)
		}
	}
	_, err := d.Condition("waf.score > 5 &&\n  waf.scor < 9")
	var problems policy.Problems
	if !errors.As(err, &problems) || err.Error() != `condition:2:3: unknown field "waf.scor"; did you mean "waf.score"?` {
		t.Errorf("%v", err)
	}
}

// TestMappedPrefix: events hold IPv4-mapped addresses as IPv4, and so must the prefixes they are compared with.
func TestMappedPrefix(t *testing.T) {
	d := native.New()
	for text, want := range map[string]bool{
		`cidr(src_endpoint.ip, "::ffff:10.0.0.0/104")`:                   true,
		`cidr(src_endpoint.ip, ["192.0.2.0/24", "::ffff:10.1.0.0/112"])`: true,
		`cidr(src_endpoint.ip, "::ffff:10.1.2.3")`:                       true,
		`cidr(src_endpoint.ip, "::ffff:10.2.0.0/112")`:                   false,
		`[src_endpoint.ip].exists(a, cidr(a, "::ffff:10.0.0.0/104"))`:    true, // on CEL's evaluator
	} {
		c, err := d.Condition(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		e := new(signal.Event)
		e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("::ffff:10.1.2.3"))
		if matches(c, e) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
	if _, err := d.Condition(`cidr(src_endpoint.ip, "::ffff:10.0.0.0/64")`); err == nil {
		t.Error("a prefix that no address can be in was accepted")
	}
}

func matches(c *native.Condition, e *signal.Event) bool {
	ok, _ := c.Eval(e)
	return ok
}

func TestFaults(t *testing.T) {
	c, err := native.New().Condition(`waf.score / waf.threshold > 1`)
	if err != nil {
		t.Fatal(err)
	}
	e := new(signal.Event)
	e.SetInt(signal.FieldWAFScore, 9)
	if ok, err := c.Eval(e); ok || !errors.Is(err, match.ErrFault) {
		t.Errorf("a division by zero: %v, %v", ok, err)
	}
	e.SetInt(signal.FieldWAFThreshold, 2)
	if ok, err := c.Eval(e); !ok || err != nil {
		t.Errorf("9 / 2: %v, %v", ok, err)
	}
}

// TestWorkIsBounded runs a condition that would take CEL far too long.
func TestWorkIsBounded(t *testing.T) {
	c, err := native.New().Condition(`http_request.args_names.filter(x, x + x + x + x != x + x + x).size() > 0`)
	if err != nil {
		t.Fatal(err)
	}
	list := make([]string, 50000)
	for i := range list {
		list[i] = strings.Repeat("x", 1000)
	}
	e := new(signal.Event)
	e.SetStrings(signal.FieldHTTPRequestArgsNames, list)
	if ok, err := c.Eval(e); ok || !errors.Is(err, match.ErrFault) {
		t.Errorf("%v, %v", ok, err)
	}
}

func TestCheckAndTestReports(t *testing.T) {
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	report, err := l.Check(context.Background(),
		policy.Embedded("good", oneFile("a.yaml", strings.Replace(full, "waf.score: 5}", `waf.score: 5, src_endpoint.ip: 10.0.0.1}`, 1))),
		policy.Embedded("bad", oneFile("b.yaml", strings.NewReplacer("r-full", "r-bad", "waf.score >=", "waf.scroe >=").Replace(full))))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.Print(&b); err != nil {
		t.Fatal(err)
	}
	if want := "bad/b.yaml:6:3: when: unknown field \"waf.scroe\"; did you mean \"waf.score\"?\nloaded 1 of 2 files, 1 rules\n"; b.String() != want || report.OK() {
		t.Errorf("check:\n%s\nwant\n%s", b.String(), want)
	}
	set := load(t, strings.Replace(full, "waf.score: 5}", `waf.score: 5, src_endpoint.ip: 10.0.0.1}`, 1))
	result, err := policy.RunTests(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := result.Print(&b); err != nil {
		t.Fatal(err)
	}
	if want := "r/a.yaml:18: rule r-full: test \"a\": does not fire, want fires; src_endpoint.ip=10.0.0.1, waf.score=5\n0 of 1 tests passed, 1 rules\n"; b.String() != want {
		t.Errorf("test:\n%s\nwant\n%s", b.String(), want)
	}
}

// TestAttributes has a rule read what an event has outside of the fields.
func TestAttributes(t *testing.T) {
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	text := `id: attribute-rule
title: A rule
severity: low
on: api_activity
when: attr("requestParameters.policyArn").endsWith("AdministratorAccess") || attr("none") == "x" && [attr("a")].exists(x, x in ["b"])
then: alert
tests:
  - name: admin
    event: {unmapped: {requestParameters.policyArn: "arn:aws:iam::aws:policy/AdministratorAccess", n: 7}}
    fires: true
  - name: reader
    event: {unmapped: {requestParameters.policyArn: "arn:aws:iam::aws:policy/ReadOnlyAccess"}}
    fires: false
`
	set, err := l.Load(context.Background(), policy.Embedded("r", oneFile("a.yaml", text)))
	if err != nil {
		t.Fatal(err)
	}
	report, err := policy.RunTests(context.Background(), set)
	if err != nil || !report.OK() || report.Tests != 2 {
		t.Errorf("%+v, %v", report, err)
	}
	for text, want := range map[string]string{
		`attr() == "x"`:          "attr",
		`attr("") == "x"`:        "takes the name",
		`attr(edge.mode) == "x"`: "takes the name",
		`attr("a", "b") == "x"`:  "attr",
		`attr("a") > 5`:          "",
	} {
		if _, err := native.New().Condition(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
