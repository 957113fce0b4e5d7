package policy

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	// At once: a watcher may look at any moment, and must not meet half a file.
	unseen := filepath.Join(filepath.Dir(path), ".new")
	if err := os.WriteFile(unseen, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(unseen, path); err != nil {
		t.Fatal(err)
	}
}

func TestLoadNamesEverythingWrong(t *testing.T) {
	_, err := loader().Load(context.Background(),
		Embedded("built", tree("a.yaml", "one alert a\n", "sub/b.yml", "two denny a\nthree\n", "c.txt", "not a rule file")),
		Embedded("own", tree("a.yaml", "one alert b\nfour deny a\n", "d.yaml", "other dialect", "e.yaml", "ok\xff", "f.yaml", "line\n \xc3(", ".hidden.yaml", "x", ".git/x.yaml", "y")),
	)
	want := strings.Join([]string{
		`built/sub/b.yml:1:4: unknown verdict "denny": want allow, alert, limit, challenge or deny`,
		`built/sub/b.yml:2:1: too few words`,
		`own/a.yaml:1:1: rule id "one" is taken by built/a.yaml:1; give this rule an id of its own`,
		`own/d.yaml: in no dialect that is known here; known: lines`,
		`own/e.yaml:1:3: not valid UTF-8; save the file as UTF-8`,
		`own/f.yaml:2:2: not valid UTF-8; save the file as UTF-8`,
	}, "\n")
	var problems Problems
	if !errors.As(err, &problems) || problems.Error() != want {
		t.Errorf("problems:\n%v\nwant:\n%s", err, want)
	}
}

func TestLoadFromDisk(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/rules/a.yaml", "one alert a\n")
	write(t, dir+"/rules/..data/b.yaml", "two alert a\n")
	write(t, dir+"/secret/c.yaml", "three alert a\n")
	for link, to := range map[string]string{
		"/rules/b.yaml":        "..data/b.yaml",        // as a mounted ConfigMap has it
		"/rules/out.yaml":      dir + "/secret/c.yaml", // leaves the folder
		"/rules/up.yaml":       "../secret/c.yaml",
		"/rules/loop.yaml":     "loop.yaml",
		"/rules/self":          ".",
		"/rules/dangling.yaml": "nowhere.yaml",
	} {
		if err := os.Symlink(to, dir+link); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(dir+"/rules/pipe.yaml", 0o600); err != nil {
		t.Fatal(err)
	}
	report, err := loader().Check(context.Background(), Disk(dir+"/rules"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.Print(&b); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(b.String(), dir, "D")
	for _, name := range []string{"out", "up", "loop", "dangling", "pipe"} {
		if !strings.Contains(text, "D/rules/"+name+".yaml: ") {
			t.Errorf("no problem for %s in:\n%s", name, text)
		}
	}
	if !strings.HasSuffix(text, "\nloaded 2 of 7 files, 2 rules\n") || report.OK() {
		t.Errorf("report:\n%s", text)
	}
	// A file by its name, and nothing around it.
	set, err := loader().Load(context.Background(), Disk(dir+"/secret/c.yaml"))
	if err != nil || set.Len() != 1 || set.Rule("three").File != filepath.ToSlash(dir)+"/secret/c.yaml" {
		t.Errorf("one file: %v", err)
	}
	if _, err := loader().Load(context.Background(), Disk(dir+"/none")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a folder that is not: %v", err)
	}
}

func TestLoadLimits(t *testing.T) {
	l := loader()
	l.MaxFile = 1024
	_, err := l.Load(context.Background(), Embedded("r", tree("big.yaml", strings.Repeat("x", 1025))))
	if err == nil || !strings.Contains(err.Error(), "r/big.yaml: larger than 1KiB") {
		t.Errorf("a large file: %v", err)
	}
	_, err = loader().Load(context.Background(), Embedded("r", tree("many.yaml", strings.Repeat("x\n", 1000))))
	var problems Problems
	if !errors.As(err, &problems) || len(problems) != 11 || problems[10].Message != "990 more: too few words" {
		t.Errorf("%d problems", len(problems))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := loader().Load(ctx, Embedded("r", tree("a.yaml", "a alert a"))); !errors.Is(err, context.Canceled) {
		t.Errorf("a load that is called off: %v", err)
	}
}

func TestDisable(t *testing.T) {
	l := loader()
	l.Disable = []string{"one"}
	set, err := l.Load(context.Background(), Embedded("r", tree("a.yaml", "one alert a\ntwo alert a\n")))
	if err != nil {
		t.Fatal(err)
	}
	engine := NewEngine(set)
	if got := summary(engine.Judge(request("/a", "", 0))); got != "alert two" {
		t.Errorf("%s", got)
	}
	if in, _ := engine.Info("one"); in.Enabled {
		t.Error("a disabled rule is said to be enabled")
	}
	l.Disable = []string{"onee"}
	if _, err := l.Load(context.Background(), Embedded("r", tree("a.yaml", "one alert a\n"))); err == nil || !strings.Contains(err.Error(), `did you mean "one"?`) {
		t.Errorf("an id that is none: %v", err)
	}
}

func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", "one alert a\n")
	ctx, cancel := context.WithCancel(context.Background())
	changes := make(chan Change, 10)
	engine, w, err := Watch(ctx, loader(), []Source{Disk(dir)}, 2*time.Millisecond, func(c Change) { changes <- c })
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	wait := func(what string, ok func() bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			if ok() {
				return
			}
		}
		t.Fatalf("waited in vain: %s; %+v", what, w.Status())
	}
	judge := func() string { return summary(engine.Judge(request("/ab", "", 0))) }

	write(t, dir+"/b.yaml", "two deny b\n")
	wait("a new file", func() bool { return judge() == "deny two one" })
	if c := <-changes; len(c.Added) != 1 || c.Added[0] != "two" || c.New != engine.Set().Digest() {
		t.Errorf("change %+v", c)
	}
	// All or nothing: a good change beside a bad one is not taken either.
	write(t, dir+"/a.yaml", "one limit a\n")
	write(t, dir+"/b.yaml", "two denny b\n")
	wait("an error", func() bool { return !w.Status().OK() && strings.Contains(w.Status().Problems.Error(), "b.yaml:1:4") })
	if !strings.HasPrefix(judge(), "deny two") {
		t.Errorf("the old set is gone: %s", judge())
	}
	write(t, dir+"/b.yaml", "two challenge b\n")
	wait("the mended file", func() bool { return judge() == "challenge two one" && w.Status().OK() })
	if err := os.Remove(dir + "/b.yaml"); err != nil {
		t.Fatal(err)
	}
	wait("a file that went", func() bool { return judge() == "limit one" })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run returned %v", err)
	}
	s := w.Status()
	if s.Digest != engine.Set().Digest() || s.Rules != 1 || s.Failures == 0 {
		t.Errorf("status %+v", s)
	}
}

// TestWatcherReadsTexts changes a file so that neither its size nor its time shows it.
func TestWatcherReadsTexts(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", "one alert a\n")
	then := time.Unix(1700000000, 0)
	touch := func() {
		if err := os.Chtimes(dir+"/a.yaml", then, then); err != nil {
			t.Fatal(err)
		}
	}
	touch()
	engine, w, err := Watch(context.Background(), loader(), []Source{Disk(dir)}, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/a.yaml", "one limit a\n")
	touch()
	for range readEvery {
		w.poll(context.Background())
	}
	if got := engine.Judge(request("/a", "", 0)).Decision; got != signal.Limit {
		t.Errorf("decision %v after %d looks", got, readEvery)
	}
	if err := w.Reload(context.Background()); err != nil || w.Status().Reloads != 1 {
		t.Errorf("a reload of the same: %v, %d reloads", err, w.Status().Reloads)
	}
}

func TestRunTestsReport(t *testing.T) {
	set := load(t, "one alert a xx\nuntested alert a\n")
	r := *set.Rule("one")
	deny, alert := signal.Deny, signal.Alert
	r.Tests = []Test{
		{Name: "good", Line: 3, Steps: []Step{{Event: request("/a", "203.0.113.9", 0), Fires: true, Decision: &alert, Orders: []string{}}, {Event: request("/a", "203.0.113.9", 1), Fires: true, Orders: []string{"block 203.0.113.9"}}}},
		{Name: "fires not", Line: 5, Steps: []Step{{Event: request("/x\x1b", "", 0), Fires: true, Line: 6}}},
		{Name: "other verdict", Line: 7, Steps: []Step{{Event: request("/a", "", 0), Fires: true, Decision: &deny, Line: 8}}},
		{Name: "other orders", Line: 9, Steps: []Step{{Event: request("/a", "203.0.113.9", 0), Fires: true}, {Event: request("/a", "203.0.113.9", 1), Fires: true, Orders: []string{}, Line: 11}}},
		{Name: "not set", Line: 12, Steps: []Step{{Event: &signal.Event{}, Fires: true, Line: 12}}},
	}
	set, err := NewSet([]*Rule{&r, set.Rule("untested")})
	if err != nil {
		t.Fatal(err)
	}
	report, err := RunTests(context.Background(), set)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := report.Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `r/a.yaml:6: rule one: test "fires not": does not fire, want fires; http_request.url.path="/x\x1b"
r/a.yaml:8: rule one: test "other verdict": fires, decides alert, want fires, decides deny; http_request.url.path="/a"
r/a.yaml:11: rule one: test "other orders" event 2: fires, orders block 203.0.113.9, want fires, orders nothing; http_request.url.path="/a"
r/a.yaml:12: rule one: test "not set": does not fire, want fires; http_request.url.path is not set
without tests: untested
1 of 5 tests passed, 2 rules
`
	if b.String() != want {
		t.Errorf("report:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestConfig(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
	for _, change := range []func(*Config){
		func(c *Config) { c.Reload = time.Millisecond },
		func(c *Config) { c.Reload = 2 * time.Hour },
		func(c *Config) { c.MaxFile = 0 },
		func(c *Config) { c.MaxFile = 11 << 20 },
		func(c *Config) { c.Rules = []string{""} },
	} {
		c := Default()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
	c := Config{Rules: []string{"x"}, Builtin: true}
	if s := c.Sources(Source{Name: "b"}); len(s) != 2 || s[0].Name != "b" || s[1].Path != "x" {
		t.Errorf("sources %+v", s)
	}
	c.Builtin = false
	if s := c.Sources(Source{Name: "b"}); len(s) != 1 {
		t.Errorf("sources %+v", s)
	}
}

// TestUnreadable refuses a rule over what is written when its event has been judged.
func TestUnreadable(t *testing.T) {
	for _, f := range []signal.Field{signal.FieldVerdictRules, signal.FieldKernelGate, signal.FieldKernelMode, signal.FieldKernelOutcome} {
		_, err := NewSet([]*Rule{{ID: "late", File: "a.yaml", Line: 3, Column: 1, Condition: match.Or{match.Not{Part: match.Exists(f)}, match.Const(true)}}})
		if err == nil || !strings.Contains(err.Error(), "a.yaml:3:1: the condition of rule late reads "+f.String()) {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// TestTooManyTags refuses a rule whose findings would carry thousands of tags.
func TestTooManyTags(t *testing.T) {
	tags := make([]string, 201)
	_, err := NewSet([]*Rule{{ID: "loud", File: "a.yaml", Line: 3, Column: 1, Tags: tags, Condition: match.Const(true)}})
	if err == nil || !strings.Contains(err.Error(), "a.yaml:3:1: rule loud has 201 tags, and 200 are allowed") {
		t.Errorf("%v", err)
	}
	if _, err := NewSet([]*Rule{{ID: "quiet", File: "a.yaml", Line: 3, Column: 1, Tags: tags[:200], References: tags[:200], Condition: match.Const(true)}}); err != nil {
		t.Error(err)
	}
}
