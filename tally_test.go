package testudo

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/signal"
)

var noon = time.Date(2026, 11, 22, 12, 0, 30, 0, time.UTC)

func at(when time.Time, change ...func(*signal.Event)) *signal.Event {
	e := request("/", change...)
	e.Time = when.UnixNano()
	return e
}

func deny() *signal.Verdict {
	return &signal.Verdict{Decision: signal.Deny, Hits: []signal.Hit{{Rule: "r1", Decision: signal.Deny}}}
}

func TestTallyRates(t *testing.T) {
	tally := NewTally()
	for i := range 50 {
		tally.Add(at(noon.Add(-time.Duration(i%10+1)*time.Second)), &signal.Verdict{})
	}
	tally.Add(at(noon), &signal.Verdict{})                           // this second is not over
	tally.Add(at(noon.Add(-20*time.Second)), &signal.Verdict{})      // too long ago
	tally.Add(at(noon.Add(-time.Second)), deny())                    // counts as an event too
	tally.Add(&signal.Event{Time: -1}, &signal.Verdict{})            // of no time
	tally.Add(&signal.Event{Plane: 250, Time: 1}, &signal.Verdict{}) // of no plane
	if got := tally.Rate(noon, signal.PlaneEdge); got != 5.1 {
		t.Errorf("rate %v, want 5.1", got)
	}
	if got := tally.Rate(noon, signal.PlaneScan); got != 0 {
		t.Errorf("rate of another plane %v", got)
	}
	events, denied := tally.Hour(noon, signal.PlaneEdge)
	if events[59] != 53 || denied[59] != 1 || sum(events) != 53 {
		t.Errorf("this minute: %d events, %d denied; the hour: %d", events[59], denied[59], sum(events))
	}
}

func sum(values []uint64) (n uint64) {
	for _, v := range values {
		n += v
	}
	return n
}

// TestTallyRollsOver: a bucket is used again and forgets what it held.
func TestTallyRollsOver(t *testing.T) {
	tally := NewTally()
	begin := noon.Truncate(time.Minute)
	for minute := range 200 {
		for range minute + 1 {
			tally.Add(at(begin.Add(time.Duration(minute)*time.Minute)), &signal.Verdict{})
		}
	}
	end := begin.Add(199 * time.Minute)
	events, _ := tally.Hour(end, signal.PlaneEdge)
	for i, n := range events {
		if want := uint64(200 - 59 + i); n != want {
			t.Fatalf("minute %d holds %d, want %d", i, n, want)
		}
	}
	// What comes late is not counted for a later time.
	tally.Add(at(begin), deny())
	after, denied := tally.Hour(end, signal.PlaneEdge)
	if d := cmp.Diff(events, after); d != "" || sum(denied) != 0 {
		t.Errorf("a late event changed the hour: %s", d)
	}
	if rules, _, _ := tally.Top(end, 5); len(rules) != 0 {
		t.Errorf("a late event is among the most frequent: %v", rules)
	}
}

func TestTallyTop(t *testing.T) {
	tally := NewTally()
	for i := range 3 * maxTopNames {
		e := at(noon, func(e *signal.Event) {
			e.SetIP(signal.FieldSrcEndpointIP, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		})
		tally.Add(e, deny())
	}
	for range 7 {
		tally.Add(at(noon.Add(-20*time.Minute)), deny())
	}
	rules, clients, routes := tally.Top(noon, 3)
	if want := []Frequent{{"r1", 3*maxTopNames + 7}}; cmp.Diff(want, rules) != "" {
		t.Errorf("rules %v, want %v", rules, want)
	}
	if want := (Frequent{"203.0.113.9", 7}); len(clients) != 3 || clients[0] != want || clients[1].Name != "10.0.0.0" {
		t.Errorf("clients %v, want %v first", clients, want)
	}
	if len(routes) != 1 || routes[0].Name != "shop" {
		t.Errorf("routes %v", routes)
	}
	if n := len(tally.top[uint64(noon.UnixNano()/topStep)%topSlices].clients); n != maxTopNames {
		t.Errorf("%d clients are remembered, want %d at most", n, maxTopNames)
	}
	if rules, _, _ := tally.Top(noon.Add(90*time.Minute), 3); len(rules) != 0 {
		t.Errorf("an hour and a half later: %v", rules)
	}
}

func TestTallyConcurrent(t *testing.T) {
	tally := NewTally()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 500 {
				tally.Add(at(noon.Add(time.Duration(i)*time.Second)), deny())
				tally.Hour(noon, signal.PlaneEdge)
				tally.Rate(noon, signal.PlaneEdge)
			}
		})
	}
	wg.Wait()
	if rules, _, _ := tally.Top(noon, 1); len(rules) != 1 || rules[0].Count != 4000 {
		t.Errorf("counted %v, want 4000", rules)
	}
}

func TestSenders(t *testing.T) {
	var s Senders
	send := func(ago time.Duration, from string, action int64, count int64) {
		s.add(at(noon.Add(-ago), func(e *signal.Event) {
			e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr(from))
			e.SetInt(signal.FieldActionID, action)
			if count > 0 {
				e.SetString(signal.FieldEdgeError, "blocklist")
				e.SetInt(signal.FieldCount, count)
			}
		}))
	}
	send(0, "203.0.113.9", 1, 0)
	send(5*time.Minute, "203.0.113.9", 1, 0)
	send(5*time.Minute, "203.0.113.9", 2, 0)
	send(time.Minute, "203.0.113.9", 2, 30)
	send(time.Minute, "203.0.113.77", 1, 0)
	send(20*time.Minute, "203.0.113.9", 1, 0)
	send(3*time.Hour, "203.0.113.9", 1, 0)
	for _, c := range []struct {
		prefix      string
		window      time.Duration
		total, good uint64
	}{
		{"203.0.113.9/32", 10 * time.Minute, 33, 2},
		{"203.0.113.9/32", 30 * time.Minute, 34, 3},
		{"203.0.113.9/32", 10 * time.Hour, 34, 3},
		{"203.0.113.0/24", 10 * time.Minute, 34, 3},
		{"198.51.100.0/24", 10 * time.Minute, 0, 0},
	} {
		total, good, err := s.Recent(noon, netip.MustParsePrefix(c.prefix), c.window)
		if total != c.total || good != c.good || err != nil {
			t.Errorf("%s within %v: %d, %d good, %v; want %d, %d good", c.prefix, c.window, total, good, err, c.total, c.good)
		}
	}
	// More senders than are counted are told, where that may matter.
	for i := range maxSenders + 10 {
		send(0, fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), 1, 0)
	}
	if _, _, err := s.Recent(noon, netip.MustParsePrefix("192.0.2.1/32"), time.Minute); err == nil {
		t.Error("what is not counted is told to be nothing")
	}
	if total, _, err := s.Recent(noon, netip.MustParsePrefix("203.0.113.9/32"), time.Minute); err != nil || total == 0 {
		t.Errorf("a sender that is counted: %d, %v", total, err)
	}
}
