package hostrules

import (
	"fmt"
	"io"

	"github.com/testudo-sec/testudo/kernel"
	"github.com/testudo-sec/testudo/policy"
)

// hookNames name the hooks as people know them.
var hookNames = map[kernel.Hook]string{kernel.HookExec: "exec", kernel.HookOpen: "open", kernel.HookConnect: "connect"}

// Print writes which parts of the rules that refuse the kernel enforces by itself, and which wait for a gate that asks the
// judge, or for a kill after the fact. It writes nothing where no rule refuses anything of a host.
func (p *Plan) Print(w io.Writer) error {
	type place struct {
		rule string
		hook kernel.Hook
	}
	var order []place
	alone := map[place]int{}
	rest := map[place][]Residue{}
	note := func(rule string, h kernel.Hook) place {
		at := place{rule, h}
		if alone[at] == 0 && rest[at] == nil {
			order = append(order, at)
		}
		return at
	}
	for i := range p.Clauses {
		alone[note(p.Clauses[i].Rule.Rule, p.Clauses[i].Rule.Hook)]++
	}
	for _, r := range p.Residue {
		at := note(r.Rule, r.Hook)
		rest[at] = append(rest[at], r)
	}
	for _, at := range order {
		text := "the kernel refuses it by itself"
		switch n := len(rest[at]); {
		case n > 0 && alone[at] > 0:
			text = "the kernel refuses some of it by itself, but not all"
		case n > 0:
			text = "the kernel refuses none of it by itself"
		}
		if _, err := fmt.Fprintf(w, "%s: %s: %s\n", policy.Printable(at.rule, 200), hookNames[at.hook], text); err != nil {
			return err
		}
		for _, r := range rest[at] {
			how := "who did it is killed after, unless it is confined (testudo run)"
			if r.Ask {
				how = "the judge is asked first (fanotify)"
			}
			if _, err := fmt.Fprintf(w, "    %s: %s\n", how, policy.Printable(r.Why, 300)); err != nil {
				return err
			}
		}
	}
	return nil
}
