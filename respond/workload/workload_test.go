package workload_test

import (
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/respond/workload"
	"github.com/testudo-sec/testudo/respond/workload/workloadtest"
)

func TestProtection(t *testing.T) {
	for _, bad := range []workload.Protection{{Executables: []string{"sshd"}}, {Executables: []string{"/usr/[bin"}}, {Containers: []string{""}}, {Containers: []string{" x"}}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	good := workload.DefaultProtection()
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
}

// What is listed under containers is left alone by whatever of it is named, and nothing else is.
func TestProtectedContainers(t *testing.T) {
	m := workloadtest.New()
	id := m.Known["web"].Target
	for listed, want := range map[string]bool{"web": true, "shop/web": true, id: true, id[:12]: true, id[:11]: false, id[1:20]: false, "we": false, "shop": false} {
		p := workload.Planner{Hand: m, Kind: "kill", MaxProcesses: 10, Protect: workload.Protection{Containers: []string{"other", listed}}}
		for _, r := range []respond.Request{workloadtest.Person("kill", "web"), workloadtest.Rule("kill", "77")} {
			plan, _, err := p.Plan(t.Context(), &r, workload.Kill)
			if err != nil || (plan.Refusal != "") != want || plan.Forceable {
				t.Errorf("%q listed, %s: %+v, %v", listed, r.Target, plan, err)
			}
		}
		r := workloadtest.Person("kill", "host")
		if plan, _, err := p.Plan(t.Context(), &r, workload.Kill); err != nil || plan.Refusal != "" {
			t.Errorf("%q listed, and what is in no container: %+v, %v", listed, plan, err)
		}
	}
}

// A plan has the target in its one form, and groups what is in the same container.
func TestPlanner(t *testing.T) {
	m := workloadtest.New()
	p := workload.Planner{Hand: m, Kind: "kill", MaxProcesses: 2}
	for target, want := range map[string]string{"web": "", "host": "", "crowd": "respond.kill.max_processes lets rules touch 2 at once"} {
		r := workloadtest.Rule("kill", target)
		known := m.Known[target]
		plan, d, err := p.Plan(t.Context(), &r, workload.Kill)
		if err != nil || plan.Target != known.Target || plan.Group != known.Container.ID || d.Count != known.Count || !strings.Contains(plan.Refusal, want) || (want == "") != (plan.Refusal == "") {
			t.Errorf("%s: %+v, %v", target, plan, err)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{workload.Describe(workload.Process{PID: 7, Name: "sh", Exe: "/bin/sh"}), "sh (7)"},
		{workload.Describe(workload.Process{PID: 7, Name: "sh", Exe: "/bin/busybox"}), "sh (7, /bin/busybox)"},
		{workload.Describe(workload.Process{PID: 7, Name: "a\x1b[2J\u202e", Exe: ""}), "a?[2J? (7)"},
		{workload.List(make([]workload.Process, 6), 6), " (0),  (0),  (0),  (0),  (0) and 1 more"},
		{workload.List(nil, 0), ""},
		{workload.Container{}.String(), "no container"},
		{workload.Container{ID: "0123456789abcdef"}.String(), "0123456789ab"},
		{workload.Container{ID: "0123456789abcdef", Name: "web", Image: "shop\n", Pod: "p", Namespace: "n"}.String(), "web (0123456789ab) of shop? in pod n/p"},
		{workload.Printable(strings.Repeat("ö", 81)), strings.Repeat("ö", 80) + "…"},
		{workload.Printable("\xff"), "?"},
		{workload.Plural(1, "process", "processes"), "1 process"},
		{workload.Plural(0, "process", "processes"), "0 processes"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
