package native

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/rulefile"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

var verdictNames = []string{"allow", "alert", "limit", "challenge", "deny"}

// maxFor is the longest that an action may be asked for.
const maxFor = 30 * 24 * time.Hour

// maxActions bounds the actions of one rule.
const maxActions = 8

// then reads a verdict, or a list of one verdict and actions:
//
//	then:
//	  - deny
//	  - block: {target: src_endpoint.ip, for: 10m, after: 3, within: 10m}
func (d *Dialect) then(s *source, r *policy.Rule, n ast.Node) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		if v, ok := s.Scalar(n, "then"); ok {
			s.verdict(v, &r.Then)
		}
		return
	}
	found := false
	for _, item := range seq.Values {
		switch item.(type) {
		case *ast.MappingNode, *ast.MappingValueNode:
			d.action(s, r, item)
		default:
			v, ok := s.Scalar(item, "an entry of then")
			if !ok {
				continue
			}
			if found {
				s.Problem(v.At, "keep one", "then names two verdicts")
			}
			found = true
			s.verdict(v, &r.Then)
		}
	}
	if !found {
		s.Problem(rulefile.TokenOf(n), "add one of "+strings.Join(verdictNames, ", "), "then names no verdict")
	}
	if len(r.Actions) > maxActions {
		s.Problem(rulefile.TokenOf(n), "", "then names more than %d actions", maxActions)
	}
}

func (s *source) verdict(v rulefile.Scalar, into *signal.Decision) bool {
	decision, err := signal.ParseDecision(v.Text)
	if err != nil {
		s.Problem(v.At, oneOf(v.Text, verdictNames), "unknown verdict %q", policy.Printable(v.Text, 60))
		return false
	}
	*into = decision
	return true
}

func (d *Dialect) action(s *source, r *policy.Rule, n ast.Node) {
	pairs, ok := s.Pairs(n, "an action")
	if !ok {
		return
	}
	if len(pairs) != 1 {
		s.Problem(rulefile.TokenOf(n), "write each action as an entry of its own", "an entry of then names %d actions", len(pairs))
		return
	}
	var kind *ActionKind
	var names []string
	for i := range d.actions {
		names = append(names, d.actions[i].Name)
		if d.actions[i].Name == pairs[0].Key {
			kind = &d.actions[i]
		}
	}
	if kind == nil {
		s.Problem(pairs[0].At, oneOf(pairs[0].Key, names), "unknown action %q", policy.Printable(pairs[0].Key, 60))
		return
	}
	settings, ok := s.Pairs(pairs[0].Value, kind.Name)
	if !ok || !s.Known(settings, kind.Name, "target", "for", "after", "within") {
		return
	}
	a := policy.Action{Kind: kind.Name, After: 1}
	by := make(map[string]rulefile.Pair, len(settings))
	for _, p := range settings {
		by[p.Key] = p
	}
	target, ok := by["target"]
	if !ok {
		example := "src_endpoint.ip"
		if kind.Fields != nil {
			example = kind.Fields[0].Name()
		}
		s.Problem(pairs[0].At, "name the field whose value is acted on, as in target: "+example, "%s has no target", kind.Name)
		return
	}
	if v, ok := s.Scalar(target.Value, "target"); ok {
		a.Target = s.field(v, v.Text)
		if a.Target != 0 && a.Target.Kind() != kind.Target {
			s.Problem(v.At, "", "the target of %s must be a field of kind %v, and %s is of kind %v", kind.Name, kind.Target, a.Target, a.Target.Kind())
		} else if a.Target != 0 && kind.Fields != nil && !slices.Contains(kind.Fields, a.Target) {
			s.Problem(v.At, "name one of "+fieldNames(kind.Fields), "%s cannot act on %s", kind.Name, a.Target)
		}
	}
	if p, ok := by["for"]; ok && kind.Momentary {
		s.Problem(p.At, "leave for out", "%s is done at once and cannot be undone: it has no time limit", kind.Name)
	} else if ok {
		a.For = s.duration(p, maxFor)
	}
	if p, ok := by["after"]; ok {
		if v, ok := s.Scalar(p.Value, "after"); ok {
			count, err := strconv.Atoi(v.Text)
			if err != nil || count < 1 || count > window.MaxCount {
				s.Problem(v.At, "", "after must be a number from 1 to %d, not %q", window.MaxCount, policy.Printable(v.Text, 60))
			}
			a.After = count
		}
	}
	within, ok := by["within"]
	switch {
	case ok:
		a.Within = s.duration(within, window.MaxWithin)
		if a.After <= 1 {
			s.Problem(within.At, "add after, as in after: 3", "within has a meaning only with after")
		}
	case a.After > 1:
		s.Problem(by["after"].At, "add within, as in within: 10m", "after needs within")
	}
	r.Actions = append(r.Actions, a)
}

func fieldNames(fields []signal.Field) string {
	var names []string
	for _, f := range fields {
		names = append(names, f.Name())
	}
	return strings.Join(names, ", ")
}

// field looks a field's name up, and notes a problem where there is none.
func (s *source) field(v rulefile.Scalar, name string) signal.Field {
	f, ok := signal.Lookup(name)
	if !ok {
		s.Problem(v.At, "", "%s", unknownField(name))
	}
	return f
}

func (s *source) duration(p rulefile.Pair, limit time.Duration) time.Duration {
	v, ok := s.Scalar(p.Value, p.Key)
	if !ok {
		return 0
	}
	length, err := time.ParseDuration(v.Text)
	if err != nil || length <= 0 || length > limit {
		s.Problem(v.At, "as in 30s, 10m or 24h", "%s must be a duration up to %s, not %q", p.Key, hours(limit), policy.Printable(v.Text, 60))
		return 0
	}
	return length
}

func hours(d time.Duration) string { return fmt.Sprintf("%dh", int(d.Hours())) }
