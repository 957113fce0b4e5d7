//go:build linux

package bpf

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// quiet loads, attaches and runs a loader whose records are only counted.
func quiet(b *testing.B, want kernel.Interest, receive func([]byte)) *Loader {
	b.Helper()
	require.Root(b)
	require.Part(b, "bpf", kernelTypes() == nil, "a kernel with BTF and the permission to load eBPF programs")
	l := New(Options{})
	watchFor(b, l, want, receive)
	return l
}

// watchFor loads, attaches and runs a loader until the benchmark ends.
func watchFor(b *testing.B, l *Loader, want kernel.Interest, receive func([]byte)) {
	b.Helper()
	if err := l.Load(); err != nil {
		b.Fatal(err)
	}
	if err := l.Watch(b.Context(), want); err != nil {
		b.Fatal(err)
	}
	if err := l.Attach(); err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, receive) }()
	b.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			b.Error(err)
		}
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
}

// What a record costs the reader: the processor time of this process while another makes calls as fast as it can.
func BenchmarkReader(b *testing.B) {
	var bytes, batches atomic.Int64
	l := quiet(b, kernel.Interest{Calls: map[record.Call]bool{record.CallPrctl: true}}, func(batch []byte) { bytes.Add(int64(len(batch))); batches.Add(1) })
	count := filepath.Join(b.TempDir(), "count")
	if err := os.WriteFile(count, []byte(strconv.Itoa(b.N)), 0o600); err != nil {
		b.Fatal(err)
	}
	b.Setenv(countVariable, count)
	counted := func() (sent, lost uint64) {
		all, err := l.counts()
		if err != nil {
			b.Fatal(err)
		}
		return all[record.KindCall].Sent, all[record.KindCall].Lost
	}
	sent, lost := counted()
	before, began := cpu(b), time.Now()
	b.ResetTimer()
	helper(b, "spin")
	for was := int64(-1); was != bytes.Load(); {
		was = bytes.Load()
		time.Sleep(2 * batchDelay)
	}
	b.StopTimer()
	took, spent := time.Since(began), cpu(b)-before
	sentNow, lostNow := counted()
	n := float64(sentNow - sent)
	b.ReportMetric(float64(spent)/n, "cpu-ns/event")
	b.ReportMetric(n/took.Seconds(), "events/s")
	b.ReportMetric(float64(lostNow-lost), "lost")
	b.ReportMetric(n/float64(batches.Load()), "events/batch")
}

// cpu returns the processor time of this process.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// What a system call costs that nobody wants to know of.
func BenchmarkUnwantedCall(b *testing.B) {
	spin := func(b *testing.B) {
		for b.Loop() {
			_, _, _ = unix.RawSyscall(unix.SYS_GETPID, 0, 0, 0)
		}
	}
	b.Run("off", spin)
	b.Run("on", func(b *testing.B) {
		quiet(b, kernel.Interest{Calls: map[record.Call]bool{record.CallPtrace: true}}, func([]byte) {})
		spin(b)
	})
}

// What an open costs that nobody wants to know of, and one that is told of.
func BenchmarkOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "some", "where", "file.go")
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	spin := func(b *testing.B) {
		for b.Loop() {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				b.Fatal(err)
			}
			_ = unix.Close(fd)
		}
	}
	b.Run("off", spin)
	for _, c := range []struct {
		name  string
		paths kernel.Paths
	}{
		{"fronts", kernel.Paths{Prefix: []string{"/etc/"}, Exact: []string{"/root/.profile"}}},
		{"fronts, names and parts", kernel.Paths{Prefix: []string{"/etc/"}, Name: []string{"id_rsa"}, End: []string{"_history"}, Part: []string{".ssh"}}},
		{"told", kernel.Paths{All: true}},
	} {
		b.Run(c.name, func(b *testing.B) {
			quiet(b, kernel.Interest{Reads: c.paths}, func([]byte) {})
			spin(b)
		})
	}
}

// What a change by a name costs the reader, which has to find out where the name leads: the processor time of this process for each, while
// another makes calls that are all elsewhere.
func BenchmarkNames(b *testing.B) {
	for _, kind := range []string{"plain", "chmod", "rename"} {
		b.Run(kind, func(b *testing.B) {
			calls := map[record.Call]bool{}
			for _, c := range record.Calls() {
				calls[c] = true
			}
			paths := kernel.Paths{Prefix: []string{"/etc/", "/usr/bin/", "/root/.ssh/"}, Exact: []string{"/etc/shadow"}, Name: []string{"authorized_keys"}, Part: []string{".ssh"}}
			l := New(Options{Exclude: []uint32{uint32(os.Getpid())}})
			var handed atomic.Int64
			watchFor(b, l, kernel.Interest{Calls: calls, Changes: paths}, func(batch []byte) { handed.Add(int64(len(batch))) })
			dir := b.TempDir()
			count := filepath.Join(dir, "count")
			if err := os.WriteFile(count, []byte(kind+" "+strconv.Itoa(b.N)), 0o600); err != nil {
				b.Fatal(err)
			}
			b.Setenv(countVariable, count)
			before, seen := cpu(b), l.names.seen.Load()
			b.ResetTimer()
			helper(b, "names")
			for was := ^uint64(0); was != l.names.seen.Load(); {
				was = l.names.seen.Load()
				time.Sleep(2 * batchDelay)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/call")
			b.ReportMetric(float64(l.names.seen.Load()-seen)/float64(b.N), "followed/call")
			b.ReportMetric(float64(l.names.kept.Load())/float64(b.N), "handed-on/call")
		})
	}
}
