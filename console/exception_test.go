package console_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

func TestDecideException(t *testing.T) {
	b := newBench(t, nil)
	events := "/api/v1/events/" + b.world.Log[0].ID.String() + "/exceptions/decisions"
	const rule = "edge.waf-attack"
	change := strings.Repeat("SecRule ARGS:q \"@rx \\A\\pL+\\z\"\n", 200)
	send := func(path string, x console.ExceptionChoice) (int, string) {
		body, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		w := b.send(b.request("POST", path, string(body), consoletest.OperatorName))
		return w.Code, w.Body.String()
	}
	good := console.ExceptionChoice{Decision: "accept", Rule: rule, Text: "rule 942100 in ARGS:q of /sök", Change: change, Where: "waf.before"}
	for _, c := range []struct {
		name, path string
		edit       func(*console.ExceptionChoice)
		want       int
		says       string
	}{
		{"another decision", events, func(x *console.ExceptionChoice) { x.Decision = "perhaps" }, http.StatusUnprocessableEntity, "accept or refuse"},
		{"no text", events, func(x *console.ExceptionChoice) { x.Text = " " }, http.StatusUnprocessableEntity, `"field":"text"`},
		{"refused without a reason", events, func(x *console.ExceptionChoice) { x.Decision, x.Reason = "refuse", " " }, http.StatusUnprocessableEntity, "say why"},
		{"no such rule", events, func(x *console.ExceptionChoice) { x.Rule = "nobody" }, http.StatusNotFound, "nobody"},
		{"no such event", "/api/v1/events/019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10/exceptions/decisions", func(*console.ExceptionChoice) {}, http.StatusNotFound, ""},
		{"text that turns its direction", events, func(x *console.ExceptionChoice) { x.Text = "a\u202eb" }, http.StatusUnprocessableEntity, "control character"},
		{"a long change", events, func(x *console.ExceptionChoice) { x.Change = strings.Repeat("a", 17<<10) }, http.StatusUnprocessableEntity, `"field":"change"`},
		{"a change of many line ends", events, func(x *console.ExceptionChoice) { x.Change = strings.Repeat("\n", 10<<10) }, http.StatusUnprocessableEntity, "more than the ledger keeps"},
	} {
		x := good
		c.edit(&x)
		if status, body := send(c.path, x); status != c.want || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s, want %d with %q", c.name, status, body, c.want, c.says)
		}
	}
	if status, body := send(events, good); status != http.StatusOK {
		t.Fatalf("accept: %d %s", status, body)
	}
	refused := console.ExceptionChoice{Decision: "refuse", Rule: rule, Text: "rule 942100 of all paths", Reason: "too wide"}
	if status, body := send(events, refused); status != http.StatusOK {
		t.Fatalf("refuse: %d %s", status, body)
	}
	for _, e := range b.world.Ledger {
		for key, value := range e.Detail {
			if n := len(strings.ReplaceAll(strings.ReplaceAll(value, "\n", `\u000a`), `"`, `\"`)); strings.HasPrefix(e.Verb, "exception.") && n > 1536 {
				t.Errorf("the ledger would cut %s: %d bytes", key, n)
			}
		}
	}
	var got console.Page[console.ExceptionDecision]
	w := b.send(b.request("GET", "/api/v1/rules/"+rule+"/exceptions", "", consoletest.ViewerName))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Items) != 2 {
		t.Fatalf("%d decisions, want 2: %s", len(got.Items), w.Body)
	}
	last, before := got.Items[0], got.Items[1]
	if last.ExceptionChoice != refused || last.Actor != "person:"+consoletest.OperatorName || last.Proposal != console.ProposalID(rule, refused.Text) {
		t.Errorf("remembered %+v", last)
	}
	if before.ExceptionChoice != good || before.Event != b.world.Log[0].ID.String() {
		t.Errorf("remembered %+v, want %+v", before, good)
	}
	// A ledger that cannot be written remembers nothing, and says so.
	b.world.Fail = http.ErrServerClosed
	if status, _ := send(events, good); status != http.StatusInternalServerError {
		t.Errorf("with a broken node: %d", status)
	}
}
