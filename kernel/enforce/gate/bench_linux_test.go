package gate

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// BenchmarkOpen is one open by another process: without a gate, on a file that no rule asks about, and on one that is asked about.
func BenchmarkOpen(b *testing.B) {
	dir := tmpfs(b)
	create(b, dir+"/asked", dir+"/other")
	open := func(b *testing.B, path string) {
		for b.Loop() {
			b.StopTimer()
			cmd := exec.Command("/proc/self/exe", "as-timer", path)
			out, err := cmd.CombinedOutput()
			ns, parse := strconv.Atoi(strings.TrimSpace(string(out)))
			if err != nil || parse != nil {
				b.Fatalf("%s %v", out, err)
			}
			b.StartTimer()
			b.ReportMetric(float64(ns)/1000, "µs/open")
		}
	}
	b.Run("none", func(b *testing.B) { open(b, dir+"/asked") })
	j := &judge{says: func(*record.Record) bool { return false }}
	_, end := begin(b, DefaultConfig(), j, false, kernel.AskScope{Hook: kernel.HookOpen, Mount: dir, Files: kernel.Paths{Name: []string{"asked"}}})
	defer end()
	b.Run("passed", func(b *testing.B) { open(b, dir+"/other") })
	b.Run("asked", func(b *testing.B) { open(b, dir+"/asked") })
}
