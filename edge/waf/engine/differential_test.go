package engine_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"

	"github.com/testudo-sec/testudo/edge/waf/engine"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/edge/waf/waftest"
	"github.com/testudo-sec/testudo/internal/require"
)

// Of the differential test: the long form has two million cases. A block is what one program judges.
const (
	shortCases    = 2000
	longCases     = 2_000_000
	longBlock     = 2000
	shortBlock    = 250
	wholeEvery    = 8   // of so many blocks one has the whole Core Rule Set, and a tenth of the cases
	reported      = 40  // differences that are told in full
	triesOfCoraza = 120 // of Coraza, to learn what it finds at one time and not at another
)

// tally counts what came of cases.
type tally struct {
	cases, undecided, between, overwritten, mixed, uncovered, refused, differences atomic.Int64
}

// TestDifferential holds that the engine finds what Coraza finds: the rules that match, the values they match in, messages, scores
// and interruptions, for mutated attacks and harmless texts, under random rules, parts of the Core Rule Set and exclusions,
// at all paranoia levels, responses included. Cases are made from a seed and a number: TESTUDO_DIFF_BLOCK=n
// runs a few blocks anew, from the nth on.
func TestDifferential(t *testing.T) {
	cases, size := shortCases/require.Stride(10), shortBlock
	if os.Getenv("TESTUDO_LONG") != "" {
		cases, size = longCases/require.Stride(100), longBlock
	}
	cases, first := setting(t, "TESTUDO_DIFF_CASES", cases), setting(t, "TESTUDO_DIFF_BLOCK", 0)
	if first > 0 {
		cases, size = 1, longBlock
	}
	m := gather(t)
	m.seed = uint64(setting(t, "TESTUDO_DIFF_SEED", 7))
	t.Logf("%d requests, %d attacks, %d harmless texts, %d documents", len(m.requests), len(m.attacks), len(m.harmless), len(m.json))
	var n tally
	begun := time.Now()
	blocks := make(chan int)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for b := range blocks {
				m.block(t, &n, b, size)
			}
		})
	}
	for b := max(first, 1); n.cases.Load() < int64(cases) && n.differences.Load() < reported; b++ {
		blocks <- b
		if size == longBlock && b%20 == 0 {
			fmt.Printf("%s: block %d, %s after %v\n", time.Now().Format(time.TimeOnly), b, &n, time.Since(begun).Round(time.Second))
		}
	}
	close(blocks)
	wg.Wait()
	t.Logf("%s in %v", &n, time.Since(begun).Round(time.Second))
	if n.uncovered.Load()+n.refused.Load() > n.cases.Load()/int64(size)/4+2 {
		t.Errorf("%d programs are not covered, %d are refused: what is made at random is to be judged", n.uncovered.Load(), n.refused.Load())
	}
}

// FuzzDifferential compares raw requests, with the Core Rule Set as it ships.
func FuzzDifferential(f *testing.F) {
	for _, raw := range []string{
		"GET /?q=1%27%20UNION%20SELECT%20a%20FROM%20b-- HTTP/1.1\r\nHost: example.org\r\nUser-Agent: x\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: example.org\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{\"a\":[\"<script>\",{\"b\":1e9}]}",
		"POST /x HTTP/1.1\r\nHost: example.org\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x.php\"\r\n\r\n<?php\r\n--b--\r\n",
		"POST /x HTTP/2.0\r\nContent-Type: text/xml\r\nCookie: a=b; c=%00\r\n\r\n<a b='c'>&lt;</a>",
		"FOO //../%2e%2e\\x?a=&b=%u0041 HTTP/1.0\r\n\r\n",
	} {
		f.Add(raw, byte(0))
		f.Add(raw, byte(3))
	}
	p := newPair(f, shipped)
	var n tally
	f.Fuzz(func(t *testing.T, raw string, level byte) {
		if len(raw) > 16<<10 {
			return
		}
		m := parse(raw)
		m.level = 1 + int(level)%4
		p.check(t, &n, m, shipped, "fuzzed")
	})
}

func (n *tally) String() string {
	return fmt.Sprintf("%d cases, %d differences, %d undecided by Coraza and %d in between, %d with fields that Coraza loses, %d with fields that it mixes up, %d programs not covered, %d refused by Coraza", n.cases.Load(), n.differences.Load(), n.undecided.Load(), n.between.Load(), n.overwritten.Load(), n.mixed.Load(), n.uncovered.Load(), n.refused.Load())
}

func setting(t *testing.T, name string, otherwise int) int {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	v, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// block makes one program and judges requests by it.
func (m *material) block(t *testing.T, n *tally, number, size int) {
	r := rand.New(rand.NewPCG(m.seed, uint64(number)))
	whole := number%wholeEvery == 0
	if whole {
		size /= 10
	}
	directives := randomProgram(r, whole)
	p := m.programs(t, n, directives, fmt.Sprintf("block %d", number))
	if p == nil {
		return
	}
	before := n.differences.Load()
	for i := range size {
		if n.differences.Load() > before+3 {
			break
		}
		msg := m.message(rand.New(rand.NewPCG(m.seed+uint64(number), uint64(i))))
		p.check(t, n, msg, directives, fmt.Sprintf("block %d, case %d", number, i))
	}
}

// programs compiles directives for both, nil where one does not take them.
func (m *material) programs(t *testing.T, n *tally, directives, name string) *pair {
	waf, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(directives))
	if err != nil {
		if n.refused.Add(1) < 5 {
			t.Logf("%s: %v", name, err)
		}
		return nil
	}
	program, err := seclang.Parse(coreruleset.FS, directives)
	var e *engine.Engine
	if err == nil {
		e, err = engine.New(program)
	}
	if err != nil {
		if n.uncovered.Add(1) < 5 {
			t.Logf("%s: %v", name, err)
		}
		return nil
	}
	return &pair{waf, e}
}

// check counts a difference, and tells of it.
func (p *pair) check(t *testing.T, n *tally, msg *message, directives, name string) {
	n.cases.Add(1)
	want, got := p.byCoraza(msg), p.byEngine(msg)
	if want.String() == got.String() {
		return
	}
	found, exactly := p.undecided(msg, got)
	switch {
	case exactly:
		n.undecided.Add(1)
		return
	case waftest.LosesFields(msg.body): // the engine sees all
		n.overwritten.Add(1)
		return
	case repeats(msg) && excludes(directives):
		n.mixed.Add(1)
		return
	case found:
		n.between.Add(1)
		return
	}
	if n.differences.Add(1) > reported {
		return
	}
	_, own, _ := strings.Cut(directives, "SecAuditEngine Off")
	if os.Getenv("TESTUDO_DIFF_BLOCK") == "" {
		own = ""
	}
	t.Errorf("%s: %+v\n%s\n%s", name, *msg, own, difference(want, got))
}

// undecided reports whether Coraza, which walks arguments in a random order, finds now this and then that, and the engine finds
// nothing that is not in between: rules of which Coraza always says the same are said to match so, and the others as Coraza says
// some time. Scores and the verdict follow from the rules. Exactly is whether Coraza found just the same once.
func (p *pair) undecided(msg *message, got outcome) (found, exactly bool) {
	always, ever := map[string]bool{}, map[string]bool{}
	for i := range triesOfCoraza {
		o := p.byCoraza(msg)
		if o.String() == got.String() {
			return true, true
		}
		lines := map[string]bool{}
		for _, l := range o.rules {
			ever[l], lines[l] = true, true
			if i == 0 {
				always[l] = true
			}
		}
		for l := range always {
			always[l] = lines[l]
		}
	}
	varies := map[string]bool{} // rules
	for l := range ever {
		if !always[l] {
			varies[l[:6]] = true
		}
	}
	for l, sure := range always {
		if sure && !slices.Contains(got.rules, l) && !varies[l[:6]] {
			return false, false
		}
	}
	for _, l := range got.rules {
		if !ever[l] && !varies[l[:6]] {
			return false, false
		}
	}
	return len(varies) > 0, false
}

// repeats reports whether two fields of a form, or of the header, have one name. Coraza keeps what it transformed by where the name
// stands in memory, which those have in common, and by the number among the values that a rule looks at. Where rules leave out
// different ones, the numbers differ, and a rule may see the value of another field. The engine has no such cache.
func repeats(msg *message) bool {
	seen := map[string]bool{}
	twice := func(name string) bool {
		was := seen[name]
		seen[name] = true
		return was
	}
	for _, h := range msg.header {
		if twice(h.name + ":") {
			return true
		}
	}
	for pair := range strings.SplitSeq(msg.body, "&") {
		if name, _, _ := strings.Cut(pair, "="); twice(name) {
			return true
		}
	}
	return false
}

// excludes reports whether some rules leave targets out that others look at.
func excludes(directives string) bool {
	return strings.Contains(directives, "|!") || strings.Contains(directives, "ruleRemoveTarget") || strings.Contains(directives, "SecRuleUpdateTarget")
}

// difference tells what each of both says alone.
func difference(want, got outcome) string {
	var b strings.Builder
	for _, l := range want.rules {
		if !slices.Contains(got.rules, l) {
			b.WriteString("- " + l + "\n")
		}
	}
	for _, l := range got.rules {
		if !slices.Contains(want.rules, l) {
			b.WriteString("+ " + l + "\n")
		}
	}
	if want.scores != got.scores {
		b.WriteString("- " + want.scores + "\n+ " + got.scores + "\n")
	}
	if want.verdict != got.verdict {
		b.WriteString("- " + want.verdict + "\n+ " + got.verdict + "\n")
	}
	return b.String()
}
