package scan

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/signal"
)

// maxBaseline bounds the lines of a baseline file.
const maxBaseline = 1_000_000

// Baseline is a set of findings that are known, by their ids. The nil Baseline knows none.
type Baseline map[string]bool

// ReadBaseline reads a baseline file: a finding's id at the beginning of each line, then what
// people want to say; empty lines and those that begin with # say nothing.
func ReadBaseline(r io.Reader) (Baseline, error) {
	b := Baseline{}
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		fields := strings.Fields(s.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if len(fields[0]) != 26 || strings.Trim(fields[0], "abcdefghijklmnopqrstuvwxyz234567") != "" {
			return nil, fmt.Errorf("baseline line %d: %q is not the id of a finding: want 26 letters and digits", n, Printable(fields[0][:min(40, len(fields[0]))]))
		}
		if b[fields[0]] = true; len(b) > maxBaseline {
			return nil, fmt.Errorf("baseline has more than %d findings", maxBaseline)
		}
	}
	return b, s.Err()
}

// WriteBaseline writes the findings as a baseline file, sorted, with rule and place for people.
func WriteBaseline(w io.Writer, findings []signal.Finding) error {
	lines := make([]string, 0, len(findings))
	for i := range findings {
		f := &findings[i]
		lines = append(lines, fmt.Sprintf("%s %s %s", f.ID, f.Rule, f.Location.Path))
	}
	slices.Sort(lines)
	_, err := io.WriteString(w, "# Findings that are known: testudo scan --baseline leaves them out.\n"+strings.Join(append(slices.Compact(lines), ""), "\n"))
	return err
}
