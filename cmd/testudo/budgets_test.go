package main

import (
	"bytes"
	"testing"

	"github.com/testudo-sec/testudo/console"
)

func TestPrintBudgets(t *testing.T) {
	var b bytes.Buffer
	err := printBudgets(&b, &console.BudgetReport{Problem: "nobody is known", Budgets: []console.Budget{
		{BudgetKey: console.BudgetKey{Kind: console.BudgetOfFirewall, Rule: "942100", Route: "shop\x1b[2J"}, State: console.BudgetDemoted, Requests: 48210, Fired: 97, Clients: 31, Share: 0.00201, Allowed: 0.001},
	}})
	const want = "nobody is known\n" +
		"STATE    RULE    ROUTE        FIRED  REQUESTS  SHARE  ALLOWED  CLIENTS\n" +
		"demoted  942100  shop\\x1b[2J  97     48210     0.20%  0.10%    31\n"
	if got := b.String(); err != nil || got != want {
		t.Errorf("%v\n%s\nwant\n%s", err, got, want)
	}
	b.Reset()
	if printBudgets(&b, &console.BudgetReport{}); b.String() != "no rule fired on known-good traffic\n" {
		t.Errorf("%q", b.String())
	}
	for rule, want := range map[string]string{"942100": console.BudgetOfFirewall, "edge-api-block": console.BudgetOfRule} {
		if got := kindOf(rule); got != want {
			t.Errorf("%s is a rule of %s", rule, got)
		}
	}
}
