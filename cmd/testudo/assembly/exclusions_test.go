package assembly

import (
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
)

func alarmed(path, query, client string, score int64, rules, targets []string) *signal.Event {
	e := httpRequest(path, client)
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "secret", query)
	e.SetInt(signal.FieldWAFScore, score)
	e.SetInt(signal.FieldWAFThreshold, 5)
	e.SetInt(signal.FieldWAFParanoia, 1)
	e.SetStrings(signal.FieldWAFRules, rules)
	e.SetStrings(signal.FieldWAFTargets, targets)
	return e
}

// TestExclusions: a search for words that look like a statement. What the firewall could leave out goes from those words in that
// parameter to the rule as a whole, and says of each how many other alarms it frees and how many attacks it loses.
func TestExclusions(t *testing.T) {
	s := start(t, testSettings(""), dataDir(t))
	id := s.hand(time.Minute, alarmed("/find%20it", "q=select+a+lamp+from+the+shop&p=*", "203.0.113.1", 5, []string{"942100"}, []string{"ARGS:q"}))
	s.hand(50*time.Second, alarmed("/find%20it", "q=*", "203.0.113.2", 5, []string{"942100"}, []string{"ARGS:q"}))
	s.hand(50*time.Second, alarmed("/find%20it", "q=*", "203.0.113.2", 15, []string{"942100", "942190", "941100"}, []string{"ARGS:q", "ARGS:q", "ARGS:q"}))
	s.hand(40*time.Second, alarmed("/other", "q=*", "203.0.113.2", 5, []string{"942100"}, []string{"ARGS:q"}))
	s.hand(40*time.Second, alarmed("/other", "x=*", "203.0.113.2", 8, []string{"942100", "920350"}, []string{"ARGS:x", "REQUEST_HEADERS:Host"}))
	unread := s.hand(40*time.Second, alarmed("/other", "x=*", "203.0.113.2", 10, []string{"200002"}, []string{"REQBODY_ERROR"}))
	s.hand(40*time.Second, alarmed("/other", "x=*", "203.0.113.2", 3, []string{"920350"}, []string{"REQUEST_HEADERS:Host"}))
	probe := s.hand(40*time.Second, alarmed("/.env", "x=*", "203.0.113.2", 5, []string{"930130"}, []string{"REQUEST_FILENAME"}))
	if err := s.m.storage.Store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	attacks := func() (*coverage.Corpus, error) {
		c, err := coverage.Load()
		if err != nil {
			return nil, err
		}
		return c.Every(20 * require.Stride(10)), nil
	}
	set, history := s.m.engine.Set(), s.m.storage.Store.History
	q := console.ExceptionQuery{Event: id, Since: time.Now().Add(-time.Hour)}
	x, err := replay.Except(t.Context(), history, set, replay.ExceptionQuery{Event: id, Since: q.Since})
	if err != nil {
		t.Fatal(err)
	}
	list, err := exclusions(t.Context(), history, waf.DefaultConfig(), nil, attacks, x.Event, &q)
	if err != nil {
		t.Fatal(err)
	}
	last := console.Exclusion{}
	for i, c := range []struct {
		text      string
		freed     int64
		directive string
	}{
		{"rule 942100 in ARGS:q of /find it, where the value is words", 1, `SecRule ARGS:q "@rx \A`},
		{"rule 942100 in ARGS:q of /find it", 1, `"@rx \A/find it\z"`},
		{"rule 942100 in ARGS:q of all paths, where the value is words", 2, `SecRule &ARGS:q "@eq 1"`},
		{"rule 942100 in ARGS:q of all paths", 2, `SecRuleUpdateTargetById 942100 "!ARGS:q"`},
		{"rule 942100 of /find it", 1, "ctl:ruleRemoveById=942100"},
		{"rule 942100 of all paths", 3, "SecRuleRemoveById 942100"},
	} {
		if i >= len(list) {
			t.Fatalf("no %s in %+v", c.text, list)
		}
		got := list[i]
		if got.Text != c.text || got.Freed != c.freed || got.AtMost != strings.Contains(c.text, "words") || !strings.Contains(got.Before+got.After, c.directive) {
			t.Errorf("got %+v\nwant %+v", got, c)
		}
		if got.Attacks < 10 || got.Placed == 0 && !require.Race || got.Lost > got.Attacks || got.LostPlaced > got.Placed {
			t.Errorf("%s: priced by too little: %+v", c.text, got)
		}
		last = got
	}
	if len(list) != 6 || last.LostPlaced < list[0].LostPlaced {
		t.Errorf("%+v", list)
	}
	report, err := (replays{s.m}).Exceptions(t.Context(), console.ExceptionQuery{Event: unread, Since: q.Since}, nil)
	if err != nil || len(report.Exclusions) != 0 || !strings.Contains(report.NoExclusion, "could not be read whole") {
		t.Errorf("a body that does not parse: %+v, %v", report, err)
	}
	// A rule that does not go by the firewall would fire all the same.
	report, err = (replays{s.m}).Exceptions(t.Context(), console.ExceptionQuery{Event: probe, Rule: "edge-probe-secrets", Since: q.Since}, nil)
	if err != nil || len(report.Proposals) == 0 || len(report.Exclusions) != 0 || report.NoExclusion != "" {
		t.Errorf("a rule about paths: %+v, %v", report, err)
	}
}
