package match

import (
	"math/rand/v2"
	"testing"

	"github.com/testudo-sec/testudo/signal"
)

// TestSimplifyAnswersAlike compares random conditions with what they are simplified to, which must leave
// them as they were.
func TestSimplifyAnswersAlike(t *testing.T) {
	d := dice(rand.New(rand.NewPCG(1, 2)).IntN)
	shorter := 0
	for range 300 {
		rules := d.rules()
		constants := constantsOf(rules)
		for _, r := range rules {
			before := String(r.Expr)
			x := Simplify(r.Expr)
			if String(r.Expr) != before {
				t.Fatalf("%s\nwas changed into\n%s", before, String(r.Expr))
			}
			if len(String(x)) < len(before) {
				shorter++
			}
			for range 5 {
				if e := d.event(constants); Eval(r.Expr, e) != Eval(x, e) {
					t.Fatalf("%s\nis %v, simplified it is %v:\n%s", before, Eval(r.Expr, e), Eval(x, e), String(x))
				}
			}
		}
	}
	if shorter == 0 {
		t.Error("nothing became shorter: the test shows nothing")
	}
}

func TestSimplifyJoinsWhatAsksTheSame(t *testing.T) {
	path := func(steps ...Step) Operand { return Operand{Field: signal.FieldFilePath, Steps: steps} }
	for _, tt := range []struct {
		x    Expr
		want string
	}{
		{Or{Text(path(), OpEqual, false, "a"), Or{Text(path(), OpEqual, false, "b")}}, "file.path is any of 'a', 'b'"},
		{Or{Text(path(), OpEqual, false, "a"), Text(path(), OpEqual, true, "b")}, "file.path is 'a' or file.path is 'b' (any case)"},
		{Or{Text(path(), OpEqual, false, "a"), Text(path(StepLower), OpEqual, false, "b")}, "file.path is 'a' or lower(file.path) is 'b'"},
		{Or{Text(Operand{Field: signal.FieldProcessLineage, At: 1}, OpEqual, false, "a"), Text(Operand{Field: signal.FieldProcessLineage, At: 2}, OpEqual, false, "a")},
			"process.lineage[1] is 'a' or process.lineage[2] is 'a'"},
		{And{Const(true), Not{Not{Text(path(), OpEqual, false, "a")}}}, "file.path is 'a'"},
		{And{Text(path(), OpEqual, false, "a"), Const(false)}, "never"},
	} {
		if got := String(Simplify(tt.x)); got != tt.want {
			t.Errorf("%s becomes %s, want %s", String(tt.x), got, tt.want)
		}
	}
}
