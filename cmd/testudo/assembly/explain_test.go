package assembly

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/signal"
)

// TestExplain asks a node why it refused a request, and why other rules did not fire.
func TestExplain(t *testing.T) {
	dir := dataDir(t)
	s := start(t, testSettings(shop(t)), dir)
	s.signIn()
	hostile := from(t, attacker)
	s.get(hostile, injection)
	var denied *signal.Event
	eventually(t, "the attack is recorded", func() bool {
		for _, e := range s.events("decision=deny") {
			denied = e
		}
		return denied != nil
	})
	c, err := client.Dial(t.Context(), SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	all, err := c.Explain(t.Context(), denied.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	text := func(x console.Explanation) string {
		var b strings.Builder
		for _, l := range x.Proof {
			b.WriteString(l.Text + " " + l.Answer + "\n")
			for _, v := range l.Values {
				b.WriteString(v.Text + "\n")
			}
		}
		return b.String()
	}
	found := false
	for _, x := range all {
		if x.Rule == "edge-waf-attack" {
			found = x.Fires && x.Recorded && strings.Contains(text(x), "yes")
		}
	}
	if !found {
		t.Errorf("edge-waf-attack is not explained: %+v", all)
	}
	not, err := c.Explain(t.Context(), denied.ID, "edge-log4shell")
	if err != nil || len(not) != 1 || not[0].Fires || not[0].Recorded || !strings.Contains(text(not[0]), "no") {
		t.Errorf("why edge-log4shell did not fire: %+v, %v", not, err)
	}
	if strings.Contains(text(not[0]), "UNION") {
		t.Error("an explanation shows a query that is masked")
	}
	if _, err := c.Explain(t.Context(), denied.ID, "no-such-rule"); err == nil || !strings.Contains(err.Error(), "no-such-rule") {
		t.Errorf("a rule that is not there: %v", err)
	}
	// The finding carries the proof.
	eventually(t, "the finding says what made the rule fire", func() bool {
		page, err := c.Findings(t.Context(), console.FindingQuery{Rule: "edge-waf-attack", Limit: 5})
		return err == nil && len(page.Items) > 0 && strings.Contains(evidence(page.Items[0]), "waf.")
	})
}

func evidence(f signal.Finding) string {
	var b strings.Builder
	for _, e := range f.Evidence {
		b.WriteString(e.Name + "=" + e.Value + "\n")
	}
	return b.String()
}
