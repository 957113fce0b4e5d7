package kernel

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/testudo-sec/testudo/bench/bar"
)

func overheadBuild() bar.Bar {
	return bar.Bar{
		Name: "kernel-overhead-build", Part: "kernel", Unit: "ratio", Bound: bar.AtMost(1.03), Limit: 30 * time.Minute,
		What: "CPU of `go build` of a medium module (testudo's policy engine and the modules that it uses, about a hundred packages; the standard library is built already), all its processes, " +
			"while `testudo up` watches the host with the shipped rules, over that without it, in turn, median; the agent's own CPU is in the figures",
		Run: runOverheadBuild,
	}
}

// built is the package that is built, with all that it imports.
const built = "./policy/native"

func runOverheadBuild(ctx context.Context, env *bar.Env) (m bar.Measure, err error) {
	if err := needRoot(); err != nil {
		return m, err
	}
	seed := filepath.Join(env.Dir, "seed")
	list, err := exec.CommandContext(ctx, "go", "-C", env.Module, "list", "-deps", "-f", "{{if .Standard}}{{.ImportPath}}{{end}}", built).Output()
	if err != nil {
		return m, fmt.Errorf("go list %s: %w", built, err)
	}
	standard := strings.Fields(string(list))
	if _, _, err := build(ctx, env, seed, standard...); err != nil {
		return m, err
	}
	// The files of the cache must be read by both alike: a first build is not counted.
	if _, _, err := buildAnew(ctx, env, seed); err != nil {
		return m, err
	}
	var cpu, wall [2][]float64
	var agents []float64
	err = rounds(ctx, env.Runs, func(round int, on bool) error {
		which, spent := 0, time.Duration(0)
		var a *agent
		if on {
			which = 1
			if a, err = startAgent(ctx, env); err != nil {
				return err
			}
			defer a.Stop()
			if err := a.calm(ctx); err != nil {
				return err
			}
			if spent, err = a.cpu(); err != nil {
				return err
			}
		}
		took, lasted, err := buildAnew(ctx, env, seed)
		if err != nil {
			return err
		}
		cpu[which], wall[which] = append(cpu[which], took.Seconds()), append(wall[which], lasted.Seconds())
		if on {
			now, err := a.cpu()
			if err != nil {
				return err
			}
			agents = append(agents, (now - spent).Seconds())
		}
		env.Progress("round %d of %d: watched %t, %.2f s of CPU in %.1f s", round+1, env.Runs, on, took.Seconds(), lasted.Seconds())
		return nil
	})
	if err != nil {
		return m, err
	}
	m.Value = bar.Median(ratios(cpu[1], cpu[0]))
	m.Detail = fmt.Sprintf("CPU %.2f s on %.2f s off, wall %.1f s on %.1f s off (ratio %.2f), the agent itself %.2f s of CPU (%.1f%% of the build's); ratios of the rounds %.3f",
		bar.Median(cpu[1]), bar.Median(cpu[0]), bar.Median(wall[1]), bar.Median(wall[0]), bar.Median(ratios(wall[1], wall[0])), bar.Median(agents),
		100*bar.Median(agents)/bar.Median(cpu[0]), ratios(cpu[1], cpu[0]))
	return m, nil
}

// buildAnew builds with a cache that holds what the seed does, and removes it.
func buildAnew(ctx context.Context, env *bar.Env, seed string) (cpu, wall time.Duration, err error) {
	cache := filepath.Join(env.Dir, "cache")
	defer os.RemoveAll(cache)
	if out, err := exec.CommandContext(ctx, "cp", "-al", seed, cache).CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("a copy of the cache: %w: %s", err, out)
	}
	return build(ctx, env, cache, built)
}

// build builds packages and returns the CPU time of the go command and all that it started, and how long it took.
func build(ctx context.Context, env *bar.Env, cache string, packages ...string) (cpu, wall time.Duration, err error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"-C", env.Module, "build"}, packages...)...)
	cmd.Env = append(os.Environ(), "GOCACHE="+cache, "CGO_ENABLED=0", "GOFLAGS=")
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("go build: %w: %s", err, out)
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), time.Since(began), nil
}

// ratios returns a/b of each pair.
func ratios(a, b []float64) []float64 {
	all := make([]float64, min(len(a), len(b)))
	for i := range all {
		all[i] = a[i] / b[i]
	}
	return all
}
