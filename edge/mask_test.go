package edge

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/common/expfmt"

	"github.com/testudo-sec/testudo/signal"
)

func TestMaskQuery(t *testing.T) {
	m := newMasker(&Record{Parameters: []string{"page"}, MaskParameters: []string{"ssn"}})
	for in, want := range map[string]string{
		"":                              "",
		"q=shoes&page=2":                "q=*&page=2",
		"secret":                        "*",
		"q=a=b&x":                       "q=*&*",
		"eyJhbGciOiJIUzI1NiJ9.e30=":     "*=*",
		"q=1;token=abc":                 "q=*",
		"&&a=1&":                        "&&a=*&",
		"=v":                            "*=*",
		"ssn=1":                         "*=*",
		"page=a%00b\x1b[2Jc":            "page=a%00b%1B[2Jc",
		"user[name]=x&a.b-c=1":          "user[name]=*&a.b-c=*",
		"deadbeef0123456789abcd=":       "*=*",
		"customerBillingAddressLine2=x": "customerBillingAddressLine2=*",
		"utm_source=x&id2=3":            "utm_source=*&id2=*",
		"a b=1":                         "*=*",
		strings.Repeat("n", 60) + "=1":  "*=*",
	} {
		if got := m.query(in); got != want {
			t.Errorf("query(%q) = %q, want %q", in, got, want)
		}
	}
	if got := m.query(strings.Repeat("a=1&", 10_000)); len(got) > maxQuery+16 {
		t.Errorf("a long query is recorded with %d bytes", len(got))
	}
}

func TestMaskPath(t *testing.T) {
	m := newMasker(&Record{MaskPaths: []string{"/reset/*", "/u/*/key/*"}})
	for in, want := range map[string]string{
		"/":                                "/",
		"/a/b":                             "/a/b",
		"/a;jsessionid=X/b":                "/a;jsessionid=*/b",
		"/a;SECRET":                        "/a;*",
		"/a;x=1;y=2;z/b":                   "/a;x=*;y=*;*/b",
		"/a%3bjsessionid=X":                "/a;jsessionid=*",
		"/http://u:pw@host/x":              "/http://*@host/x",
		"/u%3Apw%40host/x":                 "/*%40host/x",
		"/@name/post":                      "/@name/post",
		"/reset/TOKEN":                     "/reset/*",
		"/reset/TOKEN/more":                "/reset/*/more",
		"/u/joe/key/K":                     "/u/*/key/*",
		"/a\x7fb\u202e":                    "/a%7Fb%E2%80%AE",
		"/" + strings.Repeat("a", maxPath): "/" + strings.Repeat("a", maxPath-1) + "…",
	} {
		if got := m.path(in); got != want {
			t.Errorf("path(%.80q) = %.80q, want %.80q", in, got, want)
		}
	}
}

func TestMaskReferrer(t *testing.T) {
	m := newMasker(&Record{})
	for in, want := range map[string]string{
		"https://shop/a?q=S#S":        "https://shop/a?q=*",
		"https://u:S@shop/a":          "https://*@shop/a",
		"https://shop/a;sid=S?S":      "https://shop/a;sid=*?*",
		"/only/path?x=S":              "/only/path?x=*",
		"https://shop":                "https://shop",
		"android-app://com.example/x": "android-app://com.example/x",
	} {
		if got := m.referrer(in); got != want {
			t.Errorf("referrer(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	f.Add("q=CANARY&CANARY", "/a;x=CANARY/b;CANARY", "http://a:CANARY@h/p?CANARY#CANARY")
	f.Fuzz(func(t *testing.T, query, path, referrer string) {
		m := newMasker(&Record{})
		for _, got := range []string{m.query(query), m.path(path), m.referrer(referrer)} {
			if len(got) > maxPath+maxQuery {
				t.Fatalf("%d bytes", len(got))
			}
		}
		// A value never survives, whatever surrounds it.
		const canary = "CANARY\x01"
		if !strings.Contains(query, "CANARY") {
			if got := m.query(query + "&x=" + canary + "&y=" + canary); strings.Contains(got, "CANARY") {
				t.Fatalf("query: %q", got)
			}
		}
		if !strings.Contains(path, "CANARY") && strings.Count(path, "/") < 50 {
			if got := m.path(path + ";a=" + canary); strings.Contains(got, "CANARY") {
				t.Fatalf("path: %q", got)
			}
		}
		if !strings.Contains(referrer, "CANARY") {
			if got := m.referrer("http://u:" + canary + "@h/" + referrer + "?x=" + canary + "#" + canary); strings.Contains(strings.Split(got, "?")[0], "u:CANARY") || strings.Contains(got, "x=CANARY") {
				t.Fatalf("referrer: %q", got)
			}
		}
	})
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// TestCanaries puts secrets everywhere a request can hold one, makes things go well and wrong,
// and looks for them in everything that testudo keeps or shows: events in both
// encodings, the log, metrics, pages and the status.
func TestCanaries(t *testing.T) {
	const canary = "c4n4rys3cr3tV4lu3x"
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "sid="+canary)
		w.Header().Set("X-Token", canary)
		w.Header().Set("Content-Type", "text/plain; secret="+canary)
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, canary)
	})
	var log lockedBuffer
	var mu sync.Mutex
	var kept []byte
	for _, target := range []string{up, "http://127.0.0.1:1"} {
		for _, decision := range []signal.Decision{signal.Allow, signal.Deny} {
			ed := start(t, []string{target}, func(s *setup) {
				s.deps.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
				s.deps.Inspector = &fakeInspector{bodyLimit: 1 << 16, responseLimit: 1 << 16}
				s.sink.judge = func(e *signal.Event) (signal.Verdict, error) {
					if isRequest(e) && !strings.Contains(e.Str(signal.FieldHTTPRequestURLQueryString), canary) && e.Str(signal.FieldHTTPRequestHTTPMethod) == "POST" {
						t.Error("the judge does not see the query as it came")
					}
					mu.Lock()
					defer mu.Unlock()
					kept = e.AppendJSON(kept)
					kept = e.AppendFrame(kept)
					return signal.Verdict{Decision: decision}, nil
				}
				s.route.Record.MaskPaths = []string{"/reset/*"}
				s.route.Record.Headers = []string{"X-Tenant"}
			})
			head := "POST /reset/" + canary + "/a;sid=" + canary + ";" + canary + "?token=" + canary + "&" + canary + "&" + canary + "=1 HTTP/1.1\r\nHost: shop\r\n" +
				"Cookie: sid=" + canary + "; " + canary + "\r\nAuthorization: Bearer " + canary + "\r\nProxy-Authorization: Basic " + canary + "\r\nX-Api-Key: " + canary +
				"\r\nX-Forwarded-For: " + canary + ", 10.0.0.1\r\nForwarded: for=" + canary + "\r\nReferer: https://u:" + canary + "@shop/reset/" + canary + "?k=" + canary + "#" + canary +
				"\r\nContent-Type: application/x-www-form-urlencoded; boundary=" + canary + "\r\nTraceparent: " + canary + "\r\nTracestate: a=" + canary + "\r\nX-Request-Id: " + canary +
				"\r\nX-" + canary + ": " + canary + "\r\nX-Tenant: acme\r\nAccept: text/html, " + canary + "\r\n"
			body := "password=" + canary + "&" + canary + "&" + canary + "=2"
			page := raw(t, ed.addr, head+"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"+hexLen(body)+"\r\n"+body+"\r\n0\r\n\r\n")
			if target != up || decision == signal.Deny {
				kept = append(kept, page...)
			}
			for _, bad := range []string{
				head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
				head + canary + " : x\r\n\r\n",
				"GET " + canary + " HTTP/1.1\r\nHost: shop\r\n\r\n",
				canary + "\r\n\r\n",
				"GET / HTTP/1.1\r\nHost: " + canary + "/\r\n\r\n",
				"POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n" + canary + "\r\n",
			} {
				page := raw(t, ed.addr, bad)
				mu.Lock()
				kept = append(kept, page...)
				mu.Unlock()
			}
			ed.stop()
			families, err := ed.reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			for _, f := range families {
				expfmt.MetricFamilyToText(&text, f)
			}
			kept = append(kept, text.Bytes()...)
		}
	}
	kept = append(kept, log.b.Bytes()...)
	if i := bytes.Index(bytes.ToLower(kept), []byte(strings.ToLower(canary))); i >= 0 {
		t.Errorf("a secret was kept: …%q…", kept[max(0, i-120):min(len(kept), i+60)])
	}
	for _, want := range []string{`"cookie_names":["sid","*"]`, `"args_names":["token","*","password"]`, "/reset/*/a;sid=*;*", "token=*&*&*=*", "acme", `"https://*@shop/reset/*?k=*"`} {
		if !bytes.Contains(kept, []byte(want)) {
			t.Errorf("not recorded: %s", want)
		}
	}
}

func hexLen(s string) string {
	const digits = "0123456789abcdef"
	out := ""
	for n := len(s); n > 0; n /= 16 {
		out = string(digits[n%16]) + out
	}
	return out
}
