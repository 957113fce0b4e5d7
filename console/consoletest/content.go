package consoletest

import (
	"fmt"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

func (w *World) fillRules() {
	rule := func(id, title string, sev signal.Severity, d signal.Decision, when string, hits uint64, then ...string) {
		r := console.Rule{
			ID: id, Title: title, Severity: sev, Decision: d, Classes: []string{"http_activity"}, When: when,
			Then: append([]string{d.String()}, then...), Why: "Requests of this form are attacks on the application, not use of it.",
			Fix: "Bind parameters in queries instead of pasting them in.", References: []string{"https://owasp.org/www-community/attacks/SQL_Injection"},
			Tags: []string{"attack.t1190"}, File: "builtin:edge/" + id + ".yaml", Line: 1, Builtin: true, Enabled: true, Dialect: "native",
			Fields: []string{"waf.score", "waf.threshold"}, Hits: hits,
			Tests: []console.RuleTest{
				{Rule: id, Name: "an attack fires", Want: true, Passed: true},
				{Rule: id, Name: "an honest search does not", Want: false, Passed: true},
			},
			Source: fmt.Sprintf("id: %s\ntitle: %s\nseverity: %s\non: [http_activity]\nwhen: %s\nthen: %s\ntests:\n  - name: an attack fires\n    event: {waf.score: 15, waf.threshold: 5}\n    fires: true\n", id, title, sev, when, d),
		}
		if hits > 0 {
			r.LastHit = w.Start.Add(-time.Duration(hits) * time.Minute)
		}
		w.Rules = append(w.Rules, r)
	}
	rule("edge.command-in-args", "Shell command in a parameter", signal.SeverityCritical, signal.Deny, `waf.categories.exists(c, c == "attack-rce")`, 5, "block 10m after 3 in 5m")
	rule("edge.path-traversal", "Path leaves its folder", signal.SeverityHigh, signal.Deny, `waf.categories.exists(c, c == "attack-lfi")`, 5, "block 10m after 3 in 5m")
	rule("edge.scanner", "Request of a known scanner", signal.SeverityMedium, signal.Alert, `http_request.user_agent.contains("sqlmap")`, 5)
	rule("edge.slow-client", "Client sends a byte now and then", signal.SeverityLow, signal.Limit, `edge.error == "request-timeout"`, 0)
	rule("edge.waf-attack", "The WAF's score is over the threshold", signal.SeverityHigh, signal.Deny, `waf.score >= waf.threshold`, 5, "block 10m after 3 in 5m")
	rule("edge-api-block", "A request or an answer is not what the API allows", signal.SeverityHigh, signal.Deny, `api.block && edge.mode == "block"`, 1)
	rule("edge-api-object", "Somebody opens what belongs to others", signal.SeverityHigh, signal.Alert, `api.violations.exists(v, v.startsWith("object/"))`, 1)
	w.Rules = append(w.Rules, console.Rule{
		ID: "mine.admin-from-outside", Title: "Admin pages asked for from outside", Severity: signal.SeverityMedium, Decision: signal.Challenge,
		Classes: []string{"http_activity"}, When: `http_request.url.path.startsWith("/admin")`, Then: []string{"challenge"},
		File: "/var/lib/testudo/rules/admin.yaml", Line: 1, Enabled: true, Dialect: "native", Fields: []string{"http_request.url.path"},
		Tests:  []console.RuleTest{{Rule: "mine.admin-from-outside", Name: "admin fires", Want: true, Passed: false, Error: "did not fire: http_request.url.path is not set by the test"}},
		Source: "id: mine.admin-from-outside\n",
	})
	falco := "- list: shell_binaries\n  items: [bash, sh, zsh]\n\n- macro: spawned_process\n  condition: evt.type in (execve, execveat)\n\n# Somebody has a shell in a container.\n- rule: Terminal shell in container\n  desc: A shell was used as the entrypoint or exec point into a container.\n  condition: >\n    spawned_process and container\n    and proc.name in (shell_binaries) and proc.tty != 0\n  output: Shell in a container (user=%user.name command=%proc.cmdline)\n  priority: NOTICE\n  tags: [container, T1059]\n\n- rule: Another one\n  condition: never_true\n"
	w.Rules = append(w.Rules, console.Rule{
		ID: "falco.terminal-shell-in-container", Title: "Terminal shell in container", Severity: signal.SeverityLow, Decision: signal.Alert, Classes: []string{"process_activity"},
		When: "spawned_process and container and proc.name in (shell_binaries) and proc.tty != 0", Then: []string{"alert"}, Why: "A shell was used as the entrypoint or exec point into a container.",
		Tags: []string{"container", "attack.t1059"}, File: "/var/lib/testudo/rules/falco/falco_rules.yaml", Line: 8, Enabled: true, Dialect: "falco", Source: falco,
		Fields: []string{"process.name", "process.tty", "container.uid"}, Looked: 412, Reads: []console.RuleRead{{Name: "process.name", Seen: 412}, {Name: "process.tty", Seen: 12}, {Name: "container.uid"}, {Name: "proc.is_exe_upper_layer", Attr: true}},
	}, console.Rule{
		ID: "0e95725d-7320-415d-80f7-004da920fc11", Title: "Many failed sign-ins, then one that succeeds", Severity: signal.SeverityHigh, Decision: signal.Alert, Classes: []string{"authentication"},
		When: "temporal_ordered of failed-logons, logon by user.name within 10m0s", Then: []string{"alert"}, Tags: []string{"attack.credential-access", "attack.t1110.001"},
		File: "/var/lib/testudo/rules/sigma/guessed.yml", Line: 1, Enabled: true, Dialect: "sigma", Hits: 2, LastHit: w.Start.Add(-26 * time.Minute),
		Notes:   []console.RuleNote{{Key: "author", Text: "A. Nother"}, {Key: "falsepositives", Text: "People who come back from holiday"}},
		Windows: &console.RuleWindows{Groups: 31, Events: 88, Evicted: 2, Late: 1, Skipped: 14},
		Waits: &console.RuleWaits{Kind: "temporal_ordered", Ordered: true, Within: console.Duration(10 * time.Minute), GroupBy: []string{"user.name", "src_endpoint.ip"}, Values: []string{},
			Of: []console.WaitedRule{{ID: "failed-logons", Title: "Ten failed sign-ins", Hits: 31}, {ID: "logon", Title: "A sign-in succeeds", Hits: 1240}}},
		Source: "title: Many failed sign-ins, then one that succeeds\ncorrelation:\n  type: temporal_ordered\n  rules: [failed-logons, logon]\n  group-by: [TargetUserName, IpAddress]\n  timespan: 10m\nlevel: high\n",
	})
	for _, host := range []struct{ id, title string }{{"host-dropped-program", "A program that was written into a running container"}, {"host-mining-pool", "Connection to a mining pool"},
		{"host-shell-of-a-service", "A service that answers requests starts a shell"}} {
		rule(host.id, host.title, signal.SeverityHigh, signal.Alert, `process.name in ["sh", "bash"]`, 0)
		w.Rules[len(w.Rules)-1].Classes = []string{"process_activity"}
	}
	w.RuleSet = console.RuleSet{Digest: "5e0c1d4b2f", Count: len(w.Rules), Folder: "/var/lib/testudo/rules",
		LoadedAt: w.Start.Add(-2 * time.Hour), TriedAt: w.Start.Add(-5 * time.Minute),
		Errors: []console.RuleError{{File: "/var/lib/testudo/rules/new.yaml", Line: 6, Column: 9, Rule: "mine.new", Message: `unknown field "http_request.pth"`, Hint: `nearest is "http_request.url.path"`}}}
}

func (w *World) fillFindings() {
	add := func(kind signal.FindingKind, rule, title string, sev signal.Severity, state signal.FindingState, plane signal.Plane, ago time.Duration, f signal.Finding) {
		f.Kind, f.Rule, f.Title, f.Severity, f.State, f.Plane = kind, rule, title, sev, state, plane
		f.ID = signal.Fingerprint(rule, title, f.Location.Path, f.Asset)
		f.Last = w.Start.Add(-ago)
		f.First = f.Last.Add(-26 * time.Hour)
		if f.Count == 0 {
			f.Count = 1
		}
		w.Findings = append(w.Findings, f)
	}
	ids := []signal.ID{}
	for _, e := range w.Log {
		if console.DecisionOf(e) == signal.Deny && len(ids) < 5 {
			ids = append(ids, e.ID)
		}
	}
	add(signal.FindingDetection, "edge.command-in-args", "Shell command in a parameter of /ping", signal.SeverityCritical, signal.FindingOpen, signal.PlaneEdge, 3*time.Minute, signal.Finding{
		Asset: "application:shop", Desc: "A client tried to run a command through the ping diagnostic.", Fix: "Pass arguments to the program as a list, never through a shell.",
		Count: 5, Events: ids, Evidence: []signal.Evidence{{Name: "client", Value: "198.51.100.23"}, {Name: "parameter", Value: "host"}}})
	add(signal.FindingDetection, "edge.waf-attack", "SQL injection tried on /search", signal.SeverityHigh, signal.FindingOpen, signal.PlaneEdge, 2*time.Minute, signal.Finding{
		Asset: "application:shop", Count: 14, Events: ids, Fix: "Bind parameters in queries instead of pasting them in.",
		References: []string{"https://owasp.org/www-community/attacks/SQL_Injection"}, Tags: []string{"attack.t1190"},
		Evidence: []signal.Evidence{{Name: "client", Value: "203.0.113.66"}, {Name: "matched", Value: "942100 SQL Injection Attack Detected via libinjection"}}})
	add(signal.FindingPosture, "secret.aws-access-key", "AWS access key in the checkout", signal.SeverityHigh, signal.FindingOpen, signal.PlaneScan, 40*time.Minute, signal.Finding{
		Asset: "repository:shop", Fix: "Revoke the key, then take it out of the history.", Location: signal.Location{Path: "deploy/env.sh", Line: 12, EndLine: 12, Column: 19, Snippet: "export AWS_ACCESS_KEY_ID=AKIA************"},
		Evidence: []signal.Evidence{{Name: "secret", Value: "AKIA************"}}})
	add(signal.FindingPosture, "secret.private-key", "Private key in the checkout", signal.SeverityHigh, signal.FindingMuted, signal.PlaneScan, 40*time.Minute, signal.Finding{
		Asset: "repository:shop", Location: signal.Location{Path: "testdata/tls/server.key", Line: 1}})
	for i := range 60 {
		add(signal.FindingPosture, "secret.generic-password", fmt.Sprintf("Password in a configuration file (%d)", i+1), signal.SeverityMedium, signal.FindingOpen, signal.PlaneScan, time.Hour, signal.Finding{
			Asset: "repository:shop", Location: signal.Location{Path: fmt.Sprintf("config/service-%02d.yaml", i+1), Line: 4 + i}})
	}
	add(signal.FindingVulnerability, "vuln.example", "A library with a known flaw", signal.SeverityLow, signal.FindingResolved, signal.PlaneScan, 20*time.Hour, signal.Finding{Asset: "repository:shop"})
}

func (w *World) fillActions() {
	add := func(target, actor, reason string, state signal.ActionState, start, life time.Duration, a signal.Action) {
		a.ID, a.Kind, a.Target, a.Actor, a.Reason, a.State = w.next("act"), "block", target, actor, reason, state
		a.Start = w.Start.Add(start)
		a.Until = a.Start.Add(life)
		if a.Radius.Summary == "" {
			a.Radius = signal.Radius{Summary: "one address; it sent 14 requests in the last 10m, 2 of them allowed", Addresses: "1", Requests: 14, Good: 2, Window: "10m"}
		}
		w.Actions = append(w.Actions, a)
	}
	add("192.0.2.200", "person:ola", "noisy crawler", signal.ActionExpired, -3*time.Hour, 10*time.Minute, signal.Action{End: w.Start.Add(-170 * time.Minute), Hits: 31})
	add("192.0.2.11", "rule:edge.waf-attack", "3 denied requests in 5m", signal.ActionUndone, -time.Hour, 10*time.Minute, signal.Action{End: w.Start.Add(-57 * time.Minute), UndoneBy: "person:ola"})
	add("127.0.0.1", "rule:edge.waf-attack", "3 denied requests in 5m; loopback is never blocked by itself", signal.ActionRefused, -30*time.Minute, 0, signal.Action{End: w.Start.Add(-30 * time.Minute)})
	add("198.51.100.0/24", "person:ann", "whole network of a scanner", signal.ActionActive, -20*time.Minute, 24*time.Hour, signal.Action{Hits: 412,
		Radius: signal.Radius{Summary: "256 addresses; 3 of them sent 412 requests in the last 10m, none allowed", Addresses: "256", Requests: 412, Window: "10m", Warnings: []string{"a whole network: others in it are blocked too"}}})
	add("203.0.113.66", "rule:edge.waf-attack", "3 denied requests in 5m", signal.ActionActive, -2*time.Minute, 10*time.Minute, signal.Action{Hits: 9})
}

func (w *World) fillSystem() {
	w.Health = console.Health{State: console.HealthOK}
	w.System = console.System{
		Version: console.Version{Version: "0.1.0", Commit: "0123abc", Go: "go1.26"}, Host: "demo", Started: w.Start.Add(-2 * time.Hour), DataDir: "/var/lib/testudo",
		Health: w.Health, Memory: 142 << 20,
		Listeners: []console.Listener{{Name: "console", URL: "https://127.0.0.1:7443", OK: true}, {Name: "edge", URL: "http://127.0.0.1:8080", OK: true}},
		Checks: []console.Check{
			{Name: "data directory", OK: true, Detail: "/var/lib/testudo, mode 0700, ours"},
			{Name: "eBPF", Detail: "this user may not load programs", Cost: "processes, files and sockets of the host are not seen", Command: "sudo testudo up"},
			{Name: "open files", OK: true, Detail: "limit 65536"},
		},
		Queues:    []console.Queue{{Name: "record", Length: 12, Capacity: 65536}, {Name: "lake", Length: 3100, Capacity: 4096, Dropped: 17}},
		Stores:    []console.StoreSize{{Name: "bus", Bytes: 48 << 20, Items: 5120, Oldest: w.Start.Add(-time.Hour)}, {Name: "state", Detail: "sqlite", Bytes: 2 << 20, Items: 77}, {Name: "lake", Bytes: 310 << 20, Items: 1_204_331, Oldest: w.Start.Add(-72 * time.Hour)}},
		Upstreams: []console.Upstream{{Route: "shop", URL: "http://127.0.0.1:8081", Healthy: true, Since: w.Start.Add(-2 * time.Hour)}, {Route: "blog", URL: "http://127.0.0.1:8082", Since: w.Start.Add(-time.Minute), Error: "connection refused"}},
	}
	w.System.Logs = &console.Logs{Open: 2, Unreadable: 1, Rejects: "/var/lib/testudo/logs-rejected.jsonl", Kept: 12,
		Sources: []console.LogSource{
			{Name: "windows servers", Kind: "files", Where: "/var/log/win/*.json", Events: 48_120, Bytes: 91 << 20, Formats: map[string]uint64{"evtx": 48_120}, Last: w.Start.Add(-4 * time.Second)},
			{Name: "aws", Kind: "files", Where: "/var/log/aws/*.json", Events: 311, Bytes: 2 << 20, Formats: map[string]uint64{"cloudtrail": 311}, Rejected: map[string]uint64{"syntax": 12}, Last: w.Start.Add(-3 * time.Hour),
				Problem: "1 of 4 files of /var/log/aws/*.json cannot be read: open /var/log/aws/b.json: permission denied", Command: "sudo setfacl -m u:$(id -un):r /var/log/aws/b.json"},
			{Name: "syslog udp 127.0.0.1:5514", Kind: "syslog", Where: "udp 127.0.0.1:5514", Events: 9_001, Bytes: 1 << 20, Formats: map[string]uint64{"syslog": 9_001}, Refused: map[string]uint64{"kernel": 1200, "queue": 31}, Forged: 2, Last: w.Start.Add(-time.Minute)},
			{Name: "otlp 127.0.0.1:4318", Kind: "otlp", Where: "http 127.0.0.1:4318"},
		},
		Files: []console.LogFile{{Path: "/var/log/aws/a.json", Taken: 2 << 20, Read: 2 << 20, Quiet: w.Start.Add(-3 * time.Hour)}, {Path: "/var/log/win/sysmon.json", Taken: 90 << 20, Read: 91 << 20, Quiet: w.Start.Add(-4 * time.Second)}}}
}

func (w *World) fillLedger() {
	w.write(-2*time.Hour, "system", "node.start", "demo", nil)
	w.write(-90*time.Minute, "uid:0", "person.invite", AdminName, map[string]string{"role": "admin"})
	w.write(-80*time.Minute, "person:ann", "person.role", OperatorName, map[string]string{"to": "operator"})
	for _, a := range w.Actions {
		w.write(a.Start.Sub(w.Start), a.Actor, "block.apply", a.Target, map[string]string{"reason": a.Reason})
	}
}
