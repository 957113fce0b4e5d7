package web

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/net/websocket"

	"github.com/testudo-sec/testudo/examples/shop/catalogue"
	"github.com/testudo-sec/testudo/examples/shop/guard"
	"github.com/testudo-sec/testudo/examples/shop/shell"
)

func TestMain(m *testing.M) {
	shell.Child()
	goleak.VerifyTestMain(m)
}

// visitor is a browser of its own in front of a shop of its own.
type visitor struct {
	t      *testing.T
	shop   *Shop
	dir    string
	url    string
	client *http.Client
}

func visit(t *testing.T) *visitor {
	t.Helper()
	dir := t.TempDir()
	store, err := catalogue.Open(t.Context(), filepath.Join(dir, "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	manuals := filepath.Join(dir, "manuals")
	if err := catalogue.WriteManuals(manuals); err != nil {
		t.Fatal(err)
	}
	shells, err := shell.New(dir)
	if err != nil {
		t.Fatal(err)
	}
	shop, err := New(Config{Store: store, Shell: shells, Manuals: manuals, Tick: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(guard.Handler(shop, nil))
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: &http.Transport{}}
	t.Cleanup(func() {
		shop.Close()
		client.CloseIdleConnections()
		srv.Close()
		store.Close()
	})
	return &visitor{t, shop, dir, srv.URL, client}
}

func (v *visitor) do(r *http.Request) (int, string) {
	v.t.Helper()
	res, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func (v *visitor) get(path string, params ...string) (int, string) {
	v.t.Helper()
	q := url.Values{}
	for i := 0; i < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	r, err := http.NewRequest(http.MethodGet, v.url+path, nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.do(r)
}

func (v *visitor) post(path, kind, body string) (int, string) {
	v.t.Helper()
	r, err := http.NewRequest(http.MethodPost, v.url+path, strings.NewReader(body))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	return v.do(r)
}

func (v *visitor) send(path string, fields ...string) (int, string) {
	v.t.Helper()
	q := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		q.Set(fields[i], fields[i+1])
	}
	return v.post(path, "application/x-www-form-urlencoded", q.Encode())
}

func (v *visitor) expect(what string, code int, body string, wantCode int, want ...string) {
	v.t.Helper()
	if code != wantCode {
		v.t.Errorf("%s: status %d, want %d", what, code, wantCode)
	}
	for _, w := range want {
		if not, ok := strings.CutPrefix(w, "!"); ok == strings.Contains(body, strings.TrimPrefix(w, "!")) {
			v.t.Errorf("%s: %q found: %v\n%s", what, not, ok, body)
		}
	}
}

func TestEveryPageWarnsAndLooksLikeAShop(t *testing.T) {
	v := visit(t)
	for path, want := range map[string]string{
		"/": "Glow-worm lantern", "/search?q=light": "1 found", "/search?q=": "8 found", "/search?q=yacht": "Nothing found",
		"/products/mug": "Put in the cart", "/login": "Password", "/cart": "It is empty", "/diag": "Ping", "/chat": "WebSocket",
	} {
		code, body := v.get(path)
		v.expect(path, code, body, http.StatusOK, want, "Deliberately vulnerable")
	}
	for _, p := range []string{"tent", "lantern", "stove", "flask", "compass", "pack", "bag", "mug"} {
		code, body := v.get("/products/" + p)
		v.expect(p, code, body, http.StatusOK, "<svg", "!A plain parcel", "/download?file="+p+".txt")
		code, body = v.get("/download", "file", p+".txt")
		v.expect(p+"'s manual", code, body, http.StatusOK, "Nothing here is for sale")
	}
	for path, want := range map[string]string{
		"/nothing": "Nothing here", "/products/yacht": "Nothing here", "/templates/layout.html": "Nothing here",
		"/download?file=yacht.txt": "No such manual", "/download?file=.": "No such manual",
	} {
		code, body := v.get(path)
		v.expect(path, code, body, http.StatusNotFound, want)
	}
	code, body := v.get("/healthz")
	v.expect("health", code, body, http.StatusOK, "ok")
}

func TestSearchInjection(t *testing.T) {
	v := visit(t)
	code, body := v.get("/search", "q", "zzz' UNION SELECT id, name, password, note, role FROM users -- ")
	v.expect("union", code, body, http.StatusOK, "correct-horse-tortoise", "CANARY-7431", "admin")
	code, body = v.get("/search", "q", "hiker's")
	v.expect("the database's error is shown", code, body, http.StatusInternalServerError, "syntax error")
	code, body = v.get("/search", "q", "<script>alert(1)</script>")
	v.expect("the search is open to nothing else", code, body, http.StatusOK, "!<script>alert", "&lt;script&gt;")
}

func TestLoginHonestAndInjected(t *testing.T) {
	v := visit(t)
	code, body := v.get("/account")
	v.expect("signed out", code, body, http.StatusOK, "Password")
	code, body = v.send("/login", "username", "visitor", "password", "wrong")
	v.expect("wrong password", code, body, http.StatusUnauthorized, "No user has that name", "!Hello")
	code, body = v.send("/login", "username", "visitor", "password", "tortoise")
	v.expect("honest", code, body, http.StatusOK, "Hello, visitor", "Meadow Lane")
	code, body = v.get("/account")
	v.expect("the session stays", code, body, http.StatusOK, "Hello, visitor")
	code, body = v.send("/logout")
	v.expect("signed out again", code, body, http.StatusOK, "Sign in", "!visitor</a>")
	code, body = v.send("/login", "username", "admin' -- ", "password", "x")
	v.expect("injected", code, body, http.StatusOK, "Hello, admin", "CANARY-7431")
}

func TestSessionIdChangesWithRights(t *testing.T) {
	v := visit(t)
	id := func() string {
		u, _ := url.Parse(v.url)
		for _, c := range v.client.Jar.Cookies(u) {
			return c.Value
		}
		return ""
	}
	v.send("/cart", "product", "mug")
	before := id()
	v.send("/login", "username", "visitor", "password", "tortoise")
	if after := id(); before == "" || after == before {
		t.Errorf("session before %q, after %q", before, after)
	}
	code, body := v.get("/cart")
	v.expect("the cart comes along", code, body, http.StatusOK, "Tin mug", "€ 11.50")
	for i := range maxSessions + 10 {
		r := httptest.NewRequest(http.MethodPost, "/cart", nil)
		v.shop.sessions.change(httptest.NewRecorder(), r, false, func(s *session) { s.cart["mug"] = i })
	}
	if n, m := len(v.shop.sessions.byID), v.shop.sessions.order.Len(); n != maxSessions || m != maxSessions {
		t.Errorf("%d and %d sessions are kept, want %d", n, m, maxSessions)
	}
}

func TestStoredScript(t *testing.T) {
	v := visit(t)
	code, body := v.send("/comments", "product", "tent", "author", "<i>mallory</i>", "text", "<script>document.title='owned'</script>")
	v.expect("the answer", code, body, http.StatusOK, "<script>document.title='owned'</script>", "&lt;i&gt;mallory", "!<i>mallory")
	other := &visitor{t: t, url: v.url, client: &http.Client{Transport: v.client.Transport}}
	code, body = other.get("/products/tent")
	v.expect("another visitor", code, body, http.StatusOK, "<script>document.title='owned'</script>")
	code, body = v.send("/comments", "product", "tent", "author", "", "text", "It's 5 < 6 & good")
	v.expect("honest", code, body, http.StatusOK, "<b>somebody</b>It's 5 < 6 & good")
	code, body = v.send("/comments", "product", "tent", "text", "")
	v.expect("empty", code, body, http.StatusBadRequest, "1 to 4096")
	code, body = v.send("/comments", "product", "yacht", "text", "x")
	v.expect("of nothing", code, body, http.StatusNotFound)
	code, body = v.send("/comments", "product", "tent", "text", strings.Repeat("x", maxBody))
	v.expect("too large", code, body, http.StatusRequestEntityTooLarge)
}

func TestDownloadTraversal(t *testing.T) {
	v := visit(t)
	canary := filepath.Join(t.TempDir(), "canary.txt")
	if err := os.WriteFile(canary, []byte("outside of the folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, body := v.get("/download", "file", strings.Repeat("../", 20)+canary)
	v.expect("escaped", code, body, http.StatusOK, "outside of the folder")
	code, body = v.get("/download?file=../shop.db")
	v.expect("unescaped", code, body, http.StatusOK, "SQLite format 3")
	code, body = v.get("/download", "file", strings.Repeat("../", 20)+"dev/zero")
	v.expect("endless", code, body, http.StatusNotFound, "not a file")
}

func TestPingInjection(t *testing.T) {
	v := visit(t)
	code, body := v.get("/diag/ping", "host", "127.0.0.1; echo planted > canary; echo out-$((6*7))")
	v.expect("injected", code, body, http.StatusOK, "out-42", "[exit code 0]", "!<html")
	if got, err := os.ReadFile(filepath.Join(v.dir, "canary")); err != nil || string(got) != "planted\n" {
		t.Errorf("canary: %q, %v", got, err)
	}
	code, body = v.get("/diag/ping?host=127.0.0.1;echo+raw-$((6*7))")
	v.expect("a semicolon as it is", code, body, http.StatusOK, "raw-42")
	r, _ := http.NewRequest(http.MethodGet, v.url+"/diag/ping?host="+url.QueryEscape("127.0.0.1; echo '<b>bold</b>'"), nil)
	r.Header.Set("Accept", "text/html")
	code, body = v.do(r)
	v.expect("in a browser", code, body, http.StatusOK, "<html", "&lt;b&gt;bold", "!<b>bold")
	code, body = v.get("/diag/ping", "host", "127.0.0.1")
	v.expect("honest", code, body, http.StatusOK, "[exit code ")
	if !strings.Contains(body, "1 packets transmitted") && !strings.Contains(body, "not found") && !strings.Contains(body, "not permitted") {
		t.Errorf("honest: no ping was tried: %q", body)
	}
}

func TestAPI(t *testing.T) {
	v := visit(t)
	code, body := v.get("/api/products")
	var list struct{ Products []catalogue.Product }
	if err := json.Unmarshal([]byte(body), &list); err != nil || code != http.StatusOK || len(list.Products) != 8 {
		t.Fatalf("products: %d %v %s", code, err, body)
	}
	want := catalogue.Product{ID: 8, Slug: "mug", Name: "Tin mug", PriceCents: 1150, Stock: 120, Manual: "mug.txt"}
	got := list.Products[7]
	want.Tagline, want.Description = got.Tagline, got.Description
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	code, body = v.get("/api/products/tent")
	v.expect("one", code, body, http.StatusOK, `"price_cents":28900`)
	code, body = v.get("/api/products/tent' OR 1=1 -- ")
	v.expect("not open", code, body, http.StatusNotFound, `"error":"no product`)

	for _, c := range []struct {
		kind, body string
		code       int
		want       string
	}{
		{"application/json", `{"product":"mug","quantity":2}`, 200, `"total_cents":2300`},
		{"application/json; charset=utf-8", `{"product":"flask","quantity":1}`, 200, `"total_cents":5000`},
		{"application/json", `{"product":"mug","quantity":99}`, 200, `"quantity":99`},
		{"text/plain", `{"product":"mug","quantity":2}`, 415, "application/json"},
		{"application/json", `{"product":"mug","quantity":0}`, 422, "from 1 to 99"},
		{"application/json", `{"product":"yacht","quantity":1}`, 422, "yacht"},
		{"application/json", `{"product":"mug","quantity":1,"price":1}`, 400, "price"},
		{"application/json", `{`, 400, "EOF"},
		{"application/json", `{"product":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too large"},
	} {
		code, body := v.post("/api/cart", c.kind, c.body)
		v.expect(c.body[:min(60, len(c.body))], code, body, c.code, c.want)
	}
	code, body = v.get("/api/cart")
	v.expect("cart", code, body, http.StatusOK, `"product":"flask"`, fmt.Sprint(`"total_cents":`, 99*1150+2700))
	code, body = v.send("/cart", "product", "mug", "action", "remove")
	v.expect("removed", code, body, http.StatusOK, "Long Day flask", "!Tin mug")
}

func TestStockStream(t *testing.T) {
	v := visit(t)
	res, err := v.client.Get(v.url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if kind := res.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("content type %q", kind)
	}
	in := bufio.NewScanner(res.Body)
	var data []string
	for len(data) < 9 && in.Scan() {
		if d, ok := strings.CutPrefix(in.Text(), "data: "); ok {
			data = append(data, d)
		}
	}
	if len(data) < 9 || data[0] != `{"product":"tent","name":"Shell Two tent","stock":14}` || data[8] != `{"product":"tent","name":"Shell Two tent","stock":13}` {
		t.Errorf("stream: %q", data)
	}
	v.shop.Close()
	for in.Scan() {
	}
	if err := in.Err(); err != nil {
		t.Errorf("the stream does not end cleanly: %v", err)
	}
}

func TestStreamsAreBounded(t *testing.T) {
	v := visit(t)
	for range maxStreams {
		v.shop.streams <- struct{}{}
	}
	code, body := v.get("/events")
	v.expect("one more", code, body, http.StatusServiceUnavailable)
	for range maxStreams {
		<-v.shop.streams
	}
}

func (v *visitor) join(origin string) (*websocket.Conn, error) {
	ws, err := websocket.Dial("ws"+strings.TrimPrefix(v.url, "http")+"/ws", "", origin)
	if err == nil {
		v.t.Cleanup(func() { ws.Close() })
	}
	return ws, err
}

func heard(t *testing.T, ws *websocket.Conn) string {
	t.Helper()
	var text string
	if err := websocket.Message.Receive(ws, &text); err != nil {
		t.Fatal(err)
	}
	return text
}

func TestChat(t *testing.T) {
	v := visit(t)
	a, err := v.join(v.url)
	if err != nil {
		t.Fatal(err)
	}
	if got := heard(t, a); got != "shop: welcome, 1 here" {
		t.Errorf("a hears %q", got)
	}
	b, err := v.join(v.url)
	if err != nil {
		t.Fatal(err)
	}
	heard(t, b)
	if err := websocket.Message.Send(a, "hello <b>"); err != nil {
		t.Fatal(err)
	}
	if x, y := heard(t, a), heard(t, b); x != "hello <b>" || y != "hello <b>" {
		t.Errorf("heard %q and %q", x, y)
	}
	if _, err := v.join("http://evil.example"); err == nil {
		t.Error("a foreign page joined the chat")
	}
	// One who says too much is put out; the other stays.
	if err := websocket.Message.Send(b, strings.Repeat("x", maxMessage+1)); err != nil {
		t.Fatal(err)
	}
	var text string
	if err := websocket.Message.Receive(b, &text); err == nil {
		t.Errorf("after too long a message: %q", text)
	}
	if err := websocket.Message.Send(a, "still here"); err != nil {
		t.Fatal(err)
	}
	if got := heard(t, a); got != "still here" {
		t.Errorf("a hears %q", got)
	}
	v.shop.Close()
	if err := websocket.Message.Receive(a, &text); err == nil {
		t.Errorf("after the end: %q", text)
	}
}

func TestChatIsBounded(t *testing.T) {
	v := visit(t)
	for range maxChatters {
		ws, err := v.join(v.url)
		if err != nil {
			t.Fatal(err)
		}
		heard(t, ws)
	}
	ws, err := v.join(v.url)
	if err != nil {
		t.Fatal(err)
	}
	if got := heard(t, ws); !strings.Contains(got, "full") {
		t.Errorf("one more hears %q", got)
	}
}

func TestNothingMayFrameOrLoadElsewhere(t *testing.T) {
	v := visit(t)
	res, err := v.client.Get(v.url + "/products/tent")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	csp := res.Header.Get("Content-Security-Policy")
	for _, want := range []string{"frame-ancestors 'none'", "default-src 'self'", "form-action 'self'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("%s is not in %q", want, csp)
		}
	}
}
