package engine

import (
	"testing"

	"github.com/corazawaf/libinjection-go"
)

// FuzzShortcuts holds that what does not get to libinjection is nothing that it would find.
func FuzzShortcuts(f *testing.F) {
	for _, s := range []string{"", "a", "1", "select", "1 or 1=1", "<script>", "onload=x", "a`b", "x'--", "_x9", "0x1", "1e5", "NULL", "!--", "union", "1 union all select x from y", "sp_password--", "Sp_Password -- x", "x in boolean mode", "1 or not like 0xaf", "e1.5d", "n'x' or 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		found, print := libinjection.IsSQLi(s)
		if got, short := isSQLi(new(Transaction), s); found != got || found && print != short {
			t.Errorf("SQL in %q: %v %q, want %v %q", s, got, short, found, print)
		}
		if found := libinjection.IsXSS(s); found != detectXSS(s) {
			t.Errorf("markup in %q: %v", s, found)
		}
	})
}
