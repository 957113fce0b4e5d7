package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/testudo-sec/testudo/internal/require"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds how long a test waits for what must come.
const patience = 10 * time.Second

// taken keeps messages.
type taken struct {
	mu   sync.Mutex
	all  []string
	from []netip.AddrPort
	gate chan struct{} // nil, or waited for at each message
	fail error
}

func (k *taken) Take(_ context.Context, message []byte, from netip.AddrPort) error {
	if k.gate != nil {
		<-k.gate
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all = append(k.all, string(message))
	k.from = append(k.from, from)
	return k.fail
}

func (k *taken) open() (Taker, error) { return k, nil }

func (k *taken) messages() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.all...)
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func (k *taken) want(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "messages", func() bool { return len(k.messages()) >= len(want) })
	if d := cmp.Diff(want, k.messages()); d != "" {
		t.Fatal(d)
	}
}

// run runs a listener until the test ends, or until the function that it returns is called.
func run(t *testing.T, l Listener, err error) (stop func()) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(patience):
			t.Error("the listener did not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

func quietLog() *slog.Logger { return slog.New(slog.DiscardHandler) }

func dial(t *testing.T, l Listener) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), l.Addr().Network(), l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func send(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// closed waits until the other end has closed the connection.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("the connection is open: %d %v", n, err)
	}
}

func TestTCP(t *testing.T) {
	var k taken
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "tcp"}, DefaultLimits(), k.open, quietLog())
	stop := run(t, l, err)
	c := dial(t, l)
	send(t, c, "<13>one\n7 <13>two")
	k.want(t, "<13>one", "<13>two")
	if k.from[0].String() != c.LocalAddr().String() {
		t.Errorf("from %v, want %v", k.from[0], c.LocalAddr())
	}
	send(t, c, "<13>th")
	send(t, c, "ree\n")
	k.want(t, "<13>one", "<13>two", "<13>three")
	s := l.Stats()
	if s.Messages != 3 || s.Bytes != 23 || s.Connections != 1 || len(s.Peers) != 1 || s.Peers[0].Messages != 3 {
		t.Errorf("stats are %+v", s)
	}
	stop()
	closed(t, c)
}

func TestTCPRefuses(t *testing.T) {
	limits := DefaultLimits()
	limits.Message = 480
	limits.Connections = 3
	limits.ConnectionsPerClient = 2
	limits.MessageTimeout = 200 * time.Millisecond
	limits.IdleTimeout = time.Second
	var k taken
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "tcp"}, limits, k.open, quietLog())
	run(t, l, err)

	slow := dial(t, l)
	send(t, slow, "100 <13>not all of it") // slowloris
	closed(t, slow)
	if r := l.Stats().Refused; r[RefusedSlow] != 1 {
		t.Errorf("refused: %v", r)
	}
	idle := dial(t, l)
	closed(t, idle)

	long := dial(t, l)
	send(t, long, "500 "+strings.Repeat("x", 500)+"<13>ok\n")
	k.want(t, "<13>ok")
	if r := l.Stats().Refused; r[RefusedOversize] != 1 {
		t.Errorf("refused: %v", r)
	}
	send(t, long, "2 \n\n")
	closed(t, long)
	if r := l.Stats().Refused; r[RefusedFraming] != 1 {
		t.Errorf("refused: %v", r)
	}

	eventually(t, "all have gone", func() bool { return l.Stats().Connections == 0 })
	a, b := dial(t, l), dial(t, l)
	eventually(t, "two are there", func() bool { return l.Stats().Connections == 2 })
	third := dial(t, l)
	closed(t, third)
	if r := l.Stats().Refused; r[RefusedClient] != 1 {
		t.Errorf("refused: %v", r)
	}
	_ = a.Close()
	eventually(t, "one has gone", func() bool { return l.Stats().Connections == 1 })
	again := dial(t, l)
	send(t, again, "<13>again\n")
	send(t, b, "<13>b\n")
	eventually(t, "both are heard", func() bool { return len(k.messages()) == 3 })
}

// TestTCPSteady has messages come without a pause for longer than one message may take.
func TestTCPSteady(t *testing.T) {
	limits := DefaultLimits()
	limits.MessageTimeout = 150 * time.Millisecond
	var k taken
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "tcp"}, limits, k.open, quietLog())
	run(t, l, err)
	c := dial(t, l)
	n := 0
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); n += 2 {
		send(t, c, "<13>a\n<13>b\n<13>") // always one that has begun
		time.Sleep(2 * time.Millisecond)
		send(t, c, "c\n")
		n++
	}
	eventually(t, fmt.Sprint(n, " messages"), func() bool { return len(k.messages()) == n })
}

func TestNotTaken(t *testing.T) {
	k := taken{fail: errors.New("no")}
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "tcp"}, DefaultLimits(), k.open, quietLog())
	run(t, l, err)
	c := dial(t, l)
	send(t, c, "<13>a\n")
	closed(t, c)
	if s := l.Stats(); s.Refused[RefusedNotTaken] != 1 || s.Messages != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestUDP(t *testing.T) {
	var k taken
	limits := DefaultLimits()
	limits.Message = 480
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "udp"}, limits, k.open, quietLog())
	stop := run(t, l, err)
	c := dial(t, l)
	send(t, c, "<13>one\n")
	send(t, c, "\n")
	send(t, c, strings.Repeat("x", 481))
	send(t, c, "<13>two\nof two lines")
	k.want(t, "<13>one", "<13>two\nof two lines")
	if s := l.Stats(); s.Refused[RefusedOversize] != 1 || s.Messages != 2 || k.from[0].String() != c.LocalAddr().String() {
		t.Errorf("stats are %+v, from %v", s, k.from)
	}
	stop()
}

// TestUDPFlood has more messages come than are taken: each is taken or counted, by testudo or by the kernel.
func TestUDPFlood(t *testing.T) {
	k := taken{gate: make(chan struct{})}
	limits := DefaultLimits()
	limits.Queue = 10
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "udp"}, limits, k.open, quietLog())
	stop := run(t, l, err)
	c := dial(t, l)
	const sent = 2000
	for i := range sent {
		send(t, c, fmt.Sprintf("<13>%d", i))
	}
	eventually(t, "the queue is full", func() bool { return l.Stats().Refused[RefusedQueue] > 0 })
	close(k.gate)
	eventually(t, "everything is accounted for", func() bool {
		s := l.Stats()
		if s.Messages+s.Refused[RefusedQueue]+s.Refused[RefusedKernel] == sent {
			return true
		}
		send(t, c, "") // the kernel tells of drops with the next message; an empty one is passed over
		return false
	})
	stop()
	if n := len(k.messages()); uint64(n) != l.Stats().Messages || n < 10 {
		t.Errorf("%d messages, stats are %+v", n, l.Stats())
	}
}

// TestUDPMemory: what waits is bounded by its bytes, too, not only by its number.
func TestUDPMemory(t *testing.T) {
	k := taken{gate: make(chan struct{})}
	limits := DefaultLimits()
	limits.Body, limits.Memory, limits.Queue = 64<<10, 256<<10, 8192
	l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: "udp"}, limits, k.open, quietLog())
	stop := run(t, l, err)
	c := dial(t, l)
	long := "<13>" + strings.Repeat("x", 40<<10)
	for range 40 {
		send(t, c, long)
		time.Sleep(time.Millisecond) // so that the kernel drops none
	}
	eventually(t, "some are refused", func() bool { return l.Stats().Refused[RefusedQueue] >= 20 })
	close(k.gate)
	eventually(t, "the others are taken", func() bool { return len(k.messages()) > 0 && uint64(len(k.messages())) == l.Stats().Messages })
	send(t, c, "<13>short")
	eventually(t, "there is room again", func() bool { all := k.messages(); return len(all) > 0 && all[len(all)-1] == "<13>short" })
	stop()
	if n := len(k.messages()); n > 10 {
		t.Errorf("%d messages of 40 KiB waited in 256 KiB", n)
	}
}

// A deadline that is set after the end does not undo it: else a stop would wait for the senders.
func TestReadWithin(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	readWithin(ctx, a, time.Hour)
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

// TestLogger has the logger of util-linux send.
func TestLogger(t *testing.T) {
	logger := require.Program(t, "logger", "logger")
	for _, tc := range []struct {
		transport string
		args      []string
		want      string
	}{
		{"udp", []string{"--udp", "--rfc5424"}, "hello"},
		{"udp", []string{"--udp", "--rfc3164"}, "hello"},
		{"tcp", []string{"--tcp", "--octet-count", "--rfc5424"}, "hello"},
		{"tcp", []string{"--tcp", "--rfc3164"}, "hello"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			var k taken
			l, err := NewSyslog(t.Context(), Syslog{Address: "127.0.0.1:0", Transport: tc.transport}, DefaultLimits(), k.open, quietLog())
			run(t, l, err)
			_, port, _ := net.SplitHostPort(l.Addr().String())
			args := append([]string{"--server", "127.0.0.1", "--port", port, "-p", "auth.warning", "-t", "shop"}, tc.args...)
			if out, err := exec.CommandContext(t.Context(), logger, append(args, "hello there")...).CombinedOutput(); err != nil {
				t.Fatalf("logger: %v: %s", err, out)
			}
			eventually(t, "the message", func() bool { return len(k.messages()) == 1 })
			if m := k.messages()[0]; !strings.HasPrefix(m, "<36>") || !strings.HasSuffix(m, "hello there") || !strings.Contains(m, "shop") {
				t.Errorf("got %q", m)
			}
		})
	}
}

// authority signs certificates for tests.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.write("ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

func (a *authority) issue(name string) (cert, key string) {
	a.t.Helper()
	k, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	keyDER, _ := x509.MarshalPKCS8PrivateKey(k)
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "PRIVATE KEY", keyDER)
}

// client returns the settings of a sender, with a certificate of its own if name is not empty.
func (a *authority) client(name string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	cfg := &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.issue(name))
		if err != nil {
			a.t.Fatal(err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.issue("server")
	limits := DefaultLimits()
	limits.MessageTimeout = 300 * time.Millisecond
	var k taken
	cfg := Syslog{Address: "127.0.0.1:0", Transport: "tls", TLS: TLS{Cert: cert, Key: key, ClientCA: filepath.Join(ca.dir, "ca.pem")}}
	l, err := NewSyslog(t.Context(), cfg, limits, k.open, quietLog())
	run(t, l, err)

	good, err := (&tls.Dialer{Config: ca.client("sender")}).DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer good.Close()
	send(t, good, "8 <13>good")
	k.want(t, "<13>good")

	// A stranger, somebody who speaks no TLS, and somebody who says nothing.
	if c, err := (&tls.Dialer{Config: ca.client("")}).DialContext(t.Context(), "tcp", l.Addr().String()); err == nil {
		_ = c.SetDeadline(time.Now().Add(patience))
		closed(t, c)
		_ = c.Close()
	}
	plain, silent := dial(t, l), dial(t, l)
	send(t, plain, "<13>plain text\n")
	_ = silent
	eventually(t, "three handshakes without success", func() bool { return l.Stats().Refused[RefusedTLS] == 3 })
	k.want(t, "<13>good")
}

func TestValidate(t *testing.T) {
	for _, tc := range []struct {
		cfg  interface{ Validate() error }
		want string
	}{
		{&Syslog{Address: "127.0.0.1:514", Transport: "udp"}, ""},
		{&Syslog{Address: "[::1]:514", Transport: "tcp"}, ""},
		{&Syslog{Address: "localhost:514", Transport: "tcp"}, ""},
		{&Syslog{Address: ":514", Transport: "udp"}, "no TLS"},
		{&Syslog{Address: "0.0.0.0:514", Transport: "tcp"}, "no TLS"},
		{&Syslog{Address: "192.0.2.1:514", Transport: "tcp", Plain: true}, ""},
		{&Syslog{Address: ":6514", Transport: "tls", TLS: TLS{Cert: "a", Key: "b"}}, ""},
		{&Syslog{Address: ":6514", Transport: "tls"}, "want tls.cert"},
		{&Syslog{Address: "127.0.0.1:514", Transport: "udp", TLS: TLS{Cert: "a"}}, "want transport tls"},
		{&Syslog{Address: "127.0.0.1", Transport: "udp"}, "want host:port"},
		{&Syslog{Address: "127.0.0.1:514", Transport: "http"}, "want udp, tcp or tls"},
		{&OTLP{Address: "127.0.0.1:4317"}, ""},
		{&OTLP{Address: ":4317"}, "no TLS"},
		{&OTLP{Address: ":4317", TLS: TLS{Cert: "a"}}, "both cert and key"},
		{&Limits{}, "connections is 0"},
	} {
		err := tc.cfg.Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%+v: %v, want %q", tc.cfg, err, tc.want)
		}
	}
}
