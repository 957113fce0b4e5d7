package console_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

func TestBudgets(t *testing.T) {
	b := newBench(t, nil)
	var got console.BudgetReport
	w := b.send(b.request("GET", "/api/v1/budgets", "", consoletest.ViewerName))
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	if got.Demoted != 1 || len(got.Budgets) != 5 || got.Budgets[0].Rule != "942100" || got.Budgets[0].State != console.BudgetDemoted {
		t.Errorf("got %+v", got)
	}
	for _, c := range []struct {
		name, who, body string
		want            int
		says            string
	}{
		{"a viewer", consoletest.ViewerName, `{"kind":"firewall","rule":"942100","route":"shop"}`, http.StatusForbidden, "operator"},
		{"no kind", consoletest.OperatorName, `{"rule":"942100","route":"shop"}`, http.StatusUnprocessableEntity, "rule or firewall"},
		{"no rule", consoletest.OperatorName, `{"kind":"rule","route":"shop"}`, http.StatusUnprocessableEntity, "name the rule"},
		{"text that turns its direction", consoletest.OperatorName, `{"kind":"rule","rule":"a\u202eb","route":"shop"}`, http.StatusUnprocessableEntity, "control character"},
		{"a long reason", consoletest.OperatorName, `{"kind":"firewall","rule":"942100","route":"shop","reason":"` + strings.Repeat("a", 5000) + `"}`, http.StatusUnprocessableEntity, "reason"},
		{"none such", consoletest.OperatorName, `{"kind":"rule","rule":"942100","route":"shop"}`, http.StatusNotFound, ""},
		{"not demoted", consoletest.OperatorName, `{"kind":"rule","rule":"edge.scanner","route":"shop"}`, http.StatusConflict, "not demoted"},
		{"demoted", consoletest.OperatorName, `{"kind":"firewall","rule":"942100","route":"shop","reason":"the form was changed"}`, http.StatusOK, `"state":"counting"`},
		{"no more", consoletest.OperatorName, `{"kind":"firewall","rule":"942100","route":"shop"}`, http.StatusConflict, "not demoted"},
	} {
		w := b.send(b.request("POST", "/api/v1/budgets/restore", c.body, c.who))
		if w.Code != c.want || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: %d %s, want %d with %q", c.name, w.Code, w.Body, c.want, c.says)
		}
	}
	if last := b.world.Ledger[len(b.world.Ledger)-1]; last.Verb != "budget.restore" || last.Actor != "person:"+consoletest.OperatorName || last.Detail["reason"] != "the form was changed" {
		t.Errorf("the ledger has %+v", last)
	}
}
