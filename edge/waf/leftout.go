package waf

import (
	"strings"

	"github.com/testudo-sec/testudo/edge"
)

// LeftOut reports whether the rule of that id does not look at a target of an inspected request, written as in Result.Targets: the rules
// have no such rule, or exclusions took the target or the rule out. Known is false where Coraza executes the rules, which does not tell.
// It is asked before the inspection is closed.
func LeftOut(i edge.Inspection, rule int, target string) (left, known bool) {
	one, ok := i.(*inspection)
	if !ok || one.broken {
		return false, false
	}
	f, ok := one.tx.(*fast)
	if !ok {
		return false, false
	}
	variable, key, _ := strings.Cut(target, ":")
	return f.tx.LeftOut(rule, variable, key), true
}
