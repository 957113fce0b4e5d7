package coverage_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"

	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
)

var corpus = sync.OnceValues(coverage.Load)

func loaded(t testing.TB) *coverage.Corpus {
	t.Helper()
	c, err := corpus()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func program(t testing.TB) *seclang.Program {
	t.Helper()
	p, err := waf.Program(waf.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func setting(level int) coverage.Setting {
	return coverage.Setting{WAF: waf.DefaultConfig(), Paranoia: level, Threshold: 5}
}

func TestWeigh(t *testing.T) {
	c := loaded(t)
	t.Logf("%d attacks, %d payloads", len(c.Attacks), len(c.Payloads))
	shape, _ := coverage.ShapeOf("select a red lamp from the shop")
	a := &coverage.Alarm{Method: "GET", Path: "/search", Query: "q=*", Rules: []string{"942100"}, Targets: []string{"ARGS:q"}, Paranoia: 1, Threshold: 5, Score: 5,
		Shapes: map[string]coverage.Shape{"ARGS:q": shape}}
	list, err := coverage.Propose(program(t), a)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := coverage.Weigh(t.Context(), c, setting(1), a, list); err != nil {
		t.Fatal(err)
	}
	t.Log(time.Since(begun))
	for i := range list {
		before, after := list[i].Directives(program(t))
		t.Logf("%s: %+v %.4f\n%s%s", &list[i], list[i].Price, list[i].Price.Share(), before, after)
	}
}

var _ = errors.Is
var _ = slices.Contains[[]string]
var _ = strings.Cut
var _ = coreruleset.FS
var _ = coraza.NewWAF
