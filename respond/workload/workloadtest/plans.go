package workloadtest

import (
	"context"
	"strings"
	"testing"

	"github.com/testudo-sec/testudo/respond"
)

// Plans checks what a responder plans, and that plans change nothing of the machine.
func Plans(t *testing.T, m *Machine, r respond.Responder, plans ...Plan) {
	t.Helper()
	before := m.World()
	for _, c := range plans {
		p, err := r.Plan(context.Background(), c.Request)
		if err != nil {
			t.Errorf("%+v: %v", c.Request, err)
			continue
		}
		text := p.Radius.Summary + "\n" + strings.Join(p.Radius.Warnings, "\n")
		for _, want := range c.Says {
			if !strings.Contains(text, want) {
				t.Errorf("%s says\n%s\nwithout %q", c.Request.Target, text, want)
			}
		}
		for _, not := range c.SaysNot {
			if strings.Contains(text, not) {
				t.Errorf("%s says\n%s\nwith %q", c.Request.Target, text, not)
			}
		}
		if p.Radius.Summary == "" || strings.Contains(text, "\x1b") {
			t.Errorf("%s says %q", c.Request.Target, text)
		}
		if (p.Refusal == "") != (c.Refusal == "") || !strings.Contains(p.Refusal, c.Refusal) || p.Forceable != c.Forceable {
			t.Errorf("%s is refused: %q, %v; want %q, %v", c.Request.Target, p.Refusal, p.Forceable, c.Refusal, c.Forceable)
		}
	}
	if m.World() != before || len(m.Orders) > 0 {
		t.Error("plans changed something: ", m.World(), m.Orders)
	}
}
