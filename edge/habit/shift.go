package habit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Shift is a change of what is normal, however slowly it came: what was known first is compared with what is known now.
type Shift struct {
	Time     time.Time `json:"time"`
	Route    string    `json:"route"`
	Method   string    `json:"method"`
	Template string    `json:"template"`
	Place    Place     `json:"place"`
	Name     string    `json:"name"`
	Text     string    `json:"text"` // "others now have < and '; up to 512 characters, it was 64"
}

// settled is what a norm was when a shift of it was last told of, or when it was known first.
type settled struct {
	Set  set `json:"set"`
	Step int `json:"step"`
}

// maxShifts bounds the shifts that are kept of one parameter.
const maxShifts = 4

// settle compares the norms of an endpoint with what they were.
func (e *endpoint) settle(now time.Time, key endpointKey, n *norm, requests int) {
	for i := range n.of {
		pn := &n.of[i]
		p := e.params[pn.key]
		if !pn.known {
			continue
		}
		usual, longest := pn.without(0), pn.longest(0)
		if p.settled == nil {
			if values(p) >= 4*requests {
				p.settled = &settled{usual, longest}
			}
			continue
		}
		var parts []string
		if fresh := usual &^ p.settled.Set; fresh != 0 {
			if chars := charNames(fresh &^ plainValue); chars != "" {
				parts = append(parts, "others now have "+chars)
			}
			if f := fresh & (plainValue | 1<<structured | 1<<null); f != 0 {
				parts = append(parts, "others now send "+namesOf(f))
			}
			if fresh&(1<<repeated) != 0 {
				parts = append(parts, "others now send it more than once")
			}
		}
		if longest > p.settled.Step+1 { // twice as long
			parts = append(parts, fmt.Sprintf("up to %d characters, it was %d", upTo(longest), upTo(p.settled.Step)))
		} else {
			longest = p.settled.Step
		}
		if len(parts) == 0 {
			continue
		}
		p.settled.Set |= usual
		p.settled.Step = longest
		if len(p.shifts) == maxShifts {
			p.shifts = slices.Delete(p.shifts, 0, 1)
		}
		p.shifts = append(p.shifts, Shift{now, key.route, key.method, key.template, pn.key.place, pn.key.name, strings.Join(parts, "; ")})
	}
}

func values(p *param) int {
	total := 0
	for _, c := range p.slots {
		if c != nil {
			total += int(c.values)
		}
	}
	return total
}

// Shifts lists what has shifted, latest first, at most 4 of a parameter.
func (h *Habits) Shifts() []Shift {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Shift
	for _, e := range h.endpoints {
		for _, p := range e.params {
			all = append(all, p.shifts...)
		}
	}
	slices.SortFunc(all, func(a, b Shift) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Route, b.Route), cmp.Compare(a.Template, b.Template), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Name, b.Name))
	})
	return all
}
