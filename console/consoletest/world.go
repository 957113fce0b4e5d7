// Package consoletest is a node that is not there: sources for the console with
// realistic content, for tests of the API and of the pages, and for looking at pages
// while writing them. Content is the same each time; times count from World.Start.
package consoletest

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/testudo-sec/testudo/console"
	"github.com/testudo-sec/testudo/signal"
)

// World holds what the fakes show. Lock guards the exported fields while a server runs;
// the methods take it themselves.
type World struct {
	Start time.Time
	Now   func() time.Time

	Lock          sync.Mutex
	Log           []*signal.Event // oldest first
	Findings      []signal.Finding
	Packages      []console.Package
	Scans         []console.ScanReport   // taken
	MoreTrace     []console.TraceLine    // of the traced request, likewise
	MoreProcesses []console.ProcessGroup // beside those that the world begins with
	Actions       []signal.Action        // oldest first
	Rules         []console.Rule
	RuleSet       console.RuleSet
	Budgets       console.BudgetReport
	System        console.System
	Health        console.Health
	People        []console.Person
	Tokens        []console.Token
	Ledger        []console.LedgerEntry    // oldest first
	Report        *console.WhatIfReport    // where set, what every what-if answers
	Exceptions    *console.ExceptionReport // where set, what every search for exceptions answers
	Asked         console.WhatIfQuery      // the last what-if
	Fail          error                    // where set, every source but sign-in returns it

	sessions  map[string]*openSession // by secret
	passwords map[string]string
	links     map[string]console.Link
	tokens    map[string]string // id by secret
	wrong     map[string]int
	watchers  map[chan []*signal.Event]bool
	changes   map[chan console.Topic]bool
	serial    int
	lost      atomic.Uint64 // to be told with the next batch
}

// Secrets of the world, for signing in.
const (
	AdminName, AdminPassword       = "ann", "ann keeps seven bees"
	OperatorName, OperatorPassword = "ola", "ola walks the wall at night"
	ViewerName, ViewerPassword     = "vic", "vic only ever looks on"
	ViewerToken                    = "tst_viewer"
	OperatorToken                  = "tst_operator"
	AdminToken                     = "tst_admin"
	ScannerToken                   = "tst_scanner" // may send scans, and nothing else
	LinkSecret                     = "setup-link"  // of a new admin "max", who must choose a password
)

// New returns a world that begins now.
func New() *World { return At(time.Now()) }

// At returns a world whose content lies before start; its clock goes on from there.
func At(start time.Time) *World {
	began := time.Now()
	w := &World{
		Start: start.UTC().Truncate(time.Second),
		Now:   func() time.Time { return start.UTC().Add(time.Since(began)) },

		sessions: make(map[string]*openSession), links: make(map[string]console.Link), tokens: make(map[string]string),
		wrong: make(map[string]int), watchers: make(map[chan []*signal.Event]bool), changes: make(map[chan console.Topic]bool),
		passwords: map[string]string{AdminName: AdminPassword, OperatorName: OperatorPassword, ViewerName: ViewerPassword},
	}
	w.fillPeople()
	w.fillRules()
	w.fillBudgets()
	w.fillEvents()
	w.fillFindings()
	w.fillPackages()
	w.fillActions()
	w.fillSystem()
	w.fillLedger()
	return w
}

// Sources returns the world as the console reads it.
func (w *World) Sources() console.Sources {
	return console.Sources{
		Auth: people{w}, Sessions: people{w}, Passwords: people{w}, Overview: node{w}, Events: node{w}, Live: node{w}, Conditions: node{w}, Hunt: node{w}, Replay: node{w}, Explain: node{w}, Trace: node{w}, Files: node{w}, Host: node{w}, APIs: endpoints{w}, Budgets: budgets{w},
		Findings: node{w}, Packages: node{w}, Scans: node{w}, Actions: node{w}, Orders: node{w}, Rules: node{w}, RuleDesk: node{w}, System: node{w},
		People: roster{w}, PeopleDesk: roster{w}, Tokens: tokens{w}, Ledger: chain{w}, Recorder: chain{w}, Health: node{w}, Changes: node{w},
	}
}

// Publish adds events to the world and hands them to who watches.
func (w *World) Publish(events ...*signal.Event) {
	w.Lock.Lock()
	defer w.Lock.Unlock()
	w.Log = append(w.Log, events...)
	for ch := range w.watchers {
		ch <- slices.Clone(events)
	}
}

// Attack publishes a blocked SQL injection from the address as a plane would, and returns it.
func (w *World) Attack(from string) *signal.Event {
	e := Request(w.Now(), from, "GET", "/search", "q=***", signal.Deny, "edge.waf-attack")
	w.Publish(e)
	return e
}

// Lose has the next batch say that events were lost before it.
func (w *World) Lose(n uint64) { w.lost.Add(n) }

// Change tells who watches that a list has changed.
func (w *World) Change(t console.Topic) {
	w.Lock.Lock()
	defer w.Lock.Unlock()
	w.tell(t)
}

func (w *World) tell(t console.Topic) {
	for ch := range w.changes {
		select {
		case ch <- t:
		default: // one that is waiting to be read already says so
		}
	}
}

// fail returns World.Fail. The caller holds Lock.
func (w *World) fail() error { return w.Fail }

// next returns a fresh id. The caller holds Lock.
func (w *World) next(prefix string) string {
	w.serial++
	return fmt.Sprintf("%s-%04d", prefix, w.serial)
}

// page cuts a list that is in order; a cursor is the index of the next item.
func page[T any](all []T, cursor string, limit int) (console.Page[T], error) {
	at := 0
	if cursor != "" {
		n, err := strconv.Atoi(cursor)
		if err != nil || n < 0 || n > len(all) {
			return console.Page[T]{}, &console.InputError{Field: "cursor", Reason: "not a cursor of this list"}
		}
		at = n
	}
	if limit <= 0 || limit > console.MaxLimit {
		return console.Page[T]{}, fmt.Errorf("limit %d came through", limit)
	}
	end := min(at+limit, len(all))
	p := console.Page[T]{Items: slices.Clone(all[at:end])}
	if end < len(all) {
		p.Next = strconv.Itoa(end)
	}
	return p, nil
}

func has(text string, in ...string) bool {
	if text == "" {
		return true
	}
	for _, s := range in {
		if strings.Contains(strings.ToLower(s), strings.ToLower(text)) {
			return true
		}
	}
	return false
}

// watch reads a channel until ctx ends.
func watch[T any](ctx context.Context, ch <-chan T, fn func(T)) error {
	for {
		select {
		case v := <-ch:
			fn(v)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Watched reports whether somebody watches for events.
func (w *World) Watched() bool {
	w.Lock.Lock()
	defer w.Lock.Unlock()
	return len(w.watchers) > 0 && len(w.changes) > 0
}

// Drained reports whether all that was published has been taken.
func (w *World) Drained() bool {
	w.Lock.Lock()
	defer w.Lock.Unlock()
	for ch := range w.watchers {
		if len(ch) > 0 {
			return false
		}
	}
	return true
}
