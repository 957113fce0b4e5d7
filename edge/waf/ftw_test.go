package waf_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"time"
)

// exchange sends raw bytes and returns the status of the answer, 0 where none came, and the
// local port that the request came from.
func exchange(addr string, raw []byte) (status, port int, err error) {
	conn, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	port = conn.LocalAddr().(*net.TCPAddr).Port
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Write(raw); err != nil {
		return 0, port, nil // refused while it was being sent
	}
	// Some tests announce a longer body than they send: let the server see the end, but not
	// before it had time to answer, for it takes a half-closed connection for a client that left.
	end := time.AfterFunc(2*time.Second, func() { _ = conn.(*net.TCPConn).CloseWrite() })
	defer end.Stop()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, port, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<20))
	return resp.StatusCode, port, nil
}

// echo is the backend that the regression tests are written for: POST /reflect answers as the JSON
// body says, everything else with 200.
func echo() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/reflect" || r.Method != http.MethodPost {
			_, _ = io.Copy(io.Discard, r.Body)
			w.Header().Set("Content-Type", "text/plain")
			return
		}
		var spec struct {
			Status      int               `json:"status"`
			Headers     map[string]string `json:"headers"`
			Body        string            `json:"body"`
			EncodedBody string            `json:"encodedBody"`
		}
		if err := json.NewDecoder(r.Body).Decode(&spec); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		body := []byte(spec.Body)
		if spec.EncodedBody != "" {
			body, _ = base64.StdEncoding.DecodeString(spec.EncodedBody)
		}
		for k, v := range spec.Headers {
			w.Header().Set(k, v)
		}
		if spec.Status != 0 {
			w.WriteHeader(spec.Status)
		}
		_, _ = w.Write(body)
	})
}
