package access

import (
	"flag"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/logs/logstest"
	"github.com/testudo-sec/testudo/signal"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format, JSON) }

func TestGoldenJSON(t *testing.T) { logstest.Golden(t, "testdata/json", JSON, Format) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func FuzzParseJSON(f *testing.F) { logstest.Fuzz(f, "testdata/json", JSON) }

func BenchmarkParse(b *testing.B) { logstest.Bench(b, Format, "testdata/combined.log") }

func BenchmarkJSON(b *testing.B) { logstest.Bench(b, JSON, "testdata/json/servers.ndjson") }

// Rules see the values of a query, records do not.
func TestQueryIsMasked(t *testing.T) {
	for name, c := range map[string]struct {
		format logs.Format
		record string
	}{
		"text": {Format, `192.0.2.1 - - [03/Feb/2026:09:14:22 +0000] "GET /reset?token=s3cr3t HTTP/1.1" 200 1 "https://x.example/?t=s3cr3t" "curl"`},
		"json": {JSON, `{"remote_addr":"192.0.2.1","request":"GET /reset?token=s3cr3t HTTP/1.1","status":200,"http_referer":"https://x.example/?t=s3cr3t","request.headers.Authorization":"Bearer s3cr3t","request":"GET /reset?token=s3cr3t HTTP/1.1"}`},
	} {
		var e signal.Event
		if err := c.format.New(logs.Source{}).Parse([]byte(c.record), &e); err != nil {
			t.Fatal(name, err)
		}
		if got := e.Str(signal.FieldHTTPRequestURLQueryString); got != "token=s3cr3t" {
			t.Errorf("%s: rules see %q", name, got)
		}
		if b := string(e.AppendJSON(nil)); strings.Contains(b, "s3cr3t") {
			t.Errorf("%s: the secret is recorded: %s", name, b)
		}
	}
}

// A request that nginx could not read is an event as well: its sender and its status are what there is to judge.
func TestUnreadableRequest(t *testing.T) {
	p := NewJSON(logstest.Source())
	var e signal.Event
	e.Reset()
	if err := p.Parse([]byte(`{"time":"2026-02-03T10:00:00+00:00","remote_addr":"203.0.113.9","request_method":"","request_uri":"","status":400}`), &e); err != nil {
		t.Fatal(err)
	}
	if e.Class != signal.ClassHTTPActivity || e.Int(signal.FieldHTTPResponseCode) != 400 || e.IP(signal.FieldSrcEndpointIP).String() != "203.0.113.9" {
		t.Errorf("event is %s", e.AppendJSON(nil))
	}
	e.Reset()
	if err := p.Parse([]byte(`{"level":"info","msg":"started"}`), &e); err == nil {
		t.Error("what says nothing of a request is taken for one")
	}
}
