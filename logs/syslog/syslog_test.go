package syslog

import (
	"flag"
	"testing"

	"github.com/testudo-sec/testudo/logs"
	"github.com/testudo-sec/testudo/logs/logstest"
	"github.com/testudo-sec/testudo/signal"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format) }

func TestGoldenJournal(t *testing.T) { logstest.Golden(t, "testdata/journal", Journal, Format) }

func FuzzParseJournal(f *testing.F) { logstest.Fuzz(f, "testdata/journal", Journal) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func BenchmarkParse(b *testing.B) { logstest.Bench(b, Format, "testdata/auth.log") }

// Without a clock nobody knows the year: the time stays open, its text is kept.
func TestNoYear(t *testing.T) {
	var e signal.Event
	if err := New(logs.Source{}).Parse([]byte("<34>Oct 11 22:14:15 mymachine su: 'su root' failed"), &e); err != nil {
		t.Fatal(err)
	}
	if text, _ := e.Unmapped("timestamp"); e.Time != 0 || text != "Oct 11 22:14:15" {
		t.Errorf("time %d, %q", e.Time, text)
	}
}

// A name of a user cannot pass for the address it comes from.
func TestHostileUser(t *testing.T) {
	var e signal.Event
	line := "<38>Feb  3 09:14:22 web-1 sshd[1]: Failed password for invalid user x from 10.0.0.1 port 1 from 198.51.100.9 port 22 ssh2"
	if err := New(logstest.Source()).Parse([]byte(line), &e); err != nil {
		t.Fatal(err)
	}
	if e.IP(signal.FieldSrcEndpointIP).String() != "198.51.100.9" || e.Int(signal.FieldSrcEndpointPort) != 22 {
		t.Errorf("%s", e.AppendJSON(nil))
	}
}
