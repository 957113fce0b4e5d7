package habit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/testudo-sec/testudo/internal/urlmask"
)

// snapshot is the form of what Snapshot writes. Fields may be added; anything else is a new version.
type snapshot struct {
	Version   int             `json:"version"`
	Endpoints []savedEndpoint `json:"endpoints"`
}

type savedEndpoint struct {
	Route    string           `json:"route"`
	Method   string           `json:"method"`
	Template string           `json:"template"`
	Requests [numSlots]uint16 `json:"requests"`
	Full     bool             `json:"full,omitempty"`
	Params   []savedParam     `json:"params,omitempty"`
}

type savedParam struct {
	Place   Place            `json:"place"`
	Name    string           `json:"name"`
	Last    time.Time        `json:"last"`
	Settled *settled         `json:"settled,omitempty"`
	Shifts  []Shift          `json:"shifts,omitempty"`
	Slots   map[int][]uint16 `json:"slots"` // requests, values, then trait and count in turn
}

const (
	snapshotVersion = 1
	maxSnapshot     = 256 << 20
)

// Snapshot writes all that was learned as one JSON text. It holds names of parameters and endpoints, and no values. The same knowledge gives the same bytes.
func (h *Habits) Snapshot() ([]byte, error) {
	h.mu.Lock()
	s := snapshot{Version: snapshotVersion}
	for key, e := range h.endpoints {
		se := savedEndpoint{Route: key.route, Method: key.method, Template: key.template, Requests: e.requests, Full: e.full}
		for pk, p := range e.params {
			se.Params = append(se.Params, p.saved(pk))
		}
		s.Endpoints = append(s.Endpoints, se)
	}
	h.mu.Unlock()
	slices.SortFunc(s.Endpoints, func(a, b savedEndpoint) int {
		return cmp.Or(cmp.Compare(a.Route, b.Route), cmp.Compare(a.Template, b.Template), cmp.Compare(a.Method, b.Method))
	})
	for i := range s.Endpoints {
		slices.SortFunc(s.Endpoints[i].Params, func(a, b savedParam) int { return cmp.Or(cmp.Compare(a.Place, b.Place), cmp.Compare(a.Name, b.Name)) })
	}
	b, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("habits: %w", err)
	}
	if len(b) > maxSnapshot {
		return nil, fmt.Errorf("habits: a snapshot of %d MiB is too large to be read again: lower habits.parameters", len(b)>>20)
	}
	return b, nil
}

func (p *param) saved(key paramKey) savedParam {
	sp := savedParam{Place: key.place, Name: key.name, Last: p.last, Shifts: slices.Clone(p.shifts), Slots: map[int][]uint16{}}
	if p.settled != nil {
		copied := *p.settled
		sp.Settled = &copied
	}
	for i, c := range p.slots {
		if c == nil {
			continue
		}
		list := []uint16{c.requests, c.values}
		for t, n := range c.traits {
			if n > 0 {
				list = append(list, uint16(t), n)
			}
		}
		sp.Slots[i] = list
	}
	return sp
}

// Restore replaces what was learned by what a snapshot holds, and makes it visible to Unusual. On an error nothing changes. What is beyond the limits of the Config, or
// could not have been learned, is left out.
func (h *Habits) Restore(b []byte, now time.Time) error {
	if len(b) > maxSnapshot {
		return errors.New("habits: the snapshot is larger than any that is written: remove it to begin anew")
	}
	var s snapshot
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("habits: the snapshot is damaged, remove it to begin anew: %w", err)
	}
	if s.Version != snapshotVersion {
		return fmt.Errorf("habits: the snapshot has version %d, this program reads %d: remove it to begin anew", s.Version, snapshotVersion)
	}
	endpoints, count := map[endpointKey]*endpoint{}, 0
	for i := range s.Endpoints {
		se := &s.Endpoints[i]
		if len(endpoints) >= h.config.Parameters || !isMethod(se.Method) {
			continue
		}
		e := &endpoint{requests: se.Requests, full: se.Full, params: map[paramKey]*param{}}
		for j := range e.requests {
			e.requests[j] = min(e.requests[j], maxCount)
		}
		for j := range se.Params {
			sp := &se.Params[j]
			key := paramKey{sp.Place, sp.Name}
			if sp.Place > InBody || len(sp.Name) > maxPath || sp.Place != InBody && !urlmask.PlainName(sp.Name) || e.params[key] != nil {
				continue
			}
			if count >= h.config.Parameters || len(e.params) >= h.config.Each {
				e.full = true
				continue
			}
			p := sp.param()
			if p.filled() == 1 {
				s := slices.IndexFunc(p.slots[:], func(c *slot) bool { return c != nil })
				p.alone = uint8(s + 1)
				e.alone[s]++
			}
			e.params[key] = p
			count++
		}
		endpoints[endpointKey{se.Route, se.Method, se.Template}] = e
	}
	h.mu.Lock()
	h.endpoints, h.count = endpoints, count
	h.mu.Unlock()
	h.Refresh(now)
	return nil
}

func (sp *savedParam) param() *param {
	p := &param{last: sp.Last, settled: sp.Settled, shifts: sp.Shifts[:min(len(sp.Shifts), maxShifts)]}
	if p.settled != nil {
		p.settled.Step = min(max(p.settled.Step, 0), numLengths-1)
	}
	for i, list := range sp.Slots {
		if i < 0 || i >= numSlots || len(list) < 2 {
			continue
		}
		c := &slot{requests: min(list[0], maxCount), values: min(list[1], maxCount)}
		for list = list[2:]; len(list) >= 2; list = list[2:] {
			if int(list[0]) < len(c.traits) {
				c.traits[list[0]] = min(list[1], c.values)
			}
		}
		p.slots[i] = c
	}
	return p
}
