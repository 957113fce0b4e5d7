package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
)

// copyOf puts a copy of a program of this system into a folder.
func copyOf(t *testing.T, program, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(program)
	require.Part(t, "coreutils", err == nil, fmt.Sprint("a program to copy: ", err))
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, text, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// openDir is a folder that every user may look into.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// enforceRules writes rules that refuse, by what they hold for, and a configuration that enforces them.
func enforceRules(t *testing.T, dir, eyes string, when map[string]string) (config string) {
	t.Helper()
	var paths []string
	for id, cel := range when {
		rule := "id: " + id + "\ntitle: A program of the test\nseverity: high\non: process_activity\nwhen: |\n  " + cel +
			"\nthen: deny\nwhy: it\nfix: none\ntests:\n  - name: x\n    event: {activity_id: 1}\n    fires: false\n"
		path := filepath.Join(dir, id+".yaml")
		if err := os.WriteFile(path, []byte(rule), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	config = filepath.Join(dir, "testudo.yaml")
	if err := os.WriteFile(config, []byte("policy: {rules: ["+strings.Join(paths, ", ")+"]}\nkernel: {mode: enforce, eyes: "+eyes+"}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return config
}

// runAll runs a command and waits for all that it left behind, which have a pipe of ours open.
func runAll(ctx context.Context, name string, args ...string) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.ExtraFiles = []*os.File{w}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return err
	}
	_, _ = r.Read(make([]byte, 1)) // the end
	_ = cmd.Wait()                 // which fails, as the last program of it is refused
	return ctx.Err()
}

// TestGateKnowsWhoAsks: a rule that names what a program was started by is enforced before the program runs, however short-lived all of them are: the gate that
// asks waits until what was seen before the question is known.
func TestGateKnowsWhoAsks(t *testing.T) {
	t.Run("ebpf", func(t *testing.T) { gateKnowsWhoAsks(t, "ebpf", true) })
	// What is not seen is read in /proc while who asks waits. There who started a process and has ended is not found any more.
	t.Run("procwatch", func(t *testing.T) { gateKnowsWhoAsks(t, "procwatch", false) })
}

func gateKnowsWhoAsks(t *testing.T, eyes string, orphans bool) {
	dir := openDir(t)
	parent, child := copyOf(t, "/bin/sh", dir, "bad-parent"), copyOf(t, "/bin/touch", dir, "refused")
	config := enforceRules(t, dir, eyes, map[string]string{
		"by-parent":      fmt.Sprintf(`process.file.path == %q && process.parent_process.name == "bad-parent"`, child),
		"by-parent-line": fmt.Sprintf(`process.file.path == %q && process.parent_process.cmd_line.contains("a-bad-word")`, child),
		"by-ancestor":    fmt.Sprintf(`process.file.path == %q && process.lineage.exists(a, a == %q)`, child+"-below", parent),
	})
	below := copyOf(t, "/bin/touch", dir, "refused-below")
	allowed := filepath.Join(dir, "allowed")
	f := startFamily(t, "--config", config)
	f.await(t, "the watch", func() bool { return strings.Contains(f.text(), "watched by "+eyes) })
	probe := filepath.Join(dir, "probe")
	f.await(t, "the guard", func() bool {
		_ = os.Remove(probe)
		_ = runAll(t.Context(), parent, "-c", child+" "+probe+"; :")
		_, err := os.Stat(probe)
		return errors.Is(err, os.ErrNotExist)
	})
	effects := filepath.Join(dir, "effects")
	if err := os.Mkdir(effects, 0o777); err != nil {
		t.Fatal(err)
	}
	ways := map[string][]string{
		"child":                      {parent, "-c", child + " $0; :"},
		"the parent has just become": {"/bin/sh", "-c", "exec " + parent + " -c '" + child + ` "$0"; :' $0`},
		"command line":               {"/bin/sh", "-c", ": a-bad-word; " + child + " $0; :"},
		"grandchild":                 {parent, "-c", "/bin/sh -c '" + below + ` "$0"; :' $0; :`},
	}
	if orphans {
		ways["orphan"] = []string{parent, "-c", "( " + child + " $0 & ) ; :"}
		ways["of a child that has become"] = []string{"/bin/sh", "-c", "( exec " + parent + " -c '" + child + ` "$0" & : ' $0 ) & :`}
		ways["grandchild, all of them end"] = []string{parent, "-c", "/bin/sh -c '( " + below + ` "$0" & ) & :' $0 & :`}
	}
	const each, lanes = 40, 3
	// Others keep the processors busy meanwhile.
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var busy sync.WaitGroup
	for range 2 {
		busy.Go(func() {
			_ = exec.CommandContext(load, "/bin/sh", "-c", "while :; do /bin/true; done").Run()
		})
	}
	began := time.Now()
	var wait sync.WaitGroup
	for lane := range lanes {
		wait.Go(func() {
			for i := range each {
				for way, args := range ways {
					name := filepath.Join(effects, strings.ReplaceAll(way, " ", "-")+fmt.Sprintf(".%d.%d", lane, i))
					if err := runAll(t.Context(), args[0], append(args[1:], name)...); err != nil {
						t.Errorf("%s: %v", way, err)
						return
					}
				}
			}
		})
	}
	wait.Wait()
	stop()
	busy.Wait()
	ran, err := os.ReadDir(effects)
	if err != nil {
		t.Fatal(err)
	}
	if len(ran) > 0 {
		count := map[string]int{}
		for _, e := range ran {
			way, _, _ := strings.Cut(e.Name(), ".")
			count[way]++
		}
		t.Errorf("of %d of each, so many ran and did something: %v", each*lanes, count)
	}
	t.Logf("%d programs were refused in %v", each*lanes*len(ways), time.Since(began).Round(time.Millisecond))
	// What nothing refuses runs: the rules are of what came before.
	if err := runAll(t.Context(), "/bin/sh", "-c", child+" "+allowed); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(allowed); err != nil {
		t.Errorf("the program by another parent: %v", err)
	}
	f.await(t, "the record", func() bool {
		out, err := f.client(t, "hunt", fmt.Sprintf(`process.file.path.startsWith(%q) && kernel.outcome == "refused"`, child), "--json", "--limit", "1")
		return err == nil && strings.Contains(out, `"Launch"`)
	})
	out, err := f.client(t, "hunt", fmt.Sprintf(`process.file.path.startsWith(%q) && kernel.gate == "kill"`, child), "--json")
	if err != nil || strings.Contains(out, `"Launch"`) {
		t.Errorf("%v: some ran, and were killed:\n%.4000s", err, out)
	}
	f.stop(t)
}
