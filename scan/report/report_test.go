package report_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/signal"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// result has findings of every severity, hostile names, and something in every counter.
func result() report.Result {
	finding := func(rule string, sev signal.Severity, path string, line int) signal.Finding {
		return signal.Finding{
			ID: signal.Fingerprint(rule, path), Kind: signal.FindingPosture, Rule: rule, Title: "Title of " + rule, Desc: "What it opens.", Severity: sev,
			State: signal.FindingOpen, Plane: signal.PlaneScan, Count: 2,
			Location:   signal.Location{Path: path, Line: line, EndLine: line, Column: 5, Snippet: "key = abc_…"},
			Evidence:   []signal.Evidence{{Name: "secret", Value: "abc_… (40 characters)"}, {Name: "proof", Value: "checksum"}, {Name: "confidence", Value: "high"}},
			Fix:        "Revoke it in the settings, look there for use that is not yours, then keep the new one in a secret manager or in the environment, not in a file under version control.",
			References: []string{"https://docs.example.com/tokens", "https://docs.example.com/more"}, Tags: []string{"secret", "cloud"},
			First: time.Unix(0, 0).UTC(), Last: time.Unix(0, 0).UTC(),
		}
	}
	r := report.Result{Root: "/src/shop", Version: "1.0"}
	r.Findings = []signal.Finding{
		finding("low-rule", signal.SeverityLow, "z.txt", 1),
		finding("info-rule", signal.SeverityInfo, "z.txt", 3),
		finding("critical-rule", signal.SeverityCritical, "b/config/very/deep/folder/that/does/not/fit/into/the/line/of/a/terminal/config.yaml", 1234),
		finding("critical-rule", signal.SeverityCritical, "a.go", 7),
		finding("medium-rule", signal.SeverityMedium, `evil\x1b[2J: %20 <b>.txt`, 2),
		finding("high-rule", signal.SeverityHigh, "c:drive/ü x#?.go", 9),
		finding("whole-file", signal.SeverityHigh, "d", 0),
	}
	r.Findings[4].Location.Snippet = "raw \x1b[31m escape\u202e"
	r.Findings[6].Location.Column, r.Findings[6].Location.Snippet = 0, ""
	r.Stats = scan.Stats{Files: 1234, Bytes: 56_100_000, Elapsed: 820 * time.Millisecond, Findings: 7, Quiet: 5, Known: 2, Allowed: 1, TooLarge: 1, Unreadable: 1,
		Skipped: []scan.Skip{{Path: "big\x1b.bin", Reason: "larger than the limit"}, {Path: "shut", Reason: "permission denied"}}}
	return r
}

func write(t *testing.T, format string, r report.Result, o report.Options) string {
	t.Helper()
	var out bytes.Buffer
	if err := report.Write(&out, format, r, o); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestTable(t *testing.T) {
	var all strings.Builder
	for _, o := range []report.Options{{Width: 100}, {Width: 60}, {Width: 90, Color: true}} {
		text := write(t, "table", result(), o)
		plain := text
		for _, code := range []string{"1;37;41", "1;31", "1;33", "1;36", "1", "2", "32", "0"} {
			plain = strings.ReplaceAll(plain, "\x1b["+code+"m", "")
		}
		for l := range strings.Lines(plain) {
			if n := utf8.RuneCountInString(l) - 1; n > o.Width && strings.HasPrefix(l, "    ") {
				t.Errorf("a line has %d columns of %d: %q", n, o.Width, l)
			}
		}
		if strings.ContainsRune(plain, '\x1b') || strings.ContainsRune(plain, '\u202e') {
			t.Errorf("a control character came through: %q", plain)
		}
		all.WriteString(text + "=====\n")
	}
	golden := filepath.Join("testdata", "table.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(all.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), all.String()); d != "" {
		t.Error(d)
	}
}

func TestTableClean(t *testing.T) {
	got := write(t, "table", report.Result{Root: ".", Stats: scan.Stats{Files: 1, Bytes: 10, Elapsed: time.Millisecond}}, report.Options{})
	if got != "Nothing found. Read 1 file in . (10 bytes, 1 ms).\n" {
		t.Error(got)
	}
}

// TestVerdict: a verdict is wrapped where people read it, and one line where a log is searched; nothing new is not nothing.
func TestVerdict(t *testing.T) {
	r := report.Result{Root: ".", Verdict: &report.Verdict{Stopped: true, Reasons: []string{"what the change brings could not be scanned: a/long/path/package-lock.json (unexpected EOF)"}}}
	const line = "Stopped: what the change brings could not be scanned: a/long/path/package-lock.json (unexpected EOF)."
	if got := write(t, "table", r, report.Options{}); !strings.Contains(got, "\n"+line+"\n") || !strings.HasPrefix(got, "Nothing found.") {
		t.Error(got)
	}
	got := write(t, "table", r, report.Options{Width: 60, Color: true})
	if want := "\n\x1b[1;31mStopped:\x1b[0m what the change brings could not be scanned:\n  a/long/path/package-lock.json (unexpected EOF).\n"; !strings.Contains(got, want) {
		t.Errorf("%q", got)
	}
	r.Verdict = &report.Verdict{New: map[string]bool{}}
	for _, format := range []string{"table", "markdown"} {
		if got := write(t, format, r, report.Options{Width: 60}); !strings.Contains(strings.ToLower(got), "nothing new found") {
			t.Errorf("%s: %s", format, got)
		}
	}
}

func TestTableManyPlaces(t *testing.T) {
	r := result()
	one := r.Findings[0]
	r.Findings = nil
	for i := range 30 {
		one.Location.Line = i + 1
		r.Findings = append(r.Findings, one)
	}
	got := write(t, "table", r, report.Options{Width: 100})
	if !strings.Contains(got, "and 10 more") || strings.Count(got, "z.txt") != 20 {
		t.Error(got)
	}
}

func TestJSON(t *testing.T) {
	var got struct {
		Version  int
		Root     string
		Findings []signal.Finding
		Stats    scan.Stats
	}
	text := write(t, "json", result(), report.Options{})
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != 1 || got.Root != "/src/shop" || len(got.Findings) != 7 || got.Findings[0].Location.Path != "a.go" || got.Stats.Quiet != 5 {
		t.Errorf("%+v", got)
	}
	if f := got.Findings[4]; f.Location.Snippet != `raw \x1b[31m escape\u202e` {
		t.Errorf("snippet %q", f.Location.Snippet)
	}
	if empty := write(t, "json", report.Result{}, report.Options{}); !strings.Contains(empty, `"findings": []`) {
		t.Error(empty)
	}
}

type lister struct{ scan.Scanner }

func (lister) Rules() []scan.Rule {
	return []scan.Rule{{ID: "high-rule", Title: "Listed", Why: "Why.", Fix: "Fix.", Severity: signal.SeverityHigh}, {ID: "unused", Title: "Unused", Severity: signal.SeverityLow}}
}

// TestSARIF validates against the OASIS schema.
func TestSARIF(t *testing.T) {
	c := jsonschema.NewCompiler()
	schema, err := c.Compile(filepath.Join("testdata", "sarif-schema-2.1.0.json"))
	if err != nil {
		t.Fatal(err)
	}
	r := result()
	r.Scanners = []scan.Scanner{lister{}}
	for name, r := range map[string]report.Result{"full": r, "empty": {}} {
		text := write(t, "sarif", r, report.Options{})
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	v, _ := jsonschema.UnmarshalJSON(strings.NewReader(`{"version": "2.1.0", "runs": [{}]}`))
	if schema.Validate(v) == nil {
		t.Error("the schema takes anything")
	}
	var log struct {
		Runs []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID, Name string } }
			}
			Results []struct {
				RuleID    string
				RuleIndex int
				Level     string
				Locations []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           *struct{ StartLine, StartColumn int }
					}
				}
				PartialFingerprints map[string]string
			}
		}
	}
	if err := json.Unmarshal([]byte(write(t, "sarif", r, report.Options{})), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	var uris, levels []string
	for _, res := range run.Results {
		if run.Tool.Driver.Rules[res.RuleIndex].ID != res.RuleID || len(res.PartialFingerprints["testudo/v1"]) != 26 {
			t.Errorf("%+v", res)
		}
		uris = append(uris, res.Locations[0].PhysicalLocation.ArtifactLocation.URI)
		levels = append(levels, res.Level)
	}
	if len(run.Tool.Driver.Rules) != 6 || run.Tool.Driver.Rules[0].Name != "Listed" {
		t.Errorf("rules %+v", run.Tool.Driver.Rules)
	}
	if d := cmp.Diff([]string{"a.go", "b/config/very/deep/folder/that/does/not/fit/into/the/line/of/a/terminal/config.yaml", "./c:drive/%C3%BC%20x%23%3F.go", "d",
		"./evil%5Cx1b%5B2J:%20%2520%20%3Cb%3E.txt", "z.txt", "z.txt"}, uris); d != "" {
		t.Error(d)
	}
	if got := strings.Join(levels, " "); got != "error error error error warning note note" {
		t.Error(got)
	}
	if r := run.Results[3].Locations[0].PhysicalLocation.Region; r != nil {
		t.Errorf("a finding without a line has the region %+v", r)
	}
}

func TestUnknownFormat(t *testing.T) {
	if err := report.Write(&bytes.Buffer{}, "xml", report.Result{}, report.Options{}); err == nil || err.Error() != `unknown format "xml": want table, json, sarif, junit, codequality, markdown, html` {
		t.Error(err)
	}
}

func TestBar(t *testing.T) {
	var out bytes.Buffer
	b := report.NewBar(&out, 80)
	b.Update(scan.Progress{Files: 1, Elapsed: 10 * time.Millisecond})
	b.Clear()
	if out.Len() != 0 {
		t.Errorf("a short scan draws %q", out.String())
	}
	b.Update(scan.Progress{Files: 100, Bytes: 1e6, Total: 150, Elapsed: time.Second})
	b.Update(scan.Progress{Files: 500, Bytes: 5e6, Total: 1000, Complete: true, Elapsed: 2 * time.Second, Findings: 3})
	b.Clear()
	parts := strings.Split(out.String(), "\r")
	for _, p := range parts {
		if utf8.RuneCountInString(p) > 79 {
			t.Errorf("%d columns: %q", utf8.RuneCountInString(p), p)
		}
	}
	if got := strings.TrimSpace(parts[1]); got != "scanning 100 files, 1.0 MB/s" {
		t.Error(got)
	}
	if got := strings.TrimSpace(parts[2]); !strings.HasPrefix(got, "[===") || !strings.HasSuffix(got, "]  50% 500 files, 2.5 MB/s, 3 findings, 2.0 s left") {
		t.Error(got)
	}
	narrow := report.NewBar(&out, 1)
	narrow.Update(scan.Progress{Files: 500, Bytes: 5e6, Total: 1000, Complete: true, Elapsed: 2 * time.Second})
}
