package engine

import (
	"testing"

	"github.com/corazawaf/libinjection-go"
)

// FuzzShortcuts holds that what does not get to libinjection is nothing that it would find.
func FuzzShortcuts(f *testing.F) {
	for _, s := range []string{"", "a", "1", "select", "1 or 1=1", "<script>", "onload=x", "a`b", "x'--", "_x9", "0x1", "1e5", "NULL", "!--", "union"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if found, _ := libinjection.IsSQLi(s); found != (detectSQLi{}).test(s) {
			t.Errorf("SQL in %q: %v", s, found)
		}
		if found := libinjection.IsXSS(s); found != detectXSS(s) {
			t.Errorf("markup in %q: %v", s, found)
		}
	})
}
