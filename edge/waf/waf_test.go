package waf_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
)

// newWAF returns a firewall. Those with the settings that ship are one.
func newWAF(t testing.TB, change func(*waf.Config)) *waf.WAF {
	t.Helper()
	make := shipped
	if change != nil {
		make = func() (*waf.WAF, error) { return waf.New(configOf(change), t.TempDir()) }
	}
	w, err := make()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// shipped compiles once: what tests do to it is what exchanges do.
var shipped = sync.OnceValues(func() (*waf.WAF, error) {
	return waf.New(waf.DefaultConfig(), filepath.Join(os.TempDir(), "testudo-waf-test"))
})

// request returns a request as a server would hand it on.
func request(method, target, contentType, body string) *http.Request {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = "shop.example"
	r.Header.Set("User-Agent", "Mozilla/5.0")
	r.Header.Set("Accept", "text/html")
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Content-Length", fmt.Sprint(len(body)))
	}
	if body == "" {
		r.Body, r.ContentLength = http.NoBody, 0
	}
	return r
}

// inspect runs a request through to its body.
func inspect(w *waf.WAF, r *http.Request, body string, paranoia int) edge.Result {
	client := netip.MustParseAddrPort("192.0.2.1:4711")
	i := w.Begin(context.Background(), edge.Exchange{Request: r, Client: client, Server: client, ID: "id", Paranoia: paranoia})
	defer i.Close()
	res, limit := i.Headers()
	if limit > 0 {
		res = i.Body([]byte(body)[:min(int64(len(body)), limit)], int64(len(body)) > limit)
	}
	return res
}

func TestAttacksScore(t *testing.T) {
	w := newWAF(t, nil)
	for _, c := range []struct {
		name, method, target, contentType, body, rule, where, category string
	}{
		{"sql in query", "GET", "/search?q=1%27%20UNION%20SELECT%20password%20FROM%20users--%20", "", "", "942100", "ARGS:q", "attack-sqli"},
		{"traversal", "GET", "/download?file=../../../../etc/passwd", "", "", "930100", "", "attack-lfi"},
		{"command in form", "POST", "/ping", "application/x-www-form-urlencoded", "host=127.0.0.1;cat%20/etc/passwd", "932160", "ARGS:host", "attack-rce"},
		{"xss in json", "POST", "/comments", "application/json", `{"text":"<script>alert(1)</script>"}`, "941100", "ARGS:json.text", "attack-xss"},
		{"xml attribute", "POST", "/x", "application/xml", `<?xml version="1.0"?><a b="1' UNION SELECT password FROM users-- "/>`, "942190", "", "attack-sqli"},
	} {
		res := inspect(w, request(c.method, c.target, c.contentType, c.body), c.body, 0)
		at := slices.Index(res.Rules, c.rule)
		if res.Err != nil || res.Score < 5 || at < 0 || !slices.Contains(res.Categories, c.category) {
			t.Errorf("%s: %+v, want rule %s and %s", c.name, res, c.rule, c.category)
			continue
		}
		if c.where != "" && res.Targets[at] != c.where {
			t.Errorf("%s: matched in %s, want %s", c.name, res.Targets[at], c.where)
		}
		if len(res.Rules) != len(res.Messages) || len(res.Rules) != len(res.Targets) || res.Messages[at] == "" {
			t.Errorf("%s: rules, messages and targets must go together: %+v", c.name, res)
		}
	}
}

func TestHonestRequestsDoNot(t *testing.T) {
	w := newWAF(t, nil)
	for _, r := range []struct{ method, target, contentType, body string }{
		{"GET", "/search?q=blue+lamp&page=2", "", ""},
		{"POST", "/login", "application/x-www-form-urlencoded", "user=ann&password=correct+horse"},
		{"POST", "/api/cart", "application/json", `{"product":7,"note":"for Mr. O'Neil, please"}`},
		{"GET", "/", "", ""},
	} {
		if res := inspect(w, request(r.method, r.target, r.contentType, r.body), r.body, 0); res.Score != 0 || len(res.Rules) != 0 || res.Err != nil {
			t.Errorf("%s %s: %+v", r.method, r.target, res)
		}
	}
}

func TestParanoiaIsOfTheExchange(t *testing.T) {
	w := newWAF(t, nil)
	target := "/x?q=1%20or%20sleep"
	low := inspect(w, request("GET", target, "", ""), "", 1)
	high := inspect(w, request("GET", target, "", ""), "", 4)
	if low.Score >= high.Score {
		t.Errorf("level 1 scores %d, level 4 %d: want more at the higher level, of one rule engine", low.Score, high.Score)
	}
}

// TestValuesStayOut sends a canary wherever a secret may stand, next to an attack,
// and looks for it in all that the WAF reports.
func TestValuesStayOut(t *testing.T) {
	w := newWAF(t, nil)
	const canary = "CANARYa1b2c3"
	attack := canary + "%27%20UNION%20SELECT%20a%20FROM%20b--%20"
	for _, c := range []struct{ method, target, contentType, body string }{
		{"GET", "/x?q=" + attack, "", ""},
		{"GET", "/x?" + attack, "", ""},
		{"GET", "/x?" + canary + "&q=../../etc/passwd", "", ""},
		{"GET", "/x?%27%3Balert(1)" + canary + "=1", "", ""},
		{"POST", "/x", "application/x-www-form-urlencoded", "password=" + attack},
		{"POST", "/x", "application/x-www-form-urlencoded", attack},
		{"POST", "/x", "application/json", `{"p":"` + canary + `' UNION SELECT a FROM b-- "}`},
		{"POST", "/x", "application/json", `{"p":` + canary},
		{"POST", "/x", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=\"p\"\r\n\r\n" + canary + "<script>alert(1)</script>\r\n--b--\r\n"},
	} {
		r := request(c.method, c.target, c.contentType, c.body)
		r.Header.Set("Cookie", "session="+canary+"<script>alert(1)</script>")
		r.Header.Set("Authorization", "Bearer "+canary)
		r.Header.Set("Proxy", canary) // a header field that one rule restricts and puts into its message
		res := inspect(w, r, c.body, 4)
		if len(res.Rules) == 0 {
			t.Errorf("%s %s: nothing matched, so the test shows nothing", c.method, c.target)
		}
		if text := fmt.Sprintf("%+v", res); strings.Contains(text, "CANARY") {
			t.Errorf("%s %s: a value leaks: %s", c.method, c.target, text)
		}
	}
}

func TestBodies(t *testing.T) {
	w := newWAF(t, func(c *waf.Config) { c.RequestBody = 1024; c.StreamTypes = []string{"video/*"} })
	long := `{"a":"` + strings.Repeat("x", 5000) + `"}`
	res := inspect(w, request("POST", "/x", "application/json", long), long, 0)
	if !slices.Contains(res.Categories, waf.TruncatedBody) || res.Score != 0 {
		t.Errorf("a body that was cut must be said to be, and not score for that: %+v", res)
	}
	broken := `{"a": nonsense`
	res = inspect(w, request("POST", "/x", "application/json", broken), broken, 0)
	if res.Score < 5 || !slices.Contains(res.Rules, "200002") {
		t.Errorf("a whole body that does not parse hides what it holds and must score: %+v", res)
	}
	r := request("POST", "/x", "video/mp4", "xxxx")
	i := w.Begin(context.Background(), edge.Exchange{Request: r, ID: "id"})
	defer i.Close()
	if _, limit := i.Headers(); limit != 0 {
		t.Errorf("a body of a streamed type is asked for: %d bytes", limit)
	}
}

func TestResponses(t *testing.T) {
	w := newWAF(t, nil)
	r := request("GET", "/x", "", "")
	for _, c := range []struct {
		contentType, coding, body string
		want                      int
		asked                     bool
	}{
		{"text/html; charset=utf-8", "", "<h1>ORA-00933: SQL command not properly ended</h1>", 5, true},
		{"text/html", "", "<h1>Lamps</h1>", 0, true},
		{"image/png", "", "ORA-00933: SQL command", 0, false},
		{"text/html", "gzip", "ORA-00933: SQL command", 0, false},
	} {
		i := w.Begin(context.Background(), edge.Exchange{Request: r, ID: "id"})
		i.Headers()
		h := http.Header{"Content-Type": {c.contentType}}
		if c.coding != "" {
			h.Set("Content-Encoding", c.coding)
		}
		res, limit := i.ResponseHeaders(200, h)
		if limit > 0 {
			res = i.ResponseBody([]byte(c.body), false)
		}
		if (limit > 0) != c.asked || res.OutboundScore != c.want {
			t.Errorf("%+v: score %d, body asked for %v", c, res.OutboundScore, limit > 0)
		}
		if c.want > 0 && len(res.Rules) == 0 {
			t.Errorf("%+v: scored without a rule", c)
		}
		i.Close()
	}
}

func TestOwnDirectives(t *testing.T) {
	w := newWAF(t, func(c *waf.Config) { c.After = "SecRuleRemoveById 942100-942999" })
	res := inspect(w, request("GET", "/x?q=1%27%20UNION%20SELECT%20a%20FROM%20b--%20", "", ""), "", 0)
	if slices.ContainsFunc(res.Rules, func(id string) bool { return strings.HasPrefix(id, "942") }) {
		t.Errorf("removed rules matched: %v", res.Rules)
	}
	for _, bad := range []waf.Config{
		{RequestBody: 1 << 40},
		{RequestBody: -1},
		{StreamTypes: []string{"[x"}},
		{After: "SecRule NONSENSE"},
		{Before: "Include /etc/passwd"},
	} {
		if _, err := waf.New(bad, t.TempDir()); err == nil || !strings.HasPrefix(err.Error(), "waf: ") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestUploadsLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	w, err := waf.New(waf.DefaultConfig(), dir)
	if err != nil {
		t.Fatal(err)
	}
	body := "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\n" +
		strings.Repeat("x", 4096) + "\r\n--b--\r\n"
	if res := inspect(w, request("POST", "/upload", "multipart/form-data; boundary=b", body), body, 0); res.Err != nil {
		t.Fatal(res.Err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("%d files stay behind: %v", len(left), err)
	}
}

func TestConcurrentExchanges(t *testing.T) {
	w := newWAF(t, nil)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 10 {
				target, want := "/?q=lamp", false
				if n%2 == 0 {
					target, want = "/?q=../../../etc/passwd", true
				}
				if res := inspect(w, request("GET", target, "", ""), "", 0); (res.Score >= 5) != want {
					t.Errorf("%s scores %d", target, res.Score)
				}
			}
		})
	}
	wg.Wait()
}

func FuzzInspect(f *testing.F) {
	w := newWAF(f, func(c *waf.Config) { c.RequestBody = 4096 })
	f.Add("/x?q=1", "application/json", `{"a":[1,{"b":"c"}]}`)
	f.Add("/x?%", "multipart/form-data; boundary=\"", "--\"\r\n")
	f.Add("/", "text/xml", "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>")
	f.Fuzz(func(t *testing.T, target, contentType, body string) {
		r := &http.Request{Method: "POST", RequestURI: target, Proto: "HTTP/1.1", Host: "h", Header: http.Header{"Content-Type": {contentType}},
			ContentLength: int64(len(body)), Body: http.NoBody}
		r.URL = httptest.NewRequest("GET", "/", nil).URL
		_, r.URL.RawQuery, _ = strings.Cut(target, "?")
		r.Body = struct {
			*strings.Reader
			nopCloser
		}{Reader: strings.NewReader(body)}
		if res := inspect(w, r, body, 4); res.Err != nil && strings.Contains(res.Err.Error(), "broke off") {
			t.Fatal(res.Err)
		}
	})
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

func BenchmarkInspect(b *testing.B) {
	json := `{"items":[` + strings.TrimSuffix(strings.Repeat(`{"id":1,"name":"lamp"},`, 40), ",") + `]}`
	fast, slow := both(b, nil)
	for _, c := range []struct{ name, method, target, contentType, body string }{
		{"get", "GET", "/search?q=lamp&page=2&sort=price", "", ""},
		{"form", "POST", "/login", "application/x-www-form-urlencoded", "user=ann&password=x"},
		{"json1k", "POST", "/api", "application/json", json},
	} {
		for engine, w := range map[string]*waf.WAF{waf.EngineFast: fast, waf.EngineCoraza: slow} {
			b.Run(engine+"/"+c.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					inspect(w, request(c.method, c.target, c.contentType, c.body), c.body, 0)
				}
			})
		}
	}
}

// BenchmarkNew is what a firewall costs at the start.
func BenchmarkNew(b *testing.B) {
	for _, engine := range []string{waf.EngineFast, waf.EngineCoraza} {
		b.Run(engine, func(b *testing.B) {
			for b.Loop() {
				cfg := configOf(func(c *waf.Config) { c.Engine = engine })
				if _, err := waf.New(cfg, b.TempDir()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
