package jsonlines

import (
	"flag"
	"strconv"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/logs/logstest"
	"github.com/testudo-sec/testudo/signal"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func BenchmarkParse(b *testing.B) { logstest.Bench(b, Format, "testdata/app.ndjson") }

// An event that was one before it was logged is masked as any record is.
func TestSecretsOfEvents(t *testing.T) {
	p := New(logstest.Source())
	var e signal.Event
	e.Reset()
	if err := p.Parse([]byte(`{"class_uid":4002,"category_uid":4,"activity_id":1,"time":1770120000000,"severity_id":1,"metadata":{"version":"1.5.0"},
		"http_request":{"referrer":"https://u:hunter2@h/?k=hunter2","url":{"path":"/x","query_string":"password=hunter2"}},
		"api":{"request":{"data":"{\"password\":\"hunter2\"}"}},"raw_data":"{\"token\":\"hunter2\"}",
		"unmapped":{"password":"hunter2","a":{"api_key":"hunter2"},"list":[{"token":"hunter2"}],"user":"ann"}}`), &e); err != nil {
		t.Fatal(err)
	}
	if e.Class != signal.ClassHTTPActivity || e.Str(signal.FieldHTTPRequestURLQueryString) != "password=hunter2" {
		t.Errorf("read as %v, judged by %q", e.Class, e.Str(signal.FieldHTTPRequestURLQueryString))
	}
	if v, _ := e.Unmapped("user"); v != "ann" {
		t.Errorf("user is %q", v)
	}
	if out := string(e.AppendJSON(nil)); strings.Contains(out, "hunter2") {
		t.Errorf("a secret is recorded: %s", out)
	}
}

// A record is not kept from being judged by an attribute that makes it look like an event.
func TestNoEvent(t *testing.T) {
	p := New(logstest.Source())
	for _, record := range []string{
		`{"class_uid":"x","cmd":"id"}`,
		`{"class_uid":1007,"time":"never","cmd":"id"}`,
		`{"cmd":"id","class_uid":4002,"unmapped":{` + strings.Repeat(`"k":{},`, 2) + pad(signal.MaxUnmapped+1) + `}}`,
	} {
		var e signal.Event
		e.Reset()
		if err := p.Parse([]byte(record), &e); err != nil {
			t.Errorf("%.60s: %v", record, err)
			continue
		}
		if v, _ := e.Unmapped("cmd"); v != "id" {
			t.Errorf("%.60s: cmd is %q", record, v)
		}
	}
}

// pad returns n members of a JSON object.
func pad(n int) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = `"k` + strconv.Itoa(i) + `":1`
	}
	return strings.Join(parts, ",")
}
