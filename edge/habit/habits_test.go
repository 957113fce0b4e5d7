package habit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func search(client uint64, q string, more ...Value) *Observation {
	return &Observation{Time: noon, Route: "shop", Method: "GET", Template: "/search", Query: append([]Value{{"q", q}, {"page", "1"}}, more...), Client: client}
}

// ordinary are requests of 40 clients who look for things in a shop.
func ordinary(n int) []*Observation {
	words := []string{"lamp", "red lamp", "desk", "table for two", "chairs", "sofa, blue", "a shelf", "shoe rack 40"}
	var all []*Observation
	for i := range n {
		all = append(all, search(uint64(i%40+1), words[i%len(words)]))
	}
	return all
}

func learned(t *testing.T, all []*Observation) *Habits {
	t.Helper()
	h := New(Config{})
	for _, o := range all {
		h.Learn(o)
	}
	h.Refresh(noon)
	return h
}

func texts(notices []Notice) []string {
	var all []string
	for _, n := range notices {
		all = append(all, n.String())
	}
	return all
}

func TestUnusual(t *testing.T) {
	h := learned(t, ordinary(800))
	for _, tt := range []struct {
		name string
		o    *Observation
		want []string
	}{
		{"as others", search(1, "blue desk"), nil},
		{"a newcomer as others", search(4711, "white sofa"), nil},
		{"attack", search(4711, "<img src=x onerror='y'>"), []string{`query q: it has ', <, = and >, which others do not have`}},
		{"long", search(4711, strings.Repeat("lamp ", 800)), []string{"query q: 4000 characters, others have at most 1"}},
		{"a word for a number", search(4711, "lamp", Value{"page", "x"}), []string{"query page: a word, others send a whole number; it has small letters, which others do not have; there more than once, others send it once"}},
		{"unknown", search(4711, "lamp", Value{"debug", "1"}), []string{"query debug: others send no such parameter"}},
		{"missing", &Observation{Time: noon, Route: "shop", Method: "GET", Template: "/search", Query: []Value{{"q", "lamp"}}, Client: 9}, []string{"query page: missing, others always send it"}},
		{"a name that may be a value", search(4711, "lamp", Value{"<script>", "1"}), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			notices, known := h.Unusual(tt.o)
			if !known {
				t.Fatal("nothing is known")
			}
			got := strings.Join(texts(notices), "\n")
			if len(tt.want) == 0 && got != "" {
				t.Errorf("got %s", got)
			}
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("got %q, want %q in it", got, w)
				}
			}
		})
	}
	if _, known := h.Unusual(&Observation{Route: "shop", Method: "GET", Template: "/other"}); known {
		t.Error("an endpoint that nobody asked for is known")
	}
}

func TestBodies(t *testing.T) {
	h := New(Config{})
	order := func(client uint64, body string) *Observation {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		return &Observation{Time: noon, Route: "shop", Method: "POST", Template: "/orders", Body: v, Client: client}
	}
	for i := range 400 {
		h.Learn(order(uint64(i%40+1), fmt.Sprintf(`{"items":[{"id":%d,"note":"two of them"},{"id":7}],"mail":"a%d@example.org","gift":null}`, i, i)))
	}
	h.Refresh(noon)
	notices, _ := h.Unusual(order(99, `{"items":[{"id":{"$ne":1}}],"mail":"x","gift":null,"admin":true}`))
	want := []string{
		"body /admin: others send no such parameter",
		"body /items/*/id: an object or a list, others send a whole number",
		"body /items/*/id/$ne: others send no such parameter",
		"body /items/*/note: missing, others always send it",
		"body /mail: a word, others send an e-mail address",
	}
	if diff := cmp.Diff(want, texts(notices)); diff != "" {
		t.Error(diff)
	}
}

func TestOneClientShiftsNothing(t *testing.T) {
	attack := search(666, "' OR 1=1 --<script>"+strings.Repeat("A", 3000), Value{"debug", "1"})
	h := learned(t, ordinary(800))
	want, _ := h.Unusual(attack)
	for range 100_000 {
		h.Learn(attack)
	}
	h.Refresh(noon)
	got, known := h.Unusual(attack)
	if diff := cmp.Diff(want, got); diff != "" || !known {
		t.Errorf("one client made its attack normal: %s", diff)
	}
	for _, client := range []uint64{1, 2, 3, 1000} {
		other := *attack
		other.Client = client
		if got, _ := h.Unusual(&other); len(got) < 2 {
			t.Errorf("client %d: one client made an attack normal for others: %v", client, got)
		}
	}
	if got, _ := h.Unusual(search(77, "desk")); got != nil {
		t.Errorf("what was normal is not any more: %v", texts(got))
	}
	if s := h.Shifts(); s != nil {
		t.Errorf("shifts: %v", s)
	}
}

func TestFewAmongManyAreNotNormal(t *testing.T) {
	all := ordinary(40_000)
	for i := range uint64(16) { // of every slot, one request in more than two hundred
		all = append(all, search(i*977+5000, "<b>"))
	}
	h := learned(t, all)
	if got, _ := h.Unusual(search(99_999, "<b>")); len(got) != 1 || !strings.Contains(got[0].Text, "<") {
		t.Errorf("got %v", texts(got))
	}
}

func TestSlowDriftIsTold(t *testing.T) {
	h := learned(t, ordinary(4000))
	for step := range 40 {
		for i := range 2000 {
			h.Learn(search(uint64(i%40+1), strings.Repeat("lamp ", 3+step)))
		}
		h.Refresh(noon.Add(time.Duration(step+1) * 24 * time.Hour))
	}
	shifts := h.Shifts()
	if len(shifts) < 2 || shifts[len(shifts)-1].Name != "q" || !strings.Contains(shifts[len(shifts)-1].Text, "up to") {
		t.Fatalf("a norm that grew ten times as long step by step: %+v", shifts)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	all := ordinary(2000)
	all = append(all, search(5, "über"), search(6, "a\"b"), search(7, "a\"b", Value{"sort", "name"}))
	var first []byte
	for seed := range uint64(5) {
		rand.New(rand.NewPCG(seed, 1)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		h := learned(t, all)
		b, err := h.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		} else if !bytes.Equal(first, b) {
			t.Fatalf("order %d gives another norm", seed)
		}
	}
}

func TestSnapshotRestores(t *testing.T) {
	h := learned(t, ordinary(8000))
	b, err := h.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"lamp", "desk", "sofa"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("the snapshot holds a value: %s", secret)
		}
	}
	again := New(Config{})
	if err := again.Restore(b, noon); err != nil {
		t.Fatal(err)
	}
	o := search(4711, "<x>", Value{"debug", "1"})
	want, _ := h.Unusual(o)
	got, known := again.Unusual(o)
	if diff := cmp.Diff(want, got); diff != "" || !known {
		t.Error(diff)
	}
	if c, err := again.Snapshot(); err != nil || !bytes.Equal(b, c) {
		t.Errorf("another snapshot after a restart, %v", err)
	}
	for _, bad := range []string{"", "{", `{"version":9}`} {
		if again.Restore([]byte(bad), noon) == nil {
			t.Errorf("%q was restored", bad)
		}
	}
	if _, known := again.Unusual(o); !known {
		t.Error("what could not be restored took what was there")
	}
}

func TestFloodOfNamesIsBounded(t *testing.T) {
	h := New(Config{Parameters: 512, Each: 64})
	for _, o := range ordinary(800) {
		h.Learn(o)
	}
	for i := range 20_000 {
		h.Learn(&Observation{Time: noon.Add(time.Duration(i) * time.Second), Route: "shop", Method: "GET", Template: fmt.Sprintf("/p%s", name(i/50)), Query: []Value{{name(i), "1"}}, Client: 666})
		h.Learn(search(666, "x", Value{name(i), "1"}))
		if i%1000 == 0 {
			h.Refresh(noon)
		}
	}
	h.Refresh(noon.Add(time.Hour))
	s := h.Stats()
	if s.Parameters > 512 || s.Full == 0 || s.Evicted == 0 {
		t.Errorf("%+v", s)
	}
	if got, known := h.Unusual(search(77, "<x>")); !known || len(got) != 1 {
		t.Errorf("a flood of one client took the norm of others: %v, %v", texts(got), known)
	}
}

func name(i int) string {
	b := []byte("aaaa")
	for j := range b {
		b[j] = byte('a' + i%26)
		i /= 26
	}
	return string(b)
}

func TestForms(t *testing.T) {
	h := New(Config{})
	for v, want := range map[string]trait{"": empty, "17": isInt, "-17": isInt, "1.5": isNumber, "1e9": isNumber, "true": isBool, "2026-03-01": isDate, "2026-03-01T12:00:00Z": isDate,
		"123e4567-e89b-12d3-a456-426614174000": isUUID, "deadbeef01": isHex, "a.b@example.org": isEmail, "https://example.org/?a=b": isURL, "QUJDREVGR0hJSktMTU5PUA==": isBase64,
		"aGVsbG8gd29ybGQgaGVsbG8g0123+/==": isBase64, "lamp": isWord, "größe": isWord, "two words": isText, "1;2": isText, "..": isWord, "-": isWord, "1-2": isWord} {
		if got := h.table.look(v).set & plainValue; got != 1<<want {
			t.Errorf("%q: got %v, want %s", v, namesOf(got), formNames[want])
		}
	}
}

func TestSteps(t *testing.T) {
	for n := range 70_000 {
		s := step(n)
		if s < numLengths-1 && (upTo(s) < n || s > 0 && upTo(s-1) >= n) {
			t.Fatalf("%d characters are of step %d, which goes up to %d, the one before to %d", n, s, upTo(s), upTo(s-1))
		}
	}
}

func TestLanguages(t *testing.T) {
	for text, want := range map[string]language{
		"This is the text that you have to read, and it is not long":    english,
		"Das ist der Text, den ich mit einer Feder auf Papier schreibe": german,
		"Les enfants sont dans la maison et je suis avec eux pour vous": french,
		"Los libros están por la mesa y para el niño con una carta":     spanish,
		"Questo è il libro che ho letto anche per gli amici":            italian,
		"Привет, как дела сегодня":                                      cyrillic,
		"これは日本語の文章です":                                                   japanese,
		"这是一个中文的句子没有别的":                                                 han,
		"red lamp": unknown, "": unknown, "SELECT name FROM users WHERE id": unknown,
	} {
		if got := languageOf(text); got != want {
			t.Errorf("%q: got %q, want %q", text, languageNames[got], languageNames[want])
		}
	}
}

// FuzzHabits: whatever a stranger sends, no value of it is told, and what is said and kept is bounded.
func FuzzHabits(f *testing.F) {
	f.Add("q", "<script>", `{"a":[1,{"b":null}]}`, uint64(7))
	f.Add("\xff", "\xff\xfe", `[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]`, uint64(0))
	f.Add("page", strings.Repeat("9", 5000), `{"a":{"a":{"a":"x"}}}`, uint64(1))
	h := New(Config{})
	for _, o := range ordinary(400) {
		h.Learn(o)
	}
	h.Refresh(noon)
	b, err := h.Snapshot()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name, value, body string, client uint64) {
		o := search(client, value, Value{name, value}, Value{"page", value})
		if json.Unmarshal([]byte(body), &o.Body) != nil {
			o.Body = nil
		}
		h := New(Config{Parameters: 100})
		if err := h.Restore(b, noon); err != nil {
			t.Fatal(err)
		}
		notices, _ := h.Unusual(o)
		if len(notices) > maxNotices {
			t.Fatalf("%d notices", len(notices))
		}
		for _, n := range notices {
			if len(n.Text) > 600 || len(n.Name) > maxPath {
				t.Fatalf("long: %q", n.String())
			}
			if len(value) > 12 && strings.Contains(n.Text, value) {
				t.Fatalf("told a value: %q", n.String())
			}
		}
		h.Learn(o)
		h.Refresh(noon)
		c, err := h.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		if err := New(Config{Parameters: 100}).Restore(c, noon); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkUnusual(b *testing.B) {
	h := New(Config{})
	o := search(1, "a red lamp for the desk", Value{"sort", "price"}, Value{"from", "2026-01-01"}, Value{"id", "123e4567-e89b-12d3-a456-426614174000"})
	for i := range 800 {
		p := *o
		p.Client = uint64(i)
		h.Learn(&p)
	}
	h.Refresh(noon)
	if notices, known := h.Unusual(o); notices != nil || !known {
		b.Fatal(texts(notices), known)
	}
	b.Run("usual", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Unusual(o)
		}
	})
	odd := *o
	odd.Query = slices.Clone(o.Query)
	odd.Query[0].Value = "<script>alert('1')</script>"
	b.Run("unusual", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Unusual(&odd)
		}
	})
	b.Run("learn", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			h.Learn(o)
		}
	})
}

// withBody is a request with a body of JSON, whose list is longer for some clients.
func withBody(i int, body map[string]any) *Observation {
	all := map[string]any{"note": "gift", "qty": 3.0, "to": map[string]any{"zip": "12345"}, "items": make([]any, 2+i%3)}
	for name, v := range body {
		all[name] = v
	}
	return &Observation{Time: noon, Route: "shop", Method: "POST", Template: "/orders", Body: all, Client: uint64(i + 1)}
}

// TestLongAndDeepBodies: nothing is missing that stands behind a long list or beside something deep, nor is it hidden there, whatever the order of an object.
func TestLongAndDeepBodies(t *testing.T) {
	var all []*Observation
	for i := range 800 {
		all = append(all, withBody(i%200, nil))
	}
	h := learned(t, all)
	var deep any = "x"
	for range 40 {
		deep = []any{deep}
	}
	junk := func(o *Observation) *Observation {
		for i := range 200 {
			o.Query = append(o.Query, Value{name(i % 8), "1"})
		}
		return o
	}
	for range 50 { // maps have another order each time
		for what, o := range map[string]*Observation{
			"a long list":         withBody(9999, map[string]any{"items": make([]any, 300)}),
			"an endless one":      withBody(9999, map[string]any{"items": make([]any, 5000)}),
			"something deep":      withBody(9999, map[string]any{"items": deep}),
			"a long query before": junk(withBody(9999, nil)),
		} {
			notices, known := h.Unusual(o)
			if s := strings.Join(texts(notices), "\n"); !known || strings.Contains(s, "missing") {
				t.Fatalf("%s: known %v, %s", what, known, s)
			}
			o.Body.(map[string]any)["note"] = "<script>"
			o.Body.(map[string]any)["to"] = map[string]any{"zip": "<script>"}
			notices, _ = h.Unusual(o)
			s := strings.Join(texts(notices), "\n")
			if !strings.Contains(s, "body /note: ") || what != "an endless one" && !strings.Contains(s, "body /to/zip: ") {
				t.Fatalf("%s hides what stands beside it: %s", what, s)
			}
		}
	}
	cut := withBody(9999, nil)
	delete(cut.Body.(map[string]any), "note")
	if got, _ := h.Unusual(cut); len(got) != 1 || got[0].Text != "missing, others always send it" {
		t.Errorf("%q", texts(got))
	}
	cut.Cut = true
	if got, _ := h.Unusual(cut); got != nil {
		t.Errorf("of a part: %q", texts(got))
	}
}

// TestNamesOfAFewTakeNoRoom: neither one client nor, for longer than until the next Refresh, two of them can keep an endpoint from learning, or from telling of, new parameters.
func TestNamesOfAFewTakeNoRoom(t *testing.T) {
	for what, flood := range map[string]func(h *Habits, round int){
		"one client": func(h *Habits, round int) {
			for i := range 500 {
				h.Learn(search(77_777, "desk", Value{name(500*round + i), "1"}))
			}
		},
		"clients with names of their own": func(h *Habits, round int) {
			for i := range 500 {
				h.Learn(search(uint64(77_777+i), "desk", Value{name(500*round + i), "1"}))
			}
			h.Refresh(noon)
		},
	} {
		t.Run(what, func(t *testing.T) {
			h := learned(t, ordinary(3000))
			for round := range 5 {
				flood(h, round)
				for i := range 400 {
					h.Learn(search(uint64(i%40+1), "desk", Value{"sort", "price"}))
				}
				if s := h.endpoints[endpointKey{"shop", "GET", "/search"}].params[paramKey{InQuery, "sort"}]; s == nil {
					t.Fatalf("round %d: what others send is not learned", round)
				}
			}
			h.Refresh(noon)
			if s := h.Stats(); s.Parameters > 64 || s.Crowded == 0 && s.Full == 0 || s.Crammed != 0 {
				t.Errorf("%+v", s)
			}
			if got, _ := h.Unusual(search(500, "desk", Value{"sort", "price"}, Value{"debug", "1"})); len(got) != 1 || got[0].String() != "query debug: others send no such parameter" {
				t.Errorf("%q", texts(got))
			}
			b, err := h.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			again := New(Config{})
			if err := again.Restore(b, noon); err != nil {
				t.Fatal(err)
			}
			for key, e := range h.endpoints {
				if diff := cmp.Diff(e.alone, again.endpoints[key].alone); diff != "" {
					t.Errorf("who names what alone is another after a restart: %s", diff)
				}
			}
		})
	}
}
