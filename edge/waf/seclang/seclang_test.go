package seclang_test

import (
	"slices"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

const shipped = "Include @coraza.conf-recommended\nInclude @crs-setup.conf.example\nInclude @owasp_crs/*.conf\n"

// TestAsCoraza holds that the rules are those that Coraza has after the same directives, as far as it shows them.
func TestAsCoraza(t *testing.T) {
	for name, more := range map[string]string{
		"shipped":   "",
		"removals":  "SecRuleRemoveById 942100 941000-941999\nSecRuleRemoveByTag attack-rce\n",
		"own rules": "SecAction \"id:7,phase:1,nolog,pass,t:none,setvar:tx.a=1\"\nSecRule ARGS:a|!ARGS:/^b/ \"@rx x\" \"id:8,phase:2,deny,chain,msg:'found %{MATCHED_VAR}'\"\nSecRule ARGS \"!@streq y\"\nSecMarker END",
		"updates":   "SecRuleUpdateTargetById 942100 !ARGS:q\nSecRuleUpdateActionById 942100 \"pass,severity:3\"",
	} {
		t.Run(name, func(t *testing.T) {
			text := shipped + more
			var want []types.RuleMetadata
			cfg := experimental.WAFConfigWithRuleObserver(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(text), func(r types.RuleMetadata) { want = append(want, r) })
			waf, err := coraza.NewWAF(cfg)
			if err != nil {
				t.Fatal(err)
			}
			p, err := seclang.Parse(coreruleset.FS, text)
			if err != nil {
				t.Fatal(err)
			}
			if n := waf.(experimental.WAFWithRules).RulesCount(); n != len(p.Rules) {
				t.Errorf("%d rules, Coraza has %d", len(p.Rules), n)
			}
			found := map[int]*seclang.Rule{}
			for _, r := range p.Rules {
				found[r.ID] = r
			}
			for _, w := range want {
				r := found[w.ID()]
				if r == nil || w.ID() == 0 {
					if w.ID() != 0 && name != "removals" {
						t.Errorf("rule %d is missing", w.ID())
					}
					continue
				}
				if r.Phase != int(w.Phase()) || r.Rev != w.Revision() || r.Version != w.Version() || name != "updates" && r.Severity != w.Severity() ||
					!slices.Equal(r.Tags, w.Tags()) || r.Place.Line != w.Line() || r.Place.File != w.File() && r.Place.File != "" {
					t.Errorf("rule %d: %+v, Coraza has phase %d, severity %v, tags %q, %s:%d", r.ID, r, w.Phase(), w.Severity(), w.Tags(), w.File(), w.Line())
				}
			}
		})
	}
}
