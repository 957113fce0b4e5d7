package assembly

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/console"
)

// A start that fails says why, and gives back what it had opened: the next one succeeds.
func TestFailedStart(t *testing.T) {
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("id: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, want string
		spoil      func(s *Settings, dir string)
	}{
		{"no PostgreSQL", "does not let us in", func(s *Settings, _ string) {
			s.Store.State.URL = "postgres://testudo@127.0.0.1:1/testudo?connect_timeout=1"
		}},
		{"broken rule", "broken.yaml", func(s *Settings, _ string) { s.Policy.Rules = []string{broken} }},
		{"a file where the lake is", "lake", func(_ *Settings, dir string) {
			if err := os.WriteFile(filepath.Join(dir, lakeFolder), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			o := Options{Version: console.Version{}, Dir: dir, Logger: slog.New(slog.DiscardHandler), Offline: true}
			bad := DefaultSettings()
			c.spoil(&bad, dir)
			if _, err := New(t.Context(), bad, o); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v does not say %q", err, c.want)
			}
			if info, err := os.Stat(filepath.Join(dir, lakeFolder)); err == nil && !info.IsDir() {
				if err := os.Remove(filepath.Join(dir, lakeFolder)); err != nil {
					t.Fatal(err)
				}
			}
			m, err := New(t.Context(), DefaultSettings(), o)
			if err != nil {
				t.Fatalf("the start after it: %v", err)
			}
			m.Close()
		})
	}
}

// The requests to try that up prints must work where the edge listens on every address.
func TestAskable(t *testing.T) {
	for listen, want := range map[string]string{
		"":                         "",
		"http://127.0.0.1:8080":    "http://127.0.0.1:8080",
		"http://0.0.0.0:8080":      "http://127.0.0.1:8080",
		"https://[::]:8443":        "https://127.0.0.1:8443",
		"http://[2001:db8::1]:80":  "http://[2001:db8::1]:80",
		"http://198.51.100.7:8080": "http://198.51.100.7:8080",
	} {
		if got := askable(listen); got != want {
			t.Errorf("askable(%q) = %q, want %q", listen, got, want)
		}
	}
}
