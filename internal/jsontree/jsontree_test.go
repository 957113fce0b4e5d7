package jsontree

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var samples = []string{
	`null`, ` true `, `false`, `0`, `-0`, `1.5e3`, `"a"`, `[]`, `{}`, `[1,[2,[]],{"a":{}}]`, `{"a":1,"b":"\u00e9\ud83d\ude00\n"}`,
	``, `{`, `[`, `[1`, `[1,`, `[1,]`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{a:1}`, `01`, `1.`, `.5`, `1e`, `+1`, `-`, `"`, `"\`, `"\u12`, `"\x"`, "\"\x01\"", `nul`, `tru`, `NaN`,
	`1 2`, `"\ud800"`, `"\ud800\u0041"`, "\"\xff\"", "\"\\n\xff\"", "\xef\xbb\xbf1", `{"a":1,"a":2}`, `1e400`, `1e-400`, `0e-400`, `{"":{"":[{"x":1e999}]}}`,
}

// reference reads as encoding/json does, with exact numbers.
func reference(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, errors.New("more follows")
	}
	return v, nil
}

func check(t *testing.T, text []byte) {
	t.Helper()
	got, notes, err := Decode(text, Limits{Depth: 1000})
	if errors.Is(err, ErrDepth) || errors.Is(err, ErrValues) {
		return
	}
	want, refErr := reference(text)
	if (err == nil) != (refErr == nil) {
		t.Fatalf("%.80q: error %v, encoding/json says %v", text, err, refErr)
	}
	if err == nil {
		for _, n := range notes {
			if n.Kind == Text {
				return // how many U+FFFD stand for a sequence is each parser's own
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%.80q: %s", text, diff)
		}
	}
}

func TestReadsAsEncodingJSON(t *testing.T) {
	for _, s := range samples {
		check(t, []byte(s))
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add([]byte(s))
	}
	f.Fuzz(check)
}

func TestNotes(t *testing.T) {
	tests := []struct {
		text string
		want []Note
	}{
		{`{"a":{"b":1,"b":2}}`, []Note{{Duplicate, "/a/b"}}},
		{`{"a":1,"\u0061":2}`, []Note{{Duplicate, "/a"}}},
		{`[0,{"n":1e309}]`, []Note{{Number, "/1/n"}}},
		{`1e-330`, []Note{{Number, ""}}},
		{`0.0e-330`, nil},
		{`123456789012345678901234567890`, nil},
		{strings.Repeat("1", 1<<20), []Note{{Number, ""}}},
		{"{\"a/~\":\"\xc0\xaf\"}", []Note{{Text, "/a~1~0"}}},
		{`["\udc00"]`, []Note{{Text, "/0"}}},
		{`["\ud83d\ude00"]`, nil},
	}
	for _, test := range tests {
		_, notes, err := DecodeString(test.text, Limits{})
		if err != nil {
			t.Errorf("%.60s: %v", test.text, err)
		}
		if diff := cmp.Diff(test.want, notes); diff != "" {
			t.Errorf("%.60s: %s", test.text, diff)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, _, err := DecodeString(strings.Repeat("[", 100_000), Limits{}); !errors.Is(err, ErrDepth) {
		t.Errorf("depth of 100,000: %v", err)
	}
	if _, _, err := DecodeString(strings.Repeat(`{"a":`, 65)+"1"+strings.Repeat("}", 65), Limits{}); !errors.Is(err, ErrDepth) {
		t.Errorf("depth of 65: %v", err)
	}
	if _, _, err := DecodeString(strings.Repeat(`[`, 64)+strings.Repeat("]", 64), Limits{}); err != nil {
		t.Errorf("depth of 64: %v", err)
	}
	if _, _, err := DecodeString(strings.Repeat("[[],[]],", 10), Limits{}); err == nil {
		t.Error("several texts are one")
	}
	if _, _, err := DecodeString("["+strings.Repeat("0,", 200_000)+"0]", Limits{}); !errors.Is(err, ErrValues) {
		t.Errorf("200,000 values: %v", err)
	}
	many := "{" + strings.Repeat(`"a":1,`, 1000) + `"a":1}`
	if _, notes, err := DecodeString(many, Limits{}); err != nil || len(notes) != maxNotes {
		t.Errorf("1000 duplicates: %d notes, %v", len(notes), err)
	}
	long := `{"` + strings.Repeat("n", 1<<20) + `":1e999}`
	if _, notes, _ := DecodeString(long, Limits{}); len(notes) != 1 || len(notes[0].Where) > 100 {
		t.Errorf("a name of a megabyte: %.200v", notes)
	}
}

func TestSyntaxErrorsQuoteNothing(t *testing.T) {
	_, _, err := DecodeString(`{"password": secret}`, Limits{})
	if e, ok := errors.AsType[*SyntaxError](err); !ok || e.Offset != 13 || strings.Contains(err.Error(), "secret") {
		t.Errorf("%v", err)
	}
}

func BenchmarkDecode(b *testing.B) {
	text := []byte(`{"id":"0b8f1c1e-6d0a-4f5e-9c55-0d6f3a1b2c3d","customer":{"name":"Ada Lovelace","email":"ada@example.org","age":36},"lines":[` +
		strings.TrimSuffix(strings.Repeat(`{"product":"lantern","quantity":2,"price":19.95,"note":"as a gift, please wrap it"},`, 9), ",") + `],"total":359.1,"paid":false}`)
	b.SetBytes(int64(len(text)))
	b.Run("jsontree", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, _, err := Decode(text, Limits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var v any
			if err := json.Unmarshal(text, &v); err != nil {
				b.Fatal(err)
			}
		}
	})
}
