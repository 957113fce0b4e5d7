package ui_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// person is a signed-in client of a console.
type person struct {
	t      *testing.T
	s      *console.Server
	client *http.Client
	cookie *http.Cookie
}

func signedIn(t *testing.T, w *consoletest.World, s *console.Server, name string) *person {
	p := &person{t: t, s: s, client: consoletest.Client(t)}
	if name != "" {
		p.cookie = &http.Cookie{Name: s.CookieName(), Value: w.Session(name)}
	}
	return p
}

func (p *person) do(method, path string, form url.Values, header ...string) (int, http.Header, []byte) {
	p.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, p.s.URL()+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if p.cookie != nil {
		r.AddCookie(p.cookie)
	}
	res, err := p.client.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return res.StatusCode, res.Header, b
}

func (p *person) get(path string, header ...string) (int, []byte) {
	p.t.Helper()
	status, _, body := p.do(http.MethodGet, path, nil, header...)
	return status, body
}

// csrf reads what forms carry from a page.
func (p *person) csrf() string {
	p.t.Helper()
	_, body := p.get("/")
	m := regexp.MustCompile(`name="csrf" value="([^"]+)"`).FindSubmatch(body)
	if m == nil {
		p.t.Fatal("the page has no form with a token")
	}
	return string(m[1])
}

// post sends a form as the page would.
func (p *person) post(path string, kv ...string) (int, http.Header, []byte) {
	p.t.Helper()
	form := url.Values{console.CSRFField: {p.csrf()}}
	for i := 0; i+1 < len(kv); i += 2 {
		form.Set(kv[i], kv[i+1])
	}
	return p.do(http.MethodPost, path, form)
}

// void elements have no end tag.
var void = []string{"meta", "link", "input", "br", "hr", "img", "area", "base", "col", "embed", "source", "track", "wbr"}

// checkMarkup holds a page to what the policy and screen readers ask for, and returns where
// it leads: addresses of links, forms and live parts.
func checkMarkup(t *testing.T, at string, page []byte, part bool) []string {
	t.Helper()
	var open, leads []string
	ids := map[string]bool{}
	in := map[string]map[string]string{} // attributes of open form
	labels := 0
	z := html.NewTokenizer(bytes.NewReader(page))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			break
		}
		tok := z.Token()
		switch kind {
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				t.Fatalf("%s: </%s> closes %v", at, tok.Data, open)
			}
			open = open[:len(open)-1]
			if tok.Data == "label" {
				labels--
			}
			if tok.Data == "form" {
				f := in["form"]
				if f["method"] == "post" && f["csrf"] == "" && f["action"] != console.SignInPath && f["action"] != console.LinkPath {
					t.Errorf("%s: the form %s carries no token", at, f["action"])
				}
				delete(in, "form")
			}
		case html.StartTagToken, html.SelfClosingTagToken:
			attr := map[string]string{}
			for _, a := range tok.Attr {
				if _, twice := attr[a.Key]; twice {
					t.Errorf("%s: <%s> has %s twice", at, tok.Data, a.Key)
				}
				attr[a.Key] = a.Val
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Key, "hx-on") {
					t.Errorf("%s: <%s %s=%q> is inline style or script", at, tok.Data, a.Key, a.Val)
				}
				if strings.HasPrefix(strings.ToLower(strings.TrimSpace(a.Val)), "javascript:") {
					t.Errorf("%s: <%s %s=%q>", at, tok.Data, a.Key, a.Val)
				}
			}
			if id := attr["id"]; id != "" {
				if ids[id] {
					t.Errorf("%s: two elements have the id %s", at, id)
				}
				ids[id] = true
			}
			switch tok.Data {
			case "style":
				t.Errorf("%s: has a <style>", at)
			case "script":
				if attr["src"] == "" {
					t.Errorf("%s: has an inline <script>", at)
				}
			case "form":
				if in["form"] != nil {
					t.Errorf("%s: a form in a form", at)
				}
				in["form"] = attr
				if attr["action"] != "" && attr["method"] != "post" {
					leads = append(leads, attr["action"])
				}
			case "a":
				if attr["target"] == "_blank" && !strings.Contains(attr["rel"], "noreferrer") {
					t.Errorf("%s: the link to %s tells where it comes from", at, attr["href"])
				}
			case "label":
				labels++
			case "input", "select", "textarea":
				if attr["name"] == console.CSRFField && attr["value"] != "" {
					in["form"]["csrf"] = attr["value"]
				}
				if attr["type"] != "hidden" && labels == 0 && attr["aria-label"] == "" {
					if _, hidden := attr["hidden"]; !hidden {
						t.Errorf("%s: the field %s has no label", at, attr["name"])
					}
				}
			case "th":
				if attr["scope"] == "" {
					t.Errorf("%s: a <th> without scope", at)
				}
			case "img":
				if _, ok := attr["alt"]; !ok {
					t.Errorf("%s: a picture without words", at)
				}
			}
			for _, key := range []string{"href", "src", "hx-get", "sse-connect"} {
				if v, ok := attr[key]; ok {
					if strings.HasPrefix(v, "https://") && tok.Data == "a" || strings.HasPrefix(v, "#") {
						continue
					}
					if !strings.HasPrefix(v, "/") || strings.HasPrefix(v, "//") {
						t.Errorf("%s: <%s %s=%q> leaves the console", at, tok.Data, key, v)
						continue
					}
					leads = append(leads, v)
				}
			}
			if kind == html.StartTagToken && !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
		}
	}
	if len(open) > 0 {
		t.Errorf("%s: never closed: %v", at, open)
	}
	if !part && (!bytes.Contains(page, []byte("<main ")) || bytes.Count(page, []byte("<h1")) != 1) {
		t.Errorf("%s: a page has one main part and one <h1>, this one %d", at, bytes.Count(page, []byte("<h1")))
	}
	return leads
}

// shape is an address without what changes from line to line, so that a crawl visits each
// sort of page some times and not thousands.
func shape(address string) string {
	path, query, _ := strings.Cut(address, "?")
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if i > 1 && (len(p) > 20 || strings.ContainsAny(p, ".0123456789")) {
			parts[i] = "*"
		}
	}
	var keys []string
	if q, err := url.ParseQuery(query); err == nil {
		for k := range q {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return strings.Join(parts, "/") + "?" + strings.Join(keys, "&")
}

// TestCrawl follows every link that each role is shown, and holds each page to the rules.
func TestCrawl(t *testing.T) {
	for _, who := range []string{consoletest.ViewerName, consoletest.OperatorName, consoletest.AdminName, ""} {
		t.Run("as "+who, func(t *testing.T) {
			w := consoletest.New()
			hostile(w)
			s := serve(t, w, false)
			p := signedIn(t, w, s, who)
			todo := []string{"/", "/traffic", "/sign-in", "/welcome?link=" + consoletest.LinkSecret, "/welcome?link=wrong", "/about/build", "/no-such-page"}
			if who != "" && who != consoletest.ViewerName {
				todo = append(todo, "/actions/new?target=203.0.113.9&for=1h", "/actions/new?target=nonsense", "/rules/-/check")
			}
			seen := map[string]int{}
			pages := 0
			for len(todo) > 0 {
				at := todo[0]
				todo = todo[1:]
				sh := shape(at)
				if seen[sh]++; seen[sh] > 3 || seen[" "+at] > 0 {
					continue
				}
				seen[" "+at]++
				if strings.HasPrefix(at, "/live/") {
					continue // answers without end: the streams have a test of their own
				}
				status, header, body := p.do(http.MethodGet, at, nil)
				switch {
				case status == http.StatusSeeOther:
					continue
				case status == http.StatusNotFound && at == "/no-such-page", status == http.StatusUnauthorized && at == "/welcome?link=wrong",
					status == http.StatusUnprocessableEntity && at == "/actions/new?target=nonsense":
				case status != http.StatusOK:
					t.Errorf("%s: %d\n%.300s", at, status, body)
					continue
				}
				if !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
					continue
				}
				pages++
				todo = append(todo, checkMarkup(t, at, body, false)...)
				checkEscaped(t, at, body)
			}
			least := map[string]int{"": 4, consoletest.ViewerName: 30, consoletest.OperatorName: 33, consoletest.AdminName: 33}[who]
			if pages < least {
				t.Errorf("only %d pages were found, want %d or more", pages, least)
			}
		})
	}
}

const evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egnp.exe\x1b[31m\x00\u200b{{.}}"

// hostile puts what an attacker may send into every field that he has a say in.
func hostile(w *consoletest.World) {
	e := consoletest.Request(w.Now(), "203.0.113.1", "GET", "/"+evil, evil, signal.Deny, "edge.waf-attack")
	for _, f := range []signal.Field{signal.FieldHTTPRequestUserAgent, signal.FieldHTTPRequestReferrer, signal.FieldHTTPRequestURLHostname,
		signal.FieldEdgeRoute, signal.FieldVerdictReason, signal.FieldHTTPRequestUID} {
		e.SetString(f, evil)
	}
	for _, f := range []signal.Field{signal.FieldWAFRules, signal.FieldWAFMessages, signal.FieldWAFTargets, signal.FieldHTTPRequestArgsNames,
		signal.FieldHTTPRequestHeaderNames, signal.FieldVerdictRules} {
		e.SetStrings(f, []string{evil, evil + "2"})
	}
	w.Log = append(append(w.Log, hostileLogs(w)...), e)
	f := signal.Finding{ID: signal.Fingerprint("hostile"), Kind: signal.FindingPosture, Rule: evil, Title: evil, Desc: evil, Severity: signal.SeverityFatal,
		State: signal.FindingOpen, Asset: evil, Fix: evil, References: []string{"javascript:alert(3)", evil, "https://example.com/?q=" + evil}, Tags: []string{evil},
		Location: signal.Location{Path: evil, Line: 3, Snippet: evil + "\n\t" + evil, Commit: evil}, Evidence: []signal.Evidence{{Name: evil, Value: evil}},
		First: w.Start, Last: w.Start, Count: 1, Events: []signal.ID{e.ID}}
	w.Findings = append([]signal.Finding{f}, w.Findings...)
	w.Actions = append(w.Actions, signal.Action{ID: "act-" + url.PathEscape(evil), Kind: evil, Target: "203.0.113.1", Actor: evil, Reason: evil, State: signal.ActionActive,
		Start: w.Start, Until: w.Start.Add(1e12), Radius: signal.Radius{Summary: evil, Warnings: []string{evil}}, Event: e.ID, UndoneBy: evil, Error: evil})
	w.Rules = append(w.Rules, console.Rule{ID: evil, Title: evil, When: evil, Then: []string{evil}, Why: evil, Fix: evil, Source: evil, File: evil, Dialect: evil,
		References: []string{"javascript:alert(4)"}, Tags: []string{evil}, Classes: []string{evil}, Line: 1,
		Notes: []console.RuleNote{{Key: evil, Text: evil}}, Reads: []console.RuleRead{{Name: evil}, {Name: evil, Attr: true, Seen: 1}}, Looked: 1,
		Waits: &console.RuleWaits{Kind: evil, Of: []console.WaitedRule{{ID: evil, Title: evil}}, GroupBy: []string{evil}, Values: []string{evil}, Until: evil}, Tests: []console.RuleTest{{Name: evil, Error: evil}}})
	line := console.ProcessLine{UID: "evil", PID: 666, Name: evil, Exe: evil, CmdLine: evil + strings.Repeat("A", 4096), User: evil, Started: w.Start}
	deep := console.ProcessLine{UID: "evil-child", PID: 667, Parent: 666, Depth: 60, CmdLine: strings.Repeat(evil, 20), Started: w.Start, Ended: w.Now(), Signal: 9}
	w.MoreProcesses = append(w.MoreProcesses, console.ProcessGroup{Processes: []console.ProcessLine{line, deep},
		Container: &console.ContainerView{ID: strings.Repeat("e", 64), Name: evil, Image: evil, Pod: evil, Namespace: evil, Runtime: evil, Privileged: true}})
	w.MoreTrace = append(w.MoreTrace, console.TraceLine{Depth: 3, Kind: "network", Text: evil + strings.Repeat("B", 2000), Detail: evil, Joined: evil, Decision: signal.Deny},
		console.TraceLine{Depth: 60, Kind: "process", Text: strings.Repeat(evil, 10), Decision: signal.Deny})
	w.Log = append(consoletest.KernelEvents(w.Start), w.Log...)
	w.RuleSet.Errors = append(w.RuleSet.Errors, console.RuleError{File: evil, Message: evil, Hint: evil})
	w.Health = console.Health{State: console.HealthDegraded, Reasons: []string{evil}}
	w.System.Upstreams = append(w.System.Upstreams, console.Upstream{Route: evil, URL: evil, Error: evil})
	w.System.Logs.Sources = append(w.System.Logs.Sources, console.LogSource{Name: evil, Kind: evil, Where: evil, Formats: map[string]uint64{evil: 1}, Rejected: map[string]uint64{evil: 1},
		Problem: evil, Command: evil, Forged: 1})
	w.System.Logs.Files = append(w.System.Logs.Files, console.LogFile{Path: evil})
	w.Ledger = append(w.Ledger, console.LedgerEntry{Index: 99, Actor: evil, Verb: evil, Subject: evil, Detail: map[string]string{evil: evil}, Hash: "00", Time: w.Start})
}

// hostileLogs are records in which everything is what an attacker wrote.
func hostileLogs(w *consoletest.World) []*signal.Event {
	all := consoletest.LogEvents(w.Now())
	for _, e := range all {
		for i := range e.NumFields() {
			switch f := e.FieldAt(i); f.Kind() {
			case signal.KindString:
				e.SetString(f, evil)
			case signal.KindStrings:
				e.SetStrings(f, []string{evil, evil})
			}
		}
		e.SetString(signal.FieldPipeName, evil)
		e.SetString(signal.FieldApplicationName, evil)
		e.SetUnmapped(evil, evil)
		e.SetUnmapped("testudo.source", evil)
		for i := range 300 {
			e.SetUnmapped(fmt.Sprintf("%s%d", evil, i), strings.Repeat(evil, 3))
		}
	}
	return all
}

// checkEscaped holds that nothing of evil is markup, or moves what is shown.
func checkEscaped(t *testing.T, at string, page []byte) {
	t.Helper()
	for _, bad := range []string{"<script>alert", "<img", "javascript:alert(3)\"", "javascript:alert(4)\"", "\x00"} {
		if bytes.Contains(page, []byte(bad)) {
			i := bytes.Index(page, []byte(bad))
			t.Errorf("%s: shows %q as it came: …%s…", at, bad, page[max(0, i-80):min(len(page), i+80)])
		}
	}
	// Fields of forms hold text as it is; all else makes it visible.
	for _, r := range []string{"\u202e", "\u200b", "\x1b"} {
		for from := 0; ; {
			i := bytes.Index(page[from:], []byte(r))
			if i < 0 {
				break
			}
			before := page[:from+i]
			from += i + len(r)
			if bytes.LastIndex(before, []byte("<textarea")) > bytes.LastIndex(before, []byte("</textarea>")) {
				continue // the page names lines that hold such characters above the field
			}
			if q := bytes.LastIndex(before, []byte(`value="`)); q < 0 || bytes.ContainsAny(before[q+7:], `"`) {
				t.Errorf("%s: %+q is not made visible: …%s…", at, r, before[max(0, len(before)-80):])
			}
		}
	}
}

func TestHostileTextIsShown(t *testing.T) {
	w := consoletest.New()
	hostile(w)
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.AdminName)
	for _, at := range []string{"/traffic", "/findings", "/actions", "/rules", "/system", "/system/ledger", "/processes", "/processes/evil", "/chain/" + consoletest.Traced, "/"} {
		_, body := p.get(at)
		for _, want := range []string{`&lt;script&gt;alert(1)`, `<span class="esc">\u202e</span>`, `<span class="esc">\x1b</span>`} {
			if !bytes.Contains(body, []byte(want)) {
				t.Errorf("%s does not show %q", at, want)
			}
		}
	}
}

// TestParts: what htmx asks for is a part of a page, well formed by itself.
func TestParts(t *testing.T) {
	w := consoletest.New()
	hostile(w)
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.OperatorName)
	for at, want := range map[string]string{
		"/": `hx-swap-oob="true"`, "/traffic": "<table", "/findings": "<table", "/actions": "<table", "/rules": "<table", "/system": `class="card"`,
		"/traffic/" + w.Log[0].ID.String(): "panel-head", "/findings/" + w.Findings[1].ID: "panel-head", "/traffic/nonsense": "panel-head",
	} {
		status, body := p.get(at, "HX-Request", "true", "HX-Current-URL", s.URL()+"/traffic?verdict=deny")
		if status != http.StatusOK && at != "/traffic/nonsense" {
			t.Errorf("%s: %d", at, status)
		}
		if bytes.Contains(body, []byte("<html")) || !bytes.Contains(body, []byte(want)) {
			t.Errorf("%s: is no part with %q:\n%.200s", at, want, body)
		}
		checkMarkup(t, at, body, true)
		checkEscaped(t, at, body)
	}
	// Forms in a part come back to the page around it.
	_, body := p.get("/traffic/"+w.Log[len(w.Log)-1].ID.String(), "HX-Request", "true", "HX-Current-URL", s.URL()+"/traffic?verdict=deny")
	if !bytes.Contains(body, []byte(`name="back" value="/traffic?verdict=deny"`)) {
		t.Error("a form in the panel does not come back to the list")
	}
}

// TestManyRows: a page of 4,000 findings is one page of the list, and each page is one click.
func TestManyRows(t *testing.T) {
	w := consoletest.New()
	for i := range 4000 {
		w.Findings = append(w.Findings, signal.Finding{ID: fmt.Sprintf("many-%04d", i), Title: strings.Repeat("long ", 200), Severity: signal.SeverityLow,
			State: signal.FindingOpen, Kind: signal.FindingPosture, First: w.Start, Last: w.Start, Count: 1})
	}
	s := serve(t, w, false)
	p := signedIn(t, w, s, consoletest.ViewerName)
	at, rows, pages := "/findings", 0, 0
	for at != "" {
		status, body := p.get(at)
		if status != http.StatusOK {
			t.Fatalf("%s: %d", at, status)
		}
		if len(body) > 200<<10 {
			t.Errorf("%s: %d bytes", at, len(body))
		}
		rows += bytes.Count(body, []byte("<tr class="))
		pages++
		m := regexp.MustCompile(`rel="next" href="([^"]+)"`).FindSubmatch(body)
		at = ""
		if m != nil {
			at = html.UnescapeString(string(m[1]))
		}
	}
	if rows < 4060 || pages < 40 {
		t.Errorf("%d rows on %d pages", rows, pages)
	}
}
