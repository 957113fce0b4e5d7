package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
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

// refusedAlways reports whether a copy of touch does nothing, each time. Before a guard stands it is killed after the fact, which may be in time, but not always.
func refusedAlways(t *testing.T, touch string) bool {
	effect := filepath.Join(filepath.Dir(touch), "effect")
	for range 20 {
		_ = os.Remove(effect)
		err := exec.CommandContext(t.Context(), touch, effect).Run()
		if _, there := os.Stat(effect); err == nil || !errors.Is(there, os.ErrNotExist) {
			return false
		}
	}
	return true
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
		// The kernel's own hook holds this one, but for a parent that is another by now.
		"by-parent-path": fmt.Sprintf(`process.file.path == %q && process.parent_process.file.path == %q`, child+"-fixed", parent),
	})
	below, fixed := copyOf(t, "/bin/touch", dir, "refused-below"), copyOf(t, "/bin/touch", dir, "refused-fixed")
	allowed := filepath.Join(dir, "allowed")
	f := startFamily(t, "--config", config)
	f.await(t, "the watch", func() bool { return strings.Contains(f.text(), "watched by "+eyes) })
	probe := filepath.Join(dir, "probe")
	f.await(t, "the guard", func() bool {
		_ = os.Remove(probe)
		// Before that it may be killed as it begins, which is no refusal.
		out, _ := exec.CommandContext(t.Context(), parent, "-c", child+" "+probe+"; :").CombinedOutput()
		_, err := os.Stat(probe)
		return errors.Is(err, os.ErrNotExist) && strings.Contains(string(out), "not permitted")
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
	ways["path"] = []string{parent, "-c", fixed + " $0; :"}
	if orphans {
		ways["path of one that ends"] = []string{parent, "-c", "( " + fixed + " $0 & ) & :"}
		ways["path of one that becomes another"] = []string{parent, "-c", fixed + " $0 & exec /bin/true"}
		ways["orphan"] = []string{parent, "-c", "( " + child + " $0 & ) ; :"}
		ways["of a child that has become"] = []string{"/bin/sh", "-c", "( exec " + parent + " -c '" + child + ` "$0" & : ' $0 ) & :`}
		ways["grandchild, all of them end"] = []string{parent, "-c", "/bin/sh -c '( " + below + ` "$0" & ) & :' $0 & :`}
	}
	each, lanes := 40/require.Stride(4), 3
	// Others keep the processors busy meanwhile.
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var busy sync.WaitGroup
	work := "while :; do /bin/true; done"
	if require.Race { // other tests watch the same host meanwhile, and must not lose what they wait for
		work = "while :; do :; done"
	}
	for range 2 {
		busy.Go(func() { _ = exec.CommandContext(load, "/bin/sh", "-c", work).Run() })
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
	// On a machine that is far too busy the gate's time is over before it is judged: then it says so, and lets through.
	late := notInTime(t, f)
	if !orphans { // what a parent has just become may be told of later than it was asked about; who ran is killed
		late += each * lanes * len(ways) / 100
	}
	if len(ran) > late {
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
	out, err := f.client(t, "hunt", fmt.Sprintf(`process.file.path.startsWith(%q) && kernel.gate == "kill" && !process.cmd_line.contains(%q)`, child, probe), "--json") // it ran before the guard stood
	if err != nil || strings.Contains(out, `"Launch"`) && late == 0 {
		t.Errorf("%v: some ran, and were killed:\n%.4000s", err, out)
	}
	f.stop(t)
}

// TestRefusedShellOfTheShop: the shell that the demo shop would start for a request is refused, by whatever gate, and the trace of that request shows it: each time.
func TestRefusedShellOfTheShop(t *testing.T) {
	require.Root(t)
	for gate, when := range map[string]string{
		"fanotify":  `process.file.path.endsWith("sh") && process.parent_process.name == "guarded-shop"`, // this one alone; ends of paths are what no hook of the kernel holds
		"exec-kill": `process.file.path == "REFUSED"`,                                                    // which the shell runs, that may run itself
	} {
		t.Run(gate, func(t *testing.T) { refusedShellOfTheShop(t, gate, when) })
	}
}

func refusedShellOfTheShop(t *testing.T, gate, when string) {
	dir := openDir(t)
	bin := filepath.Join(dir, "guarded-shop")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, "../../examples/shop").CombinedOutput(); err != nil {
		t.Fatalf("build the shop: %v\n%s", err, out)
	}
	address := freeAddress(t)
	shop := exec.CommandContext(context.WithoutCancel(t.Context()), bin, "--listen", address)
	if err := shop.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = shop.Process.Kill()
		_ = shop.Wait()
	})
	refused := copyOf(t, "/bin/touch", dir, "refused")
	config := enforceRules(t, dir, "ebpf", map[string]string{"no-shell": strings.ReplaceAll(when, "REFUSED", refused)})
	edge := freeAddress(t)
	f := startFamily(t, "--config", config, "--edge", edge, "--protect", "http://"+address, "--mode", "detect")
	f.await(t, "the watch", func() bool { return strings.Contains(f.text(), "watched by ebpf") })
	effect := filepath.Join(openDir(t), "effect")
	if err := os.Chmod(filepath.Dir(effect), 0o777); err != nil { //nolint:gosec // the shop is nobody
		t.Fatal(err)
	}
	// ping asks for a page that takes a shell, and returns the request's id and whether what it injects did something.
	ping := func() (id string, ran bool) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+edge+"/diag/ping?host="+url.QueryEscape("127.0.0.1;"+refused+" "+effect), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", true // the edge does not listen yet
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Fatal(err)
		}
		_, err = os.Stat(effect)
		_ = os.Remove(effect)
		return resp.Header.Get("X-Request-Id"), err == nil
	}
	outcome := map[string]string{"fanotify": "[refused]", "exec-kill": "[killed]"}[gate]
	var trace string
	traced := func(id string) bool {
		var err error
		trace, err = f.client(t, "trace", id)
		return err == nil && strings.Contains(trace, "service") && strings.Contains(trace, outcome)
	}
	defer func() {
		if t.Failed() {
			t.Logf("the last trace:\n%s", trace)
		}
	}()
	f.await(t, "the first refusal in a trace", func() bool {
		id, _ := ping()
		return id != "" && traced(id)
	})
	tries := 20 / require.Stride(5)
	var ids []string
	for range tries {
		id, ran := ping()
		if id == "" || ran && notInTime(t, f) == 0 {
			t.Fatalf("request %s: it ran", id)
		}
		if ran {
			continue
		}
		ids = append(ids, id)
	}
	for i, id := range ids {
		f.await(t, fmt.Sprintf("try %d: the refused shell in the trace of its request", i), func() bool { return traced(id) })
		if n := strings.Count(trace, outcome); n != 1 {
			t.Errorf("it is told of %d times:\n%s", n, trace)
		}
	}
	t.Logf("the last one:\n%s", trace)
	if gate != "fanotify" {
		f.stop(t)
		return
	}
	if out, err := f.client(t, "hunt", fmt.Sprintf(`kernel.gate == "kill" && http_request.uid in ["%s"]`, strings.Join(ids, `", "`)), "--json"); err != nil || strings.Contains(out, `"Launch"`) && notInTime(t, f) == 0 {
		t.Errorf("%v: some ran, and were killed:\n%.4000s", err, out)
	}
	f.stop(t)
}

// notInTime returns how many questions the gate says were not judged in time, or not by all that had been seen.
func notInTime(t *testing.T, f *family) (n int) {
	t.Helper()
	out, _ := f.client(t, "doctor")
	for _, m := range regexp.MustCompile(`(\d+) (had no verdict in time|came when too many waited|questions of gates were judged before)`).FindAllStringSubmatch(out, -1) {
		late, err := strconv.Atoi(m[1])
		if err != nil {
			t.Error(err)
		}
		n += late
		t.Log(m[0])
	}
	return n
}

// freeAddress returns an address of this host that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestRunKnowsWhoAsks: the same without privileges, of a program that is confined.
func TestRunKnowsWhoAsks(t *testing.T) {
	dir := openDir(t)
	parent, child := copyOf(t, "/bin/sh", dir, "bad-parent"), copyOf(t, "/bin/touch", dir, "refused")
	config := enforceRules(t, dir, "auto", map[string]string{
		"by-parent":      fmt.Sprintf(`process.file.path == %q && process.parent_process.name == "bad-parent"`, child),
		"by-parent-line": fmt.Sprintf(`process.file.path == %q && process.parent_process.cmd_line.contains("a-bad-word")`, child),
	})
	each := 100 / require.Stride(5)
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do %s -c "%s %s/one.$i; :"; sh -c ": a-bad-word; %s %s/two.$i; :"; i=$((i+1)); done; %s %s/allowed`,
		each, parent, child, dir, child, dir, child, dir)
	file := filepath.Join(dir, "script") // whose words are not the shell's command line
	if err := os.WriteFile(file, []byte(script), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "testudo", "--config", config, "run", "--", "sh", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%.4000s", err, out)
	}
	ran, err := filepath.Glob(filepath.Join(dir, "*.[0-9]*"))
	if err != nil || len(ran) > 0 {
		t.Errorf("%v: of %d, %d ran: %.10q", err, 2*each, len(ran), ran)
	}
	if _, err := os.Stat(filepath.Join(dir, "allowed")); err != nil {
		t.Errorf("the program by another parent: %v", err)
	}
}
