package listen

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// exports keeps requests.
type exports struct {
	mu     sync.Mutex
	got    []string
	result Result
	fail   error
	gate   chan struct{}
}

func (x *exports) Export(_ context.Context, r Request) (Result, error) {
	if x.gate != nil {
		<-x.gate
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.got = append(x.got, fmt.Sprintf("%v %s", r.JSON, r.Body))
	if r.From.Addr().String() != "127.0.0.1" {
		return Result{}, fmt.Errorf("from %v", r.From)
	}
	return x.result, x.fail
}

func (x *exports) last() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.got) == 0 {
		return ""
	}
	return x.got[len(x.got)-1]
}

// call is one request.
type call struct {
	path, kind, encoding, token, method string
	body                                []byte
	h2                                  bool
}

// answer is a response that was read to its end.
type answer struct {
	status  int
	header  http.Header
	trailer http.Header
	body    string
}

func ask(t *testing.T, l Listener, c call) answer {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(!c.h2)
	protocols.SetUnencryptedHTTP2(c.h2)
	transport := &http.Transport{Protocols: &protocols, DisableCompression: true}
	defer transport.CloseIdleConnections()
	method := c.method
	if method == "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+l.Addr().String()+c.path, bytes.NewReader(c.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", c.kind)
	if c.encoding != "" {
		if strings.HasPrefix(c.kind, "application/grpc") {
			r.Header.Set("Grpc-Encoding", c.encoding)
		} else {
			r.Header.Set("Content-Encoding", c.encoding)
		}
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := (&http.Client{Transport: transport, Timeout: patience}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, resp.Trailer, string(body)}
}

func zip(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func frame(flag byte, text []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{flag}, uint32(len(text))), text...)
}

const (
	protobuf = "application/x-protobuf"
	jsonKind = "application/json"
	grpcKind = "application/grpc"
)

func TestOTLPHTTP(t *testing.T) {
	var x exports
	limits := DefaultLimits()
	limits.Body = 100_000
	l, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0"}, limits, &x, quietLog())
	run(t, l, err)
	bomb := zip(t, strings.Repeat("0", 50_000_000))
	for _, tc := range []struct {
		name   string
		call   call
		result Result
		fail   error
		status int
		body   string // of the answer
		seen   string // by the exporter
	}{
		{"protobuf", call{path: httpPath, kind: protobuf, body: []byte("abc")}, Result{Accepted: 1}, nil, 200, "", "false abc"},
		{"json", call{path: httpPath, kind: jsonKind + "; charset=utf-8", body: []byte("{}")}, Result{}, nil, 200, "{}", "true {}"},
		{"gzip", call{path: httpPath, kind: protobuf, encoding: "gzip", body: zip(t, "packed")}, Result{}, nil, 200, "", "false packed"},
		{"over HTTP/2", call{path: httpPath, kind: protobuf, body: []byte("h2"), h2: true}, Result{}, nil, 200, "", "false h2"},
		{"partial success", call{path: httpPath, kind: protobuf, body: []byte("x")}, Result{Rejected: 300, Reason: "why"}, nil, 200,
			"\x0a\x08\x08\xac\x02\x12\x03why", "false x"},
		{"partial success in JSON", call{path: httpPath, kind: jsonKind, body: []byte("{}")}, Result{Rejected: 3, Reason: "why"}, nil, 200,
			`{"partialSuccess":{"errorMessage":"why","rejectedLogRecords":"3"}}`, "true {}"},
		{"malformed", call{path: httpPath, kind: protobuf, body: []byte("y")}, Result{}, ErrMalformed, 400, "\x08\x03\x12\x1fnot an ExportLogsServiceRequest", "false y"},
		{"malformed JSON", call{path: httpPath, kind: jsonKind, body: []byte("y")}, Result{}, ErrMalformed, 400, `{"code":3,"message":"not an ExportLogsServiceRequest"}`, "true y"},
		{"not taken", call{path: httpPath, kind: jsonKind, body: []byte("z")}, Result{}, errors.New("disk full"), 503, `{"code":14,"message":"the records could not be handed on: try again"}`, "true z"},
		{"too large", call{path: httpPath, kind: jsonKind, body: make([]byte, 100_001)}, Result{}, nil, 413, "", ""},
		{"a bomb", call{path: httpPath, kind: jsonKind, encoding: "gzip", body: bomb}, Result{}, nil, 413, "", ""},
		{"no gzip", call{path: httpPath, kind: jsonKind, encoding: "gzip", body: []byte("{}")}, Result{}, nil, 400, "", ""},
		{"half a gzip", call{path: httpPath, kind: jsonKind, encoding: "gzip", body: zip(t, "packed")[:20]}, Result{}, nil, 400, "", ""},
		{"another compression", call{path: httpPath, kind: jsonKind, encoding: "br", body: []byte("{}")}, Result{}, nil, 415, "", ""},
		{"another kind", call{path: httpPath, kind: "text/plain", body: []byte("{}")}, Result{}, nil, 415, "", ""},
		{"another path", call{path: "/v1/traces", kind: jsonKind, body: []byte("{}")}, Result{}, nil, 404, "", ""},
		{"another method", call{path: httpPath, kind: jsonKind, method: "PUT", body: []byte("{}")}, Result{}, nil, 405, "", ""},
		{"gRPC over HTTP/1", call{path: grpcPath, kind: grpcKind, body: frame(0, nil)}, Result{}, nil, 200, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x.mu.Lock()
			x.got, x.result, x.fail = nil, tc.result, tc.fail
			x.mu.Unlock()
			a := ask(t, l, tc.call)
			if a.status != tc.status || tc.body != "" && a.body != tc.body {
				t.Errorf("answer %d %q, want %d %q", a.status, a.body, tc.status, tc.body)
			}
			if x.last() != tc.seen {
				t.Errorf("the exporter saw %.100q, want %q", x.last(), tc.seen)
			}
			if a.status == 503 && a.header.Get("Retry-After") == "" {
				t.Error("the sender is not told to come again")
			}
		})
	}
	s := l.Stats()
	if s.Refused[RefusedOversize] != 2 || s.Refused[RefusedRecords] != 303 || s.Refused[RefusedNotTaken] != 1 || s.Messages != 6 {
		t.Errorf("stats are %+v", s)
	}
	if held := l.(*otlp).held.Load(); held != 0 {
		t.Errorf("%d bytes are still counted as held", held)
	}
}

// TestOTLPGRPC speaks the protocol of doc/PROTOCOL-HTTP2.md by hand, as its clients do.
func TestOTLPGRPC(t *testing.T) {
	var x exports
	limits := DefaultLimits()
	limits.Body = 100_000
	l, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0"}, limits, &x, quietLog())
	run(t, l, err)
	for _, tc := range []struct {
		name   string
		call   call
		result Result
		fail   error
		code   string
		body   string
		seen   string
	}{
		{"plain", call{path: grpcPath, kind: grpcKind, body: frame(0, []byte("abc"))}, Result{}, nil, "0", "\x00\x00\x00\x00\x00", "false abc"},
		{"with the codec named", call{path: grpcPath, kind: grpcKind + "+proto", body: frame(0, []byte("abc"))}, Result{}, nil, "0", "\x00\x00\x00\x00\x00", "false abc"},
		{"gzip", call{path: grpcPath, kind: grpcKind, encoding: "gzip", body: frame(1, zip(t, "packed"))}, Result{}, nil, "0", "\x00\x00\x00\x00\x00", "false packed"},
		{"gzip that is not used", call{path: grpcPath, kind: grpcKind, encoding: "gzip", body: frame(0, []byte("abc"))}, Result{}, nil, "0", "\x00\x00\x00\x00\x00", "false abc"},
		{"partial success", call{path: grpcPath, kind: grpcKind, body: frame(0, []byte("x"))}, Result{Rejected: 2, Reason: "why"}, nil, "0",
			"\x00\x00\x00\x00\x09\x0a\x07\x08\x02\x12\x03why", "false x"},
		{"malformed", call{path: grpcPath, kind: grpcKind, body: frame(0, []byte("y"))}, Result{}, ErrMalformed, "3", "", "false y"},
		{"not taken", call{path: grpcPath, kind: grpcKind, body: frame(0, []byte("z"))}, Result{}, errors.New("no"), "14", "", "false z"},
		{"too large", call{path: grpcPath, kind: grpcKind, body: frame(0, make([]byte, 100_001))}, Result{}, nil, "8", "", ""},
		{"a bomb", call{path: grpcPath, kind: grpcKind, encoding: "gzip", body: frame(1, zip(t, strings.Repeat("0", 20_000_000)))}, Result{}, nil, "8", "", ""},
		{"less than announced", call{path: grpcPath, kind: grpcKind, body: frame(0, []byte("abc"))[:7]}, Result{}, nil, "3", "", ""},
		{"two messages", call{path: grpcPath, kind: grpcKind, body: append(frame(0, nil), frame(0, nil)...)}, Result{}, nil, "3", "", ""},
		{"another service", call{path: "/opentelemetry.proto.collector.trace.v1.TraceService/Export", kind: grpcKind, body: frame(0, nil)}, Result{}, nil, "12", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x.mu.Lock()
			x.got, x.result, x.fail = nil, tc.result, tc.fail
			x.mu.Unlock()
			tc.call.h2 = true
			a := ask(t, l, tc.call)
			code := a.trailer.Get("Grpc-Status")
			if tc.code != "0" {
				code = a.header.Get("Grpc-Status")
				if a.header.Get("Grpc-Message") == "" {
					t.Error("the sender is not told why")
				}
			}
			if a.status != 200 || code != tc.code || a.body != tc.body || a.header.Get("Content-Type") != grpcKind {
				t.Errorf("answer %d, grpc-status %q, %q, want %q, %q; %v %v", a.status, code, a.body, tc.code, tc.body, a.header, a.trailer)
			}
			if x.last() != tc.seen {
				t.Errorf("the exporter saw %.100q, want %q", x.last(), tc.seen)
			}
		})
	}
}

func TestOTLPToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	const token = "a-token-of-some-length"
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var x exports
	l, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0", TokenFile: path}, DefaultLimits(), &x, quietLog())
	run(t, l, err)
	for given, want := range map[string]int{"": 401, "another": 401, token: 200} {
		if a := ask(t, l, call{path: httpPath, kind: jsonKind, token: given, body: []byte("{}")}); a.status != want {
			t.Errorf("token %q: %d, want %d", given, a.status, want)
		}
	}
	if a := ask(t, l, call{path: grpcPath, kind: grpcKind, body: frame(0, nil), h2: true}); a.header.Get("Grpc-Status") != "16" {
		t.Errorf("without a token: %v", a.header)
	}
	if len(x.got) != 1 || l.Stats().Refused[RefusedUnwelcome] != 3 {
		t.Errorf("%d requests, %+v", len(x.got), l.Stats())
	}
	if err := os.WriteFile(path, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0", TokenFile: path}, DefaultLimits(), &x, quietLog()); err == nil {
		t.Error("a token that can be guessed is taken")
	}
}

// TestOTLPMemory has more requests under way than may be held: the others are told to come again.
func TestOTLPMemory(t *testing.T) {
	x := exports{gate: make(chan struct{})}
	limits := DefaultLimits()
	limits.Body, limits.Memory = 64<<10, 128<<10
	l, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0"}, limits, &x, quietLog())
	run(t, l, err)
	body := make([]byte, 60<<10)
	statuses := make(chan int, 2)
	var wait sync.WaitGroup
	for range 2 {
		wait.Go(func() { statuses <- ask(t, l, call{path: httpPath, kind: jsonKind, body: body}).status })
	}
	eventually(t, "two requests are held", func() bool { return l.(*otlp).held.Load() == 128<<10 })
	if a := ask(t, l, call{path: httpPath, kind: jsonKind, body: body}); a.status != 503 {
		t.Errorf("a third request: %d, want 503", a.status)
	}
	close(x.gate)
	wait.Wait()
	if a, b := <-statuses, <-statuses; a != 200 || b != 200 {
		t.Errorf("the two: %d %d", a, b)
	}
	if a := ask(t, l, call{path: httpPath, kind: jsonKind, body: body}); a.status != 200 {
		t.Errorf("afterwards: %d, want 200", a.status)
	}
	if s := l.Stats(); s.Refused[RefusedMemory] != 1 {
		t.Errorf("stats are %+v", s)
	}
}

// TestOTLPSlow has a sender take its time for the body.
func TestOTLPSlow(t *testing.T) {
	limits := DefaultLimits()
	limits.MessageTimeout = 200 * time.Millisecond
	var x exports
	l, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0"}, limits, &x, quietLog())
	run(t, l, err)
	c := dial(t, l)
	send(t, c, "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	text, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(text), "HTTP/1.1 408 ") {
		t.Errorf("answer %q %v", text, err)
	}
	if s := l.Stats(); s.Refused[RefusedSlow] != 1 || len(x.got) != 0 {
		t.Errorf("stats are %+v", s)
	}
	silent := dial(t, l)
	send(t, silent, "POST /v1/logs HT")
	if _, err := io.ReadAll(silent); err != nil {
		t.Error(err)
	}
}

func TestOTLPOverTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("server")
	var x exports
	l, err := NewOTLP(t.Context(), OTLP{Address: "127.0.0.1:0", TLS: TLS{Cert: cert, Key: key, ClientCA: filepath.Join(ca.dir, "ca.pem")}}, DefaultLimits(), &x, quietLog())
	run(t, l, err)
	for name, want := range map[string]bool{"sender": true, "": false} {
		transport := &http.Transport{TLSClientConfig: ca.client(name), ForceAttemptHTTP2: true}
		client := &http.Client{Transport: transport, Timeout: patience}
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+l.Addr().String()+grpcPath, bytes.NewReader(frame(0, []byte("tls"))))
		r.Header.Set("Content-Type", grpcKind)
		resp, err := client.Do(r)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
		if ok := err == nil && resp.ProtoMajor == 2 && resp.Trailer.Get("Grpc-Status") == "0"; ok != want {
			t.Errorf("with certificate %q: %v %v", name, resp, err)
		}
		transport.CloseIdleConnections()
	}
}
