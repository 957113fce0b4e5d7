package falco

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// TestTables holds that the tables that ship say only what the program knows.
func TestTables(t *testing.T) {
	kinds := []string{"text", "number", "bool", "comm", "id", "ip", "net", "list", "dynamic", "bytes", "container", "special", "name", "never",
		"result", "ancestor", "mount", "under", "param", "repository", "hostpath", "anytrue", "pointer"}
	seen := make(map[string]bool)
	for _, f := range Fields() {
		kind, mode, _ := strings.Cut(f.Kind, ":")
		if seen[f.Name] || !slices.Contains(kinds, kind) || !slices.Contains([]string{"", "host", "false", "local", "remote"}, mode) ||
			!slices.Contains([]string{"-", "level", "name", "optional"}, f.Argument) || !slices.Contains([]string{"yes", "kernel", "no"}, f.Carried) || f.Doc == "" {
			t.Errorf("%+v", f)
		}
		seen[f.Name] = true
		for _, cell := range []string{f.Process, f.Other} {
			for target := range strings.SplitSeq(cell, ",") {
				name, step, _ := strings.Cut(target, "|")
				name, _, _ = strings.Cut(name, "[")
				if _, ok := stepNames[step]; step != "" && !ok {
					t.Errorf("%s: unknown step %q", f.Name, step)
				}
				if name == "=" || name == "-" || name == "pointer" || strings.Contains(name, ":") {
					continue
				}
				if _, ok := signal.Lookup(name); !ok {
					t.Errorf("%s: there is no field %q", f.Name, name)
				}
			}
		}
		// Every field can be used, in conditions or in output.
		o := operand{name: f.Name, src: &text{}}
		switch f.Argument {
		case "name":
			o.arg, o.hasArg = "x", true
		case "level":
			o.arg, o.hasArg = "2", true
		}
		src := sources[0]
		if strings.HasPrefix(f.Name, "ka.") {
			src = sources[1]
		}
		if _, m := plainShown(&o, src); m != nil {
			t.Errorf("%s in output: %s", f.Name, m.message)
		}
		if f.Name == "container.info" || strings.HasPrefix(f.Name, "evt.time") || strings.HasPrefix(f.Name, "evt.datetime") {
			continue
		}
		k := compiler{view: otherView, src: src, classes: src.classes}
		if x, m := k.check(&checkNode{left: o, op: "exists", src: o.src}); m != nil || x == nil {
			t.Errorf("%s exists: %v", f.Name, m)
		}
	}
}

// TestDoc writes the tables of docs/falco.md.
func TestDoc(t *testing.T) {
	const path = "../../docs/falco.md"
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	carried := map[string]string{"yes": "yes", "kernel": "kernel plane", "no": "no"}
	var b strings.Builder
	b.WriteString("| field | reads | carried | what it is |\n|---|---|---|---|\n")
	for _, f := range Fields() {
		name := f.Name
		switch f.Argument {
		case "level":
			name += "[N]"
		case "name":
			name += "[X]"
		case "optional":
			name += " or [X]"
		}
		arg := ""
		if f.Argument == "name" {
			arg = "X"
		}
		src := sources[0]
		switch {
		case strings.HasPrefix(f.Name, "ka."):
			src = sources[1]
		case strings.HasPrefix(f.Name, "ct."):
			src = sources[2]
		}
		reads := f.reads(arg, src)
		if f.Kind == "pointer" {
			reads = "the record"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", name, strings.ReplaceAll(reads, "|", `\|`), carried[f.Carried], f.Doc)
	}
	got := between(t, string(doc), "fields", b.String())
	b.Reset()
	b.WriteString("| `evt.type` | class | known without the attribute by |\n|---|---|---|\n")
	for _, c := range table().calls {
		if len(c.activities) == 0 && c.class == signal.ClassProcessActivity && !c.process {
			continue
		}
		known := ""
		for _, a := range c.activities {
			if known != "" {
				known += " or "
			}
			known += c.class.Activity(uint8(a.Min))
		}
		if c.direction != 0 {
			known += map[int64]string{1: ", inbound", 2: ", outbound"}[c.direction]
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.name, c.class, known)
	}
	golden(t, path, between(t, got, "calls", b.String()))
}

// between puts a table between its two marks.
func between(t *testing.T, doc, name, table string) string {
	t.Helper()
	begin, end := "<!-- "+name+": written by go test ./policy/falco -update -->\n", "<!-- end of "+name+" -->"
	before, rest, ok := strings.Cut(doc, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("the marks of %s are missing", name)
	}
	return before + begin + table + end + after
}

// TestCompiled holds how some rules of the corpus read once they are compiled.
func TestCompiled(t *testing.T) {
	rules, _ := New().Compile(corpus(t))
	var b strings.Builder
	severities := make(map[signal.Severity]int)
	classes := make(map[string]int)
	off, funcs := 0, 0
	for _, r := range rules {
		severities[r.Severity]++
		if r.Disabled {
			off++
		}
		names := make([]string, len(r.On))
		for i, c := range r.On {
			names[i] = c.String()
		}
		classes[strings.Join(names, ", ")]++
		match.Walk(r.Condition, func(x match.Expr) bool {
			if _, ok := x.(*match.Func); ok {
				funcs++
			}
			return true
		})
	}
	fmt.Fprintf(&b, "%d rules, %d disabled, %d parts that no index serves\n", len(rules), off, funcs)
	for s := signal.SeverityInfo; s <= signal.SeverityFatal; s++ {
		fmt.Fprintf(&b, "%s: %d\n", s, severities[s])
	}
	for _, name := range slices.Sorted(maps.Keys(classes)) {
		fmt.Fprintf(&b, "on %s: %d\n", name, classes[name])
	}
	for _, name := range []string{"Run shell untrusted", "Terminal shell in container", "Clear Log Activities", "Fileless execution via memfd_create",
		"Contact cloud metadata service from container", "Disallowed SSH Connection Non Standard Port", "Schedule Cron Jobs",
		"Redirect STDOUT/STDIN to Network Connection in Container"} {
		i := slices.IndexFunc(rules, func(r *policy.Rule) bool { return r.Name == name })
		fmt.Fprintf(&b, "\n%s [%s %s]\n  %s\n", name, rules[i].ID, strings.Join(rules[i].Tags, " "), match.String(rules[i].Condition))
	}
	golden(t, "testdata/compiled.txt", b.String())
}
