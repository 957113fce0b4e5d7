package auditd

import (
	"flag"
	"testing"

	"github.com/testudo-sec/testudo/logs/logstest"
)

var _ = flag.Bool("update", false, "rewrite golden files")

func TestGolden(t *testing.T) { logstest.Golden(t, "testdata", Format) }

func FuzzParse(f *testing.F) { logstest.Fuzz(f, "testdata", Format) }

func BenchmarkParse(b *testing.B) { logstest.Bench(b, Format, "testdata/audit.log") }

func TestSyscallNames(t *testing.T) {
	for _, c := range []struct{ arch, number, want string }{
		{"c000003e", "59", "execve"}, {"c00000b7", "221", "execve"}, {"c000003e", "257", "openat"}, {"40000003", "11", ""}, {"c000003e", "99999", ""}, {"c000003e", "-", ""},
	} {
		if got := syscallName(c.arch, c.number); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.arch, c.number, got, c.want)
		}
	}
}
