// Package inventory measures what an inventory costs against scalibr run directly with the same extractors.
package inventory

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	cpb "github.com/google/osv-scalibr/binary/proto/config_go_proto"
	"github.com/google/osv-scalibr/extractor/filesystem"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/bunlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/javascript/packagelockjson"
	"github.com/google/osv-scalibr/extractor/filesystem/language/php/composerlock"
	"github.com/google/osv-scalibr/extractor/filesystem/language/rust/cargoauditable"
	scalibrfs "github.com/google/osv-scalibr/fs"
	"github.com/google/osv-scalibr/stats"

	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/inventory"
	"github.com/testudo-sec/testudo/signal"

	"github.com/testudo-sec/testudo/bench/bar"
	"github.com/testudo-sec/testudo/bench/proc"
)

// Bars lists the bars of this part.
func Bars() []bar.Bar {
	return []bar.Bar{{
		Name: "scan-inventory-debian", Part: "scan", Unit: "ratio", Bound: bar.AtMost(1), Limit: 15 * time.Minute,
		What: "CPU of the inventory of 400 MB of this machine's Debian packages, over that of scalibr run directly with the same extractors, medians",
		Run:  func(ctx context.Context, env *bar.Env) (bar.Measure, error) { return run(ctx, env, makeDebian) },
	}, {
		Name: "scan-inventory-node", Part: "scan", Unit: "ratio", Bound: bar.AtMost(1), Limit: 15 * time.Minute,
		What: "CPU of the inventory of a node_modules of over 22,000 files with its lockfile (react-scripts 5.0.1), over that of scalibr run directly with the same extractors, medians",
		Run:  func(ctx context.Context, env *bar.Env) (bar.Measure, error) { return run(ctx, env, makeNode) },
	}}
}

const (
	rolePrefix  = "role:"
	ourRole     = "inventory"
	scalibrRole = "inventory-scalibr"
)

// Roles lists the processes of the measurements.
func Roles() []proc.Role {
	return []proc.Role{
		{Name: ourRole, Run: func(ctx context.Context, t *proc.Talk, args []string) error { return answer(t, args, ours(ctx, args)) }},
		{Name: scalibrRole, Run: func(ctx context.Context, t *proc.Talk, args []string) error {
			return answer(t, args, theirs(ctx, args))
		}},
	}
}

type result struct {
	packages int
	err      error
}

// answer writes how many packages there were into the file that the arguments name.
func answer(_ *proc.Talk, args []string, r result) error {
	if r.err != nil {
		return r.err
	}
	return os.WriteFile(args[1], fmt.Appendf(nil, "%d", r.packages), 0o600)
}

func ours(ctx context.Context, args []string) result {
	x, err := inventory.New(inventory.DefaultConfig())
	if err != nil {
		return result{err: err}
	}
	c := scan.DefaultConfig()
	c.Ignore = false
	n := 0
	_, err = scan.Run(ctx, scan.Options{Root: args[0], Config: c, Extractors: []scan.Extractor{x},
		Inventory: func(inv *scan.Inventory) { n = len(inv.Packages) }}, func(signal.Finding) {})
	return result{n, err}
}

func theirs(ctx context.Context, args []string) result {
	x, err := inventory.New(inventory.DefaultConfig())
	if err != nil {
		return result{err: err}
	}
	plugins := x.Plugins()
	for _, add := range []func(*cpb.PluginConfig) (filesystem.Extractor, error){packagelockjson.New, bunlock.New, composerlock.New, cargoauditable.New} {
		e, err := add(nil)
		if err != nil {
			return result{err: err}
		}
		plugins = append(plugins, e)
	}
	inv, _, err := filesystem.Run(ctx, &filesystem.Config{Extractors: plugins, ScanRoots: scalibrfs.RealFSScanRoots(args[0]), Stats: stats.NoopCollector{}})
	return result{len(inv.Packages), err}
}

func run(ctx context.Context, env *bar.Env, build func(context.Context, string) (string, error)) (m bar.Measure, err error) {
	dir := filepath.Join(env.Dir, "tree")
	what, err := build(ctx, dir)
	if err != nil {
		return m, err
	}
	env.Progress("%s", what)
	count := filepath.Join(env.Dir, "count")
	cost := func(role string) (float64, string, error) {
		d, err := proc.Cost(ctx, 0, env.Self, rolePrefix+role, dir, count)
		if err != nil {
			return 0, "", err
		}
		text, err := os.ReadFile(count)
		return d.Seconds(), string(text), err
	}
	if _, _, err := cost(scalibrRole); err != nil {
		return m, err
	}
	rounds := max(env.Runs, 5)
	var ratios, our, their []float64
	var n, k string
	for i := range rounds {
		var a, b float64
		if a, n, err = cost(scalibrRole); err != nil {
			return m, err
		}
		if b, k, err = cost(ourRole); err != nil {
			return m, err
		}
		if a <= 0 || n == "0" || k == "0" {
			return m, errors.New("scalibr took no measurable time, or one found nothing")
		}
		ratios, our, their = append(ratios, b/a), append(our, b), append(their, a)
		env.Progress("round %d of %d: scalibr %.2f s, %s packages; testudo %.2f s, %s packages", i+1, rounds, a, n, b, k)
	}
	m.Value = bar.Median(ratios)
	m.Detail = fmt.Sprintf("%s: scalibr %.2f s (%s packages), testudo %.2f s (%s packages)", what, bar.Median(their), n, bar.Median(our), k)
	return m, nil
}

// makeNode installs a large project.
func makeNode(ctx context.Context, dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"name":"large","version":"1.0.0","private":true,"dependencies":{"react-scripts":"5.0.1"}}`), 0o600); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm install: %w: %s", err, tail(out))
	}
	return describe(dir, 22_000, 0)
}

func tail(out []byte) string { return string(out[max(0, len(out)-300):]) }

// describe counts a tree, which must have so many files and bytes.
func describe(dir string, files int, bytes int64) (string, error) {
	n, size := 0, int64(0)
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n, size = n+1, size+info.Size()
		}
		return err
	})
	if err == nil && (n < files || size < bytes) {
		err = fmt.Errorf("the tree has %d files of %d bytes, want %d of %d at least", n, size, files, bytes)
	}
	return fmt.Sprintf("%d files, %.0f MB", n, float64(size)/1e6), err
}
