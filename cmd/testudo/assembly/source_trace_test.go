package assembly

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/kernel/chain"
	"github.com/testudo-sec/testudo/signal"
)

func TestTraceTree(t *testing.T) {
	at := time.Unix(1000, 0)
	event := func(class signal.Class, activity uint8, set func(*signal.Event)) *signal.Event {
		at = at.Add(time.Millisecond)
		e := &signal.Event{ID: signal.NewID(at), Time: at.UnixNano(), Class: class, Activity: activity}
		e.SetString(signal.FieldHTTPRequestUID, "request-1")
		set(e)
		return e
	}
	launch := func(uid string, pid int64, parent string, ppid int64, line string) *signal.Event {
		return event(signal.ClassProcessActivity, signal.ActivityProcessLaunch, func(e *signal.Event) {
			e.SetString(signal.FieldProcessUID, uid)
			e.SetInt(signal.FieldProcessPID, pid)
			e.SetString(signal.FieldProcessParentProcessUID, parent)
			e.SetInt(signal.FieldProcessParentProcessPID, ppid)
			e.SetString(signal.FieldProcessParentProcessName, "shop")
			e.SetString(signal.FieldProcessCmdLine, line)
		})
	}
	all := []*signal.Event{
		event(signal.ClassHTTPActivity, signal.HTTPActivity("GET"), func(e *signal.Event) {
			e.SetString(signal.FieldHTTPRequestHTTPMethod, "GET")
			e.SetString(signal.FieldHTTPRequestURLHostname, "shop.example")
			e.SetString(signal.FieldHTTPRequestURLPath, "/diag/ping")
			e.SetIP(signal.FieldSrcEndpointIP, netip.MustParseAddr("203.0.113.7"))
		}),
		launch("p2", 200, "p1", 100, "sh -c id"),
		launch("p3", 201, "p2", 200, "id"),
		event(signal.ClassFileActivity, 14, func(e *signal.Event) {
			e.SetString(signal.FieldActorProcessUID, "p3")
			e.SetString(signal.FieldFilePath, "/etc/passwd")
		}),
		event(signal.ClassNetworkActivity, 1, func(e *signal.Event) {
			e.SetString(signal.FieldActorProcessUID, "p2")
			e.SetIP(signal.FieldDstEndpointIP, netip.MustParseAddr("198.51.100.9"))
			e.SetInt(signal.FieldDstEndpointPort, 4444)
		}),
	}
	hops := []chain.Hop{
		{Token: 1, How: chain.BySocket, PID: 100, TID: 101, Goroutine: 17, Comm: "shop", Client: netip.MustParseAddrPort("127.0.0.1:40000"),
			Server: netip.MustParseAddrPort("127.0.0.1:8081")},
		{Token: 2, Parent: 1, How: chain.ByHeader, PID: 300, TID: 301, Comm: "stock", Ambiguous: true},
	}
	draw := func(hops []chain.Hop) string {
		var b strings.Builder
		for _, l := range newTracer(all, hops).lines() {
			fmt.Fprintf(&b, "%s%s %s (%s)\n", strings.Repeat("  ", l.Depth), l.Kind, l.Text, l.Joined)
		}
		return b.String()
	}
	want := `request GET shop.example/diag/ping ()
  service shop (socket)
    service stock (header)
    process sh -c id ()
      network open 198.51.100.9:4444 ()
      process id ()
        file open /etc/passwd ()
`
	if diff := cmp.Diff(want, draw(hops)); diff != "" {
		t.Error(diff)
	}
	// After a restart nobody remembers the services.
	want = `request GET shop.example/diag/ping ()
  process shop ()
    process sh -c id ()
      network open 198.51.100.9:4444 ()
      process id ()
        file open /etc/passwd ()
`
	if diff := cmp.Diff(want, draw(nil)); diff != "" {
		t.Error(diff)
	}
}

// TestTraceSaysWhatBecameOfKills: that a kill was ordered is no proof that somebody was killed.
func TestTraceSaysWhatBecameOfKills(t *testing.T) {
	var all []*signal.Event
	for i, outcome := range []string{"killed", "failed", "ended", ""} {
		at := time.Unix(int64(i+1), 0)
		e := &signal.Event{ID: signal.NewID(at), Time: at.UnixNano(), Class: signal.ClassProcessActivity, Activity: signal.ActivityProcessLaunch, Plane: signal.PlaneKernel}
		e.SetString(signal.FieldProcessUID, fmt.Sprint("p", i))
		e.SetString(signal.FieldProcessCmdLine, "sh")
		e.SetString(signal.FieldKernelOutcome, "ordered")
		all = append(all, e)
		if outcome != "" {
			end := &signal.Event{ID: signal.NewID(at.Add(1)), Time: at.UnixNano() + 1, Class: signal.ClassBaseEvent, Plane: signal.PlaneKernel, Parent: e.ID}
			end.SetString(signal.FieldKernelOutcome, outcome)
			all = append(all, end)
		}
	}
	var got []string
	for _, l := range newTracer(all, nil).lines() {
		got = append(got, l.Became())
	}
	if diff := cmp.Diff([]string{"killed", "NOT killed", "had ended before it could be killed", "ordered to be killed"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestTraceCycles: events are of strangers' making, and parents may be said to be their children's children.
func TestTraceCycles(t *testing.T) {
	var all []*signal.Event
	for _, p := range [][2]string{{"a", "b"}, {"b", "a"}, {"c", "c"}} {
		e := &signal.Event{ID: signal.NewID(time.Unix(1, 0)), Class: signal.ClassProcessActivity, Activity: signal.ActivityProcessLaunch}
		e.SetString(signal.FieldProcessUID, p[0])
		e.SetString(signal.FieldProcessParentProcessUID, p[1])
		all = append(all, e)
	}
	if n := len(newTracer(all, nil).lines()); n > 10 {
		t.Errorf("%d lines", n)
	}
}

func TestRequestID(t *testing.T) {
	for id, want := range map[string]bool{"01a203b3-7f4c-7d05-a2a8-86a4d0de7a31": true, "abc": false, `12345678" || true`: false, "": false,
		"12345678\n": false, strings.Repeat("a", 129): false} {
		if requestID(id) != want {
			t.Errorf("%q: %t", id, !want)
		}
	}
}
