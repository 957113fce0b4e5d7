package chain_test

import (
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/testudo-sec/testudo/internal/require"
	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/bpf"
)

// BenchmarkRead is one byte there and back over loopback, two reads and two writes: without the programs, with them and another port followed, and
// with each read telling of a request. BenchmarkCall is a call that is about no socket.
func BenchmarkRead(b *testing.B) {
	bare(b, func(b *testing.B, port uint16, there net.Conn) {
		one := make([]byte, 1)
		for b.Loop() {
			if _, err := there.Write(one); err != nil {
				b.Fatal(err)
			}
			if _, err := io.ReadFull(there, one); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCall(b *testing.B) {
	bare(b, func(b *testing.B, _ uint16, _ net.Conn) {
		for b.Loop() {
			syscall.Getppid()
		}
	})
}

func bare(b *testing.B, run func(*testing.B, uint16, net.Conn)) {
	require.Root(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				one := make([]byte, 1)
				for {
					if _, err := io.ReadFull(c, one); err != nil {
						return
					}
					if _, err := c.Write(one); err != nil {
						return
					}
				}
			}()
		}
	}()
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	for _, f := range []struct {
		name   string
		served []uint16
	}{{"off", nil}, {"other port", []uint16{1}}, {"followed", []uint16{port}}} {
		b.Run(f.name, func(b *testing.B) {
			if f.served != nil {
				loader := bpf.New(bpf.Options{Exclude: []uint32{1 << 30, uint32(os.Getppid())}})
				if err := loader.Load(); err != nil {
					b.Fatal(err)
				}
				defer loader.Close()
				if err := loader.Watch(b.Context(), kernel.Interest{Served: f.served}); err != nil {
					b.Fatal(err)
				}
			}
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			run(b, port, c)
		})
	}
}
