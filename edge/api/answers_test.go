package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/detect/personal"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/signal"
)

const (
	clear1 = `{"owner": "x", "card": "4111 1111 1111 1111", "mail": "a@example.com"}`
	hidden = `{"owner": "x", "card": "**** **** **** 1111", "mail": "a@example.com"}`
)

// packed is a text in a content coding.
func packed(t testing.TB, coding, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "br":
		w = brotli.NewWriterLevel(&b, 1)
	case "zstd":
		var err error
		if w, err = zstd.NewWriter(&b); err != nil {
			t.Fatal(err)
		}
	default:
		return text
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// card answers with a payment card, in the way that the query asks for.
func card(t testing.TB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h, q := w.Header(), r.URL.Query()
		h.Set("X-Asked", r.Header.Get("Accept-Encoding")+r.Header.Get("Range"))
		h.Set("Content-Type", "application/json")
		h.Set("Etag", `"1"`)
		switch way := q.Get("way"); way {
		case "status":
			var n int
			fmt.Sscan(q.Get("n"), &n)
			w.WriteHeader(n)
		case "pieces":
			for i := range len(clear1) {
				io.WriteString(w, clear1[i:i+1])
				w.(http.Flusher).Flush()
			}
		case "trailer":
			h.Set("Trailer", "X-Sum")
			io.WriteString(w, clear1)
			h.Set("X-Sum", "7")
			h.Set(http.TrailerPrefix+"X-Late", "8")
		case "early":
			h.Set("Link", "</a.css>; rel=preload")
			w.WriteHeader(http.StatusEarlyHints)
			io.WriteString(w, clear1)
		case "range":
			http.ServeContent(w, r, "a.json", time.Time{}, strings.NewReader(clear1))
		case "untyped":
			h["Content-Type"] = nil
			io.WriteString(w, clear1)
		case "gzip", "br", "zstd":
			if strings.Contains(r.Header.Get("Accept-Encoding"), way) || q.Has("anyway") {
				h.Set("Content-Encoding", way)
				io.WriteString(w, packed(t, way, clear1))
				return
			}
			io.WriteString(w, clear1)
		default:
			h.Set("Content-Length", fmt.Sprint(len(clear1)))
			io.WriteString(w, clear1)
		}
	}
}

// TestMaskedAtTheEdge: what leaves is masked in every way that it can come, over HTTP/1 and HTTP/2, its length kept; reported alone it is not touched.
func TestMaskedAtTheEdge(t *testing.T) {
	const asks = "Accept-Encoding: gzip, br, zstd\nRange: bytes=0-40"
	for _, c := range []struct {
		method, query string
		status        int
		masked        string // what comes, "" for nothing
		asked         string // what the server sees
		reported      bool   // it is found where it is only reported too
		untouched     bool   // it cannot be masked
	}{
		{"GET", "", 200, hidden, "identity", true, false},
		{"GET", "?way=pieces", 200, hidden, "identity", true, false},
		{"GET", "?way=trailer", 200, hidden, "identity", true, false},
		{"GET", "?way=early", 200, hidden, "identity", true, false},
		{"GET", "?way=range", 200, hidden, "identity", false, false},
		{"GET", "?way=untyped", 200, hidden, "identity", true, false},
		{"GET", "?way=gzip", 200, hidden, "identity", true, false},
		{"GET", "?way=br", 200, hidden, "identity", true, false},
		{"GET", "?way=zstd", 200, hidden, "identity", true, false},
		{"GET", "?way=gzip&anyway", 200, packed(t, "gzip", clear1), "identity", true, true},
		{"HEAD", "", 200, "", "identity", false, false},
		{"GET", "?way=status&n=204", 204, "", "identity", false, false},
		{"GET", "?way=status&n=304", 304, "", "identity", false, false},
	} {
		for _, mode := range []string{"mask", "report", "watch"} {
			t.Run(c.method+c.query+" "+mode, func(t *testing.T) {
				text := map[string]string{"mask": "mask", "report": "report", "watch": "mask"}[mode]
				r := newRig(t, "      leaks: {mode: "+text+"}\n", nil)
				st := r.serve(t, card(t), func(o *stageOptions) {
					if mode == "watch" {
						o.route.Mode = edge.ModeDetect
					}
				})
				for _, client := range []*http.Client{st.client, http2(t)} {
					req, err := http.NewRequest(c.method, st.url+"/me"+c.query, nil)
					if err != nil {
						t.Fatal(err)
					}
					req.Header = headers(asks)
					resp, body := st.send(t, client, req)
					if mode == "mask" {
						if resp.StatusCode != c.status || body != c.masked || resp.Header.Get("X-Asked") != c.asked {
							t.Errorf("%s: %d %q, the server was asked for %q", resp.Proto, resp.StatusCode, body, resp.Header.Get("X-Asked"))
						}
						if n := resp.Header.Get("Content-Length"); c.method == "GET" && n != "" && n != fmt.Sprint(len(body)) {
							t.Errorf("length %s of %d", n, len(body))
						}
					} else if resp.Header.Get("X-Asked") != "gzip, br, zstdbytes=0-40" || strings.Contains(body, "****") {
						t.Errorf("it was touched: %q %q", resp.Header.Get("X-Asked"), body)
					}
					if c.query == "?way=trailer" && (resp.Trailer.Get("X-Sum") != "7" || resp.Trailer.Get("X-Late") != "8") {
						t.Errorf("trailers %v", resp.Trailer)
					}
				}
				if mode == "mask" && (c.masked != "") || mode != "mask" && c.reported {
					e := st.sink.wait(t, "the card", func(e *signal.Event) bool { return slices.Contains(e.Strings(signal.FieldAPISensitive), personal.Card) })
					says := strings.Contains(strings.Join(e.Strings(signal.FieldAPIMessages), " "), "masked")
					if says != (mode == "mask" && !c.untouched) {
						t.Errorf("it is said %q", e.Strings(signal.FieldAPIMessages))
					}
				}
				if all := st.sink.all(); strings.Contains(all, "1111 1111") {
					t.Error("the card is recorded")
				}
			})
		}
	}
}

// TestEventStream: each message of a stream leaves when it comes, masked; one that is only reported on is not kept in memory.
func TestEventStream(t *testing.T) {
	for _, mode := range []string{"mask", "report", "block"} {
		r := newRig(t, "      leaks: {mode: "+mode+"}\n", nil)
		next := make(chan string)
		st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			w.(http.Flusher).Flush()
			for s := range next {
				io.WriteString(w, s)
				w.(http.Flusher).Flush()
			}
		})
		resp, err := st.client.Get(st.url + "/events")
		if err != nil {
			t.Fatal(err)
		}
		from := bufio.NewReader(resp.Body)
		next <- "data: one\n\n"
		if line, err := from.ReadString('\n'); err != nil || line != "data: one\n" {
			t.Fatalf("%q %v", line, err)
		}
		from.ReadString('\n')
		next <- "data: " + clear1 + "\n\n"
		line, err := from.ReadString('\n')
		want := map[string]string{"mask": "data: " + hidden + "\n", "report": "data: " + clear1 + "\n"}[mode]
		if mode == "block" && (err == nil || strings.Contains(line, "4111")) || mode != "block" && line != want {
			t.Errorf("%s: %q %v", mode, line, err)
		}
		close(next)
		rest, err := io.ReadAll(from)
		resp.Body.Close()
		if mode != "block" && (err != nil || string(rest) != "\n") {
			t.Errorf("%s: %q %v", mode, rest, err)
		}
		st.sink.wait(t, "the card", func(e *signal.Event) bool { return slices.Contains(e.Strings(signal.FieldAPISensitive), personal.Card) })
	}
	c := newRig(t, "", nil).begin(t, "GET", "/events", "").(*check)
	c.Request()
	c.Response(200, headers("Content-Type: text/event-stream"))
	for range 1000 {
		c.Pass(bytes.Repeat([]byte("data: x\n"), 100), false)
	}
	if len(c.answer.body) > 0 {
		t.Errorf("%d bytes of a stream are kept", len(c.answer.body))
	}
	c.Pass(nil, true)
}

// TestBlockedAnswers: an answer with data that must not leave is refused at its head, or cut off where it was longer; an exception lets it pass whole.
func TestBlockedAnswers(t *testing.T) {
	long := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, "["+strings.Repeat("1,\n", 50_000)+clear1+"]")
	}
	answers := func(kind string, status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(status)
			io.WriteString(w, body)
		}
	}
	const described = "document: orders.yaml\n      responses: block"
	for _, c := range []struct {
		name, cfg string
		backend   http.HandlerFunc
		allow     bool
		status    int
		cut       bool
	}{
		{"a card", "leaks: {mode: block}", card(t), false, 502, false},
		{"far behind", "leaks: {mode: block}", long, false, 200, true},
		{"an exception", "leaks: {mode: block}", card(t), true, 200, false},
		{"a field", described, answers("application/json", 200, `{"id": 7, "margin": 3}`), false, 502, false},
		{"as described", described, answers("application/json", 200, `{"id": 7}`), false, 200, false},
		{"another type", described, answers("application/octet-stream", 200, "\x00\x01"), false, 502, false},
		{"another status", described, answers("image/png", 201, "\x00\x01"), false, 502, false},
		{"an exception for a field", described, answers("application/json", 200, `{"id": 7, "margin": 3}`), true, 200, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "      "+c.cfg+"\n", map[string]string{"orders.yaml": document})
			st := r.serve(t, c.backend, func(o *stageOptions) {
				o.sink.allow = func(*signal.Event) bool { return c.allow }
			})
			resp, body := st.do(t, "GET", "/orders/7", "", "")
			if resp.StatusCode != c.status || strings.HasSuffix(body, "<cut>") != c.cut || !c.allow && strings.Contains(body, "4111") {
				t.Errorf("%d %.200q", resp.StatusCode, body[max(len(body)-200, 0):])
			}
		})
	}
}

// TestPrefixedRoute: a document is of the paths that clients ask for, which the server behind may have without their beginning.
func TestPrefixedRoute(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      bases: [/api]\n      undocumented: block\n", map[string]string{"orders.yaml": document})
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Path", q.RequestURI)
		io.WriteString(w, `{"id": 7}`)
	}, func(o *stageOptions) { o.route.Path, o.route.StripPrefix = "/api", true })
	for target, want := range map[string]int{"/api/orders/7": 200, "/api/orders/x": 403, "/api/admin": 403, "/orders/7": 404, "/api": 403, "/api//orders/7": 403, "/api/../api/orders/7": 403, "/%61pi/orders/7": 400} {
		resp, _ := st.do(t, "GET", target, "", "")
		if resp.StatusCode != want || want == 200 && resp.Header.Get("X-Path") != "/orders/7" {
			t.Errorf("%s: %d, the server saw %q", target, resp.StatusCode, resp.Header.Get("X-Path"))
		}
	}
	if got := st.raw(t, "OPTIONS * HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 ") || strings.HasPrefix(got, "HTTP/1.1 5") {
		t.Errorf("%.100q", got)
	}
	if got := st.raw(t, "get /api/orders/7 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 403") {
		t.Errorf("a method in small letters: %.100q", got)
	}
}

// TestWebSocket: a connection that changes to another protocol passes, and is held to the document and to tokens as any request is.
func TestWebSocket(t *testing.T) {
	r := newRig(t, "      undocumented: block\n      document: orders.yaml\n      leaks: {mode: mask}\n", map[string]string{"orders.yaml": document})
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(rw, "said "+line)
		rw.Flush()
	})
	for path, want := range map[string]string{"/orders/7": "HTTP/1.1 101", "/chat": "HTTP/1.1 403"} {
		c, err := net.Dial("tcp", st.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello\n", path)
		b, _ := io.ReadAll(c)
		c.Close()
		if !strings.HasPrefix(string(b), want) || want == "HTTP/1.1 101" && !strings.HasSuffix(string(b), "said hello\n") {
			t.Errorf("%s: %q", path, b)
		}
	}
}

// shipped is the firewall as it ships, compiled once.
var shipped = sync.OnceValues(func() (*waf.WAF, error) {
	return waf.New(waf.DefaultConfig(), filepath.Join(os.TempDir(), "testudo-waf-test"))
})

// TestWithTheFirewall: both look at a request; either refuses, and what both found is told of.
func TestWithTheFirewall(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      undocumented: block\n", map[string]string{"orders.yaml": document})
	w, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	st := r.serve(t, func(http.ResponseWriter, *http.Request) {}, func(o *stageOptions) { o.route.WAF, o.deps.Inspector = true, w })
	for _, c := range []struct {
		method, target, body string
		status               int
		guard, firewall      bool
	}{
		{"GET", "/orders/7", "", 200, false, false},
		{"POST", "/orders", `{"item": "rope"}`, 200, false, false},
		{"POST", "/orders", `{"item": "<script>alert(1)</script>"}`, 403, true, true},
		{"POST", "/orders", `{"item": "rope of gold"}`, 403, true, false},
		{"GET", "/admin?q=1'%20UNION%20SELECT%201--%20", "", 403, true, true},
		{"GET", "http://shop/orders/7", "", 200, false, false},
		{"GET", "http://shop/admin", "", 403, true, false},
	} {
		st.sink.mu.Lock()
		st.sink.events = nil
		st.sink.mu.Unlock()
		kind := ""
		if c.body != "" {
			kind = "Content-Type: application/json\r\n"
		}
		got := st.raw(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: shop\r\nUser-Agent: Mozilla/5.0\r\nAccept: */*\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", c.method, c.target, kind, len(c.body), c.body))
		if !strings.HasPrefix(got, fmt.Sprintf("HTTP/1.1 %d", c.status)) {
			t.Errorf("%s: %.60q", c.target, got)
		}
		e := st.sink.wait(t, "request", func(e *signal.Event) bool { return e.Parent.IsZero() })
		if guard := e.Bool(signal.FieldAPIBlock); guard != c.guard || (e.Int(signal.FieldWAFScore) >= 5) != c.firewall {
			t.Errorf("%s: %s", c.target, e.AppendJSON(nil))
		}
	}
}

// TestAnswersThatHideData: a client cannot ask for an answer in a form in which data is not found, and one that comes so is told of.
func TestAnswersThatHideData(t *testing.T) {
	const html = "Content-Type: text/html"
	for mode, mark := range map[string]string{"mask": "", "block": "!"} {
		r := newRig(t, "      leaks: {mode: "+mode+"}\n      inventory: false\n      habits: false\n      authentication: off\n", nil)
		unread := []string{"leak/not-checked" + mark}
		for _, c := range []struct {
			status int
			header string
			codes  []string
		}{
			{200, html, nil},
			{200, html + "; charset=utf-8", nil},
			{200, html + "; charset=UTF-16LE", unread},
			{200, html + `; charset="utf-32"`, unread},
			{206, html, unread},
		} {
			if x := r.do(t, "GET", "/a", "Range: bytes=0-9\nRequest-Range: bytes=0-9\nIf-Range: x\nAccept-Charset: utf-16", "", c.status, c.header, "nothing"); !slices.Equal(x.codes(), c.codes) {
				t.Errorf("%s, %d %s: %q", mode, c.status, c.header, x.codes())
			}
		}
		check := r.begin(t, "GET", "/a", "Range: bytes=0-9\nRequest-Range: bytes=0-9\nIf-Range: x\nAccept-Charset: utf-16")
		h := headers("Range: bytes=0-9\nRequest-Range: bytes=0-9\nIf-Range: x\nAccept-Charset: utf-16")
		check.Request()
		if check.Forward(h); len(h) != 1 || h.Get("Accept-Encoding") != "identity" {
			t.Errorf("%s: the server is asked by %v", mode, h)
		}
		check.Close(edge.End{})
	}
}
