package native_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
	"github.com/testudo-sec/testudo/rules"
	"github.com/testudo-sec/testudo/signal"
)

func shippedIn(t testing.TB, name string, tree fs.FS) *policy.Set {
	t.Helper()
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	set, err := l.Load(context.Background(), policy.Embedded(name, tree))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func edgeSet(t testing.TB) *policy.Set { return shippedIn(t, "rules/edge", rules.Edge()) }

func shippedSet(t testing.TB) *policy.Set { return shippedIn(t, "rules", rules.Judging()) }

// folderOf returns the folder of a rule that ships, as in "edge".
func folderOf(r *policy.Rule) string {
	return path.Base(path.Dir(r.File))
}

// TestShippedRules runs the tests of the rules that ship, and holds each rule to
// what a user may expect of one.
func TestShippedRules(t *testing.T) {
	set := shippedSet(t)
	count := map[string]int{}
	for _, r := range set.Rules() {
		if r.Correlation == nil {
			checkCondition(t, r)
		}
		if r.PartOf == "" {
			count[folderOf(r)]++
			checkContent(t, r)
		}
	}
	for _, folder := range rules.Folders() {
		if count[folder] < 10 {
			t.Errorf("%d rules in %s, want at least 10", count[folder], folder)
		}
		readme, err := fs.ReadFile(rules.Judging(), folder+"/README.md")
		if err != nil || len(readme) == 0 {
			t.Errorf("rules/%s has no README.md (%v)", folder, err)
		}
	}
	report, err := policy.RunTests(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || len(report.Untested) > 0 {
		var b bytes.Buffer
		_ = report.Print(&b)
		t.Errorf("\n%s", b.String())
	}
}

var (
	technique = regexp.MustCompile(`^attack\.t\d{4}(\.\d{3})?$`)
	attackTag = regexp.MustCompile(`^attack\.(t\d{4}(\.\d{3})?|[a-z]+(-[a-z]+)*)$`)
)

// tactics are those of MITRE ATT&CK for enterprises.
var tactics = []string{
	"reconnaissance", "resource-development", "initial-access", "execution", "persistence", "privilege-escalation", "defense-evasion",
	"credential-access", "discovery", "lateral-movement", "collection", "command-and-control", "exfiltration", "impact",
}

func checkContent(t *testing.T, r *policy.Rule) {
	t.Helper()
	if r.Fix == "" || r.Why == r.Title || r.Why == "" || len(r.References) == 0 {
		t.Errorf("%s: fix, why and references are needed", r.ID)
	}
	if !strings.HasPrefix(r.ID, folderOf(r)+"-") {
		t.Errorf("%s: the id of a rule in %s begins with the folder's name", r.ID, folderOf(r))
	}
	if !strings.Contains(r.Why, "{") {
		t.Errorf("%s: why names no field", r.ID)
	}
	if r.On == nil {
		t.Errorf("%s: without on it costs something for events of every class", r.ID)
	}
	for _, ref := range r.References {
		if u, err := url.Parse(ref); err != nil || u.Scheme != "https" || u.Host == "" {
			t.Errorf("%s: %q is no https address", r.ID, ref)
		}
	}
	mapped := false
	for _, tag := range r.Tags {
		if !strings.HasPrefix(tag, "attack.") {
			continue
		}
		mapped = mapped || technique.MatchString(tag)
		if !attackTag.MatchString(tag) || !technique.MatchString(tag) && !slices.Contains(tactics, strings.TrimPrefix(tag, "attack.")) {
			t.Errorf("%s: tag %s is neither a technique nor a tactic of ATT&CK", r.ID, tag)
		}
	}
	if !mapped {
		t.Errorf("%s: no ATT&CK technique among its tags", r.ID)
	}
	positive, negative := 0, 0
	for _, test := range r.Tests {
		for _, s := range test.Steps {
			if s.Fires {
				positive++
			} else {
				negative++
			}
		}
	}
	if positive < 2 || negative < 2 {
		t.Errorf("%s: %d positive and %d negative tests, want two of each", r.ID, positive, negative)
	}
}

// checkCondition looks at the condition of a rule, or of a step or window of one.
func checkCondition(t *testing.T, r *policy.Rule) {
	t.Helper()
	// A request of a blocked client, or a response, must not count towards a block.
	if slices.Equal(r.On, []signal.Class{signal.ClassHTTPActivity}) && !strings.Contains(r.When, "request()") && !strings.Contains(r.When, "response()") {
		t.Errorf("%s: its condition says neither request() nor response()", r.ID)
	}
	c, err := native.New(native.Actions()...).Condition(r.When)
	if err != nil || c.CELParts() != 0 {
		t.Errorf("%s: some parts of its condition run on CEL's evaluator (%v)", r.ID, err)
		return
	}
	// What the judge itself writes is not there yet when a rule is asked, and is in a replay.
	for _, f := range c.Fields() {
		switch f {
		case signal.FieldIsAlert, signal.FieldVerdictRules, signal.FieldVerdictReason, signal.FieldSeverityID, signal.FieldPolicyUID,
			signal.FieldFirewallRuleUID, signal.FieldFirewallRuleName, signal.FieldDispositionID, signal.FieldActionID, signal.FieldMetadataSequence:
			t.Errorf("%s: its condition reads %s, which is the verdict's", r.ID, f)
		}
	}
}

// TestRuleCatalogue holds docs/rule-catalogue.md to the rules that ship.
func TestRuleCatalogue(t *testing.T) {
	const name = "../../docs/rule-catalogue.md"
	want := catalogue(shippedSet(t))
	if f := flag.Lookup("update"); f.Value.String() == "true" { // the package's own tests define it
		if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Errorf("%s is out of date: run go test ./policy/native -run TestRuleCatalogue -update\n%s", name, d)
	}
}

func catalogue(set *policy.Set) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# The rules that ship

<!-- Made from the rule files by go test ./policy/native -run TestRuleCatalogue -update; do not edit. -->

%d rules judge events from the start, in the [native dialect](rules.md). Each stands in a file of its own with its tests, below the
folder of `+"`rules`"+` that its section is named after; the console's Rules page shows it with its reasons. Most of them alert; the last column
says which refuse a request or block an address. `+"`policy.disable`"+` switches single ones off by their ids.
`, set.Len())
	byFolder := map[string][]*policy.Rule{}
	for _, r := range set.Rules() {
		if r.PartOf != "" {
			continue
		}
		byFolder[folderOf(r)] = append(byFolder[folderOf(r)], r)
	}
	for _, folder := range rules.Folders() {
		fmt.Fprintf(&b, "\n## %s\n\n| rule | what it says | severity | events | ATT&CK | does |\n|---|---|---|---|---|---|\n", folder)
		for _, r := range byFolder[folder] {
			var classes, techniques []string
			for _, c := range r.On {
				classes = append(classes, "`"+c.String()+"`")
			}
			for _, tag := range r.Tags {
				if technique.MatchString(tag) {
					id := strings.ToUpper(strings.TrimPrefix(tag, "attack."))
					techniques = append(techniques, fmt.Sprintf("[%s](https://attack.mitre.org/techniques/%s/)", id, strings.Replace(id, ".", "/", 1)))
				}
			}
			does := r.Then.String()
			if len(r.Actions) > 0 {
				does += ", blocks"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", r.ID, strings.ReplaceAll(r.Title, "|", `\|`), r.Severity,
				strings.Join(classes, " "), strings.Join(techniques, " "), does)
		}
	}
	return b.String()
}
