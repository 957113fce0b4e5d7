package owner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/testudo-sec/testudo/internal/require"
)

var start = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

// world is a shop with users who have orders and invoices, and what they do in a day.
type world struct {
	r       *rand.Rand
	t       *Tracker
	now     time.Time
	orders  [][]int    // of each user
	papers  [][]string // invoices, by UUID
	alarms  []Violation
	seen    int
	product int // how many
}

func newWorld(seed uint64, users int) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 1)), t: New(Config{}), now: start, product: 3000}
	next := 10_000
	w.orders, w.papers = make([][]int, users), make([][]string, users)
	// Orders of all users are made in turn, so that the ids beside one's own are other people's.
	for range 12 {
		for u := range users {
			if w.r.IntN(3) > 0 {
				w.orders[u] = append(w.orders[u], next)
				next++
				w.papers[u] = append(w.papers[u], w.uuid())
			}
		}
	}
	return w
}

func (w *world) uuid() string {
	return fmt.Sprintf("%08x-%04x-4%03x-8%03x-%012x", w.r.Uint32(), w.r.IntN(1<<16), w.r.IntN(1<<12), w.r.IntN(1<<12), w.r.Uint64()>>16)
}

func (w *world) do(a Access) []Violation {
	a.Time, a.Route = w.now, "shop"
	if a.Status == 0 {
		a.Status = 200
	}
	if a.Bytes == 0 {
		a.Bytes = 400
	}
	a.Credentials = a.Credentials || a.Subject != 0
	w.seen++
	v := w.t.Seen(a)
	w.alarms = append(w.alarms, v...)
	return v
}

func (w *world) openOrder(subject uint64, id, status int) []Violation {
	a := Access{Method: "GET", Template: "/orders/{id}", Subject: subject, Objects: []Object{{"id", fmt.Sprint(id)}}, Status: status}
	if status == 200 {
		a.Response = map[string]any{"id": float64(id), "state": "sent", "role": "buyer", "total": 12.5, "lines": []any{map[string]any{"product_id": 1.0, "count": 2.0}}}
	}
	return w.do(a)
}

func (w *world) openPaper(subject uint64, id string) []Violation {
	return w.do(Access{Method: "GET", Template: "/invoices/{id}", Subject: subject, Objects: []Object{{"id", id}}, Response: map[string]any{"id": id, "total": 1.5}})
}

func (w *world) list(u, page int) []Violation {
	var items []any
	for _, id := range w.orders[u] {
		items = append(items, map[string]any{"id": float64(id), "state": "sent"})
	}
	return w.do(Access{Method: "GET", Template: "/orders", Subject: subjectOf(u), Response: map[string]any{"items": items, "page": float64(page)}, Bytes: int64(100 + 60*len(items))})
}

func (w *world) listPapers(u int) {
	var items []any
	for _, id := range w.papers[u] {
		items = append(items, map[string]any{"invoice": id})
	}
	w.do(Access{Method: "GET", Template: "/invoices", Subject: subjectOf(u), Response: items, Bytes: int64(100 + 60*len(items))})
}

func subjectOf(u int) uint64 { return uint64(u) + 1000 }

// help is what the people of the support do: they search for orders of others, and open them.
func (w *world) help(me uint64) {
	for range 1 + w.r.IntN(3) {
		var items []any
		var ids []int
		for range 1 + w.r.IntN(10) {
			if all := w.orders[w.r.IntN(len(w.orders))]; len(all) > 0 {
				ids = append(ids, all[w.r.IntN(len(all))])
				items = append(items, map[string]any{"order_id": float64(ids[len(ids)-1])})
			}
		}
		w.do(Access{Method: "GET", Template: "/search", Subject: me, Response: map[string]any{"hits": items}, Bytes: int64(50 * len(items))})
		for _, id := range ids {
			w.openOrder(me, id, 200)
		}
	}
}

// session is what a user does at once: by lists, by a bookmark, from a mail, among products.
func (w *world) session(u int) {
	me := subjectOf(u)
	mine, papers := w.orders[u], w.papers[u]
	if u < 5 {
		w.help(me)
	}
	switch kind := w.r.IntN(10); {
	case kind < 6: // by the list
		w.list(u, 1)
		for range w.r.IntN(5) {
			if len(mine) > 0 {
				w.openOrder(me, mine[w.r.IntN(len(mine))], 200)
			}
		}
	case kind < 7: // bookmarks, or a script that knows its ids
		for _, id := range mine[:min(len(mine), 1+w.r.IntN(8))] {
			w.openOrder(me, id, 200)
		}
	case kind < 9:
		w.listPapers(u)
		for range w.r.IntN(4) {
			if len(papers) > 0 {
				w.openPaper(me, papers[w.r.IntN(len(papers))])
			}
		}
	default: // from a mail
		if len(papers) > 0 {
			w.openPaper(me, papers[len(papers)-1])
		}
	}
	if w.r.IntN(40) == 0 && len(mine) > 0 { // a slip
		w.openOrder(me, mine[0]*10+w.r.IntN(9), 404)
	}
	if w.r.IntN(30) == 0 { // a link of somebody else, who is not allowed to give it
		other := w.r.IntN(len(w.orders))
		if len(w.orders[other]) > 0 {
			w.openOrder(me, w.orders[other][0], 403)
		}
	}
	if w.r.IntN(3) == 0 { // a change
		body := map[string]any{"note": "x", "address": map[string]any{"street": "y", "city": "z"}}
		if w.r.IntN(5) == 0 {
			body["gift"] = true
		}
		if len(mine) > 0 {
			w.do(Access{Method: "PATCH", Template: "/orders/{id}", Subject: me, Objects: []Object{{"id", fmt.Sprint(mine[0])}}, Request: body,
				Response: map[string]any{"id": float64(mine[0]), "note": "x"}})
		}
	}
	// Products are everybody's. Popular ones come more often, and some come from a search engine.
	for range w.r.IntN(12) {
		id := int(float64(w.product) * w.r.Float64() * w.r.Float64())
		a := Access{Method: "GET", Template: "/products/{id}", Objects: []Object{{"id", fmt.Sprint(id)}}, Response: map[string]any{"id": float64(id)}}
		if w.r.IntN(2) == 0 {
			a.Subject = me
		} else {
			a.Client = uint64(u / 25) // many behind one address
		}
		if w.r.IntN(50) == 0 {
			a.Status, a.Response = 404, nil
		}
		w.do(a)
	}
}

// day lets all users do something, as many times as that, in the course of a day.
func (w *world) day(sessions int) {
	users := len(w.orders)
	total := users * sessions
	for range total {
		w.now = w.now.Add(24 * time.Hour / time.Duration(total))
		u := w.r.IntN(users)
		if w.r.IntN(3) == 0 {
			u = w.r.IntN(users/20 + 1) // some come far more often
		}
		w.session(u)
	}
}

// TestNormalUsers is the bar against noise: a day of a thousand users who do nothing wrong.
func TestNormalUsers(t *testing.T) {
	seeds := uint64(4)
	if require.Race {
		seeds = 1
	}
	for seed := range seeds {
		w := newWorld(seed, 1000)
		w.day(8)
		w.day(8)
		t.Logf("%d accesses, %d alarms; %+v", w.seen, len(w.alarms), w.t.Stats())
		for _, v := range w.alarms {
			t.Errorf("seed %d: %+v", seed, v)
		}
	}
}

// TestAttackers says after how many requests each kind of attacker is found.
func TestAttackers(t *testing.T) {
	w := newWorld(7, 1000)
	w.day(8)
	before := len(w.alarms)
	const attacker = 99
	codes := func(v []Violation) (s []string) {
		for _, x := range v {
			s = append(s, x.Code)
		}
		return s
	}
	for _, c := range []struct {
		name   string
		within int
		codes  []string
		step   func(subject uint64, i int) []Violation
	}{
		{"ids one after the other, all answered", 20, []string{CodeForeign, CodeSequence}, func(s uint64, i int) []Violation { return w.openOrder(s, 10_500+i, 200) }},
		{"ids of others at random", 20, []string{CodeForeign}, func(s uint64, i int) []Violation { return w.openOrder(s, 10_000+w.r.IntN(7000), 200) }},
		{"a slow one, three a minute", 20, []string{CodeForeign}, func(s uint64, i int) []Violation {
			w.now = w.now.Add(20 * time.Second)
			return w.openOrder(s, 10_000+w.r.IntN(7000), 200)
		}},
		{"random ids, most of them not there", 40, []string{CodeRefused}, func(s uint64, i int) []Violation {
			if i%10 == 0 {
				return w.openOrder(s, 10_000+w.r.IntN(7000), 200)
			}
			return w.openOrder(s, w.r.IntN(1<<30), 404)
		}},
		{"one after the other, refused", 40, []string{CodeSequence, CodeRefused}, func(s uint64, i int) []Violation { return w.openOrder(s, 12_000-i, 403) }},
		{"leaked UUIDs", 20, []string{CodeForeign}, func(s uint64, i int) []Violation {
			for {
				if p := w.papers[w.r.IntN(1000)]; len(p) > 0 {
					return w.openPaper(s, p[0])
				}
			}
		}},
		{"UUIDs that nobody has seen", 40, []string{CodeForeign}, func(s uint64, i int) []Violation { return w.openPaper(s, w.uuid()) }},
		{"a walk over public things", 150, []string{CodeSequence, CodeWalk}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "GET", Template: "/products/{id}", Client: s, Objects: []Object{{"id", fmt.Sprint(i)}}, Response: map[string]any{"id": float64(i)}})
		}},
		{"no credentials", 1, []string{CodeBare}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "GET", Template: "/orders/{id}", Client: s, Objects: []Object{{"id", "10001"}}, Response: map[string]any{"id": 10001.0}})
		}},
		{"a privileged field", 1, []string{CodePrivate}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "PATCH", Template: "/orders/{id}", Subject: s, Objects: []Object{{"id", fmt.Sprint(w.orders[1][0])}},
				Request: map[string]any{"note": "x", "owner": map[string]any{"isAdmin": true}}})
		}},
		{"a field that answers have, but users do not send", 1, []string{CodePrivate}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "PATCH", Template: "/orders/{id}", Subject: s, Objects: []Object{{"id", fmt.Sprint(w.orders[1][0])}}, Request: map[string]any{"role": "x"}})
		}},
		{"an unknown field", 1, []string{CodeUnknown}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "PATCH", Template: "/orders/{id}", Subject: s, Objects: []Object{{"id", fmt.Sprint(w.orders[1][0])}}, Request: map[string]any{"shippedFrom": "x"}})
		}},
		{"all records in one answer", 1, []string{CodeRecords, CodeBytes}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "GET", Template: "/orders", Subject: s, Response: map[string]any{"items": make([]any, 5000)}, Bytes: 600_000})
		}},
		{"all records in pages", 400, []string{CodeRecords}, func(s uint64, i int) []Violation {
			return w.do(Access{Method: "GET", Template: "/orders", Subject: s, Response: map[string]any{"items": make([]any, 20)}, Bytes: 1500})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			subject := attacker + uint64(len(c.name))*7919
			for i := range c.within {
				v := c.step(subject, i)
				for _, code := range codes(v) {
					if slices.Contains(c.codes, code) {
						t.Logf("found at request %d: %+v", i+1, v)
						return
					}
				}
			}
			t.Errorf("not found in %d requests", c.within)
		})
	}
	for _, v := range w.alarms[:before] {
		t.Errorf("before any attack: %+v", v)
	}
	// Those who did nothing are not found, after all that.
	n := len(w.alarms)
	w.day(4)
	for _, v := range w.alarms[n:] {
		t.Errorf("after the attacks: %+v", v)
	}
}
