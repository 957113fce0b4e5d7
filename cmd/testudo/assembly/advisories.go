package assembly

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/testudo-sec/testudo/scan"
)

// databaseName is the advisory database in the folders that hold one.
const databaseName = "advisories.db"

// AdvisoryDatabase returns where the advisory database is: where the configuration says; else in the data directory, if
// one is named or the default one is there; else where the user's other data are.
func (s *Settings) AdvisoryDatabase(dataDir string) (string, error) {
	if s.Intel.Database != "" {
		return s.Intel.Database, nil
	}
	named := dataDir
	if named == "" {
		named = s.Data
	}
	dir, err := DataDir(named)
	if err == nil {
		if _, statErr := os.Stat(dir); statErr == nil || named != "" {
			return filepath.Join(dir, "intel", databaseName), nil
		}
	} else if named != "" {
		return "", err
	}
	base := os.Getenv("XDG_DATA_HOME")
	if base == "" || !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", err
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "testudo", databaseName), nil
}

// Judged says what of the inventory was not judged for known vulnerabilities, and what somebody's decision left out: silence
// must not look like safety.
func (p *ScanPlan) Judged(inv *scan.Inventory) []string {
	if p.Vuln == nil || inv == nil {
		return nil
	}
	missing := map[string]int{}
	for i := range inv.Packages {
		pkg := &inv.Packages[i]
		family, _, _ := strings.Cut(pkg.Ecosystem, ":")
		if family != "" && pkg.Relation != scan.Root && !p.known[family] {
			missing[family]++
		}
	}
	var out []string
	var unknown []string
	for _, family := range slices.Sorted(maps.Keys(missing)) {
		unknown = append(unknown, fmt.Sprintf("%s of %s", counted(missing[family], "package"), scan.Printable(family)))
	}
	if len(unknown) > 0 {
		out = append(out, "Not judged for known vulnerabilities: "+strings.Join(unknown, ", ")+", about which the advisory database has nothing. `testudo db update` brings it.")
	}
	s := p.Vuln.Summary()
	if s.NoVersion > 0 {
		out = append(out, fmt.Sprintf("Not judged for known vulnerabilities: %s without an exact version.", counted(s.NoVersion, "package")))
	}
	if err := p.Vuln.Unreached(); err != nil {
		for line := range strings.Lines(err.Error()) {
			out = append(out, "Not known which flaws calls lead to: "+strings.TrimSpace(line)+".")
		}
	}
	var left []string
	for _, l := range []struct {
		n   int
		why string
	}{
		{s.Ignored, "ignored by the policy"}, {s.NotAffected, "do not matter by VEX"}, {s.NotBuilt, "are not in the Go toolchain here"},
		{s.Dev, "in packages for development"}, {s.Unfixed, "without a fixed version"},
	} {
		if l.n > 0 {
			left = append(left, fmt.Sprintf("%d %s", l.n, l.why))
		}
	}
	if len(left) > 0 {
		out = append(out, "Vulnerabilities left out: "+strings.Join(left, ", ")+".")
	}
	if s.Expired > 0 {
		out = append(out, fmt.Sprintf("Shown again, since the time for which they were ignored has ended: %s.", counted(s.Expired, "vulnerability")))
	}
	return out
}

// counted is a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, y := strings.CutSuffix(noun, "y"); y {
		return fmt.Sprintf("%d %sies", n, stem)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
