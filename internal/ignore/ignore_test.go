package ignore

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/require"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		file, path string
		dir, want  bool
	}{
		{"*.log", "a.log", false, true},
		{"*.log", "deep/er/a.log", false, true},
		{"/a.log", "deep/a.log", false, false},
		{"doc/*.txt", "doc/a.txt", false, true},
		{"doc/*.txt", "x/doc/a.txt", false, false},
		{"doc/*.txt", "doc/x/a.txt", false, false},
		{"build/", "build", false, false},
		{"build/", "build", true, true},
		{"**/foo", "a/b/foo", false, true},
		{"**/foo/bar", "foo/bar", false, true},
		{"a/**/b", "a/b", false, true},
		{"a/**/b", "a/x/y/b", false, true},
		{"a/**", "a", true, false},
		{"a/**", "a/x/y", false, true},
		{"a/**/c/**/e", "a/b/c/d/c/e", false, true},
		{"*.log\n!keep.log", "keep.log", false, false},
		{"!keep.log\n*.log", "keep.log", false, true},
		{"\\!a", "!a", false, true},
		{"\\#a", "#a", false, true},
		{"# a", "# a", false, false},
		{"a\\ ", "a ", false, true},
		{"a  ", "a", false, true},
		{"[a-c]?[!x]", "b1y", false, true},
		{"[a-c]?[!x]", "b1x", false, false},
		{"[]a]", "]", false, true},
		{"[[:digit:]]*", "7up", false, true},
		{"[a", "[a", false, false},
		{"a*b*c*d", "aXbXcXd", false, true},
		{"foo\\", "foo\\", false, false},
		{"a\r\nb\r\n", "b", false, true},
		{"\xef\xbb\xbfa", "a", false, true},
		{"a\tb", "a\tb", false, true},
	} {
		if got := (*List)(nil).Extend("", []byte(tc.file)).Match(tc.path, tc.dir); got != tc.want {
			t.Errorf("%q on %q (dir %v): %v", tc.file, tc.path, tc.dir, got)
		}
	}
}

func TestNested(t *testing.T) {
	root := (*List)(nil).ExtendAbove("services/shop", []byte("/services/shop/out\n*.tmp\n")).Extend("", []byte("*.key\n!public.key\n"))
	sub := root.Extend("sub", []byte("!a.key\n/b\n"))
	for path, want := range map[string]bool{
		"out": true, "x/out": false, "x.tmp": true, "sub/x.tmp": true,
		"a.key": true, "public.key": false, "sub/a.key": false, "sub/b": true, "b": false, "sub/c/b": false, "subb/b": false,
	} {
		if got := sub.Match(path, false); got != want {
			t.Errorf("%s: left out %v", path, got)
		}
	}
	if root.Extend("other", []byte("# nothing\n\n")) != root {
		t.Error("an empty file made a list of its own")
	}
}

func TestBounds(t *testing.T) {
	l := (*List)(nil).Extend("", []byte(strings.Repeat("x\n", MaxPatterns+10)))
	if l.size != MaxPatterns {
		t.Errorf("%d patterns kept", l.size)
	}
	if (*List)(nil).Extend("", []byte(strings.Repeat("a", maxPattern+1))) != nil {
		t.Error("an endless pattern was kept")
	}
	// Exponential in a matcher that tries every split.
	hard := (*List)(nil).Extend("", []byte(strings.Repeat("**/a/", 60)+"b\n"+strings.Repeat("a*", 60)+"b"))
	done := make(chan bool, 1)
	go func() {
		done <- hard.Match(strings.Repeat("a/", 400)+"c", false) || hard.Match(strings.Repeat("a", 250), false)
	}()
	select {
	case matched := <-done:
		if matched {
			t.Error("matched")
		}
	case <-time.After(2 * time.Minute):
		t.Error("a pattern with many wildcards did not come to an end")
	}
}

// TestAgreesWithGit draws ignore files and paths and asks git itself. Left aside are two
// oddities of git that its manual does not promise: `a**/b` crosses folders after a literal
// beginning, and a bracket that is not closed reaches over slashes.
func TestAgreesWithGit(t *testing.T) {
	git := require.Program(t, "git", "git")
	r := rand.New(rand.NewPCG(7, 8))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	name := func() string { return pick("a", "b", "ab", "a.b", "x.log", "[", "a b", "!n", "#h", "B") }
	piece := func() string {
		return pick("a", "b", "*", "**", "?", "a*", "*.log", "[ab]", "[!a]", "a\\b", "\\*", "***", "x.log", "[[:alpha:]]", "a ", "[]]", "[^b]*", "!n", "\\!n", "#h", "\\#h")
	}
	for round := range 40 {
		dir := t.TempDir()
		run(t, dir, "", git, "init", "-q")
		var paths []string
		for range 25 {
			parts := make([]string, 1+r.IntN(4))
			for i := range parts {
				parts[i] = name()
			}
			p := strings.Join(parts, "/")
			if os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o700) == nil {
				if f, err := os.OpenFile(filepath.Join(dir, p), os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
					f.Close()
				}
			}
		}
		var lines []string
		for range 1 + r.IntN(5) {
			line := pick("", "", "!") + pick("", "", "/") + piece()
			for range r.IntN(3) {
				line += "/" + piece()
			}
			lines = append(lines, line+pick("", "", "/"))
		}
		file := strings.Join(lines, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(dir, ".gitignore"), []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
		list := (*List)(nil).Extend("", []byte(file))
		var ours []string
		walk(t, dir, "", list, &paths, &ours)
		out := run(t, dir, strings.Join(paths, "\x00")+"\x00", git, "check-ignore", "-z", "--no-index", "--stdin")
		theirs := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
		if out == "" {
			theirs = nil
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		if d := cmp.Diff(theirs, ours); d != "" {
			t.Errorf("round %d, ignore file %q: git (-), ours (+): %s", round, lines, d)
		}
	}
}

// walk lists every path, and those left out by themselves or with a folder above.
func walk(t *testing.T, root, dir string, list *List, all, out *[]string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		p := strings.TrimPrefix(dir+"/"+e.Name(), "/")
		if p == ".git" || p == ".gitignore" {
			continue
		}
		*all = append(*all, p)
		if list.Match(p, e.IsDir()) {
			markAll(t, root, p, e.IsDir(), all, out)
			continue
		}
		if e.IsDir() {
			walk(t, root, p, list, all, out)
		}
	}
}

func markAll(t *testing.T, root, p string, isDir bool, all, out *[]string) {
	*out = append(*out, p)
	if !isDir {
		return
	}
	entries, err := os.ReadDir(filepath.Join(root, p))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		*all = append(*all, p+"/"+e.Name())
		markAll(t, root, p+"/"+e.Name(), e.IsDir(), all, out)
	}
}

func run(t *testing.T, dir, input, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	cmd.Stdin = strings.NewReader(input)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() != 1 { // 1: none ignored
			t.Fatal(fmt.Errorf("%v: %w: %s", args, err, errs.String()))
		}
	}
	return out.String()
}

// FuzzMatch holds that a list with one plain negation of the path at its end never
// leaves that path out, whatever comes before.
func FuzzMatch(f *testing.F) {
	f.Add("*.log\n/a/**/b\n", "a/x/b")
	f.Add("[a-\\", "[a")
	f.Add("!\n/\n**\n", "x")
	f.Fuzz(func(t *testing.T, file, path string) {
		if path == "" || len(path) > 500 || len(file) > 2000 || strings.ContainsAny(path, "\n\r\x00 *?[\\") ||
			strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") || strings.Contains(path, "//") {
			return
		}
		l := (*List)(nil).Extend("", []byte(file))
		l.Match(path, false)
		l.Match(path, true)
		if l.Extend("", []byte("!/"+path)).Match(path, true) {
			t.Errorf("%q is left out after %q", path, "!/"+path)
		}
	})
}
