package api

import (
	"maps"
	"slices"

	"github.com/testudo-sec/testudo/edge/api/inventory"
	"github.com/testudo-sec/testudo/edge/habit"
)

// Status is how APIs are guarded now.
type Status struct {
	Routes    []RouteStatus // by name
	Endpoints int           // that are known of all routes
	Most      int           // that are kept at most
	Full      uint64        // what was not learned since the start because there was no room
	Habits    HabitsStatus
	Unsaved   string // why what was learned could not be saved last; "" where it was
}

// HabitsStatus is what is known of parameters now.
type HabitsStatus struct {
	Parameters int // of which it is learned what is normal
	Most       int // that are kept at most
	Crammed    int // endpoints that have more than are kept of one
}

// RouteStatus is how one route is guarded now.
type RouteStatus struct {
	Name        string
	Document    string   // file; "" where there is none
	Title       string   // of the document
	Operations  int      // that it describes
	Warnings    []string // what of it is not enforced
	Inventory   bool     // it is learned which endpoints there are
	Masked      bool     // data that should not leave is made unreadable
	Keys        error    // why keys of tokens could not be read last
	Descriptors bool     // gRPC calls wait for descriptors that their server has not told yet
}

// Status says how APIs are guarded now. Routes that nothing is looked at of are not among them.
func (g *Guard) Status() Status {
	counts := g.inventory.Stats()
	s := Status{Endpoints: counts.Endpoints, Most: g.cfg.Inventory.Endpoints, Full: counts.Full}
	if s.Most == 0 {
		s.Most = inventory.Default().Endpoints
	}
	h := g.habits.Stats()
	s.Habits = HabitsStatus{Parameters: h.Parameters, Most: g.cfg.Habits.Parameters, Crammed: h.Crammed}
	if s.Habits.Most == 0 {
		s.Habits.Most = habit.Default().Parameters
	}
	if why := g.unsaved.Load(); why != nil {
		s.Unsaved = *why
	}
	for _, name := range slices.Sorted(maps.Keys(g.routes)) {
		r := g.routes[name]
		one := RouteStatus{Name: name, Document: r.cfg.Document, Inventory: r.cfg.Inventory, Masked: r.cfg.Leaks.Mode == Mask}
		if d := r.document; d != nil {
			one.Title, one.Operations, one.Warnings = d.Title, len(d.Operations()), d.Warnings
		}
		if r.tokens != nil {
			one.Keys = r.tokens.Fault()
		}
		if r.grpc != nil {
			one.Descriptors = r.grpc.known.Load() == nil
		}
		s.Routes = append(s.Routes, one)
	}
	return s
}
