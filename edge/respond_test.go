package edge

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

// TestEventsOfAResponse counts the events of a response without a declared length: one
// where it was read whole for inspection, two where its end is not known at its head.
func TestEventsOfAResponse(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int64
		want  int
	}{{"read whole", 1 << 20, 1}, {"read in part", 16, 2}} {
		t.Run(c.name, func(t *testing.T) {
			upstream := backend(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, strings.Repeat("x", 100))
				w.(http.Flusher).Flush() // chunked
				_, _ = io.WriteString(w, strings.Repeat("y", 100))
			})
			r := start(t, []string{upstream}, func(s *setup) { s.deps.Inspector = &fakeInspector{responseLimit: c.limit} })
			_, body := get(t, client1(t), r.url+"/page")
			if len(body) != 200 {
				t.Fatalf("%d bytes arrived, want 200", len(body))
			}
			final := r.sink.wait(t, "the sizes", func(e *signal.Event) bool { return isFinal(e) && e.Int(signal.FieldTrafficBytesOut) == 200 })
			n := 0
			for _, e := range r.sink.all() {
				if e.Parent == final.Parent {
					n++
				}
			}
			if n != c.want {
				t.Errorf("%d events of the response, want %d", n, c.want)
			}
		})
	}
}
