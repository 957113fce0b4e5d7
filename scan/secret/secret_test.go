package secret_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/detect"
	"github.com/testudo-sec/testudo/scan"
	"github.com/testudo-sec/testudo/scan/report"
	"github.com/testudo-sec/testudo/scan/scantest"
	"github.com/testudo-sec/testudo/scan/secret"
	"github.com/testudo-sec/testudo/signal"
)

func builtin(t testing.TB) *detect.Set {
	t.Helper()
	set, err := detect.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func expand(t testing.TB, text, seed string) string {
	t.Helper()
	out, err := detect.Expand(text, seed)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// samples makes a file of every positive example of every rule, with what must not be repeated.
func samples(t testing.TB, set *detect.Set) []scantest.Sample {
	t.Helper()
	var out []scantest.Sample
	for _, r := range set.Rules() {
		for i, e := range r.Tests.Find {
			s := scantest.Sample{Path: e.Path, Data: expand(t, e.Text, fmt.Sprintf("%s canary %d", r.ID, i))}
			if s.Path == "" {
				s.Path = fmt.Sprintf("%s/%d.conf", r.ID, i)
			}
			set.FindIn(s.Path, []byte(s.Data), func(m detect.Match) bool {
				s.Hidden = append(s.Hidden, s.Data[m.Start:m.End])
				return true
			})
			if len(s.Hidden) > 0 { // a random value may by chance read like a word
				out = append(out, s)
			}
		}
	}
	if len(out) < 150 {
		t.Fatalf("only %d samples", len(out))
	}
	return out
}

func TestConformance(t *testing.T) {
	set := builtin(t)
	scantest.Check(t, secret.New(set), samples(t, set))
}

// TestNoSecretInAnyOutput plants every kind of secret, several on a line too, scans the
// tree as a user would, and looks for them in every output and finding event.
func TestNoSecretInAnyOutput(t *testing.T) {
	set, dir := builtin(t), t.TempDir()
	all := samples(t, set)
	var hidden []string
	var crowded strings.Builder
	for i, s := range all {
		name := filepath.Join(dir, fmt.Sprint(i), s.Path)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(s.Data), 0o600); err != nil {
			t.Fatal(err)
		}
		hidden = append(hidden, s.Hidden...)
		crowded.WriteString(strings.ReplaceAll(s.Data, "\n", " "))
		crowded.WriteString([]string{" ", ",", ";", "\n"}[i%4])
	}
	if err := os.WriteFile(filepath.Join(dir, "crowded.txt"), []byte(crowded.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	config := scan.DefaultConfig()
	config.Confidence = "low"
	scanner := secret.New(set)
	var findings []signal.Finding
	stats, err := scan.Run(context.Background(), scan.Options{Root: dir, Scanners: []scan.Scanner{scanner}, Config: config},
		func(f signal.Finding) { findings = append(findings, f) })
	if err != nil || len(findings) < len(all) {
		t.Fatalf("%d findings of %d samples, %v", len(findings), len(all), err)
	}
	var out bytes.Buffer
	result := report.Result{Root: dir, Findings: findings, Stats: stats, Scanners: []scan.Scanner{scanner}}
	for _, format := range report.Formats() {
		if err := report.Write(&out, format, result, report.Options{Width: 400}); err != nil {
			t.Fatal(err)
		}
	}
	if err := scan.WriteBaseline(&out, findings); err != nil {
		t.Fatal(err)
	}
	var e signal.Event
	for i := range findings {
		findings[i].Event(&e, 1, findings[i].First)
		out.Write(e.AppendJSON(nil))
	}
	const fixed = "-----BEGIN EC PRIVATE KEY----- -----BEGIN OPENSSH PRIVATE KEY----- -----BEGIN PRIVATE KEY----- " +
		"-----END EC PRIVATE KEY----- -----END OPENSSH PRIVATE KEY----- -----END PRIVATE KEY----- access_token$production$"
	for _, secret := range hidden {
		for from := 0; from+12 <= len(secret) && from < 4000; from += 6 {
			part := secret[from : from+12]
			if from == 0 || strings.HasPrefix(secret, "Comment:") || strings.Contains(fixed, strings.TrimRight(part, "\n")) {
				continue // the fixed part of a format
			}
			if bytes.Contains(out.Bytes(), []byte(part)) {
				t.Errorf("%q of a secret of %d characters is in the output", part, len(secret))
			}
		}
	}
}

func TestFinding(t *testing.T) {
	s := secret.New(builtin(t))
	token, password := expand(t, "{{github ghp_}}", "1"), expand(t, "{{base62 16}}", "2")
	text := "# deploy\n\texport GITHUB_TOKEN=" + token + "\nagain " + token + "\nurl = postgres://shop:" + password + "@db.corp.net/shop\n"
	found := scantest.Findings(t, s, "deploy.env", []byte(text))
	if len(found) != 2 {
		t.Fatalf("%d findings: %+v", len(found), found)
	}
	f := found[0]
	if f.Rule != "github-token" || f.Count != 2 || f.Location.Line != 2 || f.Location.Column != 22 || f.Location.Snippet != "export GITHUB_TOKEN=ghp_…" {
		t.Errorf("%+v", f)
	}
	want := []signal.Evidence{{Name: "secret", Value: "ghp_… (40 characters)"}, {Name: "proof", Value: "checksum"}, {Name: "also on lines", Value: "3"}}
	if fmt.Sprint(f.Evidence) != fmt.Sprint(want) {
		t.Errorf("evidence %v", f.Evidence)
	}
	if g := found[1]; g.Rule != "database-url-password" || g.Location.Snippet != "url = postgres://shop:…" || g.Evidence[0].Value != "not shown" {
		t.Errorf("%+v", g)
	}
}

// TestPasswordLeavesNoTrace holds that the id of a guessable secret is the same whatever the
// secret is, so that nobody can try passwords against it.
func TestPasswordLeavesNoTrace(t *testing.T) {
	s := secret.New(builtin(t))
	id := func(seed string) string {
		found := scantest.Findings(t, s, "a.env", []byte("db_password = \""+expand(t, "{{base62 16}}", seed)+"\""))
		if len(found) != 1 {
			t.Fatalf("seed %s: %+v", seed, found)
		}
		return found[0].ID
	}
	if id("2") != id("3") {
		t.Error("the id of a password's finding depends on the password")
	}
	two := "db_password = \"" + expand(t, "{{base62 16}}", "2") + "\"\n"
	if found := scantest.Findings(t, s, "a.env", []byte(two+two)); len(found) != 2 {
		t.Errorf("two places of a password give %d findings", len(found))
	}
}

// TestSnippetMasksTheUnknown holds that what looks random before a secret is not repeated even
// where no rule knows it.
func TestSnippetMasksTheUnknown(t *testing.T) {
	s := secret.New(builtin(t))
	unknown, token := expand(t, "{{base62 40}}", "1"), expand(t, "{{github ghp_}}", "1")
	for _, before := range []string{unknown + " ", strings.Repeat("x ", 40) + unknown + " ", strings.Repeat(unknown, 5) + " "} {
		found := scantest.Findings(t, s, "a.txt", []byte(before+token))
		if len(found) != 1 || strings.Contains(found[0].Location.Snippet, unknown[8:24]) || strings.Contains(found[0].Location.Snippet, unknown[26:38]) {
			t.Errorf("%+v", found)
		}
	}
}
