package rerun_test

import (
	"fmt"
	"testing"

	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/rerun"
)

// BenchmarkFind is the cost of one recorded request: by its record, where the changed firewall has to be asked and where not, and by the request itself.
func BenchmarkFind(b *testing.B) {
	g := guard(b, waf.DefaultConfig(), 1)
	e, m := g.record(fmt.Sprintf(get, "/search?q=a+lamp&sort=price&page=2"))
	rule := rerun.Change{After: `SecRule ARGS "@rx [0-9]" "id:3,phase:2,pass,log,msg:'a number',severity:WARNING,setvar:'tx.inbound_anomaly_score_pl1=+3'"`}
	for _, c := range []struct {
		name   string
		change rerun.Change
		kept   bool
	}{{"threshold", rerun.Change{Threshold: 10}, false}, {"record", rule, false}, {"kept", rule, true}} {
		b.Run(c.name, func(b *testing.B) {
			r, err := rerun.New(waf.DefaultConfig(), c.change)
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			request := m
			if !c.kept {
				request = nil
			}
			if _, err := r.Find(b.Context(), e.Recorded(), request); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := r.Find(b.Context(), e.Recorded(), request); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
