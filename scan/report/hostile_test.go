package report_test

import (
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/signal"
)

// hostileNames are what a target would like to have obeyed by whoever shows the report.
var hostileNames = []string{
	"\x1b]0;owned\x07\x1b[2J", "::set-output name=sarif::/etc/passwd", "a##[add-path]/tmp/evil", "##vso[task.setvariable variable=x]y", "##teamcity[buildStatus]",
	"\n::error file=a::b", "x\r\n::stop-commands::t", "[click](https://evil.example)", "![x](https://evil.example/x.png)", "[1](2)", `\[a](b)`,
	"<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a | b | c", "`code` ```", "@everyone #1", "https://evil.example/path", "]]>", "<!--", `"><x y="`,
	"&amp;lt;", "\u202egnp.exe", "javascript:alert(1)", "c:\\x", "//host/share", "%0a::error::x", "?query#fragment", "-o", "\xff\xfe", "", " ", strings.Repeat("long", 100),
}

// hostile has each of the names wherever a target can put one.
func hostile() report.Result {
	r := report.Result{Root: hostileNames[0], Version: "1.0", Stats: scan.Stats{Files: 1, TooLarge: 1}}
	v := &report.Verdict{Stopped: true, Stops: map[string]bool{}, New: map[string]bool{}}
	for _, name := range hostileNames {
		f := signal.Finding{ID: signal.Fingerprint(name), Kind: signal.FindingPosture, Rule: "rule-" + name, Title: name, Desc: name, Severity: signal.SeverityHigh, Count: 1,
			Location: signal.Location{Path: name, Line: 1, Column: 1, Snippet: name, Commit: "0123456789abcdef0123456789abcdef01234567"}, Fix: name, References: []string{name, "https://example.com/"}, Tags: []string{"secret"},
			Evidence: []signal.Evidence{{Name: "proof", Value: name}, {Name: "comment", Value: name}, {Name: "author", Value: name}, {Name: "in HEAD", Value: "no"}, {Name: "deleted", Value: name},
				{Name: "layer", Value: name}, {Name: "instruction", Value: name}, {Name: "base image", Value: name}}}
		r.Findings = append(r.Findings, f)
		f.ID, f.Kind, f.Rule = signal.Fingerprint(name, "flaw"), signal.FindingVulnerability, "CVE-2024-"+name
		f.Evidence = append(slices.Clone(f.Evidence), signal.Evidence{Name: "package", Value: "pkg:npm/" + name + "@1"}, signal.Evidence{Name: "installed", Value: name},
			signal.Evidence{Name: "fixed in", Value: name}, signal.Evidence{Name: "brought by", Value: name}, signal.Evidence{Name: "priority", Value: "9: " + name + "; " + name})
		r.Findings = append(r.Findings, f)
		v.Stops[f.ID], v.New[f.ID] = true, true
		r.Notes = append(r.Notes, name)
		r.Stats.Skipped = append(r.Stats.Skipped, scan.Skip{Path: name, Reason: name})
	}
	v.Reasons = []string{"1 finding of severity high"}
	r.Verdict = v
	return r
}

// TestHostileAnywhere holds what no report may have in it: terminals and build servers obey it wherever it stands.
func TestHostileAnywhere(t *testing.T) {
	control := regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f\u0080-\u009f\u202a-\u202e\u2066-\u2069]")
	mark := regexp.MustCompile(`##\w*\[`)
	for _, format := range report.Formats() {
		for _, o := range []report.Options{{Width: 100}, {Width: 40}, {Width: 100, Color: true}} {
			text := write(t, format, hostile(), o)
			if o.Color {
				text = regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(text, "")
			}
			if m := control.FindString(text); m != "" {
				t.Errorf("%s: holds %q", format, m)
			}
			if format == "html" {
				continue // a page is not printed by a build server
			}
			if m := mark.FindString(text); m != "" {
				t.Errorf("%s: a build server would obey %q", format, m)
			}
			for l := range strings.Lines(text) {
				if strings.HasPrefix(strings.TrimSpace(l), "::") {
					t.Errorf("%s: a build server would obey %q", format, l)
				}
			}
		}
	}
}

// TestHostileMarkdown: no link, no picture, no tag, no mention, and as many cells as the table has columns.
func TestHostileMarkdown(t *testing.T) {
	text := write(t, "markdown", hostile(), report.Options{})
	spans := regexp.MustCompile("`[^`]*`")
	columns := 0
	for l := range strings.Lines(text) {
		l = strings.ReplaceAll(l, "\\`", "")
		if strings.Count(l, "`")%2 != 0 {
			t.Errorf("code that does not end: %s", l)
		}
		outside := spans.ReplaceAllString(l, "code") // in code nothing has a meaning but the bar
		for _, forbidden := range []string{"](http", "![", "<img", "<script", "<!--", "@everyone", "https://", "javascript:"} {
			if strings.Contains(outside, forbidden) {
				t.Errorf("holds %q: %s", forbidden, l)
			}
		}
		bars := strings.Count(strings.ReplaceAll(l, `\|`, ""), "|")
		switch {
		case strings.HasPrefix(l, "|---"):
			columns = bars
		case strings.HasPrefix(l, "| |"): // a head
		case strings.HasPrefix(l, "|") && bars != columns:
			t.Errorf("%d bars, want %d: %s", bars, columns, l)
		}
	}
}

// TestHostileSARIF: places are relative references below the source root, and messages hold no link.
func TestHostileSARIF(t *testing.T) {
	var log struct {
		Runs []struct {
			Tool struct {
				Driver struct {
					Rules []struct {
						HelpURI string `json:"helpUri"`
						Help    struct{ Text, Markdown string }
					}
				}
			}
			Results []struct {
				Message   struct{ Text string }
				Locations []struct {
					PhysicalLocation struct{ ArtifactLocation struct{ URI string } }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(write(t, "sarif", hostile(), report.Options{})), &log); err != nil {
		t.Fatal(err)
	}
	link := regexp.MustCompile(`(^|[^\\])(\\\\)*\[[^\]]*\]\(`)
	if !link.MatchString("see [a](b)") || link.MatchString(`see \[a\](b)`) || !link.MatchString(`see \\[a](b)`) {
		t.Fatal("the test does not know a link")
	}
	if len(log.Runs[0].Results) != 2*len(hostileNames) {
		t.Errorf("%d results", len(log.Runs[0].Results))
	}
	for _, res := range log.Runs[0].Results {
		uri := res.Locations[0].PhysicalLocation.ArtifactLocation.URI
		u, err := url.Parse(uri)
		if err != nil || u.IsAbs() || u.Host != "" || strings.HasPrefix(uri, "/") || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("%q is no relative path: %v", uri, err)
		}
		if link.MatchString(res.Message.Text) {
			t.Errorf("a link: %q", res.Message.Text)
		}
	}
	for _, rule := range log.Runs[0].Tool.Driver.Rules {
		if rule.HelpURI != "https://example.com/" && rule.HelpURI != "https://evil.example/path" { // a reference of the advisory, as it is
			t.Errorf("help at %q", rule.HelpURI)
		}
		if link.MatchString(rule.Help.Text) || strings.Contains(rule.Help.Markdown, "<img") || strings.Contains(rule.Help.Markdown, "<script") || strings.Contains(rule.Help.Markdown, "@everyone") {
			t.Errorf("help %q, %q", rule.Help.Text, rule.Help.Markdown)
		}
	}
}

// TestHostileJUnit: what stands in the names is text, in a document that has the elements of a report and no others.
func TestHostileJUnit(t *testing.T) {
	text := write(t, "junit", hostile(), report.Options{})
	known := []string{"testsuites", "testsuite", "testcase", "failure", "skipped"}
	d := xml.NewDecoder(strings.NewReader(text))
	cases := 0
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			if !slices.Contains(known, e.Name.Local) {
				t.Errorf("an element %s", e.Name.Local)
			}
			if e.Name.Local == "testcase" {
				cases++
			}
		case xml.Comment, xml.Directive:
			t.Errorf("%v", e)
		}
	}
	if cases != 2*len(hostileNames) {
		t.Errorf("%d cases", cases)
	}
}

// TestHostilePage: text only, and addresses that a browser follows are the web's.
func TestHostilePage(t *testing.T) {
	text := write(t, "html", hostile(), report.Options{})
	for _, forbidden := range []string{"<img", "</script><script>", "<x y", `href="javascript`, `href="//`, "<!--"} {
		if strings.Contains(text, forbidden) {
			t.Errorf("the page holds %q", forbidden)
		}
	}
	if n := strings.Count(text, "<script>"); n != 1 {
		t.Errorf("%d scripts", n)
	}
}

// TestHostileJSON: the names come back as they are shown, whatever was escaped on the way.
func TestHostileJSON(t *testing.T) {
	var got struct{ Findings []signal.Finding }
	if err := json.Unmarshal([]byte(write(t, "json", hostile(), report.Options{})), &got); err != nil {
		t.Fatal(err)
	}
	paths := map[string]bool{}
	for _, f := range got.Findings {
		paths[f.Location.Path] = true
	}
	for _, name := range hostileNames {
		if !paths[scan.Printable(name)] {
			t.Errorf("%q is not there", scan.Printable(name))
		}
	}
}

func TestCodeQuality(t *testing.T) {
	type issue struct {
		Description, Fingerprint, Severity string
		CheckName                          string `json:"check_name"`
		Location                           struct {
			Path  string
			Lines struct{ Begin int }
		}
	}
	for name, r := range map[string]report.Result{"hostile": hostile(), "usual": result(), "empty": {}} {
		var got []issue
		text := write(t, "codequality", r, report.Options{})
		if err := json.Unmarshal([]byte(text), &got); err != nil || len(got) != len(r.Findings) || got == nil {
			t.Fatalf("%s: %d of %d: %v", name, len(got), len(r.Findings), err)
		}
		seen := map[string]bool{}
		for _, i := range got {
			if seen[i.Fingerprint] || i.Location.Lines.Begin < 1 || i.CheckName == "" || !slices.Contains([]string{"info", "minor", "major", "critical", "blocker"}, i.Severity) {
				t.Errorf("%s: %+v", name, i)
			}
			seen[i.Fingerprint] = true
		}
		if name == "usual" {
			golden(t, "codequality.json", text)
		}
	}
}

// TestOrigin: findings in a history and in an image say who brought them, and whether they are still there.
func TestOrigin(t *testing.T) {
	at := func(rule, path string, evidence ...signal.Evidence) signal.Finding {
		f := result().Findings[3]
		f.ID, f.Rule, f.Title, f.Location.Path = signal.Fingerprint(rule, path), rule, "Title of "+rule, path
		f.Evidence = append(slices.Clone(f.Evidence), evidence...)
		return f
	}
	commit := func(f signal.Finding) signal.Finding {
		f.Location.Commit = "4f1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f708192"
		return f
	}
	layer := []signal.Evidence{{Name: "layer", Value: "3 of 7, sha256:" + strings.Repeat("ab", 32)}, {Name: "instruction", Value: "COPY id_rsa /root/.ssh/id_rsa # buildkit"}}
	flaw := withFlaws().Findings[7]
	flaw.Evidence = append(slices.Clone(flaw.Evidence), layer[0], signal.Evidence{Name: "instruction", Value: "RUN apt-get install -y openssl " + strings.Repeat("and-more ", 40)}, signal.Evidence{Name: "base image", Value: "debian:12"})
	r := report.Result{Root: "shop", Version: "1.0", Findings: []signal.Finding{
		commit(at("token", "a.env", signal.Evidence{Name: "author", Value: "Ada Lovelace, 2020-09-13"}, signal.Evidence{Name: "in HEAD", Value: "yes"})),
		commit(at("token", "b.env", signal.Evidence{Name: "author", Value: "Bo, 2021-01-01"}, signal.Evidence{Name: "in HEAD", Value: "no"})),
		at("key", "root/.ssh/id_rsa", append(slices.Clone(layer), signal.Evidence{Name: "deleted", Value: "in layer 5 of 7 by RUN rm /root/.ssh/id_rsa; still in the image"})...),
		at("key", "root/.ssh/id_ed25519", layer...),
		flaw,
	}}
	golden(t, "origin.golden", write(t, "table", r, report.Options{Width: 100})+"=====\n"+write(t, "table", r, report.Options{Width: 60})+"=====\n"+write(t, "markdown", r, report.Options{}))
	page := write(t, "html", r, report.Options{})
	for _, want := range []string{"commit 4f1c2d3e4f5a by Ada Lovelace, 2020-09-13; still in HEAD", "not in HEAD any more", "deleted in layer 5 of 7 by RUN rm"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not hold %q", want)
		}
	}
}
