package gitleaks_test

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/testudo-sec/testudo/detect/gitleaks"
)

// configuration has each part of the format.
const configuration = `
title = "a team's own"
[[rules]]
id = "acme-token"
description = "Acme token"
regex = '''acme_[0-9a-z]{16}'''
keywords = ["ACME_"]
tags = ["acme"]

[[rules]]
id = "assigned"
regex = '''(?i)(?:pass|pwd)\s*=\s*"([^"]{8,40})"'''
entropy = 3.0
keywords = ["pass", "pwd"]
[[rules.allowlists]]
condition = "AND"
paths = ['''^test/''']
regexes = ['''^demo''']
[[rules.allowlists]]
stopwords = ["placeholder"]

[[rules]]
id = "second-group"
regex = '''(key|token): ([a-z]{6})'''
secretGroup = 2

[[rules]]
id = "key-file"
path = '''\.p12$'''

[allowlist]
paths = ['''^vendor/''']
commits = ["deadbeef"]
regexes = ['''# *not a secret''']
regexTarget = "line"
`

func find(t *testing.T, set *gitleaks.Set, path, commit, text string) []string {
	t.Helper()
	var out []string
	if !set.FindIn(path, commit, []byte(text), func(m gitleaks.Match) bool {
		out = append(out, m.Rule.ID+" "+text[m.Start:m.End])
		return true
	}) {
		t.Errorf("%.40q was not looked at as a whole", text)
	}
	return out
}

func compile(t *testing.T, text string) *gitleaks.Set {
	t.Helper()
	c, _, err := gitleaks.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	set, err := c.Compile()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestFind(t *testing.T) {
	set := compile(t, configuration)
	for _, tc := range []struct {
		path, commit, text string
		want               []string
	}{
		{"a.txt", "", "x acme_0123456789abcdef y", []string{"acme-token acme_0123456789abcdef"}},
		{"a.txt", "", "Acme_ is no token", nil},
		{"a.txt", "", `Password = "c0rrectH0rse!x"`, nil}, // between the word and the sign is "word"
		{"a.txt", "", `pass = "c0rrectH0rse!x"`, []string{"assigned c0rrectH0rse!x"}},
		{"a.txt", "", `pass = "aaaaaaaaaaaa"`, nil}, // entropy
		{"a.txt", "", `pass = "my-Placeholder-7f3k"`, nil},
		{"test/a.txt", "", `pass = "demo-c0rrectH0rse"`, nil},
		{"a.txt", "", `pass = "demo-c0rrectH0rse"`, []string{"assigned demo-c0rrectH0rse"}},
		{"test/a.txt", "", `pass = "c0rrectH0rse!x"`, []string{"assigned c0rrectH0rse!x"}},
		{"a.txt", "", "key: abcdef", []string{"second-group abcdef"}},
		{"a.txt", "", "key: abcdef # gitleaks:allow", nil},
		{"a.txt", "", "key: abcdef # not a secret\nkey: fedcba", []string{"second-group fedcba"}},
		{"vendor/a.txt", "", "key: abcdef", nil},
		{"a.txt", "deadbeef", "key: abcdef", nil},
		{"certs/site.p12", "", "\x00\x01", []string{"key-file "}},
		{"a.txt", "", "key: abcdef token: ghijkl\nacme_0123456789abcdef", []string{"second-group abcdef", "second-group ghijkl", "acme-token acme_0123456789abcdef"}},
	} {
		if d := cmp.Diff(tc.want, find(t, set, tc.path, tc.commit, tc.text)); d != "" {
			t.Errorf("%s %q: %s", tc.path, tc.text, d)
		}
	}
}

func TestExtend(t *testing.T) {
	tree := fstest.MapFS{
		".gitleaks.toml": {Data: []byte("[extend]\npath = \"shared/base.toml\"\ndisabledRules = [\"gone\"]\n[[rules]]\nid = \"kept\"\nentropy = 9.0\n[[rules]]\nid = \"own\"\nregex = 'own-[0-9]{4}'\n")},
		"shared/base.toml": {Data: []byte("[extend]\nuseDefault = true\n[[rules]]\nid = \"kept\"\nregex = 'kept-[0-9]{4}'\n[[rules]]\nid = \"gone\"\nregex = 'gone-[0-9]{4}'\n" +
			"[[rules]]\nid = \"more\"\nregex = 'more-[0-9]{4}'\n[[allowlists]]\ntargetRules = [\"more\"]\nregexes = ['0000']\n")},
		"loop.toml": {Data: []byte("[extend]\npath = \"loop.toml\"\n")},
	}
	c, err := gitleaks.Load(tree, ".gitleaks.toml")
	if err != nil {
		t.Fatal(err)
	}
	if !c.UseDefault {
		t.Error("the extended file's useDefault is lost")
	}
	set, err := c.Compile()
	if err != nil {
		t.Fatal(err)
	}
	got := find(t, set, "a", "", "own-1234 kept-1234 gone-1234 more-1234 more-0000 own-0000")
	if d := cmp.Diff([]string{"own own-1234", "more more-1234", "own own-0000"}, got); d != "" { // kept: no entropy of 9
		t.Error(d)
	}
	for name, want := range map[string]string{"loop.toml": "extend each other", "none.toml": "none.toml"} {
		if _, err := gitleaks.Load(tree, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestErrors(t *testing.T) {
	for text, want := range map[string]string{
		"[[rules]\n":                                                             "line 2",
		"[[rules]]\nregex = 'a'":                                                 "no id",
		"[[rules]]\nid='a'\nregex = '('":                                         "rule 1 (a): regex",
		"[[rules]]\nid='a'\nregex = 'a'\nsecretGroup = 1":                        "secretGroup is 1",
		"[[rules]]\nid='a'\npath = '['":                                          "path",
		"[[rules]]\nid='a'":                                                      "neither regex nor path",
		"[[rules]]\nid='a'\nregex='a'\n[[rules]]\nid='a'\nregex='b'":             "two rules",
		"[extend]\nurl = 'https://example.org'":                                  "extend.url",
		"[extend]\npath = 'a'\nuseDefault = true":                                "both",
		"[[rules]]\nid='a'\nregex='a'\n[[rules.allowlists]]\ncondition='XOR'":    "condition",
		"[[rules]]\nid='a'\nregex='a'\n[[rules.allowlists]]\nregexTarget='file'": "regexTarget",
		"[[rules]]\nid='a'\nregex='a'\n[[rules.allowlists]]\nregexes=['(']":      "allowlist 1",
	} {
		c, _, err := gitleaks.Parse([]byte(text))
		if err == nil {
			_, err = c.Compile()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestBounded: a text that makes an expression start over at each byte ends.
func TestBounded(t *testing.T) {
	set := compile(t, "[[rules]]\nid = 'a'\nregex = '(a?){30}a{30}b'\n")
	if set.FindIn("x", "", []byte(strings.Repeat("a", 1<<16)), func(gitleaks.Match) bool { return true }) == false {
		t.Error("one pass is within the bound")
	}
	many := compile(t, "[[rules]]\nid = 'a'\nregex = '[a-z]'\n")
	if many.FindIn("x", "", []byte(strings.Repeat("a", 1<<16)), func(gitleaks.Match) bool { return true }) {
		t.Error("more matches than are kept, and the text counts as looked at")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(configuration, "pass = \"c0rrectH0rse!x\" key: abcdef")
	f.Fuzz(func(t *testing.T, text, data string) {
		c, _, err := gitleaks.Parse([]byte(text))
		if err != nil {
			return
		}
		set, err := c.Compile()
		if err != nil {
			return
		}
		set.FindIn("a", "b", []byte(data), func(m gitleaks.Match) bool {
			if m.Start > m.End || m.End > len(data) {
				t.Fatalf("%+v in %d bytes", m, len(data))
			}
			return true
		})
	})
}
