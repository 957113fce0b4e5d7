package report

import (
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// The types below are the part of SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange
// Format") that a scan fills.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool        sarifTool         `json:"tool"`
		Results     []sarifResult     `json:"results"`
		Invocations []sarifInvocation `json:"invocations"`
		ColumnKind  string            `json:"columnKind"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version,omitempty"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID      string          `json:"id"`
		Name    string          `json:"name"`
		Short   sarifText       `json:"shortDescription"`
		Full    sarifText       `json:"fullDescription"`
		Help    sarifHelp       `json:"help"`
		HelpURI string          `json:"helpUri,omitempty"`
		Default sarifLevel      `json:"defaultConfiguration"`
		Props   sarifProperties `json:"properties"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifHelp struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown"`
	}
	sarifProperties struct {
		Tags             []string `json:"tags,omitempty"`
		SecuritySeverity string   `json:"security-severity,omitempty"`
		Precision        string   `json:"precision,omitempty"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
		Count        uint64            `json:"occurrenceCount,omitempty"`
		Props        map[string]string `json:"properties,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI  string `json:"uri"`
		Base string `json:"uriBaseId"`
	}
	sarifRegion struct {
		StartLine   int        `json:"startLine"`
		EndLine     int        `json:"endLine,omitempty"`
		StartColumn int        `json:"startColumn,omitempty"`
		Snippet     *sarifText `json:"snippet,omitempty"`
	}
	sarifInvocation struct {
		Successful    bool                `json:"executionSuccessful"`
		Notifications []sarifNotification `json:"toolExecutionNotifications,omitempty"`
	}
	sarifNotification struct {
		Level   string    `json:"level"`
		Message sarifText `json:"message"`
	}
)

func writeSARIF(w io.Writer, r Result) error {
	run := sarifRun{ColumnKind: "utf16CodeUnits", Results: []sarifResult{}}
	run.Tool.Driver = sarifDriver{Name: "testudo", Version: r.Version, Rules: []sarifRule{}}
	index := map[string]int{}
	add := func(rule scan.Rule) {
		if _, ok := index[rule.ID]; !ok {
			index[rule.ID] = len(run.Tool.Driver.Rules)
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(rule))
		}
	}
	used := map[string]bool{}
	for i := range r.Findings {
		used[r.Findings[i].Rule] = true
	}
	for _, s := range r.Scanners {
		if l, ok := s.(scan.RuleLister); ok {
			for _, rule := range l.Rules() {
				if used[rule.ID] {
					add(rule)
				}
			}
		}
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		add(scan.Rule{ID: f.Rule, Title: f.Title, Why: f.Desc, Fix: f.Fix, Severity: f.Severity, References: f.References, Tags: f.Tags})
		run.Results = append(run.Results, sarifResultOf(f, index[f.Rule]))
	}
	invocation := sarifInvocation{Successful: true}
	for _, l := range leftOut(&r.Stats) {
		invocation.Notifications = append(invocation.Notifications, sarifNotification{"note", sarifText{plainText(l)}})
	}
	if r.Stats.Incomplete() {
		for _, s := range r.Stats.Skipped {
			invocation.Notifications = append(invocation.Notifications, sarifNotification{"warning", sarifText{plainText(s.Path + ": " + s.Reason)}})
		}
	}
	run.Invocations = []sarifInvocation{invocation}
	return encode(w, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0",
		Runs:    []sarifRun{run},
	})
}

func sarifRuleOf(rule scan.Rule) sarifRule {
	title, fix := scan.Printable(rule.Title), scan.Printable(rule.Fix)
	out := sarifRule{
		ID: rule.ID, Name: title, Short: sarifText{plainText(title)}, Full: sarifText{plainText(title + ". " + rule.Why)},
		Help:    sarifHelp{Text: plainText(rule.Why + "\n\n" + fix), Markdown: inHTML(rule.Why) + "\n\n**Fix:** " + escape(fix)},
		Default: sarifLevel{level(rule.Severity)},
		Props:   sarifProperties{Tags: append([]string{"security"}, rule.Tags...), SecuritySeverity: score(rule.Severity), Precision: "high"},
	}
	slices.Sort(out.Props.Tags)
	out.Props.Tags = slices.Compact(out.Props.Tags)
	for _, ref := range rule.References {
		if out.HelpURI == "" {
			out.HelpURI = ref
		}
		out.Help.Markdown += "\n- <" + ref + ">"
	}
	return out
}

// plainText writes text for a SARIF message, in which [text](target) would be a link (SARIF 2.1.0, 3.11.6).
func plainText(s string) string {
	return strings.NewReplacer(`\`, `\\`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// inHTML takes the meaning that Markdown gives to tags out of a text, which may be Markdown itself: an advisory's.
func inHTML(s string) string { return strings.NewReplacer("<", "&lt;", "@", "@\u200b").Replace(s) }

func sarifResultOf(f *signal.Finding, index int) sarifResult {
	out := sarifResult{
		RuleID: f.Rule, RuleIndex: index, Level: level(f.Severity), Count: f.Count,
		Message:      sarifText{plainText(f.Title + ". " + f.Fix)},
		Fingerprints: map[string]string{"testudo/v1": f.ID},
		Props:        map[string]string{},
	}
	for _, e := range f.Evidence {
		out.Props[e.Name] = e.Value
	}
	if f.Location.Commit != "" {
		out.Props["commit"] = f.Location.Commit
	}
	l := sarifPhysical{Artifact: sarifArtifact{URI: uri(f.Location.Path), Base: "%SRCROOT%"}}
	if f.Location.Line > 0 {
		// The column counts bytes: the same as UTF-16 units but after other letters than ASCII.
		l.Region = &sarifRegion{StartLine: f.Location.Line, EndLine: max(f.Location.EndLine, f.Location.Line), StartColumn: f.Location.Column}
		if f.Location.Snippet != "" {
			l.Region.Snippet = &sarifText{f.Location.Snippet}
		}
	}
	out.Locations = []sarifLocation{{l}}
	return out
}

// uri writes a relative path as a URI reference (RFC 3986), whatever is in its names.
func uri(path string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	out := strings.Join(segments, "/")
	if strings.Contains(segments[0], ":") || segments[0] == "" {
		return "./" + out // else it would read as a scheme, or as a host
	}
	return out
}

func level(s signal.Severity) string {
	switch {
	case s >= signal.SeverityHigh:
		return "error"
	case s == signal.SeverityMedium:
		return "warning"
	}
	return "note"
}

// score is the number from 0 to 10 by which code hosts sort.
func score(s signal.Severity) string {
	switch {
	case s >= signal.SeverityCritical:
		return "9.5"
	case s == signal.SeverityHigh:
		return "8.0"
	case s == signal.SeverityMedium:
		return "5.5"
	}
	return "3.0"
}
