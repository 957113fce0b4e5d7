package owner

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

func has(all []Violation, code string) bool {
	return slices.ContainsFunc(all, func(v Violation) bool { return v.Code == code })
}

// TestBookmarks holds that what was somebody's days ago still is.
func TestBookmarks(t *testing.T) {
	w := newWorld(21, 300)
	const me = 7
	var items []any
	for i := range 100 {
		items = append(items, map[string]any{"id": float64(900_000 + 10*i)})
	}
	w.do(Access{Method: "GET", Template: "/orders", Subject: me, Response: map[string]any{"items": items}})
	for range 3 {
		w.day(8)
	}
	w.alarms = nil
	for i := range 100 {
		w.openOrder(me, 900_000+10*i, 200)
	}
	if len(w.alarms) > 0 {
		t.Errorf("%+v", w.alarms)
	}
}

// TestShared holds that what many have is nobody's alone.
func TestShared(t *testing.T) {
	w := newWorld(22, 300)
	w.day(10)
	var items []any
	for i := range 40 {
		items = append(items, map[string]any{"id": float64(800_000 + 10*i)})
	}
	for subject := range uint64(3) {
		w.do(Access{Method: "GET", Template: "/orders", Subject: subject + 50, Response: map[string]any{"items": items}})
	}
	w.alarms = nil
	for i := range 40 {
		w.openOrder(99, 800_000+10*i, 200)
	}
	if has(w.alarms, CodeForeign) {
		t.Errorf("%+v", w.alarms)
	}
}

// TestNeverHandedOut holds that an endpoint whose ids come from elsewhere says nothing of foreign objects.
func TestNeverHandedOut(t *testing.T) {
	w := newWorld(23, 300)
	track := func(subject uint64) []Violation {
		return w.do(Access{Method: "GET", Template: "/tracking/{code}", Subject: subject, Objects: []Object{{"code", w.uuid()}}, Response: map[string]any{"state": "sent"}})
	}
	for i := range 3000 {
		w.now = w.now.Add(10 * time.Second)
		track(subjectOf(i % 300))
	}
	w.alarms = nil
	for range 40 {
		track(5)
	}
	if len(w.alarms) > 0 {
		t.Errorf("%+v", w.alarms)
	}
}

// TestDeadLinks holds that some links which lead nowhere, among many that do, are no search.
func TestDeadLinks(t *testing.T) {
	w := newWorld(24, 300)
	w.day(8)
	w.alarms = nil
	for i := range 100 {
		a := Access{Method: "GET", Template: "/products/{id}", Client: 1 << 40, Objects: []Object{{"id", fmt.Sprint(50_000 + 10*i)}}, Response: map[string]any{"id": 1.0}}
		if i%6 == 5 {
			a.Status, a.Response = 404, nil
		}
		w.do(a)
	}
	if has(w.alarms, CodeRefused) {
		t.Errorf("%+v", w.alarms)
	}
}

// TestWarm holds that nothing is said of foreign objects as long as too little is known of who was given what.
func TestWarm(t *testing.T) {
	w := newWorld(25, 300)
	walk := func(subject uint64) bool {
		found := false
		for range 30 {
			found = has(w.openOrder(subject, 10_000+w.r.IntN(2000), 200), CodeForeign) || found
		}
		return found
	}
	for range 3000 {
		w.now = w.now.Add(7 * time.Second)
		w.session(w.r.IntN(300))
	}
	if w.now.Sub(start) >= Default().Warm || walk(5) {
		t.Error("found before it is warm")
	}
	w.day(4)
	if !walk(6) {
		t.Error("not found when it is warm")
	}
}

// TestAlarmsAreNotUsual holds that what was found to be unusual does not become what is usual.
func TestAlarmsAreNotUsual(t *testing.T) {
	e := &endpoint{}
	(&window{endpoint: e, points: 100, told: toldForeign}).close()
	if e.points.all != 0 {
		t.Error("an alarm was learned")
	}
	(&window{endpoint: e, points: 1, walked: 2, denied: 3, bytes: 4, records: 5}).close()
	for i, h := range []*histogram{&e.points, &e.walked, &e.refused, &e.windowBytes, &e.windowRecords} {
		if h.counts[step(uint64(i+1))] != 1 {
			t.Errorf("%d was not learned", i+1)
		}
	}
}

// TestPartial holds that a field is not called unknown where not all fields of the answers are known.
func TestPartial(t *testing.T) {
	for _, fields := range []int{10, 900} {
		tr := New(Config{})
		answer := map[string]any{}
		for i := range fields {
			answer[fmt.Sprint("f", i)] = 1.0
		}
		found := false
		for i := range 600 {
			a := Access{Time: start, Route: "r", Method: "PUT", Template: "/x", Subject: uint64(i%40) + 1, Status: 200, Request: map[string]any{"f1": 1.0}, Response: answer}
			if i == 599 {
				a.Request = map[string]any{"f1": 1.0, "nobody_knows": 1.0}
			}
			found = len(tr.Seen(a)) > 0
		}
		if found != (fields == 10) {
			t.Errorf("%d fields: %v", fields, found)
		}
	}
}
