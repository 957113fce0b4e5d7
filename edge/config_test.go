package edge

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/internal/selfcert"
)

func TestConfigYAML(t *testing.T) {
	const doc = `
listen:
  - {address: ":8443", tls: true}
trusted_proxies: [10.0.0.0/8]
limits: {header_bytes: 32KiB, stall_timeout: 5s}
routes:
  - name: shop
    hosts: [shop.example]
    upstreams: [http://127.0.0.1:8081, {url: "http://127.0.0.1:8082", weight: 3}]
    mode: detect
    timeouts: {response: 10s}
    record: {parameters: [page]}
`
	got := Default()
	if err := yaml.UnmarshalWithOptions([]byte(doc), &got, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Listen = []Listener{{Address: ":8443", TLS: true}}
	want.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	want.Limits.HeaderBytes, want.Limits.StallTimeout = 32<<10, 5*time.Second
	r := DefaultRoute()
	r.Name, r.Hosts, r.Mode, r.Timeouts.Response, r.Record.Parameters = "shop", []string{"shop.example"}, ModeDetect, 10*time.Second, []string{"page"}
	r.Upstreams = []Upstream{{URL: "http://127.0.0.1:8081", Weight: 1}, {URL: "http://127.0.0.1:8082", Weight: 3}}
	want.Routes = []Route{r}
	if d := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); d != "" {
		t.Error(d)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	if err := yaml.UnmarshalWithOptions([]byte("routes: [{name: a, upstream: x}]"), &got, yaml.Strict()); err == nil || !strings.Contains(err.Error(), "upstream") {
		t.Errorf("an unknown key of a route: %v", err)
	}
}

func TestValidate(t *testing.T) {
	good := func() Config {
		c, r := Default(), DefaultRoute()
		r.Name, r.Upstreams = "app", []Upstream{{URL: "http://127.0.0.1:1"}}
		c.Routes = []Route{r}
		return c
	}
	c := good()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	for want, breakIt := range map[string]func(c *Config, r *Route){
		"listen: no address":             func(c *Config, _ *Route) { c.Listen = nil },
		"is not host:port":               func(c *Config, _ *Route) { c.Listen[0].Address = "8080" },
		"tls.min_version":                func(c *Config, _ *Route) { c.TLS.MinVersion = "1.1" },
		"give both cert and key":         func(c *Config, _ *Route) { c.TLS.Certificates = []Certificate{{Cert: "x"}} },
		"client_header":                  func(c *Config, _ *Route) { c.ClientHeader = "x-real-ip" },
		"limits.header_bytes":            func(c *Config, _ *Route) { c.Limits.HeaderBytes = 10 },
		"limits.connections: 0":          func(c *Config, _ *Route) { c.Limits.Connections = 0 },
		"must be more than 0":            func(c *Config, _ *Route) { c.Limits.HeaderTimeout = 0 },
		"is used twice":                  func(c *Config, r *Route) { c.Routes = append(c.Routes, *r) },
		"name: want":                     func(_ *Config, r *Route) { r.Name = "a b" },
		"is not a host name":             func(_ *Config, r *Route) { r.Hosts = []string{"a.*.b"} },
		"begins with /":                  func(_ *Config, r *Route) { r.Path = "api" },
		"upstreams: none":                func(_ *Config, r *Route) { r.Upstreams = nil },
		"want http://host:port or https": func(_ *Config, r *Route) { r.Upstreams[0].URL = "ftp://127.0.0.1" },
		"carries a password":             func(_ *Config, r *Route) { r.Upstreams[0].URL = "http://u:hunter2@h" },
		"a query or fragment":            func(_ *Config, r *Route) { r.Upstreams[0].URL = "http://h?x" },
		"weight":                         func(_ *Config, r *Route) { r.Upstreams[0].Weight = -1 },
		"retries: 9":                     func(_ *Config, r *Route) { r.Retries = 9 },
		"health_check":                   func(_ *Config, r *Route) { r.HealthCheck.Interval = 0 },
		"timeouts":                       func(_ *Config, r *Route) { r.Timeouts.Idle = 0 },
		`mode: "on"`:                     func(_ *Config, r *Route) { r.Mode = "on" },
		"paranoia: 5":                    func(_ *Config, r *Route) { r.Paranoia = 5 },
		"thresholds":                     func(_ *Config, r *Route) { r.Thresholds.Outbound = 0 },
		`fail: "maybe"`:                  func(_ *Config, r *Route) { r.Fail = "maybe" },
		"inspect_limit":                  func(_ *Config, r *Route) { r.InspectLimit = 1 << 40 },
		"set_host":                       func(_ *Config, r *Route) { r.SetHost = "a/b" },
		"carries credentials":            func(_ *Config, r *Route) { r.Record.Headers = []string{"X-Auth-Token"} },
		"is not recorded anyway":         func(_ *Config, r *Route) { r.Record.MaskHeaders = []string{"cookie"} },
		"record.mask_paths":              func(_ *Config, r *Route) { r.Record.MaskPaths = []string{"x"} },
	} {
		c := good()
		breakIt(&c, &c.Routes[0:1:1][0])
		err := c.Validate()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("a password is in the error: %v", err)
		}
	}
}

func TestNothingToGuard(t *testing.T) {
	c := Default()
	if err := c.Validate(); err != nil {
		t.Errorf("the defaults are not valid: %v", err)
	}
	if _, err := New(c, Deps{Sink: &recorder{}}); err == nil || !strings.Contains(err.Error(), "nothing to guard") {
		t.Errorf("an edge without a route: %v", err)
	}
}

func TestCertificateReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := dir+"/cert.pem", dir+"/key.pem"
	write := func(host string, at time.Time) {
		t.Helper()
		own, err := selfcert.Open(selfcert.Options{Name: "test", Hosts: []string{host}})
		if err != nil {
			t.Fatal(err)
		}
		pair := own.Get()
		der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		writePEM(t, cert, "CERTIFICATE", pair.Certificate[0])
		writePEM(t, key, "PRIVATE KEY", der)
		os.Chtimes(cert, at, at)
		os.Chtimes(key, at, at)
	}
	names := func(c *certificates) string {
		got, err := c.get(&tls.ClientHelloInfo{ServerName: "nobody"})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.DNSNames[0]
	}
	write("one.example", time.Unix(1000, 0))
	c, err := newCertificates([]Certificate{{cert, key}}, selfcert.Options{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	write("two.example", time.Unix(1000, 0))
	if c.refresh(); names(c) != "one.example" {
		t.Error("files that did not change are read again")
	}
	os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("half")}), 0o600)
	if c.refresh(); names(c) != "one.example" {
		t.Error("a broken pair is used")
	}
	write("three.example", time.Unix(2000, 0))
	if c.refresh(); names(c) != "three.example" {
		t.Errorf("got %s", names(c))
	}
}

// TestOwnCertificate checks that a certificate of the edge's own outlives a restart where there is a
// folder to keep it in, and that a folder that cannot be used does not keep the edge from starting.
func TestOwnCertificate(t *testing.T) {
	up := backend(t, echo)
	dir := t.TempDir()
	shown := func(dir string) *x509.Certificate {
		t.Helper()
		var log lockedBuffer
		ed := start(t, []string{up}, func(s *setup) {
			s.cfg.Listen[0].TLS, s.deps.Dir, s.deps.Logger = true, dir, newTextLog(&log)
			s.route.Hosts = []string{"localhost", "Shop.Example."}
		})
		conn, err := tls.Dial("tcp", ed.addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if missing := strings.HasSuffix(dir, "missing"); missing != strings.Contains(log.b.String(), "cannot be kept") {
			t.Errorf("log of %s: %s", dir, log.b.String())
		}
		return conn.ConnectionState().PeerCertificates[0]
	}
	first := shown(dir)
	for _, h := range []string{"localhost", "127.0.0.1", "::1", "shop.example"} {
		if err := first.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	if !shown(dir).Equal(first) {
		t.Error("the certificate is not kept")
	}
	if fi, err := os.Stat(filepath.Join(dir, "edge.key")); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("the key: %v, %v", fi, err)
	}
	if shown("").Equal(first) || shown(filepath.Join(dir, "missing")).Equal(first) {
		t.Error("a certificate comes from nowhere")
	}
}

func TestRequestsPerConnection(t *testing.T) {
	ed := start(t, []string{backend(t, echo)}, func(s *setup) { s.cfg.Limits.RequestsPerConnection = 2 })
	c, err := net.Dial("tcp", ed.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	br := bufio.NewReader(c)
	for i := range 2 {
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n")
		resp, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		if resp.Close != (i == 1) {
			t.Errorf("request %d: close %v", i, resp.Close)
		}
	}
	if _, err := br.ReadByte(); err != io.EOF {
		t.Errorf("the connection stays: %v", err)
	}
}

func TestConnTable(t *testing.T) {
	proxy, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("203.0.113.1")
	table := connTable{max: 4, perClient: 1, by: map[netip.Addr]int{}, exempt: func(a netip.Addr) bool { return a == proxy }}
	free, reason := table.take(other)
	if reason != "" {
		t.Fatal(reason)
	}
	if _, reason := table.take(other); reason != reasonPerClient {
		t.Errorf("second of one client: %q", reason)
	}
	for range 3 {
		if _, reason := table.take(proxy); reason != "" {
			t.Error(reason)
		}
	}
	if _, reason := table.take(proxy); reason != reasonConnections {
		t.Errorf("fifth of all: %q", reason)
	}
	free()
	if _, reason := table.take(other); reason != "" || len(table.by) != 1 || table.len() != 4 {
		t.Errorf("a place given back: %q %v %d", reason, table.by, table.len())
	}
}

func TestLargePassesThrough(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		n, err := io.Copy(w, r.Body)
		if err != nil {
			t.Errorf("after %d bytes: %v", n, err)
		}
	})
	ed := start(t, []string{up}, func(s *setup) { s.deps.Inspector = &fakeInspector{bodyLimit: 1000, responseLimit: 1000} })
	const size = 8 << 20
	req, _ := http.NewRequest("PUT", ed.url, io.LimitReader(pattern{}, size))
	resp, err := client1(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, size)
	if _, err := io.ReadFull(resp.Body, buf); err != nil {
		t.Fatal(err)
	}
	for i, b := range buf {
		if b != byte(i%251) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	if n, _ := resp.Body.Read(buf); n != 0 {
		t.Error(fmt.Sprint("more came: ", n))
	}
}

// pattern repeats the bytes 0 to 250.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	n := len(p) / 251 * 251
	if n == 0 {
		n = len(p)
	}
	for i := range n {
		p[i] = byte(i % 251)
	}
	return n, nil
}
