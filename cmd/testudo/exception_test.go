package main

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/console"
)

func TestPrintExclusions(t *testing.T) {
	report := console.ExceptionReport{Exclusions: []console.Exclusion{
		{Text: "rule 942100 in ARGS:q of /search", Before: "SecRule A\n  SecRule B\n", Freed: 5, Attacks: 2000, Placed: 1000, LostPlaced: 27, Examples: []string{"942100-1", "942100-2"}},
		{Text: "rule 942100 of all\x1b paths", After: "SecRuleRemoveById 942100\n", Freed: 7, AtMost: true, Attacks: 2000, Lost: 1, Examples: []string{"942100-1"}},
	}}
	var out bytes.Buffer
	printExclusions(&out, &report)
	want := `
exclusions from the firewall instead, which goes on with the rest of its rules; from narrow to wide, tried on the attacks of the
Core Rule Set's regression tests that it detects:

a. rule 942100 in ARGS:q of /search
   frees 5 other recorded alarms of the firewall
   loses 2.7% of the attacks in that parameter (27 of 1000), as 942100-1, 942100-2
         none of all attacks as the tests send them (0 of 2000)
   waf.before:
     SecRule A
       SecRule B

b. rule 942100 of all\x1b paths
   frees at most 7 other recorded alarms of the firewall
   loses 0.05% of all attacks as the tests send them (1 of 2000), as 942100-1
   waf.after:
     SecRuleRemoveById 942100

there is none by what the value looks like, which costs less: it was masked. The route records parameters that it names in record.parameters.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	out.Reset()
	printExclusions(&out, &console.ExceptionReport{NoExclusion: "no exclusion prevents it"})
	if got := out.String(); got != "\nexclusions from the firewall's rules: no exclusion prevents it\n" {
		t.Errorf("%q", got)
	}
}
