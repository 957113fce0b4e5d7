package consoletest

import (
	"context"
	"crypto/tls"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/testudo-sec/testudo/console"
)

// Serve runs a console over the world on a loopback port of the system's choice until the test
// ends. ui may be nil.
func Serve(t testing.TB, w *World, ui console.UI, change ...func(*console.Config)) *console.Server {
	t.Helper()
	cfg := console.Default()
	cfg.Listen = "127.0.0.1:0"
	for _, f := range change {
		f(&cfg)
	}
	reg := prometheus.NewRegistry()
	s, err := console.New(cfg, w.Sources(), console.Deps{UI: ui, Dir: t.TempDir(), Now: w.Now, Registerer: reg, Gatherer: reg})
	if err != nil {
		t.Fatal(err)
	}
	Run(t, s)
	return s
}

// Run binds the console and runs it until the test ends.
func Run(t testing.TB, s *console.Server) {
	t.Helper()
	if err := s.Listen(); err != nil {
		t.Fatal(err)
	}
	RunBound(t, s)
}

// RunBound runs a console that has its addresses until the test ends.
func RunBound(t testing.TB, s *console.Server) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("console: %v", err)
		}
	})
}

// Client returns a client that takes the console's own certificate and follows no
// redirect, and closes its connections when the test ends.
func Client(t testing.TB) *http.Client {
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
