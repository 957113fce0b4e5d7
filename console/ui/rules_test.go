package ui_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// manyRules adds as many rules as the public collections have.
func manyRules(w *consoletest.World, n int) {
	severities := []signal.Severity{signal.SeverityLow, signal.SeverityMedium, signal.SeverityHigh, signal.SeverityCritical}
	for i := range n {
		r := console.Rule{ID: fmt.Sprintf("%08x-7320-415d-80f7-004da920fc%02x", i, i%256), Title: fmt.Sprintf("Suspicious use of program number %d by a parent that has no reason for it", i),
			Severity: severities[i%4], Decision: signal.Alert, Classes: []string{"process_activity"}, Then: []string{"alert"}, Enabled: i%10 != 0, Dialect: "sigma",
			File: fmt.Sprintf("/var/lib/testudo/rules/sigma/process_creation/proc_creation_win_%d.yml", i), Line: 1, Tags: []string{"attack.execution", fmt.Sprintf("attack.t%d.%03d", 1000+i%100, i%5)},
			When: strings.Repeat(fmt.Sprintf("process.cmd_line contains '-option%d' and ", i), 12) + "true"}
		if i%40 == 7 {
			r.Dialect = "falco"
		}
		if i%100 == 3 {
			r.Hits, r.LastHit = uint64(i), w.Start.Add(-time.Hour)
		}
		w.Rules = append(w.Rules, r)
	}
	w.RuleSet.Count = len(w.Rules)
}

// TestManyRules: with 4,000 rules each page is small, every rule is on one of them, and a filter finds what it says.
func TestManyRules(t *testing.T) {
	w := consoletest.New()
	shipped := len(w.Rules)
	manyRules(w, 4000)
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	row := regexp.MustCompile(`<tr class="v-[^"]*"><td>.*?href="/rules/([^"]+)"`)
	next := regexp.MustCompile(`rel="next" href="([^"]+)"`)
	list := func(at string) (ids []string, pages int) {
		for at != "" {
			status, body := p.get(at)
			if status != http.StatusOK {
				t.Fatalf("%s: %d", at, status)
			}
			if len(body) > 150<<10 {
				t.Errorf("%s: %d bytes", at, len(body))
			}
			checkMarkup(t, at, body, false)
			for _, m := range row.FindAllSubmatch(body, -1) {
				ids = append(ids, string(m[1]))
			}
			pages++
			m := next.FindSubmatch(body)
			at = ""
			if m != nil {
				at = html.UnescapeString(string(m[1]))
			}
		}
		return ids, pages
	}
	all, pages := list("/rules")
	seen := map[string]bool{}
	for _, id := range all {
		seen[id] = true
	}
	if len(seen) != 4000+shipped || len(all) != len(seen) || pages != (len(all)+99)/100 {
		t.Errorf("%d rules, %d of them different, on %d pages", len(all), len(seen), pages)
	}
	critical, about77 := 0, 0
	for _, r := range w.Rules {
		if r.Dialect == "sigma" && r.Severity == signal.SeverityCritical {
			critical++
		}
		if strings.Contains(strings.Join(append(r.Tags, r.ID, r.Title, r.When, r.File), " "), "77") && strings.Contains(r.Title, "program number") {
			about77++
		}
	}
	if critical < 500 || about77 < 50 || about77 > 1000 {
		t.Fatalf("the world is not as meant: %d critical ones, %d about 77", critical, about77)
	}
	for query, want := range map[string]int{
		"dialect=falco": 101, "fired=yes": 40 + 7, "fired=yes&dialect=sigma&q=program": 40, "state=off": 400, "severity=critical&dialect=sigma": critical, "tag=t1007.002": 40,
		"tag=t1007": 40, "tag=attack.t1007.002": 40, "tag=t10": 0, "q=program+number+77+reason": about77, "q=proc_creation_win_1234": 1, "from=own&q=admin": 1, "q=nothing-like-it": 0, "verdict=deny": 4,
	} {
		if got, _ := list("/rules?" + query); len(got) != want {
			t.Errorf("%s: %d rules, want %d", query, len(got), want)
		}
	}
	_, body := p.get("/rules?cursor=100&severity=low")
	for _, want := range []string{"101–200 of", `rel="prev" href="/rules?severity=low"`, "falco <b>", "of 4,013"} {
		if !bytes.Contains(bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("<bdi>"), nil), []byte("</bdi>"), nil), []byte(want)) {
			t.Errorf("the second page is without %q", want)
		}
	}
	ids, _ := list("/rules?sort=hits&fired=yes")
	if len(ids) == 0 || ids[0] != "00000f3f-7320-415d-80f7-004da920fc3f" {
		t.Errorf("by hits: %.3q", ids)
	}
	if status, body := p.get("/rules?cursor=999999"); status != http.StatusOK || !bytes.Contains(body, []byte("<tr class=")) {
		t.Errorf("a page after the last one: %d", status)
	}
	// Whoever asks why a rule did not fire is not sent them all.
	at := "/traffic/" + w.Log[0].ID.String() + "/explain"
	if _, body := p.get(at); len(body) > 100<<10 || bytes.Count(body, []byte("<option")) > 300 || !bytes.Contains(body, []byte("mine.admin-from-outside")) {
		t.Errorf("%s: %d bytes", at, len(body))
	}
}

// TestRulePage: what a rule is, where it stands in its file, what it waits for, and what it reads in vain.
func TestRulePage(t *testing.T) {
	w := consoletest.New()
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	for id, c := range map[string]struct{ shows, not []string }{
		"falco.terminal-shell-in-container": {
			[]string{"falco", "Lines 8 to 15 of the file", "- rule: Terminal shell in container", "tags: [container, T1059]", "<b>none had</b>", "container.uid", "proc.is_exe_upper_layer", "Of 412 recent events of its classes", `href="/rules?tag=attack.t1059"`},
			[]string{"shell_binaries\n  items", "Another one", "Somebody has a shell", "<ol"}},
		"0e95725d-7320-415d-80f7-004da920fc11": {
			[]string{"sigma", `class="waits-of ordered"`, `href="/rules/failed-logons"`, "Ten failed sign-ins", "31 hits", "in this order", "10 minutes", "user.name", "fires when each was seen", "31 groups, 88 events",
				"2 groups</span> given up", "14 events lack", "falsepositives", "back from holiday", "title: Many failed"}, []string{"Lines "}},
	} {
		status, body := p.get("/rules/" + url.PathEscape(id))
		if status != http.StatusOK {
			t.Errorf("%s: %d", id, status)
		}
		checkMarkup(t, id, body, false)
		body = bytes.ReplaceAll(bytes.ReplaceAll(body, []byte("2 groups given"), []byte("2 groups</span> given")), []byte("&#43;"), []byte("+"))
		for _, want := range c.shows {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s: without %q", id, want)
			}
		}
		for _, no := range c.not {
			if bytes.Contains(body, []byte(no)) {
				t.Errorf("%s: with %q", id, no)
			}
		}
	}
}
