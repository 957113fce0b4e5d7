package assembly

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/internal/require"
)

// form posts a form of a page, and returns the page that answers.
func (s *system) form(path string, fields url.Values) answer {
	s.t.Helper()
	fields.Set("csrf", s.csrf)
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.m.ConsoleURL()+path, strings.NewReader(fields.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return ask(s.t, s.api, r)
}

const (
	sequence = `title: Search, then a product
id: 6d2b9f2c-0a53-4c1e-9d57-2f8e5d4cbb10
name: search-then-product
correlation:
  type: temporal_ordered
  rules: [searched, looked]
  group-by: [src_endpoint.ip]
  timespan: 5m
level: low
---
title: Searched
id: 1f0a7d84-3f7e-4f39-8a7b-0a3f3a1b6c01
name: searched
logsource: {category: webserver}
detection: {sel: {cs-uri-stem|startswith: /search}, condition: sel}
level: low
---
title: Looked at a product
id: 2f0a7d84-3f7e-4f39-8a7b-0a3f3a1b6c02
name: looked
logsource: {category: webserver}
detection: {sel: {cs-uri-stem|startswith: /product, x-never-there: "1"}, condition: sel}
level: low
`
	shell = "- macro: spawned\n  condition: evt.type in (execve, execveat)\n\n- rule: A shell\n  desc: A shell was started.\n  condition: spawned and proc.name = bash\n  output: shell (%proc.cmdline)\n  priority: NOTICE\n"
)

// TestRulePages: rules of every dialect say what they wait for and read, and a change of one can be tried on what
// came before it is saved.
func TestRulePages(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{"sequence.yml": sequence, "shell.yaml": shell} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := testSettings(shop(t))
	settings.Policy.Rules = []string{folder}
	s := start(t, settings, dataDir(t))
	s.signIn()
	honest := from(t, "")
	s.get(honest, "/search?q=tea")
	s.get(honest, "/product/1")
	eventually(t, "the requests are recorded", func() bool { return len(s.events("plane=edge")) >= 4 })

	var rule console.Rule
	s.call(http.MethodGet, "/api/v1/rules/6d2b9f2c-0a53-4c1e-9d57-2f8e5d4cbb10", nil, &rule)
	if w := rule.Waits; w == nil || !w.Ordered || len(w.Of) != 2 || w.Of[0].Title != "Searched" || w.Of[1].ID != "2f0a7d84-3f7e-4f39-8a7b-0a3f3a1b6c02" ||
		time.Duration(w.Within) != 5*time.Minute || len(w.GroupBy) != 1 || rule.Dialect != "sigma" {
		t.Errorf("the correlation waits for %+v", w)
	}
	s.call(http.MethodGet, "/api/v1/rules/2f0a7d84-3f7e-4f39-8a7b-0a3f3a1b6c02", nil, &rule)
	seen := map[string]int{}
	for _, r := range rule.Reads {
		seen[r.Name] = r.Seen
	}
	if n, ok := seen["x-never-there"]; !ok || n != 0 || seen["http_request.url.path"] == 0 || rule.Looked == 0 {
		t.Errorf("of %d events: %v", rule.Looked, seen)
	}

	var all struct{ Items []console.Rule }
	s.call(http.MethodGet, "/api/v1/rules", nil, &all)
	var falco console.Rule
	for _, r := range all.Items {
		if r.Dialect == "falco" {
			falco = r
		}
		if len(r.Source)+len(r.Reads) > 0 {
			t.Errorf("%s: the list has what is for one rule", r.ID)
		}
	}
	page := s.call(http.MethodGet, "/rules/"+url.PathEscape(falco.ID), nil, nil)
	if page.status != http.StatusOK || !strings.Contains(page.body, "Lines 4 to 8 of the file") || !strings.Contains(page.body, "- rule: A shell") || strings.Contains(page.body, "- macro: spawned") {
		t.Errorf("the page of %q: %d", falco.ID, page.status)
	}
	copied := s.call(http.MethodGet, "/rules/-/check?rule="+url.QueryEscape(falco.ID), nil, nil)
	if !strings.Contains(copied.body, "- macro: spawned") {
		t.Error("a copy is not of the whole file")
	}

	text := "id: mine.products\ntitle: Products\nseverity: low\non: [http_activity]\nwhen: http_request.url.path.startsWith(\"/product\")\nthen: [deny]\nwhy: No.\n"
	tried := s.form("/rules/-/check", url.Values{"do": {"whatif"}, "since": {"1h"}, "text": {text}})
	if tried.status != http.StatusOK || !strings.Contains(tried.body, "Would have refused 2 more requests or answers of 1 client.") || !strings.Contains(tried.body, "mine.products") {
		at := max(0, strings.Index(tried.body, "<main"))
		t.Errorf("tried: %d %.1500s", tried.status, tried.body[at:])
	}
	if m := regexp.MustCompile(`<ul class="examples"><li[^>]*><a href="([^"]+)"`).FindStringSubmatch(tried.body); m == nil {
		t.Error("there is no example")
	} else if p := s.call(http.MethodGet, m[1], nil, nil); p.status != http.StatusOK || !strings.Contains(p.body, "/product/1") {
		t.Errorf("the example %s: %d", m[1], p.status)
	}
	off := s.form("/rules/-/check", url.Values{"do": {"whatif"}, "since": {"1h"}, "off": {falco.ID}})
	if !strings.Contains(off.body, "Nothing would have been otherwise in the last hour.") {
		t.Errorf("without a rule that never fired: %d", off.status)
	}
	wrong := s.form("/rules/-/check", url.Values{"do": {"whatif"}, "text": {shell + "  bogus: 1\n"}})
	if !strings.Contains(strings.ReplaceAll(wrong.body, "</bdi>", ""), "rule.yaml:9:3") {
		at := max(0, strings.Index(wrong.body, "<main"))
		t.Errorf("a text that does not compile: %d %.900s", wrong.status, wrong.body[at:])
	}
}

// TestManyRulePages: with the public collections of rules loaded, the pages of rules stay small.
func TestManyRulePages(t *testing.T) {
	corpora := require.Corpora(t)
	settings := testSettings(shop(t))
	settings.Policy.Rules = []string{filepath.Join(corpora, "sigma"), filepath.Join(corpora, "falco")}
	s := start(t, settings, dataDir(t))
	s.signIn()
	for _, at := range []string{"/rules", "/rules", "/rules?dialect=sigma&q=powershell", "/rules?dialect=falco", "/rules?tag=t1059&severity=high"} {
		began := time.Now()
		page := s.call(http.MethodGet, at, nil, nil)
		t.Logf("%s: %d bytes in %v", at, len(page.body), time.Since(began).Round(time.Millisecond))
		if page.status != http.StatusOK || len(page.body) > 300<<10 || strings.Count(page.body, `class="open"`) < 20 {
			t.Errorf("%s: %d, %d bytes", at, page.status, len(page.body))
		}
	}
}
