package httpframe_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/httpframe"
	"github.com/testudo-sec/testudo/internal/httpframe/httpframetest"
)

func limits() httpframe.Limits { return httpframe.Limits{Bytes: 4096, Fields: 20} }

// feed hands raw over in pieces and returns how much passed, and why no more.
func feed(raw string, step int) (passed int, reason string) {
	f := httpframe.New(limits())
	for raw != "" {
		n := min(step, len(raw))
		ok, err := f.Feed([]byte(raw[:n]))
		passed += ok
		if err != nil {
			refused, _ := errors.AsType[*httpframe.Error](err)
			if refused != f.Err() {
				return passed, "an error that Err does not know: " + err.Error()
			}
			return passed, refused.Reason
		}
		raw = raw[n:]
	}
	return passed, ""
}

func TestRefused(t *testing.T) {
	const h = "GET / HTTP/1.1\r\nHost: shop\r\n"
	cases := append(httpframetest.Refused(),
		httpframetest.Case{Name: "long head", Raw: h + strings.Repeat("A: "+strings.Repeat("b", 500)+"\r\n", 9) + "\r\n", Reason: httpframe.HeaderBytes},
		httpframetest.Case{Name: "endless line", Raw: h + "A: " + strings.Repeat("b", 5000), Reason: httpframe.HeaderBytes},
		httpframetest.Case{Name: "many fields", Raw: h + strings.Repeat("A: b\r\n", 20) + "\r\n", Reason: httpframe.HeaderCount},
		httpframetest.Case{Name: "many trailers", Raw: strings.Replace(h, "GET", "POST", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n" + strings.Repeat("A: b\r\n", 21), Reason: httpframe.HeaderCount})
	seen := map[string]bool{}
	for _, c := range cases {
		const good = "POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\nabc"
		for _, raw := range []string{c.Raw, good + c.Raw} {
			for _, step := range []int{1, 2, 3, 7, len(raw)} {
				if _, reason := feed(raw, step); reason != c.Reason {
					t.Errorf("%s, %d bytes at a time: refused as %q, want %q", c.Name, step, reason, c.Reason)
				}
			}
		}
		seen[c.Reason] = true
	}
	for _, r := range httpframe.Reasons() {
		if !seen[r] {
			t.Errorf("no case is refused as %s", r)
		}
	}
}

func TestPasses(t *testing.T) {
	for _, raw := range []string{
		"GET http://Shop/x HTTP/1.1\r\nHost: shop\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n002\r\nde\r\n0\r\nX-T: 1\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 3\r\n\r\n\n\x00\rGET / HTTP/1.1\r\nHost: shop\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: shop\r\nUpgrade: websocket\r\n\r\n\x81\x00\n\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\n",
	} {
		for _, step := range []int{1, 4, len(raw)} {
			if n, reason := feed(raw, step); n != len(raw) || reason != "" {
				t.Errorf("%q, %d bytes at a time: %d passed, %q", raw, step, n, reason)
			}
		}
	}
}

// TestMid follows where in a message a connection stands.
func TestMid(t *testing.T) {
	f := httpframe.New(limits())
	for _, c := range []struct {
		piece      string
		head, body bool
	}{
		{"", false, false}, {"GE", true, false}, {"T / HTTP/1.1\r\n", true, false}, {"Host: a\r\n", true, false}, {"\r\n", false, false},
		{"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", false, true}, {"a", false, true}, {"b", false, false},
		{"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", false, true}, {"1\r\na", false, true}, {"\r\n0\r\n", false, true}, {"\r\n", false, false},
	} {
		if _, err := f.Feed([]byte(c.piece)); err != nil {
			t.Fatal(err)
		}
		if f.MidHead() != c.head || f.MidBody() != c.body {
			t.Errorf("behind %q: head %v, body %v", c.piece, f.MidHead(), f.MidBody())
		}
	}
}

func TestValidHost(t *testing.T) {
	for host, want := range map[string]bool{
		"shop": true, "Shop.example:8080": true, "a_b-c.d.": true, "[::1]": true, "[2001:db8::1]:443": true, "127.0.0.1:1": true, "shop:": true,
		"": false, ".shop": false, "a..b": false, "shop/x": false, "a@b": false, "a b": false, "shop:80a": false, "shop:123456": false,
		"[::1": false, "[fe80::1%25eth0]": false, "[127.0.0.1]": false, "[::1]x": false, ":80": false, strings.Repeat("a", 262): false, "sh\x00p": false,
	} {
		if got := httpframe.ValidHost(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
		if got := httpframe.ValidHost([]byte(host)); got != want {
			t.Errorf("%q as bytes: %v", host, got)
		}
	}
}

func FuzzFramer(f *testing.F) {
	for _, c := range httpframetest.Refused() {
		f.Add([]byte(c.Raw), uint8(5))
	}
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: a\r\n\r\n"), uint8(3))
	f.Add([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, step uint8) {
		// However the bytes are split, the same ones pass, for the same reason.
		whole, reason := feed(string(data), len(data)+1)
		split, splitReason := feed(string(data), int(step)+1)
		if reason != splitReason {
			t.Fatalf("whole: %q, split by %d: %q", reason, step+1, splitReason)
		}
		if whole > split && reason != "" {
			t.Fatalf("whole passed %d bytes, split %d", whole, split)
		}
		if reason != "" {
			return
		}
		// What passes whole, net/http reads as the same requests, to the same byte.
		br := bufio.NewReader(strings.NewReader(string(data)))
		for {
			req, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			if req.Header.Get("Upgrade") != "" || req.Method == "PRI" {
				return
			}
			if len(req.TransferEncoding) > 0 && req.ContentLength >= 0 {
				t.Fatalf("two lengths passed: %q", data)
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil && err != io.ErrUnexpectedEOF && !strings.Contains(err.Error(), "trailer") {
				t.Fatalf("net/http refuses a body that passed: %v: %q", err, data)
			}
		}
	})
}
