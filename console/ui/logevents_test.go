package ui_test

import (
	"bytes"
	"net/http"
	"regexp"
	"testing"

	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

var bdi = regexp.MustCompile(`</?bdi>`)

// TestLogEvents: an event of a log says what happened, what its record held, and where that was read; nothing calls it
// a request that is none.
func TestLogEvents(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	want := map[signal.Class][]string{
		signal.ClassProcessActivity: {`<h1>CORP\ada ran powershell.exe -nop -w hidden -enc SQBFAFgAIAAoAE4AZQB3AC0ATwBiAGoAZQBjAHQA on desk-17.corp.example from WINWORD.EXE</h1>`,
			"<h3>Process</h3>", "<h3>Parent process</h3>", "TerminalSessionId", "Microsoft Corporation", "sysmon", "process_creation", "/var/log/win/sysmon.json:1204", "Word started a shell", "7120"},
		signal.ClassAPIActivity: {"<h1>deploy-bot called CreateAccessKey of iam.amazonaws.com on root-backup from 203.0.113.66, which failed: AccessDenied</h1>", "<h3>Call</h3>",
			"requestParameters.userName", "eu-central-1", `href="/traffic?client=203.0.113.66&amp;plane=all"`, "failure"},
		signal.ClassAuthentication:  {"<h1>root could not sign in to web-1 from 198.51.100.23 by ssh: wrong password</h1>", "<h3>Sign-in</h3>", "syslog udp 127.0.0.1:5514 from 192.0.2.7:40022"},
		signal.ClassFileActivity:    {"<h1>/usr/bin/shred deleted /var/log/auth.log as root on web-1</h1>", "<h3>File</h3>"},
		signal.ClassNetworkActivity: {"<h1>/usr/bin/nc connected to 203.0.113.181:4444 over tcp on web-1</h1>", "<h3>Connection</h3>"},
		signal.ClassDNSActivity:     {"<h1>desk-17.corp.example asked for the name update.evil.example (TXT) and got NXDOMAIN</h1>", "<h3>Query</h3>"},
		signal.ClassHTTPActivity:    {`<b>GET</b> /.git/config</h1>`, "<h3>Request</h3>", "203.0.113.66 asked for GET /.git/config and got 404.", "/var/log/nginx/access.log:5531"},
		signal.ClassBaseEvent:       {"<h1>windows system event 7045 on desk-17.corp.example</h1>", "ImagePath", `C:\Users\Public\svc.exe`, "updater"},
	}
	_, list := p.get("/traffic?plane=logs")
	list = bdi.ReplaceAll(list, nil)
	for _, e := range w.Log {
		if e.Plane != signal.PlaneLogs {
			continue
		}
		at := "/traffic/" + e.ID.String()
		status, body := p.get(at)
		body = bdi.ReplaceAll(body, nil)
		if status != http.StatusOK {
			t.Errorf("%s: %d", e.Class, status)
		}
		for _, text := range append(want[e.Class], "<h3>Where it was recorded</h3>", "logs plane") {
			if !bytes.Contains(body, []byte(text)) {
				t.Errorf("%s: without %q", e.Class, text)
			}
		}
		if e.Class != signal.ClassHTTPActivity && bytes.Contains(body, []byte("<h3>Request</h3>")) {
			t.Errorf("%s is called a request", e.Class)
		}
		if bytes.Count(body, []byte("testudo.source")) > 1 { // its JSON
			t.Errorf("%s: shows testudo's own attribute as one of the record", e.Class)
		}
		if !bytes.Contains(list, []byte(`id="e-`+e.ID.String())) {
			t.Errorf("%s is not in the list", e.Class)
		}
		delete(want, e.Class)
	}
	for class := range want {
		t.Errorf("the world has no event of the class %s", class)
	}
	for _, text := range []string{"What happened</th>", "Log</th>", "root could not sign in to web-1", "failed</span>", "windows sysmon", ">no rule</span>", `href="/traffic?plane=logs" aria-current="page"`} {
		if !bytes.Contains(list, []byte(text)) {
			t.Errorf("the list is without %q", text)
		}
	}
	if bytes.Contains(list, []byte(">allowed</span>")) {
		t.Error("the list says that what a log tells of was allowed by somebody")
	}
	for query, n := range map[string]int{"class=api_activity": 1, "plane=logs&q=SHRED": 1, "plane=logs&q=mfaAuth": 0, "plane=logs&q=svc.exe": 1, "class=http_activity&plane=logs": 1, "plane=logs&q=cloudtrail": 1} {
		if _, body := p.get("/traffic?" + query); bytes.Count(body, []byte(`<tr id="e-`)) != n {
			t.Errorf("%s: %d lines, want %d", query, bytes.Count(body, []byte(`<tr id="e-`)), n)
		}
	}
	if status, _ := p.get("/traffic?class=nonsense"); status != http.StatusUnprocessableEntity {
		t.Errorf("a class that is none: %d", status)
	}
}

// TestHostileLogs: what an attacker wrote into a log is shown as what it is, and bounded.
func TestHostileLogs(t *testing.T) {
	w := consoletest.New()
	all := hostileLogs(w)
	w.Log = append(w.Log, all...)
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.AdminName)
	for _, e := range all {
		at := "/traffic/" + e.ID.String()
		_, body := p.get(at)
		checkMarkup(t, at, body, false)
		checkEscaped(t, at, body)
		if !bytes.Contains(body, []byte("more, which are in the JSON below")) || !bytes.Contains(body, []byte(`<span class="esc">\u202e</span>`)) {
			t.Errorf("%s: its attributes are not bounded, or not shown", e.Class)
		}
	}
	for _, at := range []string{"/traffic?plane=logs", "/traffic?plane=all"} {
		_, body := p.get(at)
		checkMarkup(t, at, body, false)
		checkEscaped(t, at, body)
		if len(body) > 300<<10 {
			t.Errorf("%s: %d bytes", at, len(body))
		}
	}
}

// TestLogSources: the system page says of each source whether it is read, and what was dropped.
func TestLogSources(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	status, body := p.get("/system")
	body = bdi.ReplaceAll(body, nil)
	for _, want := range []string{"windows servers", "48,120", ">reading</span>", ">not all read</span>", "permission denied", "sudo setfacl", "kernel: 1,200", "1,231", "2 forged fields", ">nothing yet</span>",
		"/var/log/win/sysmon.json", "1 file cannot be read", "logs-rejected.jsonl", "(12 so far)", "evtx 48,120"} {
		if status != http.StatusOK || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%d, without %q", status, want)
		}
	}
	w.Lock.Lock()
	w.System.Logs = nil
	w.Lock.Unlock()
	if _, body := p.get("/system"); !bytes.Contains(body, []byte("No log of others is read")) {
		t.Error("a node without logs does not say how to have them read")
	}
}
