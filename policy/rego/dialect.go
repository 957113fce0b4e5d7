package rego

import (
	"context"
	"encoding/json"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// EventSteps is how many steps a policy may take for one event. It is far less than for a document that somebody waits
// for: events are judged as they happen.
const EventSteps = 50_000

// Dialect makes rules of policies. It is safe for concurrent use.
//
// A policy judges the object that a Kubernetes audit record was asked to create or change: it is the input, as a manifest in a file is.
// Policies of the package event, and of those below it, judge events themselves: the input is the event in OCSF's JSON form, in which
// what is masked is masked.
type Dialect struct{}

// New returns the dialect.
func New() *Dialect { return &Dialect{} }

// Name returns "rego".
func (*Dialect) Name() string { return "rego" }

// Detect claims .rego files, and YAML files with Gatekeeper's objects.
func (*Dialect) Detect(f policy.File) bool {
	switch strings.ToLower(path.Ext(f.Name)) {
	case ".rego":
		return true
	case ".yaml", ".yml":
		return isGatekeeper(f.Text)
	}
	return false
}

// Compile returns a rule for each rule of the policies that says what is wrong, and for each constraint.
func (*Dialect) Compile(files []policy.File) ([]*policy.Rule, policy.Problems) {
	p, found := Load(files)
	if p == nil {
		return nil, found
	}
	digest := fingerprint(files)
	var rules []*policy.Rule
	for i := range p.units {
		u := &p.units[i]
		for j := range u.entries {
			rules = append(rules, u.rule(&u.entries[j], digest))
		}
	}
	return rules, found
}

// rule makes a rule of an entry.
func (u *unit) rule(e *entry, digest string) *policy.Rule {
	severity := signal.SeverityHigh
	if e.warn {
		severity = signal.SeverityLow
	}
	r := &policy.Rule{
		ID: "rego." + identifier(e.id()), Name: e.id(), Title: title(e), Severity: severity, Then: signal.Alert, Dialect: "rego",
		When: "the policy " + e.id() + " says something  # " + digest, Why: "what the policy " + e.id() + " says", Tags: []string{"rego"},
		File: e.file, Line: e.line, Column: e.column,
	}
	read := request
	if e.pkg == "event" || strings.HasPrefix(e.pkg, "event.") {
		read = whole
	}
	r.Sentence = func(event *signal.Event) string {
		input, ok := read(event.Recorded())
		if !ok {
			return r.Title
		}
		found, err := u.judge(context.Background(), e, input, EventSteps)
		if err != nil || len(found) == 0 {
			return r.Title
		}
		var all []string
		for _, v := range found[:min(len(found), 10)] {
			all = append(all, v.Message)
		}
		return policy.Printable(strings.Join(all, "; "), maxMessage)
	}
	call := &match.Func{Text: "policy " + e.id(), Attrs: true, Cost: 100_000, Call: func(event *signal.Event) match.Answer {
		input, ok := read(event)
		if !ok {
			return match.No
		}
		found, err := u.judge(context.Background(), e, input, EventSteps)
		if err != nil {
			return match.Fault
		}
		return match.Of(len(found) > 0)
	}}
	r.Condition = call
	if e.pkg != "event" && !strings.HasPrefix(e.pkg, "event.") {
		r.Condition = match.And{
			match.Text(match.Operand{Field: signal.FieldMetadataLogProduct}, match.OpEqual, false, "kubernetes"),
			match.Text(match.Operand{Field: signal.FieldMetadataLogName}, match.OpEqual, false, "audit"),
			&match.Atom{On: match.Operand{Attr: requestObject + "kind"}, Op: match.OpExists},
			call,
		}
	}
	return r
}

var notInID = regexp.MustCompile(`[^a-z0-9._-]+`)

func identifier(id string) string {
	return strings.Trim(notInID.ReplaceAllString(strings.ToLower(id), "-"), "-")
}

func title(e *entry) string {
	if e.constraint != nil {
		return policy.Printable("Constraint "+e.constraint.kind+" "+e.constraint.name, 200)
	}
	return policy.Printable("Policy "+e.id(), 200)
}

// whole returns the event as a document.
func whole(e *signal.Event) (ast.Value, bool) {
	var v any
	if err := json.Unmarshal(e.AppendJSON(nil), &v); err != nil {
		return nil, false
	}
	input, err := ast.InterfaceToValue(v)
	return input, err == nil
}

// requestObject is where a Kubernetes audit record has what was sent to the API server.
const requestObject = "requestObject."

// keyed are the maps of Kubernetes' objects whose keys people choose: what stands behind them is one key, whatever dots it has, and
// the value a text.
var keyed = []string{"labels", "annotations", "matchLabels", "nodeSelector", "data", "stringData", "binaryData", "limits", "requests", "parameters"}

// request puts the object together that the record's attributes hold. Attributes are texts: what reads as a number or as true
// or false is one, but in maps whose values are texts.
func request(e *signal.Event) (ast.Value, bool) {
	root := make(map[string]any)
	for _, a := range e.UnmappedAttrs() {
		if name, ok := strings.CutPrefix(a.Name, requestObject); ok {
			put(root, name, a.Value)
		}
	}
	if len(root) == 0 {
		return nil, false
	}
	input, err := ast.InterfaceToValue(tidy(root))
	return input, err == nil
}

// list is an array while it is put together, by index.
type list map[int]any

// put sets the value of a flat name such as spec.containers[0].image.
func put(root map[string]any, name, value string) {
	at := root
	for depth := 0; depth < 64; depth++ {
		key, rest, more := strings.Cut(name, ".")
		key, indexes := cutIndexes(key)
		if slices.Contains(keyed, key) && more && len(indexes) == 0 {
			inner, ok := at[key].(map[string]any)
			if !ok {
				inner = make(map[string]any)
				at[key] = inner
			}
			inner[rest] = value
			return
		}
		// The place that the key and its indexes name.
		var set func(any)
		current := at[key]
		set = func(v any) { at[key] = v }
		for _, i := range indexes {
			l, ok := current.(list)
			if !ok {
				l = make(list)
				set(l)
			}
			current = l[i]
			set = func(v any) { l[i] = v }
		}
		if !more {
			set(scalar(value))
			return
		}
		inner, ok := current.(map[string]any)
		if !ok {
			inner = make(map[string]any)
			set(inner)
		}
		at, name = inner, rest
	}
}

// cutIndexes takes the indexes from the end of a key: a[0][1].
func cutIndexes(key string) (string, []int) {
	var indexes []int
	for strings.HasSuffix(key, "]") {
		open := strings.LastIndexByte(key, '[')
		n, ok := match.ParseInt(key[max(open, 0)+1 : len(key)-1])
		if open < 0 || !ok || n < 0 || n > 1<<16 {
			break
		}
		indexes = append(indexes, int(n))
		key = key[:open]
	}
	slices.Reverse(indexes)
	return key, indexes
}

func scalar(v string) any {
	switch v {
	case "true":
		return true
	case "false":
		return false
	}
	if _, ok := match.ParseInt(v); ok && (v == "0" || v[0] != '0') {
		return json.Number(v)
	}
	return v
}

// tidy makes arrays of lists.
func tidy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, inner := range v {
			v[k] = tidy(inner)
		}
		return v
	case list:
		indexes := make([]int, 0, len(v))
		for i := range v {
			indexes = append(indexes, i)
		}
		slices.Sort(indexes)
		out := make([]any, 0, len(v))
		for _, i := range indexes {
			out = append(out, tidy(v[i]))
		}
		return out
	}
	return v
}
