package falco

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

var priorities = []string{"EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFORMATIONAL", "INFO", "DEBUG"}

// severityOf turns a priority, in any case of letters, into a severity.
func severityOf(priority string) (signal.Severity, bool) {
	switch strings.ToUpper(strings.TrimSpace(priority)) {
	case "EMERGENCY":
		return signal.SeverityFatal, true
	case "ALERT", "CRITICAL":
		return signal.SeverityCritical, true
	case "ERROR":
		return signal.SeverityHigh, true
	case "WARNING":
		return signal.SeverityMedium, true
	case "NOTICE":
		return signal.SeverityLow, true
	case "INFORMATIONAL", "INFO", "DEBUG":
		return signal.SeverityInfo, true
	}
	return 0, false
}

// identifier makes the id of a rule of its name: "Run shell untrusted" is falco.run-shell-untrusted.
func identifier(name string) string {
	var b strings.Builder
	gap := false
	for _, c := range strings.ToLower(name) {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			if gap && b.Len() > 0 {
				b.WriteByte('-')
			}
			b.WriteRune(c)
			gap = false
		default:
			gap = true
		}
	}
	id := b.String()
	if id == "" || len(id) > 90 || strings.ContainsFunc(name, func(c rune) bool { return c > 0x7f }) {
		// A name in other letters, or a long one, keeps its own id by a digest.
		sum := sha256.Sum256([]byte(name))
		id = strings.Trim(id[:min(len(id), 80)]+"-"+hex.EncodeToString(sum[:4]), "-")
	}
	return "falco." + id
}

var technique = regexp.MustCompile(`(?i)^t[0-9]{4}(\.[0-9]{3})?$`)

// tagsOf writes tags as rules here have them: T1059 is attack.t1059, mitre_privilege_escalation attack.privilege-escalation.
func tagsOf(tags []string) []string {
	var all []string
	for _, t := range tags {
		tag := strings.ToLower(strings.TrimSpace(t))
		switch tactic, isTactic := strings.CutPrefix(tag, "mitre_"); {
		case technique.MatchString(tag):
			tag = "attack." + tag
		case isTactic:
			tag = "attack." + strings.ReplaceAll(tactic, "_", "-")
		}
		tag = strings.Map(func(c rune) rune {
			if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("._:/-", c) {
				return c
			}
			return '-'
		}, tag)
		if tag = strings.TrimLeft(tag[:min(len(tag), 100)], "._:/-"); tag != "" && !slices.Contains(all, tag) {
			all = append(all, tag)
		}
	}
	return all
}

func oneLine(s string, limit int) string {
	return policy.Printable(strings.Join(strings.Fields(s), " "), limit)
}

// uses lists the fields of a condition, each once.
func uses(n node, src source) []policy.Use {
	seen := make(map[string]bool)
	var all []policy.Use
	var add func(o *operand)
	add = func(o *operand) {
		for _, p := range o.parts {
			if p.field != nil {
				add(p.field)
			}
		}
		if o.join != "" {
			return
		}
		f, arg, m := find(o)
		if m != nil || seen[f.Name+"["+arg] {
			return
		}
		seen[f.Name+"["+arg] = true
		name := (&operand{name: o.name, arg: o.arg, hasArg: o.hasArg}).String()
		all = append(all, policy.Use{Name: name, Reads: f.reads(arg, src), Carried: f.Carried})
	}
	var walk func(n node)
	walk = func(n node) {
		switch n := n.(type) {
		case andNode:
			for _, part := range n {
				walk(part)
			}
		case orNode:
			for _, part := range n {
				walk(part)
			}
		case notNode:
			walk(n.part)
		case *checkNode:
			add(&n.left)
			if n.other != nil {
				add(n.other)
			}
		}
	}
	walk(n)
	slices.SortFunc(all, func(a, b policy.Use) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// reads says for people where a field's values are.
func (f *Field) reads(arg string, src source) string {
	var all []string
	for _, v := range []view{processView, otherView} {
		for _, o := range f.targets(v, arg, src) {
			s := o.String()
			if o.Field == 0 {
				s = "attribute " + s
			}
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
		if src.name != "syscall" {
			break
		}
	}
	if f.Kind == "special" && f.Process == "=" {
		return "computed"
	}
	return strings.Join(all, ", ")
}
