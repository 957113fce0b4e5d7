//go:build !race

package native_test

import (
	"testing"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/signal"
)

// TestShippedRulesDoNotAllocate judges an honest request and its response. Not with the race detector: sync.Pool drops what it holds then,
// so that pooled memory is allocated anew.
func TestShippedRulesDoNotAllocate(t *testing.T) {
	engine := policy.NewEngine(edgeSet(t))
	request := benign()
	response := benign()
	response.Parent = signal.ID{1}
	response.SetInt(signal.FieldHTTPResponseCode, 200)
	for name, e := range map[string]*signal.Event{"request": request, "response": response} {
		if v := engine.Judge(e); len(v.Hits) != 0 {
			t.Fatalf("%s: %+v", name, v)
		}
		if n := testing.AllocsPerRun(1000, func() { engine.Judge(e) }); n != 0 {
			t.Errorf("%s: judging allocates %v times", name, n)
		}
	}
}
