package replay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/replay"
	"github.com/testudo-sec/testudo/signal"
	"github.com/testudo-sec/testudo/store"
	"github.com/testudo-sec/testudo/store/storetest"
)

// condition is a condition made of its parts.
type condition struct {
	match  func(*signal.Event) bool
	fields []signal.Field
	fault  error
}

func (c *condition) Eval(e *signal.Event) (bool, error) { return c.match(e), c.fault }
func (c *condition) Fields() []signal.Field             { return c.fields }

var _ replay.Condition = (*match.Condition)(nil) // what rules are compiled to can be hunted with

// TestHunt searches a real store: part of the events is in the lake, part on the bus.
func TestHunt(t *testing.T) {
	cfg := storetest.DefaultConfig()
	dir := t.TempDir()
	start := time.Now().Add(-2 * time.Hour).Truncate(time.Hour)
	var e signal.Event
	record := func(n *storetest.Node, from, to int) {
		for i := from; i <= to; i++ {
			storetest.HTTPEvent(&e, start.Add(time.Duration(i)*time.Second), uint64(i))
			e.SetString(signal.FieldHTTPRequestURLPath, fmt.Sprintf("/p/%d", i%10))
			if i%100 == 0 {
				e.SetUnmapped("vendor", "special")
			}
			if i == 777 {
				e.Class = signal.ClassAPIActivity
			}
			n.Record(&e)
		}
	}
	n, err := storetest.Open(t.Context(), dir, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	record(n, 1, 3000)
	n.Close() // into the lake
	if n, err = storetest.Open(t.Context(), dir, cfg, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	record(n, 3001, 3500)
	if err := n.Sync(t.Context()); err != nil { // a hunt itself waits for a short while only
		t.Fatal(err)
	}

	hunt := func(c *condition, q replay.Query) ([]uint64, replay.Stats) {
		t.Helper()
		var got []uint64
		stats, err := replay.Hunt(t.Context(), n, c, q, func(e *signal.Event) bool {
			if e.ID.IsZero() || e.Str(signal.FieldHTTPRequestUserAgent) == "" {
				t.Fatal("an event came without the fields that the condition does not read")
			}
			got = append(got, e.Seq)
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		return got, stats
	}
	path := func(want string) *condition {
		return &condition{fields: []signal.Field{signal.FieldHTTPRequestURLPath}, match: func(e *signal.Event) bool {
			return e.Str(signal.FieldHTTPRequestURLPath) == want
		}}
	}

	got, stats := hunt(path("/p/3"), replay.Query{Limit: 60})
	var want []uint64
	for i := 3493; len(want) < 60; i -= 10 {
		want = append(want, uint64(i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("newest first over tail and lake (-want +got):\n%s", diff)
	}
	if !stats.More || stats.Returned != 60 || stats.Tail != 500 || stats.Files == 0 || stats.Inexact != nil {
		t.Errorf("stats %+v", stats)
	}

	got, stats = hunt(path("/p/3"), replay.Query{Since: start.Add(100 * time.Second), Until: start.Add(114 * time.Second)})
	if !slices.Equal(got, []uint64{113, 103}) || stats.More {
		t.Errorf("by time: %v, stats %+v", got, stats)
	}

	every := &condition{match: func(*signal.Event) bool { return true }}
	if got, stats = hunt(every, replay.Query{}); len(got) != replay.DefaultLimit || got[0] != 3500 || got[49] != 3451 {
		t.Errorf("everything: %v", got)
	}
	if stats.Inexact != nil {
		t.Errorf("a condition that reads no masked field: %q", stats.Inexact)
	}

	if got, stats = hunt(every, replay.Query{Classes: []signal.Class{signal.ClassAPIActivity}}); !slices.Equal(got, []uint64{777}) || stats.Files != 1 {
		t.Errorf("by class: %v, stats %+v", got, stats)
	}

	vendor := &condition{match: func(e *signal.Event) bool {
		v, _ := e.Unmapped("vendor")
		return v == "special"
	}}
	if got, _ = hunt(vendor, replay.Query{Limit: 1000}); len(got) != 35 || got[0] != 3500 || got[34] != 100 {
		t.Errorf("by an unmapped attribute: %v", got)
	}

	query := &condition{fields: []signal.Field{signal.FieldHTTPRequestURLQueryString}, match: func(e *signal.Event) bool {
		return strings.Contains(e.Str(signal.FieldHTTPRequestURLQueryString), "tent")
	}}
	if got, stats = hunt(query, replay.Query{}); len(got) != 0 || len(stats.Inexact) != 1 || !strings.Contains(stats.Inexact[0], "http_request.url.query_string was masked") {
		t.Errorf("a condition on a masked field: %v, %q", got, stats.Inexact)
	}

	faulty := &condition{match: every.match, fault: errors.New("division by zero")}
	if got, stats = hunt(faulty, replay.Query{}); len(got) != 0 || stats.Faults != 3500 {
		t.Errorf("a faulty condition: %v, stats %+v", got, stats)
	}
	header := &condition{match: func(e *signal.Event) bool { return e.Plane == signal.PlaneEdge && e.Seq == 42 && e.Activity == 3 }}
	if got, _ = hunt(header, replay.Query{}); !slices.Equal(got, []uint64{42}) {
		t.Errorf("by the header: %v", got)
	}

	stopped := 0
	if _, err := replay.Hunt(t.Context(), n, every, replay.Query{}, func(*signal.Event) bool { stopped++; return false }); err != nil || stopped != 1 {
		t.Errorf("stopped after %d events, error %v", stopped, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := replay.Hunt(ctx, n, every, replay.Query{}, func(*signal.Event) bool { return true }); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled hunt: %v", err)
	}
}

// fakeHistory returns what a scan may say.
type fakeHistory struct{ stats store.ScanStats }

func (h *fakeHistory) Scan(context.Context, store.Query, func(*signal.Event) bool) (store.ScanStats, error) {
	return h.stats, nil
}

func TestInexact(t *testing.T) {
	h := &fakeHistory{store.ScanStats{
		Damaged:  []string{"a.parquet"},
		Unsynced: errors.New("the bus is full"),
		Gaps:     []store.Gap{{Plane: signal.PlaneEdge, Count: 7, FirstTime: 0, LastTime: int64(time.Second)}, {}},
	}}
	c := &condition{match: func(*signal.Event) bool { return false }}
	stats, err := replay.Hunt(t.Context(), h, c, replay.Query{}, nil)
	want := []string{
		"the latest events may be missing: the bus is full",
		"7 events of the edge plane between 1970-01-01 00:00:00.000 and 1970-01-01 00:00:01.000 were judged and not recorded",
		"an unknown number of events between 1970-01-01 00:00:00.000 and 1970-01-01 00:00:00.000 were judged and not recorded",
		"1 lake files could not be read: a.parquet",
	}
	if diff := cmp.Diff(want, stats.Inexact); diff != "" || err != nil {
		t.Errorf("error %v (-want +got):\n%s", err, diff)
	}
	now := time.Now()
	for _, q := range []replay.Query{{Limit: -1}, {Limit: replay.MaxLimit + 1}, {Since: now, Until: now}} {
		if _, err := replay.Hunt(t.Context(), h, c, q, nil); err == nil {
			t.Errorf("%+v was accepted", q)
		}
	}
}

func TestParseSince(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 30, 0, 0, time.UTC)
	for in, want := range map[string]string{
		"":                          "0001-01-01T00:00:00Z",
		"90s":                       "2026-11-22T10:28:30Z",
		"1h":                        "2026-11-22T09:30:00Z",
		"7d":                        "2026-11-15T10:30:00Z",
		"1d12h30m":                  "2026-11-20T22:00:00Z",
		"2w":                        "2026-11-08T10:30:00Z",
		"2026-11-01":                "2026-11-01T00:00:00Z",
		"2026-11-22T11:00:00+01:00": "2026-11-22T10:00:00Z",
	} {
		got, err := replay.ParseSince(in, now)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%q: %s, error %v, want %s", in, got.Format(time.RFC3339), err, want)
		}
	}
	for _, in := range []string{"h", "1", "1x", "-1h", "0s", "1h-", "99999999999w", "9223372036854775807s", "yesterday", "2026-12-01", "2026-13-01", "1.5h"} {
		if got, err := replay.ParseSince(in, now); err == nil {
			t.Errorf("%q: %s, want an error", in, got)
		}
	}
}
