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
	if to := os.Getenv("TESTUDO_CHAIN_PROXY"); to != "" {
		fmt.Fprintln(os.Stderr, passOn(to))
		os.Exit(1)
	}
	if _, ok := os.LookupEnv("TESTUDO_CHAIN_SERVER"); ok {
		fmt.Fprintln(os.Stderr, serveGo(os.Getenv("TESTUDO_CHAIN_SERVER")))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// passOn is a proxy of connections, as containers' published ports have: the kernel moves the bytes, so that it reads none itself.
func passOn(to string) error {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr().(*net.TCPAddr).Port)
	for {
		in, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer in.Close()
			out, err := net.Dial("tcp4", to)
			if err != nil {
				return
			}
			defer out.Close()
			go func() { _, _ = io.Copy(out, in); _ = out.(*net.TCPConn).CloseWrite() }()
			_, _ = io.Copy(in, out)
		}()
	}
}

// serveGo is testdata/server.py in Go: net/http, which serves each connection by a goroutine on whatever thread.
func serveGo(following string) error {
	command := func(args ...string) {
		_ = exec.Command("/bin/sh", append([]string{"-c", "exit 0"}, args...)...).Run()
	}
	go func() {
		for {
			command("background", os.Getenv("LABEL"))
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
			command(truth, os.Getenv("LABEL"))
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
