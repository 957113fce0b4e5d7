package match

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
	"regexp"
)

func on(f signal.Field) Operand { return Operand{Field: f} }

// TestPlan holds which part of a condition the index waits for, and what it says of conditions that it cannot wait for.
func TestPlan(t *testing.T) {
	path, line, product := on(signal.FieldProcessFilePath), on(signal.FieldProcessCmdLine), on(signal.FieldMetadataLogProduct)
	windows := Text(product, OpEqual, false, "windows")
	every := Operand{Any: true}
	for _, tc := range []struct {
		name   string
		x      Expr
		access string // joined by " | "
		gate   string
		why    string
	}{
		{"the rare part of an and", And{windows, Text(path, OpSuffix, true, `\hh.exe`), Text(line, OpContains, true, "http")}, `process.file.path ends with '\hh.exe'`, "", ""},
		{"every part of an or", Or{Text(path, OpSuffix, true, `\a1.exe`), Text(line, OpContains, true, "stdregprov")}, `process.file.path ends with '\a1.exe' | process.cmd_line contains 'stdregprov'`, "", ""},
		{"a field and an attribute", Text(Operand{Field: signal.FieldProcessFilePath, Attr: "Image"}, OpEqual, false, "x1y"), "process.file.path is 'x1y' | Image is 'x1y'", "", ""},
		{"what a regular expression needs", &Atom{On: line, Op: OpRegex, Regex: regexp.MustCompile(`(?i)invoke-\w+mimi\s`)}, "process.cmd_line contains 'invoke-'", "", ""},
		{"a pattern's longest piece", Text(line, OpGlob, false, "a*longpiece?b*"), "process.cmd_line contains 'longpiece'", "", ""},
		{"numbers", Int(on(signal.FieldAPIResponseCode), IntRange{500, 599}), "api.response.code is 500 to 599", "", ""},
		{"every text behind a gate", And{windows, Text(every, OpContains, true, "mimikatz")}, "any text of the event contains 'mimikatz'", "metadata.log_product is 'windows'", ""},
		{"a loop", &Loop{List: on(signal.FieldResourcesName), Body: Text(Operand{Elem: true}, OpPrefix, false, "admin-")}, "resources.name starts with 'admin-'", "", ""},
		{"nots only", And{Not{windows}, Not{Text(line, OpContains, true, "x")}}, "", "", `"not metadata.log_product is 'windows'" also holds where nothing is there, and what stands beside it is no narrower`},
		{"a function", &Func{Text: "size(x) > 1", Call: func(*signal.Event) Answer { return No }}, "", "", `"size(x) > 1" is worked out anew for every event`},
		{"an or with a not", Or{windows, Not{Exists(signal.FieldUserName)}}, "", "", `"not user.name exists" also holds where nothing is there`},
		{"a count", Int(Operand{Field: signal.FieldResourcesName, Measure: MeasureCount}, IntIs(0)), "count(resources.name) is 0", "", ""},
		{"always", Const(true), "", "", "it holds for every event"},
		{"never", And{windows, Const(false)}, "", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := NewIndex([]Rule{{Expr: tc.x}}).Plan(0)
			if got := strings.Join(p.Access, " | "); got != tc.access || p.Gate != tc.gate || p.Why != tc.why || p.Residual != (tc.why != "") {
				t.Errorf("%+v", p)
			}
		})
	}
}

// TestRareIsPreferred gives two hundred rules one common part: each waits for its own.
func TestRareIsPreferred(t *testing.T) {
	var rules []Rule
	for i := range 200 {
		own := Text(on(signal.FieldProcessCmdLine), OpContains, true, "argument-"+string(rune('a'+i%26))+string(rune('a'+i/26)))
		rules = append(rules, Rule{Expr: And{Text(on(signal.FieldProcessFilePath), OpSuffix, true, `\powershell.exe`), own}})
	}
	x := NewIndex(rules)
	for i := range rules {
		if p := x.Plan(i); len(p.Access) != 1 || !strings.Contains(p.Access[0], "argument-") {
			t.Fatalf("rule %d waits for %q", i, p.Access)
		}
	}
	if got := x.Totals(); got.Rules != 200 || got.Residual != 0 || got.Atoms != 201 || got.Shared != 1 || got.Tokens != 200 || got.Columns != 1 || got.Bytes == 0 {
		t.Errorf("%+v", got)
	}
}

// TestMatchAllocatesNothing holds for events that match no rule, whatever their values go through.
func TestMatchAllocatesNothing(t *testing.T) {
	var rules []Rule
	d := dice(func(n int) int { return n / 2 })
	for _, step := range []Step{StepLower, StepURLDecode, StepBasename, StepArgs} {
		rules = append(rules, Rule{Expr: Text(Operand{Field: signal.FieldProcessCmdLine, Steps: []Step{step}}, OpContains, true, "nowhere to be found")})
	}
	rules = append(rules,
		Rule{Expr: Text(Operand{Any: true}, OpContains, true, "nowhere to be found")},
		Rule{Expr: Text(Operand{Attr: "a.items.cidr"}, OpEqual, false, "10.1.2.3")},
		Rule{Expr: And{Exists(signal.FieldProcessCmdLine), &Atom{On: on(signal.FieldProcessCmdLine), Op: OpRegex, Regex: regexp.MustCompile(`[a-z]{3}\d{9}$`)}}},
		Rule{Expr: And{Exists(signal.FieldProcessCmdLine), Text(on(signal.FieldAPIResponseCode), OpPrefix, false, "5")}},
	)
	e := d.event(nil)
	e.SetString(signal.FieldProcessCmdLine, `/usr/bin/Curl --URL "https://Example.com/a%20b" é`)
	e.SetInt(signal.FieldAPIResponseCode, 404)
	e.SetUnmapped("a.items[0].cidr", "10.0.0.0/8")
	x := NewIndex(rules)
	var m Matches
	if x.Match(e, &m); len(m.Fired) > 0 {
		t.Fatalf("%v fired", m.Fired)
	}
	if testing.AllocsPerRun(100, func() { x.Match(e, &m) }) > 0 && !require.Race {
		t.Error("an event that matches nothing was not judged without allocation")
	}
}
