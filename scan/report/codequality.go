package report

import (
	"io"

	"github.com/testudo-sec/testudo/signal"
)

// qualityIssue is one entry of a Code Quality report as GitLab reads it: the part of Code Climate's format that its documentation
// names.
type qualityIssue struct {
	Description string          `json:"description"`
	CheckName   string          `json:"check_name"`
	Fingerprint string          `json:"fingerprint"`
	Severity    string          `json:"severity"`
	Location    qualityLocation `json:"location"`
}

type qualityLocation struct {
	Path  string       `json:"path"`
	Lines qualityLines `json:"lines"`
}

type qualityLines struct {
	Begin int `json:"begin"`
}

// writeCodeQuality writes every finding: GitLab itself tells those that a merge request brings, by the fingerprint.
func writeCodeQuality(w io.Writer, r Result) error {
	issues := make([]qualityIssue, 0, len(r.Findings))
	for i := range r.Findings {
		f := &r.Findings[i]
		issues = append(issues, qualityIssue{
			Description: f.Title + ". " + f.Fix,
			CheckName:   f.Rule,
			Fingerprint: f.ID,
			Severity:    qualitySeverity(f.Severity),
			Location:    qualityLocation{f.Location.Path, qualityLines{max(f.Location.Line, 1)}},
		})
	}
	return encode(w, issues)
}

func qualitySeverity(s signal.Severity) string {
	switch {
	case s >= signal.SeverityCritical:
		return "blocker"
	case s == signal.SeverityHigh:
		return "critical"
	case s == signal.SeverityMedium:
		return "major"
	case s == signal.SeverityLow:
		return "minor"
	}
	return "info"
}
