package hostrules

import (
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/kernel/record"
	"github.com/testudo-sec/testudo/policy"
	"github.com/testudo-sec/testudo/policy/match"
	"github.com/testudo-sec/testudo/signal"
)

// TestNothingIsNotEverything: a list without members holds for nothing, where no list would hold for all.
func TestNothingIsNotEverything(t *testing.T) {
	for _, c := range []struct{ on, when string }{
		{"process_activity", `activity_id == 1 && process.file.path in []`},
		{"process_activity", `activity_id == 1 && process.file.name in []`},
		{"process_activity", `activity_id == 1 && process.file.path == "/x" && process.user.uid in []`},
		{"process_activity", `activity_id == 1 && process.file.path == "/x" && process.parent_process.file.path in []`},
		{"file_activity", `activity_id in [1, 3, 14] && file.path in []`},
		{"network_activity", `activity_id == 1 && connection_info.direction_id == 2 && dst_endpoint.port in []`},
		{"network_activity", `activity_id == 1 && connection_info.direction_id == 2 && cidr(dst_endpoint.ip, "10.0.0.0/8") && dst_endpoint.port in []`},
		{"process_activity", `activity_id == 1 && process.file.path == "/x" && container.image.name in []`},
	} {
		p := Compile(rule(t, c.on, c.when, "deny"))
		if got := p.Guard([]kernel.Workload{{Cgroup: 7, Container: kernel.Container{ID: "c"}}}, func(string) bool { return true }); len(got) > 0 {
			t.Errorf("%s refuses %+v", c.when, got)
		}
	}
	got := Compile(rule(t, "process_activity", `activity_id == 1 && process.file.path == "/x" && !(process.user.uid in [])`, "deny"))
	if len(got.Clauses) != 1 || len(got.Residue) > 0 || got.Clauses[0].Rule.UIDs != nil {
		t.Errorf("%+v", got)
	}
}

// world is an attempt to run a program, as the kernel and the rules see it.
type world struct {
	exe, parent, uid, line string
	cgroup                 uint64
}

func (w *world) event(of []kernel.Workload) *signal.Event {
	e := &signal.Event{Class: signal.ClassProcessActivity, Activity: 1, Plane: signal.PlaneKernel}
	for f, v := range map[signal.Field]string{signal.FieldProcessFilePath: w.exe, signal.FieldProcessParentProcessFilePath: w.parent, signal.FieldProcessUserUID: w.uid,
		signal.FieldProcessCmdLine: w.line} {
		if v != "" {
			e.SetString(f, v)
		}
	}
	if w.exe != "" {
		e.SetString(signal.FieldProcessFileName, path.Base(w.exe))
	}
	e.SetUnmapped("evt.type", record.CallExecve.String())
	for i := range of {
		if of[i].Cgroup == w.cgroup {
			of[i].Container.Describe(e)
		}
	}
	return e
}

// refuses says what the kernel does with a piece of a rule, by the definition of kernel.GuardRule.
func (w *world) refuses(r *kernel.GuardRule) bool {
	in := func(p *kernel.Paths, v string) bool {
		return p.Empty() || slices.Contains(p.Exact, v) || slices.Contains(p.Name, path.Base(v)) && v != "" ||
			slices.ContainsFunc(p.Prefix, func(b string) bool { return strings.HasPrefix(v, b) })
	}
	uid, _ := strconv.ParseUint(w.uid, 10, 32)
	workload := r.Cgroups == nil && !r.Host || slices.Contains(r.Cgroups, w.cgroup) || r.Host && w.cgroup == 0
	return workload && in(&r.Exe, w.exe) && in(&r.Parent, w.parent) && (r.UIDs == nil || w.uid != "" && slices.Contains(r.UIDs, uint32(uid)))
}

// TestClausesAreTheRule holds what the kernel refuses by itself to the rule: never more and, where nothing is left to another gate, never less.
func TestClausesAreTheRule(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(all ...string) string { return all[random.IntN(len(all))] }
	texts := func() []string {
		return slices.Repeat([]string{pick("/bin/a", "/bin/b", "/tmp/a", "/bin")}, random.IntN(3))
	}
	text := func(f signal.Field, op match.Op, all ...string) match.Expr {
		return match.Text(match.Operand{Field: f}, op, false, all...)
	}
	var expr func(depth int) match.Expr
	expr = func(depth int) match.Expr {
		if depth > 0 && random.IntN(4) > 0 {
			switch random.IntN(3) {
			case 0:
				return match.Not{Part: expr(depth - 1)}
			case 1:
				return match.And{expr(depth - 1), expr(depth - 1)}
			}
			return match.Or{expr(depth - 1), expr(depth - 1)}
		}
		field := []signal.Field{signal.FieldProcessFilePath, signal.FieldProcessFilePath, signal.FieldProcessParentProcessFilePath}[random.IntN(3)]
		switch random.IntN(9) {
		case 0:
			return text(field, match.OpPrefix, pick("/bin/", "/tmp/a", "/"))
		case 1:
			return text(field, match.OpPathPrefix, "/bin")
		case 2:
			return text(signal.FieldProcessFileName, match.OpEqual, pick("a", "b"))
		case 3:
			return text(signal.FieldProcessUserUID, match.OpEqual, pick("0", "33", "x"))
		case 4:
			return &match.Atom{On: match.Operand{Field: signal.FieldContainerUID}, Op: match.OpExists}
		case 5:
			return text(signal.FieldContainerImageName, match.OpEqual, pick("shop", "other"))
		case 6:
			return text(signal.FieldProcessCmdLine, match.OpContains, "x")
		case 7:
			return &match.Atom{On: match.Operand{Field: field, Steps: []match.Step{match.StepBasename}}, Op: match.OpEqual, Texts: []string{"a"}}
		}
		return text(field, match.OpEqual, texts()...)
	}
	running := []kernel.Workload{{Cgroup: 7, Container: kernel.Container{ID: "c", Image: "shop"}}, {Cgroup: 8, Container: kernel.Container{ID: "d"}}}
	exact, clauses := 0, 0
	for range 1500 {
		r := &policy.Rule{ID: "it", On: []signal.Class{signal.ClassProcessActivity}, Condition: expr(3), Then: signal.Deny}
		set, err := policy.NewSet([]*policy.Rule{r})
		if err != nil {
			t.Fatal(err)
		}
		p := Compile(set)
		guard := p.Guard(running, func(string) bool { return true })
		clauses += len(guard)
		left := slices.ContainsFunc(p.Residue, func(r Residue) bool { return r.Hook == kernel.HookExec })
		if !left {
			exact++
		}
		for range 30 {
			w := &world{exe: pick("/bin/a", "/bin/b", "/tmp/a", "/bin", "/other"), parent: pick("", "/bin/a", "/tmp/a"), uid: pick("0", "33"), line: pick("", "x"), cgroup: []uint64{0, 7, 8}[random.IntN(3)]}
			fires := match.Eval(r.Condition, w.event(running)) == match.Yes
			refused := slices.ContainsFunc(guard, func(g kernel.GuardRule) bool { return g.Hook == kernel.HookExec && w.refuses(&g) })
			if refused && !fires || !left && fires && !refused {
				t.Fatalf("%s\non %+v: fires %v, refused %v by\n%+v", match.String(r.Condition), *w, fires, refused, guard)
			}
		}
	}
	if exact < 100 || clauses < 100 {
		t.Errorf("%d rules without a residue and %d clauses: too few to say anything", exact, clauses)
	}
}
