//go:build !race

package sigma

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// What is large is compiled by one goroutine: the race detector finds nothing here, and takes ten times as long.

// TestHeavy holds the bounds of what small files stand for.
func TestHeavy(t *testing.T) {
	many := func(n int, begin string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "%s%d, ", begin, i)
		}
		return b.String() + "z"
	}
	rules := func(n int, detection string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "title: T%d\nid: t%d\nlogsource: {product: x}\ndetection: %s\n---\n", i, i, detection)
		}
		return b.String()
	}
	one := rules(1, "{sel: {A: 1}, condition: sel}")
	for _, c := range []struct{ name, text, want string }{
		{"dashes in every rule", rules(60, "{sel: {'A|windash|base64offset|contains': ["+strings.Repeat("a-b-c-d-e-f, ", 25)+"a-b-c-d-e-f]}, condition: sel}"), "together stand for more than 2000000 values"},
		{"names in a rule", rules(1, "{sel: {A: ["+many(300, "v")+"]}, condition: "+strings.Repeat("sel or ", 2000)+"sel}"), "the condition and its selections"},
		{"selections in every rule", rules(30, "{sel: {A: ["+many(150, "v")+"]}, condition: "+strings.Repeat("sel or ", 2000)+"sel}"), "together stand for more than 2000000 values"},
		{"a filter of every rule", rules(900, "{sel: {A: 1}, condition: sel}") + "title: F\nid: f\nlogsource: {product: x}\nfilter: {rules: any, sel: {A: [" + many(60_000, "v") + "]}, condition: sel}\n", "together stand for more than 2000000 values"},
		{"expressions in a rule", rules(1, "{sel: {A|re: ["+many(3000, "a.b")+"]}, condition: sel}"), "more than 2500 regular expressions"},
		{"expressions in every rule", rules(15, "{sel: {A|re: ["+many(2000, "a.b")+"]}, condition: sel}"), "together stand for more than 2000000 values"},
		{"a filter of no rules", rules(500, "{sel: {A: 1}, condition: sel}") + "title: F\nid: f\nlogsource: {product: x}\nfilter: {rules: [" + many(50_000, "zz") + "], sel: {A: 1}, condition: sel}\n", `there is no rule "zz0"`},
		{"a correlation of many rules", one + "title: F\nid: f\ncorrelation: {type: event_count, rules: [" + many(60_000, "zz") + "], timespan: 1m, condition: {gte: 3}}\n", "more than 32 rules"},
		{"a correlation by many fields", one + "title: F\nid: f\ncorrelation: {type: event_count, rules: [t0], group-by: [" + many(1000, "g") + "], timespan: 1m, condition: {gte: 3}}\n", "more than 32 fields"},
		{"a correlation of many values", one + "title: F\nid: f\ncorrelation: {type: value_count, rules: [t0], timespan: 1m, condition: {gte: 3, field: [" + many(1000, "g") + "]}}\n", "more than 32 fields"},
	} {
		got, problems := compileText(t, Config{}, strings.TrimSuffix(c.text, "---\n"))
		if !strings.Contains(problems.Error(), c.want) {
			t.Errorf("%s: %d rules, %.300s", c.name, len(got), problems.Error())
		}
		if len(problems) > 0 && problems[0].File == "" && len(got) > 0 {
			t.Errorf("%s: it is loaded by halves", c.name)
		}
	}
}

// A filter of every rule is read for each log source, which is no more than the file holds; what it comes to is bounded.
func TestLargeFilters(t *testing.T) {
	rules := ""
	for i := range 200 {
		rules += "title: T" + strconv.Itoa(i) + "\nlogsource: {product: x, service: s" + strconv.Itoa(i) + "}\ndetection: {sel: {A: 1}, condition: sel}\n---\n"
	}
	filter := func(values int) string {
		return rules + "title: F\nid: f\nlogsource: {product: x}\nfilter: {rules: any, s: {U: [" + strings.Repeat("eve, ", values) + "bob]}, condition: s}\n"
	}
	if got, problems := compileText(t, Config{}, filter(2000)); len(problems) > 0 || len(got) != 200 {
		t.Errorf("%d rules, %v", len(got), problems)
	}
	if _, problems := compileText(t, Config{}, filter(20_000)); len(problems) != 1 || !strings.Contains(problems[0].Message, "more than 1000000 texts") {
		t.Errorf("%v", problems)
	}
}
