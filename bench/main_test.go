package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestBars holds that every bar can be named, is bounded in time, and says what it measures.
func TestBars(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range bars() {
		if seen[b.Name] || !strings.HasPrefix(b.Name, b.Part+"-") {
			t.Errorf("bar %q of part %q: want a name of its own that begins with the part's", b.Name, b.Part)
		}
		seen[b.Name] = true
		if b.Limit <= 0 || b.Run == nil || b.What == "" || b.Unit == "" || strings.ContainsAny(b.Name+b.Unit, " \t\n|") {
			t.Errorf("bar %s is not whole: %+v", b.Name, b)
		}
	}
	for _, r := range roles() {
		if seen[r.Name] || r.Run == nil {
			t.Errorf("role %q stands twice or does nothing", r.Name)
		}
		seen[r.Name] = true
	}
}

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args   []string
		status int
		stdout string
		stderr string
	}{
		{[]string{"-list", "-bar", "waf"}, 0, "waf-crs-share  >=97 %\n", ""},
		{[]string{"-bar", "nothing"}, 2, "", `no bar and no part is called "nothing"`},
		{[]string{"waf"}, 2, "", "name a bar by -bar"},
		{[]string{"-runs", "0"}, 2, "", "want at least 1"},
		{[]string{"-short", "-write", "x"}, 2, "", "leave -short out"},
		{[]string{"-bar", "spine-binary-size", "-testudo", "/nonexistent"}, 2, "unmeasured: stat /nonexistent", ""},
		{[]string{"-bar", "spine-binary-size", "-testudo", "main_test.go"}, 0, "MB            <=100 ok\n", ""},
	} {
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), tt.args, &stdout, &stderr); status != tt.status {
			t.Errorf("%q: status %d, want %d: %s", tt.args, status, tt.status, &stderr)
		}
		if !strings.Contains(stdout.String(), tt.stdout) || !strings.Contains(stderr.String(), tt.stderr) {
			t.Errorf("%q:\n%s%s, want %q and %q in them", tt.args, &stdout, &stderr, tt.stdout, tt.stderr)
		}
	}
}
