package falco

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
)

// FuzzLoad feeds the loader. Whatever it gets, it says where in the file a problem is, and what it accepts makes a set
// that judges and says why.
func FuzzLoad(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(base)
	f.Add("- rule: \"\"\n  exceptions: [[]]\n")
	f.Add("- rule: a\n  condition: a\n  output: '%('\n  priority: 1\n  exceptions: [{name: a, fields: [[a]], values: [[[[]]]]}]")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) > 64<<10 {
			return
		}
		rules, problems := New().Compile([]policy.File{{Name: "f.yaml", Text: []byte(text)}})
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Errorf("a problem at %d:%d of %d lines: %q", p.Line, p.Column, lines, p.Message)
			}
			if strings.ContainsAny(p.Error(), "\x00\x1b\r\n") {
				t.Errorf("a problem with control characters: %q", p.Error())
			}
		}
		set, err := policy.NewSet(rules)
		if err != nil {
			t.Fatal(err)
		}
		engine := policy.NewEngine(set)
		for _, h := range engine.Judge(exec()).Hits {
			if strings.ContainsAny(h.Why, "\x00\u202e\x1b\n") {
				t.Errorf("why holds control characters: %q", h.Why)
			}
		}
	})
}

// FuzzCondition feeds the condition parser and compiler; not of what compiles is the opposite of it.
func FuzzCondition(f *testing.F) {
	for _, cond := range []string{
		`evt.type = execve and not proc.name in (shells, "a b", 'c')`,
		`(fd.name pmatch (/etc, "/var/*/log") or fd.name glob "/home/[!a]*/@(x|y)")`,
		`tolower(proc.name) = val(proc.pname) or proc.aname[2] startswith x`,
		`join(",", (proc.name, user.name)) bcontains 00ff or concat(proc.name) exists`,
		`fd.rip != 10.0.0.0/8 and fd.num >= 0 and container.mount.dest[/a*] != "N/A"`,
		`proc.name = "\x41\n\ " or proc.tty != 0 or evt.num >= 0`,
		"not(not not(shell_procs))",
	} {
		f.Add(cond)
	}
	f.Fuzz(func(t *testing.T, cond string) {
		if !utf8.ValidString(cond) || len(cond) > 2000 {
			return
		}
		compile := func(cond string) (match.Expr, bool) {
			src := text{value: cond}
			n, m := parse(&src)
			if m == nil {
				n, m = (&expansion{r: &reader{macros: map[string]*macro{}, lists: map[string]*list{}}}).expand(n, 0)
			}
			if m != nil {
				if m.message == "" || m.offset < 0 || m.offset > len(cond) {
					t.Fatalf("%q: mistake %+v", cond, m)
				}
				return nil, false
			}
			x, m := (&compiler{view: processView, src: sources[0], classes: sources[0].classes}).expr(n)
			if m != nil {
				if m.message == "" || m.offset < 0 || m.offset > len(cond) {
					t.Fatalf("%q: mistake %+v", cond, m)
				}
				return nil, false
			}
			return match.Simplify(x), true
		}
		x, ok := compile(cond)
		if !ok {
			return
		}
		not, ok := compile("not (" + cond + ")")
		if !ok {
			return // one parenthesis more may be too deep
		}
		if a, b := match.Eval(x, exec()), match.Eval(not, exec()); a == b {
			t.Errorf("%q and its opposite are both %v", cond, a)
		}
	})
}
