package edge

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/signal"
)

// frameSink does to an event what any recording sink must at the least: encode it into a batch.
type frameSink struct {
	mu  sync.Mutex
	buf []byte
}

func (s *frameSink) Event(_ context.Context, e *signal.Event) (signal.Verdict, error) {
	s.mu.Lock()
	if len(s.buf) > 1<<20 {
		s.buf = s.buf[:0]
	}
	s.buf = e.AppendFrame(s.buf)
	s.mu.Unlock()
	return signal.Verdict{}, nil
}

// BenchmarkProxy compares the edge, every request judged and recorded, with a bare
// httputil.ReverseProxy. Client and backend are processes of their own, so that the
// figures are what the proxy's whole process spends on a request, in user and system mode. The
// two take turns in short rounds: other load on the machine hits both alike.
//
//	go test ./edge -run '^$' -bench Proxy -benchtime 40000x -count 3
//
// The bare proxy is as httputil makes it, but for a transport that keeps its connections, as the edge's does;
// "pooled" gives it a buffer pool as well.
func BenchmarkProxy(b *testing.B) {
	up := child(b, "backend", "")
	target, _ := url.Parse("http://" + up)
	for _, mode := range []Mode{ModeOff, ModeBlock} {
		b.Run(string(mode), func(b *testing.B) {
			bare := &httputil.ReverseProxy{Transport: keeping(), Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() }}
			pooled := &httputil.ReverseProxy{Transport: keeping(), Rewrite: bare.Rewrite, BufferPool: new(bufferPool)}
			ed := start(b, []string{"http://" + up}, func(s *setup) {
				s.route.Mode, s.deps.Sink = mode, &frameSink{}
			})
			var addrs []string
			for _, rp := range []http.Handler{bare, pooled} {
				s := httptest.NewServer(rp)
				defer s.Close()
				addrs = append(addrs, s.Listener.Addr().String())
			}
			addrs = append(addrs, ed.addr)
			const round = 2000
			spent := make([]time.Duration, len(addrs))
			for _, a := range addrs {
				child(b, "client", fmt.Sprintf("%s %d", a, round))
			}
			b.ResetTimer()
			rounds := max(b.N/round, 1)
			for range rounds {
				for i, a := range addrs {
					before := cpu()
					child(b, "client", fmt.Sprintf("%s %d", a, round))
					spent[i] += cpu() - before
				}
			}
			per := func(i int) float64 { return float64(spent[i].Microseconds()) / float64(rounds*round) }
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(per(0), "bare-cpu-µs")
			b.ReportMetric(per(1), "pooled-cpu-µs")
			b.ReportMetric(per(2), "edge-cpu-µs")
			b.ReportMetric(per(2)/per(0), "edge/bare")
			b.ReportMetric(per(2)/per(1), "edge/pooled")
			ed.stop()
		})
	}
}

func keeping() *http.Transport {
	return &http.Transport{MaxIdleConnsPerHost: 512, MaxIdleConns: 1024, IdleConnTimeout: 90 * time.Second, DisableCompression: true}
}

type bufferPool struct{ sync.Pool }

func (p *bufferPool) Get() []byte {
	if b, ok := p.Pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, copyBuffer)
}

func (p *bufferPool) Put(b []byte) { p.Pool.Put(&b) }

// BenchmarkEdge is the edge alone, for profiles, allocations, and whether memory grows with
// the number of requests: compare -benchtime 100000x and 1000000x.
func BenchmarkEdge(b *testing.B) {
	up := child(b, "backend", "")
	ed := start(b, []string{"http://" + up}, func(s *setup) { s.route.Mode, s.deps.Sink = ModeOff, &frameSink{} })
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	child(b, "client", fmt.Sprintf("%s %d", ed.addr, b.N))
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapInuse)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(m.Sys)/(1<<20), "sys-MiB")
	ed.stop()
}

func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// child runs the test binary as a backend, and returns its address, or as a client, and waits.
func child(b *testing.B, role, arg string) string {
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchChild$")
	cmd.Env = append(os.Environ(), "EDGE_BENCH_ROLE="+role, "EDGE_BENCH_ARG="+arg)
	cmd.Stderr = os.Stderr
	if role == "client" {
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		return ""
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	stdin, _ := cmd.StdinPipe()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}
	return line[:len(line)-1]
}

// TestBenchChild is the other processes of BenchmarkProxy; in a test run it does nothing.
func TestBenchChild(t *testing.T) {
	switch os.Getenv("EDGE_BENCH_ROLE") {
	case "backend":
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println(ln.Addr())
		body := make([]byte, 1024)
		go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1024")
			w.Write(body)
		}))
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case "client":
		var addr string
		var n int
		fmt.Sscan(os.Getenv("EDGE_BENCH_ARG"), &addr, &n)
		if err := hammer(addr, n, 8); err != nil {
			t.Fatal(err)
		}
	}
}

// hammer sends n requests as a browser would write them over the given number of connections.
func hammer(addr string, n, conns int) error {
	request := []byte("GET /catalogue/item?id=42&q=blue+shoes&page=3 HTTP/1.1\r\nHost: shop.example.com\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-US,en;q=0.5\r\n" +
		"Accept-Encoding: identity\r\nReferer: http://shop.example.com/catalogue?page=2\r\nCookie: session=0123456789abcdef; theme=dark\r\nConnection: keep-alive\r\n\r\n")
	var wg sync.WaitGroup
	errs := make(chan error, conns)
	for i := range conns {
		count := n / conns
		if i < n%conns {
			count++
		}
		wg.Go(func() {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				errs <- err
				return
			}
			defer c.Close()
			r := bufio.NewReader(c)
			for range count {
				if _, err := c.Write(request); err != nil {
					errs <- err
					return
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil {
					errs <- err
					return
				}
				if m, _ := io.Copy(io.Discard, resp.Body); m != 1024 || resp.StatusCode != 200 {
					errs <- fmt.Errorf("status %d, %d bytes", resp.StatusCode, m)
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return err
	default:
		return nil
	}
}
