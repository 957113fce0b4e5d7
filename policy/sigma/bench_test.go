package sigma

import (
	"testing"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// BenchmarkCorpus judges events by all public rules: one that is of no interest, and those that rules were made to
// fire on, one after another.
func BenchmarkCorpus(b *testing.B) {
	rules, _ := New(Config{}).Compile(corpus(b))
	all := make([]match.Rule, len(rules))
	for i, r := range rules {
		all[i] = match.Rule{Expr: r.Condition, Classes: r.On}
	}
	index := match.NewIndex(all)
	var firing []*signal.Event
	for i := 0; i < len(rules); i += 20 {
		if e := eventFor(rules[i]); e != nil {
			firing = append(firing, e)
		}
	}
	quiet := &signal.Event{Class: signal.ClassProcessActivity, Activity: signal.ActivityProcessLaunch}
	quiet.SetString(signal.FieldMetadataLogProduct, "windows")
	quiet.SetString(signal.FieldMetadataLogCategory, "process_creation")
	quiet.SetString(signal.FieldProcessFilePath, `C:\Program Files\Acme\Editor\editor.exe`)
	quiet.SetString(signal.FieldProcessCmdLine, `"C:\Program Files\Acme\Editor\editor.exe" --open "C:\Users\eve\Documents\letter.txt"`)
	quiet.SetString(signal.FieldProcessParentProcessFilePath, `C:\Windows\explorer.exe`)
	quiet.SetString(signal.FieldProcessUserName, `CORP\eve`)
	for name, events := range map[string][]*signal.Event{"quiet": {quiet}, "firing": firing} {
		b.Run(name, func(b *testing.B) {
			var found match.Matches
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				index.Match(events[i%len(events)], &found)
			}
		})
	}
}
