package engine_test

import (
	"strings"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"

	"github.com/testudo-sec/testudo/edge/waf/engine"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

// TestMute: rules that are muted match and count for nothing, in that transaction and in no other; the others count as before.
func TestMute(t *testing.T) {
	program, err := seclang.Parse(coreruleset.FS, strings.Join([]string{`SecRuleEngine On`,
		`SecAction "id:1,phase:1,pass,nolog,setvar:tx.inbound_anomaly_score_pl1=0"`,
		`SecRule ARGS "@contains one" "id:10,phase:1,pass,msg:'one',setvar:tx.inbound_anomaly_score_pl1=+5,setvar:tx.seen=yes"`,
		`SecRule ARGS "@contains two" "id:11,phase:1,pass,msg:'two',setvar:tx.inbound_anomaly_score_pl1=+3"`,
		`SecRule ARGS "@contains three" "id:12,phase:1,deny,status:403,msg:'three'"`}, "\n"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := engine.New(program)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(mute ...int) (score, seen string, matched int, denied bool) {
		tx := e.Begin("id")
		defer tx.Close()
		if mute != nil {
			tx.Mute(mute)
		}
		tx.URI("/?a=one&b=two&c=three", "GET", "HTTP/1.1")
		i := tx.RequestHeaders()
		score, _ = tx.TX("inbound_anomaly_score_pl1")
		seen, _ = tx.TX("seen")
		for _, m := range tx.Matches() {
			if m.Rule.ID >= 10 {
				matched++
			}
		}
		return score, seen, matched, i != nil
	}
	for _, c := range []struct {
		mute   []int
		score  string
		denied bool
	}{{nil, "8", true}, {[]int{10}, "3", true}, {[]int{10, 11, 12}, "0", false}, {[]int{99}, "8", true}, {nil, "8", true}} {
		if score, seen, matched, denied := ask(c.mute...); score != c.score || denied != c.denied || matched != 3 || seen != "yes" {
			t.Errorf("muted %v: score %s, denied %v, %d matched, seen %q", c.mute, score, denied, matched, seen)
		}
	}
}
