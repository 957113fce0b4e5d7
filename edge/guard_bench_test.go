package edge

import (
	"context"
	"fmt"
	"net/http"
	"testing"
)

// idleGuard looks at everything and finds nothing.
type idleGuard struct{}

type idleCheck struct{ f Found }

func (idleGuard) Begin(context.Context, Exchange) Check { return &idleCheck{} }

func (*idleCheck) Request() int64                          { return 0 }
func (*idleCheck) RequestBody([]byte, bool)                {}
func (*idleCheck) Forward(http.Header)                     {}
func (*idleCheck) Response(int, http.Header) (int64, bool) { return 0, true }
func (*idleCheck) ResponseBody([]byte, bool)               {}
func (*idleCheck) Pass(p []byte, _ bool) ([]byte, bool)    { return p, true }
func (c *idleCheck) Found() *Found                         { return &c.f }
func (*idleCheck) Close(End)                               {}

// BenchmarkGuardSeam is what it costs the edge to have a guard, without what the guard does.
func BenchmarkGuardSeam(b *testing.B) {
	up := child(b, "backend", "")
	for _, g := range []Guard{nil, idleGuard{}} {
		b.Run(fmt.Sprintf("%T", g), func(b *testing.B) {
			ed := start(b, []string{"http://" + up}, func(s *setup) { s.route.WAF, s.deps.Guard, s.deps.Sink = false, g, &frameSink{} })
			b.ReportAllocs()
			b.ResetTimer()
			before := cpu()
			child(b, "client", fmt.Sprintf("%s %d", ed.addr, b.N))
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/op")
			b.StopTimer()
			ed.stop()
		})
	}
}
