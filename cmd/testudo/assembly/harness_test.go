package assembly

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/signal"
)

// patience bounds how long a test waits for a state. It is far over what is usual: tests wait
// for what must come, they do not measure.
const patience = 30 * time.Second

// attacker is an address of this machine that the tests let rules block, as the demo does.
const attacker = "127.0.0.66"

// logBuffer keeps what was logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns what was logged, without the lines that tests make many of.
func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// system is a machine that runs in this process, as its users meet it.
type system struct {
	t    testing.TB
	m    *Machine
	dir  string
	logs *logBuffer
	stop func() error // stops the machine and returns what Run returned; may be called again

	api  *http.Client // signed in as admin after signIn
	csrf string
}

// settings are those of the demo on ports that are free.
func testSettings(upstream string) Settings {
	s := DefaultSettings()
	s.Edge.Listen = []edge.Listener{{Address: "127.0.0.1:0"}}
	s.Console.Listen = "127.0.0.1:0"
	s.Respond.Block.AllowPrivate = []string{attacker}
	s.Store.ArchiveAge = 200 * time.Millisecond
	if upstream != "" {
		r := edge.DefaultRoute()
		r.Name = "shop"
		r.Upstreams = []edge.Upstream{{URL: upstream, Weight: 1}}
		s.Edge.Routes = []edge.Route{r}
	}
	return s
}

// dataDir returns a new data directory whose socket's path is short enough.
func dataDir(t testing.TB) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "d")
}

// firewalls are those of the tests: compiling the rules takes seconds under the race detector, and machines may share them.
var firewalls struct {
	sync.Mutex
	of map[string]*waf.WAF
}

func sharedFirewall(c waf.Config, dir string) (*waf.WAF, error) {
	firewalls.Lock()
	defer firewalls.Unlock()
	key := fmt.Sprintf("%+v", c)
	if w := firewalls.of[key]; w != nil {
		return w, nil
	}
	w, err := waf.New(c, dir)
	if err == nil {
		if firewalls.of == nil {
			firewalls.of = map[string]*waf.WAF{}
		}
		firewalls.of[key] = w
	}
	return w, err
}

// start runs a machine, which stops with the test at the latest.
func start(t testing.TB, s Settings, dir string, scan ...string) *system {
	t.Helper()
	logs := new(logBuffer)
	log := slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	m, err := New(t.Context(), s, Options{Version: console.Version{Version: "v0.1.0", Go: runtime.Version()}, Dir: dir, Logger: log, Console: true, Edge: true, Scan: scan, Firewall: sharedFirewall})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	sys := &system{t: t, m: m, dir: dir, logs: logs, api: &http.Client{Jar: jar, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}}
	sys.stop = sync.OnceValue(func() error {
		sys.api.CloseIdleConnections()
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the machine did not stop within %v", patience)
		}
	})
	t.Cleanup(func() {
		if err := sys.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			t.Logf("log:\n%s", tail(logs.String(), 3000))
		}
	})
	return sys
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain: %s", what)
}

// answer is a response that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// from returns a client whose connections come from the address.
func from(t testing.TB, address string) *http.Client {
	dialer := &net.Dialer{}
	if address != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(address)}
	}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

func ask(t testing.TB, c *http.Client, r *http.Request) answer {
	t.Helper()
	resp, err := c.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}

// get asks the edge for a target.
func (s *system) get(c *http.Client, target string) answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.m.EdgeURL()+target, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return ask(s.t, c, r)
}

// call asks the console's API, and reads the answer into out where that is not nil.
func (s *system) call(method, path string, in, out any) answer {
	s.t.Helper()
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			s.t.Fatal(err)
		}
		body = bytes.NewReader(b)
	}
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.m.ConsoleURL()+path, body)
	if err != nil {
		s.t.Fatal(err)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.csrf != "" {
		r.Header.Set("X-CSRF-Token", s.csrf)
	}
	a := ask(s.t, s.api, r)
	if out != nil {
		if a.status >= 300 {
			s.t.Fatalf("%s %s: %d %s", method, path, a.status, a.body)
		}
		if err := json.Unmarshal([]byte(a.body), out); err != nil {
			s.t.Fatalf("%s %s: %v in %s", method, path, err, a.body)
		}
	}
	return a
}

const password = "a long enough passphrase 7"

// signIn uses a one-time link up, as a person does at first.
func (s *system) signIn() {
	s.t.Helper()
	link, _, err := s.m.Link(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	u, err := url.Parse(link)
	if err != nil {
		s.t.Fatal(err)
	}
	var in struct {
		SignedIn bool `json:"signed_in"`
		Me       struct {
			CSRF string `json:"csrf"`
		} `json:"me"`
	}
	s.call(http.MethodPost, "/api/v1/session/link", map[string]string{"link": u.Query().Get("link"), "password": password}, &in)
	if !in.SignedIn || in.Me.CSRF == "" {
		s.t.Fatalf("the link did not sign in: %+v", in)
	}
	s.csrf = in.Me.CSRF
}

// events lists recorded events through the API.
func (s *system) events(query string) []*signal.Event {
	s.t.Helper()
	var page struct {
		Items []*signal.Event `json:"items"`
	}
	s.call(http.MethodGet, "/api/v1/events?limit=500&"+query, nil, &page)
	return page.Items
}

// actions lists actions through the API.
func (s *system) actions(query string) []signal.Action {
	s.t.Helper()
	var page struct {
		Items []signal.Action `json:"items"`
	}
	s.call(http.MethodGet, "/api/v1/actions?"+query, nil, &page)
	return page.Items
}

func (s *system) findings(query string) []signal.Finding {
	s.t.Helper()
	var page struct {
		Items []signal.Finding `json:"items"`
	}
	s.call(http.MethodGet, "/api/v1/findings?limit=500&"+query, nil, &page)
	return page.Items
}

// readyz returns the state that the node shows to everybody.
func (s *system) readyz() string {
	s.t.Helper()
	return strings.TrimSpace(s.call(http.MethodGet, "/readyz", nil, nil).body)
}

// upstream is an application that answers 200 with what it was asked for.
func upstream(t testing.TB) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		fmt.Fprintf(w, "asked for %s\n", r.URL.Path)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// Attacks that the rule set knows, as paths below the edge.
const (
	injection = "/search?q=zzz%27+UNION+SELECT+id,name,password,note,role+FROM+users+--+"
	traversal = "/download?file=../../../../../../etc/passwd"
)

// freePort returns an address of this machine that nobody listened on a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func prefixes(t testing.TB, texts ...string) []netip.Prefix {
	t.Helper()
	var all []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}
