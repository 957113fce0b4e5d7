// Package native is testudo's own rule dialect: YAML files whose conditions are CEL
// expressions over the field names of package signal. docs/rules.md is its reference.
//
//	id: admin-from-outside
//	title: The admin pages were asked for from a public address
//	severity: medium
//	on: http_activity
//	when: http_request.url.path.startsWith("/admin") && !private(src_endpoint.ip)
//	then: alert
//	why: "{src_endpoint.ip} asked for {http_request.url.path}"
//	tests:
//	  - name: from outside
//	    event: {http_request.url.path: /admin/users, src_endpoint.ip: 203.0.113.9}
//	    fires: true
//	  - name: from the office
//	    event: {http_request.url.path: /admin/users, src_endpoint.ip: 10.1.2.3}
//	    fires: false
//
// A condition is checked and type-checked by CEL (https://cel.dev, google/cel-go). What
// most conditions are made of is then planned as a small tree that reads the event directly
// and does not allocate; whatever is left runs on CEL's own evaluator, part by part.
// Both give the same answer, errors included: a property test holds them to that.
package native

import (
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/cel-go/cel"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
	"github.com/testudo-sec/testudo/signal"
)

// Dialect compiles native rules. It is safe for concurrent use.
type Dialect struct {
	actions []ActionKind
	// env costs some milliseconds: it is made when it is first needed.
	env func() (*cel.Env, error)
}

// ActionKind is an action that rules may ask for.
type ActionKind struct {
	Name      string         // as in "block"
	Target    signal.Kind    // kind that its target's field must have
	Fields    []signal.Field // that its target must be one of; nil for any of that kind
	Momentary bool           // it is done at once: it has no time limit
}

// Actions returns the kinds of actions that testudo's responders know.
func Actions() []ActionKind {
	workloads := []signal.Field{signal.FieldProcessUID, signal.FieldActorProcessUID, signal.FieldContainerUID}
	return []ActionKind{
		{Name: "block", Target: signal.KindIP},
		{Name: "kill", Target: signal.KindString, Fields: workloads, Momentary: true},
		{Name: "freeze", Target: signal.KindString, Fields: workloads},
		{Name: "isolate", Target: signal.KindString, Fields: workloads},
	}
}

// New returns the dialect with these kinds of actions.
func New(actions ...ActionKind) *Dialect {
	return &Dialect{actions: actions, env: sync.OnceValues(newEnv)}
}

// Name returns "native".
func (d *Dialect) Name() string { return "native" }

// Detect claims every YAML file, so that a file in no other dialect gets precise errors.
// The dialect therefore stands last in a loader's list.
func (d *Dialect) Detect(f policy.File) bool {
	ext := strings.ToLower(path.Ext(f.Name))
	return ext == ".yaml" || ext == ".yml"
}

// Compile returns the rules of the files. Of a file with a problem it returns the rules
// that have none.
func (d *Dialect) Compile(files []policy.File) ([]*policy.Rule, policy.Problems) {
	type compiled struct {
		rules    []*policy.Rule
		problems policy.Problems
	}
	results := make([]compiled, len(files))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files), maxWorkers) {
		wg.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(files); i = next.Add(1) - 1 {
				results[i].rules, results[i].problems = d.compileFile(files[i])
			}
		})
	}
	wg.Wait()
	var rules []*policy.Rule
	var problems policy.Problems
	for _, r := range results { // in the order of the files, whoever was first
		rules, problems = append(rules, r.rules...), append(problems, r.problems...)
	}
	return rules, problems
}

// maxWorkers bounds the files that are compiled at once.
const maxWorkers = 8

// Condition compiles a condition that stands alone, as a hunt's. The error is
// policy.Problems whose lines and columns count within text.
func (d *Dialect) Condition(text string) (*Condition, error) {
	c, faults := d.compile(text)
	if len(faults) == 0 {
		return c, nil
	}
	where := rulefile.AlignText(text)
	problems := make(policy.Problems, len(faults))
	for i, f := range faults {
		at := where.At(f.offset)
		problems[i] = policy.Problem{File: "condition", Line: at.Line, Column: at.Column, Message: f.message, Hint: f.hint}
	}
	return nil, problems
}
