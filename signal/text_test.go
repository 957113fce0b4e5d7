package signal

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRecordedText(t *testing.T) {
	e := new(Event)
	for _, f := range []Field{FieldSrcEndpointIP, FieldHTTPRequestURLPath, FieldHTTPRequestArgsNames, FieldWAFScore, FieldStartTime} {
		if got := e.RecordedText(f); got != "" {
			t.Errorf("%s is not set and is %q", f, got)
		}
	}
	e.SetIP(FieldSrcEndpointIP, netip.MustParseAddr("::ffff:203.0.113.9"))
	e.SetMasked(FieldHTTPRequestURLQueryString, "q=secret", "q=*")
	e.SetStrings(FieldHTTPRequestArgsNames, []string{"a", "b"})
	e.SetInt(FieldWAFScore, -5)
	e.SetBool(FieldIsRemote, true)
	e.SetTime(FieldStartTime, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC))
	for f, want := range map[Field]string{FieldSrcEndpointIP: "203.0.113.9", FieldHTTPRequestURLQueryString: "q=*", FieldHTTPRequestArgsNames: "a, b",
		FieldWAFScore: "-5", FieldIsRemote: "true", FieldStartTime: "2026-01-02T03:04:05.000000006Z"} {
		if got := e.RecordedText(f); got != want {
			t.Errorf("%s is %q, want %q", f, got, want)
		}
	}
	e.SetStrings(FieldHTTPRequestArgsNames, slices.Repeat([]string{"name"}, 100000))
	if got := e.RecordedText(FieldHTTPRequestArgsNames); len(got) > 5000 || !strings.HasSuffix(got, "name, …") {
		t.Errorf("%d bytes", len(got))
	}
}
