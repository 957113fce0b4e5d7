// Package storetest puts real parts together for tests and benchmarks: a store on the
// server inside the process and a lake, in a directory of the caller's.
package storetest

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/bus"
	"github.com/testudo-sec/testudo/store/lake"
)

// Config holds the configurations of the parts.
type Config struct {
	Store store.Config
	Bus   bus.Config
	Lake  lake.Config
}

// DefaultConfig holds the defaults of the parts.
func DefaultConfig() Config {
	return Config{Store: store.DefaultConfig(), Bus: bus.DefaultConfig(), Lake: lake.DefaultConfig()}
}

// Node is a store with its parts.
type Node struct {
	*store.Store
	Bus  *bus.Bus
	Lake *lake.Lake

	cancel  context.CancelFunc
	done    chan struct{}
	release func()
}

// Open locks the directory, opens the parts in it and runs the store until Close.
func Open(ctx context.Context, dir string, cfg Config, log *slog.Logger) (*Node, error) {
	release, err := store.Lock(dir)
	if err != nil {
		return nil, err
	}
	n := &Node{release: release, done: make(chan struct{})}
	if n.Lake, err = lake.Open(filepath.Join(dir, "lake"), cfg.Lake, log); err != nil {
		release()
		return nil, err
	}
	if n.Bus, err = bus.Open(ctx, cfg.Bus, bus.Options{Dir: filepath.Join(dir, "bus"), After: n.Lake.LastSequence()}, log); err != nil {
		release()
		return nil, err
	}
	if n.Store, err = store.New(cfg.Store, dir, n.Bus, n.Lake, log, nil); err != nil {
		n.Bus.Close()
		release()
		return nil, err
	}
	ctx, n.cancel = context.WithCancel(ctx)
	go func() {
		defer close(n.done)
		_ = n.Store.Run(ctx)
	}()
	return n, nil
}

// Close stops the store gracefully and closes its parts.
func (n *Node) Close() {
	n.cancel()
	<-n.done
	n.Bus.Close()
	n.release()
}

// Report is what a load did.
type Report struct {
	Offered  uint64        // events handed to Record
	Recorded uint64        // of them, events that fitted
	Acked    uint64        // of them, events on disk at the end
	Archived uint64        // of them, events in lake files at the end
	Dropped  uint64        // events that did not fit
	Elapsed  time.Duration // until everything was in the lake
	CPU      time.Duration // of the whole process, user and system, the making of the events included
	MakeCPU  time.Duration // about what the making of the events took
	RSS      int64         // greatest resident memory, in bytes
	BusBytes uint64        // what went over the bus
	LakeSize int64         // bytes of lake files
}

// PerEvent returns the CPU time of an event from Record to the lake file.
func (r *Report) PerEvent() time.Duration {
	if r.Archived == 0 {
		return 0
	}
	return (r.CPU - r.MakeCPU) / time.Duration(r.Archived)
}

// Load records rate events a second for that long, from two goroutines, into a new store in dir
// (an empty directory), and waits until all are in the lake. The events are HTTP requests with
// about forty fields of which some repeat and some do not, as an edge sees them.
func Load(ctx context.Context, dir string, rate int, duration time.Duration) (Report, error) {
	var report Report
	n, err := Open(ctx, dir, DefaultConfig(), slog.New(slog.DiscardHandler))
	if err != nil {
		return report, err
	}
	open := true
	defer func() {
		if open {
			n.Close()
		}
	}()
	begin, cpu := time.Now(), processCPU()
	offered := make([]uint64, producers)
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() { offered[p] = produce(ctx, n, p, rate/producers, duration) })
	}
	wg.Wait()
	if err := n.Sync(ctx); err != nil {
		return report, err
	}
	recorder, _ := n.Stats()
	n.Close() // commits what is not yet in the lake
	open = false
	for _, o := range offered {
		report.Offered += o
	}
	_, archiver := n.Stats()
	stats := n.Lake.Stats()
	report.Recorded, report.Acked, report.Dropped, report.BusBytes = recorder.Recorded, recorder.Acked, recorder.Dropped(), recorder.Bytes
	report.Archived, report.LakeSize = stats.Rows, stats.Bytes
	report.Elapsed, report.CPU = time.Since(begin), processCPU()-cpu
	report.MakeCPU = makeCost(int(report.Offered))
	report.RSS = maxRSS()
	if archiver.DeadLetters+archiver.Lost > 0 {
		return report, fmt.Errorf("%d batches were unreadable, %d missing", archiver.DeadLetters, archiver.Lost)
	}
	return report, nil
}

const producers = 2

// produce records events at the rate, in steps of a millisecond, and returns how many.
func produce(ctx context.Context, n *Node, producer, rate int, duration time.Duration) uint64 {
	var e signal.Event
	begin := time.Now()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	made := 0
	for {
		elapsed := time.Since(begin)
		due := int(float64(rate) * min(elapsed, duration).Seconds())
		for ; made < due; made++ {
			HTTPEvent(&e, time.Now(), uint64(made*producers+producer+1))
			n.Record(&e)
		}
		if elapsed >= duration {
			return uint64(made)
		}
		select {
		case <-ctx.Done():
			return uint64(made)
		case <-tick.C:
		}
	}
}

// makeCost measures what making n events costs.
func makeCost(n int) time.Duration {
	const sample = 200_000
	var e signal.Event
	before := processCPU()
	for i := range sample {
		HTTPEvent(&e, time.Now(), uint64(i))
	}
	return time.Duration(float64(processCPU()-before) * float64(n) / sample)
}

func processCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func maxRSS() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Maxrss << 10
}

// HTTPEvent fills e with the i-th request of an invented application: 41 fields, of which ids,
// addresses, ports, paths and sizes vary.
func HTTPEvent(e *signal.Event, now time.Time, i uint64) {
	e.Reset()
	r := i * 0x9e3779b97f4a7c15
	r ^= r >> 29
	e.ID, e.Time, e.Class, e.Activity = signal.NewID(now), now.UnixNano(), signal.ClassHTTPActivity, signal.HTTPActivity("GET")
	e.Severity, e.Plane, e.Seq = signal.SeverityInfo, signal.PlaneEdge, i
	e.SetString(signal.FieldHTTPRequestUID, hexText(r*0xbf58476d1ce4e5b9, r))
	e.SetString(signal.FieldTraceUID, hexText(r, r*0x94d049bb133111eb))
	e.SetString(signal.FieldTraceSpanUID, hexText(r * 31)[:16])
	e.SetIP(signal.FieldSrcEndpointIP, netip.AddrFrom4([4]byte{198, 51, byte(r >> 8 & 15), byte(r)}))
	e.SetInt(signal.FieldSrcEndpointPort, int64(32768+r%28000))
	e.SetIP(signal.FieldDstEndpointIP, netip.AddrFrom4([4]byte{192, 0, 2, 10}))
	e.SetInt(signal.FieldDstEndpointPort, 443)
	e.SetString(signal.FieldDstEndpointHostname, "shop.example")
	e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
	e.SetString(signal.FieldHTTPRequestVersion, "2")
	e.SetString(signal.FieldHTTPRequestURLScheme, "https")
	e.SetString(signal.FieldHTTPRequestURLHostname, "shop.example")
	e.SetInt(signal.FieldHTTPRequestURLPort, 443)
	e.SetString(signal.FieldHTTPRequestURLPath, path(r))
	e.SetMasked(signal.FieldHTTPRequestURLQueryString, "q=tent&page=1", "q=***&page=***")
	e.SetString(signal.FieldHTTPRequestUserAgent, agents()[r%uint64(len(agents()))])
	e.SetString(signal.FieldHTTPRequestReferrer, "https://shop.example"+path(r>>3))
	e.SetInt(signal.FieldHTTPRequestLength, int64(r%4096))
	e.SetStrings(signal.FieldHTTPRequestHeaderNames, headerNames())
	e.SetStrings(signal.FieldHTTPRequestCookieNames, headerNames()[3:4])
	e.SetStrings(signal.FieldHTTPRequestArgsNames, headerNames()[5:7])
	e.SetString(signal.FieldTLSVersion, "1.3")
	e.SetString(signal.FieldTLSSNI, "shop.example")
	e.SetString(signal.FieldTLSCipher, "TLS_AES_128_GCM_SHA256")
	e.SetString(signal.FieldTLSALPN, "h2")
	e.SetString(signal.FieldEdgeRoute, "shop")
	e.SetString(signal.FieldEdgeUpstream, "127.0.0.1:8081")
	e.SetString(signal.FieldEdgeMode, "block")
	e.SetString(signal.FieldEdgeClientTrust, "peer")
	e.SetInt(signal.FieldWAFScore, int64(r%7/6*5))
	e.SetInt(signal.FieldWAFThreshold, 5)
	e.SetInt(signal.FieldWAFParanoia, 1)
	e.SetInt(signal.FieldActionID, 1)
	e.SetInt(signal.FieldDispositionID, 1)
	e.SetString(signal.FieldPolicyUID, "3a5f0c9b2d1e4f60")
	e.SetString(signal.FieldMetadataReporterUID, "01938a3c-0000-7000-8000-000000000001")
}

func hexText(words ...uint64) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 32)
	for _, w := range words {
		for shift := 60; shift >= 0; shift -= 4 {
			b = append(b, digits[w>>shift&15])
		}
	}
	return string(b)
}

func path(r uint64) string {
	switch r >> 16 & 3 {
	case 0:
		return "/"
	case 1:
		return "/search"
	case 2:
		return "/product/" + hexText(r >> 20 & 0xfff)[12:]
	}
	return "/static/app.js"
}

func agents() []string {
	return []string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:132.0) Gecko/20100101 Firefox/132.0",
		"curl/8.10.1",
	}
}

func headerNames() []string {
	return []string{"accept", "accept-encoding", "accept-language", "cookie", "user-agent", "q", "page"}
}
