package logs_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/jsonflat"
	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/logs/access"
	"github.com/testudo-sec/testudo/logs/auditd"
	"github.com/testudo-sec/testudo/logs/cloudtrail"
	"github.com/testudo-sec/testudo/logs/evtx"
	"github.com/testudo-sec/testudo/logs/jsonlines"
	"github.com/testudo-sec/testudo/logs/k8saudit"
	"github.com/testudo-sec/testudo/logs/otlp"
	"github.com/testudo-sec/testudo/logs/syslog"
	"github.com/testudo-sec/testudo/signal"
)

// mapped puts a JSON record through a mapper alone.
func mapped(t *testing.T, src logs.Source, record string) *signal.Event {
	t.Helper()
	var f jsonflat.Flattener
	m := logs.NewMapper(&f, src)
	var e signal.Event
	for range 2 { // the second time by what was learnt
		items, err := f.Flatten([]byte(record))
		if err != nil {
			t.Fatal(err)
		}
		e.Reset()
		m.Start(&e, logs.Source{})
		for _, it := range items {
			m.Item(it)
		}
		m.End(f.Dropped())
	}
	return &e
}

// A value is in the field, or under its own name.
func TestFieldOrOwnName(t *testing.T) {
	ct := logs.Source{Product: "aws", Service: "cloudtrail"}
	net := logs.Source{Product: "windows", Service: "sysmon", Category: "network_connection"}
	for _, c := range []struct {
		name, record string
		src          logs.Source
		field        signal.Field
		value        string // of the field
		own          string // name
		text         string // under it
	}{
		{"mapped", `{"eventName":"A"}`, ct, signal.FieldAPIOperation, "A", "eventName", ""},
		{"no field", `{"other":"A"}`, ct, signal.FieldAPIOperation, "", "other", "A"},
		{"no address", `{"sourceIPAddress":"ec2.amazonaws.com"}`, ct, signal.FieldSrcEndpointIP, "", "sourceIPAddress", "ec2.amazonaws.com"},
		{"an address", `{"sourceIPAddress":"192.0.2.1"}`, ct, signal.FieldSrcEndpointIP, "192.0.2.1", "sourceIPAddress", ""},
		{"a number", `{"SourcePort":80}`, net, signal.FieldSrcEndpointPort, "80", "SourcePort", ""},
		{"a hexadecimal number", `{"ProcessId":"0x1f4"}`, net, signal.FieldActorProcessPID, "500", "ProcessId", ""},
		{"no number", `{"SourcePort":"-"}`, net, signal.FieldSrcEndpointPort, "", "SourcePort", "-"},
		{"a number that would not read the same", `{"SourcePort":"0080"}`, net, signal.FieldSrcEndpointPort, "", "SourcePort", "0080"},
		{"the field is taken", `{"eventName":["A","B"]}`, ct, signal.FieldAPIOperation, "A", "eventName[1]", "B"},
		{"a list", `{"resources":[{"ARN":"a"},{"ARN":"b"}]}`, ct, signal.FieldResourcesUID, "a b", "resources[0].ARN", ""},
		{"stated by the user", `{"Image":"x"}`, logs.Source{Category: "process_creation"}, signal.FieldProcessFilePath, "x", "Image", ""},
		{"not stated", `{"Image":"x"}`, logs.Source{}, signal.FieldProcessFilePath, "", "Image", "x"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := mapped(t, c.src, c.record)
			got := ""
			if e.Has(c.field) {
				switch c.field.Kind() {
				case signal.KindIP:
					got = e.IP(c.field).String()
				case signal.KindInt:
					got = strconv.FormatInt(e.Int(c.field), 10)
				case signal.KindStrings:
					got = strings.Join(e.Strings(c.field), " ")
				default:
					got = e.Str(c.field)
				}
			}
			if text, _ := e.Unmapped(c.own); got != c.value || text != c.text {
				t.Errorf("field %q, own name %q; want %q, %q", got, text, c.value, c.text)
			}
		})
	}
}

// What a client puts deep into a record does not push out what the server wrote.
func TestTooManyAttributes(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"body":{"tags":{`)
	for i := range 1000 {
		fmt.Fprintf(&b, `"t%d":"x",`, i)
	}
	b.WriteString(`"last":1}},"level":"9","eventName":"A"}`)
	e := mapped(t, logs.Source{Product: "aws", Service: "cloudtrail"}, b.String())
	attrs := e.UnmappedAttrs()
	if len(attrs) != signal.MaxUnmapped {
		t.Errorf("%d attributes", len(attrs))
	}
	if v, _ := e.Unmapped("level"); v != "9" {
		t.Error("the server's attribute is pushed out")
	}
	if v, _ := e.Unmapped(logs.Truncated); v != strconv.Itoa(1002-(signal.MaxUnmapped-1)) {
		t.Errorf("%s = %q", logs.Truncated, v)
	}
	if e.Str(signal.FieldAPIOperation) != "A" {
		t.Error("a field is lost")
	}
}

func TestSecrets(t *testing.T) {
	for name, want := range map[string]bool{
		"password": true, "user.Password": true, "responseElements.accessKey.secretAccessKey": true, "sessionToken": true, "request.headers.Authorization": true,
		"headers.Set-Cookie": true, "http_authorization": true, "request_Cookie": true, "x_api_key": true, "requestParameters.masterUserPassword": true,
		"accessKeyId": false, "TokenElevationType": false, "passwordLastSet": false, "SubjectUserName": false, "key": false, "secrets": false, "": false, strings.Repeat("password", 9): false,
	} {
		if got := logs.IsSecretName(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	// The text of an object that holds one, and one that lies too deep to be read.
	deep := `{"a":` + strings.Repeat(`{"a":`, 40) + `{"password":"s3cr3t"}` + strings.Repeat("}", 41)
	for _, record := range []string{`{"password":"s3cr3t","b":{"apiKey":12345}}`, deep} {
		b := string(mapped(t, logs.Source{}, record).AppendJSON(nil))
		if strings.Contains(b, "s3cr3t") || strings.Contains(b, "12345") {
			t.Errorf("%s", b)
		}
	}
	var f jsonflat.Flattener
	f.KeepText = func(attr string) bool { return true }
	m := logs.NewMapper(&f, logs.Source{Product: "aws", Service: "cloudtrail"})
	items, _ := f.Flatten([]byte(`{"requestParameters":{"name":"x","password":"s3cr3t"}}`))
	var e signal.Event
	m.Start(&e, logs.Source{})
	for _, it := range items {
		m.Item(it)
	}
	m.End(0)
	if !strings.Contains(e.Str(signal.FieldAPIRequestData), "s3cr3t") || strings.Contains(string(e.AppendJSON(nil)), "s3cr3t") {
		t.Errorf("rules see %q, recorded is %s", e.Str(signal.FieldAPIRequestData), e.AppendJSON(nil))
	}
}

func TestParseTime(t *testing.T) {
	berlin := time.FixedZone("", 3600)
	for _, c := range []struct {
		text string
		zone *time.Location
		want string // "" is none
	}{
		{"2026-02-03T09:14:22Z", nil, "2026-02-03T09:14:22Z"},
		{"2026-02-03T09:14:22.1234567Z", nil, "2026-02-03T09:14:22.1234567Z"},
		{"2026-02-03 09:14:22,5", nil, "2026-02-03T09:14:22.5Z"},
		{"2026-02-03 09:14:22", berlin, "2026-02-03T08:14:22Z"},
		{"2026-02-03T09:14:22+05:30", berlin, "2026-02-03T03:44:22Z"},
		{"2026-02-03T09:14:22-0800", nil, "2026-02-03T17:14:22Z"},
		{"2026-02-03 09:14:22.25 UTC", nil, "2026-02-03T09:14:22.25Z"},
		{"2024-02-29T00:00:00Z", nil, "2024-02-29T00:00:00Z"},
		{"2000-03-01T00:00:00Z", nil, "2000-03-01T00:00:00Z"},
		{"1770110062", nil, "2026-02-03T09:14:22Z"},
		{"1770110062.25", nil, "2026-02-03T09:14:22.25Z"},
		{"1770110062123", nil, "2026-02-03T09:14:22.123Z"},
		{"1770110062123456", nil, "2026-02-03T09:14:22.123456Z"},
		{"1770110062123456789", nil, "2026-02-03T09:14:22.123456789Z"},
		{"/Date(1770110062123)/", nil, "2026-02-03T09:14:22.123Z"},
		{"2026-02-30T00:00:00Z", nil, ""}, {"2026-13-01T00:00:00Z", nil, ""}, {"2026-02-03T25:00:00Z", nil, ""}, {"2026-02-03T09:14:22.Z", nil, ""},
		{"2026-02-03T09:14:22+", nil, ""}, {"2026-02-03T09:14:22 soon", nil, ""}, {"1969-12-31T23:59:59Z", nil, ""}, {"9999-01-01T00:00:00Z", nil, ""},
		{"", nil, ""}, {"12", nil, ""}, {"99999999999", nil, ""}, {"9300000000", nil, ""}, {"17701100621234567890", nil, ""}, {"1770110062x", nil, ""},
		// Digits that would be a time after 2261 and do not fit: a date without separators, a count of something.
		{"20260203101112", nil, ""}, {"20260203101112123", nil, ""}, {"50000000000000000", nil, ""}, {"9214646399999999999", nil, ""},
	} {
		ns, ok := logs.ParseTime(c.text, c.zone)
		got := ""
		if ok {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339Nano)
		}
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
	}
	for year := 1970; year <= 2261; year++ { // the calendar, against that of the standard library
		for _, day := range []string{"-01-01", "-02-28", "-03-01", "-12-31"} {
			text := strconv.Itoa(year) + day + "T00:00:00Z"
			want, _ := time.Parse(time.RFC3339, text)
			if ns, ok := logs.ParseTime(text, nil); !ok || ns != want.UnixNano() {
				t.Errorf("%s: %d %v", text, ns, ok)
			}
		}
	}
	if ns, ok := logs.ParseCommonLogTime("10/Oct/2000:13:55:36 -0700"); !ok || ns != 971211336e9 {
		t.Error(ns, ok)
	}
	for _, c := range []struct{ text, now, want string }{
		{"Feb  3 09:14:22", "2026-03-01T00:00:00Z", "2026-02-03T09:14:22Z"},
		{"Dec 31 23:59:59", "2026-01-01T00:00:00Z", "2025-12-31T23:59:59Z"},
		{"Jan  1 00:00:00", "2025-12-31T23:00:00Z", "2026-01-01T00:00:00Z"}, // a clock a little behind
		{"Feb 29 00:00:00", "2026-03-01T00:00:00Z", "2024-02-29T00:00:00Z"},
		{"Feb 30 00:00:00", "2026-03-01T00:00:00Z", ""},
		{"Foo  3 09:14:22", "2026-03-01T00:00:00Z", ""},
	} {
		now, _ := time.Parse(time.RFC3339, c.now)
		ns, ok := logs.WithoutYear(c.text, now, nil)
		got := ""
		if ok {
			got = time.Unix(0, ns).UTC().Format(time.RFC3339)
		}
		if got != c.want {
			t.Errorf("%s at %s: %q, want %q", c.text, c.now, got, c.want)
		}
	}
}

func TestAPIActivity(t *testing.T) {
	for op, want := range map[string]uint8{"CreateUser": 1, "ListBuckets": 2, "get": 2, "UpdateRole": 3, "DeleteTrail": 4, "Microsoft.Compute/virtualMachines/delete": 4, "storage.objects.list": 2, "AssumeRole": 99, "": 99} {
		if got := logs.APIActivity(op); got != want {
			t.Errorf("%s: %d, want %d", op, got, want)
		}
	}
}

// Every sample of every format is recognised as what it is, by a list with the special ones first.
func TestDetect(t *testing.T) {
	formats := []logs.Format{evtx.Format, cloudtrail.Format, k8saudit.Format, otlp.Format, access.JSON, syslog.Journal, jsonlines.Format, auditd.Format, access.Format, syslog.Format}
	for file, want := range map[string]string{
		"evtx/testdata/winlogbeat.ndjson": "evtx", "evtx/testdata/converter.json": "evtx", "evtx/testdata/flat.json": "evtx", "evtx/testdata/wazuh.json": "evtx", "evtx/testdata/linux-sysmon.json": "evtx",
		"cloudtrail/testdata/delivered.json": "cloudtrail", "cloudtrail/testdata/lines.ndjson": "cloudtrail",
		"k8saudit/testdata/audit.log": "k8saudit", "k8saudit/testdata/webhook.json": "k8saudit",
		"jsonlines/testdata/app.ndjson": "jsonlines", "jsonlines/testdata/pretty.json": "jsonlines",
		"auditd/testdata/audit.log": "auditd", "access/testdata/combined.log": "access", "access/testdata/json/servers.ndjson": "access-json",
		"syslog/testdata/auth.log": "syslog", "syslog/testdata/rfc5424.log": "syslog", "syslog/testdata/rsyslog.log": "syslog", "otlp/testdata/collector.ndjson": "otlp", "syslog/testdata/journal/journal.ndjson": "journal",
	} {
		sample, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := logs.Detect(formats, sample); !ok || f.Name != want {
			t.Errorf("%s: %q, want %q", file, f.Name, want)
		}
		// What a program says at its start, or the end of what was rotated, is before it.
		before := append([]byte("starting up: pid 7, {debug}\n\tat com.example.Main.run(Main.java:12)\n\n"), sample...)
		if f, ok := logs.Detect(formats, before); !ok || f.Name != want {
			t.Errorf("%s behind a banner: %q, want %q", file, f.Name, want)
		}
	}
	zeek := []byte(`{"_path":"http","ts":1770112800.5,"id.orig_h":"10.0.0.5","id.resp_h":"203.0.113.7","method":"GET","uri":"/a","status_code":200}` + "\n")
	if f, ok := logs.Detect(formats, zeek); !ok || f.Name != "jsonlines" {
		t.Errorf("Zeek's http.log is taken for %q", f.Name)
	}
	for _, sample := range []string{"", "\n\n", "hello world\n", "\x1f\x8b\x08\x00", "PK\x03\x04", strings.Repeat("\x00", 4096), "[[[[", `"x"`, "<a>"} {
		if f, ok := logs.Detect(formats, []byte(sample)); ok {
			t.Errorf("%q is taken for %s", sample, f.Name)
		}
	}
	// A first record that is longer than the sample.
	long := `{"auditID":"1","verb":"create","stage":"ResponseComplete","requestObject":{"x":["` + strings.Repeat(`a","`, logs.SampleSize)
	if f, ok := logs.Detect(formats, []byte(long)); !ok || f.Name != "k8saudit" {
		t.Errorf("a long record: %q", f.Name)
	}
}
