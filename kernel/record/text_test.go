package record

import (
	"testing"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"/bin/sh":              "/bin/sh",
		"caf\u00e9 \U0001f40c": "caf\u00e9 \U0001f40c",
		"a\x1b[31mb\n":         "a\x1b[31mb\n", // whoever prints it escapes it
		"a\xffb":               `a\xffb`,
		"\xe2\x82":             `\xe2\x82`,
		"\uFFFD":               "\uFFFD",
	} {
		if got := Text([]byte(in)); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\xff\x00\u00e9")
	f.Fuzz(func(t *testing.T, s string) {
		got := Text([]byte(s))
		if !utf8.ValidString(got) {
			t.Fatalf("%q is %q", s, got)
		}
		if utf8.ValidString(s) && got != s {
			t.Fatalf("%q was changed to %q", s, got)
		}
	})
}
