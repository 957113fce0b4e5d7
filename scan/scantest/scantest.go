// Package scantest is the conformance kit for scanners: every scanner's tests run [Check].
package scantest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

// A Sample is a file in which the scanner finds something.
type Sample struct {
	Path string
	Data string
	// Hidden are the strings in Data that no finding may repeat, whole or but for their last eight
	// characters.
	Hidden []string
}

// Check holds a scanner to what package scan asks of it: complete findings, stable ids, no data
// kept, no secret repeated, no harm from odd files, and safety for concurrent use (under the race
// detector).
func Check(t *testing.T, s scan.Scanner, samples []Sample) {
	t.Helper()
	if s.Name() == "" {
		t.Error("the scanner has no name")
	}
	known := map[string]bool{}
	if l, ok := s.(scan.RuleLister); ok {
		for _, r := range l.Rules() {
			if known[r.ID] || r.ID == "" || r.Title == "" || r.Fix == "" || r.Severity == signal.SeverityUnknown {
				t.Errorf("rule %q is listed twice or lacks a title, a fix or a severity", r.ID)
			}
			known[r.ID] = true
		}
	}
	for _, sample := range samples {
		checkSample(t, s, sample, known)
	}
	checkOddFiles(t, s)
	checkConcurrent(t, s, samples)
}

// Findings runs a scanner over one file.
func Findings(t testing.TB, s scan.Scanner, path string, data []byte) []signal.Finding {
	t.Helper()
	var out []signal.Finding
	f := &scan.File{Path: path, Data: data, Binary: bytes.IndexByte(data[:min(len(data), 8000)], 0) >= 0}
	if err := s.Scan(context.Background(), f, func(f signal.Finding, c scan.Confidence) {
		if c < scan.Low || c > scan.High {
			t.Errorf("%s: confidence %d", path, c)
		}
		out = append(out, f)
	}); err != nil {
		t.Errorf("%s: %v", path, err)
	}
	return out
}

func checkSample(t *testing.T, s scan.Scanner, sample Sample, known map[string]bool) {
	t.Helper()
	data := []byte(sample.Data)
	found := Findings(t, s, sample.Path, data)
	if len(found) == 0 {
		t.Errorf("%s: nothing found in the sample", sample.Path)
		return
	}
	before, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		data[i] = '#'
	}
	if after, _ := json.Marshal(found); !bytes.Equal(before, after) {
		t.Errorf("%s: findings point into the file's data", sample.Path)
	}
	ids := map[string]bool{}
	for _, f := range found {
		switch {
		case f.ID == "" || ids[f.ID]:
			t.Errorf("%s: id %q is empty or given twice", sample.Path, f.ID)
		case f.Rule == "" || f.Title == "" || f.Fix == "" || f.Severity == signal.SeverityUnknown:
			t.Errorf("%s: a finding lacks rule, title, fix or severity: %+v", sample.Path, f)
		case len(known) > 0 && !known[f.Rule]:
			t.Errorf("%s: rule %s is not listed", sample.Path, f.Rule)
		case f.Location.Line < 1 || f.Location.Column < 1 || f.Location.Line > strings.Count(sample.Data, "\n")+1:
			t.Errorf("%s: place %d:%d", sample.Path, f.Location.Line, f.Location.Column)
		case !utf8.ValidString(f.Location.Snippet) || scan.Printable(f.Location.Snippet) != f.Location.Snippet:
			t.Errorf("%s: snippet %q is not printable", sample.Path, f.Location.Snippet)
		}
		ids[f.ID] = true
	}
	for _, hidden := range sample.Hidden {
		for _, part := range []string{hidden, hidden[:max(len(hidden)-8, min(len(hidden), 8))]} {
			quoted, _ := json.Marshal(part)
			if len(part) >= 4 && bytes.Contains(before, quoted[1:len(quoted)-1]) {
				t.Errorf("%s: a finding repeats %q", sample.Path, part)
			}
		}
	}
	moved := Findings(t, s, sample.Path, []byte("\n\n"+sample.Data))
	if !slices.Equal(idsOf(found), idsOf(moved)) {
		t.Errorf("%s: ids change when lines move", sample.Path)
	}
	elsewhere := Findings(t, s, "moved/"+sample.Path, []byte(sample.Data))
	for _, id := range idsOf(elsewhere) {
		if ids[id] {
			t.Errorf("%s: the id does not depend on the path", sample.Path)
		}
	}
}

func idsOf(found []signal.Finding) []string {
	var out []string
	for _, f := range found {
		out = append(out, f.ID)
	}
	slices.Sort(out)
	return out
}

func checkOddFiles(t *testing.T, s scan.Scanner) {
	t.Helper()
	for name, data := range map[string]string{
		"empty": "", "newlines": "\n\n\n", "zero": "\x00\x00", "invalid": "\xff\xfe\xfd", "long line": strings.Repeat("a", 1<<20),
		"deep": strings.Repeat("[", 1<<16), "unterminated": "key = \"", "cut rune": "password = \"\xe2\x82",
	} {
		for _, path := range []string{name, "package.json", "go.mod", "Dockerfile", "main.tf", "a.yaml"} {
			if found := Findings(t, s, path, []byte(data)); len(found) != 0 {
				t.Errorf("%s as %s: %+v", name, path, found)
			}
		}
	}
}

func checkConcurrent(t *testing.T, s scan.Scanner, samples []Sample) {
	t.Helper()
	want := make([]string, len(samples))
	for i, sample := range samples {
		want[i] = fmt.Sprint(idsOf(Findings(t, s, sample.Path, []byte(sample.Data))))
	}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i, sample := range samples {
				if got := fmt.Sprint(idsOf(Findings(t, s, sample.Path, []byte(sample.Data)))); got != want[i] {
					t.Errorf("%s: %s, alone %s", sample.Path, got, want[i])
				}
			}
		})
	}
	all.Wait()
}
