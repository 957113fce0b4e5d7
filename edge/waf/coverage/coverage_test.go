package coverage_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
	"github.com/corazawaf/coraza/v3"

	"github.com/testudo-sec/testudo/edge/waf"
	"github.com/testudo-sec/testudo/edge/waf/coverage"
	"github.com/testudo-sec/testudo/edge/waf/seclang"
	"github.com/testudo-sec/testudo/internal/require"
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

func setting(before, after string) coverage.Setting {
	s := coverage.Setting{WAF: waf.DefaultConfig(), Paranoia: 1, Threshold: 5}
	s.WAF.Before, s.WAF.After = before, after
	return s
}

func TestLoad(t *testing.T) {
	c := loaded(t)
	if len(c.Attacks) < 3000 || len(c.Payloads) < 1500 {
		t.Errorf("%d attacks, %d values", len(c.Attacks), len(c.Payloads))
	}
	i := slices.IndexFunc(c.Attacks, func(a coverage.Attack) bool { return a.Name == "942100-1" })
	if i < 0 || c.Attacks[i].Rule != 942100 || !slices.ContainsFunc(c.Payloads, func(p coverage.Payload) bool { return p.Text == "1234 OR 1=1" }) {
		t.Error("942100-1 is not among them")
	}
}

func TestCompare(t *testing.T) {
	c := loaded(t).Every(10 * require.Stride(5))
	same, err := coverage.Compare(t.Context(), c, setting("", ""), setting("", ""))
	if err != nil || same.Detected < len(c.Attacks)/2 || len(same.Lost)+len(same.Gained) > 0 {
		t.Errorf("the same settings: %+v, %v", same, err)
	}
	if require.Race {
		return // making the rules ready takes seconds then
	}
	without, err := coverage.Compare(t.Context(), c, setting("", ""), setting("", "SecRuleRemoveById 942000-942999"))
	if err != nil || len(without.Lost) < 3 || len(without.Gained) > 0 || without.Detected != same.Detected {
		t.Errorf("without rules: %+v, %v", without, err)
	}
	if slices.ContainsFunc(without.Lost, func(name string) bool { return strings.HasPrefix(name, "941") }) {
		t.Errorf("lost without the rules about SQL: %v", without.Lost)
	}
	back, err := coverage.Compare(t.Context(), c, setting("", "SecRuleRemoveById 942000-942999"), setting("", ""))
	if err != nil || !slices.Equal(back.Gained, without.Lost) {
		t.Errorf("the other way round: %+v, %v", back, err)
	}
}

func alarm(shape *coverage.Shape) *coverage.Alarm {
	a := &coverage.Alarm{Method: "GET", Path: "/order/1042/find", Query: "q=*", Rules: []string{"942100", "920350"}, Targets: []string{"ARGS:q", "REQUEST_HEADERS:Host"},
		Paranoia: 1, Threshold: 5, Score: 8}
	if shape != nil {
		a.Shapes = map[string]coverage.Shape{"ARGS:q": *shape}
	}
	return a
}

// TestPropose: what is proposed goes from narrow to wide, and is of the fewest rules that have to be silent.
func TestPropose(t *testing.T) {
	p := program(t)
	shape, _ := coverage.ShapeOf("1 or 2 and 3")
	for name, c := range map[string]struct {
		alarm *coverage.Alarm
		want  []string
	}{
		"by shape": {alarm(&shape), []string{"rule 942100 in ARGS:q of /order/1042/find, where the value is words", "rule 942100 in ARGS:q of /order/1042/find",
			"rule 942100 in ARGS:q of paths like /order/[0-9]+/find, where the value is words", "rule 942100 in ARGS:q of paths like /order/[0-9]+/find",
			"rule 942100 in ARGS:q of all paths, where the value is words", "rule 942100 in ARGS:q of all paths", "rule 942100 of /order/1042/find", "rule 942100 of all paths"}},
		"an element": {&coverage.Alarm{Path: "/x", Rules: []string{"932235", "942100"}, Targets: []string{"ARGS:json.items.3.Name", "ARGS:json.items.3.Name"}, Threshold: 5, Score: 10},
			[]string{"rules 932235 and 942100 in ARGS:json.items.3.Name of /x", `rules 932235 and 942100 in ARGS:/\Ajson\.items\.[0-9]+\.name\z/ of /x`,
				"rules 932235 and 942100 in ARGS:json.items.3.Name of all paths", `rules 932235 and 942100 in ARGS:/\Ajson\.items\.[0-9]+\.name\z/ of all paths`,
				"rules 932235 and 942100 of /x", "rules 932235 and 942100 of all paths"}},
		// A rule scores for each value: 942100 and another do, and one of them twice.
		"more than once": {&coverage.Alarm{Path: "/x", Rules: []string{"942100", "920350"}, Targets: []string{"ARGS:*", "REQUEST_HEADERS:Host"}, Threshold: 5, Score: 13},
			[]string{"rule 942100 in ARGS of /x; rule 920350 in REQUEST_HEADERS:Host of /x", "rule 942100 in ARGS of all paths; rule 920350 in REQUEST_HEADERS:Host of all paths",
				"rules 920350 and 942100 of /x", "rules 920350 and 942100 of all paths"}},
		"a masked path": {&coverage.Alarm{Path: "/reset/*", Rules: []string{"942100"}, Targets: []string{"ARGS:q"}, Threshold: 5, Score: 5},
			[]string{"rule 942100 in ARGS:q of paths like /reset/[^/]+", "rule 942100 in ARGS:q of all paths", "rule 942100 of all paths"}},
	} {
		list, err := coverage.Propose(p, c.alarm)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got []string
		for i := range list {
			got = append(got, list[i].String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
	for name, a := range map[string]*coverage.Alarm{
		"below the threshold":    {Rules: []string{"942100"}, Targets: []string{"ARGS:q"}, Threshold: 5, Score: 4},
		"a body that is no JSON": {Rules: []string{"200002", "942100"}, Targets: []string{"REQBODY_ERROR", "ARGS:q"}, Threshold: 5, Score: 10},
		"nothing":                {Threshold: 5, Score: 5},
	} {
		if list, err := coverage.Propose(p, a); !errors.Is(err, coverage.ErrNothingToExclude) {
			t.Errorf("%s: %v, %v", name, list, err)
		}
	}
}

// TestDirectives holds of what is written that both engines take it, that the alarm is gone, and that what it is not about is still
// inspected: another path, another parameter, another shape, a second value, a second line.
func TestDirectives(t *testing.T) {
	p := program(t)
	const harmless, attack = "1 UNION SELECT a FROM b", "1' UNION SELECT password FROM users-- "
	shape, ok := coverage.ShapeOf(harmless)
	if !ok || shape.Name != "words" {
		t.Fatal(shape)
	}
	q := url.QueryEscape
	level := 1
	plain, err := waf.New(waf.DefaultConfig(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	found := func(w *waf.WAF, target string) bool {
		v := visit{method: "GET", target: target}
		return slices.Contains(inspect(w, v.request(), "", level).Rules, "942100")
	}
	res := inspect(plain, (&visit{method: "GET", target: "/order/7/it's?q=" + q(harmless)}).request(), "", level)
	if res.Score < 5 || !slices.Contains(res.Rules, "942100") {
		t.Fatalf("no alarm: %+v", res)
	}
	a := &coverage.Alarm{Method: "GET", Path: "/order/7/it's", Query: "q=*", Rules: res.Rules, Targets: res.Targets, Paranoia: level, Threshold: 5, Score: res.Score,
		Shapes: map[string]coverage.Shape{"ARGS:q": shape}}
	list, err := coverage.Propose(p, a)
	if err != nil {
		t.Fatal(err)
	}
	for i := range list {
		if require.Race && i > 0 {
			break // making the rules ready takes seconds then
		}
		before, after := list[i].Directives(p)
		for _, engine := range []string{waf.EngineFast, waf.EngineCoraza} {
			cfg := waf.DefaultConfig()
			cfg.Before, cfg.After, cfg.Engine = before, after, engine
			w, err := waf.New(cfg, t.TempDir())
			if err != nil || len(w.Uncovered()) > 0 {
				t.Fatalf("%s: %v, %v\n%s%s", &list[i], err, w.Uncovered(), before, after)
			}
			x := list[i].Exclusions[0]
			shaped, anywhere := x.Shape.Pattern != "", x.Path == "" && x.PathPattern == ""
			for _, c := range []struct {
				target string
				freed  bool
			}{
				{"/order/7/it%27s?q=" + q(harmless), true},
				{"/order/8/it%27s?q=" + q(harmless), x.Path == ""},
				{"/order/7/it%27s%0a/order/7/it%27s?q=" + q(harmless), anywhere},
				{"/other?q=" + q(harmless), anywhere},
				{"/order/7/it%27s?p=" + q(harmless), x.Target == ""},
				{"/order/7/it%27s?q=" + q(attack), !shaped},
				{"/order/7/it%27s?q=" + q(harmless) + "&Q=" + q(attack), !shaped},
				{"/order/7/it%27s?q=" + q(harmless+"\n"+attack), !shaped},
			} {
				if !found(plain, c.target) {
					t.Errorf("%s shows nothing", c.target)
				}
				if got := found(w, c.target); got == c.freed {
					t.Errorf("%s, %s: %s is found: %t", &list[i], engine, c.target, got)
				}
			}
		}
	}
}

// TestElements holds the same of values that stand in a list: each has to have the shape.
func TestElements(t *testing.T) {
	shape, _ := coverage.ShapeOf("1 UNION SELECT a FROM b")
	p := coverage.Proposal{Exclusions: []coverage.Exclusion{{Rules: []int{942190, 942100, 942270, 942360}, Target: `ARGS:/\Ajson\.items\.[0-9]+\.name\z/`, Path: "/api", Shape: shape}}}
	before, _ := p.Directives(program(t))
	for _, engine := range []string{waf.EngineFast, waf.EngineCoraza} {
		cfg := waf.DefaultConfig()
		cfg.Before, cfg.Engine = before, engine
		w, err := waf.New(cfg, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		for body, freed := range map[string]bool{
			`{"items":[{"name":"a"},{"name":"1 UNION SELECT a FROM b"}]}`:                                      true,
			`{"items":[{"name":"1 UNION SELECT a FROM b"},{"name":"1' UNION SELECT password FROM users-- "}]}`: false,
			`{"items":[{"other":"1 UNION SELECT a FROM b"}]}`:                                                  false,
		} {
			v := visit{method: "POST", target: "/api", media: "application/json", body: body}
			if got := inspect(w, v.request(), body, 1).Score; (got < 5) != freed {
				t.Errorf("%s: %s scores %d, want it freed: %t", engine, body, got, freed)
			}
		}
	}
}

// TestWeigh: the wider, the dearer; a shape is the narrowest there is.
func TestWeigh(t *testing.T) {
	c := loaded(t).Every(8 * require.Stride(4))
	shape, _ := coverage.ShapeOf("12")
	a := alarm(&shape)
	list, err := coverage.Propose(program(t), a)
	if err != nil {
		t.Fatal(err)
	}
	if err := coverage.Weigh(t.Context(), c, coverage.Setting{WAF: waf.DefaultConfig(), Paranoia: 1, Threshold: 5}, a, list); err != nil {
		t.Fatal(err)
	}
	last := list[len(list)-1].Price
	if p := list[0].Price; p.LostPlaced != 0 || p.Lost != 0 || p.Share() != 0 || p.Placed < 20 || p.Attacks < 50 {
		t.Errorf("%s costs %+v", &list[0], p)
	}
	if last.Lost == 0 && !require.Race || last.LostPlaced < list[1].Price.LostPlaced || last.LostPlaced > 0 && len(last.Examples) == 0 {
		t.Errorf("%s costs %+v", &list[len(list)-1], last)
	}
	for i := range list {
		if list[i].Price.Placed != last.Placed || list[i].Price.Attacks != last.Attacks {
			t.Errorf("%s is measured by something else: %+v", &list[i], list[i].Price)
		}
	}
}

func TestCount(t *testing.T) {
	p := program(t)
	list, err := coverage.Propose(p, alarm(nil))
	if err != nil {
		t.Fatal(err)
	}
	host := "REQUEST_HEADERS:Host"
	coverage.Count(p, list, []coverage.Alarm{
		{Path: "/order/1042/find", Rules: []string{"942100"}, Targets: []string{"ARGS:q"}, Threshold: 5, Score: 5, Count: 3},
		{Path: "/order/7/find", Rules: []string{"942100", "920350"}, Targets: []string{"ARGS:Q", host}, Threshold: 5, Score: 8, Count: 10},
		{Path: "/order/7/find", Rules: []string{"942100", "920350"}, Targets: []string{"ARGS:q", host}, Threshold: 5, Score: 13}, // more than once
		{Path: "/order/7/find", Rules: []string{"942100", "941100"}, Targets: []string{"ARGS:q", "ARGS:q"}, Threshold: 5, Score: 10},
		{Path: "/", Rules: []string{"942100"}, Targets: []string{"ARGS:q"}, Threshold: 5, Score: 5, Count: 100},
		{Path: "/", Rules: []string{"942100"}, Targets: []string{"ARGS:r"}, Threshold: 5, Score: 5, Count: 1000},
		{Path: "/", Rules: []string{"942100"}, Targets: []string{"ARGS:r"}, Threshold: 10, Score: 5, Count: 10000},
	})
	var freed []int64
	for i := range list {
		freed = append(freed, list[i].Freed)
	}
	if want := []int64{3, 13, 113, 3, 1113}; !slices.Equal(freed, want) {
		t.Errorf("%v are freed, want %v", freed, want)
	}
}

func TestShapeOf(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
	}{
		{[]string{"1", "-2.50"}, "a number"}, {[]string{"019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10"}, "a UUID"}, {[]string{"2026-11-23T04:05:06Z", "2026-11-23"}, "a time"},
		{[]string{"a_b.c"}, "a name"}, {[]string{"ann@shop.example"}, "a mail address"}, {[]string{"docs/a/b.txt"}, "a path"},
		{[]string{"../../etc/passwd"}, "of letters, ./ alone, 16 to 16 characters"}, {[]string{"https://shop.example/a?b=c"}, "an address"},
		{[]string{"red lamp", "don't, it's O'Neil."}, "words"}, {[]string{"One (two).\nThree \"four\"!"}, "prose"}, {[]string{"1' or '1'='1"}, "of letters, digits, blanks, '= alone, 8 to 16 characters"},
		{nil, ""}, {[]string{""}, ""}, {[]string{"\xff"}, ""},
	} {
		got, ok := coverage.ShapeOf(c.values...)
		if got.Name != c.want || ok != (c.want != "") {
			t.Errorf("%q: %q, want %q", c.values, got.Name, c.want)
		}
	}
}

// TestShapesAsDirectives holds that each shape can be written between quotes, with every character that there is in ASCII.
func TestShapesAsDirectives(t *testing.T) {
	values := []string{"1", "019a8f3c-5b1e-7c44-9d07-2f6f5b7c1a10", "0123456789abcdef", "2026-11-23", "a.b", "a@b.example", "/a/b", "QUJDREVGR0hJSktMTU5PUA==", "http://a.example/", "red lamp", "One (two)."}
	for from := rune(' '); from < 0x7f; from += 24 {
		text := "é– "
		for c := from; c < min(from+24, 0x7f); c++ {
			text += string(c)
		}
		values = append(values, text)
	}
	directives := ""
	for i, v := range values {
		s, ok := coverage.ShapeOf(v)
		if !ok {
			t.Fatalf("%q has no shape", v)
		}
		p := coverage.Proposal{Exclusions: []coverage.Exclusion{{Rules: []int{1}, Target: "ARGS:q" + fmt.Sprint(i), Path: "/" + v, Shape: s}}}
		before, _ := p.Directives(nil)
		directives += before + fmt.Sprintf("SecRule ARGS:q \"@rx %s\" \"id:%d,phase:2,pass,log,msg:'fits'\"\n", s.Expression(), 80_000+i)
	}
	w, err := coraza.NewWAF(coraza.NewWAFConfig().WithRootFS(coreruleset.FS).WithDirectives(directives))
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range values {
		tx := w.NewTransaction()
		tx.ProcessURI("/?q="+url.QueryEscape(v), "GET", "HTTP/1.1")
		tx.ProcessRequestHeaders()
		if _, err := tx.ProcessRequestBody(); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, m := range tx.MatchedRules() {
			found = found || m.Rule().ID() == 80_000+i
		}
		if !found {
			t.Errorf("%q does not fit its own shape", v)
		}
		_ = tx.Close()
	}
}
