package evtx

import (
	"flag"
	"os"
	"testing"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/logs/logstest"
	"github.com/testudo-sec/testudo/signal"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func BenchmarkWinlogbeat(b *testing.B) { logstest.Bench(b, Format, "testdata/winlogbeat.ndjson") }

func BenchmarkFlat(b *testing.B) { logstest.Bench(b, Format, "testdata/flat.json") }

// Sysmon's event and that of the Security log say the same of a process, in the same fields.
func TestOneProcessTwoLogs(t *testing.T) {
	p := New(logs.Source{})
	for name, record := range map[string]string{
		"sysmon":   `{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Image":"C:\\a.exe","CommandLine":"a -x","ParentImage":"C:\\b.exe","ProcessId":"18","ParentProcessId":"17"}`,
		"security": `{"EventID":4688,"Channel":"Security","NewProcessName":"C:\\a.exe","CommandLine":"a -x","ParentProcessName":"C:\\b.exe","NewProcessId":"0x12","ProcessId":"0x11"}`,
	} {
		var e signal.Event
		if err := p.Parse([]byte(record), &e); err != nil {
			t.Fatal(name, err)
		}
		if e.Class != signal.ClassProcessActivity || e.Activity != signal.ActivityProcessLaunch || e.Str(signal.FieldMetadataLogCategory) != "process_creation" {
			t.Errorf("%s: class %v, activity %d, category %q", name, e.Class, e.Activity, e.Str(signal.FieldMetadataLogCategory))
		}
		got := []any{e.Str(signal.FieldProcessFilePath), e.Str(signal.FieldProcessCmdLine), e.Str(signal.FieldProcessParentProcessFilePath), e.Int(signal.FieldProcessPID), e.Int(signal.FieldProcessParentProcessPID)}
		for i, want := range []any{`C:\a.exe`, "a -x", `C:\b.exe`, int64(18), int64(17)} {
			if got[i] != want {
				t.Errorf("%s: %v, want %v", name, got[i], want)
			}
		}
		if e.Time != 0 {
			t.Errorf("%s: a record without a time has %d", name, e.Time)
		}
	}
}

// What the user states overrides what the record says.
func TestStatedSource(t *testing.T) {
	p := New(logs.Source{Service: "mine", Name: "lab"})
	var e signal.Event
	if err := p.Parse([]byte(`{"EventID":1,"Channel":"Microsoft-Windows-Sysmon/Operational","Image":"x"}`), &e); err != nil {
		t.Fatal(err)
	}
	if e.Str(signal.FieldMetadataLogName) != "mine" || e.Str(signal.FieldMetadataLogProduct) != "windows" || len(e.Strings(signal.FieldMetadataLabels)) != 1 {
		t.Errorf("%s", e.AppendJSON(nil))
	}
}

func TestAllocations(t *testing.T) {
	stream, err := os.ReadFile("testdata/winlogbeat.ndjson")
	if err != nil {
		t.Fatal(err)
	}
	records := logstest.Records(t, Format, stream)
	p := New(logs.Source{})
	var e signal.Event
	parse := func() {
		for _, r := range records {
			e.Reset()
			if err := p.Parse(r, &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	parse()
	if n := testing.AllocsPerRun(20, parse); n > float64(len(records)) {
		t.Errorf("%v allocations for %d records: one each is wanted", n, len(records))
	}
}
