package chain_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if _, ok := os.LookupEnv("TESTUDO_CHAIN_SERVER"); ok {
		fmt.Fprintln(os.Stderr, serveGo(os.Getenv("TESTUDO_CHAIN_SERVER")))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// serveGo is testdata/server.py in Go: net/http, which serves each connection by a goroutine on whatever thread.
func serveGo(following string) error {
	command := func(args ...string) {
		_ = exec.Command("/bin/sh", append([]string{"-c", "exit 0"}, args...)...).Run()
	}
	go func() {
		for {
			command("background", "go")
			time.Sleep(50 * time.Millisecond)
		}
	}()
	host := os.Getenv("LISTEN")
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp4", host+":0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	return http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		truth := r.Header.Get("X-Truth")
		if truth == "" {
			truth = r.Header.Get("X-Request-Id")
		}
		if r.URL.Path == "/run" {
			command(truth, "go")
		}
		if following != "" {
			// The connection is written by a goroutine of the transport: what joins the next service is the edge's identifier.
			out, err := http.NewRequestWithContext(r.Context(), "GET", "http://"+following+r.URL.Path, nil)
			if err != nil {
				http.Error(w, "", http.StatusInternalServerError)
				return
			}
			out.Header["X-Request-Id"], out.Header["Traceparent"] = r.Header["X-Request-Id"], r.Header["Traceparent"]
			out.Header.Set("X-Truth", truth)
			resp, err := http.DefaultClient.Do(out)
			if err != nil {
				http.Error(w, "", http.StatusBadGateway)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		io.WriteString(w, "ok")
	}))
}
