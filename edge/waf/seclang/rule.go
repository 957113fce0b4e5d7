package seclang

import (
	"errors"
	"fmt"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
)

// otherwise are the default actions of phase 2 where no directive gives any.
const otherwise = "phase:2,log,auditlog,pass"

func (r *reader) place() Place { return Place{File: r.file, Line: r.line, Own: r.own} }

// rule reads a SecRule or a SecAction, and puts it behind the others, or into the chain that waits for one.
func (r *reader) rule(text string, operator bool) error {
	rule, list, err := r.parseRule(text, operator)
	if err != nil {
		if r.ignoreErrors && operator {
			return fmt.Errorf("it would be left out, as SecIgnoreRuleCompilationErrors says: %w", err)
		}
		return err
	}
	rules := r.program.Rules
	if len(rules) > 0 {
		last := rules[len(rules)-1]
		end := last
		for end.Chain != nil {
			end = end.Chain
		}
		if end.open {
			if decides(list) {
				return errors.New("only the first rule of a chain decides")
			}
			rule.Phase = 0
			if rule.ID != 0 {
				return errors.New("a rule of a chain has an id of its own")
			}
			// What the rest of a chain inherits as a decision is never run.
			rule.Flow = nil
			end.Chain = rule
			return nil
		}
	}
	if rule.ID == 0 {
		return errors.New("the rule has no id")
	}
	if len(r.find(rule.ID, rule.ID)) > 0 {
		return fmt.Errorf("there is a rule %d already", rule.ID)
	}
	r.program.Rules = append(rules, rule)
	return nil
}

func (r *reader) parseRule(text string, operator bool) (*Rule, []written, error) {
	rule := &Rule{Phase: RequestBody, Severity: types.RuleSeverityUnset, Place: r.place()}
	defaults := r.defaults
	if defaults[RequestBody] == nil {
		list, err := splitActions(otherwise)
		if err != nil {
			return nil, nil, err
		}
		defaults = map[int][]written{RequestBody: list}
		for phase, list := range r.defaults {
			defaults[phase] = list
		}
	}
	actions := unquote(text)
	if operator {
		targets, op, rest, err := splitRule(text)
		if err != nil {
			return nil, nil, err
		}
		if err := rule.parseTargets(targets); err != nil {
			return nil, nil, err
		}
		if rule.Operator, err = parseOperator(op); err != nil {
			return nil, nil, err
		}
		if err := r.wordsOf(rule.Operator); err != nil {
			return nil, nil, fmt.Errorf("@%s: %w", rule.Operator.Name, err)
		}
		if actions = rest; actions == "" {
			return rule, nil, nil
		}
	}
	list, err := splitActions(actions)
	if err != nil {
		return nil, nil, err
	}
	return rule, list, rule.applyActions(list, defaults)
}

// splitRule takes TARGETS "OPERATOR" "ACTIONS" apart.
func splitRule(text string) (targets, operator, actions string, err error) {
	text = strings.Trim(text, " ")
	targets, rest, _ := strings.Cut(text, " ")
	rest = strings.TrimLeft(rest, " ")
	if !strings.HasPrefix(rest, `"`) {
		return "", "", "", errors.New("no operator in quotes follows the targets")
	}
	end := 1
	for ; end < len(rest) && rest[end] != '"'; end++ {
		if rest[end] == '\\' {
			end++
		}
	}
	if end >= len(rest) {
		return "", "", "", errors.New("the operator's quote does not end")
	}
	operator = strings.ReplaceAll(rest[1:end], `\"`, `"`)
	if rest = strings.TrimLeft(rest[end+1:], " "); rest == "" {
		return targets, operator, "", nil
	}
	if len(rest) < 2 || rest[0] != '"' || rest[len(rest)-1] != '"' {
		return "", "", "", errors.New("the actions do not stand in quotes")
	}
	return targets, operator, rest[1 : len(rest)-1], nil
}

// parseOperator reads "@NAME ARGUMENT", "!@NAME ARGUMENT", or an expression.
func parseOperator(text string) (*Operator, error) {
	op := &Operator{}
	text, op.Negated = strings.CutPrefix(text, "!")
	if !strings.HasPrefix(text, "@") {
		text = "@rx " + text
	}
	op.Name, op.Argument, _ = strings.Cut(text[1:], " ")
	op.Name, op.Argument = strings.TrimSpace(op.Name), strings.TrimSpace(op.Argument)
	if op.Name == "" {
		return nil, errors.New("the operator has no name")
	}
	return op, nil
}
