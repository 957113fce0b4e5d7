package scan

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

const (
	historyCommits = 2000
	filesACommit   = 4
)

func historyBars() []bar.Bar {
	const what = " of `testudo scan --git` on a packed repository of 2,000 commits to source files, over that of `gitleaks git` (8.30.1, from the module proxy) on the same, medians"
	return []bar.Bar{
		{Name: "scan-history-cpu", Part: "scan", Unit: "ratio", Bound: bar.AtMost(0.2), Limit: 15 * time.Minute, What: "CPU" + what,
			Run: runHistory(func(s proc.Spent) time.Duration { return s.CPU })},
		{Name: "scan-history-time", Part: "scan", Unit: "ratio", Bound: bar.AtMost(0.2), Limit: 15 * time.Minute, What: "time by the clock" + what,
			Run: runHistory(func(s proc.Spent) time.Duration { return s.Wall })},
	}
}

// runHistory compares one figure of the two.
func runHistory(figure func(proc.Spent) time.Duration) func(context.Context, *bar.Env) (bar.Measure, error) {
	return func(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
		gitleaks, err := installGitleaks(ctx, env.Dir)
		if err != nil {
			return m, err
		}
		t, err := makeTree(ctx, filepath.Join(env.Dir, "tree"))
		if err != nil {
			return m, err
		}
		repository := filepath.Join(env.Dir, "history.git")
		if err := makeHistory(ctx, t.dir, repository); err != nil {
			return m, err
		}
		report := filepath.Join(env.Dir, "history.json")
		theirs := func() (proc.Spent, error) {
			return proc.Run(ctx, 1, gitleaks, "git", repository, "--no-banner", "--log-level", "error")
		}
		ours := func() (proc.Spent, error) {
			return proc.Run(ctx, 1, env.Testudo, "scan", "--git", "--format", "json", "--output", report, repository)
		}
		if _, err := ours(); err != nil { // into the page cache
			return m, err
		}
		var ratios, a, b []float64
		for range max(env.Runs, 3) {
			x, err := theirs()
			if err != nil {
				return m, err
			}
			y, err := ours()
			if err != nil {
				return m, err
			}
			if figure(x) <= 0 {
				return m, errors.New("gitleaks took no measurable time")
			}
			ratios, a, b = append(ratios, figure(y).Seconds()/figure(x).Seconds()), append(a, figure(x).Seconds()), append(b, figure(y).Seconds())
			env.Progress("gitleaks %.2f s, testudo %.2f s", figure(x).Seconds(), figure(y).Seconds())
		}
		r, err := readReport(report)
		if err != nil {
			return m, err
		}
		if r.Stats.Files < historyCommits {
			return m, fmt.Errorf("testudo read %d versions of files of %d commits: too few", r.Stats.Files, historyCommits)
		}
		m.Value = bar.Median(ratios)
		m.Detail = fmt.Sprintf("%d versions, %.0f MB: gitleaks %.2f s, testudo %.2f s", r.Stats.Files, float64(r.Stats.Bytes)/1e6, bar.Median(a), bar.Median(b))
		return m, nil
	}
}

// makeHistory makes a bare repository whose commits add and change the files of a folder, always the same.
func makeHistory(ctx context.Context, dir, to string) error {
	var names []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err == nil && info.Size() < 60_000 {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(7, 7))
	random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	var in bytes.Buffer
	live := map[string][]string{}
	var known []string
	for c := range historyCommits {
		fmt.Fprintf(&in, "commit refs/heads/main\ncommitter A <a@example.com> %d +0000\ndata 2\nm\n\n", 1_500_000_000+600*c)
		for range filesACommit {
			var name string
			if len(known) == 0 || random.IntN(3) == 0 && len(known) < len(names) {
				from := names[len(known)]
				text, err := os.ReadFile(from)
				if err != nil {
					return err
				}
				if name, err = filepath.Rel(dir, from); err != nil {
					return err
				}
				name = strings.ReplaceAll(filepath.ToSlash(name), "@", "-")
				known = append(known, name)
				live[name] = strings.Split(string(text), "\n")
			} else {
				name = known[random.IntN(len(known))]
				for lines := live[name]; ; {
					lines[random.IntN(len(lines))] = fmt.Sprintf("\tchanged := %d", random.Uint64())
					if random.IntN(4) == 0 {
						break
					}
				}
			}
			text := strings.Join(live[name], "\n")
			fmt.Fprintf(&in, "M 100644 inline %s\ndata %d\n%s\n", name, len(text), text)
		}
	}
	for _, args := range [][]string{{"init", "-q", "--bare", "-b", "main", to}, {"-C", to, "fast-import", "--quiet"}, {"-C", to, "repack", "-adfq"}} {
		c := exec.CommandContext(ctx, "git", args...)
		if args[len(args)-1] == "--quiet" {
			c.Stdin = &in
		}
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return nil
}
