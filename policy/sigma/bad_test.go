package sigma

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestBadRules holds what is said of bad files: every problem, with its place and what to write instead. Places are
// within the text as it stands here.
func TestBadRules(t *testing.T) {
	head := "title: T\nid: test\nlogsource: {product: x}\n"
	det := func(sel string) string {
		return head + "detection:\n  sel:\n    " + strings.ReplaceAll(sel, "\n", "\n    ") + "\n  condition: sel\n"
	}
	cond := func(c string) string {
		return head + "detection:\n  sel_a: {A: 1}\n  sel_b: {B: 1}\n  condition: " + c + "\n"
	}
	corr := func(c string) string {
		return "title: B\nid: base\nname: base\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}\n---\n" +
			"title: C\nid: corr\ncorrelation:\n  " + strings.ReplaceAll(c, "\n", "\n  ") + "\n"
	}
	filter := func(f string) string {
		return "title: B\nid: base\nname: base\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}\n---\n" +
			"title: C\nid: filt\nlogsource: {product: x}\nfilter:\n  " + strings.ReplaceAll(f, "\n", "\n  ") + "\n"
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		// Files.
		{"empty", "", []string{"a.yml:1:1: the file holds no rule; write a rule, or remove the file"}},
		{"comment", "# nothing\n", []string{"a.yml:1:1: the file holds no rule; write a rule, or remove the file"}},
		{"syntax", "title: a: b\ndetection:\n", []string{`a.yml:1:1: YAML: mapping values are not allowed in this context; text that holds ": " needs single quotes`}},
		{"escape", head + "detection:\n  sel: {A: \"C:\\Windows\"}\n", []string{"a.yml:5:1: YAML: found unknown escape character; in double quotes a backslash begins an escape: write paths in single quotes"}},
		{"tabs", "title: T\n\tid: x\n", []string{"a.yml:2:1: YAML: found a tab character that violates indentation; indent with spaces"}},
		{"list", "- title: T\n", []string{"a.yml:1:1: a rule must be a map of keys and values, not a list"}},
		{"no detection", "title: T\nlogsource: {product: x}\n", []string{"a.yml:1:1: the document has no detection; a detection rule has detection, a correlation rule correlation, a filter filter"}},
		{"misspelt detection", "title: T\nlogsource: {product: x}\ndetections: {}\n", []string{`a.yml:1:1: the document has no detection; did you mean "detection" in the place of "detections"?`}},
		{"two kinds", head + "detection: {sel: {A: 1}, condition: sel}\ncorrelation: {}\n", []string{"a.yml:5:1: correlation stands beside detection; write a document of its own, behind ---"}},
		{"collection", "action: global\ntitle: T\n", []string{"a.yml:1:1: collections by action are not part of Sigma any more; write the keys out in each document"}},
		{"key twice", head + "title: U\ndetection: {sel: {A: 1}, condition: sel}\n", []string{`a.yml:4:1: key "title" stands twice in a rule; a list under one key joins values by or; for another condition on the same field write a selection of its own`}},
		{"merge", "x: &x {a: 1}\ntitle: T\nlogsource:\n  <<: *x\n  product: x\ndetection: {sel: {A: 1}, condition: sel}\n", []string{"a.yml:4:3: merge keys are not part of Sigma rules; write the keys out"}},
		// Heads.
		{"no title", "id: test\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}\n", []string{"a.yml:1:1: the rule has no title; say in a few words what it detects"}},
		{"bad head", "title: T\nid: a b\nstatus: tested\nlevel: hihg\ntags: [Attack.T1059, 'ä']\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}\n", []string{
			`a.yml:2:5: "a b" is no id; a UUID as in 929a690e-bef0-4204-a928-ef5e620d6fcc, or up to 100 of letters, digits . _ -`,
			`a.yml:4:8: unknown level "hihg"; did you mean "high"?`,
			`a.yml:3:9: unknown status "tested"; did you mean "test"?`,
			`a.yml:5:22: "ä" is no tag; as in attack.t1059.001`}},
		{"no logsource", "title: T\nid: test\ndetection: {sel: {A: 1}, condition: sel}\n", []string{"a.yml:1:1: the rule has no logsource; name its product, service or category"}},
		{"empty logsource", "title: T\nlogsource:\n  definition: x\ndetection: {sel: {A: 1}, condition: sel}\n", []string{"a.yml:3:3: logsource names no log; name a product, a service or a category"}},
		// Selections.
		{"no condition", head + "detection:\n  sel: {A: 1}\n", []string{"a.yml:5:3: detection has no condition; as in condition: selection"}},
		{"no selection", head + "detection:\n  condition: sel\n", []string{"a.yml:5:3: detection has no selection"}},
		{"timeframe", head + "detection:\n  sel: {A: 1}\n  timeframe: 5m\n  condition: sel\n", []string{"a.yml:6:3: timeframe belongs to the aggregations that Sigma no longer has; write a correlation rule with a timespan"}},
		{"empty selection", head + "detection:\n  sel:\n  condition: sel\n", []string{`a.yml:5:7: selection "sel" is empty; write a map of fields, or a list of keywords`}},
		{"empty map", head + "detection:\n  sel: {}\n  condition: sel\n", []string{`a.yml:5:8: selection "sel" is an empty map; write a field and a value`}},
		{"empty list", head + "detection:\n  sel: []\n  condition: sel\n", []string{`a.yml:5:8: selection "sel" is an empty list; write a map of fields, or a list of keywords`}},
		{"list in list", head + "detection:\n  sel: [[a]]\n  condition: sel\n", []string{`a.yml:5:9: an entry of selection "sel" is a list; write maps or keywords`}},
		{"no values", det("A: []"), []string{"a.yml:6:8: the list of A is empty; write a value; for a field that is not there, null"}},
		{"map value", det("A: {B: 1}"), []string{"a.yml:6:8: a value of A is a map; a value is text, a number, true, false or null"}},
		{"null of all", det("A|all: ['', null]"), []string{"a.yml:6:17: null cannot stand behind a modifier or among keywords; write a selection of its own: field: null"}},
		{"null keyword", head + "detection:\n  sel: [a, null]\n  condition: sel\n", []string{"a.yml:5:12: null cannot stand behind a modifier or among keywords; write a selection of its own: field: null"}},
		{"tag", det("A: !!str null"), []string{"a.yml:6:8: tags are not part of Sigma rules; leave the tag out, and write text in quotes"}},
		{"tagged key", det("!!str A: x"), []string{"a.yml:6:5: tags are not part of Sigma rules; leave the tag out, and write text in quotes"}},
		{"tagged map", det("A: !!map {B: x}"), []string{"a.yml:6:8: tags are not part of Sigma rules; leave the tag out, and write text in quotes"}},
		{"null contains", det("A|contains:"), []string{"a.yml:6:16: null cannot stand behind a modifier or among keywords; write a selection of its own: field: null"}},
		{"field twice", det("A|contains: x\nA|contains: y"), []string{`a.yml:7:5: key "A|contains" stands twice in selection "sel"; a list under one key joins values by or; for another condition on the same field write a selection of its own`}},
		// Modifiers.
		{"unknown modifier", det("A|contain: x"), []string{`a.yml:6:7: unknown modifier "contain"; did you mean "contains"?`}},
		{"no modifier", det("A|: x"), []string{"a.yml:6:6: a modifier is empty; leave the | out, or write a modifier behind it"}},
		{"twice", det("A|all|all: [x, y]"), []string{`a.yml:6:11: modifier "all" stands twice`}},
		{"all of one", det("A|contains|all: x"), []string{"a.yml:6:5: all needs a list of two values or more; leave all out"}},
		{"two places", det("A|contains|endswith: x"), []string{`a.yml:6:16: modifier "endswith" does not go with "contains"; one of startswith, endswith and contains`}},
		{"neq all", det("A|neq|all: [x, y]"), []string{`a.yml:6:11: modifier "all" does not go with "neq"; neq holds for a value that is none of the list: write the values that go together as a selection, and negate it in the condition`}},
		{"re contains", det("A|re|contains: x"), []string{`a.yml:6:10: modifier "contains" does not go with "re"; a regular expression looks anywhere in the value: leave it out, or write ^ or $ in the expression`}},
		{"contains re", det("A|contains|re: x"), []string{`a.yml:6:16: modifier "re" does not go with "contains"; re is for whole values`}},
		{"i alone", det("A|i: x"), []string{`a.yml:6:7: modifier "i" does not stand behind re; as in re|i`}},
		{"cased re", det("A|re|cased: x"), []string{`a.yml:6:10: modifier "cased" does not go with "re"; cased is for texts; a regular expression sees case by itself`}},
		{"contains base64", det("A|contains|base64: x"), []string{`a.yml:6:16: modifier "base64" does not go with "contains"; write base64 before it: modifiers change the value in their order, and wildcards cannot be encoded`}},
		{"base64 windash", det("A|base64|windash: x"), []string{`a.yml:6:14: modifier "windash" does not go with "base64"; write windash before the encoding: it changes the text that is encoded`}},
		{"two encodings", det("A|wide|utf16be: x"), []string{`a.yml:6:12: modifier "utf16be" does not go with "wide"; one of utf16le, utf16be, utf16 and wide`}},
		{"base64 wildcard", det("A|base64: 'a*'"), []string{"a.yml:6:15: base64: wildcards cannot be encoded: escape them with a backslash, or leave them out"}},
		{"base64offset short", det("A|base64offset|contains: 'a'"), []string{"a.yml:6:30: base64offset: the text is too short to be told apart at every offset"}},
		{"exists with", det("A|exists|contains: true"), []string{`a.yml:6:14: modifier "contains" does not go with "exists"; exists stands alone`}},
		{"exists what", det("A|exists: yes"), []string{"a.yml:6:15: exists is asked with text; write true or false"}},
		{"gt text", det("A|gt: x"), []string{"a.yml:6:11: gt is compared with text; write a number"}},
		{"gt neq", det("A|gt|neq: 5"), []string{`a.yml:6:10: modifier "neq" does not go with "gt"; turn the comparison round`}},
		{"re cidr", det("A|re|cidr: x"), []string{`a.yml:6:10: modifier "cidr" does not go with "re"; one of re, cidr, fieldref, exists, a comparison, and a part of the date`}},
		{"cidr", det("A|cidr: 10.0.0/8"), []string{`a.yml:6:13: "10.0.0/8" is no network; as in 10.0.0.0/8 or fe80::/10`}},
		{"hour", det("A|hour: 24"), []string{`a.yml:6:13: the hour of a date is never "24"; write a number from 0 to 23`}},
		{"fieldref", det("A|fieldref: ''"), []string{`a.yml:6:17: fieldref to ""; name a field`}},
		{"keywords gt", head + "detection:\n  sel:\n    '|gt': 5\n  condition: sel\n", []string{"a.yml:6:7: keywords have no field that this could be asked of; write a field before the first |"}},
		{"lookahead", det("A|re: 'a(?!b)'"), []string{"a.yml:6:11: re: the pattern is no regular expression (RE2): invalid or unsupported Perl syntax: `(?!`; (?! is not part of Sigma's regular expressions: write a selection of its own and negate it in the condition"}},
		{"large regex", det("A|re: '(a{1000}){1000}'"), []string{"a.yml:6:11: re: the pattern is no regular expression (RE2): invalid repeat count: `{1000}`"}},
		// Conditions.
		{"unknown selection", cond("sel_a and selb"), []string{`a.yml:7:24: condition: there is no selection "selb"; did you mean "sel_b"?`}},
		{"pattern alone", cond("sel_*"), []string{`a.yml:7:14: condition: there is no selection "sel_*"; before a pattern stands 1 of or all of`}},
		{"no match", cond("1 of x_*"), []string{`a.yml:7:19: condition: no selection is called "x_*"; there are sel_a, sel_b`}},
		{"two of", cond("2 of sel_*"), []string{`a.yml:7:14: condition: "2" of selections is not part of Sigma; 1 of, any of or all of`}},
		{"of what", cond("all of"), []string{`a.yml:7:20: condition: of what is missing behind "all of"; them, or a pattern as in selection_*`}},
		{"breaks off", cond("sel_a and"), []string{"a.yml:7:23: condition: it breaks off; name a selection"}},
		{"no operand", cond("sel_a or and sel_b"), []string{`a.yml:7:23: condition: a selection is missing before "and"; name a selection`}},
		{"no operator", cond("sel_a sel_b"), []string{`a.yml:7:20: condition: "sel_b" does not go on the condition; join selections with and, or`}},
		{"open", cond("(sel_a or sel_b"), []string{"a.yml:7:14: condition: the parenthesis is not closed"}},
		{"shut", cond("sel_a)"), []string{"a.yml:7:19: condition: a closing parenthesis too many"}},
		{"count", cond("sel_a | count() by User > 5"), []string{"a.yml:7:20: condition: aggregations behind | are no longer part of Sigma; write a correlation rule that refers to this one: type event_count, group-by, timespan, condition"}},
		{"count field", cond("sel_a | count(Image) by User > 5"), []string{"a.yml:7:20: condition: aggregations behind | are no longer part of Sigma; write a correlation rule that refers to this one: type value_count, group-by, timespan, condition with field"}},
		{"near", cond("sel_a | near sel_b"), []string{"a.yml:7:20: condition: aggregations behind | are no longer part of Sigma; write a correlation rule that refers to this one: type temporal, rules, group-by, timespan"}},
		{"literal block", cond("|\n    sel_a and\n    nothing"), []string{`a.yml:9:5: condition: there is no selection "nothing"; there are sel_a, sel_b`}},
		// Correlations.
		{"type", corr("type: event_cuont\nrules: [base]"), []string{`a.yml:10:9: unknown type of correlation "event_cuont"; did you mean "event_count"?`}},
		{"bare", corr("type: event_count"), []string{
			"a.yml:10:3: the correlation has no timespan; as in timespan: 10m",
			"a.yml:10:3: event_count has no condition; as in condition: {gte: 10}",
			"a.yml:10:3: the correlation refers to no rules; list ids or names of rules"}},
		{"timespan", corr("type: event_count\nrules: base\ntimespan: 5 min\ncondition: {gte: 5}"), []string{`a.yml:12:13: "5 min" is no timespan; a number and s, m, h, d, w, M or y, as in 15m`}},
		{"long timespan", corr("type: event_count\nrules: base\ntimespan: 1y\ncondition: {gte: 5}"), []string{"a.yml:12:13: the timespan 1y is too long to be watched; up to 31 days"}},
		{"condition", corr("type: event_count\nrules: base\ntimespan: 5m\ncondition: {more: 5}"), []string{
			`a.yml:13:15: unknown key "more" in condition; known keys: gt, gte, lt, lte, eq, neq, field, percentile`,
			"a.yml:13:14: the condition compares with nothing; as in condition: {gte: 10}"}},
		{"no field", corr("type: value_count\nrules: base\ntimespan: 5m\ncondition: {gte: 5}"), []string{"a.yml:13:14: value_count names no field; as in condition: {gte: 10, field: User}"}},
		{"percentile", corr("type: value_percentile\nrules: base\ntimespan: 5m\ncondition: {gte: 5, field: A}"), []string{"a.yml:13:14: value_percentile has no percentile; as in condition: {gte: 100, field: bytes, percentile: 95}"}},
		{"unknown key", corr("type: temporal\nrule: [base]\ntimespan: 5m"), []string{
			`a.yml:11:3: unknown key "rule" in correlation; did you mean "rules"?`,
			"a.yml:10:3: the correlation refers to no rules; list ids or names of rules"}},
		{"ordered count", corr("type: temporal_ordered\nrules: [base, other]\ntimespan: 5m\ncondition: {gte: 1}"), []string{"a.yml:13:14: temporal_ordered waits for all of its rules; leave the condition out, name the rules that are needed (condition: a and b), or use temporal"}},
		{"extended", corr("type: temporal\nrules: [base, other]\ntimespan: 5m\ncondition: base and not othr"), []string{`a.yml:13:27: condition: there is no rule "othr"; did you mean "other"?`}},
		{"alias", corr("type: temporal\nrules: [base]\ntimespan: 5m\ngroup-by: [ip]\naliases:\n  ip: {bse: src}"), []string{
			`a.yml:15:5: alias "ip" says nothing of events of "base"; say which field it is there`,
			`a.yml:15:5: alias "ip" says what it is in events of "bse", which the correlation does not refer to; name a rule of rules`}},
		// Filters.
		{"filter rule", filter("rules: [bass]\nsel: {A: 1}\ncondition: sel"), []string{`a.yml:11:11: there is no rule "bass"; did you mean "base"?`}},
		{"filter no rules", filter("sel: {A: 1}\ncondition: sel"), []string{"a.yml:11:3: the filter names no rules; list ids or names of rules, or write rules: any"}},
		{"filter condition", filter("rules: any\nsel: {A: 1}\ncondition: sle"), []string{`a.yml:13:14: condition: there is no selection "sle"; did you mean "sel"?`}},
		{"filter logsource", strings.Replace(filter("rules: [base]\nsel: {A: 1}\ncondition: sel"), "---\ntitle: C\nid: filt\nlogsource: {product: x}", "---\ntitle: C\nid: filt\nlogsource: {product: y}", 1),
			[]string{`a.yml:11:11: rule "base" reads product x, and the filter product y; name in the filter's logsource no more than the rule's does`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, problems := compileText(t, Config{}, c.text)
			var got []string
			for _, p := range problems {
				got = append(got, p.Error())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("%s\n%s", c.text, d)
			}
		})
	}
}
