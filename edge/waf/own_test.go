package waf_test

import (
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/edge/waf"
)

// TestShippedIsCovered holds that the Core Rule Set, with the settings that ship, needs no Coraza.
func TestShippedIsCovered(t *testing.T) {
	list, err := waf.Check(waf.DefaultConfig())
	if err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	if w := newWAF(t, nil); len(w.Uncovered()) > 0 || w.Rules() < 500 {
		t.Errorf("%v, %d rules", w.Uncovered(), w.Rules())
	}
}

// TestOwnRulesAreCovered holds that rules and exclusions as users write them are executed by the fast engine, and do what they
// do in Coraza.
func TestOwnRulesAreCovered(t *testing.T) {
	own := func(c *waf.Config) {
		c.Before = `SecAction "id:900200,phase:1,pass,nolog,setvar:'tx.allowed_methods=GET HEAD POST OPTIONS PUT PATCH DELETE'"
SecRule REQUEST_URI "@beginsWith /search" "id:1000,phase:1,pass,nolog,ctl:ruleRemoveTargetById=942100;ARGS:q"
SecRule REQUEST_FILENAME "@rx ^/legacy/\d+$" \
    "id:1001,phase:1,pass,nolog,chain"
    SecRule ARGS:token "@rx ^[a-f0-9]{8}$" \
        "t:none,ctl:ruleRemoveByTag=attack-sqli"
SecRule REMOTE_ADDR "@ipMatch 198.51.100.0/24" "id:1002,phase:1,pass,nolog,ctl:ruleEngine=Off"`
		c.After = `SecRuleUpdateTargetById 942100 "!ARGS:note"
SecRuleUpdateTargetByTag attack-xss "!ARGS:html"
SecRuleRemoveById 920350 942432-942440
SecRuleUpdateActionById 941100 "severity:WARNING"
SecRule ARGS_NAMES "@pm debug trace" "id:2000,phase:2,pass,log,capture,severity:CRITICAL,tag:'attack-own',msg:'asks for %{TX.0}',setvar:'tx.inbound_anomaly_score_pl1=+%{tx.critical_anomaly_score}'"
SecRule REQUEST_HEADERS:X-Api-Version "!@within v1 v2" "id:2001,phase:1,pass,log,msg:'an old version'"
SecRule RESPONSE_HEADERS:X-Internal "@rx ." "id:2002,phase:3,pass,log,msg:'an inner header',setvar:'tx.outbound_anomaly_score_pl1=+4'"
SecRule &ARGS:q "@gt 1" "id:2003,phase:2,pass,log,msg:'q twice',skipAfter:DONE"
SecRule ARGS:q "@contains secret" "id:2004,phase:2,pass,log,msg:'q is secret'"
SecMarker DONE`
	}
	fast, slow := both(t, own)
	if list, err := waf.Check(configOf(own)); err != nil || len(list) > 0 {
		t.Errorf("%v, %v", list, err)
	}
	const attack = "1%27%20UNION%20SELECT%20a%20FROM%20b--%20"
	for _, c := range []struct {
		target string
		rule   string // that must match, or with ! must not
	}{
		{"/search?q=" + attack, "!942100"}, {"/other?q=" + attack, "942100"}, {"/other?note=" + attack, "!942100"},
		{"/legacy/7?token=0123abcd&x=" + attack, "!942190"}, {"/legacy/7?token=zz&x=" + attack, "942190"},
		{"/x?html=<script>alert(1)</script>", "!941110"}, {"/x?other=<script>alert(1)</script>", "941110"},
		{"/x?debug=1", "2000"}, {"/x?q=1&q=2", "2003"}, {"/x?q=secret&q=2", "!2004"}, {"/x?q=secret", "2004"},
	} {
		d := requestOf("GET " + c.target + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Mozilla/5.0\r\nAccept: text/html\r\nX-Api-Version: v1\r\n\r\n")
		d.level, d.status, d.header = 2, 200, map[string][]string{"X-Internal": {"1"}}
		same(t, fast, slow, d)
		id, wanted := strings.TrimPrefix(c.rule, "!"), c.rule[0] != '!'
		if got := inspectAll(fast, d); strings.Contains(strings.Join(got.Rules, " ")+" ", id+" ") != wanted || got.OutboundScore < 4 {
			t.Errorf("%s: %v, want %s", c.target, got, c.rule)
		}
	}
}

func configOf(change func(*waf.Config)) waf.Config {
	cfg := waf.DefaultConfig()
	change(&cfg)
	return cfg
}

// TestUncovered holds that Coraza judges where the fast engine cannot, and that this is counted, and told with the line.
func TestUncovered(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*waf.Config)
		reason string
		told   string
	}{
		"an operator": {func(c *waf.Config) {
			c.After = "SecMarker X\nSecRule REMOTE_ADDR \"@rbl xbl.invalid\" \"id:7,phase:1,pass,nolog\""
		}, "@rbl", "@rbl of rule 7 in waf.after, line 2"},
		"a variable": {func(c *waf.Config) { c.Before = "\nSecRule ENV:HOME \"@rx .\" \"id:8,phase:1,pass,nolog\"" }, "ENV", "ENV of rule 8 in waf.before, line 2"},
		"an action":  {func(c *waf.Config) { c.After = "SecAction \"id:9,phase:1,pass,nolog,setenv:a=b\"" }, "secaction", "secaction in waf.after, line 1"},
		"rule of a chain": {func(c *waf.Config) {
			c.After = "SecRule ARGS \"@rx a\" \"id:10,phase:2,pass,chain\"\nSecRule ENV:HOME \"@rx .\""
		}, "ENV", "ENV of rule 10 in waf.after, line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := configOf(c.change)
			list, err := waf.Check(cfg)
			if err != nil || len(list) != 1 || !strings.Contains(list[0].String(), c.told) {
				t.Errorf("told: %v, %v; want %s", list, err, c.told)
			}
			w := newWAF(t, c.change)
			reg := prometheus.NewRegistry()
			if err := w.Register(reg); err != nil {
				t.Fatal(err)
			}
			if list := w.Uncovered(); len(list) != 1 || list[0].What != c.reason {
				t.Errorf("%v, want %s", list, c.reason)
			}
			for range 2 {
				if res := inspect(w, request("GET", "/x?q=1%27%20UNION%20SELECT%20password%20FROM%20users--%20", "", ""), "", 1); res.Score < 5 {
					t.Errorf("%+v", res)
				}
			}
			if n := counter(t, reg, "testudo_waf_fallback_total"); n != 2 {
				t.Errorf("%v exchanges are counted", n)
			}
		})
	}
}

// TestSameErrors holds that what Coraza refuses is refused with its words, whichever engine is asked for.
func TestSameErrors(t *testing.T) {
	for _, text := range []string{
		"SecRule NONSENSE", "SecNonsense On", "SecRule ARGS \"@nonsense x\" \"id:1,phase:1,pass\"", "SecRule ARGS \"@rx (\" \"id:1,phase:1,pass\"",
		"SecRule ARGS \"@rx a\" \"id:1,phase:1,nonsense\"", "SecRule ARGS \"@rx a\" \"id:942100,phase:1,pass\"",
		"SecRule NOWHERE \"@rx a\" \"id:1,phase:1,pass\"", "Include /etc/passwd", "SecRuleUpdateTargetById 1 \"!ARGS:q\"", "SecRuleEngine Maybe",
		"SecRule ARGS \"@rx a\" \"id:1,phase:1,pass,t:nonsense\"", "SecRequestBodyLimit many",
	} {
		_, want := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives("Include @coraza.conf-recommended\nInclude @crs-setup.conf.example\nInclude @owasp_crs/*.conf\n" + text))
		if want == nil {
			t.Errorf("%s: Coraza takes it", text)
			continue
		}
		for _, engine := range []string{waf.EngineFast, waf.EngineCoraza} {
			cfg := configOf(func(c *waf.Config) { c.After, c.Engine = text, engine })
			_, err := waf.New(cfg, t.TempDir())
			if err == nil {
				t.Errorf("%s by %s: %v, Coraza says %v", text, engine, err, want)
				continue
			}
			if _, checked := waf.Check(cfg); checked == nil || checked.Error() != err.Error() {
				t.Errorf("%s: %v when it is checked, %v when it is used", text, checked, err)
			}
			// Coraza quotes lines, which are not numbered as these are.
			if cause := want.Error()[strings.LastIndexByte(want.Error(), ':')+1:]; !strings.Contains(err.Error(), cause) {
				t.Errorf("%s by %s: %v, Coraza says %v", text, engine, err, want)
			}
		}
	}
}

// TestPanicInDirectives holds that a directive at which Coraza panics is an error.
func TestPanicInDirectives(t *testing.T) {
	cfg := configOf(func(c *waf.Config) { c.After = "SecRuleRemoveByMsg \"SQL Injection\"" })
	if _, err := waf.New(cfg, t.TempDir()); err == nil || !strings.Contains(err.Error(), "breaks off") {
		t.Errorf("%v", err)
	}
}
