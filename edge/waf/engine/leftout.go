package engine

import (
	"slices"
	"strings"
)

// LeftOut reports whether the rule of that id does not look at a value of this request, named as its matches are: ARGS and q. That is so
// where the program has no such rule or took the value out of it, and where a ctl did so while the request was judged. A key "*" stands for
// one that is not known: it is left out only with all others.
func (tx *Transaction) LeftOut(id int, variable, key string) bool {
	at := slices.IndexFunc(tx.engine.rules, func(r *rule) bool { return r.ID == id && id != 0 })
	if at < 0 {
		return true
	}
	head := tx.engine.rules[at]
	if tx.removed.has(head.number) {
		return true
	}
	named := false
	for r := head; r != nil; r = r.next {
		for i := range r.targets {
			t := &r.targets[i]
			if name := t.Variable.Name(); name != variable && (name != "XML" || variable != "REQUEST_XML") {
				continue
			}
			named = true
			if key != "*" && (t.Key != "" && !strings.EqualFold(t.Key, key) || t.KeyRx != nil && !t.KeyRx.MatchString(strings.ToLower(key))) {
				continue
			}
			if !leftOut(t, head, key, tx.narrowings) {
				return false
			}
		}
	}
	return named || variable != "" && variable != "TX" // another target stands in its place
}
