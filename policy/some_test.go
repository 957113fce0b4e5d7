package policy_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/native"
)

// TestLoadSome leaves out what does not load, and nothing else.
func TestLoadSome(t *testing.T) {
	rule := func(id string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("id: " + id + "\ntitle: T\nseverity: high\non: http_activity\nwhen: http_response.code == 200\nthen: alert\nwhy: W.\nfix: F.\n")}
	}
	l := &policy.Loader{Dialects: []policy.Dialect{native.New(native.Actions()...)}}
	tree := fstest.MapFS{"a.yaml": rule("one"), "b.yaml": {Data: []byte("id: two\nwhen: http_response.code ==\n")}, "c.yaml": rule("three"), "d.yaml": rule("one")}
	set, report, err := l.LoadSome(t.Context(), policy.Embedded("x", tree))
	if err != nil {
		t.Fatal(err)
	}
	if set.Len() != 2 || set.Rule("one") == nil || set.Rule("three") == nil {
		t.Errorf("%d rules are loaded", set.Len())
	}
	if report.Files != 4 || report.Loaded != 2 || report.Rules != 2 || report.OK() || report.Set != nil {
		t.Errorf("report is %+v", report)
	}
	all := report.Problems.Error()
	if !strings.Contains(all, "x/b.yaml:") || !strings.Contains(all, "x/d.yaml:") || strings.Contains(all, "x/a.yaml:1:1") {
		t.Errorf("problems are %s", all)
	}
	// Everything loads: as Load says.
	delete(tree, "b.yaml")
	delete(tree, "d.yaml")
	set, report, err = l.LoadSome(t.Context(), policy.Embedded("x", tree))
	if err != nil || !report.OK() || report.Set != set {
		t.Fatalf("report is %+v, %v", report, err)
	}
	whole, err := l.Load(t.Context(), policy.Embedded("x", tree))
	if err != nil || whole.Digest() != set.Digest() {
		t.Errorf("another set than Load's: %v", err)
	}
}
