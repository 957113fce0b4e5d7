package seclang

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
)

// written is an action as it stands in the text.
type written struct{ name, value string }

// splitActions takes a list of actions apart at its commas, of which none within single quotes counts.
func splitActions(text string) ([]written, error) {
	var out []written
	disruptive := -1 // index of the one that stays: the last that is written, in the place of the first
	add := func(item string, colon int) error {
		name, value := item, ""
		if colon >= 0 {
			name, value = item[:colon], item[colon+1:]
		}
		w := written{strings.ToLower(strings.TrimSpace(name)), unquote(strings.TrimSpace(value))}
		kind, ok := kindOf(w.name)
		switch {
		case !ok:
			return fmt.Errorf("there is no action %q", w.name)
		case kind == disruptiveAction && disruptive >= 0:
			out[disruptive] = w
			return nil
		case kind == disruptiveAction:
			disruptive = len(out)
		}
		out = append(out, w)
		return nil
	}
	quoted, start, colon := false, 0, -1
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case text[i-1] == '\\':
		case c == '\'':
			quoted = !quoted
		case quoted:
		case c == ':' && colon < 0:
			colon = i - start
		case c == ',':
			if err := add(text[start:i], colon); err != nil {
				return nil, err
			}
			start, colon = i+1, -1
		}
	}
	if quoted {
		return nil, errors.New("a quote in the actions does not end")
	}
	if err := add(text[start:], colon); err != nil {
		return nil, err
	}
	return out, nil
}

// unquote takes one pair of quotes away.
func unquote(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

type actionKind int

const (
	metadata         actionKind = iota // says what the rule is
	plain                              // for each match, or how the rule matches
	flow                               // once
	disruptiveAction                   // once; a rule has one
)

func kindOf(name string) (actionKind, bool) {
	switch name {
	case "accuracy", "id", "maturity", "msg", "phase", "rev", "severity", "tag", "ver":
		return metadata, true
	case "auditlog", "capture", "ctl", "exec", "expirevar", "initcol", "log", "logdata", "multimatch", "noauditlog", "nolog", "setenv", "setvar", "status", "t":
		return plain, true
	case "chain", "skip", "skipafter":
		return flow, true
	case "allow", "block", "deny", "drop", "pass", "redirect":
		return disruptiveAction, true
	}
	return 0, false
}

// merge puts the default actions of the rule's phase before its own. The default's disruptive action counts for a rule that has
// none, or block.
func merge(own, defaults []written) []written {
	var out []written
	var otherwise *written
	for i, w := range defaults {
		switch kind, _ := kindOf(w.name); kind {
		case disruptiveAction:
			otherwise = &defaults[i]
		case metadata:
		default:
			out = append(out, w)
		}
	}
	decided := false
	for _, w := range own {
		if kind, _ := kindOf(w.name); kind == disruptiveAction {
			if w.name == "block" {
				continue
			}
			decided = true
		}
		out = append(out, w)
	}
	if !decided && otherwise != nil {
		out = append(out, *otherwise)
	}
	return out
}

// applyActions gives the rule what its actions say: metadata first, which choose the default actions.
func (rule *Rule) applyActions(list []written, defaults map[int][]written) error {
	for _, w := range list {
		if kind, _ := kindOf(w.name); kind == metadata {
			if err := rule.describe(w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	if d := defaults[rule.Phase]; d != nil {
		list = merge(list, d)
	}
	for _, w := range list {
		if kind, _ := kindOf(w.name); kind != metadata {
			if err := rule.act(w); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	return nil
}

func (rule *Rule) describe(w written) (err error) {
	if w.value == "" {
		return errors.New("it has no value")
	}
	switch w.name {
	case "id":
		if rule.ID, err = strconv.Atoi(w.value); err == nil && rule.ID <= 0 {
			err = fmt.Errorf("%d is not positive", rule.ID)
		}
	case "phase":
		rule.Phase, err = parsePhase(w.value)
	case "msg":
		rule.Message, err = ParseMacro(unquote(w.value))
	case "severity":
		rule.Severity, err = types.ParseRuleSeverity(w.value)
	case "tag":
		rule.Tags = append(rule.Tags, w.value)
	case "rev":
		rule.Rev = w.value
	case "ver":
		rule.Version = w.value
	}
	return err
}

func parsePhase(text string) (int, error) {
	p, err := types.ParseRulePhase(text)
	return int(p), err
}

func (rule *Rule) act(w written) (err error) {
	switch w.name {
	case "log":
		rule.Log, rule.Audit = true, true
	case "nolog":
		rule.Log, rule.Audit = false, false
	case "auditlog":
		rule.Audit = true
	case "noauditlog":
		rule.Audit = false
	case "capture":
		rule.Capture = true
	case "multimatch":
		rule.MultiMatch = true
	case "logdata":
		rule.LogData, err = ParseMacro(w.value)
	case "status":
		rule.Status, err = strconv.Atoi(w.value)
	case "t":
		if w.value == "none" {
			rule.Transforms = nil
		} else {
			rule.Transforms = append(rule.Transforms, strings.ToLower(w.value))
		}
	case "setvar":
		var set *SetVar
		if set, err = parseSetVar(w.value); err == nil {
			rule.Actions = append(rule.Actions, Action{Set: set})
		}
	case "ctl":
		var ctl *Ctl
		if ctl, err = parseCtl(w.value); err == nil && ctl != nil {
			rule.Actions = append(rule.Actions, Action{Ctl: ctl})
		}
	case "chain":
		rule.open = true
	case "skip":
		f := Flow{Kind: Skip}
		if f.Number, err = strconv.Atoi(w.value); err == nil && f.Number < 1 {
			err = fmt.Errorf("%d is not positive", f.Number)
		}
		rule.Flow = append(rule.Flow, f)
	case "skipafter":
		if f := (Flow{Kind: SkipAfter, Value: unquote(w.value)}); f.Value != "" {
			rule.Flow = append(rule.Flow, f)
		} else {
			err = errors.New("it names no marker")
		}
	case "pass", "block", "exec", "initcol", "expirevar": // nothing, in Coraza as here
	case "deny":
		rule.Flow = append(rule.Flow, Flow{Kind: Deny})
	case "drop":
		rule.Flow = append(rule.Flow, Flow{Kind: Drop})
	case "redirect":
		rule.Flow = append(rule.Flow, Flow{Kind: Redirect, Value: w.value})
	case "allow":
		kinds := map[string]FlowKind{"": AllowAll, "phase": AllowPhase, "request": AllowRequest}
		kind, ok := kinds[w.value]
		if !ok {
			return fmt.Errorf("%q is neither phase nor request", w.value)
		}
		rule.Flow = append(rule.Flow, Flow{Kind: kind})
	default: // setenv changes the environment of this process
		err = errors.New("it is not covered")
	}
	return err
}

// decides reports whether one of the actions is disruptive.
func decides(list []written) bool {
	return slices.ContainsFunc(list, func(w written) bool {
		kind, _ := kindOf(w.name)
		return kind == disruptiveAction
	})
}

func parseSetVar(text string) (set *SetVar, err error) {
	set = &SetVar{}
	text, set.Remove = strings.CutPrefix(text, "!")
	key, value, given := strings.Cut(text, "=")
	collection, key, _ := strings.Cut(key, ".")
	if !strings.EqualFold(collection, "TX") || strings.TrimSpace(key) == "" {
		return nil, fmt.Errorf("%q: want tx.KEY=VALUE, or !tx.KEY", text)
	}
	if set.Key, err = ParseMacro(key); err != nil {
		return nil, err
	}
	if set.Remove && !given {
		return nil, errors.New("the removal of a variable breaks off a request in Coraza") // which expands a value that is not there
	}
	if set.Value, err = ParseMacro(value); err != nil {
		return nil, err
	}
	return set, nil
}
