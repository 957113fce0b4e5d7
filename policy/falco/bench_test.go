package falco

import (
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// BenchmarkJudge judges by the 93 public rules: a file that is opened and of no interest, and a program that is started.
func BenchmarkJudge(b *testing.B) {
	rules, _ := New().Compile(corpus(b))
	all := make([]match.Rule, len(rules))
	for i, r := range rules {
		all[i] = match.Rule{Expr: r.Condition, Classes: r.On}
	}
	x := match.NewIndex(all)
	boring := open()
	boring.SetString(signal.FieldFilePath, "/usr/lib/x86_64-linux-gnu/libc.so.6")
	boring.SetStrings(signal.FieldOpenFlags, []string{"O_RDONLY", "O_CLOEXEC"})
	for name, e := range map[string]*signal.Event{"open": boring, "exec": exec()} {
		b.Run(name, func(b *testing.B) {
			var m match.Matches
			b.ReportAllocs()
			for b.Loop() {
				x.Match(e, &m)
			}
			b.ReportMetric(float64(len(m.Fired)), "fired")
		})
	}
}

// BenchmarkLoad loads the three public files.
func BenchmarkLoad(b *testing.B) {
	files := corpus(b)
	b.ReportAllocs()
	for b.Loop() {
		if rules, problems := New().Compile(files); len(rules) != 93 || len(problems) > 0 {
			b.Fatal(problems)
		}
	}
}

var _ policy.Dialect = (*Dialect)(nil)
