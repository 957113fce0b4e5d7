package require

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDemanded(t *testing.T) {
	for list, want := range map[string]bool{"": false, "qemu": true, "root,qemu": true, "qemu2": false, "all": true, "all,-qemu": false, "-qemu,all": false,
		"all,-qemu2": true, "-qemu": false, "root,-root": false} {
		if got := demanded(list, "qemu"); got != want {
			t.Errorf("%q demands qemu: %v", list, got)
		}
	}
}

// TestSkipIsNoted: what is skipped is on the list that CI prints, and what has its part is not.
func TestSkipIsNoted(t *testing.T) {
	list := filepath.Join(t.TempDir(), "skipped")
	t.Setenv("TESTUDO_SKIPPED", list)
	t.Setenv("TESTUDO_REQUIRE", "all,-a part that nobody has")
	t.Run("with", func(t *testing.T) { Part(t, "another part", true, "") })
	for _, name := range []string{"one", "two"} {
		t.Run(name, func(t *testing.T) {
			Part(t, "a part that nobody has", false, "on\ntwo lines")
			t.Error("it goes on")
		})
	}
	text, err := os.ReadFile(list)
	want := "TestSkipIsNoted/one: without a part that nobody has: on two lines\nTestSkipIsNoted/two: without a part that nobody has: on two lines\n"
	if err != nil || string(text) != want {
		t.Errorf("%q, %v; want %q", text, err, want)
	}
	if strings.Contains(string(text), "with:") {
		t.Error("what is there is on the list")
	}
}
