package native

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// FuzzLoad feeds the rule loader. Whatever it gets, it says where in the file a problem is,
// and what it accepts makes a set that judges.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/windows/*.yaml", "../../rules/edge/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, path := range files {
			text, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(string(text))
		}
	}
	f.Add(strings.Repeat("- ", 3000))
	f.Add(strings.Repeat("[", 3000))
	f.Add("a: |\r\n  b\r\n")
	f.Add("id: >-\n\n\n  x\n  y\n\n\twhen: z")
	d := New(Actions()...)
	event := new(signal.Event)
	event.Class = signal.ClassHTTPActivity
	event.SetInt(signal.FieldWAFScore, 7)
	event.SetString(signal.FieldHTTPRequestURLPath, "/\x00%2e%2e/\u202e")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) > 64<<10 {
			return
		}
		rules, problems := d.Compile([]policy.File{{Name: "f.yaml", Text: []byte(text)}})
		lines := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines || p.Column < 1 || p.Message == "" {
				t.Errorf("a problem at %d:%d of %d lines: %q", p.Line, p.Column, lines, p.Message)
			}
			if strings.ContainsAny(p.Error(), "\x00\x1b\r\n") {
				t.Errorf("a problem with control characters: %q", p.Error())
			}
		}
		if len(rules) == 0 && len(problems) == 0 {
			t.Error("neither rules nor problems")
		}
		set, err := policy.NewSet(rules)
		if err != nil {
			if _, twice := err.(policy.Problems); !twice {
				t.Error(err)
			}
			return
		}
		v := policy.NewEngine(set).Judge(event)
		for _, h := range v.Hits {
			if strings.ContainsAny(h.Why, "\x00\u202e\x1b") {
				t.Errorf("why holds control characters: %q", h.Why)
			}
		}
	})
}

// FuzzCondition feeds the condition compiler; what compiles must give the same answer
// as it is planned and as CEL has it.
func FuzzCondition(f *testing.F) {
	for _, text := range []string{
		`waf.score > 5 && edge.mode == "block"`,
		`["a", "b"].exists(x, http_request.url.path.icontains(x))`,
		`1 / waf.score > 0 || request()`,
		`cidr(src_endpoint.ip, ["10.0.0.0/8"]) || private(src_endpoint.ip)`,
		`lower(urldecode(http_request.url.path)).matches("^/(admin|x)$")`,
		`time > timestamp("2026-01-01T00:00:00Z") + duration("1h")`,
		`http_request.args_names.filter(x, x != "").size() > 1`,
		`has(edge.mode) ? waf.score == 1 : {"a": 1}["a"] == 1`,
		`size("é") == 1 && "\xff" != ""`,
		`((((((((((((true))))))))))))`,
	} {
		f.Add(text, "/a%2e", int64(5))
	}
	d := New(Actions()...)
	f.Fuzz(func(t *testing.T, text, path string, score int64) {
		if !utf8.ValidString(text) || len(text) > 1000 || len(path) > 1000 {
			return
		}
		c, oracle, mistakes := both(d, text)
		for _, m := range mistakes {
			if m.message == "" || m.offset < 0 || m.offset > utf8.RuneCountInString(text)+1 {
				t.Errorf("%q: mistake %+v", text, m)
			}
		}
		if len(mistakes) > 0 {
			return
		}
		e := new(signal.Event)
		e.Class = signal.ClassHTTPActivity
		e.SetString(signal.FieldHTTPRequestURLPath, path)
		e.SetString(signal.FieldEdgeMode, "block")
		e.SetInt(signal.FieldWAFScore, score)
		e.SetStrings(signal.FieldHTTPRequestArgsNames, []string{"a", path})
		// A part that runs alone has the whole's budget, so it may come further.
		if got, want := match.Eval(c.Expr(), e), match.Eval(oracle, e); got != want && want != match.Fault {
			t.Errorf("%q: planned says %d, CEL %d", text, got, want)
		}
	})
}

// FuzzSentence feeds the templates of why.
func FuzzSentence(f *testing.F) {
	for _, text := range []string{"{src_endpoint.ip} sent {http_request.url.path}", "{{}}", "{", "}", "{ waf.score }", "a {{b}} {nope}", ""} {
		f.Add(text, "/x\x1b[2J\u202e")
	}
	f.Fuzz(func(t *testing.T, text, value string) {
		tpl, mistakes := parseSentence(text)
		if len(mistakes) > 0 {
			return
		}
		e := new(signal.Event)
		e.SetMasked(signal.FieldHTTPRequestURLPath, "raw secret", value)
		got := tpl.render(e)
		if n := utf8.RuneCountInString(got); n > 10*maxSentence {
			t.Errorf("%d characters", n)
		}
		if strings.ContainsAny(got, "\x00\x1b\u202e\u2028") {
			t.Errorf("%q holds control characters", got)
		}
		if !strings.Contains(text, "raw secret") && !strings.Contains(value, "raw secret") && strings.Contains(got, "raw secret") {
			t.Errorf("%q shows the raw form", got)
		}
	})
}
