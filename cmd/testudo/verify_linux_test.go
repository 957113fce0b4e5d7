package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/detect"
)

// proxyToProviders is a proxy that stands for the internet: whoever connects to a name through it meets a server that has a
// certificate for that name and answers.
func proxyToProviders(t *testing.T, answer http.HandlerFunc) (address, roots string, connects *atomic.Int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(c *x509.Certificate) []byte {
		c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(time.Now().UnixNano()), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		parent := &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, SerialNumber: big.NewInt(1), PublicKey: key.Public()}
		if c.IsCA {
			parent = c
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), key)
		if err != nil {
			t.Error(err)
		}
		return der
	}
	ca := certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	roots = filepath.Join(t.TempDir(), "roots.pem")
	if err := os.WriteFile(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca}), 0o600); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connects = &atomic.Int64{}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			t.Errorf("not through TLS: %s %s", r.Method, r.URL)
			return
		}
		connects.Add(1)
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		host, _, _ := net.SplitHostPort(r.Host)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 Connected\r\n\r\n")
		leaf := tls.Certificate{Certificate: [][]byte{certificate(&x509.Certificate{Subject: pkix.Name{CommonName: host}, DNSNames: []string{host}})}, PrivateKey: key}
		secure := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{leaf}})
		in := bufio.NewReader(secure)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			rec := &recorder{header: http.Header{}, status: http.StatusOK}
			answer(rec, req)
			reply := &http.Response{StatusCode: rec.status, ProtoMajor: 1, ProtoMinor: 1, Header: rec.header, Body: io.NopCloser(&rec.body), ContentLength: int64(rec.body.Len())}
			if reply.Write(secure) != nil {
				return
			}
		}
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(listener) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return "http://" + listener.Addr().String(), roots, connects
}

type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }

// TestVerify runs the program as people do: asked to, it asks GitHub about a token through the proxy of the environment; not
// asked to, it connects to nothing, whatever the checkout's own files say.
func TestVerify(t *testing.T) {
	live, err := detect.Expand("{{github ghp_}}", "live")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := detect.Expand("{{github ghp_}}", "gone")
	if err != nil {
		t.Fatal(err)
	}
	proxy, roots, connects := proxyToProviders(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "api.github.com" || r.URL.Path != "/user" {
			t.Errorf("asked %s%s", r.Host, r.URL)
		}
		if r.Header.Get("Authorization") != "Bearer "+live {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("X-OAuth-Scopes", "repo")
		_, _ = io.WriteString(w, `{"login":"octocat"}`)
	})
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a_test.py", "# a fixture\ntoken = \""+live+"\"\n")
	write("b.env", "TOKEN="+gone+"\nAPI_KEY=aB3dE5fG7hJ9kL1mN3pQ5rS7tU9v\n") // testudo:allow generic-api-key made up
	command := func(args ...string) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "testudo", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "HTTPS_PROXY="+proxy, "SSL_CERT_FILE="+roots, "NO_PROXY=")
		out, err := cmd.CombinedOutput()
		if strings.Contains(string(out), live[4:]) || strings.Contains(string(out), gone[4:]) {
			t.Errorf("%v shows a secret:\n%s", args, out)
		}
		return strings.Join(strings.Fields(string(out)), " "), err // as if lines were never broken
	}
	for _, section := range []string{"verify: true", "scan: {verify: true}"} {
		write(".testudo.yaml", section+"\n")
		if out, err := command("ci"); err == nil || !strings.Contains(out, "unknown key") {
			t.Errorf("a policy with %q: %v\n%s", section, err, out)
		}
	}
	if err := os.Remove(filepath.Join(dir, ".testudo.yaml")); err != nil {
		t.Fatal(err)
	}
	if out, _ := command("scan", "."); strings.Contains(out, "in use") || connects.Load() != 0 {
		t.Errorf("without --verify, %d connections:\n%s", connects.Load(), out)
	}
	want := []string{"CRITICAL", "a_test.py:2:10", "in use: the provider accepts it (account octocat; scopes repo)", "LOW", "not valid any more, says the provider",
		"1 are, 1 are not valid any more, 0 could not be verified", "Not verifiable, because no harmless question is known: generic-api-key."}
	for _, args := range [][]string{{"scan", "--verify", "."}, {"ci", "--verify"}} {
		out, err := command(args...)
		if exit := (&exec.ExitError{}); !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Errorf("%v: %v", args, err)
		}
		for _, text := range want {
			if !strings.Contains(out, text) {
				t.Errorf("%v does not say %q:\n%s", args, text, out)
			}
		}
	}
	// A machine without a network is told so, and not kept waiting.
	proxy = "http://127.0.0.1:1"
	out, _ := command("scan", "--verify", "--confidence", "low", ".")
	if n := strings.Count(out, "not verified: api.github.com cannot be reached"); n != 2 {
		t.Errorf("offline:\n%s", out)
	}
}
