package scan_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/signal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// marker is a scanner that finds the word NEEDLE and remembers what it was shown.
type marker struct {
	mu    sync.Mutex
	seen  map[string]string
	conf  scan.Confidence
	fails string
}

func (m *marker) Name() string { return "marker" }

func (m *marker) Scan(_ context.Context, f *scan.File, report scan.Report) error {
	m.mu.Lock()
	if m.seen == nil {
		m.seen = map[string]string{}
	}
	if _, twice := m.seen[f.Path]; twice {
		m.fails = f.Path
	}
	m.seen[f.Path] = string(f.Data)
	if f.Binary {
		m.seen[f.Path] = "binary"
	}
	conf, fails := m.conf, m.fails
	m.mu.Unlock()
	if f.Path == fails {
		return errors.New("cannot")
	}
	if conf == 0 {
		conf = scan.High
	}
	for n, line := range strings.Split(string(f.Data), "\n") {
		if i := strings.Index(line, "NEEDLE"); i >= 0 {
			report(signal.Finding{ID: signal.Fingerprint(f.Path, line), Rule: "needle", Title: "Needle", Severity: signal.SeverityHigh, Fix: "Pull it.",
				Location: signal.Location{Line: n + 1, Column: i + 1}}, conf)
		}
	}
	return nil
}

func (m *marker) paths() []string {
	out := []string{}
	for p := range m.seen {
		out = append(out, p)
	}
	slices.Sort(out)
	return out
}

// tree writes files; a name with a final slash is an empty folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		at := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(at, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func run(t *testing.T, root string, m *marker, change func(*scan.Options)) ([]signal.Finding, scan.Stats) {
	t.Helper()
	o := scan.Options{Root: root, Scanners: []scan.Scanner{m}, Config: scan.DefaultConfig()}
	if change != nil {
		change(&o)
	}
	var out []signal.Finding
	stats, err := scan.Run(context.Background(), o, func(f signal.Finding) { out = append(out, f) })
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(out, func(a, b signal.Finding) int { return strings.Compare(a.Location.Path, b.Location.Path) })
	return out, stats
}

func TestWalkAndIgnore(t *testing.T) {
	files := map[string]string{
		".git/info/exclude": "excluded.txt\n", ".git/config": "NEEDLE", ".hg/x": "NEEDLE",
		".gitignore": "*.log\nout/\n!keep.log\n", "a.go": "x", "a.log": "x", "keep.log": "x", "out/b.go": "x", "excluded.txt": "x",
		"sub/.gitignore": "/only-here\n!a.log\n", "sub/only-here": "x", "sub/deep/only-here": "x", "sub/a.log": "x",
		".testudoignore": "vendored/\n!secret.log\n", "vendored/c.go": "x", "secret.log": "x", "module/.git": "gitdir: elsewhere", "module/d.go": "x",
		"no/": "",
	}
	dir := tree(t, files)
	m := &marker{}
	_, stats := run(t, dir, m, nil)
	want := []string{".gitignore", ".testudoignore", "a.go", "keep.log", "module/d.go", "secret.log", "sub/.gitignore", "sub/a.log", "sub/deep/only-here"}
	if d := cmp.Diff(want, m.paths()); d != "" {
		t.Error(d)
	}
	if stats.Files != uint64(len(want)) || stats.Ignored != 5 || stats.Incomplete() {
		t.Errorf("%+v", stats)
	}

	m = &marker{} // a folder inside the repository: the files above it count
	run(t, filepath.Join(dir, "sub"), m, nil)
	if d := cmp.Diff([]string{".gitignore", "a.log", "deep/only-here"}, m.paths()); d != "" {
		t.Error(d)
	}
	m = &marker{}
	run(t, dir, m, func(o *scan.Options) {
		o.Config.Ignore = false
		o.Config.Exclude = []string{"sub/", "*.txt"}
	})
	if d := cmp.Diff([]string{".gitignore", ".testudoignore", "a.go", "a.log", "keep.log", "module/d.go", "out/b.go", "secret.log", "vendored/c.go"}, m.paths()); d != "" {
		t.Error(d)
	}
}

// TestIgnoreFilesGiven: who must not decide what is looked at does not do so by a folder's name either. A commit cannot hold a .git.
func TestIgnoreFilesGiven(t *testing.T) {
	dir := tree(t, map[string]string{".git/config": "x", ".svn/a": "x", ".hg/a": "x", "d/.jj/a": "x", "d/.svn": "a file", ".gitignore": "*", "kept": "x", "a.log": "x"})
	for _, c := range []struct {
		given map[string][]byte
		want  string
	}{
		{nil, ""},
		{map[string][]byte{".gitignore": []byte("*.log")}, ".gitignore .hg/a .svn/a d/.jj/a d/.svn kept"},
		{map[string][]byte{}, ".gitignore .hg/a .svn/a a.log d/.jj/a d/.svn kept"},
	} {
		m := &marker{}
		o := scan.Options{Root: dir, Config: scan.DefaultConfig(), Scanners: []scan.Scanner{m}, IgnoreFiles: c.given}
		if _, err := scan.Run(t.Context(), o, func(signal.Finding) {}); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(m.paths(), " "); got != c.want {
			t.Errorf("given %v: %q, want %q", c.given, got, c.want)
		}
	}
}

// TestTracked: what was committed is looked at, though git's ignore files name its folder; what lies beside it is not.
func TestTracked(t *testing.T) {
	dir := tree(t, map[string]string{"build/in/lock": "x", "build/in/made": "x", "build/made": "x", "node/made": "x", "own/lock": "x", "a.log": "x", "b.log": "x", "kept": "x"})
	m := &marker{}
	o := scan.Options{Root: dir, Config: scan.DefaultConfig(), Scanners: []scan.Scanner{m}, IgnoreFiles: map[string][]byte{".gitignore": []byte("build/\nnode/\n*.log\n"), ".testudoignore": []byte("own/\n")},
		Tracked: map[string]bool{"build": true, "build/in": true, "build/in/lock": true, "own": true, "own/lock": true, "a.log": true}}
	if _, err := scan.Run(t.Context(), o, func(signal.Finding) {}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(m.paths(), " "); got != "a.log build/in/lock kept" {
		t.Error(got)
	}
}

func TestSingleFile(t *testing.T) {
	dir := tree(t, map[string]string{"a.txt": "NEEDLE", "b.txt": "NEEDLE", ".gitignore": "*.txt"})
	m := &marker{}
	found, _ := run(t, filepath.Join(dir, "a.txt"), m, nil)
	if len(found) != 1 || found[0].Location.Path != "a.txt" {
		t.Errorf("%+v", found)
	}
	t.Chdir(dir)
	if found, _ = run(t, "b.txt", &marker{}, nil); len(found) != 1 || found[0].Location.Path != "b.txt" {
		t.Errorf("%+v", found)
	}
}

// TestOutside holds that nothing outside the root is read and nothing special is opened.
func TestOutside(t *testing.T) {
	outside := tree(t, map[string]string{"secret": "NEEDLE"})
	dir := tree(t, map[string]string{"in/a": "x"})
	for link, target := range map[string]string{"file": filepath.Join(outside, "secret"), "folder": outside, "loop": dir, "dangling": "/nonexistent", "in/up": ".."} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &marker{}
	found, stats := run(t, dir, m, nil)
	if len(found) != 0 || stats.Special != 6 || stats.Files != 1 {
		t.Errorf("found %v, %+v, read %v", found, stats, m.paths())
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(outside, link); err != nil {
		t.Fatal(err)
	}
	if found, _ := run(t, link, &marker{}, nil); len(found) != 1 {
		t.Errorf("a root that is itself a link gave %d findings", len(found))
	}
}

func TestHostileNames(t *testing.T) {
	names := []string{"new\nline", "esc\x1b[31mred", "bad\xff\xfeutf8", "tab\there", "rtl\u202egnp.exe", "back\\slash", "back\\slash\n"}
	files := map[string]string{}
	for _, n := range names {
		files[n] = "NEEDLE"
	}
	found, _ := run(t, tree(t, files), &marker{}, nil)
	var got []string
	for _, f := range found {
		got = append(got, f.Location.Path)
	}
	want := []string{`back\\slash\n`, `back\slash`, `bad\xff\xfeutf8`, `esc\x1b[31mred`, `new\nline`, `rtl\u202egnp.exe`, `tab\there`}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestLimits(t *testing.T) {
	dir := tree(t, map[string]string{"big": strings.Repeat("x", 5000), "fits": strings.Repeat("y", 4096), "a/b/c/d": "NEEDLE", "a/b/e": "x", "empty": "",
		"many": strings.Repeat("NEEDLE\n", 1)})
	m := &marker{}
	_, stats := run(t, dir, m, func(o *scan.Options) {
		o.Config.MaxFileSize = 4096
		o.Config.MaxDepth = 2
	})
	if stats.TooLarge != 1 || stats.TooDeep != 1 || !stats.Incomplete() || stats.Files != 4 || stats.Bytes != 4096+1+7 {
		t.Errorf("%+v", stats)
	}
	slices.SortFunc(stats.Skipped, func(a, b scan.Skip) int { return strings.Compare(a.Path, b.Path) })
	if d := cmp.Diff([]scan.Skip{{Path: "a/b/c", Reason: "nested deeper than 2 folders"}, {Path: "big", Reason: "larger than the limit: 0.0 MiB, the limit is 4KiB"}}, stats.Skipped); d != "" {
		t.Error(d)
	}
	if len(m.seen["fits"]) != 4096 {
		t.Errorf("a file at the limit was read as %d bytes", len(m.seen["fits"]))
	}
	found, stats := run(t, tree(t, map[string]string{"a": "NEEDLE", "b": "NEEDLE", "c": "NEEDLE"}), &marker{}, func(o *scan.Options) { o.Config.MaxFindings = 2 })
	if len(found) != 2 || stats.Dropped != 1 || !stats.Incomplete() {
		t.Errorf("%d findings, %+v", len(found), stats)
	}
}

func TestUnreadableAndFailing(t *testing.T) {
	m := &marker{fails: "bad"}
	_, stats := run(t, tree(t, map[string]string{"bad": "x", "good": "x"}), m, nil)
	if stats.Failed != 1 || stats.Skipped[0] != (scan.Skip{Path: "bad", Reason: "marker: cannot"}) {
		t.Errorf("%+v", stats)
	}
	if os.Geteuid() != 0 { // root reads everything
		dir := tree(t, map[string]string{"closed": "NEEDLE", "shut/a": "NEEDLE", "open": "x"})
		_ = os.Chmod(filepath.Join(dir, "closed"), 0)
		_ = os.Chmod(filepath.Join(dir, "shut"), 0)
		t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "shut"), 0o700) })
		if _, stats := run(t, dir, &marker{}, nil); stats.Unreadable != 2 || stats.Files != 1 {
			t.Errorf("%+v", stats)
		}
	}
	for _, root := range []string{"/nonexistent/x", "/dev/null"} {
		_, err := scan.Run(context.Background(), scan.Options{Root: root, Scanners: []scan.Scanner{m}, Config: scan.DefaultConfig()}, nil)
		if err == nil || !strings.Contains(err.Error(), root) {
			t.Errorf("%s: %v", root, err)
		}
	}
	if _, err := scan.Run(context.Background(), scan.Options{Root: "/", Config: scan.DefaultConfig()}, nil); err == nil {
		t.Error("a run without scanners was begun")
	}
}

func TestBinaryAndUTF16(t *testing.T) {
	m := &marker{}
	_, stats := run(t, tree(t, map[string]string{
		"bin": "a\x00b", "text": strings.Repeat("a", 9000) + "\x00",
		"le": "\xff\xfeN\x00=\xd8\x00\xde\n\x00", "be": "\xfe\xff\x00N\x00E", "odd": "\xff\xfe\x00\x00\x00\x00",
		"marked": "\xff\xfeNEEDLE!",
	}), m, nil)
	if m.seen["bin"] != "binary" || m.seen["odd"] != "binary" || m.seen["text"] == "binary" || stats.Binary != 2 {
		t.Errorf("%+v %q", stats, m.seen["odd"])
	}
	if m.seen["marked"] != "\xff\xfeNEEDLE!" {
		t.Errorf("a mark alone hides the text: %q", m.seen["marked"])
	}
	if m.seen["le"] != "N\U0001f600\n" || m.seen["be"] != "NE" {
		t.Errorf("UTF-16 became %q and %q", m.seen["le"], m.seen["be"])
	}
}

func TestAllowComment(t *testing.T) {
	for text, want := range map[string]bool{
		"NEEDLE # testudo:allow needle a test value":       true,
		"NEEDLE // testudo:allow other,needle because":     true,
		"# testudo:allow needle why\nNEEDLE":               true,
		"<!-- testudo:allow needle a demo -->\nNEEDLE":     true,
		"<!-- testudo:allow needle -->\nNEEDLE":            false, // no reason
		"NEEDLE // testudo:allow other,needle":             false,
		"x = 1 # testudo:allow needle\nNEEDLE":             false,
		"# testudo:allow needle\n\nNEEDLE":                 false,
		"NEEDLE # testudo:allow":                           false,
		"NEEDLE # testudo:allow needles":                   false,
		"NEEDLE # testudo:allow *":                         false,
		"NEEDLE\n# testudo:allow needle":                   false,
		"a\nb\nNEEDLE # testudo:allow needle, not last\nc": true,
		"a\nb\nNEEDLE # testudo:allow needle not last\nc":  true,
	} {
		found, stats := run(t, tree(t, map[string]string{"f": text}), &marker{}, nil)
		if got := len(found) == 0; got != want || stats.Allowed != uint64(1-len(found)) {
			t.Errorf("%q: allowed %v, %+v", text, got, stats)
		}
	}
}

func TestBaselineAndConfidence(t *testing.T) {
	dir := tree(t, map[string]string{"a": "NEEDLE", "b": "NEEDLE"})
	found, _ := run(t, dir, &marker{}, nil)
	var file bytes.Buffer
	if err := scan.WriteBaseline(&file, found[:1]); err != nil {
		t.Fatal(err)
	}
	baseline, err := scan.ReadBaseline(&file)
	if err != nil {
		t.Fatal(err)
	}
	again, stats := run(t, dir, &marker{}, func(o *scan.Options) { o.Baseline = baseline })
	if len(again) != 1 || again[0].ID != found[1].ID || stats.Known != 1 {
		t.Errorf("%+v %+v", again, stats)
	}
	if _, err := scan.ReadBaseline(strings.NewReader("# ok\n\nnot-an-id\n")); err == nil || !strings.Contains(err.Error(), "line 3") {
		t.Errorf("%v", err)
	}
	for least, want := range map[string]int{"low": 2, "medium": 2, "high": 0} {
		found, stats := run(t, dir, &marker{conf: scan.Medium}, func(o *scan.Options) { o.Config.Confidence = least })
		if len(found) != want || stats.Quiet != uint64(2-want) {
			t.Errorf("%s: %d findings, %+v", least, len(found), stats)
		}
	}
}

func TestFindingFilledIn(t *testing.T) {
	found, _ := run(t, tree(t, map[string]string{"d/a": "x\n NEEDLE"}), &marker{}, func(o *scan.Options) { o.Asset = "repository:shop" })
	f := found[0]
	if f.Kind != signal.FindingPosture || f.State != signal.FindingOpen || f.Plane != signal.PlaneScan || f.Asset != "repository:shop" || f.Count != 1 ||
		f.First.IsZero() || f.Location.Path != "d/a" || f.Location.Line != 2 || f.Evidence[0] != (signal.Evidence{Name: "confidence", Value: "high"}) {
		t.Errorf("%+v", f)
	}
}

func TestManyFilesOnceEach(t *testing.T) {
	files := map[string]string{}
	for i := range 1000 {
		files[fmt.Sprintf("%d/%d/f%d", i%7, i%50, i)] = "NEEDLE"
	}
	m := &marker{}
	var last scan.Progress
	found, stats := run(t, tree(t, files), m, func(o *scan.Options) {
		o.Config.Workers = 8
		o.Progress = func(p scan.Progress) { last = p }
	})
	if len(found) != 1000 || stats.Files != 1000 || stats.Failed != 0 {
		t.Errorf("%d findings, %+v", len(found), stats)
	}
	if last.Files != 1000 || last.Total != 1000 || !last.Complete || last.Findings != 1000 || last.Bytes != 6000 {
		t.Errorf("%+v", last)
	}
}

func TestCancel(t *testing.T) {
	files := map[string]string{}
	for i := range 500 {
		files[fmt.Sprint(i)] = "NEEDLE"
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	_, err := scan.Run(ctx, scan.Options{Root: tree(t, files), Scanners: []scan.Scanner{&marker{}}, Config: scan.DefaultConfig()}, func(signal.Finding) {
		if n++; n == 3 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) || n > 100 {
		t.Errorf("%d findings, %v", n, err)
	}
}

func TestDeepTree(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	for range 700 { // longer than a path may be
		if err := root.Mkdir("deeper-and-deeper", 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := root.OpenRoot("deeper-and-deeper")
		if err != nil {
			t.Fatal(err)
		}
		root.Close()
		root = next
	}
	root.Close()
	_, stats := run(t, dir, &marker{}, nil)
	if stats.TooDeep != 1 || stats.Unreadable != 0 {
		t.Errorf("%+v", stats)
	}
}

func TestExitCode(t *testing.T) {
	high := []signal.Finding{{Severity: signal.SeverityLow}, {Severity: signal.SeverityHigh}}
	for _, tc := range []struct {
		findings []signal.Finding
		failOn   signal.Severity
		err      error
		want     int
	}{
		{nil, signal.SeverityLow, nil, 0}, {high, signal.SeverityHigh, nil, 1}, {high, signal.SeverityCritical, nil, 0}, {high, signal.SeverityLow, errors.New("x"), 2},
	} {
		if got := scan.ExitCode(tc.findings, tc.failOn, tc.err); got != tc.want {
			t.Errorf("%+v: %d", tc, got)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	good := scan.DefaultConfig()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, change := range map[string]func(*scan.Config){
		"max_file_size": func(c *scan.Config) { c.MaxFileSize = 2 * bytesize.GiB },
		"max_depth":     func(c *scan.Config) { c.MaxDepth = 0 },
		"max_findings":  func(c *scan.Config) { c.MaxFindings = 0 },
		"workers":       func(c *scan.Config) { c.Workers = -1 },
		"confidence":    func(c *scan.Config) { c.Confidence = "sure" },
	} {
		c := scan.DefaultConfig()
		change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("a\x1b[0m\xff\u202e\\")
	f.Add("plain")
	f.Fuzz(func(t *testing.T, s string) {
		p := scan.Printable(s)
		if scan.Printable(p) != p {
			t.Errorf("%q becomes %q, which is not printable", s, p)
		}
		if p == s {
			return
		}
		if strings.ContainsFunc(p, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("%q", p)
		}
	})
}

// BenchmarkRun scans 6 MB in 200 files with a scanner that does nothing: the
// price of walking and reading.
func BenchmarkRun(b *testing.B) {
	dir := b.TempDir()
	for i := range 200 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), bytes.Repeat([]byte("some text\n"), 3000), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(200 * 30000)
	for b.Loop() {
		if _, err := scan.Run(context.Background(), scan.Options{Root: dir, Scanners: []scan.Scanner{nothing{}}, Config: scan.DefaultConfig()}, nil); err != nil {
			b.Fatal(err)
		}
	}
}

type nothing struct{}

func (nothing) Name() string                                        { return "nothing" }
func (nothing) Scan(context.Context, *scan.File, scan.Report) error { return nil }
