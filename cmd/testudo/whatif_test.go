package main

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

func TestFailOn(t *testing.T) {
	report := console.WhatIfReport{Counts: map[string]int64{"newly_blocked": 10, "newly_alerted": 2}}
	for _, c := range []struct {
		specs []string
		want  bool
	}{
		{nil, false}, {[]string{"newly-blocked"}, true}, {[]string{"newly_blocked=9"}, true}, {[]string{"newly-blocked=10"}, false},
		{[]string{"no-longer-caught"}, false}, {[]string{"any"}, true}, {[]string{"any=12"}, false}, {[]string{"any=11"}, true},
		{[]string{"newly-blocked=10", "newly-alerted=1"}, true},
	} {
		limits, err := failLimits(c.specs)
		if err != nil {
			t.Errorf("%v: %v", c.specs, err)
		}
		if got := exceeds(&report, limits); got != c.want {
			t.Errorf("%v: exceeded %t, want %t", c.specs, got, c.want)
		}
	}
	for _, bad := range []string{"newly", "any=x", "any=-1", ""} {
		if _, err := failLimits([]string{bad}); err == nil {
			t.Errorf("--fail-on %q was accepted", bad)
		}
	}
}

func TestPrintWhatIf(t *testing.T) {
	blocked := map[string]int64{"newly_blocked": 2}
	report := console.WhatIfReport{
		Rules: console.WhatIfRules{Added: []string{"admin"}, Removed: []string{"old"}}, Events: 1200, Judged: 7, ElapsedMS: 1500, Files: 3, Skipped: 1,
		Counts:   map[string]int64{"newly_blocked": 2, "no_longer_caught": 1},
		ByRule:   []console.WhatIfRow{{Name: "admin", Counts: blocked, After: 2}, {Name: "old", Counts: map[string]int64{"no_longer_caught": 1}, Before: 1}, {Name: "same", Before: 4, After: 4}},
		ByRoute:  []console.WhatIfRow{{Name: "shop", Counts: map[string]int64{"newly_blocked": 2, "no_longer_caught": 1}}},
		ByClient: []console.WhatIfRow{{Name: "a\x1b[31m", Counts: blocked}},
		Examples: []console.WhatIfExample{{Kind: "newly_blocked", Event: "019b", Time: time.Unix(0, 0), Rule: "admin", After: signal.Deny, Sentence: "GET /admin: allow before, deny after: admin"}},
		Inexact:  []console.ReplayReason{{Reason: "something was masked", Events: 5}, {Reason: "a file is damaged"}},
	}
	var out bytes.Buffer
	a := &app{stdout: &out}
	if err := a.printWhatIf(&report, false); err != nil {
		t.Fatal(err)
	}
	want := `rules added admin; removed old
  newly blocked      2
  no longer caught   1

RULE   BEFORE  AFTER  NEWLY BLOCKED  NO LONGER CAUGHT
admin  0       2      2              -
old    1       0      -              1

ROUTE  NEWLY BLOCKED  NO LONGER CAUGHT
shop   2              1

CLIENT     NEWLY BLOCKED  NO LONGER CAUGHT
a\x1b[31m  2              -

examples:
  019b  newly blocked  admin
    GET /admin: allow before, deny after: admin

inexact, for these reasons:
  something was masked (5 events)
  a file is damaged

1200 events in 1.5 s, 7 judged by both sets, 3 files read, 1 passed over
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
