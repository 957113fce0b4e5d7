package kernel

import (
	"context"
	"testing"

	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/signal"
)

// FuzzRecords hands forged bytes to the plane: whatever they are, it makes whole events of them, and holds no more than it may.
func FuzzRecords(f *testing.F) {
	var whole []byte
	for _, r := range everything() {
		b := r.Append(nil)
		whole = append(whole, b...)
		f.Add(b)
		f.Add(b[:len(b)-2])
	}
	f.Add(whole)
	for _, c := range record.Calls() {
		r := callOf(91, c, 0, "/x", 1, 2, 3, 4, 5, 6)
		f.Add(r.Append(nil))
		r = callOf(91, c, -1, "")
		f.Add(r.Append(nil))
	}
	for k := record.KindExec; k <= record.KindMark; k++ {
		r := record.Record{Kind: k, PID: 1, NumLen: 6, Nums: [6]uint64{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}}
		f.Add(r.Append(nil))
		r.NumLen = 0
		f.Add(r.Append(nil))
	}
	cfg := DefaultConfig()
	cfg.ParkEvents = 64
	f.Fuzz(func(t *testing.T, b []byte) {
		sink := &testSink{}
		p, err := New(cfg, Deps{Sensor: newTestSensor(), Sink: sink, Host: "node1", Boot: "3f2a91c4"})
		if err != nil {
			t.Fatal(err)
		}
		ctx := context.Background()
		p.batch(ctx, b)
		p.Ask(ctx, b, record.GateFanotify)
		p.release(ctx, true)
		p.tellLost(ctx, true)
		if p.parked != 0 || len(p.waiting) != 0 {
			t.Errorf("%d wait in %d lanes", p.parked, len(p.waiting))
		}
		for _, e := range sink.all() {
			again := new(signal.Event)
			if err := again.UnmarshalJSON(e.AppendJSON(nil)); err != nil {
				t.Fatalf("%v: %s", err, e.AppendJSON(nil))
			}
			if e.Plane != signal.PlaneKernel || !e.Class.Known() {
				t.Fatalf("%s", e.AppendJSON(nil))
			}
		}
	})
}
