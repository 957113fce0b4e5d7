// Package scan measures the scanners against their peers.
package scan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/detect"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	all := []bar.Bar{{
		Name: "scan-secret-cpu", Part: "scan", Unit: "ratio", Bound: bar.AtMost(2.5), Limit: 15 * time.Minute,
		What: "CPU of `testudo scan` on a tree of over 200 MB of source text, over that of `rg -c -i -F -f` with the secret rules' literals and keywords on the same files, medians",
		Run:  runSecretCPU,
	}, imageBar()}
	return slices.Concat(all, historyBars(), gitleaksBars())
}

func runSecretCPU(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	rg, err := exec.LookPath("rg")
	if err != nil {
		return m, errors.New("rg is not installed: it is the package ripgrep")
	}
	words, err := literals()
	if err != nil {
		return m, err
	}
	patterns := filepath.Join(env.Dir, "literals")
	if err := os.WriteFile(patterns, []byte(strings.Join(words, "\n")+"\n"), 0o600); err != nil {
		return m, err
	}
	t, err := makeTree(ctx, filepath.Join(env.Dir, "tree"))
	if err != nil {
		return m, err
	}
	env.Progress("%d files of text, %.1f MB; %d literals", t.files, float64(t.bytes)/1e6, len(words))
	report := filepath.Join(env.Dir, "report.json")
	// With its memory for what it read before, the first run of either only warms the page cache.
	theirs := func() (time.Duration, error) {
		return proc.Cost(ctx, 1, rg, "--no-config", "--no-ignore", "--hidden", "-c", "-i", "-F", "-f", patterns, t.dir)
	}
	ours := func() (time.Duration, error) {
		return proc.Cost(ctx, 1, env.Testudo, "scan", "--format", "json", "--output", report, t.dir)
	}
	if _, err := theirs(); err != nil {
		return m, err
	}
	rounds := max(env.Runs, 3)
	var ratios, rgs, testudos []float64
	for round := range rounds {
		a, err := theirs()
		if err != nil {
			return m, err
		}
		b, err := ours()
		if err != nil {
			return m, err
		}
		if a <= 0 {
			return m, errors.New("rg took no measurable time")
		}
		ratios, rgs, testudos = append(ratios, float64(b)/float64(a)), append(rgs, a.Seconds()), append(testudos, b.Seconds())
		env.Progress("round %d of %d: rg %.2f s, testudo %.2f s, ratio %.1f", round+1, rounds, a.Seconds(), b.Seconds(), ratios[round])
	}
	if err := sameFiles(report, &t); err != nil {
		return m, err
	}
	m.Value = bar.Median(ratios)
	m.Detail = fmt.Sprintf("%d files, %.0f MB, %d literals: rg %.2f s, testudo %.2f s, %.1f MB/s a core",
		t.files, float64(t.bytes)/1e6, len(words), bar.Median(rgs), bar.Median(testudos), float64(t.bytes)/1e6/bar.Median(testudos))
	return m, nil
}

// literals returns what the secret rules look for first, in lower case, each once.
func literals() ([]string, error) {
	rules, err := detect.BuiltinRules()
	if err != nil {
		return nil, err
	}
	var words []string
	for _, r := range rules {
		for _, way := range r.Detect {
			for _, w := range slices.Concat(way.Literals, way.Keywords) {
				if w != "" && !strings.Contains(w, "\n") {
					words = append(words, strings.ToLower(w))
				}
			}
		}
	}
	if len(words) == 0 {
		return nil, errors.New("the secret rules name no literals")
	}
	slices.Sort(words)
	return slices.Compact(words), nil
}

// report is what is read of testudo's report.
type report struct {
	Findings []struct {
		Rule string `json:"rule"`
	} `json:"findings"`
	Stats struct {
		Files int   `json:"files"`
		Bytes int64 `json:"bytes"`
	} `json:"stats"`
}

func readReport(path string) (r report, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("testudo's report: %w", err)
	}
	return r, nil
}

// sameFiles makes sure that testudo read what is there.
func sameFiles(path string, t *tree) error {
	r, err := readReport(path)
	if err != nil {
		return err
	}
	if r.Stats.Files != t.files || r.Stats.Bytes != t.bytes {
		return fmt.Errorf("testudo read %d files of %d bytes, the tree has %d of %d", r.Stats.Files, r.Stats.Bytes, t.files, t.bytes)
	}
	return nil
}
