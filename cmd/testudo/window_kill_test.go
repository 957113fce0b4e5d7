package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/cmd/testudo/assembly"
	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/client"
	"github.com/testudo-sec/testudo/signal"
)

// The third request to /count of one user agent is told.
const countRule = `id: count-of-three
title: Three from one agent
severity: high
on: http_activity
when: request() && http_request.url.path == "/count"
window: {count: 3, by: http_request.user_agent, within: 1h}
then: alert
`

// TestKillBetweenEvents: a window goes on where a kill stopped it, so that no alert is lost and none is told
// twice; and a judge's numbers name one event each, across all kills.
func TestKillBetweenEvents(t *testing.T) {
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }))
	defer app.Close()
	short, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	dir, rules, config := filepath.Join(short, "d"), filepath.Join(short, "count.yaml"), filepath.Join(short, "testudo.yaml")
	for path, text := range map[string]string{rules: countRule, config: "policy:\n  rules: [" + rules + "]\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	start := func() *process { return startProcess(t, dir, app.URL, "--config", config) }
	send := func(p *process, agent string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.edge+"/count", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("User-Agent", agent)
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	// recorded returns the requests of an agent as they are on disk, and how many of them were told.
	recorded := func(agent string) (events, told int) {
		t.Helper()
		for _, e := range huntEvents(t, dir, fmt.Sprintf("request() && http_request.user_agent == %q", agent)) {
			events++
			if slices.Contains(e.Strings(signal.FieldVerdictRules), "count-of-three") {
				told++
			}
		}
		return events, told
	}
	check := func(agent string, events, told int) {
		t.Helper()
		if e, n := recorded(agent); e != events || n != told {
			t.Errorf("agent %s: %d requests and %d alerts are recorded, want %d and %d", agent, e, n, events, told)
		}
	}

	// Between the second and the third, once and again.
	p := start()
	send(p, "slow")
	send(p, "slow")
	check("slow", 2, 0) // which also waits until they are on disk
	p.kill()
	p = start()
	send(p, "slow")
	check("slow", 3, 1)
	send(p, "slow")
	check("slow", 4, 1)
	p.kill()
	p = start()
	send(p, "slow")
	send(p, "slow")
	check("slow", 6, 2)
	alerts := 2

	// Right behind the third: whether it reached the disk is chance, and the window must agree with what did.
	for i := range 4 {
		agent := fmt.Sprintf("quick-%d", i)
		send(p, agent)
		send(p, agent)
		check(agent, 2, 0)
		send(p, agent)
		time.Sleep(time.Duration(i) * 10 * time.Millisecond)
		p.kill()
		p = start()
		events, told := recorded(agent)
		if told != events-2 {
			t.Errorf("%s: %d requests and %d alerts are recorded", agent, events, told)
		}
		t.Logf("%s: after the kill %d requests are recorded", agent, events)
		send(p, agent)
		check(agent, events+1, 1) // the one that completes the window, or the first of a new one
		alerts++
	}

	// Each alert is in its finding, once; a verdict whose finding was lost with the kill is made up for.
	c, err := client.Dial(t.Context(), assembly.SocketPath(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var finding signal.Finding
	for range 50 {
		page, err := c.Findings(t.Context(), console.FindingQuery{Rule: "count-of-three", Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Items) == 1 {
			if finding = page.Items[0]; int(finding.Count) >= alerts {
				break
			}
		}
		// A hunt takes a while, and has what is recorded stored.
		_, _ = recorded("none")
	}
	if int(finding.Count) != alerts || len(finding.Events) != min(3*alerts, signal.MaxFindingEvents) {
		t.Errorf("the finding counts %d alerts and names %d events, want %d and %d", finding.Count, len(finding.Events), alerts, min(3*alerts, signal.MaxFindingEvents))
	}

	judges := map[string]map[uint64]bool{}
	for _, e := range huntEvents(t, dir, "class_uid > 0") {
		judge := e.Str(signal.FieldMetadataReporterUID)
		if judges[judge] == nil {
			judges[judge] = map[uint64]bool{}
		}
		if judges[judge][e.Seq] || e.Seq == 0 {
			t.Errorf("number %d of judge %s is there twice", e.Seq, judge)
		}
		judges[judge][e.Seq] = true
	}
	if len(judges) != 1 {
		t.Errorf("%d judges: the name does not survive", len(judges))
	}
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-p.done
	if err := p.cmd.Wait(); err != nil || strings.Contains(p.out.String(), "inexact") {
		t.Errorf("stop: %v\n%s", err, p.out)
	}
}

// huntEvents returns what the node has recorded that meets the condition.
func huntEvents(t *testing.T, dir, condition string) []*signal.Event {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "testudo", "hunt", condition, "--limit", "0", "--json", "--data", dir).Output()
	if err != nil {
		t.Fatalf("hunt: %v", err)
	}
	var all []*signal.Event
	for line := range strings.Lines(string(out)) {
		e := new(signal.Event)
		if err := e.UnmarshalJSON([]byte(line)); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, e)
	}
	return all
}
