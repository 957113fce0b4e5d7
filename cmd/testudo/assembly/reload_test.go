package assembly

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
)

// shout returns a rule that denies a path.
func shout(path string) string {
	return fmt.Sprintf(`id: shout
title: Somebody shouts
severity: low
on: http_activity
when: http_request.url.path == %q
then: deny
why: "{http_request.url.path} is loud"
tests:
  - name: loud
    event: {http_request.url.path: %s}
    fires: true
  - name: quiet
    event: {http_request.url.path: /quiet}
    fires: false
`, path, path)
}

// TestReload: a rules folder is read anew while requests go on, all or nothing.
func TestReload(t *testing.T) {
	folder := t.TempDir()
	write := func(text string) {
		t.Helper()
		// As an editor does: the file is there whole or not at all.
		part := filepath.Join(t.TempDir(), "part")
		if err := os.WriteFile(part, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(part, filepath.Join(folder, "shout.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	write(shout("/loud"))
	cfg := testSettings(upstream(t))
	cfg.Policy.Rules = []string{folder}
	s := start(t, cfg, dataDir(t))
	s.signIn()
	c := from(t, "")
	status := func(path string, want int) {
		t.Helper()
		if a := s.get(c, path); a.status != want {
			t.Errorf("%s got %d, want %d", path, a.status, want)
		}
	}
	status("/loud", http.StatusForbidden)
	status("/LOUD", http.StatusOK)

	write(shout("/LOUD"))
	eventually(t, "the new rule is in force", func() bool { return s.get(c, "/LOUD").status == http.StatusForbidden })
	status("/loud", http.StatusOK)

	// A mistake changes nothing, and is told.
	write(strings.Replace(shout("/everything"), "url.path ==", "url.pth ==", 1))
	eventually(t, "the mistake is told", func() bool { return s.readyz() == "degraded" })
	status("/LOUD", http.StatusForbidden)
	status("/everything", http.StatusOK)
	var set console.RuleSet
	s.call(http.MethodGet, "/api/v1/ruleset", nil, &set)
	if len(set.Errors) != 1 || set.Errors[0].Line != 5 || !strings.HasSuffix(set.Errors[0].File, "shout.yaml") || !strings.Contains(set.Errors[0].Message, "http_request.url.path") {
		t.Errorf("the mistake is told as %+v", set.Errors)
	}

	write(shout("/loud"))
	eventually(t, "the node is well again", func() bool { return s.readyz() == "ok" })
	status("/loud", http.StatusForbidden)
	eventually(t, "the ledger tells of both changes", func() bool {
		var swaps struct{ Items []console.LedgerEntry }
		s.call(http.MethodGet, "/api/v1/ledger/entries?verb=policy.swap", nil, &swaps)
		return len(swaps.Items) == 2 && swaps.Items[0].Detail["changed"] == "shout"
	})
	// Asked for by a person, it stands under their name.
	if a := s.call(http.MethodPost, "/api/v1/ruleset/reload", nil, nil); a.status >= 300 {
		t.Errorf("reload: %d %s", a.status, a.body)
	}
	var asked struct{ Items []console.LedgerEntry }
	s.call(http.MethodGet, "/api/v1/ledger/entries?verb=policy.reload", nil, &asked)
	if len(asked.Items) != 1 || asked.Items[0].Actor != "person:admin" {
		t.Errorf("the ledger tells of the reload as %+v", asked.Items)
	}
}
