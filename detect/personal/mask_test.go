package personal

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/detect"
)

// TestMaskedJSON: a document stays one, with as many members, whatever stands in its strings and however they are escaped.
func TestMaskedJSON(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var whole []string // what cuts a rune in two is not JSON to begin with
	for _, p := range parts(t) {
		if utf8.ValidString(p) {
			whole = append(whole, p)
		}
	}
	d := detector(t, func(c *Config) { c.Contacts, c.Confidence = 0, detect.Low })
	masked := 0
	for range 3000 {
		var b strings.Builder
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(r.IntN(2) == 0)
		object := map[string]any{"number": 4111111111111111, "list": []int{5555555555554444, 1, 378282246310005}, "nested": map[string]string{"ssn": "536-22-1234"}}
		for _, name := range []string{"a", "card", "stack", "message"} {
			var s strings.Builder
			for range r.IntN(6) {
				s.WriteString(whole[r.IntN(len(whole))])
			}
			object[name] = s.String()
		}
		if r.IntN(2) == 0 {
			e.SetIndent("", "  ")
		}
		if err := e.Encode(object); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		if r.IntN(3) == 0 { // as PHP and others write it
			text = strings.ReplaceAll(text, "/", `\/`)
		}
		got := d.Mask(nil, []byte(text))
		var back map[string]any
		if err := json.Unmarshal(got, &back); err != nil {
			t.Fatalf("%v\n%s\nis masked as\n%s", err, text, got)
		}
		if len(back) != len(object) {
			t.Fatalf("%s\nhas lost members as\n%s", text, got)
		}
		if back["number"] != 9999999999991111.0 {
			t.Fatalf("number is %v in %s", back["number"], got)
		}
		if string(got) != text {
			masked++
		}
	}
	if masked != 3000 {
		t.Fatalf("%d documents were masked", masked)
	}
}
