package assembly

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
)

// TestDoctorOfAnothersFolder: root looks at a node that somebody else started, and is not told that it cannot start, or that it runs as root.
func TestDoctorOfAnothersFolder(t *testing.T) {
	require.Root(t)
	t.Setenv("SUDO_UID", "")
	dir := filepath.Join(t.TempDir(), "d")
	if err := errors.Join(os.Mkdir(dir, 0o700), os.Chown(dir, 61234, 61235)); err != nil {
		t.Fatal(err)
	}
	if c := dirCheck(dir); !c.OK || !strings.Contains(c.Detail, "uid 61234") {
		t.Errorf("%+v", c)
	}
	if c := rootCheck(dir); !c.OK || !strings.Contains(c.Detail, "runs as uid 61234") {
		t.Errorf("%+v", c)
	}
	if files, _ := os.ReadDir(dir); len(files) > 0 {
		t.Error("something was left there")
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if c := dirCheck(dir); c.OK || !strings.Contains(c.Detail, "read by others") {
		t.Errorf("%+v", c)
	}
	// Root's own is as before.
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if c := dirCheck(dir); !c.OK {
		t.Errorf("%+v", c)
	}
	if who := ownedByOther(dir); who != "" {
		t.Errorf("owned by %q", who)
	}
}

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

func TestFirewallCheck(t *testing.T) {
	s := DefaultSettings()
	if c := wafCheck(&s); !c.OK || !strings.Contains(c.Detail, "covers all") {
		t.Errorf("%+v", c)
	}
	s.WAF.After = "SecRuleRemoveById 942100\nSecRule REMOTE_ADDR \"@rbl xbl.invalid\" \"id:7,phase:1,pass\""
	if c := wafCheck(&s); c.OK || !strings.Contains(c.Detail, "@rbl of rule 7 in waf.after, line 2") || c.Cost == "" {
		t.Errorf("%+v", c)
	}
	s.WAF.Engine = "coraza"
	if c := wafCheck(&s); !c.OK || !strings.Contains(c.Detail, "Coraza executes") {
		t.Errorf("%+v", c)
	}
	s.WAF.Engine, s.WAF.After = "fast", "SecNonsense"
	if c := wafCheck(&s); c.OK || !strings.Contains(c.Detail, "waf.after") {
		t.Errorf("%+v", c)
	}
}
