package native_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
)

// TestWindows runs the tests that stand beside rules over several events.
func TestWindows(t *testing.T) {
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	set, err := l.Load(context.Background(), policy.Embedded("windows", os.DirFS("testdata/windows")))
	if err != nil {
		t.Fatal(err)
	}
	report, err := policy.RunTests(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Failures {
		t.Errorf("%+v", f)
	}
	if set.Len() != 9 || report.Rules != 9 || report.Tests != 9 || !slices.Equal(report.Untested, []string{"noisy-rules"}) {
		t.Errorf("%d rules, %d tests, without: %q", report.Rules, report.Tests, report.Untested)
	}
	// What a rule is made of is listed with it.
	infos := policy.NewEngine(set).Infos()
	if len(infos) != 9 || slices.ContainsFunc(infos, func(in policy.Info) bool { return strings.Contains(in.ID, "#") }) {
		t.Errorf("%d rules are listed", len(infos))
	}
	for _, in := range infos {
		switch in.ID {
		case "recon":
			if got := strings.Join(in.On, " ") + ": " + strings.Join(in.Fields, " "); got != "http_activity process_activity: http_request.url.path process.name" {
				t.Errorf("recon reads %s", got)
			}
		case "password-spray":
			if in.Correlation != "value_count of password-spray#when over user.name by src_endpoint.ip, tenant within 1h0m0s: >= 3" {
				t.Errorf("password-spray is %s", in.Correlation)
			}
		}
	}
	// A rule that is switched off takes its pieces with it.
	l.Disable = []string{"recon"}
	off, err := l.Load(context.Background(), policy.Embedded("windows", os.DirFS("testdata/windows")))
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"recon", "recon#step1"} {
		if r := off.Rule(id); r == nil || !r.Disabled {
			t.Errorf("%s is not switched off", id)
		}
	}
	// One that others wait for cannot be.
	l.Disable = []string{"login-brute-force"}
	if _, err := l.Load(context.Background(), policy.Embedded("windows", os.DirFS("testdata/windows"))); err == nil || !strings.Contains(err.Error(), `rule "login-brute-force" is disabled`) {
		t.Errorf("%v", err)
	}
}

// TestWindowUnknownRule: a step that names no rule is told where it stands.
func TestWindowUnknownRule(t *testing.T) {
	text := "id: seq\ntitle: S\nseverity: low\non: authentication\nsequence:\n  within: 1h\n  steps:\n    - rule: sq\n    - when: status_id == 2\nthen: alert\n"
	rules, problems := native.New().Compile([]policy.File{{Name: "a.yaml", Text: []byte(text)}})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	_, err := policy.NewSet(rules)
	if err == nil || !strings.HasPrefix(err.Error(), `a.yaml:8:13: there is no rule "sq"`) {
		t.Errorf("%v", err)
	}
}

// TestDocumentedWindows: the examples of the reference load, and their tests pass.
func TestDocumentedWindows(t *testing.T) {
	page, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "\n## Windows\n")
	text, _, ok := strings.Cut(text, "\n## Tests\n")
	if !ok {
		t.Fatal("the reference has no section about windows before the one about tests")
	}
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	tests := 0
	for i, block := range strings.Split(text, "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		set, err := l.Load(context.Background(), policy.Embedded("docs", fstest.MapFS{"a.yaml": {Data: []byte(block)}}))
		if err != nil {
			t.Errorf("example %d: %v", i, err)
			continue
		}
		report, err := policy.RunTests(context.Background(), set)
		if err != nil {
			t.Fatal(err)
		}
		tests += report.Tests
		for _, f := range report.Failures {
			t.Errorf("example %d: %+v", i, f)
		}
	}
	if tests < 6 {
		t.Errorf("the examples have %d tests", tests)
	}
}
