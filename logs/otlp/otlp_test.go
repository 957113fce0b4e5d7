package otlp

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/logs/logstest"
	"github.com/testudo-sec/testudo/signal"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func BenchmarkParse(b *testing.B) { logstest.Bench(b, Format, "testdata/collector.ndjson") }

func BenchmarkOpen(b *testing.B) {
	stream, err := os.ReadFile("testdata/collector.ndjson")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := bytes.Cut(stream, []byte{'\n'})
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	for b.Loop() {
		r, err := Open(line, true)
		if err != nil {
			b.Fatal(err)
		}
		for _, ok := r.Next(); ok; _, ok = r.Next() {
		}
	}
}

// The messages of protobuf, by hand.
func msg(num int, data ...[]byte) []byte {
	all := bytes.Join(data, nil)
	b := binary.AppendUvarint(nil, uint64(num)<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(all))), all...)
}

func str(num int, s string) []byte { return msg(num, []byte(s)) }

func fixed64(num int, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(binary.AppendUvarint(nil, uint64(num)<<3|1), v)
}

func varint(num int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(num)<<3), v)
}

func attr(num int, key string, value []byte) []byte { return msg(num, str(1, key), msg(2, value)) }

func sample() []byte {
	record := msg(2, fixed64(1, 1770120000123456789), varint(2, 17), str(3, "ERROR"), msg(5, str(1, "login failed")),
		attr(6, "client.address", str(1, "203.0.113.9")), attr(6, "n", varint(3, 42)), attr(6, "neg", varint(3, 1<<64-7)), attr(6, "ok", varint(2, 1)), attr(6, "f", fixed64(4, 0x3ff8000000000000)),
		attr(6, "list", msg(5, msg(1, str(1, "a")), msg(1, varint(3, 2)))), attr(6, "map", msg(6, attr(1, "k", str(1, "v")))), attr(6, "raw", str(7, "\x00\xff")),
		msg(9, bytes.Repeat([]byte{0xab}, 16)), msg(10, bytes.Repeat([]byte{0xcd}, 8)), fixed64(11, 1770120001000000000), str(12, "auth.login"))
	return msg(1, msg(1, attr(1, "host.name", str(1, "web-1")), attr(1, "service.name", str(1, "shop"))), msg(2, msg(1, str(1, "lib"), str(2, "1.0")), record, record))
}

const sampleJSON = `{"resourceLogs":[{"resource":{"attributes":[{"key":"host.name","value":{"stringValue":"web-1"}},{"key":"service.name","value":{"stringValue":"shop"}}]},
"scopeLogs":[{"scope":{"name":"lib","version":"1.0"},"logRecords":[{"timeUnixNano":"1770120000123456789","observedTimeUnixNano":"1770120001000000000","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"login failed"},
"attributes":[{"key":"client.address","value":{"stringValue":"203.0.113.9"}},{"key":"n","value":{"intValue":"42"}},{"key":"neg","value":{"intValue":-7}},{"key":"ok","value":{"boolValue":true}},{"key":"f","value":{"doubleValue":1.5}},
{"key":"list","value":{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":2}]}}},{"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},{"key":"raw","value":{"bytesValue":"AP8="}}],
"traceId":"abababababababababababababababab","spanId":"cdcdcdcdcdcdcdcd","eventName":"auth.login"}]}]}]}`

// The two encodings of one request are one.
func TestEncodings(t *testing.T) {
	read := func(body []byte, isJSON bool) (all []string) {
		r, err := Open(body, isJSON)
		if err != nil {
			t.Fatal(err)
		}
		n := r.Len()
		for b, ok := r.Next(); ok; b, ok = r.Next() {
			all = append(all, string(b))
		}
		if n != len(all) || r.Len() != 0 {
			t.Errorf("%d records, Len said %d, and %d are left", len(all), n, r.Len())
		}
		return all
	}
	proto, js := read(sample(), false), read([]byte(sampleJSON), true)
	if len(proto) != 2 || proto[0] != proto[1] {
		t.Fatal(proto)
	}
	if d := cmp.Diff(js[0], proto[0]); d != "" {
		t.Error(d)
	}
	var e signal.Event
	if err := New(logs.Source{}).Parse([]byte(proto[0]), &e); err != nil {
		t.Fatal(err)
	}
	if e.Time != 1770120000123456789 || e.Str(signal.FieldDeviceHostname) != "web-1" || e.IP(signal.FieldSrcEndpointIP).String() != "203.0.113.9" || e.Severity != signal.SeverityHigh ||
		e.Str(signal.FieldMessage) != "login failed" || e.Str(signal.FieldTraceUID) != strings.Repeat("ab", 16) {
		t.Errorf("%s", e.AppendJSON(nil))
	}
}

// An attribute of a sender does not pass for what OTLP itself says.
func TestHostileAttributes(t *testing.T) {
	body := `{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1770120000000000000","attributes":[{"key":"otlp.time","value":{"intValue":"1"}},{"key":"otlp","value":{"kvlistValue":{"values":[{"key":"trace","value":{"stringValue":"x"}}]}}}]}]}]}]}`
	r, err := Open([]byte(body), true)
	if err != nil {
		t.Fatal(err)
	}
	record, _ := r.Next()
	var e signal.Event
	if err := New(logs.Source{}).Parse(record, &e); err != nil {
		t.Fatal(err)
	}
	if e.Time != 1770120000000000000 || e.Has(signal.FieldTraceUID) {
		t.Errorf("%s", e.AppendJSON(nil))
	}
}

func TestMalformed(t *testing.T) {
	for name, body := range map[string]string{"cut off": string(sample()[:100]), "group": "\x0b", "length": "\x0a\xff\xff\xff\xff\x0f", "tag": "\x00"} {
		if _, err := Open([]byte(body), false); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	for _, body := range []string{`{}`, `[]`, `{"resourceLogs":1}`, ``} {
		if _, err := Open([]byte(body), true); err == nil {
			t.Errorf("%s: no error", body)
		}
	}
	deep := str(1, "x")
	for range 1000 {
		deep = msg(5, msg(1, deep))
	}
	if r, err := Open(msg(1, msg(2, msg(2, msg(5, deep)))), false); err != nil || r.Len() != 1 {
		t.Errorf("deep: %v", err)
	}
}

// What a resource carries is repeated for each record, so it is bounded.
func TestResourceIsBounded(t *testing.T) {
	attrs := make([]string, 1000)
	for i := range attrs {
		attrs[i] = fmt.Sprintf(`{"key":"k%d","value":{"stringValue":"%s"}}`, i, strings.Repeat("v", 100))
	}
	body := `{"resourceLogs":[{"resource":{"attributes":[` + strings.Join(attrs, ",") + `]},"scopeLogs":[{"logRecords":[{"severityNumber":9}]}]}]}`
	r, err := Open([]byte(body), true)
	if err != nil {
		t.Fatal(err)
	}
	record, _ := r.Next()
	if len(record) > maxResource+1024 || !bytes.Contains(record, []byte("truncated")) {
		t.Errorf("%d bytes", len(record))
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(sample(), false)
	f.Add([]byte(sampleJSON), true)
	f.Fuzz(func(t *testing.T, body []byte, isJSON bool) {
		r, err := Open(body, isJSON)
		if err != nil {
			return
		}
		p := New(logs.Source{})
		for record, ok := r.Next(); ok; record, ok = r.Next() {
			var e signal.Event
			if err := p.Parse(record, &e); err != nil {
				t.Fatalf("%v\n%s", err, record)
			}
		}
	})
}
