package rego

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// BenchmarkJudge judges a manifest by three policies, one of them Gatekeeper's.
func BenchmarkJudge(b *testing.B) {
	p := load(b, `package main
deny[msg] { c := input.spec.containers[_]; endswith(c.image, ":latest"); msg := sprintf("container %s", [c.name]) }
warn[msg] { not input.metadata.labels.owner; msg := "no owner" }`, requiredLabels, constraintOf("c", "  parameters: {labels: [owner]}\n"))
	var document any
	if err := json.Unmarshal([]byte(pod), &document); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if found, err := p.Judge(context.Background(), document); err != nil || len(found) != 3 {
			b.Fatal(found, err)
		}
	}
}

// BenchmarkEvent judges events by one rule: an audit record with an object, and an event that the rule is not about.
func BenchmarkEvent(b *testing.B) {
	rules, _ := New().Compile(files(`package main
deny[msg] { input.spec.containers[_].securityContext.privileged == true; msg := "privileged" }`))
	audit := &signal.Event{Class: signal.ClassAPIActivity, Plane: signal.PlaneLogs}
	audit.SetString(signal.FieldMetadataLogProduct, "kubernetes")
	audit.SetString(signal.FieldMetadataLogName, "audit")
	audit.SetUnmapped("requestObject.kind", "Pod")
	audit.SetUnmapped("requestObject.spec.containers[0].securityContext.privileged", "true")
	for name, e := range map[string]*signal.Event{"audit": audit, "other": {Class: signal.ClassHTTPActivity, Plane: signal.PlaneEdge}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				judgeOnce(rules[0], e)
			}
		})
	}
}

func judgeOnce(r *policy.Rule, e *signal.Event) match.Answer { return match.Eval(r.Condition, e) }
