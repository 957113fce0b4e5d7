package transform_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/corazawaf/coraza/v3"
	"github.com/corazawaf/coraza/v3/types"

	"github.com/testudo-sec/testudo/edge/waf/transform"
)

var names = strings.Fields(`base64Decode base64DecodeExt base64Encode cmdLine compressWhitespace cssDecode escapeSeqDecode hexDecode hexEncode
	htmlEntityDecode jsDecode length lowercase md5 none normalisePath normalisePathWin normalizePath normalizePathWin removeComments removeCommentsChar
	removeNulls removeWhitespace replaceComments replaceNulls sha1 uppercase urlDecode urlDecodeUni urlEncode utf8toUnicode trim trimLeft trimRight`)

// oracle is Coraza with a rule for each transformation, which matches any value, and one of all that multiMatch looks at.
type oracle struct {
	waf  coraza.WAF
	some [][]string // chains
}

func newOracle(t testing.TB, chains [][]string) *oracle {
	var b strings.Builder
	for i, chain := range chains {
		ts := ""
		for _, name := range chain {
			ts += ",t:" + name
		}
		fmt.Fprintf(&b, "SecRule QUERY_STRING \"@unconditionalMatch\" \"id:%d,phase:1,pass,log%s\"\n", 2*i+1, ts)
		fmt.Fprintf(&b, "SecRule QUERY_STRING \"@unconditionalMatch\" \"id:%d,phase:1,pass,log,multiMatch%s\"\n", 2*i+2, ts)
	}
	waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithDirectives("SecRuleEngine On\n" + b.String()))
	if err != nil {
		t.Fatal(err)
	}
	return &oracle{waf, chains}
}

// ask returns what Coraza makes of the value, for each chain: transformed, and looked at by multiMatch.
func (o *oracle) ask(value string) (out []string, each [][]string) {
	tx := o.waf.NewTransaction()
	defer tx.Close()
	tx.ProcessURI("/\x01?"+value, "GET", "HTTP/1.1") // which no parser takes, so that all behind the mark is the query
	tx.ProcessRequestHeaders()
	out, each = make([]string, len(o.some)), make([][]string, len(o.some))
	for _, m := range tx.MatchedRules() {
		i := m.Rule().ID() - 1
		if i%2 == 0 {
			out[i/2] = m.MatchedDatas()[0].Value()
		} else {
			each[i/2] = values(m.MatchedDatas())
		}
	}
	return out, each
}

func values(data []types.MatchData) []string {
	var out []string
	for _, d := range data {
		out = append(out, d.Value())
	}
	return out
}

func chains() [][]string {
	var out [][]string
	for _, name := range names {
		out = append(out, []string{name})
	}
	return append(out, []string{"urlDecodeUni", "htmlEntityDecode", "jsDecode", "cssDecode", "lowercase", "removeNulls"},
		[]string{"escapeSeqDecode", "removeComments", "compressWhitespace", "trim"}, []string{"utf8toUnicode", "urlDecodeUni", "normalizePathWin", "removeWhitespace"},
		[]string{"none", "hexDecode", "base64DecodeExt", "cmdLine", "replaceComments"})
}

// pieces are what the transformations look for.
var pieces = strings.Split("a|B|Zz|0|7|9|f| |  |\t|\n|\v|\f|\r|\x00|\x85|\xa0|\xc2\xa0|\xc2\x85|é|ｓ|\xff|\xe2\x82|%|%4|%41|%u|%u00e9|%uff1c|%uFF3|%U0041|%ua|+|\\|\\x|\\x4|\\x41|\\X6a|\\u|\\u0041|\\uff1c|\\uFF00|\\u{41}|\\u{ff01}|\\u{0}|\\u{|\\0|\\101|\\777|\\41 |\\2f|\\0 |\\n|\\a|\\?|\\\"|'|\"|^|,|;|(|/|//|/./|..|../|.|:|C:|::$DATA|/*|*/|<!--|-->|--|-|#|*|<|&|&lt;|&#x3c|&#60;|&amp|&nbsp;|=|==|QUJD|QUI=|Q-_|4142|414|ＡＢ|\u2028|\u3000|İ|ſ|K", "|")

func random(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(12) {
		if r.IntN(12) == 0 {
			b.WriteByte(byte(r.IntN(256)))
		} else {
			b.WriteString(pieces[r.IntN(len(pieces))])
		}
	}
	return b.String()
}

func check(t *testing.T, o *oracle, mine []*transform.Chain, value string) {
	value, _, _ = strings.Cut(value, "#") // begins a fragment, which is no query; tried apart
	want, wantEach := o.ask(value)
	in := transform.In(value)
	for i, c := range mine {
		got := c.Apply(new(transform.Arena), value)
		if got != want[i] {
			t.Errorf("%s of %q is %q, Coraza says %q", c.Name, value, got, want[i])
		}
		stepwise := value
		for _, step := range c.Steps() {
			if in := transform.In(stepwise); step.Touches(&in) {
				stepwise = step.Apply(new(transform.Arena), stepwise)
			}
		}
		if stepwise != got {
			t.Errorf("%s of %q is %q where steps that touch nothing are left out", c.Name, value, stepwise)
		}
		if c.Idle(&in) && got != value {
			t.Errorf("%s says it leaves %q alone, and makes %q of it", c.Name, value, got)
		}
		if each := c.Each(new(transform.Arena), nil, value); fmt.Sprintf("%q", each) != fmt.Sprintf("%q", wantEach[i]) {
			t.Errorf("%s looks at %q, Coraza at %q", c.Name, each, wantEach[i])
		}
	}
}

func compile(t testing.TB) (*oracle, []*transform.Chain) {
	all := chains()
	var mine []*transform.Chain
	for _, names := range all {
		c, err := transform.NewChain(names)
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, c)
	}
	return newOracle(t, all), mine
}

// TestAsCoraza compares each transformation, and some in a row, with Coraza's on random values made of what they look for.
func TestAsCoraza(t *testing.T) {
	o, mine := compile(t)
	for _, value := range pieces {
		check(t, o, mine, value)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		check(t, o, mine, random(r))
		if t.Failed() {
			return
		}
	}
}

// TestBestFit compares all code points of %uHHHH.
func TestBestFit(t *testing.T) {
	c, _ := transform.NewChain([]string{"urlDecodeUni"})
	o := newOracle(t, [][]string{{"urlDecodeUni"}})
	for high := range 256 {
		var b strings.Builder
		for low := range 256 {
			fmt.Fprintf(&b, "%%u%02x%02x", high, low)
		}
		want, _ := o.ask(b.String())
		if got := c.Apply(new(transform.Arena), b.String()); got != want[0] {
			t.Errorf("%%u%02x00: %q, Coraza says %q", high, got, want[0])
		}
	}
}

func FuzzAsCoraza(f *testing.F) {
	for _, p := range pieces {
		f.Add(p)
	}
	o, mine := compile(f)
	f.Fuzz(func(t *testing.T, value string) { check(t, o, mine, value) })
}

// TestComments tries what the query of a request cannot hold.
func TestComments(t *testing.T) {
	for name, cases := range map[string][]string{
		"removeComments":     {"a#b", "a", "a--b", "a", "a/*b*/c", "ac", "a/*b*/", "a\x00", "a/*b", "a ", "a<!--b-->c", "ac", "", ""},
		"removeCommentsChar": {"a#b", "ab", "a--b-->c#", "abc", "/**/", ""},
	} {
		c, err := transform.NewChain([]string{name})
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(cases); i += 2 {
			if got := c.Apply(new(transform.Arena), cases[i]); got != cases[i+1] {
				t.Errorf("%s of %q is %q, want %q", name, cases[i], got, cases[i+1])
			}
		}
	}
}
