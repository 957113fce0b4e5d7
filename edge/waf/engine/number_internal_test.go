package engine

import (
	"strconv"
	"testing"

	"pgregory.net/rapid"
)

// TestNumber holds number to strconv.Atoi, and to no allocations for what is no number.
func TestNumber(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringMatching(`[-+]?[0-9]{0,24}[x _-]?[0-9]{0,4}`).Draw(t, "text")
		if want, _ := strconv.Atoi(s); number(s) != want {
			t.Fatalf("%q: %d, want %d", s, number(s), want)
		}
	})
	if n := testing.AllocsPerRun(100, func() { number("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36") }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
