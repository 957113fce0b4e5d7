package report_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/signal"
)

// withFlaws is a result with packages, as a matcher reports them, and a policy's verdict.
func withFlaws() report.Result {
	r := result()
	flaw := func(id, purl, installed, fixed, upgrade string, s signal.Severity, line int) signal.Finding {
		f := signal.Finding{ID: signal.Fingerprint(id, purl), Kind: signal.FindingVulnerability, Rule: id, Severity: s,
			Title: id + " in x " + installed + ": what an attacker can do | with `it` @everyone", Desc: "Details.", Fix: "Upgrade x to " + fixed + " or later.",
			Location: signal.Location{Path: "web/package-lock.json", Line: line}, Count: 1, Tags: []string{"vulnerability"},
			References: []string{"https://example.com/" + id}}
		add := func(name, value string) {
			if value != "" {
				f.Evidence = append(f.Evidence, signal.Evidence{Name: name, Value: value})
			}
		}
		add("package", purl)
		add("installed", installed)
		add("fixed in", fixed)
		add("upgrade to", upgrade)
		add("priority", "88 of 100: CVSS 9.8 (CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H) (+88); it serves development only (-20)")
		if line == 12 {
			add("brought by", "express 4.17.1 → qs 6.7.0 → side-channel 1.0.0")
		}
		return f
	}
	r.Findings = append(r.Findings,
		flaw("CVE-2021-23337", "pkg:npm/lodash@4.17.15", "4.17.15", "4.17.21", "", signal.SeverityHigh, 3),
		flaw("CVE-2019-10744", "pkg:npm/lodash@4.17.15", "4.17.15", "4.17.12", "4.17.21", signal.SeverityCritical, 3),
		flaw("CVE-2024-0001", "pkg:npm/%40acme/left@1.0.0", "1.0.0", "", "", signal.SeverityMedium, 12))
	for i := range 8 {
		r.Findings = append(r.Findings, flaw(fmt.Sprintf("CVE-2020-%04d", i), "pkg:pypi/django@2.0", "2.0", "2.0.13", "", signal.SeverityLow, 40))
	}
	r.Stats.Packages, r.Stats.NoRoom = 1234, 2
	r.Verdict = &report.Verdict{Stopped: true, Reasons: []string{"1 new finding of severity critical"}, New: map[string]bool{}, Stops: map[string]bool{}}
	for _, f := range r.Findings {
		if f.Rule == "CVE-2019-10744" {
			r.Verdict.Stops[f.ID], r.Verdict.New[f.ID] = true, true
		}
		if f.Rule == "CVE-2024-0001" {
			r.Verdict.New[f.ID] = true
		}
	}
	r.Time = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)
	return r
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (go test -update rewrites it): %s", name, d)
	}
}

func TestFlaws(t *testing.T) {
	var all strings.Builder
	for _, o := range []report.Options{{Width: 100}, {Width: 60}} {
		text := write(t, "table", withFlaws(), o)
		for l := range strings.Lines(text) {
			if n := len([]rune(l)) - 1; n > o.Width && strings.HasPrefix(l, "    ") {
				t.Errorf("a line has %d columns of %d: %q", n, o.Width, l)
			}
		}
		all.WriteString(text + "=====\n")
	}
	golden(t, "flaws.golden", all.String())
}

// TestTogether: what one source package of a distribution was built into is one entry; what differs in anything is not.
func TestTogether(t *testing.T) {
	r := report.Result{Root: "image.tar", Verdict: &report.Verdict{Stops: map[string]bool{}, New: map[string]bool{}}}
	add := func(purl, installed, fixed string, line int) *signal.Finding {
		r.Findings = append(r.Findings, signal.Finding{ID: signal.Fingerprint(purl, fmt.Sprint(line)), Kind: signal.FindingVulnerability, Rule: "CVE-2024-2961", Severity: signal.SeverityMedium,
			Title: "CVE-2024-2961 in x: iconv", Fix: "Upgrade.", Location: signal.Location{Path: "var/lib/dpkg/status", Line: line}, Count: 1,
			Evidence: []signal.Evidence{{Name: "package", Value: purl}, {Name: "installed", Value: installed}, {Name: "fixed in", Value: fixed}}})
		return &r.Findings[len(r.Findings)-1]
	}
	for i, name := range []string{"libc6", "libc6-dev", "locales"} {
		add("pkg:deb/debian/"+name+"@2.36-9", "2.36-9", "2.36-10", i+1)
	}
	text := write(t, "table", r, report.Options{Width: 100})
	if !strings.Contains(text, "debian/libc6, libc6-dev, locales (deb) 2.36-9 → 2.36-10\n    var/lib/dpkg/status:1  1 medium\n") || strings.Count(text, "→") != 1 || !strings.HasPrefix(text[strings.Index(text, "3 findings"):], "3 findings: 3 medium") {
		t.Error(text)
	}
	add("pkg:deb/debian/nscd@2.36-9", "2.36-9", "2.36-11", 9)                                     // another fix
	r.Verdict.Stops[add("pkg:deb/debian/glibc-source@2.36-9", "2.36-9", "2.36-10", 10).ID] = true // decided otherwise
	add("pkg:npm/libc6@2.36-9", "2.36-9", "2.36-10", 11)                                          // npm's are not built of one source
	add("pkg:npm/locales@2.36-9", "2.36-9", "2.36-10", 12)
	if text := write(t, "markdown", r, report.Options{}); strings.Count(text, "CVE-2024-2961") != 5 {
		t.Error(text)
	}
	for i := range 20 {
		add(fmt.Sprintf("pkg:deb/debian/libc-%02d@2.36-9", i), "2.36-9", "2.36-10", 20+i)
	}
	if text := write(t, "html", r, report.Options{}); !strings.Contains(text, "debian/libc6, libc6-dev, locales, libc-00 and 19 more (deb)") {
		t.Error(text)
	}
}

func TestMarkdown(t *testing.T) {
	text := write(t, "markdown", withFlaws(), report.Options{})
	golden(t, "summary.md", text)
	for _, forbidden := range []string{"\x1b", "@everyone", "\u202e"} {
		if strings.Contains(text, forbidden) {
			t.Errorf("the summary holds %q", forbidden)
		}
	}
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, "|") && strings.Count(strings.ReplaceAll(l, `\|`, ""), "|") != 7 && strings.Count(strings.ReplaceAll(l, `\|`, ""), "|") != 6 {
			t.Errorf("a row has other columns: %s", l)
		}
	}
	many := withFlaws()
	for i := range 500 {
		f := many.Findings[0]
		f.ID, f.Location.Line = fmt.Sprint(i), i
		many.Findings = append(many.Findings, f)
	}
	if n := len(write(t, "markdown", many, report.Options{})); n > 65536 {
		t.Errorf("%d characters: a code host takes 65,536", n)
	}
	if text := write(t, "markdown", report.Result{Root: "x"}, report.Options{}); !strings.Contains(text, "nothing found") {
		t.Error(text)
	}
}

func TestJUnit(t *testing.T) {
	text := write(t, "junit", withFlaws(), report.Options{})
	golden(t, "junit.xml", text)
	var doc struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Suites   []struct {
			Cases []struct {
				Failure *struct{} `xml:"failure"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Tests != len(withFlaws().Findings) || doc.Failures != 1 || len(doc.Suites[0].Cases) != doc.Tests {
		t.Errorf("%d tests, %d failures", doc.Tests, doc.Failures)
	}
	undecided := withFlaws()
	undecided.Verdict = nil
	if text := write(t, "junit", undecided, report.Options{}); strings.Count(text, "<failure") != doc.Tests {
		t.Error("without a policy each finding is a failure")
	}
	if text := write(t, "junit", report.Result{}, report.Options{}); !strings.Contains(text, `tests="1" failures="0"`) {
		t.Error(text)
	}
}

// TestPage: one file, whose policy names its only script, with every hostile string as text.
func TestPage(t *testing.T) {
	r := withFlaws()
	r.Root = `/src/<script>alert(1)</script>`
	r.Findings[0].References = append(r.Findings[0].References, "javascript:alert(1)")
	r.Findings[0].Title = `"><img src=x onerror=alert(1)>`
	text := write(t, "html", r, report.Options{})
	scripts := regexp.MustCompile(`(?s)<script>(.*?)</script>`).FindAllStringSubmatch(text, -1)
	if len(scripts) != 1 {
		t.Fatalf("%d scripts", len(scripts))
	}
	sum := sha256.Sum256([]byte(scripts[0][1]))
	if want := "script-src &#39;sha256-" + strings.ReplaceAll(base64.StdEncoding.EncodeToString(sum[:]), "+", "&#43;"); !strings.Contains(text, want) {
		t.Errorf("the policy does not name the script: want %s", want)
	}
	for _, forbidden := range []string{"<img", "href=\"javascript", "\x1b", "src=\"", "url("} {
		if strings.Contains(text, forbidden) {
			t.Errorf("the page holds %q", forbidden)
		}
	}
	for _, wanted := range []string{"lodash (npm)", "4.17.21", "@acme/left", "Stopped: 1 new finding", "CVE-2020-0007", "default-src &#39;none&#39;"} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page does not hold %q", wanted)
		}
	}
	for len(r.Findings) < 6000 {
		r.Findings = append(r.Findings, r.Findings[1])
	}
	if text := write(t, "html", r, report.Options{}); !strings.Contains(text, "1000 more findings are not on this page") {
		t.Error("the page is not bounded")
	}
	if text := write(t, "html", report.Result{Stats: scan.Stats{Files: 1}}, report.Options{}); !strings.Contains(text, "Nothing was found") {
		t.Error("an empty page")
	}
	if path := os.Getenv("TESTUDO_REPORT"); path != "" { // to look at it
		if err := os.WriteFile(path, []byte(write(t, "html", withFlaws(), report.Options{})), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
