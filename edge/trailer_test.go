package edge

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestTrailer holds that a request's trailer reaches the upstream without fields that a server may believe: who asks, with which
// credentials, for what.
func TestTrailer(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		var names []string
		for name := range r.Trailer {
			names = append(names, name)
		}
		slices.Sort(names)
		fmt.Fprint(w, names)
	})
	ed := start(t, []string{up})
	for _, size := range []int{1, 300_000} { // held back, and streamed
		req, err := http.NewRequest("POST", ed.url+"/", io.NopCloser(strings.NewReader(strings.Repeat("x", size))))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{}
		for _, name := range []string{"X-Sum", "X-Forwarded-For", "X-Real-Ip", "Cookie", "Authorization", "If-Match", "X-Original-Url"} {
			req.Trailer.Set(name, "1")
		}
		if _, body := do(t, client1(t), req); body != "[X-Sum]" {
			t.Errorf("%d bytes: the trailer is %s", size, body)
		}
	}
}
