package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The elements of a JUnit report, in the form that build servers read.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Time     string      `xml:"time,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Class   string        `xml:"classname,attr"`
		Name    string        `xml:"name,attr"`
		File    string        `xml:"file,attr,omitempty"`
		Line    int           `xml:"line,attr,omitempty"`
		Failure *junitFailure `xml:"failure,omitempty"`
		Skipped *junitSkipped `xml:"skipped,omitempty"`
	}
	junitFailure struct {
		Type    string `xml:"type,attr"`
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
	junitSkipped struct {
		Message string `xml:"message,attr"`
	}
)

// writeJUnit writes a test case for each finding: a failure if it stops the change, or if nothing was decided; else it is
// skipped. A scan without findings is one case that passed.
func writeJUnit(w io.Writer, r Result) error {
	suite := junitSuite{Name: "testudo scan of " + r.Root, Time: fmt.Sprintf("%.3f", r.Stats.Elapsed.Seconds())}
	for i := range r.Findings {
		f := &r.Findings[i]
		c := junitCase{Class: f.Rule, Name: f.Title + " at " + where(f), File: f.Location.Path, Line: f.Location.Line}
		if r.Verdict == nil || r.Verdict.Stops[f.ID] {
			var text strings.Builder
			fmt.Fprintf(&text, "%s\n%s\n", inert(where(f)), inert(f.Fix))
			if from := origin(f); from != "" {
				fmt.Fprintf(&text, "%s\n", from)
			}
			for _, e := range f.Evidence {
				fmt.Fprintf(&text, "%s: %s\n", e.Name, e.Value)
			}
			c.Failure = &junitFailure{Type: f.Severity.String(), Message: f.Title, Text: text.String()}
			suite.Failures++
		} else {
			c.Skipped = &junitSkipped{Message: "does not stop the change by the policy"}
			suite.Skipped++
		}
		suite.Cases = append(suite.Cases, c)
	}
	if len(suite.Cases) == 0 {
		suite.Cases = []junitCase{{Class: "testudo", Name: "nothing found"}}
	}
	suite.Tests = len(suite.Cases)
	doc := junitSuites{Name: "testudo", Tests: suite.Tests, Failures: suite.Failures, Suites: []junitSuite{suite}}
	b, err := xml.MarshalIndent(doc, "", "  ")
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, xml.Header+marks.ReplaceAllString(string(b), "#&#35;$1")+"\n")
	return err
}
