package engine

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// byGJSON flattens level by level, as Coraza does.
func byGJSON(f *flattener, j gjson.Result, base, depth int) (truncated bool, err error) {
	if f.values >= f.limit {
		return true, nil
	}
	if depth <= 0 {
		return false, errTooDeep
	}
	items := 0
	j.ForEach(func(key, value gjson.Result) bool {
		if f.values >= f.limit {
			truncated = true
			return false
		}
		f.name = append(f.name[:base], '.')
		if key.Type == gjson.String {
			f.name = append(f.name, key.Str...)
		} else {
			f.name = strconv.AppendInt(f.name, int64(key.Num), 10)
			items++
		}
		if value.Type == gjson.JSON {
			var cut bool
			cut, err = byGJSON(f, value, len(f.name), depth-1)
			truncated = truncated || cut
			return err == nil
		}
		if !f.value(value) {
			err = errTooLong
		}
		return err == nil
	})
	if items > 0 && !truncated && err == nil {
		return f.length(base, items)
	}
	return truncated, err
}

// sameJSON holds that a text flattens to the same in one pass.
func sameJSON(t *testing.T, text string, room, limit, depth int) {
	t.Helper()
	flatten := func(run func(f *flattener) (bool, error)) string {
		var b strings.Builder
		f := &flattener{text: text, room: room, limit: limit, name: []byte("json")}
		f.add = func(name []byte, value string) {
			b.WriteString(strconv.Quote(string(name)) + "=" + strconv.Quote(value) + "\n")
		}
		truncated, err := run(f)
		b.WriteString(strconv.FormatBool(truncated))
		if err != nil {
			b.WriteString(err.Error())
		}
		return b.String()
	}
	want := flatten(func(f *flattener) (bool, error) { return byGJSON(f, gjson.Parse(text), len(f.name), depth) })
	if got := flatten(func(f *flattener) (bool, error) { return f.all(depth) }); got != want {
		t.Fatalf("%q with %d bytes, %d values and %d levels:\n%s\n\nwant\n%s", text, room, limit, depth, got, want)
	}
}

// TestFlattenRandom holds that what is JSON, and what only looks like it, flattens as Coraza has it.
func TestFlattenRandom(t *testing.T) {
	cases := 60_000
	if os.Getenv("TESTUDO_LONG") != "" {
		cases = 20_000_000
	}
	pieces := []string{"{", "}", "[", "]", "(", ")", "\"", "\"", "\"a\"", "\"b\":", ":", ",", ",", "\\", "\\\"", "1", "-1.5e9", "n", "nu", "null", "nan", "true", "tx", "false", "f", "N", "I", "+", " ", "\n", "\x00", "x", "\xff", "\\u0041", "\\ud800", "é", "[[", "{\"a\":", "]]", "\"\""}
	r := rand.New(rand.NewPCG(1, 9))
	var b strings.Builder
	for range cases {
		b.Reset()
		for range r.IntN(24) {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
		sameJSON(t, b.String(), []int{10, 60, 4096}[r.IntN(3)], []int{1, 3, 1000}[r.IntN(3)], []int{1, 3, 100}[r.IntN(3)])
	}
}

func FuzzFlatten(f *testing.F) {
	f.Add(`{"a":[1,{"b":"c\n"}],"d":null} {"e":1}`)
	f.Add(`[1"[,[2",[3]`)
	f.Fuzz(func(t *testing.T, text string) {
		sameJSON(t, text, 8*len(text)+100, 50, 20)
	})
}

// TestFlattenIsOnePass holds that brackets around brackets are not read again for each.
func TestFlattenIsOnePass(t *testing.T) {
	f := &flattener{text: strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), room: 1 << 20, limit: 1000, name: []byte("json"), add: func([]byte, string) {}}
	if _, err := f.all(512); !errors.Is(err, errTooDeep) {
		t.Errorf("%v", err)
	}
	if len(f.brackets) != 100_000 || f.brackets[0].at != 0 || f.brackets[0].end != 200_000 {
		t.Errorf("%d brackets are noted, the first %+v: it was begun anew", len(f.brackets), f.brackets[:1])
	}
}
