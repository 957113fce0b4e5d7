package api

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"fmt"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/internal/bytesize"
	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/signal"
)

// hostile is a request that is made to cost much, or to be read in two ways, and what is told of it where it goes to the described operation.
type hostile struct {
	method, target, header, body string
	want                         string // one of the codes, "" for any
}

func hostiles(t testing.TB) map[string]hostile {
	all := map[string]hostile{}
	post := func(name, header, body, want string) { all[name] = hostile{"POST", "/orders", header, body, want} }
	get := func(name, target, want string) { all[name] = hostile{"GET", target, "", "", want} }
	const deep = 100_000
	const unread = "body/not-checked"
	bomb := 64 << 20
	if require.Race {
		bomb = 4 << 20
	}
	post("arrays in arrays", jsonType, strings.Repeat("[", deep)+strings.Repeat("]", deep), unread)
	post("arrays that do not end", jsonType, strings.Repeat("[", deep), unread)
	post("objects in objects", jsonType, strings.Repeat(`{"a":`, deep)+"1"+strings.Repeat("}", deep), unread)
	post("a number of a megabyte", jsonType, `{"item": "a", "count": `+strings.Repeat("7", 1<<20)+`}`, unread)
	post("a number of 100 KB", jsonType, `{"item": "a", "count": `+strings.Repeat("7", 100<<10)+`}`, "")
	post("a long exponent", jsonType, `{"item": "a", "count": 1e`+strings.Repeat("9", 4000)+`}`, "")
	post("names that are the same", jsonType, `{"item": "a", "item": "rope of gold"}`, "body/duplicate")
	post("many values", jsonType, "["+strings.Repeat("0,", 60_000)+"0]", "")
	post("many objects", jsonType, "["+strings.Repeat(`{"a":1},`, 15_000)+"0]", "")
	post("many names", jsonType, `{"item":"a"`+func() string {
		var b strings.Builder
		for i := range 9000 {
			fmt.Fprintf(&b, `,"n%d":1`, i)
		}
		return b.String()
	}()+"}", "body/additionalProperties")
	post("no UTF-8", jsonType, "{\"item\": \"\xff\xc0\xaf\"}", "body/invalid-text")
	post("half a surrogate", jsonType, `{"item": "\ud800"}`, "body/invalid-text")
	post("JSON and more", jsonType, `{"item": "a"} {"item": "rope of gold"}`, "body/syntax")
	post("two media types", "Content-Type: text/plain\nContent-Type: application/json", `{"item": "rope of gold"}`, "")
	post("another charset", "Content-Type: application/json; charset=utf-16", "{\x00}\x00", "")
	post("a form as JSON", jsonType, "item=a", "body/syntax")
	post("XML", "Content-Type: application/xml", `<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><l>&b;</l>`, "body/content-type")
	nested := "x"
	for i := range 60 {
		nested = fmt.Sprintf("--b%d\r\nContent-Disposition: form-data; name=\"n%d\"\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n%s\r\n--b%d--\r\n", i, i, i-1, nested, i)
	}
	post("parts in sixty parts", "Content-Type: multipart/form-data; boundary=b59", nested, "body/content-type")
	for _, coding := range []string{"gzip", "br", "zstd"} {
		post("a bomb by "+coding, jsonType+"\nContent-Encoding: "+coding, packed(t, coding, strings.Repeat(" ", bomb)), "")
		post("packed by "+coding, jsonType+"\nContent-Encoding: "+coding, packed(t, coding, `{"item": "rope of gold"}`), "")
	}
	post("a window of 16 MB", jsonType+"\nContent-Encoding: br", "\x0f\xff\xff\xff\xff\xff\xff", unread)
	post("packed twice", jsonType+"\nContent-Encoding: gzip, gzip", packed(t, "gzip", packed(t, "gzip", `{"item": "a"}`)), unread)
	post("packed by nobody knows what", jsonType+"\nContent-Encoding: compress", "\x1f\x9d\x90", unread)
	post("packed, and something behind it", jsonType+"\nContent-Encoding: gzip", packed(t, "gzip", `{"item": "rope of gold"}`)+"garbage", "body/maxLength")
	post("packed in two members", jsonType+"\nContent-Encoding: gzip", packed(t, "gzip", `{"item": "rope`)+packed(t, "gzip", ` of gold"}`), "body/maxLength")
	post("packed without a frame", jsonType+"\nContent-Encoding: deflate", bare(t, `{"item": "rope of gold"}`), "body/maxLength")
	post("said to be packed", jsonType+"\nContent-Encoding: gzip", `{"item": "rope of gold"}`, "body/maxLength")
	post("said to be in another charset", "Content-Type: application/json; charset=utf-16", `{"item": "rope of gold"}`, "body/maxLength")
	get("no UTF-8 in the path", "/orders/%ff%fe", "path/encoding")
	get("overlong", "/orders/%c0%ae%c0%ae", "path/encoding")
	get("encoded twice", "/orders/%252e%252e%252f", "path/ambiguous")
	get("dots", "/orders/..%2f..%2fetc", "path/ambiguous")
	get("many segments", "/orders"+strings.Repeat("/a", 4000), "path/not-checked")
	get("many dots", "/orders/"+strings.Repeat("a;b=c/../", 900)+"7", "path/ambiguous")
	get("many parameters", "/orders/7?"+strings.Repeat("a&", 4000)+"b", "")
	get("a parameter many times", "/orders/7?"+strings.Repeat("id=1&", 3000), "")
	get("half encoded", "/orders/7?a=%zz&%=1&=&&&;", "")
	all["fields twice"] = hostile{"GET", "/orders/7", "Authorization: Bearer a\nAuthorization: Bearer b\nCookie: session=1; session=2\nCookie: session=3", "", ""}
	all["many cookies"] = hostile{"GET", "/orders/7", "Cookie: " + strings.Repeat("session=a; ", 2000), "", ""}
	all["a long credential"] = hostile{"GET", "/orders/7", "Authorization: Bearer " + strings.Repeat("a", 30_000), "", ""}
	return all
}

// bare is a text by the method of zlib without its frame (RFC 1951).
func bare(t testing.TB, text string) string {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, 6)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestHostile holds that requests which are made to cost are told of by the guard, and cost it little memory each.
func TestHostile(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      bypass: off\n      graphql: {mode: block, path: /orders/graphql}\n", map[string]string{"orders.yaml": document})
	all := hostiles(t)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		h := all[name]
		t.Run(name, func(t *testing.T) {
			r.do(t, h.method, h.target, h.header, h.body, 201, jsonType, `{"id": 1}`) // what is pooled is there then
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			x := r.do(t, h.method, h.target, h.header, h.body, 201, jsonType, `{"id": 1}`)
			runtime.ReadMemStats(&after)
			codes := strings.Join(x.codes(), " ")
			if h.want != "" && !strings.Contains(codes, h.want) {
				t.Errorf("want %s: %s", h.want, codes)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 12<<20 && !require.Race {
				t.Errorf("%d KB are taken", n>>10)
			}
		})
	}
}

// TestWindows: what a stranger has compressed is read where that takes little memory, what the server has is read up to more.
func TestWindows(t *testing.T) {
	u := &unpackers{}
	text := strings.Repeat("a text ", 100)
	for bits := 10; bits <= 24; bits++ {
		var b bytes.Buffer
		w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 1, LGWin: bits})
		io.WriteString(w, text)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		said := brotliWindow(b.Bytes())
		if bits >= 18 && said != bits { // the encoder may need more than it was told to
			t.Errorf("a window of %d bits is taken for %d", bits, said)
		}
		for _, stranger := range []bool{false, true} {
			m := &message{body: b.Bytes(), stranger: stranger}
			if m.decode(headers("Content-Encoding: br"), 1000, u); m.decoded != (!stranger || said <= maxStrangeWindow) || m.decoded && string(m.body) != text {
				t.Errorf("%d bits, of a stranger %v: %v", bits, stranger, m.decoded)
			}
		}
	}
	for window, strange := range map[int]bool{64 << 10: true, 1 << 20: false} {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
		if err != nil {
			t.Fatal(err)
		}
		for range 4 { // what comes in pieces has no size in its head
			io.WriteString(w, text)
			w.Flush()
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		for _, stranger := range []bool{false, true} {
			m := &message{body: b.Bytes(), stranger: stranger}
			if m.decode(headers("Content-Encoding: zstd"), 10_000, u); m.decoded != (!stranger || strange) {
				t.Errorf("zstd with %d bytes, of a stranger %v: %v", window, stranger, m.decoded)
			}
		}
	}
	// One after the other, by the same readers.
	for i := range 20 {
		for _, coding := range []string{"gzip", "br", "zstd", "deflate"} {
			text := strings.Repeat(fmt.Sprint(i), 50)
			body := packed(t, coding, text)
			if coding == "deflate" {
				var b bytes.Buffer
				w := zlib.NewWriter(&b)
				io.WriteString(w, text)
				w.Close()
				body = b.String()
			}
			m := &message{body: []byte(body)}
			if m.decode(headers("Content-Encoding: "+coding), 1000, u); string(m.body) != text {
				t.Errorf("%s: %q", coding, m.body)
			}
			m = &message{body: []byte(body[:len(body)-5])}
			if m.decode(headers("Content-Encoding: "+coding), 1000, u); m.decoded {
				t.Errorf("%s: half of it was read", coding)
			}
		}
	}
}

// TestHostileAtTheEdge holds that an edge with the firewall and the guard answers all of it, records no more than it should, and keeps nothing.
func TestHostileAtTheEdge(t *testing.T) {
	r := newRig(t, "      document: orders.yaml\n      leaks: {mode: mask}\n", map[string]string{"orders.yaml": document})
	w, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		n, _ := io.Copy(io.Discard, q.Body)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"id": %d}`, n)
	}, func(o *stageOptions) { o.route.WAF, o.deps.Inspector = true, w })
	all := hostiles(t)
	round := func() {
		for name, h := range all {
			for _, chunked := range []bool{false, true} {
				var b strings.Builder
				fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n", h.method, h.target)
				if h.header != "" {
					b.WriteString(strings.ReplaceAll(h.header, "\n", "\r\n") + "\r\n")
				}
				switch {
				case chunked && h.body != "":
					b.WriteString("Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n")
					for piece := range slices.Chunk([]byte(h.body), 60_000) {
						fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
					}
					b.WriteString("0\r\nX-T: 1' UNION SELECT\r\nContent-Type: text/plain\r\n\r\n")
				default:
					fmt.Fprintf(&b, "Content-Length: %d\r\n\r\n%s", len(h.body), h.body)
				}
				if got := st.raw(t, b.String()); !strings.HasPrefix(got, "HTTP/1.1 ") {
					t.Errorf("%s, chunked %v: %.80q", name, chunked, got)
				}
			}
		}
	}
	round()
	for _, bad := range []string{"panic", "rope of gold"} {
		if strings.Contains(st.sink.all(), bad) {
			t.Errorf("events have the word %q", bad)
		}
	}
	st.sink.mu.Lock()
	st.sink.events = nil
	st.sink.mu.Unlock()
	runtime.GC()
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	round()
	st.sink.mu.Lock()
	st.sink.events = nil
	st.sink.mu.Unlock()
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("%d MiB stay", grown>>20)
	}
}

// TestHeldExchangesTakeLittle: many exchanges that wait for their servers keep bodies as they came, not as trees.
func TestHeldExchangesTakeLittle(t *testing.T) {
	r := newRig(t, "", nil)
	body := []byte("[" + strings.Repeat(`{"a":1},`, 15_000) + "0]")
	const n = 50
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all []edge.Check
	for range n {
		c := r.begin(t, "POST", "/orders", jsonType)
		c.(*check).x.Request.ContentLength = int64(len(body))
		if c.Request() == 0 {
			t.Fatal("the body is not looked at")
		}
		c.RequestBody(body, false)
		all = append(all, c)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > n*256<<10 {
		t.Errorf("%d KB each", grown/n>>10)
	}
	for _, c := range all {
		c.Response(200, headers(jsonType))
		c.Pass([]byte(`{}`), false)
		c.Pass(nil, true)
		c.Close(edge.End{Status: 200, Sent: 2, Whole: true, Clean: true})
	}
}

// TestLongAnswersAreNotKept: of an answer that is longer than is looked at nothing is kept for a client that takes its time; what was in its beginning is told.
func TestLongAnswersAreNotKept(t *testing.T) {
	r := newRig(t, "", nil)
	for _, kind := range []string{jsonType, "Content-Type: text/html", "Content-Type: image/png", jsonType + "\nContent-Encoding: gzip"} {
		c := r.begin(t, "GET", "/orders", "").(*check)
		c.Request()
		c.Response(200, headers(kind))
		text := clear1 + strings.Repeat("1,", 100_000)
		if strings.Contains(kind, "gzip") {
			var b strings.Builder
			for i := range 100_000 {
				fmt.Fprint(&b, i*7919%100_003, ",")
			}
			text = packed(t, "gzip", clear1+b.String())
		}
		for piece := range slices.Chunk([]byte(text), 32<<10) {
			c.Pass(piece, false)
		}
		if len(c.answer.body) > 0 || len(text) < 128<<10 {
			t.Errorf("%s: %d bytes of %d are kept", kind, len(c.answer.body), len(text))
		}
		if found := len(c.Found().Sensitive) > 0; found == strings.Contains(kind, "image") {
			t.Errorf("%s: %v", kind, c.Found().Sensitive)
		}
		c.Pass(nil, true)
		c.Close(edge.End{Status: 200, Sent: int64(len(text)), Whole: true, Clean: true})
	}
}

// TestLargeUpload: an upload of a gigabyte streams past firewall and guard.
func TestLargeUpload(t *testing.T) {
	size := int64(1 << 30)
	if require.Race {
		size = 64 << 20
	}
	r := newRig(t, "", nil)
	w, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	var got atomic.Int64
	st := r.serve(t, func(w http.ResponseWriter, q *http.Request) {
		n, _ := io.Copy(io.Discard, q.Body)
		got.Store(n)
	}, func(o *stageOptions) { o.route.WAF, o.deps.Inspector, o.route.MaxBody = true, w, 2*bytesize.GiB })
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	most, reads := before.HeapAlloc, 0
	zeros := bytes.Repeat([]byte("0,"), 1<<15)
	body := io.LimitReader(readerFunc(func(p []byte) (int, error) {
		if reads++; reads%500 == 0 {
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
		return copy(p, zeros), nil
	}), size)
	req, err := http.NewRequest("POST", st.url+"/upload", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if resp, text := st.send(t, st.client, req); resp.StatusCode != 200 || got.Load() != size {
		t.Errorf("%d %q, %d bytes came of %d", resp.StatusCode, text, got.Load(), size)
	}
	if grown := int64(most - before.HeapAlloc); grown > max(int64(before.HeapAlloc)*3/2, 64<<20) {
		t.Errorf("%d MiB more were in use", grown>>20)
	}
	st.sink.wait(t, "the end", func(e *signal.Event) bool { return e.Int(signal.FieldTrafficBytesIn) == size })
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
