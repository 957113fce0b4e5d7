package scan

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// gitleaks is the peer, from the module proxy.
const gitleaks = "github.com/zricethezav/gitleaks/v8@v8.30.1"

func gitleaksBars() []bar.Bar {
	const tree = "a tree of over 200 MB of public source text"
	return []bar.Bar{
		{Name: "scan-secret-gitleaks", Part: "scan", Unit: "ratio", Bound: bar.AtLeast(60), Limit: 30 * time.Minute,
			What: "CPU of `gitleaks dir` (8.30.1, from the module proxy) on " + tree + ", once, over that of `testudo scan` on the same, median", Run: runGitleaks},
		{Name: "scan-secret-memory", Part: "scan", Unit: "MB", Bound: bar.AtMost(300), Limit: 15 * time.Minute,
			What: "greatest resident memory of `testudo scan`, for all that it looks for, on " + tree + " and on the archives that its modules come in, the most of several runs", Run: runMemory},
		{Name: "scan-secret-false", Part: "scan", Unit: "findings", Bound: bar.AtMost(5), Limit: 15 * time.Minute,
			What: "findings of `testudo scan` for 100 MB of " + tree + ", none of which is a secret that somebody uses", Run: runFalse},
	}
}

// installGitleaks builds the peer into a folder and returns the program.
func installGitleaks(ctx context.Context, dir string) (string, error) {
	install := exec.CommandContext(ctx, "go", "install", gitleaks)
	install.Dir = dir
	install.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-mod=mod")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go install %s: %w: %s", gitleaks, err, out)
	}
	return filepath.Join(dir, "gitleaks"), nil
}

func runGitleaks(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	program, err := installGitleaks(ctx, env.Dir)
	if err != nil {
		return m, err
	}
	t, err := makeTree(ctx, filepath.Join(env.Dir, "tree"))
	if err != nil {
		return m, err
	}
	path := filepath.Join(env.Dir, "report.json")
	ours := func() (time.Duration, error) {
		return proc.Cost(ctx, 1, env.Testudo, "scan", "--for", "secret", "--format", "json", "--output", path, t.dir)
	}
	if _, err := ours(); err != nil { // into the page cache
		return m, err
	}
	// It takes over a minute: what else the machine does comes out even within it.
	theirs, err := proc.Cost(ctx, 1, program, "dir", t.dir, "--no-banner", "--log-level", "error")
	if err != nil {
		return m, err
	}
	env.Progress("gitleaks %.1f s", theirs.Seconds())
	var all []float64
	for range max(env.Runs, 3) {
		cost, err := ours()
		if err != nil {
			return m, err
		}
		all = append(all, cost.Seconds())
	}
	if err := sameFiles(path, &t); err != nil {
		return m, err
	}
	m.Value = theirs.Seconds() / bar.Median(all)
	m.Detail = fmt.Sprintf("%d files, %.0f MB: gitleaks %.1f s, testudo %.2f s %.2f", t.files, float64(t.bytes)/1e6, theirs.Seconds(), bar.Median(all), all)
	return m, nil
}

func runMemory(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	dir := filepath.Join(env.Dir, "all")
	t, err := makeTree(ctx, filepath.Join(dir, "tree"))
	if err != nil {
		return m, err
	}
	archives, err := takeArchives(ctx, filepath.Join(dir, "archives"))
	if err != nil {
		return m, err
	}
	path := filepath.Join(env.Dir, "report.json")
	var all []float64
	for range max(env.Runs, 3) {
		s, err := proc.Run(ctx, 1, env.Testudo, "scan", "--format", "json", "--output", path, "--data", filepath.Join(env.Dir, "data"), dir)
		if err != nil {
			return m, err
		}
		all = append(all, float64(s.Peak)/1e6)
		m.Value = max(m.Value, float64(s.Peak)/1e6)
	}
	r, err := readReport(path)
	if err != nil {
		return m, err
	}
	if r.Stats.Files < t.files+archives || r.Stats.Bytes < t.bytes {
		return m, fmt.Errorf("testudo read %d files of %d bytes, the tree alone has %d of %d", r.Stats.Files, r.Stats.Bytes, t.files, t.bytes)
	}
	m.Detail = fmt.Sprintf("%d files and %d archives, %.0f MB read: %.0f MB", t.files, archives, float64(r.Stats.Bytes)/1e6, all)
	return m, nil
}

func runFalse(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	t, err := makeTree(ctx, filepath.Join(env.Dir, "tree"))
	if err != nil {
		return m, err
	}
	path := filepath.Join(env.Dir, "report.json")
	if _, err := proc.Run(ctx, 1, env.Testudo, "scan", "--for", "secret", "--format", "json", "--output", path, t.dir); err != nil {
		return m, err
	}
	if err := sameFiles(path, &t); err != nil {
		return m, err
	}
	r, err := readReport(path)
	if err != nil {
		return m, err
	}
	rules := map[string]int{}
	for _, f := range r.Findings {
		rules[f.Rule]++
	}
	m.Value = float64(len(r.Findings)) * 100e6 / float64(t.bytes)
	m.Detail = fmt.Sprintf("%d files, %.0f MB: %d findings %v", t.files, float64(t.bytes)/1e6, len(r.Findings), rules)
	return m, nil
}
