package logfields

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

func TestEveryFieldExists(t *testing.T) {
	for _, r := range Rows() {
		f, ok := signal.Lookup(r.Field)
		if !ok {
			t.Errorf("%v %s: signal has no field %s", r.From, r.Attr, r.Field)
			continue
		}
		if f.IsHeader() {
			t.Errorf("%v %s: %s is a header field, which nothing can set", r.From, r.Attr, r.Field)
		}
		if k := f.Kind(); k == signal.KindBool || k == signal.KindFloat || k == signal.KindTime {
			t.Errorf("%v %s: %s is a %s: its value would not be found again as it was written", r.From, r.Attr, r.Field, k)
		}
	}
}

func TestNoRowIsDoubled(t *testing.T) {
	type key struct {
		from     Source
		attr     string
		readOnly bool
	}
	seen := map[key]string{}
	for _, r := range Rows() {
		k := key{r.From, r.Attr, r.ReadOnly}
		if other, ok := seen[k]; ok {
			t.Errorf("%v %s: %s and %s", r.From, r.Attr, other, r.Field)
		}
		seen[k] = r.Field
	}
}

// Two rows of equal weight that a source could both meet would make the answer a matter of their order.
func TestTheMostSpecificRowIsOne(t *testing.T) {
	rows := Rows()
	for i, a := range rows {
		for _, b := range rows[i+1:] {
			if a.Attr == b.Attr && a.From != b.From && a.From.weight() == b.From.weight() && a.From.meets(b.From) && a.Field != b.Field {
				t.Errorf("%s: %v and %v are as specific as each other, and say %s and %s", a.Attr, a.From, b.From, a.Field, b.Field)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	sysmon := func(category string) Source { return Source{"windows", "sysmon", category} }
	for _, c := range []struct {
		src  Source
		attr string
		want string
	}{
		{sysmon("process_creation"), "Image", "process.file.path"},
		{sysmon("process_creation"), "OriginalFileName", "process.file.internal_name"},
		{sysmon("image_load"), "OriginalFileName", ""},
		{sysmon("file_event"), "Image", "actor.process.file.path"},
		{sysmon("file_event"), "TargetFilename", "file.path"},
		{sysmon("file_rename"), "TargetFilename", "file_result.path"},
		{sysmon("registry_set"), "TargetObject", "reg_key.path"},
		{sysmon("process_creation"), "ProcessId", "process.pid"},
		{Source{"windows", "security", "process_creation"}, "ProcessId", "process.parent_process.pid"},
		{Source{"windows", "security", "process_creation"}, "NewProcessName", "process.file.path"},
		{Source{"windows", "security", ""}, "EventID", "metadata.event_code"},
		{Source{"linux", "", "process_creation"}, "CommandLine", "process.cmd_line"},
		{Source{"linux", "auditd", ""}, "exe", "process.file.path"},
		{Source{"linux", "auditd", ""}, "a0", ""},
		{Source{"aws", "cloudtrail", ""}, "eventName", "api.operation"},
		{Source{"gcp", "", ""}, "eventName", ""},
		{Source{"", "", "webserver"}, "cs-uri-query", "http_request.url.query_string"},
		{Source{"nginx", "", "webserver"}, "sc-status", "http_response.code"},
		{Source{}, "Image", ""},
	} {
		got, ok := Lookup(c.src, c.attr)
		if got != c.want || ok != (c.want != "") {
			t.Errorf("Lookup(%v, %s) = %q %v, want %q", c.src, c.attr, got, ok, c.want)
		}
	}
}

func TestFields(t *testing.T) {
	for _, c := range []struct {
		src  Source
		attr string
		want []string
	}{
		{Source{"windows", "", "process_creation"}, "Image", []string{"process.file.path"}},
		{Source{"windows", "sysmon", ""}, "PipeName", []string{"pipe.name"}},
		{Source{"windows", "security", ""}, "ProcessId", []string{"actor.process.pid", "process.parent_process.pid", "process.pid"}},
		{Source{"", "", "webserver"}, "cs-uri-query", []string{"http_request.url.query_string", "url.url_string"}},
		{Source{"windows", "", "process_creation"}, "nothing", nil},
	} {
		got := Fields(c.src, c.attr)
		slices.Sort(got)
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("Fields(%v, %s): %s", c.src, c.attr, d)
		}
	}
	if got := Fields(Source{"", "", "webserver"}, "cs-uri-query"); got[0] != "http_request.url.query_string" {
		t.Errorf("the likeliest field is not the first: %v", got)
	}
}

// Whatever a record's source is, a rule for that source or for a wider one finds the field that the record's
// attribute went to.
func TestRulesReadWhatParsersWrite(t *testing.T) {
	sources := map[Source]bool{}
	for _, r := range Rows() {
		sources[r.From] = true
	}
	for _, record := range Rows() {
		if record.ReadOnly {
			continue
		}
		for other := range sources {
			src := merge(record.From, other)
			put, ok := Lookup(src, record.Attr)
			if !ok {
				t.Fatalf("%v %s: a row of the table is not found", src, record.Attr)
			}
			for _, rule := range []Source{src, {src.Product, src.Service, ""}, {src.Product, "", src.Category}, {"", "", src.Category}, {src.Product, "", ""}, {"", src.Service, ""}} {
				if !slices.Contains(Fields(rule, record.Attr), put) {
					t.Errorf("a record of %v has %s in %s, a rule for %v reads %v", src, record.Attr, put, rule, Fields(rule, record.Attr))
				}
			}
		}
	}
}

func merge(a, b Source) Source {
	fill := func(a, b string) string {
		if a == "" {
			return b
		}
		return a
	}
	return Source{fill(a.Product, b.Product), fill(a.Service, b.Service), fill(a.Category, b.Category)}
}

func TestTableIsTidy(t *testing.T) {
	for line := range strings.Lines(tsv) {
		if strings.TrimSpace(line) != strings.TrimSuffix(line, "\n") {
			t.Errorf("space at the end: %q", line)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	src := Source{"windows", "sysmon", "process_creation"}
	b.ReportAllocs()
	for b.Loop() {
		Lookup(src, "Image")
	}
}
