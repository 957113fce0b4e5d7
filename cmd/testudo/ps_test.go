package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/console"
)

// TestPrintProcesses: what somebody named with care neither breaks the lines nor says more than it is.
func TestPrintProcesses(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	evil := "\x1b[2J\x1b]0;owned\a\n    1 root  init\r\u202egpj.exe " + strings.Repeat("A", 4096)
	list := console.ProcessList{At: at, Groups: []console.ProcessGroup{
		{Living: 1, Processes: []console.ProcessLine{{PID: 1, User: "root", CmdLine: "/sbin/init", Started: at.Add(-50 * time.Hour)}}},
		{Living: 1, Ended: 1, More: 7, Container: &console.ContainerView{ID: "4f1c8a2be07d93aa51e6", Name: evil, Image: evil, Pod: evil},
			Processes: []console.ProcessLine{
				{PID: 4100, User: evil, CmdLine: evil, Started: at.Add(-time.Hour)},
				{PID: 4107, Depth: 40, User: "33", CmdLine: "sh -c id", Started: at.Add(-time.Minute), Ended: at.Add(-5 * time.Second), Signal: 9}}}}}
	for _, width := range []int{60, 120} {
		var out bytes.Buffer
		printProcesses(&out, &list, width)
		lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
		if len(lines) != 3+1+5 {
			t.Errorf("%d lines, want 9:\n%s", len(lines), out.String())
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("a line of %d columns in a terminal of %d: %q", n, width, line)
			}
			for _, r := range line {
				if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
					t.Errorf("%U in %q", r, line)
				}
			}
		}
		for _, want := range []string{"host: 1 running", "/sbin/init", "signal 9, 5s ago", "and 7 more"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("width %d: %q is missing in\n%s", width, want, out.String())
			}
		}
	}
}
