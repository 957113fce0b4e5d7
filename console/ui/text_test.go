package ui

import (
	"encoding/json"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/html"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
	"github.com/testudo-sec/testudo/signal"
)

// plain reads markup as a browser would show it.
func plain(t testing.TB, markup string) string {
	t.Helper()
	z := html.NewTokenizer(strings.NewReader(markup))
	var b strings.Builder
	for {
		switch z.Next() {
		case html.ErrorToken:
			return b.String()
		case html.TextToken:
			b.Write(z.Text())
		case html.StartTagToken:
			if name, _ := z.TagName(); string(name) != "bdi" && string(name) != "span" {
				t.Fatalf("%q has a <%s>", markup, name)
			}
		}
	}
}

func TestVis(t *testing.T) {
	for in, want := range map[string]string{
		"/search?q=1":            "/search?q=1",
		"<b>&amp;\"'":            "<b>&amp;\"'",
		"a\x00b\x1b[31m\x7f":     `a\x00b\x1b[31m\x7f`,
		"line\r\nnext\t.":        `line\r\nnext\t.`,
		"\u202egpj.exe":          `\u202egpj.exe`,
		"zero\u200bwidth\ufeff":  `zero\u200bwidth\ufeff`,
		"\U000e0041tag":          `\U000e0041tag`,
		"bad \xff\xc3 bytes":     `bad \xff\xc3 bytes`,
		"grüße 你好 مرحبا 🐢":       "grüße 你好 مرحبا 🐢",
		"\u2028line\u2029\u0085": `\u2028line\u2029\u0085`,
		"\ufffd is itself":       "\ufffd is itself",
		"":                       "",
	} {
		if got := plain(t, string(vis(in))); got != want {
			t.Errorf("vis(%q) shows %q, want %q", in, got, want)
		}
		if got := visText(in); got != want {
			t.Errorf("visText(%q) = %q, want %q", in, got, want)
		}
	}
	if got := plain(t, string(visLines("a\n\tb\u202e\r\n"))); got != "a\n\tb\\u202e\\r\n" {
		t.Errorf("visLines keeps lines and tabs alone: %q", got)
	}
}

// FuzzVis: whatever comes in, what is shown has nothing that hides, moves or turns, and
// clean text is shown as it is.
func FuzzVis(f *testing.F) {
	for _, s := range []string{"", "a", "<script>", "\u202e\x00", "\xff\xfe", "\u2066x\u2069", strings.Repeat("é", 99)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := visText(s)
		if !utf8.ValidString(got) {
			t.Fatalf("visText(%q) is no UTF-8", s)
		}
		clean := utf8.ValidString(s)
		for _, r := range s {
			if unicode.IsControl(r) || !unicode.IsGraphic(r) && !unicode.Is(unicode.Cs, r) || unicode.Is(unicode.Cf, r) {
				clean = false
			}
		}
		for _, r := range got {
			if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Cf, r) {
				t.Fatalf("visText(%q) holds %U", s, r)
			}
		}
		if clean && strings.IndexFunc(s, blank) < 0 && got != s {
			t.Fatalf("visText(%q) = %q", s, got)
		}
		if c := clip(20, s); utf8.ValidString(s) && (!utf8.ValidString(c) || len(c) > 20+len("…")+utf8.UTFMax) {
			t.Fatalf("clip(20, %q) = %q", s, c)
		}
	})
}

// blank are letters that look like nothing.
func blank(r rune) bool {
	return strings.ContainsRune("\u2800\u3164\u115f\u1160\uffa0", r)
}

func TestWords(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{num(0), "0"}, {num(999), "999"}, {num(1000), "1,000"}, {num(uint64(1204331)), "1,204,331"}, {num(-45000), "-45,000"},
		{byteSize(0), "0 B"}, {byteSize(1023), "1023 B"}, {byteSize(1536), "1.5 KiB"}, {byteSize(int64(310 << 20)), "310 MiB"}, {byteSize(uint64(3) << 40), "3.0 TiB"},
		{rate(0), "0"}, {rate(0.04), "0.0"}, {rate(9.94), "9.9"}, {rate(12345.6), "12,346"},
		{plural(1, "rule", "rules"), "1 rule"}, {plural(2, "rule", "rules"), "2 rules"}, {plural(0, "rule", "rules"), "0 rules"},
		{coarse(59 * time.Second), "59 s"}, {coarse(61 * time.Minute), "1 h"}, {coarse(49 * time.Hour), "2 days"},
		{fine(9*time.Minute + 5*time.Second), "9:05"}, {fine(90 * time.Minute), "1:30:00"}, {fine(50 * time.Hour), "2 d 2 h"},
		{span(10 * time.Minute), "10 minutes"}, {span(time.Hour), "1 hour"}, {span(168 * time.Hour), "7 days"}, {span(90 * time.Second), "1m30s"},
		{webLink("https://owasp.org/x"), "https://owasp.org/x"}, {webLink("javascript:alert(1)"), ""}, {webLink("//x"), ""}, {webLink("data:text/html,x"), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

// TestWithoutScripts: a build without them has the pages, and says what to do.
func TestWithoutScripts(t *testing.T) {
	style, err := fs.ReadFile(assetFiles, "src/style.css")
	if err != nil {
		t.Fatal(err)
	}
	mark, err := fs.ReadFile(assetFiles, "static/mark.svg")
	if err != nil {
		t.Fatal(err)
	}
	p, err := build(fstest.MapFS{"static/mark.svg": {Data: mark}, "src/style.css": {Data: style}, "dist/.keep": {}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Built() {
		t.Fatal("it says that the scripts are there")
	}
	w := consoletest.New()
	s, err := console.New(console.Default(), w.Sources(), console.Deps{UI: p, Dir: t.TempDir(), Now: w.Now})
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]string{"/": "This build has no scripts", "/traffic": "Newest first", "/about/build": "npm ci"} {
		r := httptest.NewRequest(http.MethodGet, "https://127.0.0.1:7443"+at, nil)
		r.AddCookie(&http.Cookie{Name: s.CookieName(), Value: w.Session(consoletest.ViewerName)})
		rec := httptest.NewRecorder()
		s.Handler().ServeHTTP(rec, r)
		if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) || strings.Contains(rec.Body.String(), "<script") {
			t.Errorf("%s: %d, want %q and no script", at, rec.Code, want)
		}
	}
}

// TestRequestRows: a request and its response are one line, whatever their order and place.
func TestRequestRows(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	quiet := consoletest.Request(at, "192.0.2.1", "GET", "/a", "", signal.Allow, "")
	denied := consoletest.Request(at.Add(time.Second), "192.0.2.2", "POST", "/b", "", signal.Deny, "edge.waf-attack")
	loud := consoletest.Response(quiet, 500)
	loud.SetInt(signal.FieldDispositionID, 19) // a rule on responses raised an alert
	loud.SetString(signal.FieldVerdictReason, "a stack trace leaks")
	rows := requestRows([]*signal.Event{denied, loud, quiet}, false)
	if len(rows) != 2 {
		t.Fatalf("%d lines, want 2", len(rows))
	}
	if r := rows[1]; r.Status != 500 || r.Decision != signal.Alert || r.Why() != "a stack trace leaks" || r.Path != "/a" {
		t.Errorf("the answer is not in its request's line: %+v", r)
	}
	calm := consoletest.Response(quiet, 200)
	for lone, want := range map[bool]int{false: 0, true: 1} {
		if got := len(requestRows([]*signal.Event{calm}, lone)); got != want {
			t.Errorf("a response without its request, lone %v: %d lines, want %d", lone, got, want)
		}
	}
	if got := requestRows([]*signal.Event{loud}, false); len(got) != 1 || !got[0].Answer {
		t.Errorf("a response that raised an alert must not be lost: %+v", got)
	}
}

// TestTrafficMessages: what a live page is sent.
func TestTrafficMessages(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	first := consoletest.Request(at, "192.0.2.1", "GET", "/first", "", signal.Allow, "")
	second := consoletest.Request(at, "192.0.2.2", "GET", "/<second>\u202e", "", signal.Deny, "edge.waf-attack")
	old := consoletest.Response(consoletest.Request(at, "192.0.2.3", "GET", "/old", "", signal.Allow, ""), 204)
	msgs, err := p.trafficMessages(&view{Now: at}, &console.Update{Events: []*signal.Event{first, old, second}, Skipped: 7, Lost: 1200}, false)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range msgs {
		got[m.Event] = string(m.Data)
	}
	rows := got["rows"]
	if strings.Index(rows, "second") > strings.Index(rows, "/first") || strings.Contains(rows, "<second>") || strings.Contains(rows, "\u202e") {
		t.Errorf("rows are newest first and escaped: %s", rows)
	}
	if strings.Count(rows, "<tr ") != 2 {
		t.Errorf("two lines, not %d", strings.Count(rows, "<tr "))
	}
	if want := old.Parent.String() + " 204 "; got["answers"] != want {
		t.Errorf("answers: %q, want %q", got["answers"], want)
	}
	if got["skipped"] != "1,207" {
		t.Errorf("skipped: %q", got["skipped"])
	}
	msgs, err = p.trafficMessages(&view{}, &console.Update{Gap: true}, false)
	if err != nil || len(msgs) != 1 || msgs[0].Event != "reload" {
		t.Errorf("after a gap the page begins anew: %+v, %v", msgs, err)
	}
}

// TestEventJSON: what is shown as OCSF JSON is JSON.
func TestEventJSON(t *testing.T) {
	e := consoletest.Request(time.Unix(1, 0), "192.0.2.1", "GET", "/\u202e</pre>", "", signal.Deny, "r")
	m := eventDetail(e, nil)
	if !json.Valid([]byte(m.JSON)) {
		t.Errorf("no JSON: %s", m.JSON)
	}
}

// TestWhy: whyOf explains what has no reason written.
func TestWhy(t *testing.T) {
	for _, c := range []struct {
		set  func(*signal.Event)
		want string
	}{
		{func(e *signal.Event) { e.SetString(signal.FieldVerdictReason, "because") }, "because"},
		{func(e *signal.Event) { e.SetString(signal.FieldEdgeError, "blocklist") }, "on the blocklist"},
		{func(e *signal.Event) { e.SetString(signal.FieldEdgeError, "upstream-timeout") }, "did not answer in time"},
		{func(e *signal.Event) {
			e.SetInt(signal.FieldWAFScore, 3)
			e.SetStrings(signal.FieldWAFRules, []string{"920350"})
		}, "1 WAF rule matched, which makes 3 of the 5 points"},
		{func(e *signal.Event) {
			e.SetInt(signal.FieldWAFScore, 15)
			e.SetString(signal.FieldEdgeMode, "detect")
		}, "only detects"},
		{func(*signal.Event) {}, "No rule fired"},
	} {
		e := consoletest.Request(time.Unix(1, 0), "192.0.2.1", "GET", "/", "", signal.Allow, "")
		c.set(e)
		if got := whyOf(e, eventDetail(e, nil)); !strings.Contains(got, c.want) {
			t.Errorf("why: %q, want %q", got, c.want)
		}
	}
}

// TestContrast: text on every ground has at least 4.5 to 1 (WCAG 2.2, 1.4.3), light and dark.
func TestContrast(t *testing.T) {
	style, err := fs.ReadFile(assetFiles, "src/style.css")
	if err != nil {
		t.Fatal(err)
	}
	colors := map[string][]string{}
	for _, m := range regexp.MustCompile(`--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)`).FindAllStringSubmatch(string(style), -1) {
		colors[m[1]] = m[2:]
	}
	pairs := [][2]string{{"deny", "deny-soft"}, {"alert", "alert-soft"}, {"violet", "violet-soft"}, {"accent", "accent-soft"}, {"accent-ink", "accent"}, {"soft", "accent-soft"}, {"ink", "deny-soft"}, {"soft", "deny-soft"}}
	for _, text := range []string{"ink", "soft", "accent", "deny", "alert", "info", "violet"} {
		for _, ground := range []string{"bg", "panel", "raise"} {
			pairs = append(pairs, [2]string{text, ground})
		}
	}
	for _, pair := range pairs {
		for i, scheme := range []string{"light", "dark"} {
			if colors[pair[0]] == nil || colors[pair[1]] == nil {
				t.Fatalf("%v are not both colours of the style sheet", pair)
			}
			if got := contrast(colors[pair[0]][i], colors[pair[1]][i]); got < 4.5 {
				t.Errorf("%s on %s, %s: %.2f", pair[0], pair[1], scheme, got)
			}
		}
	}
}

// contrast is the ratio of WCAG 2.2.
func contrast(a, b string) float64 {
	la, lb := luminance(a), luminance(b)
	return (max(la, lb) + 0.05) / (min(la, lb) + 0.05)
}

func luminance(hex string) float64 {
	n, _ := strconv.ParseUint(hex[1:], 16, 32)
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		c := float64(n>>(16-8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
