package rego

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// load compiles modules, one file each.
func load(t testing.TB, texts ...string) *Policies {
	t.Helper()
	p, found := Load(files(texts...))
	for _, f := range found {
		t.Error(f)
	}
	if p == nil {
		t.FailNow()
	}
	return p
}

func files(texts ...string) []policy.File {
	var all []policy.File
	for i, text := range texts {
		name := string(rune('a'+i)) + ".rego"
		if strings.HasPrefix(text, "apiVersion:") {
			name = string(rune('a'+i)) + ".yaml"
		}
		all = append(all, policy.File{Name: name, Text: []byte(text)})
	}
	return all
}

// said judges a document in JSON and returns "rule: message", with "warn" before what only warns.
func said(t testing.TB, p *Policies, document string) []string {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(document), &v); err != nil {
		t.Fatal(err)
	}
	found, err := p.Judge(context.Background(), v)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range found {
		s := f.Rule + ": " + f.Message
		if f.Warn {
			s = "warn " + s
		}
		all = append(all, s)
	}
	return all
}

const pod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","namespace":"shop","labels":{"app":"web"}},
"spec":{"hostNetwork":true,"containers":[{"name":"a","image":"nginx:latest"},{"name":"b","image":"b:1","securityContext":{"privileged":true}}]}}`

// TestJudge compares what policies say with what was worked out by hand.
func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy []string
		want   []string
	}{
		{"v0", []string{`package main
deny[msg] {
	c := input.spec.containers[_]
	endswith(c.image, ":latest")
	msg := sprintf("container %s uses %s", [c.name, c.image])
}
warn[msg] { input.spec.hostNetwork; msg := "host network" }`},
			[]string{"main.deny: container a uses nginx:latest", "warn main.warn: host network"}},
		{"v1", []string{`package main
import rego.v1
deny contains msg if {
	some c in input.spec.containers
	c.securityContext.privileged
	msg := concat(" ", ["container", c.name, "is privileged"])
}
violation contains {"msg": "no limits", "details": {"n": count(input.spec.containers)}} if every c in input.spec.containers { not c.resources }`},
			[]string{"main.deny: container b is privileged", "main.violation: no limits"}},
		{"v1 without an import", []string{`package k8s
deny contains "no owner" if not input.metadata.labels.owner`}, []string{"k8s.deny: no owner"}},
		{"names and kinds of results", []string{`package p
deny_true { input.kind == "Pod" }
deny_text = "text" { input.kind == "Pod" }
deny_list = ["a", "b"] { true }
deny_none = [] { true }
deny_false = false { true }
warn_object[{"code": 7}] { true }
denying[msg] { msg := "no entry" }
deny_function(x) = msg { msg := x }`},
			[]string{"p.deny_list: a", "p.deny_list: b", "p.deny_text: text", "p.deny_true: deny_true", `warn p.warn_object: {"code": 7}`}},
		{"several files", []string{`package main
import data.lib.images
deny[msg] { images.latest(input.spec.containers[_].image); msg := "latest" }`, `package lib.images
latest(image) { endswith(image, ":latest") }`}, []string{"main.deny: latest"}},
		{"exceptions", []string{`package main
deny_latest[msg] { msg := "a" }
deny_root[msg] { msg := "b" }
exception[rules] { input.metadata.name == "web"; rules := ["latest"] }`}, []string{"main.deny_root: b"}},
		{"undefined", []string{`package main
deny[msg] { input.no.such == 1; msg := "x" }
deny[msg] { to_number("x") == 1; msg := "an error is undefined" }`}, nil},
		{"an own rule of a built-in's name", []string{`package main
replace(x) = y { y := concat("", [x, "!"]) }
deny[msg] { msg := replace("a") }`}, []string{"main.deny: a!"}},
		{"control characters", []string{"package main\ndeny[msg] { msg := \"a\\u001b[2J\\u202eb\\nc\" }"}, []string{`main.deny: a\x1b[2J\u202eb\nc`}},
		{"print says nothing", []string{"package main\ndeny[msg] { print(\"x\", input); msg := \"a\" }"}, []string{"main.deny: a"}},
	} {
		if diff := cmp.Diff(c.want, said(t, load(t, c.policy...), pod)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

const requiredLabels = `apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata:
  name: k8srequiredlabels
spec:
  crd:
    spec:
      names:
        kind: K8sRequiredLabels
  targets:
    - target: admission.k8s.gatekeeper.sh
      libs:
        - |
          package lib.text
          missing(a, b) = a - b
      rego: |
        package k8srequiredlabels
        import data.lib.text
        violation[{"msg": msg, "details": {"missing_labels": missing}}] {
          provided := {label | input.review.object.metadata.labels[label]}
          required := {label | label := input.parameters.labels[_]}
          missing := text.missing(required, provided)
          count(missing) > 0
          msg := sprintf("%v %v lacks %v", [input.review.kind.kind, input.review.name, missing])
        }
`

func constraintOf(name, spec string) string {
	return "apiVersion: constraints.gatekeeper.sh/v1beta1\nkind: K8sRequiredLabels\nmetadata:\n  name: " + name + "\nspec:\n" + spec
}

func TestGatekeeper(t *testing.T) {
	const owner = "  parameters: {labels: [owner, app]}\n"
	want := []string{`k8srequiredlabels.c: Pod web lacks {"owner"}`}
	for spec, want := range map[string][]string{
		owner:                                   want,
		"  parameters: {labels: [app]}\n":       nil,
		"  enforcementAction: warn\n" + owner:   {"warn " + want[0]},
		"  enforcementAction: dryrun\n" + owner: {"warn " + want[0]},
		"  match: {kinds: [{apiGroups: [\"\"], kinds: [Pod]}]}\n" + owner:                                      want,
		"  match: {kinds: [{apiGroups: [apps], kinds: [Deployment]}]}\n" + owner:                               nil,
		"  match: {kinds: [{apiGroups: [\"*\"], kinds: [\"*\"]}]}\n" + owner:                                   want,
		"  match: {namespaces: [shop]}\n" + owner:                                                              want,
		"  match: {namespaces: [\"sh*\"]}\n" + owner:                                                           want,
		"  match: {namespaces: [other]}\n" + owner:                                                             nil,
		"  match: {excludedNamespaces: [shop]}\n" + owner:                                                      nil,
		"  match: {scope: Cluster}\n" + owner:                                                                  nil,
		"  match: {labelSelector: {matchLabels: {app: web}}}\n" + owner:                                        want,
		"  match: {labelSelector: {matchLabels: {app: db}}}\n" + owner:                                         nil,
		"  match: {labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}\n" + owner: nil,
		"  match: {labelSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}\n" + owner:        want,
	} {
		p := load(t, requiredLabels, constraintOf("c", spec))
		if diff := cmp.Diff(want, said(t, p, pod)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", spec, diff)
		}
		if got := said(t, p, `{"some": "document"}`); got != nil {
			t.Errorf("what is no object of Kubernetes: %v", got)
		}
	}
	p := load(t, requiredLabels, constraintOf("c", owner))
	review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"kind":{"group":"","version":"v1","kind":"Pod"},"name":"web","namespace":"shop","object":` + pod + `}}`
	if diff := cmp.Diff(want, said(t, p, review)); diff != "" {
		t.Errorf("AdmissionReview (-want +got):\n%s", diff)
	}
}

// TestRefused holds what is said about policies that are not run, and where.
func TestRefused(t *testing.T) {
	for text, want := range map[string]string{
		"package main\ndeny[m] {\n\tm := http.send({\"url\": \"http://x\", \"method\": \"get\"}).body\n}": "a.rego:3:7: http.send cannot be used: it reads the network; decide by input alone",
		"package main\ndeny[m] { m := sprintf(\"%d\", [time.now_ns()]) }":                                 "a.rego:2:31: time.now_ns cannot be used: it reads the clock",
		"package main\ndeny[m] { m := opa.runtime().env.HOME }":                                           "opa.runtime cannot be used: it reads the environment",
		"package main\ndeny[m] { rand.intn(\"a\", 2) == 1; m := \"x\" }":                                  "rand.intn cannot be used: it depends on chance",
		"package main\ndeny[m] { m := uuid.rfc4122(\"a\") }":                                              "uuid.rfc4122 cannot be used",
		"package main\ndeny[m] { net.lookup_ip_addr(\"a\")[m] }":                                          "net.lookup_ip_addr cannot be used: it reads the network",
		"package main\ndeny[m] { m := [http.send({})][_] }":                                               "http.send cannot be used",
		"package main\ndeny[m] { m := concatt(\"\", []) }":                                                "a.rego:2:16: undefined function concatt",
		"package main\ndeny[m] { m := concat(\"\", 5) }":                                                  "a.rego:2:16: concat: invalid argument",
		"package main\ndeny[m] { x }":                                                                     "a.rego:2:6: var m is unsafe",
		"package main\ndeny[m] { m := \"x\"":                                                              "a.rego:2:",
		"package main\nimport rego.v1\ndeny contains m if { m := }":                                       "a.rego:3:",
		"deny[m] { true }": "a.rego:1:1",
		"":                 "a.rego:1:1",
		"package main\ndeny[m] { m := data.main.deny[_] }":                                                           "recursi",
		"package main\nx := " + strings.Repeat("[", 5000):                                                            "nested too deeply",
		strings.Replace(requiredLabels, "count(missing) > 0", "http.send({})", 1):                                    "a.yaml:23:11: http.send cannot be used",
		strings.Replace(requiredLabels, "count(missing) > 0", "count(missing >", 1):                                  "a.yaml:24:15: unexpected",
		strings.Replace(requiredLabels, "violation[", "violations[", 1):                                              `template "K8sRequiredLabels" has no rule violation`,
		strings.Replace(constraintOf("c", "  parameters: {}\n"), "K8sRequiredLabels", "K8sOther", 1):                 `there is no template of kind "K8sOther"`,
		"apiVersion: constraints.gatekeeper.sh/v1\nkind: K\nmetadata: {name: &a x}\nspec: {enforcementAction: *a}\n": "anchors and aliases are not part of rule files",
	} {
		p, found := Load(files(text))
		if p != nil || !strings.Contains(found.Error(), want) {
			t.Errorf("%.80q:\n got %s\nwant %s", text, found.Error(), want)
		}
	}
}

// TestHostile holds the bounds of an evaluation.
func TestHostile(t *testing.T) {
	for name, body := range map[string]string{
		"a comprehension of a product": `x := numbers.range(1, 3000); count([1 | x[_]; x[_]; x[_]]) > 0`,
		"a range":                      `count(numbers.range(1, 1000000000)) > 0`,
		"texts that double":            `a := "xxxxxxxxxxxxxxxx"; b := replace(a, "x", a); c := replace(b, "x", b); d := replace(c, "x", c); e := replace(d, "x", d); count(e) > 0`,
		"a width":                      `count(sprintf("%9999999d", [1])) > 0`,
		"a shift":                      `bits.lsh(1, 1000000000) > 0`,
		"addresses":                    `count(net.cidr_expand("10.0.0.0/8")) > 0`,
		"concat":                       `x := numbers.range(1, 60000); y := [sprintf("%050d", [n]) | n := x[_]]; count(concat(concat("", y), y)) > 0`,
		"a time zone":                  `time.clock([1, "Europe/Berlin"])[0] >= 0`,
	} {
		p := load(t, "package main\ndeny[msg] { "+body+"; msg := \"x\" }")
		if _, err := p.Judge(context.Background(), map[string]any{}); !errors.Is(err, ErrWork) {
			t.Errorf("%s: %v", name, err)
		}
	}
	many := load(t, "package main\ndeny[msg] { msg := numbers.range(1, 5000)[_] }")
	if _, err := many.Judge(context.Background(), map[string]any{}); !errors.Is(err, ErrWork) {
		t.Errorf("violations: %v", err)
	}
	if _, err := many.Judge(context.Background(), strings.Repeat("x", MaxDocument)); !errors.Is(err, ErrDocument) {
		t.Errorf("a large document: %v", err)
	}
	done, cancel := context.WithCancel(context.Background())
	cancel()
	loop := load(t, "package main\ndeny[msg] { x := numbers.range(1, 900); count([1 | x[_]; x[_]]) > 0; msg := \"x\" }")
	if _, err := loop.Judge(done, map[string]any{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context: %v", err)
	}
}

// TestSteps holds that what an evaluation may do does not depend on the machine: the same steps, again and again.
func TestSteps(t *testing.T) {
	const body = "package main\ndeny[msg] { x := numbers.range(1, 700); count([1 | x[_]; x[_] > 5]) > 0; msg := \"x\" }"
	p := load(t, body)
	for range 3 {
		if got := said(t, p, "{}"); len(got) != 1 {
			t.Errorf("%v", got)
		}
	}
}

func FuzzDocument(f *testing.F) {
	f.Add(pod)
	f.Add(`[1, 2.5e300, null, {"a": [[[]]]}]`)
	f.Add(`{"apiVersion": "v1", "kind": "Pod", "metadata": [], "spec": 5}`)
	p, _ := Load(files(requiredLabels, constraintOf("c", "  parameters: {labels: [a]}\n  match: {namespaces: [a], labelSelector: {matchLabels: {a: b}}}\n"), `package main
deny[msg] { walk(input, [path, v]); is_string(v); contains(v, "latest"); msg := sprintf("%v: %v", [path, v]) }
warn[{"msg": input.metadata.name}] { input.kind }`))
	f.Fuzz(func(t *testing.T, document string) {
		var v any
		if len(document) > 64<<10 || json.Unmarshal([]byte(document), &v) != nil {
			return
		}
		found, err := p.Judge(context.Background(), v)
		if err != nil && !errors.Is(err, ErrWork) {
			t.Fatal(err)
		}
		for _, x := range found {
			if strings.ContainsAny(x.Message, "\x00\x1b\u202e\n") {
				t.Errorf("a message holds control characters: %q", x.Message)
			}
		}
	})
}

func FuzzLoad(f *testing.F) {
	f.Add("package main\ndeny[msg] { msg := concat(\"\", [\"a\"]) }")
	f.Add("package main\nimport rego.v1\ndeny contains m if { some m in input }")
	f.Add(requiredLabels)
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 8<<10 {
			return
		}
		p, found := Load(files(text))
		for _, x := range found {
			if x.Line < 0 || x.Message == "" || strings.ContainsAny(x.Error(), "\x00\x1b\n") {
				t.Errorf("problem %+v", x)
			}
		}
		if p != nil {
			p.Judge(context.Background(), map[string]any{"kind": "Pod", "apiVersion": "v1"})
		}
	})
}

// TestDialect judges the object of a Kubernetes audit record, and an event itself.
func TestDialect(t *testing.T) {
	d := New()
	fs := files(`package main
deny[msg] { input.spec.containers[i].securityContext.privileged == true; msg := sprintf("container %d is privileged", [i]) }
warn[msg] { input.metadata.labels["app.kubernetes.io/name"] == "7"; input.spec.replicas > 2; msg := "labelled" }`,
		`package event
deny[msg] { input.class_uid == 6003; input.api.operation == "delete"; msg := sprintf("%s was deleted", [input.actor.user.name]) }`,
		requiredLabels, constraintOf("owner", "  parameters: {labels: [owner]}\n"))
	for i, f := range fs {
		if !d.Detect(f) {
			t.Errorf("file %d is not detected", i)
		}
	}
	rules, found := d.Compile(fs)
	if len(found) > 0 || len(rules) != 4 {
		t.Fatalf("%d rules, %v", len(rules), found)
	}
	set, err := policy.NewSet(rules)
	if err != nil {
		t.Fatal(err)
	}
	engine := policy.NewEngine(set)
	why := func(e *signal.Event) map[string]string {
		all := make(map[string]string)
		for _, h := range engine.Judge(e).Hits {
			all[h.Rule] = h.Why
		}
		return all
	}
	e := &signal.Event{Class: signal.ClassAPIActivity, Plane: signal.PlaneLogs}
	e.SetString(signal.FieldMetadataLogProduct, "kubernetes")
	e.SetString(signal.FieldMetadataLogName, "audit")
	e.SetString(signal.FieldAPIOperation, "create")
	for name, v := range map[string]string{
		"requestObject.apiVersion": "v1", "requestObject.kind": "Pod", "requestObject.metadata.name": "web",
		"requestObject.metadata.labels.app.kubernetes.io/name":        "7",
		"requestObject.spec.replicas":                                 "3",
		"requestObject.spec.containers[0].image":                      "a",
		"requestObject.spec.containers[1].securityContext.privileged": "true",
		"requestObject.spec.containers[1].command[0]":                 "sh",
	} {
		e.SetUnmapped(name, v)
	}
	want := map[string]string{
		"rego.main.deny": "container 1 is privileged", "rego.main.warn": "labelled", "rego.k8srequiredlabels.owner": `Pod web lacks {"owner"}`,
	}
	if diff := cmp.Diff(want, why(e)); diff != "" {
		t.Errorf("an audit record (-want +got):\n%s", diff)
	}
	gone := &signal.Event{Class: signal.ClassAPIActivity, Plane: signal.PlaneLogs}
	gone.SetString(signal.FieldAPIOperation, "delete")
	gone.SetString(signal.FieldActorUserName, "eve")
	if diff := cmp.Diff(map[string]string{"rego.event.deny": "eve was deleted"}, why(gone)); diff != "" {
		t.Errorf("an event (-want +got):\n%s", diff)
	}
	if d.Detect(policy.File{Name: "a.yaml", Text: []byte("id: x\n")}) {
		t.Error("another rule file is detected")
	}
}

// TestBounded holds that the built-ins whose results grow are measured: those that make texts or collections, but for the
// ones that only take from what there is.
func TestBounded(t *testing.T) {
	for _, name := range bounded {
		if available().custom[ours+name] == nil && name != "strings.repeat" && name != "array.flatten" {
			t.Errorf("OPA has no built-in %s", name)
		}
	}
}
