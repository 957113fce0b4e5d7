package ui

import (
	"cmp"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// ruleFilter returns what the form of the rules page chooses. What it does not know chooses everything.
func ruleFilter(f filter) func(*console.Rule) bool {
	get := func(key string) string { return strings.ToLower(strings.TrimSpace(f.Get(key))) }
	words := strings.Fields(get("q"))
	verdict, from, dialect, state, fired, tag := get("verdict"), get("from"), get("dialect"), get("state"), get("fired"), get("tag")
	least, _ := signal.ParseSeverity(get("severity"))
	return func(r *console.Rule) bool {
		switch {
		case verdict != "" && r.Decision.String() != verdict,
			from == "own" && r.Builtin, from == "shipped" && !r.Builtin, from == "failing" && failing(*r) == 0,
			dialect != "" && strings.ToLower(r.Dialect) != dialect,
			r.Severity < least,
			state == "on" && (!r.Enabled || r.Silent), state == "off" && r.Enabled, state == "silent" && !r.Silent, state == "faults" && r.Faults == 0,
			fired == "yes" && r.Hits == 0, fired == "no" && r.Hits > 0,
			tag != "" && !slices.ContainsFunc(r.Tags, func(t string) bool { return tagged(t, tag) }):
			return false
		}
		for _, word := range words {
			if !ruleHas(r, word) {
				return false
			}
		}
		return true
	}
}

// tagged reports whether a tag is the one asked for or below it: attack.t1059.001 is one of t1059.
func tagged(tag, want string) bool {
	tag = strings.ToLower(tag)
	for _, t := range []string{tag, strings.TrimPrefix(tag, "attack.")} {
		if rest, ok := strings.CutPrefix(t, want); ok && (rest == "" || rest[0] == '.') {
			return true
		}
	}
	return false
}

// ruleHas reports whether a lower-case word stands in what people know a rule by, or in its condition.
func ruleHas(r *console.Rule, word string) bool {
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), word) }
	return has(r.ID) || has(r.Title) || has(r.File) || slices.ContainsFunc(r.Tags, has) || has(r.When)
}

// sortRules orders rules by what the form says; they come by id.
func sortRules(rows []console.Rule, by string) {
	switch by {
	case "hits":
		slices.SortStableFunc(rows, func(a, b console.Rule) int { return cmp.Compare(b.Hits, a.Hits) })
	case "last":
		slices.SortStableFunc(rows, func(a, b console.Rule) int { return b.LastHit.Compare(a.LastHit) })
	case "severity":
		slices.SortStableFunc(rows, func(a, b console.Rule) int { return cmp.Compare(b.Severity, a.Severity) })
	}
}

// dialects counts the rules of each dialect, the most frequent first.
func (m *rulesView) dialects(all []console.Rule) []dialectCount {
	count := map[string]int{}
	for i := range all {
		count[all[i].Dialect]++
	}
	var list []dialectCount
	for name, n := range count {
		chosen := strings.EqualFold(m.Filter.Get("dialect"), name)
		link := m.Filter.With("dialect", name).At("/rules")
		if chosen {
			link = m.Filter.With("dialect", "").At("/rules")
		}
		list = append(list, dialectCount{Name: name, Count: n, Chosen: chosen, Link: link})
	}
	slices.SortFunc(list, func(a, b dialectCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), 12)]
}
