package hand

import (
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

// BenchmarkKill kills a program that runs, from the order on: what a verdict costs that no gate before the act enforces. "signal" is
// until the kernel has been told, from when on the program runs none of its own instructions; "end" is until it is gone.
func BenchmarkKill(b *testing.B) {
	h := New()
	var signalled, ended []time.Duration
	for b.Loop() {
		b.StopTimer()
		one, two := startBench(b), startBench(b)
		time.Sleep(time.Millisecond)
		s, err := readStat(uint32(one.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		t, err := readStat(uint32(two.Process.Pid))
		if err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		began := time.Now()
		p, err := open(t.pid, t.start) // as kill does
		if err != nil || h.protected(&p.stat) != "" {
			b.Fatal(err)
		}
		if _, _, err := stopTree(b.Context(), &p); err != nil || p.signal(unix.SIGKILL) != nil {
			b.Fatal(err)
		}
		signalled = append(signalled, time.Since(began))
		p.close()
		began = time.Now()
		if _, err := h.Do(b.Context(), kernel.Order{Verb: kernel.VerbKill, PID: s.pid, Start: s.start * tick}); err != nil {
			b.Fatal(err)
		}
		ended = append(ended, time.Since(began))
		b.StopTimer()
		_ = one.Wait()
		_ = two.Wait()
		b.StartTimer()
	}
	for name, took := range map[string][]time.Duration{"signal": signalled, "end": ended} {
		slices.Sort(took)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-"+name+"-median")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-"+name+"-p99")
	}
}
