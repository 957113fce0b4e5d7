package traceparent

import (
	"net/http"
	"strings"
	"testing"
)

func TestNext(t *testing.T) {
	const good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for in, valid := range map[string]bool{
		good: true, "": false, strings.ToUpper(good): false, good + "-x": false, "01" + good[2:] + "-x": true, "01" + good[2:] + "x": false,
		"ff" + good[2:]: false, "00-00000000000000000000000000000000-00f067aa0ba902b7-01": false,
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": false, good[:54]: false,
	} {
		got, fresh := Next(http.Header{"Traceparent": {in}})
		if fresh == valid || !Valid(got) {
			t.Errorf("%q: %q, fresh %v", in, got, fresh)
		}
		if valid && (got[3:35] != good[3:35] || got[36:52] == good[36:52] || got[53:] != "01") {
			t.Errorf("%q is continued as %q", in, got)
		}
	}
	if _, fresh := Next(http.Header{"Traceparent": {good, good}}); !fresh {
		t.Error("two fields are believed")
	}
}

// FuzzNext holds that whatever comes in, what goes out is valid, of version 00, and of the same
// trace where the field was valid.
func FuzzNext(f *testing.F) {
	f.Add("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	f.Add("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00-more")
	f.Fuzz(func(t *testing.T, in string) {
		out, fresh := Next(http.Header{"Traceparent": {in}})
		if !Valid(out) || len(out) != Len || out[:3] != "00-" || fresh == Valid(in) {
			t.Fatalf("%q: %q, fresh %v", in, out, fresh)
		}
		if !fresh && (TraceID(out) != TraceID(in) || SpanID(out) == SpanID(in) || out[52:] != in[52:55]) {
			t.Fatalf("%q is continued as %q", in, out)
		}
	})
}
