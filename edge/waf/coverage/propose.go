package coverage

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/corazawaf/coraza/v3/types"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// Alarm is a request in which the firewall found something, as it was recorded.
type Alarm struct {
	Method      string
	Path        string // as received
	Query       string // values masked
	ContentType string // without parameters

	Rules   []string // ids
	Targets []string // in the same order, as in ARGS:q

	Paranoia, Threshold, Score int

	// Shapes are what the values in targets looked like, where that is known.
	Shapes map[string]Shape
	// Count is how many requests this stands for; 0 for one.
	Count int64
}

// Proposal is one way not to have an alarm.
type Proposal struct {
	Exclusions []Exclusion
	// Freed are the other alarms that would not be; at the most, where values matter, which are not recorded.
	Freed  int64
	AtMost bool
	Price  Price
}

// String returns the proposal for people.
func (p *Proposal) String() string {
	parts := make([]string, len(p.Exclusions))
	for i := range p.Exclusions {
		parts[i] = p.Exclusions[i].String()
	}
	return strings.Join(parts, "; ")
}

// Price is what a proposal costs: attacks that are detected without it, and not with it.
type Price struct {
	// Of all attacks, sent as the tests have them.
	Attacks, Lost int
	// Of the values in the attacks, sent in the parameter and on the path that the proposal is about. Placed is 0 where the
	// parameter is nothing that values can be sent in.
	Placed, LostPlaced int
	// Examples are names of tests that are lost.
	Examples []string
}

// Share returns how much of the attacks in the parameter is lost, or of all where none could be sent there: 0 to 1.
func (p *Price) Share() float64 {
	switch {
	case p.Placed > 0:
		return float64(p.LostPlaced) / float64(p.Placed)
	case p.Attacks > 0:
		return float64(p.Lost) / float64(p.Attacks)
	}
	return 0
}

// ErrNothingToExclude says that no exclusion can prevent an alarm.
var ErrNothingToExclude = errors.New("no exclusion prevents it")

// match is a rule that matched, and where.
type match struct {
	rule, weight int
	target       string
}

// Propose returns exclusions that prevent an alarm, from narrow to wide: of the rules that have to be silent for the score to
// stay below the threshold, in the parameter that they matched in. They are not priced yet. The program is that of the firewall's
// settings; nil stands for one that is not known. The error is ErrNothingToExclude with the reason.
func Propose(program *seclang.Program, a *Alarm) ([]Proposal, error) {
	needed, err := a.needed(weights(program))
	if err != nil {
		return nil, err
	}
	path := plain(a.Path)
	template := templateOf(path)
	hidden := strings.Contains(path, "*") // a part of it was masked
	if !utf8.ValidString(path) {
		path = ""
	}
	var out []Proposal
	add := func(path, template string, shaped, arrays, whole bool) {
		p := Proposal{}
		for _, x := range grouped(needed, arrays, whole) {
			x.Path, x.PathPattern = path, template
			if template != "" {
				x.Path = ""
			}
			if s, known := a.Shapes[x.Target]; shaped && known && strings.Contains(x.Target, ":") {
				x.Shape, p.AtMost = s, true
			}
			p.Exclusions = append(p.Exclusions, x)
		}
		if text := p.String(); !slices.ContainsFunc(out, func(o Proposal) bool { return o.String() == text }) {
			out = append(out, p)
		}
	}
	if path != "" && !hidden {
		add(path, "", true, false, false)
		add(path, "", false, false, false)
		add(path, "", false, true, false)
	}
	if template != "" && path != "" {
		add("", template, true, false, false)
		add("", template, false, true, false)
	}
	add("", "", true, false, false)
	add("", "", false, true, false)
	if path != "" && !hidden {
		add(path, "", false, false, true)
	}
	add("", "", false, false, true)
	return out, nil
}

// weights returns what rules add to the score, as the Core Rule Set's severities do.
func weights(program *seclang.Program) map[int]int {
	if program == nil {
		return nil
	}
	out := map[int]int{}
	for _, r := range program.Rules {
		switch r.Severity {
		case types.RuleSeverityCritical, types.RuleSeverityAlert, types.RuleSeverityEmergency:
			out[r.ID] = 5
		case types.RuleSeverityError:
			out[r.ID] = 4
		case types.RuleSeverityWarning:
			out[r.ID] = 3
		case types.RuleSeverityNotice:
			out[r.ID] = 2
		}
	}
	return out
}

// matches returns what matched, the weightiest first.
func (a *Alarm) matches(weights map[int]int) []match {
	var out []match
	for i, id := range a.Rules {
		n, err := strconv.Atoi(id)
		if err != nil || i >= len(a.Targets) || unread(id) {
			continue
		}
		m := match{rule: n, weight: 5, target: a.Targets[i]}
		if weights != nil {
			m.weight = weights[n]
		}
		out = append(out, m)
	}
	slices.SortStableFunc(out, func(a, b match) int { return cmp.Compare(b.weight, a.weight) })
	return out
}

// needed returns the fewest matches without which the score stays below the threshold.
func (a *Alarm) needed(weights map[int]int) ([]match, error) {
	if a.Threshold <= 0 || a.Score < a.Threshold {
		return nil, fmt.Errorf("%w: the score %d is below the threshold %d", ErrNothingToExclude, a.Score, a.Threshold)
	}
	var out []match
	account := a.account(weights)
	for _, m := range a.matches(weights) {
		if account.left() < a.Threshold {
			break
		}
		if m.weight == 0 {
			continue
		}
		account.take(m.weight)
		if !targetName.MatchString(m.target) {
			m.target = ""
		}
		if variable, key, _ := strings.Cut(m.target, ":"); key == "*" || variable == "REQUEST_XML" {
			m.target = strings.Replace(variable, "REQUEST_XML", "XML", 1)
		}
		out = append(out, m)
	}
	if left := account.left(); left >= a.Threshold || len(out) == 0 {
		return nil, fmt.Errorf("%w: %d of its score are for a body or arguments that could not be read whole, which is no rule's to leave out", ErrNothingToExclude, left)
	}
	return out, nil
}

// account is what a score consists of. A rule adds its weight for each value that it matches in, and only the rule is recorded: what is
// beyond the weights is some rule's, and is gone for certain only when all are.
type account struct{ fixed, weights, beyond int }

func (a *Alarm) account(weights map[int]int) account {
	out := account{}
	for _, m := range a.matches(weights) {
		out.weights += m.weight
	}
	for _, id := range a.Rules {
		if unread(id) {
			out.fixed += 5
		}
	}
	out.beyond = max(0, a.Score-out.weights-out.fixed)
	return out
}

func (a *account) take(weight int) { a.weights -= weight }

// left is the score at the most.
func (a *account) left() int {
	if a.weights > 0 {
		return a.fixed + a.weights + a.beyond
	}
	return a.fixed
}

// unread reports whether a rule says that a body was not understood, or has more arguments than were looked at: the firewall adds to
// the score for that by itself.
func unread(rule string) bool { return rule == "200002" || rule == "200003" || rule == "200901" }

// targetName is a variable with a key as the firewall records them, which needs no quoting in a directive.
var targetName = regexp.MustCompile(`^[A-Z_]+(:([A-Za-z0-9_.$\[\]-]+|\*))?$`)

// grouped makes exclusions of matches, one for each target.
func grouped(list []match, arrays, whole bool) []Exclusion {
	var out []Exclusion
	for _, m := range list {
		target := m.target
		if arrays {
			target = anyElement(target)
		}
		if whole {
			target = ""
		}
		at := slices.IndexFunc(out, func(x Exclusion) bool { return x.Target == target })
		if at < 0 {
			at = len(out)
			out = append(out, Exclusion{Target: target})
		}
		if !slices.Contains(out[at].Rules, m.rule) {
			out[at].Rules = append(out[at].Rules, m.rule)
		}
	}
	for i := range out {
		slices.Sort(out[i].Rules)
	}
	return out
}

// anyElement makes ARGS:/\Ajson\.items\.[0-9]+\.name\z/ of ARGS:json.items.7.name. Keys are compared in lower case.
func anyElement(target string) string {
	variable, key, ok := strings.Cut(target, ":")
	if !ok {
		return target
	}
	parts, found := strings.Split(strings.ToLower(key), "."), false
	for i, p := range parts {
		if p != "" && strings.Trim(p, "0123456789") == "" {
			parts[i], found = `[0-9]+`, true
		} else {
			parts[i] = quote(p)
		}
	}
	if !found {
		return target
	}
	return variable + `:/\A` + strings.Join(parts, `\.`) + `\z/`
}

// plain returns a path without percent signs, as rules see it, "" where it has none.
func plain(path string) string {
	if out, err := url.PathUnescape(path); err == nil {
		return out
	}
	return ""
}

// identifier is a segment of a path that stands for others of its kind.
var identifier = regexp.MustCompile(`^(?:[0-9]+|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]*[0-9][0-9a-fA-F]*|\*)$`)

// templateOf returns the pattern of paths that differ in identifiers from this one, "" where it has none.
func templateOf(path string) string {
	parts, found := strings.Split(path, "/"), false
	for i, p := range parts {
		switch {
		case p != "" && strings.Trim(p, "0123456789") == "":
			parts[i], found = `[0-9]+`, true
		case p == "*":
			parts[i], found = `[^/]+`, true
		case len(p) >= 8 && identifier.MatchString(p):
			parts[i], found = `[0-9a-fA-F-]+`, true
		default:
			parts[i] = quote(p)
		}
	}
	if !found {
		return ""
	}
	return strings.Join(parts, "/")
}

// Count fills Freed of proposals from other alarms of the firewall that were recorded.
func Count(program *seclang.Program, proposals []Proposal, others []Alarm) {
	w := weights(program)
	for i := range proposals {
		p := &proposals[i]
		p.Freed = 0
		for j := range others {
			if p.frees(&others[j], w) {
				p.Freed += max(1, others[j].Count)
			}
		}
	}
}

// frees reports whether the score stays below the threshold without what the proposal takes out.
func (p *Proposal) frees(a *Alarm, weights map[int]int) bool {
	if a.Score < a.Threshold || a.Threshold <= 0 {
		return false
	}
	account, path := a.account(weights), plain(a.Path)
	for _, m := range a.matches(weights) {
		if slices.ContainsFunc(p.Exclusions, func(x Exclusion) bool { return x.covers(m.rule, m.target, path) }) {
			account.take(m.weight)
		}
	}
	return account.left() < a.Threshold
}

// Plainly returns the proposal that rules, as recorded, leave out what each matched in, on a path as received or on the paths that a
// pattern fits as a whole; with neither, everywhere. It reports false for what cannot be written as directives.
func Plainly(rules, targets []string, path, pattern string) (Proposal, bool) {
	var list []match
	for i, id := range rules {
		n, err := strconv.Atoi(id)
		if err != nil || i >= len(targets) || !targetName.MatchString(targets[i]) || strings.HasSuffix(targets[i], ":*") {
			return Proposal{}, false
		}
		list = append(list, match{rule: n, target: targets[i]})
	}
	if strings.ContainsAny(pattern, "\"\n") || path != "" && plain(path) == "" {
		return Proposal{}, false
	}
	p := Proposal{Exclusions: grouped(list, false, false)}
	for i := range p.Exclusions {
		if p.Exclusions[i].PathPattern = pattern; pattern == "" {
			p.Exclusions[i].Path = plain(path)
		}
	}
	return p, len(p.Exclusions) > 0
}
