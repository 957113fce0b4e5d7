package seclang

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
)

// parseCtl reads "NAME=VALUE" or "NAME=VALUE;VARIABLE:KEY". What no verdict depends on gives nil. What Coraza ignores when a
// request comes by, as a limit that is no number, is an error.
func parseCtl(text string) (*Ctl, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return nil, fmt.Errorf("%q has no value", text)
	}
	value, rest, _ := strings.Cut(value, ";")
	c := &Ctl{Value: value}
	var err error
	switch name {
	case "auditEngine", "auditLogParts", "hashEngine", "hashEnforcement", "debugLogLevel":
		return nil, nil
	case "ruleRemoveById":
		c.Kind = RemoveByID
		c.From, c.To, err = parseRange(value)
	case "ruleRemoveByTag":
		c.Kind = RemoveByTag
	case "ruleRemoveByMsg":
		c.Kind = RemoveByMessage
	case "ruleRemoveTargetById":
		c.Kind = RemoveTargetByID
		c.From, c.To, err = parseRange(value)
	case "ruleRemoveTargetByTag":
		c.Kind = RemoveTargetByTag
	case "ruleRemoveTargetByMsg":
		c.Kind = RemoveTargetByMessage
	case "ruleEngine":
		c.Kind = SetEngine
		c.Engine, err = types.ParseRuleEngineStatus(value)
	case "requestBodyAccess":
		c.Kind = SetRequestBodyAccess
		c.On, err = parseSwitch(value)
	case "responseBodyAccess":
		c.Kind = SetResponseBodyAccess
		c.On, err = parseSwitch(value)
	case "forceRequestBodyVariable":
		c.Kind = ForceRequestBody
		c.On, err = parseSwitch(value)
	case "forceResponseBodyVariable":
		c.Kind = ForceResponseBody
		c.On, err = parseSwitch(value)
	case "requestBodyLimit":
		c.Kind = SetRequestBodyLimit
		c.Number, err = strconv.ParseInt(value, 10, 64)
	case "responseBodyLimit":
		c.Kind = SetResponseBodyLimit
		c.Number, err = strconv.ParseInt(value, 10, 64)
	case "requestBodyProcessor":
		c.Kind, c.Value = SetRequestBodyProcessor, strings.ToUpper(value)
	case "responseBodyProcessor":
		c.Kind, c.Value = SetResponseBodyProcessor, strings.ToUpper(value)
	default:
		err = fmt.Errorf("there is no %q", name)
	}
	if err == nil && c.Kind >= RemoveTargetByID && c.Kind <= RemoveTargetByMessage {
		c.Variable, c.Except, err = parseException(rest)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// parseRange reads "ID" or "FROM-TO".
func parseRange(text string) (from, to int, err error) {
	first, last, ok := strings.Cut(text, "-")
	if from, err = strconv.Atoi(first); err != nil {
		return 0, 0, fmt.Errorf("%q is no id", first)
	}
	if to = from; ok {
		if to, err = strconv.Atoi(last); err != nil {
			return 0, 0, fmt.Errorf("%q is no id", last)
		}
	}
	if from < 1 || to < from {
		return 0, 0, fmt.Errorf("%q is no range of ids", text)
	}
	return from, to, nil
}

func parseSwitch(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither On nor Off", text)
}
