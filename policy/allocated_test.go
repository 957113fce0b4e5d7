//go:build !race

package policy

import "testing"

// Not with the race detector: sync.Pool drops what it holds then, so that pooled memory is allocated anew.
func TestNothingAllocatedWithoutHit(t *testing.T) {
	engine := NewEngine(load(t, "a deny aaa\nb alert bbb xxx\n"))
	e := request("/nothing", "203.0.113.9", 0)
	if n := testing.AllocsPerRun(1000, func() { engine.Judge(e) }); n != 0 {
		t.Errorf("Judge allocates %v times", n)
	}
	if n := testing.AllocsPerRun(1000, func() { engine.JudgeNumbered(e) }); n != 0 {
		t.Errorf("JudgeNumbered allocates %v times", n)
	}
}
