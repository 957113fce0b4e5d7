package sigma

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/policy/window"
	"github.com/testudo-sec/testudo/signal"
)

const twoBases = `title: Failed
id: 5638f7c0-ac70-491d-8465-2a65075e0d86
name: failed
logsource: {product: windows, service: security}
detection: {sel: {EventID: 4625}, condition: sel}
---
title: Success
name: success
logsource: {product: windows, service: security}
detection: {sel: {EventID: 4624}, condition: sel}
---
`

// correlationOf compiles a correlation beside the two base rules.
func correlationOf(t *testing.T, text string) (*policy.Rule, []*policy.Rule) {
	t.Helper()
	rules, problems := compileText(t, Config{}, twoBases+"title: C\nid: c\nlevel: high\ncorrelation:\n  "+strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n  ")+"\n")
	if len(problems) > 0 || len(rules) != 3 {
		t.Fatalf("%s\n%d rules: %v", text, len(rules), problems)
	}
	return rules[2], rules
}

// TestCorrelationForms holds what correlations compile to; each row names its section of the correlation rules specification.
func TestCorrelationForms(t *testing.T) {
	for _, c := range []struct{ section, text, want string }{
		{"Event Count", "type: event_count\nrules: [failed]\ngroup-by: [TargetUserName]\ntimespan: 1h\ncondition: {gte: 100}", "event_count of failed by TargetUserName within 1h0m0s: >= 100"},
		{"Event Count", "type: event_count\nrules: failed\ngroup-by: TargetUserName\ntimespan: 90m\ncondition: {gt: 100, lte: 200}", "event_count of failed by TargetUserName within 1h30m0s: > 100 and <= 200"},
		{"Related rules", "type: event_count\nrules: [5638F7C0-AC70-491D-8465-2A65075E0D86]\ntimespan: 10s\ncondition: {eq: 3}", "event_count of 5638f7c0-ac70-491d-8465-2a65075e0d86 within 10s: == 3"},
		{"Value Count", "type: value_count\nrules: [failed]\ngroup-by: [Computer, IpAddress]\ntimespan: 1d\ncondition: {field: TargetUserName, gte: 100}", "value_count of failed over TargetUserName by Computer, IpAddress within 24h0m0s: >= 100"},
		{"Value Count", "type: value_count\nrules: [failed]\ntimespan: 1w\ncondition: {field: [TargetUserName, Computer], neq: 0}", "value_count of failed over TargetUserName, Computer within 168h0m0s: != 0"},
		{"Metrics", "type: value_sum\nrules: [failed]\ntimespan: 1m\ncondition: {field: bytes, gte: 1000000}", "value_sum of failed over bytes within 1m0s: >= 1e+06"},
		{"Metrics", "type: value_avg\nrules: [failed]\ntimespan: 1m\ncondition: {field: bytes, lt: 0.5}", "value_avg of failed over bytes within 1m0s: < 0.5"},
		{"Metrics", "type: value_percentile\nrules: [failed]\ntimespan: 1m\ncondition: {field: bytes, gt: 5, percentile: 95}", "value_percentile 95 of failed over bytes within 1m0s: > 5"},
		{"Metrics", "type: value_median\nrules: [failed]\ntimespan: 1m\ncondition: {field: bytes, gt: 5}", "value_percentile 50 of failed over bytes within 1m0s: > 5"},
		{"Temporal Proximity", "type: temporal\nrules: [failed, success]\ngroup-by: [TargetUserName]\ntimespan: 5m", "temporal of failed, success by TargetUserName within 5m0s"},
		{"Condition", "type: temporal\nrules: [failed, success]\ntimespan: 5m\ncondition: {gte: 1}", "temporal of failed, success within 5m0s: >= 1"},
		{"Temporal conditions", "type: temporal\nrules: [failed, success]\ntimespan: 5m\ncondition: failed and not success", "temporal of failed, success within 5m0s: failed and not success"},
		{"Temporal conditions", "type: temporal\ntimespan: 5m\ncondition: (failed or success) and failed", "temporal of failed, success within 5m0s: (failed or success) and failed"},
		{"Ordered Temporal Proximity", "type: temporal_ordered\nrules: [failed, success]\ngroup-by: [TargetUserName]\ntimespan: 1h", "temporal_ordered of failed, success by TargetUserName within 1h0m0s"},
		{"Ordered Temporal Proximity", "type: temporal_ordered\nrules: [failed, success]\ntimespan: 1h\ncondition: {gte: 2}", "temporal_ordered of failed, success within 1h0m0s"},
		{"Time Selection", "type: event_count\nrules: [failed]\ntimespan: 1M\ncondition: {gte: 1}", "event_count of failed within 730h29m6s: >= 1"},
	} {
		r, _ := correlationOf(t, c.text)
		if got := r.Correlation.String(); got != c.want {
			t.Errorf("%s:\n%s\ngives %s\nwant  %s", c.section, c.text, got, c.want)
		}
		if r.Severity != signal.SeverityHigh {
			t.Errorf("severity %v", r.Severity)
		}
	}
}

// "Generate": rules that are referred to are no rules of their own unless it is said; "Aliases": each rule's own field.
func TestCorrelationReferences(t *testing.T) {
	for text, silent := range map[string][]bool{
		"type: temporal\nrules: [failed, success]\ntimespan: 5m":                  {true, true, false},
		"type: temporal\nrules: [failed, success]\ntimespan: 5m\ngenerate: true":  {false, false, false},
		"type: event_count\nrules: [failed]\ntimespan: 5m\ncondition: {gte: 3}":   {true, false, false},
		"type: temporal\nrules: [failed, success]\ntimespan: 5m\ngenerate: false": {true, true, false},
	} {
		_, rules := correlationOf(t, text)
		for i, r := range rules {
			if r.Silent != silent[i] {
				t.Errorf("%s: rule %s silent %v", text, r.ID, r.Silent)
			}
		}
	}
	r, _ := correlationOf(t, "type: temporal\nrules: [failed, success]\ngroup-by: [who]\ntimespan: 5m\naliases:\n  who:\n    failed: TargetUserName\n    success: SubjectUserName")
	group := r.Correlation.GroupBy[0]
	if group.Name != "who" || len(group.Per) != 2 || group.Per[0].Attr != "TargetUserName" || group.Per[1].Attr != "SubjectUserName" {
		t.Errorf("the alias reads %+v", group)
	}
	r, _ = correlationOf(t, "type: event_count\nrules: [failed]\ngroup-by: [TargetUserName]\ntimespan: 5m\ncondition: {gte: 3}")
	if group := r.Correlation.GroupBy[0]; group.From.Field == 0 || group.Per != nil {
		t.Errorf("TargetUserName of the security log is read from %+v", group)
	}
}

// Base rules, a correlation over one, and a correlation over that, judged by an engine: "Chaining", and the
// specification's example of failed sign-ins that are followed by a successful one.
func TestCorrelationJudges(t *testing.T) {
	rules, problems := compileText(t, Config{}, twoBases+`title: Many failed logins
name: many_failed
correlation:
  type: event_count
  rules: [failed]
  group-by: [TargetUserName]
  timespan: 5m
  condition: {gte: 3}
---
title: Brute force that worked
id: worked
level: critical
correlation:
  type: temporal_ordered
  rules: [many_failed, success]
  group-by: [TargetUserName]
  timespan: 1h
`)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	set, err := policy.NewSet(rules)
	if err != nil {
		t.Fatal(err)
	}
	engine := policy.NewEngine(set)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	send := func(id, user string) []string {
		e := &signal.Event{Time: at.UnixNano()}
		at = at.Add(10 * time.Second)
		e.SetString(signal.FieldMetadataLogProduct, "windows")
		e.SetString(signal.FieldMetadataLogName, "security")
		e.SetString(signal.FieldMetadataEventCode, id)
		e.AddUnmapped("TargetUserName", user)
		var fired []string
		for _, h := range engine.Judge(e).Hits {
			fired = append(fired, h.Rule)
		}
		return fired
	}
	var got [][]string
	for _, e := range [][2]string{{"4625", "eve"}, {"4625", "bob"}, {"4624", "eve"}, {"4625", "eve"}, {"4625", "eve"}, {"4624", "bob"}, {"4624", "eve"}, {"4624", "eve"}} {
		got = append(got, send(e[0], e[1]))
	}
	want := [][]string{nil, nil, nil, nil, nil, nil, {"worked"}, nil}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("fired: %s", d)
	}
}

// Every kind of window has a type of Sigma's.
func TestKindsAreSigmas(t *testing.T) {
	want := []string{"event_count", "value_count", "value_sum", "value_avg", "value_percentile", "temporal", "temporal_ordered"}
	if d := cmp.Diff(want, window.Kinds()); d != "" {
		t.Error(d)
	}
}

// TestFilters holds filters to the filters specification; each row names its section.
func TestFilters(t *testing.T) {
	base := "title: Base\nid: base\nname: base_name\nlogsource: {product: x, category: process_creation}\ndetection: {sel: {A: 1}, condition: sel}\n---\n" +
		"title: Other\nid: other\nlogsource: {product: x}\ndetection: {sel: {A: 1}, condition: sel}\n---\n" +
		"title: Third\nid: third\nlogsource: {product: y}\ndetection: {sel: {A: 1}, condition: sel}\n---\n"
	for _, c := range []struct{ section, filter, baseFires string }{
		// What follows are the values of U for which base fires, of a, adm_x, dc1 and none.
		{"Examples", "rules: [base]\nselection: {U|startswith: adm_}\ncondition: selection", "a dc1 -"},
		{"filter condition", "rules: [base]\nselection: {U|startswith: adm_}\ncondition: not selection", "a dc1 -"},
		{"filter condition", "rules: [base_name]\nsel1: {U: a}\nsel2: {U: dc1}\ncondition: not 1 of sel*", "adm_x -"},
		{"filter condition", "rules: [base]\nsel1: {U: a}\nsel2: {U: dc1}\ncondition: 1 of sel*", "adm_x -"},
		{"filter condition", "rules: [base]\nsel1: {U|contains: [a, d]}\nexcept: {U: dc1}\ncondition: sel1 and not except", "dc1 -"},
		{"filter condition", "rules: [base]\nsel1: {U: a}\nsel2: {U: dc1}\ncondition: not sel1 and not sel2", "adm_x -"},
		{"Relative rules", "rules: any\nselection: {U: null}\ncondition: selection", "a adm_x dc1"},
		{"Relative rules", "rules: [other]\nselection: {U: a}\ncondition: selection", "a adm_x dc1 -"},
	} {
		rules, problems := compileText(t, Config{}, base+"title: F\nid: filter\nlogsource: {product: x}\nfilter:\n  "+strings.ReplaceAll(c.filter, "\n", "\n  ")+"\n")
		if len(problems) > 0 || len(rules) != 3 {
			t.Errorf("%s: %d rules, %v", c.filter, len(rules), problems)
			continue
		}
		var fired []string
		for _, u := range []string{"a", "adm_x", "dc1", "-"} {
			e := attrs("A=1")
			if u != "-" {
				e.AddUnmapped("U", u)
			}
			e.SetString(signal.FieldMetadataLogCategory, "process_creation")
			if fires(rules[0], e) {
				fired = append(fired, u)
			}
		}
		if got := strings.Join(fired, " "); got != c.baseFires {
			t.Errorf("%s:\n%s\nbase fires on %q, want %q\n%s", c.section, c.filter, got, c.baseFires, match.String(rules[0].Condition))
		}
		if strings.Contains(c.filter, "any") {
			e := attrs("A=1")
			e.SetString(signal.FieldMetadataLogProduct, "y")
			if !fires(rules[2], e) {
				t.Errorf("%s: a filter of product x applies to a rule of product y", c.filter)
			}
			if !strings.Contains(rules[0].When, "filter") || strings.Contains(rules[2].When, "filter") {
				t.Errorf("the text of the rule does not say that it is filtered")
			}
		}
	}
}

// Ids that are UUIDs are referred to in any case of letters.
func TestReferencesById(t *testing.T) {
	rules, problems := compileText(t, Config{}, twoBases+"title: F\nlogsource: {product: windows}\nfilter: {rules: [5638F7C0-AC70-491D-8465-2A65075E0D86], s: {A: 1}, condition: s}\n---\n"+
		"title: C\nid: c\ncorrelation: {type: event_count, rules: [5638F7C0-ac70-491d-8465-2a65075e0d86], timespan: 5m, condition: {gte: 2}}\n")
	if len(problems) > 0 || len(rules) != 3 {
		t.Fatal(len(rules), problems)
	}
	if !strings.Contains(rules[0].When, "filter") || !rules[0].Silent {
		t.Errorf("the rule is not filtered or not silent: %+v", rules[0])
	}
	if _, err := policy.NewSet(rules); err != nil {
		t.Error(err)
	}
}

// TestPipelines holds each thing that a pipeline does.
func TestPipelines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mine.yaml")
	if err := os.WriteFile(file, []byte(`name: mine
values:
  admins: [root, adm_*]
  one: x
steps:
  - when: {product: x}
    fields: {F: [f1, f2], U: process.user.name}
  - when: [{product: x, category: c}, {product: z}]
    logsource: {product: y, category: null, service: s}
    add: {EventID: 7}
  - rules: [special]
    prefix: data.
`), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Pipelines: []string{file}}
	rule := func(id, logsource, sel string) *policy.Rule {
		rules, problems := compileText(t, cfg, "title: T\nid: "+id+"\nlogsource: {"+logsource+"}\ndetection: {sel: "+sel+", condition: sel}\n")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return rules[0]
	}
	y := func(list ...string) *signal.Event {
		e := attrs(list...)
		e.SetString(signal.FieldMetadataLogProduct, "y")
		e.SetString(signal.FieldMetadataLogName, "s")
		return e
	}
	user := attrs()
	user.SetString(signal.FieldProcessUserName, "eve")
	for _, c := range []struct {
		name string
		rule *policy.Rule
		e    *signal.Event
		want bool
	}{
		{"renamed to two", rule("r", "product: x", "{F: v}"), attrs("f2=v"), true},
		{"renamed", rule("r", "product: x", "{F: v}"), attrs("F=v"), false},
		{"another source", rule("r", "product: y, service: s", "{F: v}"), y("F=v"), true},
		{"a field of ours", rule("r", "product: x", "{U: eve}"), user, true},
		{"rewritten", rule("r", "product: x, category: c", "{F: v}"), y("f1=v", "EventID=7"), true},
		{"added", rule("r", "product: x, category: c", "{F: v}"), y("f1=v"), false},
		{"by rule", rule("special", "product: x", "{G: v}"), attrs("data.G=v"), true},
		{"by another rule", rule("r", "product: x", "{G: v}"), attrs("data.G=v"), false},
		{"placeholder", rule("r", "product: x", "{G|expand: '%admins%'}"), attrs("G=adm_1"), true},
		{"placeholder within", rule("r", "product: x", "{G|contains|expand: 'a%admins%/%one%'}"), attrs("G=..aroot/x.."), true},
		{"placeholder other", rule("r", "product: x", "{G|expand: '%admins%'}"), attrs("G=%admins%"), false},
	} {
		if got := fires(c.rule, c.e); got != c.want {
			t.Errorf("%s: fires %v, want %v: %s", c.name, got, c.want, match.String(c.rule.Condition))
		}
	}
	if r := rule("r", "product: x", "{G|expand: '%nobody%'}"); !r.Disabled || !strings.Contains(notesOf(r), "%nobody%") {
		t.Errorf("a placeholder without values: disabled %v, %s", r.Disabled, notesOf(r))
	}
}

// What changes a rule from outside is part of what names the rule: state of windows and verdicts of a replay hang on that.
func TestOutsideChangesAreSeen(t *testing.T) {
	dir := t.TempDir()
	digest := func(pipeline, more string) string {
		cfg := Config{}
		if pipeline != "" {
			file := filepath.Join(dir, "p.yaml")
			if err := os.WriteFile(file, []byte(pipeline), 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.Pipelines = []string{file}
		}
		rules, problems := compileText(t, cfg, "title: T\nid: t\nlogsource: {product: x}\ndetection: {sel: {F|expand: '%v%'}, condition: sel}\n"+more)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		set, err := policy.NewSet(rules)
		if err != nil {
			t.Fatal(err)
		}
		return set.Digest()
	}
	filter := "---\ntitle: F\nlogsource: {product: x}\nfilter: {rules: any, s: {A: %s}, condition: s}\n"
	long := "---\ntitle: F\nlogsource: {product: x}\nfilter: {rules: any, s: {A: [" + strings.Repeat("a, ", 2000) + "%s]}, condition: s}\n"
	seen := map[string]string{}
	for name, d := range map[string]string{
		"bare": digest("", ""), "values": digest("values: {v: a}\n", ""), "other values": digest("values: {v: b}\n", ""),
		"steps": digest("values: {v: a}\nsteps: [{fields: {F: G}}]\n", ""),
		"a":     digest("", strings.Replace(filter, "%s", "a", 1)), "b": digest("", strings.Replace(filter, "%s", "b", 1)),
		"long a": digest("", strings.Replace(long, "%s", "a", 1)), "long b": digest("", strings.Replace(long, "%s", "b", 1)),
	} {
		if other, ok := seen[d]; ok {
			t.Errorf("%s and %s have one digest", name, other)
		}
		seen[d] = name
	}
}

// A correlation over a rule that is off is off too, and loads.
func TestCorrelationOverDisabled(t *testing.T) {
	rules, problems := compileText(t, Config{}, "title: D\nid: d\ncorrelation: {type: event_count, rules: [c], timespan: 5m, condition: {gte: 2}}\n---\n"+
		"title: T\nname: old\nstatus: deprecated\nlogsource: {product: x}\ndetection: {sel: {F: 1}, condition: sel}\n---\n"+
		"title: C\nid: c\ncorrelation: {type: event_count, rules: [old], timespan: 5m, condition: {gte: 2}}\n")
	if len(problems) > 0 || len(rules) != 3 || !rules[0].Disabled || !rules[2].Disabled || !strings.Contains(notesOf(rules[2]), "old") {
		t.Fatal(rules, problems)
	}
	if _, err := policy.NewSet(rules); err != nil {
		t.Error(err)
	}
}

func notesOf(r *policy.Rule) string {
	var all []string
	for _, n := range r.Notes {
		all = append(all, n.Key+": "+n.Text)
	}
	return strings.Join(all, "\n")
}

func TestBadPipelines(t *testing.T) {
	for text, want := range map[string]string{
		"steps:\n  - fields: {A: b}\n    wen: {product: x}\n": `p.yaml:3:5: unknown key "wen" in step 1; did you mean "when"?`,
		"steps:\n  - when: {product: x}\n":                    "p.yaml:2:5: step 1 does nothing; logsource, fields, prefix or add",
		"steps:\n  - add: {A|contain: 1}\n":                   `p.yaml:2:13: unknown modifier "contain"; did you mean "contains"?`,
		"values: {'%a%': x}\n":                                `p.yaml:1:10: "%a%" is no placeholder's name; write the name without percent signs`,
		"steps: {}\n":                                         "p.yaml:1:8: steps must be a list, not a map; as in steps: [{when: {product: windows}, fields: {Image: process_path}}]",
		"valeus: {}\n":                                        `p.yaml:1:1: unknown key "valeus" in a pipeline; did you mean "values"?`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, problems := New(Config{Pipelines: []string{filepath.Join(dir, "p.yaml")}}).Compile(nil)
		got := strings.ReplaceAll(problems.Error(), filepath.ToSlash(dir)+"/", "")
		if got != want {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
	if _, problems := New(Config{Pipelines: []string{"/nonexistent/p.yaml"}}).Compile(nil); len(problems) != 1 {
		t.Errorf("a pipeline that is not there: %v", problems)
	}
}
