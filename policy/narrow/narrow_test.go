package narrow

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

func path(op match.Op, texts ...string) match.Expr {
	return match.Text(match.Operand{Field: signal.FieldFilePath}, op, false, texts...)
}

func regex(pattern string) match.Expr {
	return &match.Atom{On: match.Operand{Field: signal.FieldFilePath}, Op: match.OpRegex, Regex: regexp.MustCompile(pattern)}
}

func TestReach(t *testing.T) {
	name := &match.Atom{On: match.Operand{Field: signal.FieldFilePath, Steps: []match.Step{match.StepBasename}}, Op: match.OpEqual, Texts: []string{"id_rsa"}}
	other := match.Text(match.Operand{Field: signal.FieldProcessName}, match.OpEqual, false, "sh")
	for _, c := range []struct {
		name string
		x    match.Expr
		want Texts
	}{
		{"equal", path(match.OpEqual, "/etc/shadow"), Texts{Exact: []string{"/etc/shadow"}}},
		{"the better of two", match.And{path(match.OpPrefix, "/etc/"), path(match.OpEqual, "/etc/shadow"), other}, Texts{Exact: []string{"/etc/shadow"}}},
		{"either", match.Or{path(match.OpPrefix, "/etc/"), path(match.OpEqual, "/x")}, Texts{Exact: []string{"/x"}, Prefix: []string{"/etc/"}}},
		{"either, or something else", match.Or{path(match.OpEqual, "/x"), other}, Texts{All: true}},
		{"not", match.Not{Part: path(match.OpEqual, "/x")}, Texts{All: true}},
		{"never", match.And{path(match.OpEqual, "/x"), match.Const(false)}, Texts{}},
		{"below", path(match.OpPathPrefix, "/etc"), Texts{Exact: []string{"/etc"}, Prefix: []string{"/etc/"}}},
		{"name", name, Texts{Exact: []string{"id_rsa"}, Suffix: []string{"/id_rsa"}}},
		{"case", match.Text(match.Operand{Field: signal.FieldFilePath}, match.OpEqual, true, "/X"), Texts{All: true}},
		{"an end that all texts have", path(match.OpSuffix, ""), Texts{All: true}},
		{"in lower case", match.Or{path(match.OpEqual, "/A"), &match.Atom{On: match.Operand{Field: signal.FieldFilePath, Steps: []match.Step{match.StepLower}},
			Op: match.OpSuffix, Texts: []string{".php"}}}, Texts{Lower: true, Exact: []string{"/a"}, Suffix: []string{".php"}}},
		{"regex, whole", regex(`^/etc/(passwd|shadow)$`), Texts{Exact: []string{"/etc/passwd", "/etc/shadow"}}},
		{"regex, beginning", regex(`^/etc/cron\.(d|daily)/[^/]+$`), Texts{Prefix: []string{"/etc/cron.d/", "/etc/cron.daily/"}}},
		{"regex, end", regex(`/\.ssh/(id_rsa|id_dsa)$`), Texts{Suffix: []string{"/.ssh/id_dsa", "/.ssh/id_rsa"}}},
		{"regex, inside", regex(`/\.aws/`), Texts{Inside: []string{"/.aws/"}}},
		{"regex, any case", regex(`(?i)^/etc/passwd$`), Texts{All: true}},
		{"regex, nothing sure", regex(`^.*[a-z]+$`), Texts{All: true}},
		{"regex, one way is open", regex(`^/etc/|x*`), Texts{All: true}},
		{"glob", path(match.OpGlob, "/etc/*.conf"), Texts{Prefix: []string{"/etc/"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, Reach(c.x, signal.FieldFilePath), cmpopts.EquateEmpty()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// holds reports whether a text is in the set, by the set's definition.
func (t *Texts) holds(v string) bool {
	if t.Lower {
		v, _ = match.ApplySteps([]match.Step{match.StepLower}, v)
	}
	in := func(list []string, f func(string, string) bool) bool {
		return slices.ContainsFunc(list, func(c string) bool { return f(v, c) })
	}
	return t.All || slices.Contains(t.Exact, v) || in(t.Prefix, strings.HasPrefix) || in(t.Suffix, strings.HasSuffix) || in(t.Inside, strings.Contains)
}

// randomExpr makes conditions over file.path, process.name and activity_id.
func randomExpr(r *rand.Rand, depth int) match.Expr {
	texts := []string{"/a", "/a/b", "b", "/", "/a/", "c", ""}
	one := func() string { return texts[r.IntN(len(texts))] }
	if depth == 0 || r.IntN(4) == 0 {
		field := []signal.Field{signal.FieldFilePath, signal.FieldProcessName}[r.IntN(2)]
		switch r.IntN(4) {
		case 0:
			return match.Int(match.Operand{Field: signal.FieldActivityID}, match.IntIs(int64(r.IntN(3))))
		case 1:
			patterns := []string{"^/a", "b$", "^/a/b$", "/a/", "(^/a|b)/?b$", "[ab]+", "^(/a)?/b", "^/(a|b)/.*c$", "a{2}", "(^|/)a"}
			return &match.Atom{On: match.Operand{Field: field}, Op: match.OpRegex, Regex: regexp.MustCompile(patterns[r.IntN(len(patterns))])}
		case 2:
			steps := [][]match.Step{{match.StepBasename}, {match.StepFolder}, {match.StepLower}}[r.IntN(3)]
			return match.Text(match.Operand{Field: field, Steps: steps}, []match.Op{match.OpEqual, match.OpPrefix}[r.IntN(2)], r.IntN(4) == 0, one())
		}
		ops := []match.Op{match.OpEqual, match.OpPrefix, match.OpSuffix, match.OpContains, match.OpGlob, match.OpPathPrefix}
		return match.Text(match.Operand{Field: field}, ops[r.IntN(len(ops))], r.IntN(5) == 0, one(), one())
	}
	a, b := randomExpr(r, depth-1), randomExpr(r, depth-1)
	switch r.IntN(4) {
	case 0:
		return match.Not{Part: a}
	case 1:
		return match.Or{a, b}
	case 2:
		return match.And{a, b, randomExpr(r, depth-1)}
	}
	return match.And{a, b}
}

func randomEvent(r *rand.Rand) *signal.Event {
	e := &signal.Event{Activity: uint8(r.IntN(3))}
	texts := []string{"/a", "/a/b", "/b/c", "b", "/a/b/c", "/A", "/ab", "/b/b", "/", "", "aa", "/a/"}
	if r.IntN(5) > 0 {
		e.SetString(signal.FieldFilePath, texts[r.IntN(len(texts))])
	}
	if r.IntN(3) > 0 {
		e.SetString(signal.FieldProcessName, texts[r.IntN(len(texts))])
	}
	return e
}

// TestAgreesWithEval holds the three to the definition of conditions.
func TestAgreesWithEval(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		x := randomExpr(r, 3)
		set := Reach(x, signal.FieldFilePath)
		ways, few := Alternatives(x, 1000)
		for range 10 {
			e := randomEvent(r)
			want := match.Eval(x, e)
			if want == match.Yes && !set.holds(e.Str(signal.FieldFilePath)) {
				t.Fatalf("%s holds for %q, which is not in reach: %+v", match.String(x), e.Str(signal.FieldFilePath), set)
			}
			got := match.No
			for _, way := range ways {
				if match.Eval(way, e) == match.Yes {
					got = match.Yes
				}
			}
			if few && got != want {
				t.Fatalf("%s is %v, its alternatives say %v", match.String(x), want, got)
			}
			k := &Known{Examples: []*signal.Event{e}, Fields: map[signal.Field]bool{signal.FieldProcessName: true, signal.FieldActivityID: true}}
			if got := match.Eval(Assume(x, k), e); got != want {
				t.Fatalf("%s is %v, and %v once name and activity are known", match.String(x), want, got)
			}
		}
	}
}

func TestAssumeLeavesOpenWhatExamplesDoNotAgreeOn(t *testing.T) {
	one, two := new(signal.Event), new(signal.Event)
	one.SetStrings(signal.FieldOpenFlags, []string{"O_RDONLY"})
	two.SetStrings(signal.FieldOpenFlags, []string{"O_RDONLY", "O_CLOEXEC"})
	k := &Known{Examples: []*signal.Event{one, two}, Fields: map[signal.Field]bool{signal.FieldOpenFlags: true}}
	flag := func(name string) match.Expr {
		return match.Text(match.Operand{Field: signal.FieldOpenFlags}, match.OpEqual, false, name)
	}
	for name, want := range map[string]string{"O_RDONLY": "true", "O_WRONLY": "false"} {
		if got := fmt.Sprint(Assume(flag(name), k)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	if got, isAtom := Assume(flag("O_CLOEXEC"), k).(*match.Atom); !isAtom {
		t.Errorf("O_CLOEXEC is taken for %v", got)
	}
}

func TestAlternativesAreBounded(t *testing.T) {
	var x match.And
	for i := range 20 {
		x = append(x, match.Or{path(match.OpEqual, fmt.Sprint(i)), path(match.OpPrefix, fmt.Sprint(i))})
	}
	if _, ok := Alternatives(x, 64); ok {
		t.Error("2^20 alternatives are within 64")
	}
}
