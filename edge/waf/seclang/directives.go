package seclang

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/types"
)

// defaultSettings are those of Coraza without a directive.
func defaultSettings() Settings {
	return Settings{
		Engine:            types.RuleEngineOn,
		RequestBodyLimit:  128 << 20,
		RequestBodyReject: true,
		ResponseBodyLimit: 512 << 10,
		RequestJSONDepth:  1024,
		ResponseJSONDepth: 1024,
		ArgumentsLimit:    1000,
	}
}

// apply takes a directive into effect. Its name is in lower case.
func (r *reader) apply(name, options string) (err error) {
	s := &r.program.Settings
	switch name {
	case "secrule":
		return r.rule(options, true)
	case "secaction":
		return r.rule(options, false)
	case "secmarker":
		if options == "" {
			return errors.New("it names no marker")
		}
		r.program.Rules = append(r.program.Rules, &Rule{Marker: options, Place: r.place(), Severity: types.RuleSeverityUnset})
	case "secdefaultaction":
		return r.defaultAction(options)
	case "secruleremovebyid":
		return r.removeByID(options)
	case "secruleremovebytag":
		r.remove(func(rule *Rule) bool { return slices.Contains(rule.Tags, options) })
	case "secruleremovebymsg":
		// Coraza breaks off at a rule that has no message.
		return errors.New("it is not covered")
	case "secruleupdatetargetbyid":
		return r.updateTargets(options)
	case "secruleupdatetargetbytag":
		return r.updateTargetsByTag(options)
	case "secruleupdateactionbyid":
		return r.updateActions(options)
	case "secdataset":
		return r.dataset(options)
	case "secruleengine":
		s.Engine, err = types.ParseRuleEngineStatus(options)
	case "secrequestbodyaccess":
		s.RequestBodyAccess, err = parseSwitch(options)
	case "secresponsebodyaccess":
		s.ResponseBodyAccess, err = parseSwitch(options)
	case "secrequestbodylimit":
		s.RequestBodyLimit, err = strconv.ParseInt(options, 10, 64)
	case "secresponsebodylimit":
		s.ResponseBodyLimit, err = strconv.ParseInt(options, 10, 64)
	case "secrequestbodylimitaction":
		s.RequestBodyReject, err = parseLimitAction(options)
	case "secresponsebodylimitaction":
		s.ResponseBodyReject, err = parseLimitAction(options)
	case "secresponsebodymimetype":
		s.ResponseTypes = strings.Split(options, " ")
	case "secresponsebodymimetypesclear":
		s.ResponseTypes = nil
	case "secrequestbodyjsondepthlimit":
		s.RequestJSONDepth, err = strconv.Atoi(options)
	case "secresponsebodyjsondepthlimit":
		s.ResponseJSONDepth, err = strconv.Atoi(options)
	case "secargumentslimit":
		s.ArgumentsLimit, err = strconv.Atoi(options)
	case "secignorerulecompilationerrors":
		r.ignoreErrors, err = parseSwitch(options)
	default:
		if !withoutEffect(name) {
			return errors.New("it is not covered")
		}
	}
	return err
}

// withoutEffect reports whether no verdict depends on the directive: it speaks of logs, of files that uploads are kept
// in, of how Coraza goes about its work, or of what Coraza has not.
func withoutEffect(name string) bool {
	switch name {
	case "secauditengine", "secauditlog", "secauditlogdirmode", "secauditlogfilemode", "secauditlogformat", "secauditlogparts", "secauditlogrelevantstatus",
		"secauditlogstoragedir", "secauditlogtype", "secdebuglog", "secdebugloglevel", "seccomponentsignature", "secdatadir", "secuploaddir",
		"secuploadfilelimit", "secuploadfilemode", "secuploadkeepfiles", "secrequestbodyinmemorylimit", "secrequestbodynofileslimit", "secrxprefilter",
		"secwebappid", "secserversignature", "secsensorid", "seccollectiontimeout", "sechttpblkey", "secgsblookupdb", "secpcrematchlimit", "secpcrematchlimitrecursion",
		"secconnengine", "secconnreadstatelimit", "secconnwritestatelimit", "sechashengine", "sechashkey", "sechashparam", "sechashmethodpm", "sechashmethodrx",
		"secargumentseparator", "seccookieformat", "secruleperftime", "secunicodemap", "sectmpdir", "secremoterulesfailaction":
		return true
	}
	return false
}

func parseLimitAction(text string) (reject bool, err error) {
	switch strings.ToLower(text) {
	case "reject":
		return true, nil
	case "processpartial":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither Reject nor ProcessPartial", text)
}

// defaultAction keeps actions that rules of a phase inherit. Rules before it do not.
func (r *reader) defaultAction(text string) error {
	list, err := splitActions(text)
	if err != nil {
		return err
	}
	phase := 0
	for _, w := range list {
		kind, _ := kindOf(w.name)
		switch {
		case w.name == "phase":
			if phase, err = parsePhase(w.value); err != nil {
				return err
			}
		case kind == metadata, w.name == "t":
			return fmt.Errorf("%s cannot be inherited", w.name)
		}
	}
	if phase == 0 || !decides(list) {
		return errors.New("it needs a phase, and an action that decides, such as pass")
	}
	if r.defaults[phase] != nil {
		return fmt.Errorf("phase %d has default actions already", phase)
	}
	r.defaults[phase] = list
	return nil
}

func (r *reader) removeByID(text string) error {
	for _, field := range strings.Fields(text) {
		from, to, err := parseRange(field)
		if err != nil {
			return err
		}
		if !strings.Contains(field, "-") {
			// Of two rules with one id, which cannot be, the first would go.
			if found := r.find(from, from); len(found) > 0 {
				r.remove(func(rule *Rule) bool { return rule == found[0] })
			}
			continue
		}
		r.remove(func(rule *Rule) bool { return rule.ID >= from && rule.ID <= to })
	}
	return nil
}

// updated returns the rules that the ids at the beginning of the text name, and what stands behind them.
func (r *reader) updated(text string) (rules []*Rule, what string, err error) {
	fields := strings.Fields(text)
	if len(fields) != 2 { // of more, Coraza stops at the first id that is no range
		return nil, "", errors.New("want one id or range, and what to add, without a space")
	}
	from, to, err := parseRange(fields[0])
	if err != nil {
		return nil, "", err
	}
	if rules = r.find(from, to); len(rules) == 0 && from == to {
		return nil, "", fmt.Errorf("there is no rule %d before this line", from)
	}
	return rules, strings.Trim(fields[1], `"`), nil
}

func (r *reader) updateTargets(text string) error {
	rules, targets, err := r.updated(text)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		if err := rule.parseTargets(targets); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) updateTargetsByTag(text string) error {
	fields := strings.Fields(text)
	if len(fields) != 2 {
		return errors.New("want a tag and targets, without a space")
	}
	tag, targets := strings.Trim(fields[0], `"`), strings.Trim(fields[1], `"`)
	for _, rule := range r.program.Rules {
		if slices.Contains(rule.Tags, tag) {
			if err := rule.parseTargets(targets); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *reader) updateActions(text string) error {
	rules, actions, err := r.updated(text)
	if err != nil {
		return err
	}
	list, err := splitActions(actions)
	if err != nil {
		return err
	}
	for _, rule := range rules {
		if decides(list) {
			rule.Flow = slices.DeleteFunc(rule.Flow, func(f Flow) bool { return f.Kind.Disruptive() })
		}
		if err := rule.applyActions(list, nil); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) dataset(text string) error {
	name, lines, ok := strings.Cut(text, " ")
	if !ok {
		return errors.New("want a name and lines between backticks")
	}
	if _, again := r.datasets[name]; again { // Coraza takes the new one for addresses, and parts of both for words
		return fmt.Errorf("there is a data set %q already", name)
	}
	r.datasets[name] = listed(strings.Trim(lines, "`"))
	return nil
}

// listed returns the lines that are neither empty nor comments.
func listed(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// wordsOf returns the lines that an operator's argument names: of a file beside the rules, or of a data set.
func (r *reader) wordsOf(op *Operator) error {
	switch op.Name {
	case "pmFromFile", "pmf", "ipMatchFromFile", "ipMatchF":
		name := op.Argument
		if !path.IsAbs(name) {
			name = path.Join(r.dir, name)
		}
		text, err := fs.ReadFile(r.root, name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if len(line) >= maxLine {
				return fmt.Errorf("%s has a line of over %d bytes", name, maxLine)
			}
		}
		op.Words = listed(string(text))
	case "pmFromDataset", "ipMatchFromDataset":
		words, ok := r.datasets[op.Argument]
		if !ok {
			return fmt.Errorf("there is no data set %q before this line", op.Argument)
		}
		op.Words = words
	}
	return nil
}
