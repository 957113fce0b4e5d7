package jsonflat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

type pair struct{ Name, Value string }

func flatten(f *Flattener, record string) ([]pair, error) {
	items, err := f.Flatten([]byte(record))
	var got []pair
	for _, it := range items {
		got = append(got, pair{f.Name(it.ID), it.Value})
	}
	return got, err
}

func TestFlatten(t *testing.T) {
	for _, c := range []struct {
		name, record string
		want         []pair
	}{
		{"nothing", `{}`, nil},
		{"kinds", ` {"s":"x","n":-1.50e3,"t":true,"f":false,"z":null,"e":""} `, []pair{{"s", "x"}, {"n", "-1.50e3"}, {"t", "true"}, {"f", "false"}, {"e", ""}}},
		{"nested", `{"a":{"b":{"c":1},"d":2},"e":3}`, []pair{{"a.b.c", "1"}, {"a.d", "2"}, {"e", "3"}}},
		{"arrays", `{"a":[1,"x",{"b":true},[2,3],{}]}`, []pair{{"a[0]", "1"}, {"a[1]", "x"}, {"a[2].b", "true"}, {"a[3][0]", "2"}, {"a[3][1]", "3"}}},
		{"escapes", `{"p":"C:\\Windows\\System32\\cmd.exe","q":"\"\/\b\f\n\r\t","u":"\u00e9\ud83d\ude00\ud83dx"}`,
			[]pair{{"p", `C:\Windows\System32\cmd.exe`}, {"q", "\"/\b\f\n\r\t"}, {"u", "é😀\ufffdx"}}},
		{"keys with escapes", `{"a\"b":1,"a\\b":2,"\u0061":3}`, []pair{{`a"b`, "1"}, {`a\b`, "2"}, {"a", "3"}}},
		{"the last of a name counts", `{"a":1,"b":2,"a":3}`, []pair{{"a", "3"}, {"b", "2"}}},
		{"a null takes the value back", `{"a":1,"b":2,"a":null}`, []pair{{"b", "2"}}},
		{"one name spelt two ways", `{"a.b":1,"a":{"b":2}}`, []pair{{"a.b", "2"}}},
		{"empty key", `{"":1,"a":{"":2}}`, []pair{{"", "1"}, {"a.", "2"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f Flattener
			for range 3 { // the second time by what was learnt
				got, err := flatten(&f, c.record)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(c.want, got); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct{ record, want string }{
		{``, "not a JSON object"},
		{`[1]`, "not a JSON object"},
		{`{`, "byte 1: a key in quotes is wanted"},
		{`{"a"}`, "byte 4: a colon is wanted"},
		{`{"a":}`, "byte 5: a value is wanted"},
		{`{"a":01}`, "byte 6: a comma or the end of the object is wanted"},
		{`{"a":1.}`, "byte 5: a digit is wanted behind the point"},
		{`{"a":1e}`, "byte 5: a digit is wanted in the exponent"},
		{`{"a":nul}`, "byte 5: a value is wanted"},
		{`{"a":1`, "byte 6: the object is not closed"},
		{`{"a":[1`, "byte 7: the array is not closed"},
		{`{"a":[1}`, "byte 7: a comma or the end of the array is wanted"},
		{`{"a":"x`, "byte 7: the string is not closed"},
		{`{"a":"\x"}`, "byte 6: the string has an escape that JSON does not know"},
		{`{"a":"\u12"}`, "byte 6: the string has an escape that JSON does not know"},
		{"{\"a\":\"\n\"}", "byte 6: the string has a control character"},
		{`{"a":1} x`, "byte 8: text behind the object"},
		{`{"a":1,}`, "byte 7: a key in quotes is wanted"},
	} {
		var f Flattener
		_, err := f.Flatten([]byte(c.record))
		if err == nil || err.Error() != c.want {
			t.Errorf("%s: %v, want %s", c.record, err, c.want)
		}
	}
}

func TestTextOfObjects(t *testing.T) {
	f := Flattener{KeepText: func(attr string) bool { return attr == "a" || attr == "b.c" }}
	got, err := flatten(&f, `{"a": {"x": 1}, "b":{"c":[1, 2]},"d":{}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []pair{{"a.x", "1"}, {"a", `{"x": 1}`}, {"b.c[0]", "1"}, {"b.c[1]", "2"}, {"b.c", "[1, 2]"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestBounds(t *testing.T) {
	t.Run("depth", func(t *testing.T) {
		var f Flattener
		record := `{"z":1,"a":` + strings.Repeat(`{"a":`, 40) + `[1]` + strings.Repeat("}", 40) + `,"b":2}`
		got, err := flatten(&f, record)
		if err != nil || len(got) != 3 {
			t.Fatal(len(got), err)
		}
		if got[1].Name != strings.Repeat("a.", MaxDepth-1)+"a" || !strings.HasPrefix(got[1].Value, `{"a":{"a":`) || !strings.HasSuffix(got[1].Value, "[1]"+strings.Repeat("}", 9)) {
			t.Errorf("%v", got[1])
		}
	})
	t.Run("a million brackets", func(t *testing.T) {
		var f Flattener
		n := 1 << 20
		if _, err := f.Flatten([]byte(`{"a":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)); err != nil {
			t.Error(err)
		}
		if _, err := f.Flatten([]byte(`{"a":` + strings.Repeat("[", n))); err == nil {
			t.Error("no error")
		}
	})
	t.Run("attributes", func(t *testing.T) {
		var f Flattener
		record := `{"a":[` + strings.Repeat("1,", 20000) + `1],"last":1}`
		got, err := flatten(&f, record)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) > MaxItems || f.Dropped() != 20002-len(got) {
			t.Errorf("%d attributes, %d dropped", len(got), f.Dropped())
		}
	})
	t.Run("names", func(t *testing.T) {
		var f Flattener
		got, err := flatten(&f, `{"`+strings.Repeat("x", 5000)+`":1,"b":{"`+strings.Repeat("y", 600)+`":{"c":1}},"d":1}`)
		if err != nil || f.Dropped() != 2 {
			t.Fatalf("%d dropped, %v", f.Dropped(), err)
		}
		if d := cmp.Diff([]pair{{"d", "1"}}, got); d != "" {
			t.Error(d)
		}
	})
	t.Run("names remembered", func(t *testing.T) {
		var f Flattener
		start := f.Generation()
		for i := range 100_000 {
			got, err := flatten(&f, fmt.Sprintf(`{"k%d":%d}`, i, i))
			if err != nil || len(got) != 1 || got[0].Value != strconv.Itoa(i) || got[0].Name != "k"+strconv.Itoa(i) {
				t.Fatal(got, err)
			}
		}
		if f.Names() > maxNodes+maxNew || f.Generation() == start {
			t.Errorf("%d names are remembered", f.Names())
		}
	})
}

// oracle reads a record by encoding/json.
func oracle(record []byte) []pair {
	dec := json.NewDecoder(bytes.NewReader(record))
	dec.UseNumber()
	var order []string
	values := map[string]*string{}
	put := func(name string, v *string) {
		if _, ok := values[name]; !ok {
			order = append(order, name)
		}
		values[name] = v
	}
	var read func(name string, top bool)
	read = func(name string, top bool) {
		tok, _ := dec.Token()
		switch v := tok.(type) {
		case json.Delim:
			for i := 0; dec.More(); i++ {
				if v == '[' {
					read(fmt.Sprintf("%s[%d]", name, i), false)
					continue
				}
				key, _ := dec.Token()
				child := key.(string)
				if !top {
					child = name + "." + child
				}
				read(child, false)
			}
			dec.Token()
		case nil:
			if _, ok := values[name]; ok {
				put(name, nil)
			}
		default:
			s := fmt.Sprint(v)
			put(name, &s)
		}
	}
	read("", true)
	var out []pair
	for _, name := range order {
		if v := values[name]; v != nil {
			out = append(out, pair{name, *v})
		}
	}
	return out
}

func FuzzFlatten(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":{"b":[1,{"c":"\\x\u00e9"}]},"a":2}`, `{"a":"\ud800"}`, "{\"a\":\"\xff\"}", `{"a":1`, `{"":{"":0}}`, `{"a":[[],[0]],"b":null}`,
		`{"a":1}{`, `{"a":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`} {
		f.Add([]byte(s), []byte(`{"a":{"b":1},"c":2}`))
	}
	f.Fuzz(func(t *testing.T, record, before []byte) {
		var fl Flattener
		fl.Flatten(before) // what it learnt must not matter
		got, err := flatten(&fl, string(record))
		var syntax *SyntaxError
		if err != nil && !errors.As(err, &syntax) && !errors.Is(err, ErrNotObject) {
			t.Fatalf("%T", err)
		}
		if bytes.Count(record, []byte("["))+bytes.Count(record, []byte("{")) > MaxDepth {
			return
		}
		valid := json.Valid(record) && bytes.HasPrefix(bytes.TrimLeft(record, " \t\r\n"), []byte("{"))
		if valid != (err == nil) {
			t.Fatalf("encoding/json: valid %v, here: %v", valid, err)
		}
		if !valid || !utf8.Valid(record) || fl.Dropped() > 0 || bytes.Contains(record, []byte(`""`)) {
			return
		}
		if d := cmp.Diff(oracle(record), got); d != "" {
			t.Fatal(d)
		}
	})
}

func record(r *rand.Rand, keys int) []byte {
	doc := map[string]any{}
	for i := range keys {
		doc[fmt.Sprintf("Key%02d", i)] = fmt.Sprintf(`C:\Windows\System32\%d\program.exe -x %d`, r.IntN(100), r.IntN(1e6))
	}
	b, _ := json.Marshal(map[string]any{"winlog": map[string]any{"event_data": doc, "event_id": 1}, "@timestamp": "2026-01-01T00:00:00Z"})
	return b
}

func BenchmarkFlatten(b *testing.B) {
	rec := record(rand.New(rand.NewPCG(1, 2)), 22)
	var f Flattener
	b.SetBytes(int64(len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Flatten(rec); err != nil {
			b.Fatal(err)
		}
	}
}
