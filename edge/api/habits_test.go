package api

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/edge"
	"github.com/testudo-sec/testudo/signal"
)

// visitor has requests come from another network.
func (r *rig) visitor(n int) {
	r.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, byte(n), 7}), 4711)
}

// honest has visitors search, send forms and JSON.
func (r *rig) honest(t testing.TB, visitors, each int) {
	t.Helper()
	words := []string{"lantern", "rope", "tin cup", "blue tent", "boots"}
	for i := range 2 * visitors {
		if i == visitors { // now the endpoints are known
			r.g.refresh()
		}
		i %= visitors
		r.visitor(i)
		for n := range each {
			r.do(t, "GET", fmt.Sprintf("/search?q=%s&page=%d", strings.ReplaceAll(words[(i+n)%5], " ", "+"), n%9), "", "", 200, "Content-Type: text/html", "<p>")
			r.do(t, "POST", "/contact", "Content-Type: application/x-www-form-urlencoded", fmt.Sprintf("name=Jane+%d&age=%d", n, 20+n%50), 303, "", "")
			r.do(t, "POST", "/carts", jsonType, fmt.Sprintf(`{"item": %d, "note": "as a gift", "to": {"zip": "%05d"}}`, n, 10_000+n), 201, jsonType, "{}")
		}
	}
	r.g.refresh()
}

func newHabitsRig(t testing.TB) *rig { return newRig(t, "      leaks: {mode: off}\n", nil) }

func TestHabits(t *testing.T) {
	r := newHabitsRig(t)
	if x := r.do(t, "GET", "/search?q=first", "", "", 200, "", ""); x.Habits || len(x.Unusual) > 0 {
		t.Errorf("of the first request %v, %q are known", x.Habits, x.Unusual)
	}
	r.honest(t, 12, 12)
	r.visitor(100)
	for _, c := range []struct {
		name, method, target, header, body string
		want                               []string // parts of what is said
	}{
		{"as others", "GET", "/search?q=red+boots&page=3", "", "", nil},
		{"an attack", "GET", "/search?page=1&q=%27+union+select+" + strings.Repeat("x", 400), "", "", []string{"query q: ", "characters, others have at most ", "it has '"}},
		{"a parameter that nobody sends", "GET", "/search?q=rope&page=1&debug=1", "", "", []string{"query debug: others send no such parameter"}},
		{"a missing one", "GET", "/search?q=rope", "", "", []string{"query page: missing"}},
		{"a form", "POST", "/contact", "Content-Type: application/x-www-form-urlencoded; charset=utf-8", "name=Jane&age=%3Cscript%3E", []string{"form age: ", "a whole number"}},
		{"JSON", "POST", "/carts", jsonType, `{"item": {"$gt": ""}, "note": "as a gift", "to": {"zip": "20000"}}`, []string{"body /item: an object or a list"}},
		{"JSON without a type", "POST", "/carts", "", `{"item": 1, "note": "as a gift", "to": {"zip": "$(id)"}}`, []string{"body /to/zip: ", "$"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := r.do(t, c.method, c.target, c.header, c.body, 200, "", "")
			all := strings.Join(x.Unusual, "\n")
			if !x.Habits || (len(x.Unusual) > 0) != (len(c.want) > 0) {
				t.Fatalf("known %v: %q", x.Habits, x.Unusual)
			}
			for _, want := range c.want {
				if !strings.Contains(all, want) {
					t.Errorf("%q does not say %q", all, want)
				}
			}
			if strings.Contains(all, "union") || strings.Contains(all, "script") {
				t.Errorf("%q has a value", all)
			}
		})
	}
}

// TestHabitsOfTheClean holds that nothing is learned from what was refused, failed, broke off, or that somebody had something against, nor from one stranger alone.
func TestHabitsOfTheClean(t *testing.T) {
	const odd = "/search?page=1&q=%3Cscript%3E"
	for name, attack := range map[string]func(r *rig, i int){
		"the firewall has something against it": func(r *rig, i int) { r.visitor(100 + i); r.suspect = true; r.do(t, "GET", odd, "", "", 200, "", "") },
		"it failed":                             func(r *rig, i int) { r.visitor(100 + i); r.do(t, "GET", odd, "", "", 500, "", "") },
		"it was refused":                        func(r *rig, i int) { r.visitor(100 + i); r.do(t, "GET", odd, "", "", 403, "", "") },
		"it broke off": func(r *rig, i int) {
			r.visitor(100 + i)
			c := r.begin(t, "GET", odd, "")
			c.Request()
			c.Response(200, http.Header{})
			c.Close(edge.End{Status: 200, Clean: true})
		},
		"a check has something against it": func(r *rig, i int) {
			r.visitor(100 + i)
			r.do(t, "GET", odd, "X-Original-URL: /admin", "", 200, "", "")
		},
		"it is of one stranger": func(r *rig, i int) {
			r.visitor(100)
			for range 20 {
				r.do(t, "GET", odd, "", "", 200, "", "")
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newHabitsRig(t)
			r.honest(t, 12, 12)
			for i := range 100 {
				attack(r, i)
			}
			r.g.refresh()
			r.visitor(250)
			r.suspect = false
			if x := r.do(t, "GET", odd, "", "", 200, "", ""); len(x.Unusual) == 0 {
				t.Error("it is normal now")
			}
		})
	}
}

// TestHabitsAreKept over a restart, without values; that they cannot be saved is told of.
func TestHabitsAreKept(t *testing.T) {
	r := newHabitsRig(t)
	kept := &memory{}
	r.g.stores[1].store = kept
	r.honest(t, 12, 12)
	r.g.save(t.Context())
	if len(kept.b) == 0 || strings.Contains(string(kept.b), "lantern") || strings.Contains(string(kept.b), "Jane") {
		t.Errorf("kept: %.200s", kept.b)
	}
	again := newHabitsRig(t)
	again.g.stores[1].store = kept
	if err := again.g.habits.Restore(kept.b, again.now); err != nil {
		t.Fatal(err)
	}
	again.g.inventory = r.g.inventory
	again.visitor(100)
	if x := again.do(t, "GET", "/search?page=1&q=%3Cb%3E", "", "", 200, "", ""); len(x.Unusual) == 0 {
		t.Error("nothing is known after a restart")
	}
	kept.fail = true
	again.g.save(t.Context())
	if s := again.g.Status(); !strings.Contains(s.Unsaved, "parameters: the disk is full") {
		t.Errorf("status %q", s.Unsaved)
	}
}

// TestHabitsInEvents holds that an event says how its request differs, and no more than that.
func TestHabitsInEvents(t *testing.T) {
	r := newHabitsRig(t)
	r.honest(t, 12, 12)
	s := r.serve(t, func(w http.ResponseWriter, _ *http.Request) {})
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a secret ", 20)))
	s.do(t, "GET", "/search?page=1&q="+secret, "", "")
	e := s.sink.wait(t, "of the request", func(e *signal.Event) bool { return e.Has(signal.FieldHabitUnusual) })
	if all := e.Strings(signal.FieldHabitUnusual); len(all) != 1 || !strings.Contains(all[0], "characters, others have at most") || !e.Bool(signal.FieldHabitKnown) {
		t.Errorf("%q", all)
	}
	if strings.Contains(s.sink.all(), secret[:20]) {
		t.Error("a value was recorded")
	}
}

// TestHabitsFlood: names, depths and sizes that strangers make up take bounded memory, and what is known stays.
func TestHabitsFlood(t *testing.T) {
	r := newHabitsRig(t)
	r.honest(t, 12, 12)
	for i := range 300 {
		r.visitor(i % 200)
		r.do(t, "GET", fmt.Sprintf("/search?q=rope&page=1&a%d=1&b%d=%%00%%ff", i, i), "", "", 200, "", "")
		r.do(t, "POST", "/carts", jsonType, strings.Repeat(fmt.Sprintf(`{"k%d":[`, i), 40)+"1"+strings.Repeat("]}", 40), 200, jsonType, "{}")
		r.do(t, "POST", "/contact", "Content-Type: application/x-www-form-urlencoded", strings.Repeat(fmt.Sprintf("x%d=1&", i), 2000), 200, "", "")
	}
	r.g.refresh()
	if st := r.g.habits.Stats(); st.Full == 0 || st.Parameters > 4*64 {
		t.Errorf("%+v", st)
	}
	r.visitor(240)
	if x := r.do(t, "GET", "/search?page=1&q=%3Cb%3E", "", "", 200, "", ""); !slices.ContainsFunc(x.Unusual, func(s string) bool { return strings.HasPrefix(s, "query q: ") }) {
		t.Errorf("unusual: %q", x.Unusual)
	}
}

// TestHabitsOfAPart: of a query, a form or a body that is not looked at to its end nothing is missing, and nothing is learned.
func TestHabitsOfAPart(t *testing.T) {
	r := newRig(t, "      leaks: {mode: off}\n      bodies: 4096\n", nil)
	r.honest(t, 12, 12)
	r.visitor(100)
	const form = "Content-Type: application/x-www-form-urlencoded"
	for name, x := range map[string]func() *exchanged{
		"a query of many": func() *exchanged {
			return r.do(t, "GET", "/search?"+strings.Repeat("q=rope&", 200)+"page=1", "", "", 200, "", "")
		},
		"a form of many": func() *exchanged {
			return r.do(t, "POST", "/contact", form, strings.Repeat("name=Jane&", 200)+"age=30", 303, "", "")
		},
		"a long form": func() *exchanged {
			return r.do(t, "POST", "/contact", form, "name="+strings.Repeat("J", 5000)+"&age=30", 303, "", "")
		},
		"a long body": func() *exchanged {
			return r.do(t, "POST", "/carts", jsonType, `{"item": 1, "note": "`+strings.Repeat("J", 5000)+`", "to": {"zip": "10000"}}`, 201, jsonType, "{}")
		},
	} {
		before := r.g.habits.Stats().Learned
		if all := strings.Join(x().Unusual, "\n"); strings.Contains(all, "missing") {
			t.Errorf("%s: %s", name, all)
		}
		if r.g.habits.Stats().Learned != before {
			t.Errorf("%s: it was learned", name)
		}
	}
}

func BenchmarkHabits(b *testing.B) {
	r := newHabitsRig(b)
	r.honest(b, 12, 12)
	r.visitor(100)
	c := r.begin(b, "GET", "/search?q=red+boots&page=3", "").(*check)
	c.Request()
	b.Run("unusual", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.found.Unusual = nil
			c.tellUnusual()
		}
	})
	b.Run("learn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c.learnHabits(edge.End{Status: 200, Whole: true, Clean: true})
		}
	})
}
