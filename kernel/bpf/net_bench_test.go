//go:build linux

package bpf

import (
	"context"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
)

// BenchmarkNetwork compares what sockets cost without the sensor, with what is wanted of another port only, and with all that is told of
// them.
func BenchmarkNetwork(b *testing.B) {
	require.Root(b)
	all := interestIn(record.CallConnect, record.CallAccept, record.CallAccept4, record.CallBind, record.CallListen, record.CallSendto,
		record.CallSendmsg, record.CallSendmmsg, record.CallSocket)
	other := all
	other.Connects = []uint16{1}
	both := all
	both.Flows, both.DNS = true, true
	for _, sensor := range []struct {
		name string
		want *kernel.Interest
	}{
		{"off", nil}, {"calls of another port", &other}, {"dns", &kernel.Interest{DNS: true}}, {"flows", &kernel.Interest{Flows: true}},
		{"all", &both},
	} {
		b.Run(sensor.name, func(b *testing.B) {
			var l *Loader
			if sensor.want != nil {
				l = running(b, *sensor.want)
			}
			b.Run("connect accept close", func(b *testing.B) { defer l.spent(b)(); benchConnect(b) })
			b.Run("tcp send recv", func(b *testing.B) { defer l.spent(b)(); benchSend(b, unix.SOCK_STREAM) })
			b.Run("udp sendto recvfrom", func(b *testing.B) { defer l.spent(b)(); benchSend(b, unix.SOCK_DGRAM) })
		})
	}
}

// running has a loader tell nobody until the benchmark ends.
func running(b *testing.B, want kernel.Interest) *Loader {
	l := New(Options{})
	if err := l.Load(); err != nil {
		b.Fatal(err)
	}
	if err := errorsOf(l.Watch(b.Context(), want), l.Attach()); err != nil {
		b.Fatal(err)
	}
	stats, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx, func([]byte) {}) }()
	b.Cleanup(func() {
		_ = stats.Close()
		cancel()
		if err := errorsOf(<-done, l.Close()); err != nil {
			b.Error(err)
		}
	})
	return l
}

// spent returns a function that reports how often the programs have run since, and for how long, which a busy machine disturbs less than the
// time of the whole. Taking the time costs each run some 70 ns of it.
func (l *Loader) spent(b *testing.B) func() {
	if l == nil {
		return func() {}
	}
	sum := func() (runs, time float64) {
		for _, name := range l.order {
			if s, err := l.programs[name].prog.Stats(); err == nil {
				runs, time = runs+float64(s.RunCount), time+float64(s.Runtime)
			}
		}
		return runs, time
	}
	runs, time := sum()
	return func() {
		r, t := sum()
		b.ReportMetric((r-runs)/float64(b.N), "runs/op")
		b.ReportMetric((t-time)/float64(b.N), "bpf-ns/op")
	}
}

// listening returns a socket that listens on the loopback, and its address.
func listening(b *testing.B, kind int) (int, unix.Sockaddr) {
	fd, err := unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, loopback(0)); err != nil {
		b.Fatal(err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 16); err != nil {
			b.Fatal(err)
		}
	}
	at, err := unix.Getsockname(fd)
	if err != nil {
		b.Fatal(err)
	}
	return fd, at
}

func connection(b *testing.B, l int, at unix.Sockaddr) (client, server int) {
	client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	if err := unix.SetsockoptLinger(client, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}); err != nil { // no TIME_WAIT
		b.Fatal(err)
	}
	if err := unix.Connect(client, at); err != nil {
		b.Fatal(err)
	}
	server, _, err = unix.Accept4(l, unix.SOCK_CLOEXEC)
	if err != nil {
		b.Fatal(err)
	}
	return client, server
}

func benchConnect(b *testing.B) {
	l, at := listening(b, unix.SOCK_STREAM)
	for b.Loop() {
		client, server := connection(b, l, at)
		unix.Close(client)
		unix.Close(server)
	}
}

func benchSend(b *testing.B, kind int) {
	l, at := listening(b, kind)
	client, server := -1, l
	if kind == unix.SOCK_STREAM {
		client, server = connection(b, l, at)
		defer unix.Close(server)
	} else {
		client, _ = unix.Socket(unix.AF_INET, kind|unix.SOCK_CLOEXEC, 0)
	}
	defer unix.Close(client)
	data := make([]byte, 64)
	for b.Loop() {
		to := at
		if kind == unix.SOCK_STREAM {
			to = nil
		}
		if err := unix.Sendto(client, data, 0, to); err != nil {
			b.Fatal(err)
		}
		if _, _, err := unix.Recvfrom(server, data, 0); err != nil {
			b.Fatal(err)
		}
	}
}
