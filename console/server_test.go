package console_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/console/consoletest"
)

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	s := consoletest.Serve(t, consoletest.New(), nil)
	addr := strings.TrimPrefix(s.URL(), "https://")
	_, port, _ := net.SplitHostPort(addr)
	for _, c := range []struct{ name, send, status, location, body string }{
		{"a page", "GET /findings?secret=1 HTTP/1.1\r\nHost: " + addr + "\r\n\r\n", "307 Temporary Redirect", s.URL() + "/findings", ""},
		{"another name of this machine", "GET / HTTP/1.1\r\nHost: localhost:" + port + "\r\n\r\n", "307 Temporary Redirect", "https://localhost:" + port + "/", ""},
		{"a name that is not ours", "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "400 Bad Request", "", "open " + s.URL()},
		{"a form", "POST /sign-in HTTP/1.1\r\nHost: " + addr + "\r\nContent-Length: 1\r\n\r\nx", "400 Bad Request", "", "open " + s.URL()},
		{"a port that is a host", "GET / HTTP/1.1\r\nHost: localhost:1@evil.example\r\n\r\n", "307 Temporary Redirect", "https://localhost:" + port + "/", ""},
		{"something else", "EHLO mail\r\n\r\n", "400 Bad Request", "", "HTTPS only"},
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, c.send)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			_ = conn.Close()
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.Status != c.status || resp.Header.Get("Location") != c.location || !strings.Contains(string(body), c.body) {
			t.Errorf("%s: %s to %q: %q", c.name, resp.Status, resp.Header.Get("Location"), body)
		}
		_ = conn.Close()
	}
}

func TestBusyPort(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	cfg := console.Default()
	cfg.Listen = ln.Addr().String()
	s, err := console.New(cfg, console.Sources{}, console.Deps{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Listen()
	if err == nil || !strings.Contains(err.Error(), cfg.Listen+" is in use") || !strings.Contains(err.Error(), "--console") {
		t.Errorf("a busy port says %v", err)
	}
	if err := s.Run(t.Context()); err == nil {
		t.Error("Run without an address succeeds")
	}
}

func TestOwnCertificate(t *testing.T) {
	dir := t.TempDir()
	w := consoletest.New()
	now := w.Start
	serial := func(listen string, names ...string) string {
		t.Helper()
		cfg := console.Default()
		cfg.Listen, cfg.Names = listen, names
		s, err := console.New(cfg, console.Sources{}, console.Deps{Dir: dir, Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Listen(); err != nil {
			t.Fatal(err)
		}
		defer s.CloseListener()
		block, _ := pem.Decode(read(t, filepath.Join(dir, "console.crt")))
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(names, "localhost", "127.0.0.1", "::1") {
			if err := cert.VerifyHostname(h); err != nil {
				t.Errorf("listening on %s: %v", listen, err)
			}
		}
		if key, ok := cert.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
			t.Errorf("the key is a %T", cert.PublicKey)
		}
		if cert.IsCA || cert.NotAfter.Sub(now) > 366*24*time.Hour {
			t.Errorf("CA %v, until %s", cert.IsCA, cert.NotAfter)
		}
		if got := len(s.Fingerprint()); got != 32*3-1 {
			t.Errorf("fingerprint %s", s.Fingerprint())
		}
		return cert.SerialNumber.String()
	}
	first := serial("127.0.0.1:0")
	if fi, err := os.Stat(filepath.Join(dir, "console.key")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v, %v", fi.Mode(), err)
	}
	if again := serial("127.0.0.1:0"); again != first {
		t.Error("the certificate is not kept")
	}
	now = now.Add(300 * 24 * time.Hour)
	if again := serial("127.0.0.1:0"); again != first {
		t.Error("the certificate is renewed with 65 days to go")
	}
	now = now.Add(40 * 24 * time.Hour)
	second := serial("127.0.0.1:0")
	if second == first {
		t.Error("the certificate is not renewed with 25 days to go")
	}
	third := serial("127.0.0.1:0", "testudo.example")
	if third == second {
		t.Error("the certificate is not made anew for a further name")
	}
	if err := os.Chmod(filepath.Join(dir, "console.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	fourth := serial("127.0.0.1:0", "testudo.example")
	if fourth == third {
		t.Error("a key that others could read is used on")
	}
	if err := os.WriteFile(filepath.Join(dir, "console.crt"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if serial("127.0.0.1:0", "testudo.example") == fourth {
		t.Error("a damaged certificate is not made anew")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.*.*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGivenCertificate(t *testing.T) {
	own := t.TempDir() // the console's own serves as one that is given
	seed, err := console.New(console.Config{Listen: "127.0.0.1:0", MaxConnections: 1, MaxConnectionsPerAddress: 1, MaxStreams: 1, MaxStreamsPerIdentity: 1}, console.Sources{}, console.Deps{Dir: own})
	if err != nil {
		t.Fatal(err)
	}
	if err := seed.Listen(); err != nil {
		t.Fatal(err)
	}
	seed.CloseListener()
	cfg := console.Default()
	cfg.Listen, cfg.Certificate, cfg.Key = "127.0.0.1:0", filepath.Join(own, "console.crt"), filepath.Join(own, "console.key")
	for _, c := range []struct {
		name   string
		change func()
		want   string
	}{
		{"good", func() {}, ""},
		{"key that others read", func() { _ = os.Chmod(cfg.Key, 0o644) }, "chmod 0600"},
		{"no key", func() { _ = os.Chmod(cfg.Key, 0o600); cfg.Key = filepath.Join(own, "missing.key") }, "missing.key"},
	} {
		c.change()
		s, err := console.New(cfg, console.Sources{}, console.Deps{})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Listen()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		s.CloseListener()
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := consoletest.Serve(t, consoletest.New(), nil, func(c *console.Config) { c.MaxConnectionsPerAddress = 3 })
	addr := strings.TrimPrefix(s.URL(), "https://")
	var open []net.Conn
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	alive := func() bool {
		conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			return false
		}
		open = append(open, conn)
		return true
	}
	for i := range 3 {
		if !alive() {
			t.Fatalf("connection %d is refused", i+1)
		}
	}
	if alive() {
		t.Error("connection 4 is taken")
	}
	_ = open[0].Close()
	waitFor(t, alive)
}

func TestSlowAndLargeHeaders(t *testing.T) {
	s := consoletest.Serve(t, consoletest.New(), nil, func(c *console.Config) {})
	addr := strings.TrimPrefix(s.URL(), "https://")
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = fmt.Fprintf(conn, "GET /livez HTTP/1.1\r\nHost: %s\r\n", addr)
		for range 64 {
			if _, err := fmt.Fprintf(conn, "X-Pad: %s\r\n", strings.Repeat("a", 1024)); err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, "\r\n")
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("64 KiB of header answers %s", resp.Status)
	}
}

func TestSlowHeaderIsCutOff(t *testing.T) {
	w := consoletest.New()
	cfg := console.Default()
	cfg.Listen = "127.0.0.1:0"
	s, err := console.New(cfg, w.Sources(), console.Deps{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	s.SetHeaderTime(100 * time.Millisecond)
	consoletest.Run(t, s)
	conn, err := tls.Dial("tcp", strings.TrimPrefix(s.URL(), "https://"), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /livez HTTP/1.1\r\nHo")
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if b, err := io.ReadAll(conn); err != nil {
		t.Errorf("a client that never ends its header is kept: %q, %v", b, err)
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		change func(*console.Config)
		want   string
	}{
		{func(*console.Config) {}, ""},
		{func(c *console.Config) { c.Listen = "[::1]:0" }, ""},
		{func(c *console.Config) { c.Listen = ":7443" }, ""},
		{func(c *console.Config) { c.Listen = "7443" }, `listen: "7443" is not host:port`},
		{func(c *console.Config) { c.Listen = "127.0.0.1:http" }, `listen: "http" is not a port`},
		{func(c *console.Config) { c.Listen = "a b:1" }, `listen: "a b" is not an address`},
		{func(c *console.Config) { c.Names = []string{"https://x"} }, `names: "https://x" is not a host name`},
		{func(c *console.Config) { c.Names = []string{"*.x"} }, `names: "*.x"`},
		{func(c *console.Config) { c.Key = "k" }, "certificate and key: give both or none"},
		{func(c *console.Config) { c.MaxStreams = 0 }, "max_streams: 0 is not from 1"},
		{func(c *console.Config) { c.MaxConnections = 1 << 20 }, "max_connections: 1048576 is not"},
	} {
		cfg := console.Default()
		c.change(&cfg)
		err := cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", cfg, err, c.want)
		}
	}
}

func TestFallbackPage(t *testing.T) {
	b := newBench(t, nil)
	w := b.send(b.request("GET", "/", "", ""))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "make build") {
		t.Errorf("without pages the root answers %d %s", w.Code, w.Body)
	}
}

func TestBadTables(t *testing.T) {
	for _, rt := range []console.Route{
		{Method: "GET", Path: "relative", Handler: func(http.ResponseWriter, *http.Request) error { return nil }},
		{Method: "GET", Path: "/x"},
		{Method: "GET", Path: "/livez", Handler: func(http.ResponseWriter, *http.Request) error { return nil }},
		{Method: "GET", Path: "/{a", Handler: func(http.ResponseWriter, *http.Request) error { return nil }},
	} {
		if _, err := console.New(console.Default(), console.Sources{}, console.Deps{UI: oneRoute{rt}}); err == nil {
			t.Errorf("route %s %s is taken", rt.Method, rt.Path)
		}
	}
}
