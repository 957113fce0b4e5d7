package scan

import (
	"fmt"
	"strings"
	"testing"
)

// TestConsentsAsLineByLine holds that the lines with a mark, found in one pass, say what going through the file line by line would.
func TestConsentsAsLineByLine(t *testing.T) {
	pieces := []string{"", "x = 1", "# testudo:allow r because", "x = 1 # testudo:allow r,s because", "# testudo:allow r", "// testudo:allow s why"}
	for n := range len(pieces) * len(pieces) * len(pieces) {
		lines := []string{pieces[n%len(pieces)], pieces[n/len(pieces)%len(pieces)], pieces[n/len(pieces)/len(pieces)]}
		for _, end := range []string{"", "\n", "\r\n"} {
			newline := "\n"
			if end == "\r\n" {
				newline = end
			}
			data := []byte(strings.Join(lines, newline) + end)
			var c consents
			for line := -1; line < 6; line++ {
				want := notAllowed
				if line >= 1 && line <= len(lines) {
					want = allows([]byte(lines[line-1]), "r", false)
				}
				if line >= 2 && line <= len(lines)+1 {
					want = max(want, allows([]byte(lines[line-2]), "r", true))
				}
				if got := c.allowed(data, line, "r"); got != want {
					t.Errorf("%q line %d: %d, want %d", data, line, got, want)
				}
			}
		}
	}
}

// TestConsentsOnce holds that a file is gone through once however much is found in it: 10,000 findings in 4 MB took 8 seconds.
func TestConsentsOnce(t *testing.T) {
	var c consents
	data := []byte(strings.Repeat("x\n", 5) + "secret # testudo:allow r because\n")
	if got := c.allowed(data, 6, "r"); got != isAllowed {
		t.Fatal(got)
	}
	if got := c.allowed(nil, 6, "r"); got != isAllowed {
		t.Errorf("the file was gone through again: %d", got)
	}
	var none consents
	_ = none.allowed([]byte("x"), 1, "r")
	if got := none.allowed(data, 6, "r"); got != notAllowed {
		t.Errorf("the file without a mark was gone through again: %d, %s", got, fmt.Sprint(none))
	}
}
