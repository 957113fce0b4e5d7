package storetest_test

import (
	"os"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/store/storetest"
)

// TestLoad records for a moment, or, where TESTUDO_LOAD is a duration, at 100,000 events a
// second for that long, and checks that every event arrived.
func TestLoad(t *testing.T) {
	rate, duration := 5000, time.Second
	if long, err := time.ParseDuration(os.Getenv("TESTUDO_LOAD")); err == nil {
		rate, duration = 100_000, long
	}
	r, err := storetest.Load(t.Context(), t.TempDir(), rate, duration)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d events in %s: %s CPU an event, %d dropped, %d MiB resident, %d bytes of bus and %d of lake an event",
		r.Offered, r.Elapsed.Round(time.Millisecond), r.PerEvent(), r.Dropped, r.RSS>>20, r.BusBytes/r.Offered, r.LakeSize/int64(r.Offered))
	if r.Dropped != 0 || r.Offered == 0 || r.Archived != r.Offered || r.Acked != r.Offered {
		t.Errorf("report %+v: want every event in the lake and none dropped", r)
	}
}
