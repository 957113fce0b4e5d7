package seclang

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/corazawaf/coraza/v3/types/variables"
)

// parseTargets adds what the text names to the rule's targets, as in "ARGS|!ARGS:q|&REQUEST_HEADERS:/^x-/". An exception
// holds for the targets that stand before it, those that the rule had already among them.
func (rule *Rule) parseTargets(text string) error {
	for more := true; more; {
		var t target
		var err error
		if t, text, more, err = nextTarget(text); err != nil {
			return err
		}
		if err := rule.addTarget(t); err != nil {
			return err
		}
	}
	return nil
}

// target is one as it is written.
type target struct {
	count, except bool
	name, key     string
	selected      bool // a key stands there, maybe an empty one
	regex         bool // the key is an expression
}

// nextTarget cuts one target off the text. A pipe separates, but not in an expression.
func nextTarget(text string) (t target, rest string, more bool, err error) {
	whole := text
	for text != "" && (text[0] == '!' || text[0] == '&') {
		t.except, t.count = t.except || text[0] == '!', t.count || text[0] == '&'
		text = text[1:]
	}
	end := strings.IndexAny(text, ":|")
	if end < 0 {
		t.name = text
		return t, "", false, t.check()
	}
	t.name = text[:end]
	if text = text[end:]; text[0] == '|' {
		return t, text[1:], true, t.check()
	}
	t.selected, text = true, text[1:]
	if t.name != "XML" && t.name != "JSON" { // whose keys are paths
		quoted := strings.HasPrefix(text, "'")
		if body, ok := strings.CutPrefix(strings.TrimPrefix(text, "'"), "/"); ok {
			t.regex = true
			if t.key, text, ok = cutRegex(body); !ok {
				return t, "", false, fmt.Errorf("the expression in %q does not end", whole)
			}
			if quoted {
				if text, ok = strings.CutPrefix(text, "'"); !ok {
					return t, "", false, fmt.Errorf("the quote in %q does not end", whole)
				}
			}
			if text == "" {
				return t, "", false, t.check()
			}
			if text[0] != '|' {
				return t, "", false, fmt.Errorf("%q follows an expression", text)
			}
			return t, text[1:], true, t.check()
		}
		if quoted {
			return t, "", false, fmt.Errorf("%q is a quoted key that is no expression", text)
		}
	}
	t.key, rest, more = strings.Cut(text, "|")
	return t, rest, more, t.check()
}

// cutRegex cuts the text at the first slash that no backslash takes back.
func cutRegex(text string) (expression, rest string, ok bool) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '/':
			return text[:i], text[i+1:], true
		}
	}
	return "", "", false
}

// check refuses what Coraza reads in ways that nobody means.
func (t *target) check() error {
	switch {
	case strings.ContainsAny(t.name, "!&"):
		return fmt.Errorf("%q: ! and & stand before the name", t.name)
	case t.selected && t.key == "" && !t.regex:
		return fmt.Errorf("%s: names no key behind its colon", t.name)
	case t.except && t.count:
		return fmt.Errorf("!&%s counts what it leaves out", t.name)
	case !t.regex && t.name != "XML" && t.name != "JSON" && strings.ContainsAny(t.key, "/'"):
		return fmt.Errorf("%s:%s holds a slash or a quote, and is no expression", t.name, t.key)
	case strings.HasSuffix(t.key, "/") && !t.regex:
		return fmt.Errorf("%s:%s ends with a slash, which is not read", t.name, t.key)
	}
	return nil
}

func (rule *Rule) addTarget(t target) error {
	v, err := variables.Parse(t.name)
	if err != nil {
		return fmt.Errorf("there is no variable %q", t.name)
	}
	if t.selected && !v.CanBeSelected() {
		return fmt.Errorf("%s has no keys", v.Name())
	}
	var rx *regexp.Regexp
	if t.regex {
		expression := t.key
		if !caseSensitive(v) {
			expression = strings.ToLower(expression)
		}
		if rx, err = regexp.Compile(expression); err != nil {
			return fmt.Errorf("%s: %w", v.Name(), err)
		}
		t.key = "/" + t.key + "/" // which is what counts are told of by
	}
	if t.except {
		for i := range rule.Targets {
			if rule.Targets[i].Variable == v {
				rule.Targets[i].Except = append(rule.Targets[i].Except, Exception{Key: strings.ToLower(t.key), KeyRx: rx})
			}
		}
		return nil
	}
	if !caseSensitive(v) {
		t.key = strings.ToLower(t.key)
	}
	rule.Targets = append(rule.Targets, Target{Variable: v, Key: t.key, KeyRx: rx, Count: t.count})
	return nil
}

// caseSensitive reports whether keys are written as they are looked for. The collections themselves do not tell them apart.
func caseSensitive(v variables.RuleVariable) bool {
	switch v {
	case variables.Args, variables.ArgsNames, variables.ArgsGet, variables.ArgsPost, variables.ArgsGetNames, variables.ArgsPostNames:
		return true
	}
	return false
}

// parseException reads the second half of a ctl that removes targets, as in "ARGS:q" or "ARGS:/^json\./".
func parseException(text string) (variables.RuleVariable, Exception, error) {
	name, key, _ := strings.Cut(text, ":")
	key = strings.TrimSpace(key)
	v, err := variables.Parse(strings.TrimSpace(name))
	if err != nil {
		return 0, Exception{}, fmt.Errorf("there is no variable %q", name)
	}
	if body, ok := strings.CutPrefix(key, "/"); ok && len(key) > 1 && key[len(key)-1] == '/' {
		body = body[:len(body)-1]
		if backslashes := len(body) - len(strings.TrimRight(body, `\`)); backslashes%2 == 0 {
			if body == "" {
				return 0, Exception{}, errors.New("the expression is empty")
			}
			rx, err := regexp.Compile(body)
			return v, Exception{KeyRx: rx}, err
		}
	}
	return v, Exception{Key: strings.ToLower(key)}, nil
}
