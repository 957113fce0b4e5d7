package rxset

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestPlanIsBounded holds that expressions whose automata are large take no more work than is given, however many there are, and that they are found all the same.
func TestPlanIsBounded(t *testing.T) {
	t.Parallel()
	for _, small := range []bool{false, true} {
		s := &Set{fuelBase: fuelBase, patterns: make([]pattern, 400), always: NewBits(400), unasked: NewBits(400)}
		s.steppers.New = func() any { return new(stepper) }
		pl := newPlanner(s, nil, Options{Memory: 1 << 20, Small: small})
		pl.words = make([]words, len(s.patterns))
		for i := range s.patterns {
			s.patterns[i].Expr, s.patterns[i].group = fmt.Sprintf(`(?i)[^\pL]{1,60}\pL{5,400}%d`, i), -1
			re, err := parse(s.patterns[i].Expr)
			if err != nil {
				t.Fatal(err)
			}
			pl.trees = append(pl.trees, re)
		}
		pl.plan()
		if most := planFuel + 2*planPerNode*(3*maxTogether); pl.work < -most {
			t.Errorf("small %t: %d too much was done", small, -pl.work)
		}
	}
	list := []Pattern{{Expr: "union.*select"}}
	for i := range 200 {
		list = append(list, Pattern{Expr: fmt.Sprintf(`\pL{300}x%d`, i)})
	}
	s, err := New(list, Options{Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	m := s.NewScratch()
	for _, text := range []string{strings.Repeat("é", 300) + "x17 union all select", "x17", "union select"} {
		got := s.Match(text, m)
		for _, i := range []int{0, 1, 2, 18, 200} {
			if want := regexp.MustCompile(list[i].Expr).MatchString(text); got.Has(i) != want {
				t.Errorf("%s in %.20q: %t", list[i].Expr, text, !want)
			}
		}
	}
	if st := s.Stats(); st.Left == 0 {
		t.Errorf("%+v: nothing is left to the plain matchers", st)
	}
}
