package assembly

import "testing"

func TestMayBindLow(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tx\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\n": true,
		"CapEff:\t000001ffffffffff\n":                                      true,
		"CapPrm:\t0000000000000400\nCapEff:\t0000000000000000\n":           false,
		"CapEff:\t0000000000000200\n":                                      false,
		"CapEff:\tzzz\n":                                                   false,
		"":                                                                 false,
	} {
		if got := mayBindLow(status); got != want {
			t.Errorf("%q: %v, want %v", status, got, want)
		}
	}
}
