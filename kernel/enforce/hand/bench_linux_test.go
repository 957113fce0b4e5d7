package hand

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/kernel"
)

func startBench(b *testing.B) *exec.Cmd {
	b.Helper()
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	return cmd
}

// BenchmarkKill kills a program that runs, from the order on: what a verdict costs that no gate before the act enforces.
// "stop" is until it runs no more, "median" until it has ended.
func BenchmarkKill(b *testing.B) {
	h := New()
	var took []time.Duration
	for b.Loop() {
		b.StopTimer()
		cmd := startBench(b)
		time.Sleep(time.Millisecond)
		s, err := readStat(uint32(cmd.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		o := kernel.Order{Verb: kernel.VerbKill, PID: s.pid, Start: s.start * tick}
		b.StartTimer()
		began := time.Now()
		if _, err := h.Do(b.Context(), o); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
		b.StopTimer()
		_ = cmd.Wait()
		b.StartTimer()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-median")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}
