// Package respondtest is the conformance kit of responders: [Run] checks that a responder keeps
// the contract of package respond. Every responder's tests run it. [Store] and [Ledger] are
// what a Host needs, in memory, with faults on demand.
package respondtest

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/testudo-sec/testudo/respond"
	"github.com/testudo-sec/testudo/signal"
)

// Store is a respond.Store in memory. It is safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	actions map[string]signal.Action
	err     error
	left    int                 // writes before err
	Writes  func(signal.Action) // hears of every write, if set before the first
}

// NewStore returns an empty store.
func NewStore() *Store { return &Store{actions: map[string]signal.Action{}} }

// Fail makes every call fail with err, until it is called with nil.
func (s *Store) Fail(err error) { s.FailAfter(0, err) }

// FailAfter makes every call fail with err after so many writes more.
func (s *Store) FailAfter(writes int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.left = err, writes
}

func (s *Store) failure() error {
	if s.left > 0 {
		return nil
	}
	return s.err
}

// PutActions implements respond.Store.
func (s *Store) PutActions(_ context.Context, actions ...*signal.Action) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.failure(); err != nil {
		return err
	}
	s.left--
	for _, a := range actions {
		s.actions[a.ID] = *a
		if s.Writes != nil {
			s.Writes(*a)
		}
	}
	return nil
}

// Action implements respond.Store.
func (s *Store) Action(_ context.Context, id string) (signal.Action, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.actions[id]
	return a, ok, s.failure()
}

// ActiveActions implements respond.Store.
func (s *Store) ActiveActions(context.Context) ([]signal.Action, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var active []signal.Action
	for _, a := range s.actions {
		if a.State == signal.ActionActive {
			active = append(active, a)
		}
	}
	slices.SortFunc(active, func(a, b signal.Action) int { return cmp.Compare(a.ID, b.ID) })
	return active, s.failure()
}

// All returns every action that is stored, by id.
func (s *Store) All() []signal.Action {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.actions), func(a, b signal.Action) int { return cmp.Compare(a.ID, b.ID) })
}

// Entry is one record of a Ledger.
type Entry struct {
	Actor, Verb, Subject string
	Detail               map[string]string
}

// Ledger is a respond.Ledger in memory. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	entries []Entry
	err     error
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger { return &Ledger{} }

// Fail makes every call fail with err, until it is called with nil.
func (l *Ledger) Fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// Record implements respond.Ledger.
func (l *Ledger) Record(_ context.Context, actor, verb, subject string, detail map[string]string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return l.err
	}
	l.entries = append(l.entries, Entry{actor, verb, subject, maps.Clone(detail)})
	return nil
}

// Entries returns what was recorded.
func (l *Ledger) Entries() []Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// Lines returns what was recorded as "ACTOR VERB SUBJECT".
func (l *Ledger) Lines() []string {
	var lines []string
	for _, e := range l.Entries() {
		lines = append(lines, e.Actor+" "+e.Verb+" "+e.Subject)
	}
	return lines
}

var (
	_ respond.Store  = (*Store)(nil)
	_ respond.Ledger = (*Ledger)(nil)
)
