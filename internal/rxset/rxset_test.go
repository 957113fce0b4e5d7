package rxset_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/internal/rxset"
)

// check holds that a set answers as each expression on its own does.
func check(t *testing.T, s *rxset.Set, m *rxset.Scratch, of []expression, text string) (matched int) {
	t.Helper()
	got := s.Match(text, m)
	for i, e := range of {
		want := e.want.MatchString(text)
		if want {
			matched++
		}
		if got.Has(i) != want {
			t.Fatalf("%q matches %q: %v, want %v", e.Expr, text, got.Has(i), want)
		}
	}
	return matched
}

func newSet(t testing.TB, of []expression) *rxset.Set {
	t.Helper()
	s, err := rxset.New(patterns(of), rxset.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// texts makes texts out of what requests and attacks are made of.
type texts struct {
	*rand.Rand
	pieces []string
}

func newTexts(seed uint64, of []expression) *texts {
	x := &texts{Rand: rand.New(rand.NewPCG(seed, 1))}
	x.pieces = append(x.pieces, values...)
	for _, a := range attacks {
		x.pieces = append(x.pieces, a)
		x.pieces = append(x.pieces, strings.Fields(a)...)
	}
	for _, e := range of {
		// Literals of the expressions themselves, and near misses.
		x.pieces = append(x.pieces, strings.FieldsFunc(e.Expr, func(r rune) bool { return strings.ContainsRune(`()|[]?*+^$\{}`, r) })...)
	}
	x.pieces = append(x.pieces, " ", "\n", "\r\n", "\t", "'", "\"", "`", "(", ")", "=", ";", "--", "/*", "*/", "<", ">", "$", "{", "}", "\\", "&", "|", "%", "..", "\x00",
		"\u017f", "\u212a", "é", "€", "𝒳", "\ufffd", "\u00a0", "\u0085", "\u2028", "\xff", "\x80", "\xbc", "\xbe", "\xe2\x82", "\xf0\x9f\x98", "\xed\xa0\x80", "\xc0\xaf", "\xc2\xb4", "\xe2\x80\x98")
	return x
}

func (x *texts) next() string {
	var b strings.Builder
	n := 1 + x.IntN(8)
	if x.IntN(8) == 0 {
		n = 40
	}
	for range n {
		switch x.IntN(8) {
		case 0:
			for range x.IntN(6) {
				b.WriteByte(byte(x.IntN(256)))
			}
		case 1:
			for range x.IntN(6) {
				b.WriteByte(byte(0x20 + x.IntN(0x5f)))
			}
		case 2:
			b.WriteRune(rune(x.IntN(0x2200)))
		default:
			p := x.pieces[x.IntN(len(x.pieces))]
			if from := x.IntN(4); from == 0 && len(p) > 0 {
				p = p[x.IntN(len(p)):]
			}
			b.WriteString(p)
		}
	}
	out := []byte(b.String())
	if len(out) > 0 && x.IntN(3) == 0 {
		for range 1 + x.IntN(3) {
			switch at := x.IntN(len(out)); x.IntN(4) {
			case 0:
				out[at] ^= 0x20
			case 1:
				out[at] = byte(x.IntN(256))
			case 2:
				out = append(out[:at:at], append([]byte{byte(x.IntN(128))}, out[at:]...)...)
			default:
				out = out[:at+1]
			}
		}
	}
	return string(out)
}

// TestCoreRules holds that the Core Rule Set's expressions match as with the packages that Coraza asks.
func TestCoreRules(t *testing.T) {
	t.Parallel()
	of := coreRules(t, 4)
	s := newSet(t, of)
	m := s.NewScratch()
	x := newTexts(1, of)
	n, matched := 100, 0
	if os.Getenv("TESTUDO_LONG") != "" {
		n = 50_000
	}
	for _, v := range append(values, attacks...) {
		matched += check(t, s, m, of, v)
	}
	for range n {
		matched += check(t, s, m, of, x.next())
	}
	if matched < n {
		t.Errorf("%d matches in %d texts: they show too little", matched, n)
	}
	t.Logf("%d expressions, %d texts, %d matches, %+v", len(of), n, matched, s.Stats())
	rxset.Describe(s, t.Logf)
}
