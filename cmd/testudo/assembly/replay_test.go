package assembly

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// hand gives the machine an event that happened some seconds ago, and returns its id.
func (s *system) hand(ago time.Duration, e *signal.Event) signal.ID {
	s.t.Helper()
	e.Time = time.Now().Add(-ago).UnixNano()
	e.ID = signal.NewID(time.Unix(0, e.Time))
	if _, err := s.m.Node().Event(s.t.Context(), e); err != nil {
		s.t.Fatal(err)
	}
	return e.ID
}

func httpRequest(path, client string) *signal.Event {
	e := new(signal.Event)
	e.Class, e.Plane, e.Activity = signal.ClassHTTPActivity, signal.PlaneEdge, signal.HTTPActivity("GET")
	e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(signal.FieldHTTPRequestURLPath, path)
	e.SetString(signal.FieldHTTPRequestUserAgent, "Mozilla/5.0")
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr(client))
	return e
}

func launched(path, user string) *signal.Event {
	e := new(signal.Event)
	e.Class, e.Activity = signal.ClassProcessActivity, 1
	if strings.Contains(path, `\`) {
		e.SetString(signal.FieldMetadataLogProduct, "windows")
		e.SetString(signal.FieldMetadataLogCategory, "process_creation")
	} else {
		e.Plane = signal.PlaneKernel
	}
	e.SetString(signal.FieldProcessFilePath, path)
	e.SetString(signal.FieldProcessName, path[strings.LastIndexAny(path, `/\`)+1:])
	e.SetString(signal.FieldProcessCmdLine, path+" --now")
	e.SetString(signal.FieldProcessUserName, user)
	return e
}

const huntedRules = `id: select-in-path
title: A statement in a path
severity: medium
on: http_activity
when: http_request.url.path.contains("select")
then: deny
why: "{src_endpoint.ip} asked for {http_request.url.path}"
`

const attributeRule = `id: company
title: A company
severity: low
on: process_activity
when: attr("Company").startsWith("Example")
then: alert
why: "a program of the company ran"
`

const falcoRule = `- rule: Program in a temporary folder
  desc: a program runs from a folder that everybody can write to
  condition: evt.type in (execve, execveat) and proc.exepath startswith /tmp/
  output: "%proc.exepath"
  priority: WARNING
`

const sigmaRule = `title: A tool runs
id: 3a5f0c9b-2d1e-4f60-8a3b-0c9b2d1e4f60
status: test
logsource:
  product: windows
  category: process_creation
detection:
  selection:
    Image|endswith: '\tool.exe'
  condition: selection
level: high
`

// TestReplays tries a change of rules and exceptions on what a running machine has recorded, through the sources of its
// console.
func TestReplays(t *testing.T) {
	folder := t.TempDir()
	for name, text := range map[string]string{"native.yaml": huntedRules, "attribute.yaml": attributeRule, "falco.yaml": falcoRule, "sigma.yml": sigmaRule, "company.yml": strings.NewReplacer("A tool runs", "A company", "9b2d1e4f60", "9b2d1e4f61", "Image|endswith: '\\tool.exe'", "Company|startswith: Example").Replace(sigmaRule)} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings := testSettings("")
	settings.Policy.Rules = []string{folder}
	s := start(t, settings, dataDir(t))
	for i := range 20 {
		s.hand(time.Minute, httpRequest("/page", "203.0.113."+string(rune('1'+i%9))))
	}
	order := s.hand(30*time.Second, httpRequest("/order/1042/select", "203.0.113.1"))
	s.hand(29*time.Second, httpRequest("/order/77/select", "203.0.113.2"))
	program := s.hand(20*time.Second, launched("/tmp/build/77/run", "ci"))
	tool := s.hand(20*time.Second, launched(`C:\Programs\tool.exe`, "ann"))
	trail := launched(`C:\Programs\tool.exe`, "ann")
	trail.SetUnmapped("Company", "Example 77")
	companion := s.hand(20*time.Second, trail)
	if err := s.m.storage.Store.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := replays{s.m}

	q := console.WhatIfQuery{Since: time.Now().Add(-time.Hour), Verify: true, Disable: []string{"select-in-path"},
		Files: []console.RuleText{{Name: "new.yaml", Text: strings.NewReplacer("select-in-path", "page", `"select"`, `"/page"`).Replace(huntedRules)}}}
	r, err := source.WhatIf(t.Context(), q, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Counts["newly_blocked"] != 20 || r.Counts["no_longer_blocked"] != 2 || len(r.Rules.Added) != 1 || r.Live != s.m.engine.Set().Digest() || len(r.Examples) == 0 {
		t.Errorf("%+v", r)
	}
	if v := r.Verified; v.Different != 0 || v.Same+v.Masked == 0 {
		t.Errorf("what was recorded is not what the rules make of it: %+v", v)
	}
	q.Files[0].Text = "id: page\nwhen: nonsense("
	if r, err = source.WhatIf(t.Context(), q, nil); err != nil || len(r.Errors) == 0 || r.Errors[0].File != "new.yaml" || r.Counts == nil {
		t.Errorf("rules that do not compile: %+v, %v", r, err)
	}
	var input *console.InputError
	for field, q := range map[string]console.WhatIfQuery{"remove": {Remove: []string{"select-in-pth"}}, "planes": {Planes: []string{"egde"}}, "classes": {Classes: []string{"http"}}} {
		if _, err := source.WhatIf(t.Context(), q, nil); !errors.As(err, &input) || input.Field != field {
			t.Errorf("%s: %v", field, err)
		}
	}
	if set, _ := changedRules(s.m.loader, s.m.engine.Set(), &console.WhatIfQuery{Replace: true, Files: []console.RuleText{{Name: "a.yaml", Text: huntedRules}}}); set.Len() != 1 {
		t.Errorf("instead of all there are %d rules", set.Len())
	}

	for _, c := range []struct {
		event signal.ID
		rule  string
		want  []string // in the change
	}{
		{order, "select-in-path", []string{`id: select-in-path`, `http_request.url.path == "/order/1042/select"`, `edge.route == "shop"`}},
		{program, "", []string{"override:", "exceptions: append", "proc.exepath", "/tmp/build/77/run"}},
		{tool, "", []string{"filter:", "3a5f0c9b-2d1e-4f60-8a3b-0c9b2d1e4f60", "Image|cased", "tool.exe"}},
		{companion, "3a5f0c9b-2d1e-4f60-8a3b-0c9b2d1e4f61", []string{"filter:", "Company|cased: Example 77"}},
		{companion, "company", []string{`process.file.path == "C:\\Programs\\tool.exe"`}},
	} {
		x, err := source.Exceptions(t.Context(), console.ExceptionQuery{Event: c.event, Rule: c.rule, Since: time.Now().Add(-time.Hour)}, nil)
		if err != nil {
			t.Errorf("%s: %v", c.event, err)
			continue
		}
		if len(x.Proposals) == 0 || !x.Proposals[0].Checked {
			t.Errorf("rule %s: %+v", x.Rule, x)
		}
		for _, want := range c.want {
			if !strings.Contains(x.Proposals[0].Change, want) {
				t.Errorf("rule %s: no %s in\n%s", x.Rule, want, x.Proposals[0].Change)
			}
		}
	}
	if _, err := source.Exceptions(t.Context(), console.ExceptionQuery{Event: order, Rule: "nobody"}, nil); !errors.As(err, &input) || input.Field != "rule" {
		t.Errorf("an unknown rule: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.WhatIf(ctx, console.WhatIfQuery{Disable: []string{"select-in-path"}}, nil); err == nil {
		t.Error("a replay went on after it was cancelled")
	}
}
