package rego

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocuments(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a.yaml", "a: 1\n---\n# nothing\n---\nb: [x, true, null, 1.5, \"2\", 0x10]\n", `[{"a":1},{"b":["x",true,null,1.5,"2",16]}]`},
		{"a.yaml", "base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nagain: *b\n", `[{"again":{"x":1,"y":2},"base":{"x":1,"y":2},"use":{"x":1,"y":3}}]`},
		{"a.yaml", "text: |\n  two\n  lines\nn: !!str 5\n", `[{"n":"5","text":"two\nlines\n"}]`},
		{"a.yaml", "", `null`},
		{"a.yaml", "on: yes\n", `[{"on":"yes"}]`},
		{"a.json", `{"a": 12345678901234567890} [1]`, `[{"a":12345678901234567890},[1]]`},
	} {
		all, err := Documents(c.name, []byte(c.text))
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		got, _ := json.Marshal(all)
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", c.text, diff)
		}
	}
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 8 {
		n := string(rune('0' + i))
		bomb += "a" + string(rune('1'+i)) + ": &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+n+", ", 9) + "*a" + n + "]\n"
	}
	for name, text := range map[string]string{
		"a.yaml:":                 bomb,
		"a.yaml:1:":               "a: [b",
		"b.yaml:":                 "a: " + strings.Repeat("[", 5000),
		"c.json:2: JSON":          "{\"a\": 1}\n{\"a\": }",
		"d.yaml:1:4: alias":       "a: *x",
		"e.yaml: larger than":     strings.Repeat("x", MaxDocument+1),
		"f.yaml:1:4: JSON has no": "a: .inf",
	} {
		file, _, _ := strings.Cut(name, ":")
		if all, err := Documents(file, []byte(text)); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%.60q: %d documents, %v", text, len(all), err)
		}
	}
}

func FuzzDocuments(f *testing.F) {
	f.Add("a: &x [1]\nb: *x\n---\nc: {<<: {d: 1}}\n", false)
	f.Add(`{"a": [1, 2]}`, true)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		if len(text) > 32<<10 {
			return
		}
		name := "a.yaml"
		if isJSON {
			name = "a.json"
		}
		all, err := Documents(name, []byte(text))
		if err != nil {
			if strings.ContainsAny(err.Error(), "\x00\x1b\n") {
				t.Errorf("%q", err)
			}
			return
		}
		for _, v := range all {
			if _, err := valueOf(v); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}
