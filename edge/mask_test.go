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
