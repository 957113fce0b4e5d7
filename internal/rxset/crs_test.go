package rxset_test

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"rsc.io/binaryregexp"

	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/internal/rxset"
)

// expression is a pattern with what it must agree with.
type expression struct {
	rxset.Pattern
	want rxset.Matcher
}

// coreRules returns the expressions of the OWASP Core Rule Set up to a paranoia level, as Coraza compiles them, classed by level. The rules are read from
// the module github.com/corazawaf/coraza-coreruleset (Apache-2.0).
func coreRules(t testing.TB, level int) []expression {
	t.Helper()
	p, err := seclang.Parse(coreruleset.FS, "Include @crs-setup.conf.example\nInclude @owasp_crs/*.conf\n")
	if err != nil {
		t.Fatal(err)
	}
	var out []expression
	seen := map[string]bool{}
	for _, r := range p.Rules {
		class := 0
		for _, tag := range r.Tags {
			if l, ok := strings.CutPrefix(tag, "paranoia-level/"); ok {
				class = int(l[0] - '0')
			}
		}
		if class > level {
			continue
		}
		for ; r != nil; r = r.Chain {
			if r.Operator == nil || r.Operator.Name != "rx" || seen[r.Operator.Argument] {
				continue
			}
			seen[r.Operator.Argument] = true
			e := compile(t, r.Operator.Argument)
			e.Class = class
			out = append(out, e)
		}
	}
	return out
}

// compile makes an expression as Coraza's operator @rx does; see newRX and matchesArbitraryBytes there.
func compile(t testing.TB, argument string) expression {
	t.Helper()
	if namesBytes(argument) {
		re, err := binaryregexp.Compile(argument)
		if err != nil {
			t.Fatal(err)
		}
		return expression{rxset.Pattern{Expr: argument, Binary: true}, re}
	}
	re, err := regexp.Compile("(?sm)" + argument)
	if err != nil {
		t.Fatal(err)
	}
	return expression{rxset.Pattern{Expr: "(?sm)" + argument}, re}
}

// namesBytes is enough of Coraza's test for the expressions of the Core Rule Set, which write bytes as \xHH and \x{HH}.
func namesBytes(argument string) bool {
	escape := regexp.MustCompile(`\\x(?:\{([0-9a-fA-F]{2})\}|([0-9a-fA-F]{2}))`)
	return !utf8.ValidString(escape.ReplaceAllStringFunc(argument, func(s string) string {
		digits := strings.Trim(s[2:], "{}")
		return string([]byte{hex(digits[0])<<4 | hex(digits[1])})
	}))
}

func hex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}

func patterns(of []expression) []rxset.Pattern {
	out := make([]rxset.Pattern, len(of))
	for i, e := range of {
		out[i] = e.Pattern
	}
	return out
}
